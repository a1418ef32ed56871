//! `recommend`: items for one user, for users that a file tells of, or for all of them into a Parquet file.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use lookalike_bundle::{Bundle, ItemRow, Learned, Row, UserRow};
use lookalike_retrieve::{Folding, Hit, INDEX, Index, Recommender};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::cli::Recommend;
use crate::failure::{Failure, io};
use crate::history::{Histories, Known};
use crate::run::{self, Run};
use crate::say::{Say, grouped, table};

pub fn run(args: &Recommend, say: &Say) -> Result<(), Failure> {
    let bundle = Run(args.of.run.clone()).read()?;
    // For one user the index saves looking at every item. All users at once are scored exactly: block by block that
    // costs little more, and nothing is missed.
    let index = match (bundle.extra.get(INDEX), &bundle.learned) {
        (Some(bytes), Learned::Embeddings { users, items }) if !args.exact && !args.all && !args.repeat => {
            let index = Index::from_bytes(bytes)?;
            index.check_made_for(items)?;
            Some((users, index))
        }
        _ => None,
    };
    let recommender = match &index {
        _ if args.repeat => Recommender::with_repeats(&bundle)?,
        Some((users, index)) => Recommender::through(&bundle, users, index),
        None => Recommender::new(&bundle),
    };
    match (&args.user, &args.history, &args.out) {
        (_, Some(file), _) => folded(&bundle, &recommender, args.k, file, index.is_some(), say),
        (Some(id), ..) => {
            let user = run::user(&bundle, id)?;
            let hits = recommender.for_users(&[user], args.k).pop().unwrap_or_default();
            one(&bundle, user, &hits, index.is_some(), say)
        }
        (.., Some(out)) => all(&bundle, &recommender, args.k, out, say),
        (None, None, None) => Err(Failure::wrong_use("no user was named, no history, and no file for all users")),
    }
}

fn how(by_index: bool) -> &'static str {
    if by_index { "found through the index" } else { "every item compared" }
}

fn one(bundle: &Bundle, user: UserRow, hits: &[Hit<ItemRow>], by_index: bool, say: &Say) -> Result<(), Failure> {
    let id = bundle.users.id(user);
    let had = bundle.history.items(user).len();
    say.line(format!("user {id}: {had} items in the history; {}", how(by_index)));
    say.line(table(&["", "item", "score"], &run::hit_rows(bundle, hits)));
    say.json(&json!({ "user": id, "items": run::hits_json(bundle, hits, "score") }))
}

/// Lists for the users of a file, from what it says they had; a user of the bundle also had what the bundle says.
fn folded(
    bundle: &Bundle,
    recommender: &Recommender<'_>,
    k: usize,
    file: &Path,
    by_index: bool,
    say: &Say,
) -> Result<(), Failure> {
    let folding = Folding::of_users(bundle)?;
    let before = |id: &str| match bundle.users.row(id) {
        Some(user) => bundle
            .history
            .items(user)
            .iter()
            .map(|&item| ItemRow::new(item))
            .zip(bundle.history.weights(user).iter().copied())
            .collect(),
        None => Vec::new(),
    };
    let histories = Histories::<UserRow, ItemRow>::read(file, &bundle.items, before)?;
    let had: Vec<Vec<u32>> = histories.known.iter().map(Known::numbers).collect();
    let weights = |at: usize| (&had[at][..], &histories.known[at].weights[..]);
    let lists = recommender.for_vectors(&histories.fold(&folding)?, &weights, k);
    let mut users = Vec::new();
    for (known, hits) in histories.known.iter().zip(&lists) {
        say.line(format!("user {}: {} items in the history; {}", known.name(), known.rows.len(), how(by_index)));
        say.line(table(&["", "item", "score"], &run::hit_rows(bundle, hits)));
        let items = run::hits_json(bundle, hits, "score");
        users.push(json!({ "user": known.id, "history": known.rows.len(), "items": items }));
    }
    histories.left_out().iter().for_each(|line| say.line(line));
    say.json(&json!({ "users": users, "left_out": histories.left_out_json() }))
}

/// Writes user, rank, item and score of every list. The file appears under its name when it is complete.
fn all(bundle: &Bundle, recommender: &Recommender<'_>, k: usize, out: &Path, say: &Say) -> Result<(), Failure> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = io("written", out);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let empty = batch(bundle, &[])?;
    let mut writer =
        ArrowWriter::try_new(file.as_file_mut(), empty.schema(), Some(properties)).map_err(io("written", out))?;
    let bar = say.bar("recommending", bundle.users.len() as u64);
    let mut rows = 0;
    for block in recommender.all(k) {
        let batch = batch(bundle, &block)?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).and_then(|()| writer.flush()).map_err(io("written", out))?;
        bar.inc(block.len() as u64);
    }
    writer.close().map_err(io("written", out))?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(out).map_err(|error| failed(error.error))?;
    bar.finish_and_clear();
    let users = bundle.users.len();
    say.line(format!("{} rows for {} users in {}", grouped(rows), grouped(users as u64), out.display()));
    say.json(&json!({ "out": out, "rows": rows, "users": users }))
}

fn batch(bundle: &Bundle, block: &[(UserRow, Vec<Hit<ItemRow>>)]) -> Result<RecordBatch, Failure> {
    let ranked = |(user, hits): &(UserRow, Vec<Hit<ItemRow>>)| {
        (1u32..).zip(hits.clone()).map(|(rank, hit)| (*user, rank, hit)).collect::<Vec<_>>()
    };
    // Arrow arrays are made from iterators that know their length, which one of nested lists does not.
    let rows: Vec<(UserRow, u32, Hit<ItemRow>)> = block.iter().flat_map(ranked).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("user", Arc::new(StringArray::from_iter_values(rows.iter().map(|(user, _, _)| bundle.users.id(*user))))),
        ("rank", Arc::new(UInt32Array::from_iter_values(rows.iter().map(|(_, rank, _)| *rank)))),
        ("item", Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, _, hit)| bundle.items.id(hit.row))))),
        ("score", Arc::new(Float32Array::from_iter_values(rows.iter().map(|(_, _, hit)| hit.score)))),
    ];
    let columns = columns.map(|(name, column)| (name, column, false));
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Failure::new(format!("a list is no table: {error}")))
}

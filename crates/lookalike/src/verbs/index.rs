//! `index`: builds the index of a run anew, audits it, and replaces the old one together with its bundle; or indexes
//! vectors from elsewhere; or measures such an index. For asking one see `index_search`.

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use lookalike_bundle::{Bundle, Extra, ItemRow, Matrix, Row, UserRow};
use lookalike_retrieve::{Audit, Chain, Exact, Hit, INDEX, Index, IndexSettings, Link, Metric, Search, Space};
use rayon::ThreadPoolBuilder;
use serde_json::{Value, json};

use super::index_search;
use crate::cli::{Common, GraphSize, Index as Args, IndexVerb};
use crate::failure::Failure;
use crate::run::Run;
use crate::say::{Say, grouped, table as text_table, to_value};
use crate::table;

/// Neighbours that the bench asks for.
const NEAREST: usize = 10;
const WIDTHS: [usize; 12] = [10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480];
/// Each row is measured for so long at least, and its median pass taken.
const LONG: Duration = Duration::from_millis(400);

pub fn run(common: &Common, args: &Args, say: &Say) -> Result<(), Failure> {
    let settings = |metric, size: &GraphSize| IndexSettings {
        metric,
        m: size.m,
        ef_construction: size.ef_construction,
        seed: common.seed,
        ..IndexSettings::default()
    };
    match (&args.verb, &args.run, &args.vectors, &args.out) {
        (Some(IndexVerb::Search { index, queries, k, out }), ..) => {
            index_search::run(index, queries, *k, out.as_deref(), say)
        }
        (Some(IndexVerb::Bench { vectors, queries, truth, metric, threads, size }), ..) => {
            let bench = Bench::read(vectors, queries, truth.as_deref(), settings(*metric, size))?;
            bench.run(*threads, say)
        }
        (None, Some(run), ..) => of_run(&Run(run.clone()), settings(Metric::Ip, &args.size), say),
        (None, None, Some(vectors), Some(out)) => of_vectors(vectors, out, settings(args.metric, &args.size), say),
        _ => Err(Failure::wrong_use("neither a run nor vectors were named")),
    }
}

fn of_run(run: &Run, settings: IndexSettings, say: &Say) -> Result<(), Failure> {
    let mut bundle = run.read()?;
    let Some((bytes, audit)) = build(&bundle, settings)? else {
        let model = &bundle.manifest.model;
        return Err(Failure::new(format!("`{model}` has weights from item to item, and no embeddings to index")));
    };
    attach(&mut bundle, bytes, &audit)?;
    bundle.write(&run.bundle())?;
    say.line(text(&audit));
    say.json(&audit)
}

fn of_vectors(vectors: &Path, out: &Path, settings: IndexSettings, say: &Say) -> Result<(), Failure> {
    let items = table::vectors(vectors)?;
    let start = Instant::now();
    let index = Index::build(&items, &Matrix::zeros(0, items.cols()), settings)?;
    let seconds = start.elapsed().as_secs_f64();
    index.write(out)?;
    say.line(format!(
        "{} vectors of {} numbers, compared by {}, in {seconds:.1} s: {}",
        grouped(items.rows() as u64),
        items.cols(),
        settings.metric,
        out.display()
    ));
    say.line(text(index.audit()));
    say.json(&json!({ "out": out, "items": items.rows(), "dim": items.cols(), "metric": settings.metric,
        "build_seconds": seconds, "audit": to_value(index.audit())? }))
}

struct Bench {
    items: Matrix,
    queries: Matrix,
    truth: Option<Vec<Vec<u32>>>,
    settings: IndexSettings,
}

struct Measured {
    build_seconds: f64,
    audit: Audit,
    rows: Vec<Value>,
}

impl Bench {
    fn read(vectors: &Path, queries: &Path, truth: Option<&Path>, settings: IndexSettings) -> Result<Self, Failure> {
        let (items, asked) = (table::vectors(vectors)?, table::vectors(queries)?);
        if items.cols() != asked.cols() {
            return Err(Failure::new(format!(
                "`{}` has vectors of {} numbers and `{}` of {}",
                queries.display(),
                asked.cols(),
                vectors.display(),
                items.cols()
            )));
        }
        let known = truth.map(table::neighbours).transpose()?;
        if let (Some(lists), Some(path)) = (&known, truth) {
            let bad = |why: String| Failure::new(format!("`{}` does not fit: {why}", path.display()));
            if lists.len() != asked.rows() {
                return Err(bad(format!("it has {} lists, and there are {} queries", lists.len(), asked.rows())));
            }
            let wanted = NEAREST.min(items.rows());
            if let Some(at) = lists.iter().position(|list| list.len() < wanted) {
                return Err(bad(format!("list {at} is shorter than {wanted}")));
            }
            if let Some(at) = lists.iter().position(|list| list.iter().any(|&row| row as usize >= items.rows())) {
                let (rows, vectors) = (items.rows(), vectors.display());
                return Err(bad(format!("list {at} names a row beyond the {rows} of `{vectors}`")));
            }
        }
        Ok(Self { items, queries: asked, truth: known, settings })
    }

    fn run(&self, threads: usize, say: &Say) -> Result<(), Failure> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Failure::new(format!("{threads} threads cannot be started: {error}")))?;
        let bar = say.bar("linking", self.items.rows() as u64);
        let measured = pool.install(|| self.measured(&bar))?;
        let lines: Vec<Vec<String>> = measured
            .rows
            .iter()
            .map(|row| {
                let ef = row["ef"].as_u64().map_or("every item".to_owned(), |ef| ef.to_string());
                let [recall, rate] = ["recall@10", "qps"].map(|key| row[key].as_f64().unwrap_or_default());
                vec![ef, format!("{recall:.4}"), format!("{rate:.0}")]
            })
            .collect();
        say.line(format!("built in {:.2} s by {threads} threads", measured.build_seconds));
        say.line(text_table(&["candidates", "recall@10", "queries/s"], &lines));
        let IndexSettings { metric, m, ef_construction, seed, .. } = self.settings;
        say.json(&json!({ "items": self.items.rows(), "dim": self.items.cols(), "queries": self.queries.rows(),
            "metric": metric, "m": m, "ef_construction": ef_construction, "seed": seed, "threads": threads,
            "build_seconds": measured.build_seconds, "unreachable": measured.audit.unreachable,
            "repaired": measured.audit.repaired, "rows": measured.rows }))
    }

    fn measured(&self, bar: &ProgressBar) -> Result<Measured, Failure> {
        let start = Instant::now();
        let index = Index::unaudited(&self.items, self.settings, &|linked| bar.inc(linked))?;
        let built = start.elapsed().as_secs_f64();
        bar.finish_and_clear();
        // Exact search has its table and its queries prepared, as the index has.
        let space = Space::new(&self.items, self.settings.metric)?;
        let asked = space.queries(&self.queries);
        let k = NEAREST.min(self.items.rows());
        let exact = || Exact::new(space.items()).search_all(&asked, k, &|_| &[]);
        let first = exact();
        let rows_of = |lists: &[Vec<Hit<ItemRow>>]| -> Vec<Vec<u32>> {
            lists.iter().map(|hits| hits.iter().map(|hit| hit.row.get()).collect()).collect()
        };
        let truth: Vec<Vec<u32>> = match &self.truth {
            Some(lists) => lists.iter().map(|list| list[..k].to_vec()).collect(),
            None => rows_of(&first),
        };
        let recall = |lists: &[Vec<u32>]| {
            let shared = |(list, truth): (&Vec<u32>, &Vec<u32>)| list.iter().filter(|row| truth.contains(row)).count();
            lists.iter().zip(&truth).map(shared).sum::<usize>() as f64 / (k * truth.len()) as f64
        };
        let mut rows: Vec<Value> = Vec::new();
        for width in WIDTHS.into_iter().filter(|&width| width >= k) {
            let ask = || index.search_all_with(&self.queries, k, width);
            let found = recall(&rows_of(&ask()));
            rows.push(json!({ "ef": width, "recall@10": found, "qps": self.rate(ask) }));
        }
        rows.push(json!({ "recall@10": recall(&rows_of(&first)), "qps": self.rate(exact) }));
        Ok(Measured { build_seconds: built, audit: index.audit().clone(), rows })
    }

    /// Queries per second of the median pass.
    fn rate<T>(&self, ask: impl Fn() -> T) -> f64 {
        let (start, mut passes) = (Instant::now(), Vec::new());
        while passes.len() < 3 || start.elapsed() < LONG {
            let pass = Instant::now();
            std::hint::black_box(ask());
            passes.push(pass.elapsed().as_secs_f64());
        }
        passes.sort_by(f64::total_cmp);
        self.queries.rows() as f64 / passes[passes.len() / 2]
    }
}

/// The index of a bundle as a file, and what it is worth for queries by its users; nothing for a model that has none.
/// Users that the model knows nothing of do not ask.
pub fn build(bundle: &Bundle, settings: IndexSettings) -> Result<Option<(Vec<u8>, Audit)>, Failure> {
    let Some((users, items)) = bundle.learned.users().zip(bundle.learned.items()) else { return Ok(None) };
    let chain = Chain::of(bundle)?;
    let asks: Vec<usize> =
        (0..users.rows()).filter(|&row| chain.answers(Link::Model, UserRow::new(row as u32))).collect();
    let mut asking = Cow::Borrowed(users);
    if asks.len() < users.rows() {
        let mut some = Matrix::zeros(asks.len(), users.cols());
        asks.iter().enumerate().for_each(|(at, &row)| some.row_mut(at).copy_from_slice(users.row(row)));
        asking = Cow::Owned(some);
    }
    let index = Index::build(items, &asking, settings)?;
    Ok(Some((index.to_bytes(), index.audit().clone())))
}

/// Puts an index into a bundle.
pub fn attach(bundle: &mut Bundle, bytes: Vec<u8>, audit: &Audit) -> Result<(), Failure> {
    bundle.extra.insert(INDEX.to_owned(), Extra::Bytes(bytes));
    bundle.manifest.index = Some(to_value(audit)?);
    Ok(())
}

/// The audit in a sentence.
pub fn text(audit: &Audit) -> String {
    let head = if audit.head == 0 { String::new() } else { format!(", the {} longest vectors among them", audit.head) };
    format!(
        "index: finds {:.2} % of the 10 best items of {} queries (exact search finds all) after a look at {:.0} items{head}; \
         {} candidates per search, {} items unreachable, {} repaired",
        audit.recall_at_10 * 100.0,
        audit.sample,
        audit.scored,
        audit.ef_search,
        audit.unreachable,
        audit.repaired
    )
}

/// That a model has none, in a sentence.
pub fn none(bundle: &Bundle) -> String {
    format!("index: none; `{}` scores every item by its weights from item to item", bundle.manifest.model)
}

//! `index search`: the nearest vectors of some queries, by an index that stands alone.

use std::path::Path;

use lookalike_bundle::{ItemRow, Row};
use lookalike_retrieve::{Hit, Index, RetrieveError, Search};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::lists;
use crate::say::{Say, grouped, table as text_table};
use crate::table;

/// Queries whose lists are shown to people.
const SHOWN: usize = 3;

pub fn run(index: &Path, queries: &Path, k: usize, out: Option<&Path>, say: &Say) -> Result<(), Failure> {
    // A name that does not tell what to write is told before the work, not after it.
    let write = out.map(lists::writer).transpose()?;
    let asked = table::vectors(queries)?;
    let (file, index) = (index, open(index)?);
    if index.dim() != asked.cols() {
        let (file, queries) = (file.display(), queries.display());
        return Err(Failure::new(format!(
            "`{queries}` has vectors of {} numbers, and `{file}` was built over vectors of {}",
            asked.cols(),
            index.dim()
        )));
    }
    let found = index.search_all(&asked, k, &|_| &[]);
    let (rows, metric) = (grouped(index.items() as u64), index.metric());
    say.line(format!("{} queries among {rows} vectors, compared by {metric}", grouped(asked.rows() as u64)));
    for (query, hits) in found.iter().enumerate().take(SHOWN) {
        let row = |(rank, hit): (usize, &Hit<ItemRow>)| {
            vec![format!("{}.", rank + 1), hit.row.get().to_string(), format!("{:.4}", hit.score)]
        };
        let rows: Vec<_> = hits.iter().enumerate().map(row).collect();
        say.line(format!("query {query}\n{}", text_table(&["", "row", "score"], &rows)));
    }
    if found.len() > SHOWN {
        let rest = grouped((found.len() - SHOWN) as u64);
        say.line(format!("… and {rest} more{}", if out.is_none() { "; `--out` or `--json` gives all" } else { "" }));
    }
    if let (Some(write), Some(out)) = (write, out) {
        write(out, &found)?;
        say.line(format!("all lists: {}", out.display()));
    }
    let list = |hits: &Vec<Hit<ItemRow>>| -> Value {
        hits.iter().map(|hit| json!({ "row": hit.row.get(), "score": hit.score })).collect()
    };
    say.json(&json!({ "metric": metric, "items": index.items(), "queries": asked.rows(), "k": k, "out": out,
        "lists": found.iter().map(list).collect::<Vec<_>>() }))
}

/// Maps an index. An error names the file, and does not advise to make it anew from a bundle.
fn open(path: &Path) -> Result<Index, Failure> {
    Index::open(path).map_err(|error| match error {
        RetrieveError::Io { .. } => error.into(),
        RetrieveError::Newer { .. } => Failure::from(error).after(&format!("`{}`", path.display())),
        _ => Failure::new(format!("`{}` cannot be used: {error}", path.display()))
            .with_hint("`lookalike index --vectors` makes an index"),
    })
}

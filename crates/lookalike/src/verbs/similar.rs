//! `similar`: the nearest items of an item, the nearest users of a user; by cosine, or for a model without embeddings by
//! its weights from item to item.

use std::path::Path;

use lookalike_bundle::{Bundle, ItemRow, Learned, Row, UserRow};
use lookalike_retrieve::{Folding, similar, similar_by_weight, similar_to};
use serde_json::json;

use crate::cli::Similar;
use crate::failure::Failure;
use crate::history::Histories;
use crate::run::{self, Run};
use crate::say::{Say, table};

pub fn run(args: &Similar, say: &Say) -> Result<(), Failure> {
    let bundle = Run(args.of.run.clone()).read()?;
    if let Some(file) = &args.history {
        return folded(&bundle, args.k, file, say);
    }
    if let Some(id) = &args.item {
        let item = run::item(&bundle, id)?;
        let (measure, hits) = match &bundle.learned {
            Learned::Embeddings { items, .. } => ("cosine", similar(items, item, args.k)),
            Learned::ItemWeights(weights) => ("weight", similar_by_weight(weights, item, args.k)),
        };
        say.line(format!("items like {} ({id})", run::title(&bundle, item)));
        say.line(table(&["", "item", measure], &run::hit_rows(&bundle, &hits)));
        return say.json(&json!({ "item": id, "similar": run::hits_json(&bundle, &hits, measure) }));
    }
    let id = args.user.as_deref().unwrap_or_default();
    let user = run::user(&bundle, id)?;
    let Learned::Embeddings { users, .. } = &bundle.learned else {
        let failure =
            Failure::new(format!("`{}` knows items and no embeddings of users to compare", bundle.manifest.model));
        return Err(failure.with_hint("ask for `--item`, or train a model with embeddings such as `ials`"));
    };
    if users.row(user.index()).iter().all(|&number| number == 0.0) {
        let failure = Failure::new(format!("`{}` knows nothing of user `{id}` to compare", bundle.manifest.model));
        return Err(
            failure.with_hint("they had nothing yet that it learned from; `lookalike recommend` falls back on others")
        );
    }
    let hits = similar(users, user, args.k);
    let rows: Vec<_> = (1..)
        .zip(&hits)
        .map(|(rank, hit)| vec![format!("{rank}. {}", bundle.users.id(hit.row)), format!("{:.4}", hit.score)])
        .collect();
    say.line(format!("users like {id}"));
    say.line(table(&["", "cosine"], &rows));
    let list = hits.iter().map(|hit| json!({ "user": bundle.users.id(hit.row), "cosine": hit.score }));
    say.json(&json!({ "user": id, "similar": list.collect::<Vec<_>>() }))
}

/// The nearest items of the items of a file, from the users who had them.
fn folded(bundle: &Bundle, k: usize, file: &Path, say: &Say) -> Result<(), Failure> {
    let folding = Folding::of_items(bundle)?;
    let Some(table_of_items) = bundle.learned.items() else { return Ok(()) };
    let before = |id: &str| {
        let item = bundle.items.row(id);
        let entries = bundle.history.entries().filter(|(_, other, _)| Some(*other) == item);
        entries.map(|(user, _, weight)| (user, weight)).collect()
    };
    let histories = Histories::<ItemRow, UserRow>::read(file, &bundle.users, before)?;
    let vectors = histories.fold(&folding)?;
    let mut items = Vec::new();
    for (at, known) in histories.known.iter().enumerate() {
        let itself = known.id.as_deref().and_then(|id| bundle.items.row(id));
        let hits = similar_to(table_of_items, vectors.row(at), itself, k);
        say.line(format!("items like {}, from {} users", known.name(), known.rows.len()));
        say.line(table(&["", "item", "cosine"], &run::hit_rows(bundle, &hits)));
        let similar = run::hits_json(bundle, &hits, "cosine");
        items.push(json!({ "item": known.id, "history": known.rows.len(), "similar": similar }));
    }
    histories.left_out().iter().for_each(|line| say.line(line));
    say.json(&json!({ "items": items, "left_out": histories.left_out_json() }))
}

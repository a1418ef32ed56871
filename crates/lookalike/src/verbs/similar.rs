//! `similar`: the nearest items of an item, the nearest users of a user, by cosine.

use lookalike_retrieve::similar;
use serde_json::json;

use crate::cli::Similar;
use crate::failure::Failure;
use crate::run::{self, Run};
use crate::say::{Say, table};

pub fn run(args: &Similar, say: &Say) -> Result<(), Failure> {
    let bundle = Run(args.of.run.clone()).read()?;
    if let Some(id) = &args.item {
        let item = run::item(&bundle, id)?;
        let hits = similar(&bundle.item_embedding, item, args.k);
        say.line(format!("items like {} ({id})", run::title(&bundle, item)));
        say.line(table(&["", "item", "cosine"], &run::hit_rows(&bundle, &hits)));
        let list = hits.iter().map(|hit| {
            json!({ "item": bundle.items.id(hit.row), "title": run::title(&bundle, hit.row), "cosine": hit.score })
        });
        return say.json(&json!({ "item": id, "similar": list.collect::<Vec<_>>() }));
    }
    let id = args.user.as_deref().unwrap_or_default();
    let user = run::user(&bundle, id)?;
    let hits = similar(&bundle.user_embedding, user, args.k);
    let rows: Vec<_> = (1..)
        .zip(&hits)
        .map(|(rank, hit)| vec![format!("{rank}. {}", bundle.users.id(hit.row)), format!("{:.4}", hit.score)])
        .collect();
    say.line(format!("users like {id}"));
    say.line(table(&["", "cosine"], &rows));
    let list = hits.iter().map(|hit| json!({ "user": bundle.users.id(hit.row), "cosine": hit.score }));
    say.json(&json!({ "user": id, "similar": list.collect::<Vec<_>>() }))
}

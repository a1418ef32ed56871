//! `index`: builds the index of a run anew, audits it, and replaces the old one together with its bundle.

use lookalike_bundle::{Bundle, Learned, Matrix};
use lookalike_retrieve::{Audit, Hnsw, INDEX, IndexSettings};

use crate::cli::{Common, Index};
use crate::failure::Failure;
use crate::run::Run;
use crate::say::{Say, to_value};

pub fn run(common: &Common, args: &Index, say: &Say) -> Result<(), Failure> {
    let run = Run(args.of.run.clone());
    let mut bundle = run.read()?;
    let (m, ef_construction) = (args.m, args.ef_construction);
    let settings = IndexSettings { m, ef_construction, seed: common.seed, ..IndexSettings::default() };
    let Learned::Embeddings { users, items } = &bundle.learned else {
        let model = &bundle.manifest.model;
        return Err(Failure::new(format!("`{model}` has weights from item to item, and no embeddings to index")));
    };
    let (bytes, audit) = build(users, items, settings)?;
    attach(&mut bundle, bytes, &audit)?;
    bundle.write(&run.bundle())?;
    say.line(text(&audit));
    say.json(&audit)
}

/// The index as a file, and what it is worth for queries by these users.
pub fn build(users: &Matrix, items: &Matrix, settings: IndexSettings) -> Result<(Vec<u8>, Audit), Failure> {
    let index = Hnsw::build(items, users, settings)?;
    Ok((index.to_bytes()?, index.audit().clone()))
}

/// Puts an index into a bundle.
pub fn attach(bundle: &mut Bundle, bytes: Vec<u8>, audit: &Audit) -> Result<(), Failure> {
    bundle.extra.insert(INDEX.to_owned(), bytes);
    bundle.manifest.index = Some(to_value(audit)?);
    Ok(())
}

/// The audit in a sentence.
pub fn text(audit: &Audit) -> String {
    format!(
        "index: finds {:.2} % of the 10 best items of {} users (exact search finds all); {} links per item, {} candidates \
         per search, {} items unreachable",
        audit.recall_at_10 * 100.0,
        audit.sample,
        audit.m,
        audit.ef_search,
        audit.unreachable
    )
}

/// That a model has none, in a sentence.
pub fn none(bundle: &Bundle) -> String {
    format!("index: none; `{}` scores every item by its weights from item to item", bundle.manifest.model)
}

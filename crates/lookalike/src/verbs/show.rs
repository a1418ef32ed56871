//! `show`: what a trained model, a preset, a user, a tag or a segment is.

use std::path::Path;

use lookalike_bundle::{Bundle, ItemWeights, Learned, Matrix};
use lookalike_retrieve::Audit;
use lookalike_train::Preset;
use serde_json::{Value, json};

use super::portrait;
use crate::cli::{Common, Show};
use crate::failure::Failure;
use crate::run::Run;
use crate::say::{Say, grouped, to_value};

pub fn run(common: &Common, args: &Show, say: &Say) -> Result<(), Failure> {
    match args {
        Show::Model { name } => model(name, say),
        Show::User { id, of, why: None } => portrait::user(common, of, id, say),
        Show::User { id, of, why: Some(tag) } => portrait::why(common, of, id, tag, say),
        Show::Tags { of } => portrait::tags(common, of, say),
        Show::Tag { name, of } => portrait::tag(common, of, name, say),
        Show::Segment { name, of } => portrait::segment(common, of, name, say),
    }
}

fn model(name: &str, say: &Say) -> Result<(), Failure> {
    if Path::new(name).is_dir() {
        return trained(&Run(name.into()).read()?, say);
    }
    let preset = Preset::load(name).map_err(|error| {
        let mut known = Preset::built_in().filter_map(Result::ok).map(|preset| preset.name);
        let first = known.next().unwrap_or_default();
        Failure::from(error).with_hint(format!("give the folder of a run, or a preset such as `{first}`"))
    })?;
    let knobs = to_value(&preset)?;
    say.line(format!("{}: {}", preset.name, preset.when));
    lines(&knobs, &["name", "when"], say);
    say.json(&knobs)
}

fn trained(bundle: &Bundle, say: &Say) -> Result<(), Failure> {
    let manifest = &bundle.manifest;
    let counts = [bundle.users.len(), bundle.items.len(), bundle.history.len()].map(|count| grouped(count as u64));
    say.line(format!("{}, trained on {} ({})", manifest.model, manifest.project, manifest.device));
    say.line(format!("  {} users, {} items, {} pairs of history", counts[0], counts[1], counts[2]));
    let learned = match &bundle.learned {
        Learned::Embeddings { items, .. } => format!("embeddings of {} numbers", items.cols()),
        Learned::ItemWeights(weights) => format!("{} weights from item to item", grouped(weights.len() as u64)),
    };
    let epoch = match manifest.best_epoch {
        0 => "the base alone, as towers add nothing to it".to_owned(),
        epoch => format!("epoch {epoch} of {}", manifest.epochs),
    };
    say.line(format!("  {learned}; {epoch}; seed {}", manifest.seed));
    say.line(format!("  split {}", manifest.split));
    lines(&manifest.preset, &["name", "when", "dim"], say);
    if let Some(figures) = manifest.metrics.as_array().and_then(|models| models.first()) {
        let figure = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or_default();
        say.line(format!("  novel items: recall@10 {:.4}, ndcg@10 {:.4}", figure("recall@10"), figure("ndcg@10")));
    }
    if let Some(audit) = manifest.index.clone().and_then(|audit| serde_json::from_value::<Audit>(audit).ok()) {
        say.line(format!("  {}", super::index::text(&audit)));
    }
    let weights = match &bundle.learned {
        Learned::Embeddings { .. } => None,
        Learned::ItemWeights(weights) => Some(weights),
    };
    say.json(&json!({
        "manifest": to_value(manifest)?,
        "users": bundle.users.len(),
        "items": bundle.items.len(),
        "history": bundle.history.len(),
        "dim": bundle.learned.items().map(Matrix::cols),
        "item_weights": weights.map(ItemWeights::len),
    }))
}

/// One line a knob, as it is written in a preset.
fn lines(object: &Value, without: &[&str], say: &Say) {
    for (key, value) in object.as_object().into_iter().flatten().filter(|(key, _)| !without.contains(&key.as_str())) {
        match value {
            Value::Object(_) => {
                say.line(format!("  [{key}]"));
                lines(value, &[], say);
            }
            Value::Array(values) => {
                let values: Vec<_> = values.iter().map(Value::to_string).collect();
                say.line(format!("  {key} = [{}]", values.join(", ")));
            }
            _ => say.line(format!("  {key} = {value}")),
        }
    }
}

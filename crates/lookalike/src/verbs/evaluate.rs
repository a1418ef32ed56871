//! `evaluate`: a trained run beside all baselines, on the split in its bundle.

use lookalike_bundle::Bundle;
use lookalike_dataset::Dataset;
use lookalike_train::{ItemKnn, PersonalFrequency, Popularity, Random};
use serde::Serialize;

use crate::cli::{Common, OfRun};
use crate::failure::Failure;
use crate::judge::{Bench, Figures, PROTOCOL};
use crate::run::Run;
use crate::say::{Say, grouped, table};
use crate::workspace::Workspace;

/// Neighbours an item keeps in the item-kNN baseline.
const NEIGHBOURS: usize = 50;

/// What `evaluate --json` prints.
#[derive(Serialize)]
pub struct Evaluation {
    pub protocol: String,
    pub split: String,
    pub users: usize,
    pub held_out_pairs: usize,
    pub unknown_pairs: usize,
    pub models: Vec<Figures>,
}

pub fn run(common: &Common, args: &OfRun, say: &Say) -> Result<(), Failure> {
    let bundle = Run(args.run.clone()).read()?;
    let workspace = Workspace::open(common, say)?;
    if workspace.data_hash()? != bundle.manifest.data {
        let failure = Failure::new("the project's data is not what this run was trained on");
        return Err(failure.with_hint("name its project with `--project`, or train again"));
    }
    let data = workspace.dataset()?;
    let evaluation = Evaluation::of(&data, &bundle, bundle.manifest.seed);
    say.line(evaluation.text(&bundle));
    say.json(&evaluation)
}

impl Evaluation {
    /// The model of a bundle and every baseline on the test part.
    pub fn of(data: &Dataset, bundle: &Bundle, seed: u64) -> Self {
        let bench = Bench::new(&data.full, &data.test);
        let weight = bundle.manifest.repeat.as_ref().map(|repeat| repeat.weight);
        let model = bench.model(&bundle.manifest.model, &bundle.learned, weight);
        let mut models = vec![model];
        models.push(bench.baseline(&ItemKnn::new(&data.full, NEIGHBOURS)));
        models.push(bench.baseline(&PersonalFrequency::new(&data.full)));
        models.push(bench.baseline(&Popularity::new(&data.full)));
        models.push(bench.baseline(&Random(seed)));
        Self {
            protocol: PROTOCOL.to_owned(),
            split: data.split.clone(),
            users: data.test.users(),
            held_out_pairs: data.test.pairs,
            unknown_pairs: data.test.unknown,
            models,
        }
    }

    /// The table people read.
    pub fn text(&self, bundle: &Bundle) -> String {
        let repeats = self.models.iter().any(|figures| figures.views.is_some());
        let four = |number: f64| format!("{number:.4}");
        let rows: Vec<Vec<String>> = self
            .models
            .iter()
            .map(|figures| {
                let mut row = vec![figures.name.clone(), four(figures.shown.recall_10), four(figures.shown.ndcg_10)];
                row.push(four(figures.shown.coverage_10));
                if let Some(views) = &figures.views {
                    let views = [views.repeat.recall_10, views.repeat.ndcg_10, views.all.recall_10, views.all.ndcg_10];
                    row.extend(views.map(four));
                }
                row
            })
            .collect();
        let mut header = vec!["", "novel recall@10", "ndcg@10", "coverage"];
        if repeats {
            header.extend(["repeat recall@10", "ndcg@10", "all recall@10", "ndcg@10"]);
        } else {
            header[1] = "recall@10";
        }
        let mut text = format!(
            "test: {} users, {} held-out pairs, of which {} name a user or item first seen in the test part and are left \
             out\nsplit {}\n{}",
            grouped(self.users as u64),
            grouped(self.held_out_pairs as u64),
            grouped(self.unknown_pairs as u64),
            self.split,
            table(&header, &rows)
        );
        if let Some(repeat) = &bundle.manifest.repeat {
            text.push_str(&format!("\n{}: repeat and all rank by {}", bundle.manifest.model, repeat.made_of));
        }
        text
    }
}

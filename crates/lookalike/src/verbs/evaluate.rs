//! `evaluate`: a trained run beside all baselines, on the split in its bundle.

use lookalike_bundle::Bundle;
use lookalike_dataset::Dataset;
use lookalike_retrieve::{Chain, Ranker};
use lookalike_train::{Friends, ItemKnn, PersonalFrequency, Popularity, Random, Scorer};
use serde::Serialize;
use serde_json::Value;

use crate::buckets::{Bucket, CELLS};
use crate::changed;
use crate::cli::{Common, OfRun};
use crate::cold::Cold;
use crate::failure::Failure;
use crate::few::Blended;
use crate::judge::{Bench, Figures, PROTOCOL};
use crate::ranker::Findings;
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
    /// What the ranker was found to be worth on the validation part, if one was tried.
    pub ranker: Option<Value>,
    /// Users without a history, link by link; nothing if none of them has held-out items.
    pub cold: Option<Cold>,
    /// Users with few items, where their scores are blended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub few: Option<Blended>,
}

pub fn run(common: &Common, args: &OfRun, say: &Say) -> Result<(), Failure> {
    let bundle = Run(args.run.clone()).read()?;
    let workspace = Workspace::open(common, say)?;
    let data = workspace.dataset()?;
    let (bundle, data) = match workspace.data_hash()? == bundle.manifest.data {
        true => (bundle, data),
        false => {
            let (bundle, data, changed) = changed::meet(bundle, &workspace.project, &data)?;
            say.line(changed::line(&changed));
            (bundle, data)
        }
    };
    // The data is the same, so a version that gave users or items other rows trained it.
    if bundle.users.ids() != data.users.ids() || bundle.items.ids() != data.items.ids() {
        let failure = Failure::new("the run was trained by a version of lookalike that knew other users or items");
        return Err(failure.with_hint("train again"));
    }
    let evaluation = Evaluation::of(&data, &bundle, bundle.manifest.seed)?;
    say.line(evaluation.text(&bundle));
    say.json(&evaluation)
}

impl Evaluation {
    /// The model of a bundle and every baseline on the test part.
    pub fn of(data: &Dataset, bundle: &Bundle, seed: u64) -> Result<Self, Failure> {
        let (bench, cold) = (Bench::new(&data.full, &data.test), Bench::cold(&data.full, &data.test));
        let weight = bundle.manifest.repeat.as_ref().map(|repeat| repeat.weight);
        let model = |bench: &Bench<'_>| bench.model(&bundle.manifest.model, &bundle.learned, weight);
        let mut models = vec![model(&bench).behind(model(&cold))];
        if let Some(ranker) = Ranker::of_bundle(bundle)? {
            let name = format!("{} + ranker", bundle.manifest.model);
            let ranked = |bench: &Bench<'_>| bench.ranked(&name, &bundle.learned, weight, &ranker);
            models.push(ranked(&bench).behind(ranked(&cold)));
        }
        let mut add = |scorer: &dyn Scorer| models.push(bench.baseline(scorer).behind(cold.baseline(scorer)));
        add(&ItemKnn::new(&data.full, NEIGHBOURS));
        add(&PersonalFrequency::new(&data.full));
        add(&Popularity::new(&data.full));
        let friends = &data.friendships;
        if !friends.is_empty() {
            add(&Friends::new(friends, &data.full));
        }
        add(&Random(seed));
        Ok(Self {
            protocol: PROTOCOL.to_owned(),
            split: data.split.clone(),
            users: data.test.users(),
            held_out_pairs: data.test.pairs,
            unknown_pairs: data.test.unknown,
            models,
            ranker: bundle.manifest.ranker.clone(),
            cold: Cold::of(bundle, &data.test.cold)?,
            few: Blended::of(bundle, &Chain::of(bundle)?, &data.test.truth),
        })
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
        let apart = match &self.cold {
            Some(cold) => format!(" here; {} of these are judged further down", grouped(cold.held_out_pairs as u64)),
            None => String::new(),
        };
        let mut text = format!(
            "test: {} users, {} held-out pairs, of which {} name a user or item first seen in the test part and are left \
             out{apart}\nsplit {}\n",
            grouped(self.users as u64),
            grouped(self.held_out_pairs as u64),
            grouped(self.unknown_pairs as u64),
            self.split,
        );
        match self.users {
            0 => text.push_str("nothing is held out of users with a history"),
            _ => text.push_str(&table(&header, &rows)),
        }
        if let Some(repeat) = bundle.manifest.repeat.as_ref().filter(|_| self.users > 0) {
            text.push_str(&format!("\n{}: repeat and all rank by {}", bundle.manifest.model, repeat.made_of));
        }
        if let Some(findings) = findings(bundle) {
            text.push_str(&format!("\n{}", findings.text()));
        }
        text.push_str(&format!("\n\nnew items, by how many different items a user had\n{}", self.by_activity()));
        if let Some(few) = &self.few {
            text.push_str(&format!("\n\n{}", few.text()));
        }
        if let Some(cold) = &self.cold {
            text.push_str(&format!("\n\n{}", cold.text()));
        }
        text
    }

    /// A table of all models for each bucket of users.
    fn by_activity(&self) -> String {
        // Every model is judged for the same users, so they all have the same buckets.
        let of_model = |figures: &Figures| {
            let row = |(nth, bucket): (usize, &Bucket)| {
                let head = vec![bucket.name.clone(), grouped(bucket.figures.users), figures.name.clone()];
                (nth, [head, bucket.figures.cells().into()].concat())
            };
            figures.buckets.iter().enumerate().map(row).collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = self.models.iter().flat_map(of_model).collect();
        rows.sort_by_key(|(nth, _)| *nth); // stable: models keep their order
        let mut last = None;
        for (nth, row) in &mut rows {
            if last.replace(*nth) == Some(*nth) {
                row[..2].iter_mut().for_each(String::clear);
            }
        }
        let header = [&["items had", "users", ""][..], &CELLS].concat();
        table(&header, &rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
    }
}

/// What was found of the ranker of a bundle, if one was tried.
pub fn findings(bundle: &Bundle) -> Option<Findings> {
    bundle.manifest.ranker.as_ref().and_then(|ranker| serde_json::from_value(ranker.clone()).ok())
}

//! `train --tune`: the search for knobs before the training, its table and the preset it ends with.

use std::path::PathBuf;

use indicatif::ProgressBar;
use lookalike_bundle::{Learned, Tensors};
use lookalike_dataset::Dataset;
use lookalike_train::device::Device;
use lookalike_train::{Entry, Knobs, Phase, Preset, Trial, Tuned, Verdict, Watch, WatchTrials, glance, tune};
use serde_json::{Map, Value};

use super::train::CHOSEN_AT;
use crate::failure::{Failure, io};
use crate::judge::Bench;
use crate::run::{self, Run};
use crate::say::{Say, table, to_value};
use crate::stop::Heeding;

/// Searches among so many settings, or looks at those that the preset asks for, keeps every trial in `tune.jsonl` as it ends
/// and the best preset in `preset.toml`.
pub fn search(
    data: &Dataset,
    preset: &Preset,
    settings: Option<u32>,
    device: &Device,
    seed: u64,
    run: &Run,
    say: &Say,
) -> Result<Tuned, Failure> {
    // What an earlier search left shall not be taken for this one's.
    run::write_text(&run.trials(), "")?;
    match std::fs::remove_file(run.preset()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("removed", &run.preset())(error));
        }
        _ => {}
    }
    let bench = Bench::to_choose_by(data, device, seed);
    let mut observer =
        Observer { bench, table: run.trials(), say, stop: Heeding::start(), trials: 0, bar: None, failure: None };
    let tuned = match settings {
        Some(settings) => tune(data, preset, settings, device, seed, &mut observer),
        None => glance(data, preset, device, seed, &mut observer),
    };
    observer.clear();
    let tuned = match observer.failure.take() {
        Some(failure) => return Err(failure),
        None => tuned
            .map_err(|error| Failure::from(error).after(&format!("`{}` holds every trial", run.trials().display())))?,
    };
    run::write_text(&run.preset(), &tuned.best.to_toml()?)?;
    say.line(text(&tuned, preset)?);
    say.line(format!("best settings: {}\n", run.preset().display()));
    Ok(tuned)
}

/// How to go on after the training that followed a search was stopped.
pub fn continued(run: &Run, kept: bool) -> String {
    let resume = if kept { " --resume" } else { "" };
    format!("the same command with `--model {}{resume}` instead of `--tune` continues", run.preset().display())
}

/// Shows progress, judges epochs and keeps the table.
struct Observer<'a> {
    bench: Bench<'a>,
    table: PathBuf,
    say: &'a Say,
    stop: Heeding,
    /// Finished trials.
    trials: usize,
    bar: Option<(usize, u32, ProgressBar)>,
    failure: Option<Failure>,
}

impl Observer<'_> {
    fn clear(&mut self) {
        if let Some((_, _, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Observer<'_> {
    fn judge(&mut self, learned: &Learned) -> Verdict {
        let figure = self.bench.choose(learned, CHOSEN_AT).figure;
        Verdict { figure, note: Value::Null, kept: Tensors::new() }
    }

    fn progress(&mut self, _: Phase, epoch: u32, epochs: u32, done: u64, total: u64) {
        if !matches!(&self.bar, Some((trial, e, _)) if (*trial, *e) == (self.trials, epoch)) {
            self.clear();
            let what = format!("trial {}, epoch {epoch} of at most {epochs}", self.trials + 1);
            self.bar = Some((self.trials, epoch, self.say.bar(&what, total)));
        }
        if let Some((_, _, bar)) = &self.bar {
            bar.set_position(done);
        }
    }

    fn epoch(&mut self, _: &[Entry]) {}

    fn stop(&self) -> bool {
        self.failure.is_some() || self.stop.asked()
    }
}

impl WatchTrials for Observer<'_> {
    fn trial(&mut self, trials: &[Trial]) {
        self.clear();
        self.trials = trials.len();
        let lines = trials.iter().map(|trial| serde_json::to_string(trial).unwrap_or_default() + "\n");
        self.failure = run::write_text(&self.table, &lines.collect::<String>()).err();
        let Some(Trial { rung, setting, dim, epochs, figure, failure, seconds, .. }) = trials.last() else { return };
        let size = if *dim == 0 { String::new() } else { format!(", {dim} numbers, {epochs} epochs") };
        let found = match (figure, failure) {
            (Some(figure), _) => format!("validation ndcg@{CHOSEN_AT} {figure:.4}"),
            (None, failure) => failure.clone().unwrap_or_default(),
        };
        self.say.remark(format!("rung {rung}, setting {setting}{size}: {found}  {seconds:.1} s"));
    }
}

/// One line a setting, those that came furthest first: the knobs in which settings differ, and the figure in every rung.
fn text(tuned: &Tuned, preset: &Preset) -> Result<String, Failure> {
    let trials = &tuned.trials;
    let knobs = |trial: &Trial| Ok::<_, Failure>(to_value(&trial.knobs)?.as_object().cloned().unwrap_or_default());
    let all = trials.iter().map(knobs).collect::<Result<Vec<Map<_, _>>, _>>()?;
    let varies = |key: &str| all.iter().any(|knobs| knobs.get(key) != all[0].get(key));
    let mut sizes: Vec<_> = trials.iter().map(|trial| (trial.rung, trial.dim, trial.epochs)).collect();
    sizes.dedup();
    let mut rows = Vec::new();
    for (first, knobs) in trials.iter().zip(&all).filter(|(trial, _)| trial.rung == 1) {
        let own: Vec<_> = trials.iter().filter(|trial| trial.setting == first.setting).collect();
        let knobs = knobs.iter().filter(|(key, _)| varies(key)).map(|(key, value)| match value {
            Value::String(text) => format!("{key} {text}"),
            value => format!("{key} {value}"),
        });
        let mark = match (first.setting, &first.knobs) {
            (1, _) => " (the preset)",
            (2, Knobs::Ials(_)) => " (by the data)",
            _ => "",
        };
        let mut row = vec![format!("{}: {}{mark}", first.setting, knobs.collect::<Vec<_>>().join(", "))];
        row.extend(own.iter().map(|trial| trial.figure.map_or("failed".into(), |figure| format!("{figure:.4}"))));
        rows.push((own.iter().map(|trial| trial.figure).collect::<Vec<_>>(), row));
    }
    rows.sort_by(|(a, _), (b, _)| {
        (b.len(), b.last()).partial_cmp(&(a.len(), a.last())).unwrap_or(a.len().cmp(&b.len()))
    });
    let header = sizes.iter().map(|(_, dim, epochs)| match dim {
        0 => format!("ndcg@{CHOSEN_AT}"),
        dim => format!("dim {dim} × {epochs}"),
    });
    let header: Vec<_> = ["setting".to_owned()].into_iter().chain(header).collect();
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let tried = match preset.dim {
        0 => String::new(),
        _ => ", by numbers per embedding × most epochs".to_owned(),
    };
    Ok(format!(
        "ndcg@{CHOSEN_AT} on the validation part{tried}\n{}",
        table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
    ))
}

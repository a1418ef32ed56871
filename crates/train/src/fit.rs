//! One training run: choose the number of epochs on the validation part, then train the final model on everything
//! before the test part. A checkpoint after every epoch; a resumed run ends with the same bytes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use lookalike_bundle::{Learned, Tensors, read_tensors, write_tensors};
use lookalike_dataset::Dataset;
use serde::{Deserialize, Serialize};

use crate::baseline::ItemKnn;
use crate::bpr::BprModel;
use crate::device::{Device, DeviceError};
use crate::ease::ease;
use crate::ials::IalsModel;
use crate::one_step::OneStep;
use crate::preset::{Knobs, Preset};
use crate::softmax::SoftmaxModel;
use crate::two_tower::TwoTowerModel;

/// The two passes over a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Learning from the training part alone, judged on the validation part after every epoch.
    Choose,
    /// Learning from both parts, for the number of epochs chosen.
    Final,
}

/// What a run tells its caller, and what it asks. The trainer neither evaluates nor prints.
pub trait Watch {
    /// Judges what was learned so far on the validation part.
    fn judge(&mut self, learned: &Learned) -> Verdict;
    /// Work done within an epoch, counted from 1; `total` stays the same during an epoch.
    fn progress(&mut self, phase: Phase, epoch: u32, epochs: u32, done: u64, total: u64);
    /// An epoch is over and its checkpoint is on disk; `log` holds every epoch so far, those before a resume included.
    fn epoch(&mut self, log: &[Entry]);
    /// Whether to stop now; asked often.
    fn stop(&self) -> bool;
}

/// What the caller makes of a model on the validation part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The figure that the number of epochs is chosen by: higher is better.
    pub figure: f64,
    /// Anything the caller wants to find again with the chosen epoch; the trainer does not look at it.
    #[serde(skip_serializing_if = "serde_json::Value::is_null", default)]
    pub note: serde_json::Value,
    /// What the caller wants to find again of the chosen epoch alone: it is too large for a note, and lies in the
    /// checkpoint as long as no better epoch comes.
    #[serde(skip)]
    pub kept: Tensors,
}

/// What is known about one finished epoch; the lines of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which pass.
    pub phase: Phase,
    /// Epoch, from 1; 0 is what is there before the first, where that is a model of its own: the base of towers.
    pub epoch: u32,
    /// Mean training loss, where the method computes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// What [`Watch::judge`] said, in the choosing pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Verdict>,
    /// Seconds spent learning, without judging and writing.
    pub seconds: f64,
}

/// A finished run.
pub struct Fitted {
    /// What scores come from.
    pub learned: Learned,
    /// Further weights of the model, such as `tower.*`.
    pub tensors: Tensors,
    /// Every epoch of both passes.
    pub log: Vec<Entry>,
    /// The number of epochs chosen on the validation part.
    pub best_epoch: u32,
    /// What was said of the model after that epoch.
    pub verdict: Option<Verdict>,
}

/// Why a run did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// The caller asked to stop.
    #[error("stopped in epoch {epoch}; what was finished before it is kept")]
    Stopped {
        /// The epoch that was not finished, from 1.
        epoch: u32,
        /// Whether there is a checkpoint to resume from.
        kept: bool,
    },
    /// Numbers overflowed or became undefined.
    #[error("training diverged in epoch {epoch}: {what}")]
    Diverged {
        /// The epoch, from 1.
        epoch: u32,
        /// What was seen.
        what: String,
        /// Which knob to turn.
        hint: &'static str,
    },
    /// The device failed, or cannot hold the model.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// More memory than there is.
    #[error("{what} takes {needs} bytes, and {has} are available")]
    Memory {
        /// What takes it.
        what: String,
        /// Bytes it takes.
        needs: u64,
        /// Bytes there are, or may be used.
        has: u64,
        /// What to do instead.
        hint: &'static str,
    },
    /// Towers beside a base learn from what users went on to, and nobody did anything before.
    #[error("nothing is known from before the last stretch of the history, so towers cannot learn what followed it")]
    NoPast,
    /// Reading or writing a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] lookalike_bundle::BundleError),
    /// A checkpoint of another run.
    #[error("`{}` was made with another {what}, so this run cannot resume from it", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// A checkpoint whose contents do not fit the model.
    #[error("`{}` does not hold `{name}` as this model needs it", path.display())]
    BadCheckpoint {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor or text.
        name: String,
    },
    /// Nothing to resume from.
    #[error("there is no checkpoint `{}` to resume from", path.display())]
    NoCheckpoint {
        /// Where it would be.
        path: PathBuf,
    },
}

impl FitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stopped { kept: true, .. } => Some("the same command with `--resume` continues".into()),
            Self::Stopped { kept: false, .. } => None,
            Self::NoPast => Some("shorten `validation_days`, or leave `[base]` out of the preset".into()),
            Self::Diverged { hint, .. } | Self::Memory { hint, .. } => Some((*hint).into()),
            Self::Device(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::OtherRun { .. } | Self::BadCheckpoint { .. } | Self::NoCheckpoint { .. } => {
                Some("run without `--resume` to start anew".into())
            }
        }
    }
}

/// One model in training. Everything random is derived from the seed and the epoch's number, so that the state after
/// an epoch is all that a resumed run needs.
pub(crate) trait Model {
    /// The number of the first epoch: 0 for a model that is worth judging before it has learned.
    fn first(&self) -> u32 {
        1
    }
    /// One pass over the data; returns the mean loss where there is one. `tick` gets (done, total).
    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError>;
    /// What scores come from, as it is now.
    fn learned(&mut self) -> Result<Learned, FitError>;
    /// Everything needed to continue.
    fn state(&mut self) -> Result<Tensors, FitError>;
    /// Takes such a state back; the name of a tensor that is missing or of the wrong shape if there is one.
    fn restore(&mut self, state: Tensors) -> Result<(), String>;
    /// Weights to export beside what scores come from.
    fn weights(&mut self) -> Result<Tensors, FitError>;
}

/// What a run is told apart by: a checkpoint is only continued by the run that made it.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Seed of everything random.
    pub seed: u64,
    /// Hash of the data learned from.
    pub data: &'a str,
}

/// Trains `preset` on `data`. `checkpoint` is the file kept up to date; `resume` continues from it.
pub fn fit(
    data: &Dataset,
    preset: &Preset,
    device: &Device,
    identity: Identity<'_>,
    checkpoint: &Path,
    resume: bool,
    watch: &mut dyn Watch,
) -> Result<Fitted, FitError> {
    preset.require(data)?;
    let seed = identity.seed;
    let checkpoint = Checkpoint { path: checkpoint, marks: marks(preset, device, identity) };
    let (mut state, log) = if resume { checkpoint.load()? } else { (None, Vec::new()) };
    let mut run = Run { preset, checkpoint: Some(&checkpoint), watch, log };

    if state.is_none() || run.log.last().is_some_and(|entry| entry.phase == Phase::Choose) {
        let mut model = make(data, Phase::Choose, preset, device, seed)?;
        checkpoint.restore(&mut *model, state.take())?;
        run.choose(&mut *model)?;
    }
    let best_epoch = run.best_epoch();
    let mut model = make(data, Phase::Final, preset, device, seed)?;
    checkpoint.restore(&mut *model, state.take())?;
    while run.last(Phase::Final).is_none_or(|last| last < best_epoch) {
        run.epoch(&mut *model, Phase::Final, best_epoch)?;
    }
    let verdict = run.best().and_then(|entry| entry.validation.clone());
    Ok(Fitted { learned: model.learned()?, tensors: model.weights()?, log: run.log, best_epoch, verdict })
}

/// The choosing pass alone, without a checkpoint: every epoch of it, and the number of the best one.
pub(crate) fn choose(
    data: &Dataset,
    preset: &Preset,
    device: &Device,
    seed: u64,
    watch: &mut dyn Watch,
) -> Result<(Vec<Entry>, u32), FitError> {
    let mut run = Run { preset, checkpoint: None, watch, log: Vec::new() };
    run.choose(&mut *make(data, Phase::Choose, preset, device, seed)?)?;
    let best = run.best_epoch();
    Ok((run.log, best))
}

fn make<'a>(
    data: &'a Dataset,
    phase: Phase,
    preset: &'a Preset,
    device: &'a Device,
    seed: u64,
) -> Result<Box<dyn Model + 'a>, FitError> {
    let train = match phase {
        Phase::Choose => &data.train,
        Phase::Final => &data.full,
    };
    Ok(match &preset.knobs {
        Knobs::Ials(knobs) => Box::new(IalsModel::new(train, preset.dim, knobs, device, seed)?),
        Knobs::SoftmaxMf(knobs) => Box::new(SoftmaxModel::new(train, preset.dim, knobs, device, seed)?),
        Knobs::Bpr(knobs) => Box::new(BprModel::new(train, preset.dim, knobs, device, seed)?),
        Knobs::Ease(knobs) => Box::new(OneStep::new(train.n_cols(), move |tick| ease(train, knobs, tick))),
        Knobs::ItemKnn(knobs) => Box::new(OneStep::new(train.n_cols(), move |tick| {
            let weights = ItemKnn::new(train, knobs.neighbours).item_weights();
            tick(1, 1)?;
            weights.map_err(|error| FitError::Diverged {
                epoch: 1,
                what: error.to_string(),
                hint: "look for weights of interactions that are not finite",
            })
        })),
        Knobs::TwoTower(knobs) => {
            Box::new(TwoTowerModel::new(data, phase, (preset.dim, preset.epochs), knobs, device, seed)?)
        }
    })
}

/// Twelve decimals. A resumed run reads figures back from the text in a checkpoint, and so few digits come back to the
/// bit: its epochs compare as they would have without the interruption.
fn short(number: f64) -> f64 {
    (number * 1e12).round() / 1e12
}

struct Run<'a> {
    preset: &'a Preset,
    checkpoint: Option<&'a Checkpoint<'a>>,
    watch: &'a mut dyn Watch,
    log: Vec<Entry>,
}

impl Run<'_> {
    /// The last epoch of a pass so far.
    fn last(&self, phase: Phase) -> Option<u32> {
        self.log.iter().rev().find(|entry| entry.phase == phase).map(|entry| entry.epoch)
    }

    /// The epoch with the best validation figure; the earliest of equals.
    fn best(&self) -> Option<&Entry> {
        best(&self.log).map(|at| &self.log[at])
    }

    /// Its number.
    fn best_epoch(&self) -> u32 {
        self.best().map_or(self.preset.epochs, |entry| entry.epoch)
    }

    /// Whether the choosing pass is over: epochs used up, or no better figure for `patience` epochs.
    fn chosen(&self) -> bool {
        let over = |last| last >= self.preset.epochs || last - self.best_epoch() >= self.preset.patience;
        self.last(Phase::Choose).is_some_and(over)
    }

    fn choose(&mut self, model: &mut dyn Model) -> Result<(), FitError> {
        while !self.chosen() {
            self.epoch(model, Phase::Choose, self.preset.epochs)?;
        }
        Ok(())
    }

    fn epoch(&mut self, model: &mut dyn Model, phase: Phase, epochs: u32) -> Result<(), FitError> {
        let epoch = self.last(phase).map_or(model.first(), |last| last + 1);
        let kept = self.checkpoint.is_some() && !self.log.is_empty();
        let start = Instant::now();
        let watch = &mut *self.watch;
        let loss = model.epoch(epoch, &mut |done, total| {
            if watch.stop() {
                return Err(FitError::Stopped { epoch, kept });
            }
            watch.progress(phase, epoch, epochs, done, total);
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let validation = match phase {
            Phase::Final => None,
            Phase::Choose => {
                let learned = model.learned()?;
                if !learned.is_finite() {
                    let what = "an embedding holds a number that is not finite".to_owned();
                    return Err(FitError::Diverged { epoch, what, hint: "lower `lr`, or raise `reg` or `tau`" });
                }
                let mut verdict = self.watch.judge(&learned);
                verdict.figure = short(verdict.figure);
                Some(verdict)
            }
        };
        self.log.push(Entry { phase, epoch, loss: loss.map(short), validation, seconds });
        let best = best(&self.log);
        for (_, entry) in self.log.iter_mut().enumerate().filter(|(at, _)| Some(*at) != best) {
            entry.validation.iter_mut().for_each(|verdict| verdict.kept.clear());
        }
        if let Some(checkpoint) = self.checkpoint {
            checkpoint.save(model.state()?, &self.log)?;
        }
        self.watch.epoch(&self.log);
        Ok(())
    }
}

/// The place in the log of the epoch with the best validation figure; the earliest of equals.
fn best(log: &[Entry]) -> Option<usize> {
    let figure = |entry: &Entry| entry.validation.as_ref().map_or(f64::NEG_INFINITY, |verdict| verdict.figure);
    let choosing = (0..log.len()).filter(|&at| log[at].phase == Phase::Choose);
    choosing.reduce(|best, at| if figure(&log[at]) > figure(&log[best]) { at } else { best })
}

/// What must agree for a checkpoint to be continued, by name.
type Marks = [(&'static str, String); 4];

fn marks(preset: &Preset, device: &Device, identity: Identity<'_>) -> Marks {
    [
        ("preset", serde_json::to_string(preset).unwrap_or_default()),
        ("device", device.name().to_owned()),
        ("seed", identity.seed.to_string()),
        ("data", identity.data.to_owned()),
    ]
}

/// What tensors are called in a checkpoint that are not of the model's state but kept for the caller.
const KEPT: &str = "kept.";

/// The file that a run is continued from.
struct Checkpoint<'a> {
    path: &'a Path,
    marks: Marks,
}

impl Checkpoint<'_> {
    fn save(&self, mut state: Tensors, log: &[Entry]) -> Result<(), FitError> {
        let kept = best(log).and_then(|at| log[at].validation.as_ref()).map(|verdict| &verdict.kept);
        let named = kept.into_iter().flatten().map(|(name, tensor)| (format!("{KEPT}{name}"), tensor.clone()));
        state.extend(named);
        let mut meta: std::collections::BTreeMap<_, _> =
            self.marks.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        meta.insert("log".into(), serde_json::to_string(log).unwrap_or_default());
        Ok(write_tensors(self.path, &state, &meta)?)
    }

    fn load(&self) -> Result<(Option<Tensors>, Vec<Entry>), FitError> {
        let path = self.path.to_owned();
        if !path.exists() {
            return Err(FitError::NoCheckpoint { path });
        }
        let (mut state, meta) = read_tensors(&path)?;
        let kept = state.extract_if(.., |name, _| name.starts_with(KEPT));
        let kept: Tensors = kept.map(|(name, tensor)| (name[KEPT.len()..].to_owned(), tensor)).collect();
        for (what, value) in &self.marks {
            if meta.get(*what) != Some(value) {
                return Err(FitError::OtherRun { path, what });
            }
        }
        let log = meta.get("log").and_then(|log| serde_json::from_str(log).ok());
        let mut log: Vec<Entry> = log.ok_or(FitError::BadCheckpoint { path, name: "log".into() })?;
        if let Some(verdict) = best(&log).and_then(|at| log[at].validation.as_mut()) {
            verdict.kept = kept;
        }
        Ok((Some(state), log))
    }

    fn restore(&self, model: &mut dyn Model, state: Option<Tensors>) -> Result<(), FitError> {
        let Some(state) = state else { return Ok(()) };
        model.restore(state).map_err(|name| FitError::BadCheckpoint { path: self.path.to_owned(), name })
    }
}

//! A search for good knobs, judged on the validation part alone: successive halving (Jamieson and Talwalkar 2016,
//! "Non-stochastic Best Arm Identification and Hyperparameter Optimization"). Many settings learn a small model for few
//! epochs; the better half tries again with numbers per embedding and epochs doubled, until the preset's own are reached.
//!
//! Every trial starts anew, since a larger model cannot continue a smaller one. The preset is the first setting, and is
//! tried in every rung, however it fares in small: the search so ends with nothing worse than the preset at full size.
//! Where the kind of model has a rule for its knobs by the data, what that gives is the second setting.

use std::time::Instant;

use lookalike_dataset::{Dataset, stream_seed};
use serde::Serialize;

use crate::device::Device;
use crate::fit::{Entry, FitError, Watch, choose};
use crate::preset::{Knobs, Preset};

/// Fewest numbers per embedding that settings are compared at, where the preset has as many.
const SMALLEST: usize = 8;
/// How often a glance halves the preset's size.
const GLANCE: u32 = 2;
/// Stream of the seeds that settings are drawn from.
const STREAM: u64 = 40;

/// One setting, trained once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Which round of the search, from 1.
    pub rung: u32,
    /// Which setting, from 1; the first is the preset, the second what follows from the data where there is a rule for that.
    pub setting: u32,
    /// Numbers per embedding; 0 for models in weights from item to item.
    pub dim: usize,
    /// Most epochs it was given.
    pub epochs: u32,
    /// The epoch with the best figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_epoch: Option<u32>,
    /// What [`Watch::judge`] said of that epoch; none where the trial failed.
    pub figure: Option<f64>,
    /// Why it failed. It then ranks below all that did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Seconds it took, with judging.
    pub seconds: f64,
    /// The setting's knobs.
    pub knobs: Knobs,
}

/// What a search tells its caller besides what a run tells.
pub trait WatchTrials: Watch {
    /// A trial is over; `trials` holds all so far.
    fn trial(&mut self, trials: &[Trial]);
}

/// A finished search.
#[derive(Debug)]
pub struct Tuned {
    /// The preset with the knobs of the best setting.
    pub best: Preset,
    /// Every trial in the order in which they were made.
    pub trials: Vec<Trial>,
}

/// Why a search found nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The caller asked to stop.
    #[error("the search was stopped after {trials} trials; no setting was chosen")]
    Stopped {
        /// Trials that were finished.
        trials: usize,
    },
    /// Not one setting of a rung could be trained.
    #[error("no setting could be trained in rung {rung}")]
    NoneRan {
        /// The rung, from 1.
        rung: u32,
        /// Why the first of them could not.
        source: Box<FitError>,
    },
}

impl TuneError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stopped { .. } => Some("the same command searches anew; it finds the same settings".into()),
            Self::NoneRan { source, .. } => source.hint(),
        }
    }
}

/// Searches among the preset and settings drawn like it, `settings` in all (at least 1). The first settings of a search
/// among more are those of a search among fewer.
pub fn tune(
    data: &Dataset,
    preset: &Preset,
    settings: u32,
    device: &Device,
    seed: u64,
    watch: &mut dyn WatchTrials,
) -> Result<Tuned, TuneError> {
    search(data, preset, (settings, 0), device, seed, watch)
}

/// A look at as many settings as the preset asks for, at a quarter of its numbers and epochs: enough to tell knobs that suit
/// the data from knobs that do not, in the time of an epoch or two. Of towers that add to a base it is the base's knobs that are
/// looked at, in the base alone, and at its full size: a run of towers learns several bases anyway, and in small, near ties go to
/// the wrong one.
pub fn glance(
    data: &Dataset,
    preset: &Preset,
    device: &Device,
    seed: u64,
    watch: &mut dyn WatchTrials,
) -> Result<Tuned, TuneError> {
    let alone = preset.base_alone();
    let (looked_at, halved) = alone.as_ref().map_or((preset, GLANCE), |base| (base, 0));
    let Tuned { best, trials } = search(data, looked_at, (preset.trials, halved), device, seed, watch)?;
    let best = if alone.is_some() { Preset { trials: 1, ..preset.clone() }.with_base(best.knobs) } else { best };
    Ok(Tuned { best, trials })
}

/// The search among so many settings whose last rung has the preset's size halved so often.
fn search(
    data: &Dataset,
    preset: &Preset,
    (settings, halved): (u32, u32),
    device: &Device,
    seed: u64,
    watch: &mut dyn WatchTrials,
) -> Result<Tuned, TuneError> {
    let refused = |error| TuneError::NoneRan { rung: 1, source: Box::new(error) };
    preset.require(data).map_err(refused)?;
    let drawn = (1..).map(|nth| preset.draw(stream_seed(seed, STREAM, nth)));
    let items = data.train.all_cols().iter().max().map_or(0, |&last| last as usize + 1);
    let by_data = preset.by_data([data.train.rows_in_use(), items], data.train.len());
    let candidates = [preset.clone()].into_iter().chain(by_data).chain(drawn).take(settings.max(1) as usize);
    // What is found needs no search.
    let candidates: Vec<Preset> = candidates.map(|preset| Preset { trials: 1, ..preset }).collect();
    let sizes = sizes(preset, candidates.len(), halved);
    let mut trials: Vec<Trial> = Vec::new();
    let mut alive: Vec<usize> = (0..candidates.len()).collect();
    for (rung, &(dim, epochs)) in sizes.iter().enumerate() {
        let first = trials.len();
        let mut why = None;
        for &candidate in &alive {
            let start = Instant::now();
            let fitted = choose(data, &candidates[candidate].resized(dim, epochs), device, seed, watch);
            if matches!(fitted, Err(FitError::Stopped { .. })) {
                return Err(TuneError::Stopped { trials: trials.len() });
            }
            let best = fitted.as_ref().ok().and_then(|(log, best)| Some((figure(log, *best)?, *best)));
            trials.push(Trial {
                rung: rung as u32 + 1,
                setting: candidate as u32 + 1,
                dim,
                epochs,
                best_epoch: best.map(|(_, epoch)| epoch),
                figure: best.map(|(figure, _)| figure),
                failure: fitted.as_ref().err().map(FitError::to_string),
                seconds: start.elapsed().as_secs_f64(),
                knobs: candidates[candidate].knobs.clone(),
            });
            watch.trial(&trials);
            why = why.or(fitted.err());
        }
        let figures: Vec<_> = alive.iter().zip(&trials[first..]).map(|(&nth, trial)| (nth, trial.figure)).collect();
        // The last rung's best come first; how many more there are does not matter then.
        alive = survivors(&figures, candidates.len().div_ceil(2 << rung));
        if let (true, Some(error)) = (alive.is_empty(), why) {
            return Err(TuneError::NoneRan { rung: rung as u32 + 1, source: Box::new(error) });
        }
    }
    Ok(Tuned { best: candidates[alive[0]].clone(), trials })
}

fn figure(log: &[Entry], epoch: u32) -> Option<f64> {
    log.iter().find(|entry| entry.epoch == epoch)?.validation.as_ref().map(|verdict| verdict.figure)
}

/// Numbers per embedding and epochs of every rung. The last rung, of two settings beside the preset, has the preset's, `halved`
/// so often; a model that is solved in one step has no smaller version, and so one rung.
fn sizes(preset: &Preset, settings: usize, halved: u32) -> Vec<(usize, u32)> {
    let rungs = match preset.knobs.one_step() {
        true => 1,
        false => settings.next_power_of_two().trailing_zeros().max(1),
    };
    let size = |halvings: u32| {
        let dim = (preset.dim >> halvings).max(SMALLEST.min(preset.dim));
        (dim, preset.epochs.div_ceil(1 << halvings.min(31)))
    };
    (halved..halved + rungs).rev().map(size).collect()
}

/// The `best` settings by figure, earlier ones first among equals, and the preset behind them if it is not one of them.
/// Those without a figure are out.
fn survivors(figures: &[(usize, Option<f64>)], best: usize) -> Vec<usize> {
    let mut ranked: Vec<_> = figures.iter().filter_map(|&(nth, figure)| Some((nth, figure?))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let (ahead, behind) = ranked.split_at(best.min(ranked.len()));
    let preset = behind.iter().filter(|(nth, _)| *nth == 0);
    ahead.iter().chain(preset).map(|&(nth, _)| nth).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_double_up_to_those_of_the_preset() {
        let ials = Preset::load("ials").unwrap(); // 128 numbers, 12 epochs
        assert_eq!(sizes(&ials, 1, 0), [(128, 12)]);
        assert_eq!(sizes(&ials, 2, 0), [(128, 12)]);
        assert_eq!(sizes(&ials, 3, 0), [(64, 6), (128, 12)]);
        assert_eq!(sizes(&ials, 8, 0), [(32, 3), (64, 6), (128, 12)]);
        assert_eq!(sizes(&ials, 9, 0), [(16, 2), (32, 3), (64, 6), (128, 12)]);
        assert_eq!(sizes(&ials, 100, 0)[..3], [(8, 1), (8, 1), (8, 1)]);
        assert_eq!(sizes(&ials.resized(4, 1), 8, 0), [(4, 1); 3]);
        assert_eq!(sizes(&Preset::load("ease").unwrap(), 100, 0), [(0, 1)]);
        assert_eq!(sizes(&ials, 2, GLANCE), [(32, 3)]);
        assert_eq!(sizes(&Preset::load("ease").unwrap(), 2, GLANCE), [(0, 1)]);
    }

    #[test]
    fn the_better_half_and_the_preset_go_on() {
        let figures = |figures: &[f64]| figures.iter().copied().map(Some).enumerate().collect::<Vec<_>>();
        assert_eq!(survivors(&figures(&[0.3, 0.1, 0.4, 0.2]), 2), [2, 0]);
        assert_eq!(survivors(&figures(&[0.1, 0.2, 0.4, 0.3]), 2), [2, 3, 0]);
        assert_eq!(survivors(&figures(&[0.2, 0.2, 0.1]), 1), [0]);
        assert_eq!(survivors(&figures(&[0.1, 0.2, 0.2]), 1), [1, 0]);
    }

    #[test]
    fn what_failed_is_out_and_the_preset_too() {
        assert_eq!(survivors(&[(0, None), (1, Some(0.0)), (2, None), (3, Some(0.1))], 3), [3, 1]);
        assert!(survivors(&[(0, None), (2, None)], 1).is_empty());
    }
}

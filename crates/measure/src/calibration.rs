//! Whether a forecast of yes or no can be trusted: does it sort (AUC), and is it right about how likely (Brier, bins).
//!
//! - Brier score: Brier, *Verification of forecasts expressed in terms of probability*, Mon. Weather Rev. 78 (1950), in the
//!   form for one of two outcomes;
//! - AUC as the share of pairs put in the right order, ties a half: Hanley and McNeil, Radiology 143 (1982);
//! - reliability bins and expected calibration error: Naeini, Cooper and Hauskrecht, AAAI 2015.

use crate::agreement::average_ranks;
use crate::error::{Error, Result, finite, probabilities, same_length};

/// Mean squared difference between the forecast and what came, 0 (always certain and right) to 1. `None` for nothing.
pub fn brier(forecast: &[f64], came: &[bool]) -> Result<Option<f64>> {
    same_length(forecast.len(), came.len())?;
    probabilities(forecast)?;
    let square = |(p, &came): (&f64, &bool)| (p - f64::from(u8::from(came))).powi(2);
    let sum: f64 = forecast.iter().zip(came).map(square).sum();
    Ok((!came.is_empty()).then(|| sum / came.len() as f64))
}

/// The chance that a case that came has a higher score than one that did not, equal scores counting a half. Scores may be
/// any finite numbers. `None` unless there are cases of both kinds.
pub fn auc(scores: &[f64], came: &[bool]) -> Result<Option<f64>> {
    same_length(scores.len(), came.len())?;
    finite(scores)?;
    let yes = came.iter().filter(|&&came| came).count() as f64;
    let no = came.len() as f64 - yes;
    if yes == 0.0 || no == 0.0 {
        return Ok(None);
    }
    let ranks: f64 = average_ranks(scores)?.iter().zip(came).filter(|(_, came)| **came).map(|(rank, _)| rank).sum();
    Ok(Some((ranks - yes * (yes + 1.0) / 2.0) / (yes * no)))
}

/// Forecasts that lie close together, and what came of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// The bin holds forecasts above this, and 0 where this is 0.
    pub above: f64,
    /// Up to and including this.
    pub up_to: f64,
    /// How many forecasts.
    pub count: u64,
    /// Their mean; `None` where there are none.
    pub forecast: Option<f64>,
    /// The share of them that came; `None` where there are none.
    pub came: Option<f64>,
}

/// Forecasts in `bins` bins of equal width, in ascending order, empty ones included.
pub fn reliability(forecast: &[f64], came: &[bool], bins: usize) -> Result<Vec<Bin>> {
    same_length(forecast.len(), came.len())?;
    probabilities(forecast)?;
    if bins == 0 {
        return Err(Error::Nothing { what: "bin" });
    }
    let bound = |bin: usize| bin as f64 / bins as f64;
    let mut sums = vec![(0u64, 0.0, 0u64); bins];
    for (&p, &came) in forecast.iter().zip(came) {
        // Rounding may put p just beside its bin; the bounds decide.
        let mut bin = ((p * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        while bin > 0 && p <= bound(bin) {
            bin -= 1;
        }
        while bin + 1 < bins && p > bound(bin + 1) {
            bin += 1;
        }
        sums[bin].0 += 1;
        sums[bin].1 += p;
        sums[bin].2 += u64::from(came);
    }
    let made = |(bin, (count, forecast, came)): (usize, (u64, f64, u64))| Bin {
        above: bound(bin),
        up_to: bound(bin + 1),
        count,
        forecast: (count > 0).then(|| forecast / count as f64),
        came: (count > 0).then(|| came as f64 / count as f64),
    };
    Ok(sums.into_iter().enumerate().map(made).collect())
}

/// Mean distance between what was forecast and what came, over bins weighted by their counts; `None` if all are empty.
pub fn calibration_error(bins: &[Bin]) -> Option<f64> {
    let all: u64 = bins.iter().map(|bin| bin.count).sum();
    let off = |bin: &Bin| Some(bin.count as f64 * (bin.forecast? - bin.came?).abs());
    (all > 0).then(|| bins.iter().filter_map(off).sum::<f64>() / all as f64)
}

//! Quantiles that interpolate between order statistics: Hyndman and Fan, *Sample quantiles in statistical packages*, Am.
//! Statistician 50 (1996), type 7, the default of R and numpy.

use crate::error::{Result, finite, probabilities};

/// The quantile of `values` (in any order) at each of `shares`, at position (n − 1) · share of the sorted values, counted
/// from 0, linearly between neighbours. `None` for no values.
pub fn quantile(values: &[f64], shares: &[f64]) -> Result<Option<Vec<f64>>> {
    finite(values)?;
    probabilities(shares)?;
    if values.is_empty() {
        return Ok(None);
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(Some(shares.iter().map(|&share| quantile_of_sorted(&sorted, share)).collect()))
}

/// The same of finite values that are sorted already, of which there must be one at least.
pub(crate) fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * share;
    let (below, part) = (place.floor() as usize, place.fract());
    let low = sorted[below.min(sorted.len() - 1)];
    let high = sorted[(below + 1).min(sorted.len() - 1)];
    // Between equal neighbours the value itself, and never more than the upper one, to the bit.
    if low == high { low } else { (low + part * (high - low)).min(high) }
}

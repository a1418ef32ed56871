//! Whether numbers of today still look like those of another day: the population stability index.
//!
//! PSI = Σ over cells of (after − before) · ln(after / before), with shares of each time (Siddiqi, *Credit Risk
//! Scorecards*, 2006; the symmetric divergence of Kullback and Leibler, 1951). By his rule of thumb less than
//! [`STABLE`] is no change to speak of, and from [`SHIFTED`] on the population is another one.

use crate::error::{Error, Result, finite, same_length};
use crate::quantile::quantile_of_sorted;

/// A share below this counts as this: an empty cell would make the index infinite. Shares are not scaled anew after it.
pub const PSI_FLOOR: f64 = 1e-4;
/// Below this a population is as it was.
pub const STABLE: f64 = 0.1;
/// From here on it is another one.
pub const SHIFTED: f64 = 0.25;

/// The index of two counts of the same cells; at least 0. `None` where one of the times has nobody at all.
pub fn psi(before: &[u64], after: &[u64]) -> Result<Option<f64>> {
    same_length(before.len(), after.len())?;
    let total = |counts: &[u64]| counts.iter().map(|&count| count as f64).sum::<f64>();
    let (all_before, all_after) = (total(before), total(after));
    if all_before == 0.0 || all_after == 0.0 {
        return Ok(None);
    }
    let term = |(&before, &after): (&u64, &u64)| {
        let (before, after) = ((before as f64 / all_before).max(PSI_FLOOR), (after as f64 / all_after).max(PSI_FLOOR));
        (after - before) * (after / before).ln()
    };
    Ok(Some(before.iter().zip(after).map(term).sum()))
}

/// The index of two samples of a number, in cells of about equal size before: the bounds are the `bins` − 1 inner
/// quantiles of `before` (see [`crate::quantile()`]), a value equal to a bound belongs below it, and equal bounds count
/// once. `None` where one of the samples is empty.
pub fn psi_of_numbers(before: &[f64], after: &[f64], bins: usize) -> Result<Option<f64>> {
    if bins == 0 {
        return Err(Error::Nothing { what: "bin" });
    }
    finite(before)?;
    finite(after)?;
    if before.is_empty() || after.is_empty() {
        return Ok(None);
    }
    let mut sorted = before.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut bounds: Vec<f64> = (1..bins).map(|bin| quantile_of_sorted(&sorted, bin as f64 / bins as f64)).collect();
    bounds.dedup();
    let count = |values: &[f64]| {
        let mut counts = vec![0u64; bounds.len() + 1];
        values.iter().for_each(|value| counts[bounds.partition_point(|bound| bound < value)] += 1);
        counts
    };
    psi(&count(before), &count(after))
}

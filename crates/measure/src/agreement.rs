//! Whether two answers to the same question agree: labels with labels, ranks with ranks, one half of a history with the
//! other.
//!
//! - adjusted Rand index: Hubert and Arabie, *Comparing partitions*, J. Classification 2 (1985), their equation 5;
//! - Spearman's ρ: Pearson's correlation of average ranks, ties sharing the mean of their places (Kendall, *Rank
//!   Correlation Methods*, 1948);
//! - reliability of the whole from that of a half, 2r / (1 + r): Spearman and Brown, both in Brit. J. Psychology 3 (1910).

use std::collections::HashMap;

use crate::error::{Result, finite, same_length};

/// How far two partitions of the same things agree beyond chance: 1 where they are the same up to the names of the
/// labels, about 0 where they have nothing to do with each other, negative where they agree less than chance.
///
/// `None` for fewer than two things. Two partitions that both put all things together, or both each thing alone, agree: 1.
pub fn adjusted_rand(left: &[u32], right: &[u32]) -> Result<Option<f64>> {
    same_length(left.len(), right.len())?;
    if left.len() < 2 {
        return Ok(None);
    }
    let (mut cells, mut rows, mut columns) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (&a, &b) in left.iter().zip(right) {
        *cells.entry((a, b)).or_insert(0u64) += 1;
        *rows.entry(a).or_insert(0u64) += 1;
        *columns.entry(b).or_insert(0u64) += 1;
    }
    // Whole numbers up to here, so that the order of a hash map cannot be seen.
    let (both, left_pairs, right_pairs) = (pairs(cells.values()), pairs(rows.values()), pairs(columns.values()));
    let all = pairs([left.len() as u64].iter());
    let expected = left_pairs * right_pairs / all;
    let most = f64::midpoint(left_pairs, right_pairs);
    Ok(Some(if most == expected { 1.0 } else { (both - expected) / (most - expected) }))
}

/// Pairs of things within groups of these sizes.
fn pairs<'a>(sizes: impl Iterator<Item = &'a u64>) -> f64 {
    let pairs: u128 = sizes.map(|&n| u128::from(n) * u128::from(n.saturating_sub(1)) / 2).sum();
    pairs as f64
}

/// Share of places where two lists of labels say the same; `None` for empty lists.
///
/// It is the accuracy of predicted labels, and the fidelity of a simple model to the one that it explains.
pub fn accuracy(left: &[u32], right: &[u32]) -> Result<Option<f64>> {
    same_length(left.len(), right.len())?;
    let same = left.iter().zip(right).filter(|(a, b)| a == b).count();
    Ok((!left.is_empty()).then(|| same as f64 / left.len() as f64))
}

/// The place of each value in ascending order, from 1; equal values share the mean of their places.
pub fn average_ranks(values: &[f64]) -> Result<Vec<f64>> {
    finite(values)?;
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = at as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&place| ranks[place] = rank);
        at += tied.len();
    }
    Ok(ranks)
}

/// Pearson's correlation; `None` for fewer than two pairs, or where one side does not vary.
pub fn pearson(left: &[f64], right: &[f64]) -> Result<Option<f64>> {
    same_length(left.len(), right.len())?;
    finite(left)?;
    finite(right)?;
    let constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if left.len() < 2 || constant(left) || constant(right) {
        return Ok(None);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_left, mean_right) = (mean(left), mean(right));
    let (mut both, mut squares_left, mut squares_right) = (0.0, 0.0, 0.0);
    for (a, b) in left.iter().zip(right) {
        let (a, b) = (a - mean_left, b - mean_right);
        both += a * b;
        squares_left += a * a;
        squares_right += b * b;
    }
    let r = both / (squares_left.sqrt() * squares_right.sqrt());
    // Squares of very large or very small numbers leave the range.
    Ok(r.is_finite().then(|| r.clamp(-1.0, 1.0)))
}

/// Spearman's ρ; `None` for fewer than two pairs, or where one side does not vary.
pub fn spearman(left: &[f64], right: &[f64]) -> Result<Option<f64>> {
    same_length(left.len(), right.len())?;
    pearson(&average_ranks(left)?, &average_ranks(right)?)
}

/// How reliable a figure of a person is, judged by computing it from each half of the history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitHalf {
    /// People with a figure in both halves.
    pub people: usize,
    /// Spearman's ρ between the halves.
    pub halves: f64,
    /// What that says of a figure from the whole history, between 0 and 1: 2ρ / (1 + ρ), and 0 where ρ is not above 0,
    /// since halves that contradict each other say nothing of the person.
    pub whole: f64,
}

/// Split-half reliability of a figure: `first` and `second` hold it for the same people, from one half of their history
/// each. `None` for fewer than two people, or where the figure does not vary.
pub fn split_half(first: &[f64], second: &[f64]) -> Result<Option<SplitHalf>> {
    let of = |halves: f64| SplitHalf { people: first.len(), halves, whole: spearman_brown(halves) };
    Ok(spearman(first, second)?.map(of))
}

/// The reliability of twice as much material, from the correlation `r` of two halves; 0 where `r` is not above 0.
fn spearman_brown(r: f64) -> f64 {
    if r > 0.0 { 2.0 * r / (1.0 + r) } else { 0.0 }
}

//! Whether a difference may be chance: two shares, two means, and many such questions at once. All p-values are two-sided.
//!
//! - two shares: the pooled z of Pearson's χ² without correction, and where one of the four expected counts is below 5
//!   (Cochran, Biometrics 10, 1954) the exact test of Fisher (*Statistical Methods for Research Workers*, 1934), which sums
//!   all tables no more likely than the one seen;
//! - two means: Welch, Biometrika 34 (1947), with the degrees of freedom of Satterthwaite (1946);
//! - many tests: Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995).

use libm::erfc;

use crate::error::{Error, Result, finite, probabilities};
use crate::special::incomplete_beta;

/// How a p-value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By the normal distribution.
    PooledZ,
    /// By counting tables.
    FisherExact,
}

/// The comparison of two shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// First share minus second.
    pub difference: f64,
    /// Chance of a difference like this or further from 0 if there were none.
    pub p: f64,
    /// How it was found.
    pub method: Method,
}

/// Compares `hits` of `n` in one group with those in another that has no member of the first. `None` if a group is empty.
pub fn two_shares(hits: [u64; 2], n: [u64; 2]) -> Result<Option<Shares>> {
    for (part, whole) in hits.into_iter().zip(n) {
        if part > whole {
            return Err(Error::MoreThanAll { part, whole });
        }
    }
    if n.contains(&0) {
        return Ok(None);
    }
    let ([a, b], [n_a, n_b]) = (hits.map(|hits| hits as f64), n.map(|n| n as f64));
    let (difference, pooled) = (a / n_a - b / n_b, (a + b) / (n_a + n_b));
    let least_expected = n_a.min(n_b) * pooled.min(1.0 - pooled);
    if least_expected < 5.0 {
        return Ok(Some(Shares { difference, p: fisher(hits, n), method: Method::FisherExact }));
    }
    let z = difference / (pooled * (1.0 - pooled) * (1.0 / n_a + 1.0 / n_b)).sqrt();
    Ok(Some(Shares { difference, p: normal_two_sided(z), method: Method::PooledZ }))
}

/// Chance that a standard normal number is as far from 0 as `z` or further.
pub fn normal_two_sided(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Tables whose chance exceeds that of the one seen by less than this part count as no more likely: chances that are equal
/// differ in their last bits. R's `fisher.test` allows the same.
const EQUALLY_LIKELY: f64 = 1e-7;

fn fisher([a, b]: [u64; 2], [n_a, n_b]: [u64; 2]) -> f64 {
    let all = a + b;
    let (least, most) = (all.saturating_sub(n_b), all.min(n_a));
    // How much likelier a table with one hit more in the first group is, as a logarithm.
    let step = |hits: u64| {
        let likelier = (n_a - hits) as f64 * (all - hits) as f64;
        (likelier / ((hits + 1) as f64 * (n_b + hits + 1 - all) as f64)).ln()
    };
    // Chances relative to the table seen, so that no factorial is needed.
    let (mut as_unlikely, mut total) = (1.0, 1.0);
    let mut add = |relative: f64| {
        total += relative.exp();
        as_unlikely += if relative <= EQUALLY_LIKELY { relative.exp() } else { 0.0 };
        relative
    };
    (a..most).fold(0.0, |relative, hits| add(relative + step(hits)));
    (least..a).rev().fold(0.0, |relative, hits| add(relative - step(hits)));
    as_unlikely / total
}

/// The comparison of two means whose groups may vary differently.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// First mean minus second.
    pub difference: f64,
    /// The difference in units of its standard error; infinite where neither group varies but the means differ.
    pub t: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// Chance of a difference like this or further from 0 if there were none.
    pub p: f64,
}

/// Welch's test; `None` unless each group has two values at least, and where their squares leave the range of numbers.
pub fn welch(left: &[f64], right: &[f64]) -> Result<Option<Means>> {
    finite(left)?;
    finite(right)?;
    if left.len() < 2 || right.len() < 2 {
        return Ok(None);
    }
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
        (mean, variance / n, n - 1.0)
    };
    let ((mean_left, error_left, free_left), (mean_right, error_right, free_right)) = (moments(left), moments(right));
    let (difference, square) = (mean_left - mean_right, error_left + error_right);
    if !square.is_finite() || !difference.is_finite() {
        return Ok(None);
    }
    if square == 0.0 {
        let (t, p) = if difference == 0.0 { (0.0, 1.0) } else { (difference.signum() * f64::INFINITY, 0.0) };
        return Ok(Some(Means { difference, t, freedom: free_left + free_right, p }));
    }
    let t = difference / square.sqrt();
    // Divided by the larger first: the square of a tiny or huge error would leave the range.
    let (a, b) = (error_left / square, error_right / square);
    let freedom = 1.0 / (a * a / free_left + b * b / free_right);
    Ok(Some(Means { difference, t, freedom, p: student_two_sided(t, freedom) }))
}

/// From so many degrees of freedom on, Student's distribution is taken for the normal one.
const AS_GOOD_AS_NORMAL: f64 = 1e8;

/// Chance that a number of Student's distribution with `freedom` degrees (above 0) is as far from 0 as `t` or further.
pub fn student_two_sided(t: f64, freedom: f64) -> f64 {
    if freedom >= AS_GOOD_AS_NORMAL {
        return normal_two_sided(t);
    }
    incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// p-values adjusted so that calling all below q a finding has at most a share q of false findings among them, on
/// average, if the tests are independent or positively related. In the order they came in.
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>> {
    probabilities(p)?;
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_unstable_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut adjusted, mut least) = (vec![0.0; p.len()], 1.0f64);
    for (place, &at) in order.iter().enumerate().rev() {
        // The factor first: it is at least 1, so that rounding cannot bring the product below p.
        least = least.min(p[at] * (p.len() as f64 / (place + 1) as f64));
        adjusted[at] = least;
    }
    Ok(adjusted)
}

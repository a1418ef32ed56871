//! The least value of a smooth function of a few numbers, without derivatives: Nelder and Mead, *A simplex method for
//! function minimization*, Computer J. 7 (1965), begun anew where it ends until that changes nothing.

/// Evaluations after which a search is given up.
pub(crate) const TRIES: usize = 8_000;
/// A simplex is small when its points are no further from the best than this, in every direction.
const NEAR: f64 = 1e-7;
/// A search that was begun anew has found nothing if it is better by no more than this share.
const SAME: f64 = 1e-11;

/// Where a function is least, and its value there; `None` if it was not found in [`TRIES`] evaluations.
///
/// A value that is not a number counts as the worst. The function need not be defined everywhere, but at `start`.
pub(crate) fn minimize(function: impl Fn(&[f64]) -> f64, start: &[f64]) -> Option<(Vec<f64>, f64)> {
    let mut left = TRIES;
    let mut value = |point: &[f64]| -> Option<f64> {
        left = left.checked_sub(1)?;
        let value = function(point);
        Some(if value.is_nan() { f64::INFINITY } else { value })
    };
    let mut best = (start.to_vec(), value(start)?);
    for step in [0.5, 0.1, 0.1, 0.1, 0.1, 0.1] {
        let found = descend(&mut value, &best, step)?;
        let gained = best.1 - found.1;
        best = found;
        if gained <= SAME * best.1.abs() && step < 0.5 {
            return Some(best);
        }
    }
    None
}

/// One search from a simplex around a point.
fn descend(
    value: &mut impl FnMut(&[f64]) -> Option<f64>,
    (start, at_start): &(Vec<f64>, f64),
    step: f64,
) -> Option<(Vec<f64>, f64)> {
    let n = start.len();
    let mut simplex = vec![(start.clone(), *at_start)];
    for axis in 0..n {
        let mut point = start.clone();
        point[axis] += step;
        let at = value(&point)?;
        simplex.push((point, at));
    }
    loop {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let spread = |point: &[f64]| point.iter().zip(&simplex[0].0).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if simplex[1..].iter().all(|(point, _)| spread(point) <= NEAR) {
            return simplex.into_iter().next();
        }
        let centre: Vec<f64> =
            (0..n).map(|axis| simplex[..n].iter().map(|(point, _)| point[axis]).sum::<f64>() / n as f64).collect();
        let worst = simplex[n].clone();
        // 1 is as far behind the centre as the worst point is before it.
        let mut along = |far: f64| -> Option<(Vec<f64>, f64)> {
            let point: Vec<f64> =
                centre.iter().zip(&worst.0).map(|(centre, worst)| centre + far * (centre - worst)).collect();
            let at = value(&point)?;
            Some((point, at))
        };
        let reflected = along(1.0)?;
        let chosen = if reflected.1 < simplex[0].1 {
            let expanded = along(2.0)?;
            Some(if expanded.1 < reflected.1 { expanded } else { reflected })
        } else if reflected.1 < simplex[n - 1].1 {
            Some(reflected)
        } else {
            let contracted = along(if reflected.1 < worst.1 { 0.5 } else { -0.5 })?;
            (contracted.1 < reflected.1.min(worst.1)).then_some(contracted)
        };
        match chosen {
            Some(chosen) => simplex[n] = chosen,
            None => {
                let (best, others) = simplex.split_at_mut(1);
                for (point, at) in others {
                    point.iter_mut().zip(&best[0].0).for_each(|(own, best)| *own = (*own + best) / 2.0);
                    *at = value(point)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottom_of_a_bent_valley_is_found() {
        let valley = |at: &[f64]| (1.0 - at[0]).powi(2) + 100.0 * (at[1] - at[0] * at[0]).powi(2);
        let (at, value) = minimize(valley, &[-1.2, 1.0]).unwrap_or_default();
        assert!((at[0] - 1.0).abs() < 1e-6 && (at[1] - 1.0).abs() < 1e-6 && value < 1e-12, "{at:?} {value}");
    }

    #[test]
    fn a_slope_without_end_is_given_up() {
        assert_eq!(minimize(|at: &[f64]| -at[0] + at[1].powi(2), &[0.0, 1.0]), None);
    }
}

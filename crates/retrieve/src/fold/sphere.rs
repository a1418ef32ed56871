//! Fold-in for models whose scores are cosines divided by a temperature τ, trained by softmax over items.
//!
//! The vector maximises `mean_h(u·v_h)/τ − a·ln Σ_j exp(u·v_j/τ)` over the unit sphere, where a is the weight of the
//! negatives in training, h goes over what is known and j over the rest: what is known is no negative, as in training (the
//! decoupled loss of Yeh et al., ECCV 2022). Of a large table j goes over a seeded sample, so that the time does not grow
//! with it. Found by projected gradient ascent with a step that grows while it helps and shrinks when it does not.

use std::collections::BTreeSet;

use lookalike_bundle::Matrix;
use pulp::Arch;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::product::Products;

/// The most rows that stand for the table.
const SAMPLE: usize = 4096;
/// The most evaluations of the objective.
const STEPS: usize = 60;
/// An ascent ends where the objective's gradient along the sphere is no longer than this.
const FLAT: f32 = 1e-3;

pub(super) struct Sphere<'a> {
    table: &'a Matrix,
    products: Products,
    arch: Arch,
    tau: f32,
    negative_weight: f32,
    /// Row numbers of the sample, ascending, and the rows side by side.
    rows: Vec<usize>,
    sample: Matrix,
}

/// The objective at a point, and its gradient.
struct Slope {
    value: f64,
    gradient: Vec<f32>,
}

impl<'a> Sphere<'a> {
    pub(super) fn new(table: &'a Matrix, tau: f32, negative_weight: f32, seed: u64) -> Self {
        let rows = sample_rows(table.rows(), seed);
        let mut sample = Matrix::zeros(rows.len(), table.cols());
        rows.iter().enumerate().for_each(|(at, &row)| sample.row_mut(at).copy_from_slice(table.row(row)));
        Self { table, products: Products::default(), arch: Arch::new(), tau, negative_weight, rows, sample }
    }

    /// The unit vector that these rows of the table (ascending) ask for; `None` if they point nowhere together.
    pub(super) fn ascend(&self, known: &[usize]) -> Option<Vec<f32>> {
        let mut mean = vec![0.0; self.table.cols()];
        for &row in known {
            mean.iter_mut().zip(self.table.row(row)).for_each(|(sum, number)| *sum += number / known.len() as f32);
        }
        let known: Vec<usize> = known.iter().filter_map(|row| self.rows.binary_search(row).ok()).collect();
        let mut work = (Vec::new(), &known[..]);
        let mut point = self.unit(mean.clone())?;
        let mut slope = self.slope(&point, &mean, &mut work);
        let mut step = self.tau;
        for _ in 1..STEPS {
            let outward = self.products.of(&slope.gradient, &point);
            let along: f32 = slope.gradient.iter().zip(&point).map(|(g, p)| (g - outward * p).powi(2)).sum();
            if along.sqrt() <= FLAT {
                break;
            }
            let Some(next) = self.unit(point.iter().zip(&slope.gradient).map(|(p, g)| p + step * g).collect()) else {
                break;
            };
            let there = self.slope(&next, &mean, &mut work);
            if there.value > slope.value {
                (point, slope) = (next, there);
                step *= 1.5;
            } else {
                step *= 0.5;
            }
        }
        Some(point)
    }

    fn unit(&self, mut vector: Vec<f32>) -> Option<Vec<f32>> {
        let length = self.products.of(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|number| *number /= length);
        (length > 0.0 && length.is_finite()).then_some(vector)
    }

    /// `known` are places in the sample. Scores are cosines, so their largest is at most 1/τ, and nothing overflows once that is taken off.
    fn slope(&self, point: &[f32], mean: &[f32], (scores, known): &mut (Vec<f32>, &[usize])) -> Slope {
        self.products.of_all(point, &self.sample, scores);
        scores.iter_mut().for_each(|score| *score = ((*score - 1.0) / self.tau).exp());
        known.iter().for_each(|&at| scores[at] = 0.0);
        let total: f64 = scores.iter().map(|&share| f64::from(share)).sum();
        let mut gradient: Vec<f32> = mean.iter().map(|number| number / self.tau).collect();
        if total > 0.0 {
            let scale = (f64::from(-self.negative_weight) / (total * f64::from(self.tau))) as f32;
            self.arch.dispatch(|| {
                for (row, share) in self.sample.data().chunks_exact(point.len()).zip(scores.iter()) {
                    for (sum, number) in gradient.iter_mut().zip(row) {
                        *sum += scale * share * number;
                    }
                }
            });
        }
        let rest = if total > 0.0 { f64::from(self.negative_weight) * total.ln() } else { 0.0 };
        Slope { value: f64::from(self.products.of(point, mean) / self.tau) - rest, gradient }
    }
}

/// All of few row numbers, or [`SAMPLE`] of many (Floyd's method; Bentley and Floyd 1987), ascending.
fn sample_rows(rows: usize, seed: u64) -> Vec<usize> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn = BTreeSet::new();
    for last in rows.saturating_sub(SAMPLE)..rows {
        let row = rng.random_range(0..=last);
        if !drawn.insert(row) {
            drawn.insert(last);
        }
    }
    drawn.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::random;

    const TAU: f32 = 0.1;
    const WEIGHT: f32 = 1.3;

    fn unit_rows(rows: usize, dim: usize, seed: u64) -> Matrix {
        let mut table = random(rows, dim, seed);
        for row in 0..rows {
            let length = table.row(row).iter().map(|number| number * number).sum::<f32>().sqrt();
            table.row_mut(row).iter_mut().for_each(|number| *number /= length);
        }
        table
    }

    /// The objective as it is written at the top of this file.
    fn objective(table: &Matrix, known: &[usize], point: &[f32]) -> f64 {
        let score = |row: usize| -> f64 {
            table.row(row).iter().zip(point).map(|(&v, &u)| f64::from(v) * f64::from(u)).sum::<f64>() / f64::from(TAU)
        };
        let rest = (0..table.rows()).filter(|row| !known.contains(row)).map(|row| score(row).exp()).sum::<f64>();
        known.iter().map(|&row| score(row)).sum::<f64>() / known.len() as f64 - f64::from(WEIGHT) * rest.ln()
    }

    #[test]
    fn no_small_step_along_the_sphere_is_higher() {
        for (rows, dim, seed) in [(40, 3, 1), (300, 8, 2), (1000, 33, 3)] {
            let table = unit_rows(rows, dim, seed);
            let known = [0, 3, 7, rows - 1];
            let sphere = Sphere::new(&table, TAU, WEIGHT, 5);
            let found = sphere.ascend(&known).unwrap();
            let highest = objective(&table, &known, &found);
            for at in 0..dim {
                for by in [-0.02, 0.02] {
                    let mut moved = found.clone();
                    moved[at] += by;
                    let moved = sphere.unit(moved).unwrap();
                    assert!(objective(&table, &known, &moved) < highest + 1e-6, "{rows} {dim} {at}");
                }
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let table = unit_rows(50, 4, 9);
        let (sphere, known) = (Sphere::new(&table, TAU, WEIGHT, 1), [2, 30]);
        let mean: Vec<f32> = (0..4).map(|at| (table.row(2)[at] + table.row(30)[at]) / 2.0).collect();
        let point = table.row(11);
        let slope = sphere.slope(point, &mean, &mut (Vec::new(), &known));
        for at in 0..4 {
            let moved = |by: f32| {
                let mut moved = point.to_vec();
                moved[at] += by;
                objective(&table, &known, &moved)
            };
            let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((f64::from(slope.gradient[at]) - expected).abs() < 1e-2, "{} {expected}", slope.gradient[at]);
        }
    }

    #[test]
    fn a_large_table_is_sampled_and_the_sample_repeats() {
        let table = unit_rows(3 * SAMPLE, 4, 4);
        let [a, b] = [0, 0].map(|seed| Sphere::new(&table, TAU, WEIGHT, seed));
        assert_eq!((a.rows.len(), &a.rows), (SAMPLE, &b.rows));
        assert!(a.rows.is_sorted() && a.rows[SAMPLE / 2].abs_diff(3 * SAMPLE / 2) < SAMPLE / 4);
        assert_ne!(a.rows, Sphere::new(&table, TAU, WEIGHT, 1).rows);
        assert_eq!(Sphere::new(&unit_rows(9, 2, 1), TAU, WEIGHT, 1).rows, (0..9).collect::<Vec<_>>());
        assert_eq!(a.ascend(&[1, 9_000]), b.ascend(&[1, 9_000]));
    }

    #[test]
    fn what_cancels_out_points_nowhere_and_knowing_everything_is_no_trap() {
        let table = Matrix::from_vec(2, 2, vec![1.0, 0.0, -1.0, 0.0]).unwrap();
        assert!(Sphere::new(&table, TAU, WEIGHT, 1).ascend(&[0, 1]).is_none());
        assert_eq!(Sphere::new(&table, TAU, WEIGHT, 1).ascend(&[0]).unwrap(), [1.0, 0.0]);
        let table = unit_rows(3, 2, 8);
        assert!(
            Sphere::new(&table, TAU, WEIGHT, 1).ascend(&[0, 1, 2]).unwrap().iter().all(|number| number.is_finite())
        );
    }
}

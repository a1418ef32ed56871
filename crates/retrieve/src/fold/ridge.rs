//! Fold-in for implicit ALS: one row's equations, solved exactly in `f64`.
//!
//! Training minimises `Σ_seen w·(1 − x·v)² + α0·Σ_all (x·v)² + λ·(n + α0·N)^ν·|x|²` over a row x, where n is the sum
//! of the weights w and N the number of rows v (Hu, Koren and Volinsky 2008; Rendle et al. 2022). The minimum solves
//! `(α0·VᵀV + λ_x·I + Σ w·v·vᵀ) x = Σ w·v`; `α0·VᵀV` is the same for everyone.

use std::borrow::Cow;

use lookalike_bundle::Matrix;
use pulp::Arch;
use rayon::prelude::*;

/// Rows summed up at a time; partial sums are added in order, whichever thread made them.
const CHUNK: usize = 1024;

pub(super) struct Ridge<'a> {
    table: Cow<'a, Matrix>,
    /// N.
    rows: usize,
    arch: Arch,
    alpha0: f64,
    reg: f64,
    nu: f64,
    /// Upper triangle of `α0·VᵀV`, row-major.
    base: Vec<f64>,
}

impl<'a> Ridge<'a> {
    /// `rows` is how many of the table count: those of users without a history are zeros, and do not.
    pub(super) fn new(table: Cow<'a, Matrix>, rows: usize, (alpha0, reg, nu): (f64, f64, f64)) -> Self {
        let (arch, dim) = (Arch::new(), table.cols());
        let partial = table.data().par_chunks((CHUNK * dim).max(1)).map(|rows| {
            let mut sum = vec![0.0; dim * dim];
            arch.dispatch(|| {
                for row in rows.chunks_exact(dim) {
                    add_outer(&mut sum, &wide(row), alpha0);
                }
            });
            sum
        });
        let mut base = vec![0.0; dim * dim];
        for partial in partial.collect::<Vec<_>>() {
            base.iter_mut().zip(partial).for_each(|(sum, number)| *sum += number);
        }
        Self { table, rows, arch, alpha0, reg, nu, base }
    }

    /// The row that these rows of the table, with their weights, ask for; `None` if the equations have no one solution.
    pub(super) fn solve(&self, entries: impl Iterator<Item = (usize, f64)>) -> Option<Vec<f32>> {
        let dim = self.table.cols();
        let (mut matrix, mut right, mut mass) = (self.base.clone(), vec![0.0; dim], 0.0);
        for (row, weight) in entries {
            let vector = wide(self.table.row(row));
            self.arch.dispatch(|| add_outer(&mut matrix, &vector, weight));
            right.iter_mut().zip(&vector).for_each(|(sum, number)| *sum += weight * number);
            mass += weight;
        }
        let ridge = self.reg * (mass + self.alpha0 * self.rows as f64).powf(self.nu);
        (0..dim).for_each(|at| matrix[at * dim + at] += ridge);
        self.arch.dispatch(|| cholesky(&mut matrix, dim))?;
        substitute(&matrix, &mut right);
        Some(right.into_iter().map(|number| number as f32).collect())
    }
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&number| f64::from(number)).collect()
}

/// Adds `weight·v·vᵀ` to the upper triangle.
#[inline(always)]
fn add_outer(matrix: &mut [f64], vector: &[f64], weight: f64) {
    let dim = vector.len();
    for (at, line) in matrix.chunks_exact_mut(dim).enumerate() {
        let factor = weight * vector[at];
        for (sum, number) in line[at..].iter_mut().zip(&vector[at..]) {
            *sum += factor * number;
        }
    }
}

/// Replaces the upper triangle of A by U with UᵀU = A (Golub and Van Loan, section 4.2); `None` without a positive pivot.
#[inline(always)]
fn cholesky(matrix: &mut [f64], dim: usize) -> Option<()> {
    for pivot in 0..dim {
        let (done, below) = matrix.split_at_mut((pivot + 1) * dim);
        let row = &mut done[pivot * dim..];
        if !(row[pivot] > 0.0 && row[pivot].is_finite()) {
            return None;
        }
        let scale = 1.0 / row[pivot].sqrt();
        row[pivot..].iter_mut().for_each(|number| *number *= scale);
        for (line, at) in below.chunks_exact_mut(dim).zip(pivot + 1..) {
            let factor = row[at];
            for (number, above) in line[at..].iter_mut().zip(&row[at..]) {
                *number -= factor * above;
            }
        }
    }
    Some(())
}

/// Solves UᵀU x = right in place.
fn substitute(upper: &[f64], right: &mut [f64]) {
    let dim = right.len();
    for at in 0..dim {
        right[at] /= upper[at * dim + at];
        let known = right[at];
        let line = &upper[at * dim + at + 1..(at + 1) * dim];
        right[at + 1..].iter_mut().zip(line).for_each(|(number, above)| *number -= known * above);
    }
    for at in (0..dim).rev() {
        let line = &upper[at * dim + at + 1..(at + 1) * dim];
        let known: f64 = line.iter().zip(&right[at + 1..]).map(|(a, b)| a * b).sum();
        right[at] = (right[at] - known) / upper[at * dim + at];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::random;

    /// The loss at the top of this file, as slowly as it reads.
    fn loss(table: &Matrix, seen: &[(usize, f64)], [alpha0, reg, nu]: [f64; 3], x: &[f64]) -> f64 {
        let score = |row: usize| -> f64 { table.row(row).iter().zip(x).map(|(&v, x)| f64::from(v) * x).sum() };
        let mass: f64 = seen.iter().map(|(_, weight)| weight).sum();
        let ridge = reg * (mass + alpha0 * table.rows() as f64).powf(nu);
        seen.iter().map(|&(row, weight)| weight * (1.0 - score(row)).powi(2)).sum::<f64>()
            + alpha0 * (0..table.rows()).map(|row| score(row).powi(2)).sum::<f64>()
            + ridge * x.iter().map(|x| x * x).sum::<f64>()
    }

    proptest! {
        #[test]
        fn no_small_step_from_the_solution_lowers_the_loss(
            (rows, dim) in (1usize..60, 1usize..20), seed: u64, step in 1usize..7, nu in 0.0f64..1.5,
        ) {
            let table = random(rows, dim, seed);
            let seen: Vec<(usize, f64)> = (0..rows).step_by(step).map(|row| (row, 0.5 + row as f64 / 7.0)).collect();
            let knobs = [0.2, 0.05, nu];
            let x = Ridge::new(Cow::Borrowed(&table), table.rows(), (0.2, 0.05, nu)).solve(seen.iter().copied()).unwrap();
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            let least = loss(&table, &seen, knobs, &x);
            for at in 0..dim {
                for by in [-1e-3, 1e-3] {
                    let mut moved = x.clone();
                    moved[at] += by;
                    prop_assert!(loss(&table, &seen, knobs, &moved) > least);
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let table = random(5 * CHUNK + 7, 6, 3);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                Ridge::new(Cow::Borrowed(&table), table.rows(), (0.1, 0.01, 1.0))
                    .solve([(3, 1.0), (900, 2.0)].into_iter())
            })
            .unwrap()
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn equations_without_a_solution() {
        let table = Matrix::zeros(4, 3);
        assert!(
            Ridge::new(Cow::Borrowed(&table), table.rows(), (0.1, 0.0, 1.0)).solve([(1, 1.0)].into_iter()).is_none()
        );
        assert!(
            Ridge::new(Cow::Owned(random(4, 3, 1)), 4, (0.1, 0.1, 1.0))
                .solve([(1, f64::INFINITY)].into_iter())
                .is_none()
        );
    }
}

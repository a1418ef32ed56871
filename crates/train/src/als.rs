//! Implicit ALS on the CPU: exact ridge solves, row after row, both sides in turn.
//!
//! Minimises `Σ_S w·(1 − u·v)² + α0·Σ_all (u·v)² + Σ_rows λ_r·|row|²` with
//! `λ_r = λ·(n_r + α0·N)^ν`, n_r = summed weight of the row, N = rows of the other side
//! (Hu, Koren and Volinsky 2008; frequency-scaled regularisation after Rendle et al. 2022).

use lookalike_bundle::{Matrix, Row};
use lookalike_dataset::Csr;
use rayon::prelude::*;

use crate::solve::{NotPositive, Solver, stride};

/// Rows handed to a thread at a time.
const CHUNK: usize = 32;
/// Rows summed into one partial Gram matrix; partial sums are added in order, whichever thread made them.
const GRAM_CHUNK: usize = 2048;

/// One side's factors in rows padded to whole registers.
pub(crate) struct Side {
    rows: usize,
    dim: usize,
    data: Vec<f32>,
}

impl Side {
    pub(crate) fn new(matrix: &Matrix) -> Self {
        let (rows, dim) = (matrix.rows(), matrix.cols());
        let stride = stride(dim);
        let mut data = vec![0.0; rows * stride];
        for (row, padded) in data.chunks_exact_mut(stride).enumerate() {
            padded[..dim].copy_from_slice(matrix.row(row));
        }
        Self { rows, dim, data }
    }

    pub(crate) fn matrix(&self) -> Matrix {
        let mut matrix = Matrix::zeros(self.rows, self.dim);
        for (row, padded) in self.data.chunks_exact(stride(self.dim)).enumerate() {
            matrix.row_mut(row).copy_from_slice(&padded[..self.dim]);
        }
        matrix
    }

    /// `factor · Σ v·vᵀ` over all rows, upper triangle in padded rows.
    fn gram(&self, factor: f32) -> Vec<f32> {
        let stride = stride(self.dim);
        let partial = self.data.par_chunks(GRAM_CHUNK * stride).map_init(
            || Solver::new(self.dim),
            |solver, rows| {
                let mut sum = vec![0.0; self.dim * stride];
                solver.gram(rows, &mut sum);
                sum
            },
        );
        let mut sum = vec![0.0f64; self.dim * stride];
        for partial in partial.collect::<Vec<_>>() {
            for (sum, number) in sum.iter_mut().zip(partial) {
                *sum += f64::from(number);
            }
        }
        sum.into_iter().map(|number| (number * f64::from(factor)) as f32).collect()
    }
}

/// λ_r of every row.
pub(crate) fn ridges<R: Row, C: Row>(matrix: &Csr<R, C>, alpha0: f32, reg: f32, nu: f32) -> Vec<f32> {
    let everything = f64::from(alpha0) * matrix.n_cols() as f64;
    let ridge = |row| {
        let mass: f64 = matrix.weights(row).iter().map(|&weight| f64::from(weight)).sum();
        (f64::from(reg) * (mass + everything).powf(f64::from(nu))) as f32
    };
    matrix.rows().map(ridge).collect()
}

/// Solves every row of `side` against `other`. The result does not depend on the number of threads.
pub(crate) fn half_step<R: Row, C: Row>(
    side: &mut Side,
    other: &Side,
    matrix: &Csr<R, C>,
    ridges: &[f32],
    alpha0: f32,
) -> Result<(), NotPositive> {
    let stride = stride(side.dim);
    let base = other.gram(alpha0);
    let dim = side.dim;
    side.data.par_chunks_mut(CHUNK * stride).enumerate().try_for_each_init(
        || Solver::new(dim),
        |solver, (chunk, rows)| {
            for (at, out) in rows.chunks_exact_mut(stride).enumerate() {
                let row = chunk * CHUNK + at;
                let entries = (matrix.cols(R::new(row as u32)), matrix.weights(R::new(row as u32)));
                match entries.0.is_empty() {
                    true => out.fill(0.0),
                    false => solver.solve(&base, ridges[row], &other.data, entries, out)?,
                }
            }
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{ItemRow, UserRow};
    use lookalike_dataset::Pair;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn random(users: usize, items: usize, dim: usize) -> (Csr<UserRow, ItemRow>, Side, Side) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let pair = |rng: &mut Xoshiro256PlusPlus| Pair {
            row: UserRow::new(rng.random_range(0..users as u32)),
            col: ItemRow::new(rng.random_range(0..items as u32)),
            weight: rng.random_range(0.5..2.0),
        };
        let pairs: Vec<_> = (0..users * 4).map(|_| pair(&mut rng)).collect();
        let mut side = |rows: usize| {
            let data = (0..rows * dim).map(|_| rng.random_range(-0.3..0.3)).collect();
            Side::new(&Matrix::from_vec(rows, dim, data).unwrap())
        };
        let sides = (side(users), side(items));
        (Csr::from_pairs(users, items, &pairs), sides.0, sides.1)
    }

    /// The loss as it is written at the top of this file, in `f64`.
    fn loss(matrix: &Csr<UserRow, ItemRow>, users: &Side, items: &Side, alpha0: f32, ridges: [&[f32]; 2]) -> f64 {
        let (users, items) = (users.matrix(), items.matrix());
        let dot = |u: usize, v: usize| -> f64 {
            users.row(u).iter().zip(items.row(v)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let seen: f64 =
            matrix.pairs().map(|p| f64::from(p.weight) * (1.0 - dot(p.row.index(), p.col.index())).powi(2)).sum();
        let all: f64 = (0..users.rows())
            .flat_map(|u| (0..items.rows()).map(move |v| (u, v)))
            .map(|(u, v)| dot(u, v).powi(2))
            .sum();
        let norm = |side: &Matrix, ridges: &[f32]| -> f64 {
            (0..side.rows())
                .map(|r| f64::from(ridges[r]) * side.row(r).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>())
                .sum()
        };
        seen + f64::from(alpha0) * all + norm(&users, ridges[0]) + norm(&items, ridges[1])
    }

    #[test]
    fn every_half_step_lowers_the_loss_and_ends_at_its_minimum() {
        let (matrix, mut users, mut items) = random(31, 43, 5);
        let turned = matrix.transpose();
        let (lu, li) = (ridges(&matrix, 0.2, 0.01, 0.8), ridges(&turned, 0.2, 0.01, 0.8));
        let mut last = f64::INFINITY;
        for _ in 0..3 {
            half_step(&mut users, &items, &matrix, &lu, 0.2).unwrap();
            half_step(&mut items, &users, &turned, &li, 0.2).unwrap();
            let now = loss(&matrix, &users, &items, 0.2, [&lu, &li]);
            assert!(now < last);
            last = now;
        }
        // At the minimum over the items no small change of an item may lower the loss.
        for step in [-1e-2f32, 1e-2] {
            let mut moved = Side::new(&items.matrix());
            moved.data[3 * stride(5) + 1] += step;
            assert!(loss(&matrix, &users, &moved, 0.2, [&lu, &li]) > last);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let run = |threads| {
            let (matrix, mut users, items) = random(301, 5000, 9);
            let ridges = ridges(&matrix, 0.1, 0.01, 1.0);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| half_step(&mut users, &items, &matrix, &ridges, 0.1)).unwrap();
            users.data
        };
        assert_eq!(run(1), run(3));
    }
}

//! Ridge systems of one row, vectorised: `(B + Σ w·v·vᵀ) x = Σ w·v` by Cholesky decomposition.
//!
//! Instructions are chosen at run time (pulp), so a build for the plain instruction set still uses AVX2 or NEON.
//! Matrices are kept as upper triangles in rows padded to whole registers; lanes below the diagonal hold numbers
//! that no result depends on.

use pulp::{Arch, Simd, WithSimd};

/// Rows are padded to this many numbers: a multiple of every register width in use.
const PAD: usize = 16;
/// Entries gathered before they are added to the matrix; keeps the gathered vectors in the first-level cache.
const TILE: usize = 64;
/// Matrix rows updated together, so that a gathered vector is loaded once for all of them.
const BLOCK: usize = 4;

/// Row length in memory for vectors of `dim` numbers.
pub(crate) fn stride(dim: usize) -> usize {
    dim.next_multiple_of(PAD)
}

/// The system had no positive pivot: numbers overflowed or the regularisation is zero.
#[derive(Debug)]
pub(crate) struct NotPositive;

/// Workspace for solving one row after the other.
pub(crate) struct Solver {
    arch: Arch,
    dim: usize,
    matrix: Vec<f32>,
    right: Vec<f32>,
    solution: Vec<f32>,
    vectors: Vec<f32>,
    scaled: Vec<f32>,
}

impl Solver {
    pub(crate) fn new(dim: usize) -> Self {
        let stride = stride(dim);
        Self {
            arch: Arch::new(),
            dim,
            matrix: vec![0.0; dim.next_multiple_of(BLOCK) * stride],
            right: vec![0.0; stride],
            solution: vec![0.0; stride],
            vectors: vec![0.0; TILE * stride],
            scaled: vec![0.0; TILE * stride],
        }
    }

    /// Writes x of `(base + ridge·I + Σ w·v·vᵀ) x = Σ w·v` to `out` (length `stride`, padded with zeros).
    /// `base` is `dim` rows of `stride`; `entries` are rows of `other` (rows of `stride`) with their weights.
    pub(crate) fn solve(
        &mut self,
        base: &[f32],
        ridge: f32,
        other: &[f32],
        entries: (&[u32], &[f32]),
        out: &mut [f32],
    ) -> Result<(), NotPositive> {
        let arch = self.arch;
        arch.dispatch(Solve { work: self, base, ridge, other, entries, out })
    }

    /// Adds `Σ v·vᵀ` over whole rows of `rows` (each of length `stride`) to `sum` (upper triangle).
    pub(crate) fn gram(&mut self, rows: &[f32], sum: &mut [f32]) {
        let arch = self.arch;
        arch.dispatch(Gram { dim: self.dim, rows, sum, matrix: &mut self.matrix });
    }
}

struct Gram<'a> {
    dim: usize,
    rows: &'a [f32],
    sum: &'a mut [f32],
    matrix: &'a mut [f32],
}

impl WithSimd for Gram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = stride(self.dim);
        self.matrix.fill(0.0);
        for tile in self.rows.chunks(TILE * stride) {
            add_outer(simd, self.dim, self.matrix, tile, tile);
        }
        for (sum, add) in self.sum.iter_mut().zip(self.matrix.iter()) {
            *sum += add;
        }
    }
}

struct Solve<'a> {
    work: &'a mut Solver,
    base: &'a [f32],
    ridge: f32,
    other: &'a [f32],
    entries: (&'a [u32], &'a [f32]),
    out: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = Result<(), NotPositive>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { work, base, ridge, other, entries: (cols, weights), out } = self;
        let (dim, stride) = (work.dim, stride(work.dim));
        work.matrix[..base.len()].copy_from_slice(base);
        for diagonal in 0..dim {
            work.matrix[diagonal * stride + diagonal] += ridge;
        }
        work.right.fill(0.0);
        for (cols, weights) in cols.chunks(TILE).zip(weights.chunks(TILE)) {
            let used = cols.len() * stride;
            for (at, (&col, &weight)) in cols.iter().zip(weights).enumerate() {
                let vector = &other[col as usize * stride..][..stride];
                work.vectors[at * stride..][..stride].copy_from_slice(vector);
                let scaled = &mut work.scaled[at * stride..][..stride];
                for ((scaled, right), &number) in scaled.iter_mut().zip(&mut work.right).zip(vector) {
                    *scaled = weight * number;
                    *right += *scaled;
                }
            }
            add_outer(simd, dim, &mut work.matrix, &work.scaled[..used], &work.vectors[..used]);
        }
        cholesky(simd, dim, &mut work.matrix)?;
        substitute(simd, dim, &work.matrix, &mut work.right, &mut work.solution);
        out.copy_from_slice(&work.solution);
        Ok(())
    }
}

/// `matrix += Σ_n left_n · right_nᵀ` on the upper triangle. `BLOCK` rows by two registers stay in registers while
/// all vectors pass by.
#[inline(always)]
fn add_outer<S: Simd>(simd: S, dim: usize, matrix: &mut [f32], left: &[f32], right: &[f32]) {
    let stride = stride(dim);
    let lanes = stride / S::F32_LANES;
    let (matrix, _) = S::as_mut_simd_f32s(matrix);
    let (right, _) = S::as_simd_f32s(right);
    for (block, rows) in matrix.chunks_exact_mut(BLOCK * lanes).enumerate() {
        let first_row = block * BLOCK;
        if first_row >= dim {
            break;
        }
        let mut at = first_row / S::F32_LANES;
        while at + 1 < lanes {
            let mut sums = [[simd.splat_f32s(0.0); 2]; BLOCK];
            for (row, sums) in sums.iter_mut().enumerate() {
                *sums = [rows[row * lanes + at], rows[row * lanes + at + 1]];
            }
            for (left, right) in left.chunks_exact(stride).zip(right.chunks_exact(lanes)) {
                let (low, high) = (right[at], right[at + 1]);
                let left = &left[first_row..first_row + BLOCK];
                for (sums, &left) in sums.iter_mut().zip(left) {
                    let left = simd.splat_f32s(left);
                    sums[0] = simd.mul_add_e_f32s(left, low, sums[0]);
                    sums[1] = simd.mul_add_e_f32s(left, high, sums[1]);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                rows[row * lanes + at] = sums[0];
                rows[row * lanes + at + 1] = sums[1];
            }
            at += 2;
        }
        if at < lanes {
            for (left, right) in left.chunks_exact(stride).zip(right.chunks_exact(lanes)) {
                for row in 0..BLOCK {
                    let left = simd.splat_f32s(left[first_row + row]);
                    rows[row * lanes + at] = simd.mul_add_e_f32s(left, right[at], rows[row * lanes + at]);
                }
            }
        }
    }
}

/// Replaces the upper triangle of A by U with UᵀU = A (right-looking; Golub and Van Loan, section 4.2).
#[inline(always)]
fn cholesky<S: Simd>(simd: S, dim: usize, matrix: &mut [f32]) -> Result<(), NotPositive> {
    let stride = stride(dim);
    let lanes = stride / S::F32_LANES;
    for pivot in 0..dim {
        let (done, below) = matrix.split_at_mut((pivot + 1) * stride);
        let row = &mut done[pivot * stride..];
        let diagonal = row[pivot];
        if !(diagonal > 0.0 && diagonal.is_finite()) {
            return Err(NotPositive);
        }
        let scale = simd.splat_f32s(1.0 / diagonal.sqrt());
        for number in &mut S::as_mut_simd_f32s(row).0[pivot / S::F32_LANES..] {
            *number = simd.mul_f32s(*number, scale);
        }
        let row = &*row;
        let (row_lanes, _) = S::as_simd_f32s(row);
        let (below, _) = S::as_mut_simd_f32s(below);
        for (target, at) in below.chunks_exact_mut(lanes).zip(pivot + 1..dim) {
            let factor = simd.splat_f32s(-row[at]);
            let first = at / S::F32_LANES;
            for (number, &above) in target[first..].iter_mut().zip(&row_lanes[first..]) {
                *number = simd.mul_add_e_f32s(factor, above, *number);
            }
        }
    }
    Ok(())
}

/// Solves UᵀU x = right. `right` is used up.
#[inline(always)]
fn substitute<S: Simd>(simd: S, dim: usize, upper: &[f32], right: &mut [f32], solution: &mut [f32]) {
    let stride = stride(dim);
    solution.fill(0.0);
    for at in 0..dim {
        let row = &upper[at * stride..][..stride];
        let value = right[at] / row[at];
        solution[at] = value;
        let first = at / S::F32_LANES;
        let factor = simd.splat_f32s(-value);
        let (row, right) = (S::as_simd_f32s(row).0, S::as_mut_simd_f32s(right).0);
        for (number, &above) in right[first..].iter_mut().zip(&row[first..]) {
            *number = simd.mul_add_e_f32s(factor, above, *number);
        }
    }
    // `right` becomes the solution found so far: zero where nothing is known yet.
    right.fill(0.0);
    for at in (0..dim).rev() {
        let row = &upper[at * stride..][..stride];
        let first = at / S::F32_LANES;
        let (row_lanes, known) = (S::as_simd_f32s(row).0, S::as_simd_f32s(right).0);
        let mut sum = simd.splat_f32s(0.0);
        for (&number, &known) in row_lanes[first..].iter().zip(&known[first..]) {
            sum = simd.mul_add_e_f32s(number, known, sum);
        }
        let value = (solution[at] - simd.reduce_sum_f32s(sum)) / row[at];
        solution[at] = value;
        right[at] = value;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// The same system in `f64` by Gaussian elimination with pivoting.
    fn slow(dim: usize, ridge: f64, vectors: &[Vec<f32>], weights: &[f32]) -> Vec<f64> {
        let mut system = vec![vec![0.0; dim + 1]; dim];
        for (row, line) in system.iter_mut().enumerate() {
            line[row] += ridge;
            for (vector, &weight) in vectors.iter().zip(weights) {
                let scaled = f64::from(vector[row]) * f64::from(weight);
                for col in 0..dim {
                    line[col] += scaled * f64::from(vector[col]);
                }
                line[dim] += scaled;
            }
        }
        for at in 0..dim {
            let best = (at..dim).max_by(|&a, &b| system[a][at].abs().total_cmp(&system[b][at].abs())).unwrap();
            system.swap(at, best);
            let pivot = system[at].clone();
            for (_, line) in system.iter_mut().enumerate().filter(|(row, _)| *row != at) {
                let factor = line[at] / pivot[at];
                line.iter_mut().zip(&pivot).for_each(|(number, pivot)| *number -= factor * pivot);
            }
        }
        (0..dim).map(|at| system[at][dim] / system[at][at]).collect()
    }

    fn check(dim: usize, entries: usize, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let stride = stride(dim);
        let vectors: Vec<Vec<f32>> =
            (0..entries).map(|_| (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let weights: Vec<f32> = (0..entries).map(|_| rng.random_range(0.1..3.0)).collect();
        let mut other = vec![0.0; entries * stride];
        for (row, vector) in vectors.iter().enumerate() {
            other[row * stride..][..dim].copy_from_slice(vector);
        }
        let cols: Vec<u32> = (0..entries as u32).collect();
        let (mut out, base) = (vec![0.0; stride], vec![0.0; dim * stride]);
        Solver::new(dim).solve(&base, 0.5, &other, (&cols, &weights), &mut out).unwrap();
        let want = slow(dim, 0.5, &vectors, &weights);
        for (got, want) in out.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 2e-4, "dim {dim}, {entries} entries: {got} is not {want}");
        }
        assert!(out[dim..].iter().all(|&pad| pad == 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn solves_like_gaussian_elimination(dim in 1usize..70, entries in 0usize..150, seed: u64) {
            check(dim, entries, seed);
        }

        #[test]
        fn gram_is_the_sum_of_outer_products(dim in 1usize..40, rows in 0usize..140, seed: u64) {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let stride = stride(dim);
            let mut data = vec![0.0f32; rows * stride];
            for row in data.chunks_exact_mut(stride) {
                row[..dim].fill_with(|| rng.random_range(-1.0..1.0));
            }
            let mut sum = vec![0.0; dim * stride];
            Solver::new(dim).gram(&data, &mut sum);
            for i in 0..dim {
                for j in i..dim {
                    let want: f64 = data.chunks_exact(stride).map(|v| f64::from(v[i]) * f64::from(v[j])).sum();
                    prop_assert!((f64::from(sum[i * stride + j]) - want).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn zero_regularisation_without_entries_is_refused() {
        let mut out = vec![0.0; 16];
        assert!(Solver::new(3).solve(&[0.0; 48], 0.0, &[], (&[], &[]), &mut out).is_err());
    }
}

//! Small dense products and systems, vectorised: one kernel whose sums stay in registers serves Gram matrices,
//! changes of basis and the Cholesky decomposition.
//!
//! Instructions are chosen at run time (pulp), so a build for the plain instruction set still uses AVX-512, AVX2 or
//! NEON. Rows are padded with zeros to whole registers. Every number of a result is one sum in a fixed order.

use std::ops::{Deref, DerefMut};

use pulp::{Arch, Simd, WithSimd};

/// Rows are padded to this many numbers: a line of the cache and a multiple of every register width in use.
pub(crate) const PAD: usize = 16;
/// Most rows of a result that are summed together; rows of matrices are padded to this many.
pub(crate) const ROWS: usize = 8;

/// Row length in memory for vectors of `dim` numbers.
pub(crate) fn stride(dim: usize) -> usize {
    dim.next_multiple_of(PAD)
}

/// Numbers that begin where a line of the cache does, so that loading a register never takes two lines.
pub(crate) struct Aligned {
    data: Vec<f32>,
    from: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn zeros(len: usize) -> Self {
        let data = vec![0.0f32; len + PAD - 1];
        let from = data.as_ptr().align_offset(PAD * size_of::<f32>()).min(PAD - 1);
        Self { data, from, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.from..self.from + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.from..self.from + self.len]
    }
}

/// The system had no positive pivot: numbers overflowed or the regularisation is too small for single precision.
#[derive(Debug)]
pub(crate) struct NotPositive;

/// `target[r, c] += sign · Σ_k left(r, k) · right[k, c]` over `terms` values of k.
pub(crate) struct Product<'a> {
    pub(crate) left: &'a [f32],
    /// How far apart in `left` the numbers of neighbouring r are, and those of neighbouring k.
    pub(crate) steps: (usize, usize),
    /// Starts at the first column wanted.
    pub(crate) right: &'a [f32],
    pub(crate) right_stride: usize,
    pub(crate) terms: usize,
    pub(crate) sign: f32,
    /// With `Some(c)`, row r of the target is only wanted from column `c + r` on.
    pub(crate) upper: Option<usize>,
}

impl Product<'_> {
    /// Adds the product to the first rows and columns of `target`, a number `size` of each; columns are rounded up to
    /// whole registers. Rows of the target are `stride` apart, and the last may end early.
    #[inline(always)]
    pub(crate) fn add<S: Simd>(&self, simd: S, target: &mut [f32], stride: usize, size: (usize, usize)) {
        match S::REGISTER_COUNT {
            32.. => self.rows::<S, ROWS>(simd, target, stride, size),
            _ => self.rows::<S, 4>(simd, target, stride, size),
        }
    }

    #[inline(always)]
    fn rows<S: Simd, const R: usize>(&self, simd: S, target: &mut [f32], stride: usize, size: (usize, usize)) {
        let (rows, lanes) = (size.0, size.1.div_ceil(S::F32_LANES));
        let blocks = rows / R;
        for (block, target) in target.chunks_mut(R * stride).take(rows.div_ceil(R)).enumerate() {
            let first = self.upper.map_or(0, |column| (column + block * R) / S::F32_LANES);
            match block < blocks {
                true => self.cols::<S, R>(simd, target, stride, block * R, first, lanes),
                false => {
                    for (row, target) in target.chunks_mut(stride).take(rows % R).enumerate() {
                        self.cols::<S, 1>(simd, target, stride, block * R + row, first, lanes);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn cols<S: Simd, const R: usize>(
        &self,
        simd: S,
        target: &mut [f32],
        stride: usize,
        row: usize,
        first: usize,
        lanes: usize,
    ) {
        let mut at = first;
        while at < lanes {
            let width = match lanes - at {
                few @ 1..=2 => few,
                4 => 2,
                _ => 3,
            };
            match width {
                1 => self.tile::<S, R, 1>(simd, target, stride, row, at),
                2 => self.tile::<S, R, 2>(simd, target, stride, row, at),
                _ => self.tile::<S, R, 3>(simd, target, stride, row, at),
            }
            at += width;
        }
    }

    /// `R` rows by `C` registers of the target. The sums stay in registers while all terms pass by.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(
        &self,
        simd: S,
        target: &mut [f32],
        stride: usize,
        row: usize,
        at: usize,
    ) {
        let (across, along) = self.steps;
        let (right, _) = S::as_simd_f32s(self.right);
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        let rights = right.chunks(self.right_stride / S::F32_LANES).take(self.terms);
        for (term, right) in rights.enumerate() {
            let right = &right[at..at + C];
            let left = &self.left[row * across + term * along..][..(R - 1) * across + 1];
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = simd.splat_f32s(left[r * across]);
                for (sum, &right) in sums.iter_mut().zip(right) {
                    *sum = simd.mul_add_e_f32s(left, right, *sum);
                }
            }
        }
        let sign = simd.splat_f32s(self.sign);
        for (target, sums) in target.chunks_mut(stride).zip(&sums) {
            let (target, _) = S::as_mut_simd_f32s(target);
            for (target, &sum) in target[at..at + C].iter_mut().zip(sums) {
                *target = simd.mul_add_e_f32s(sign, sum, *target);
            }
        }
    }
}

/// `target += factor · vector`, both whole registers long.
#[inline(always)]
pub(crate) fn add_scaled<S: Simd>(simd: S, target: &mut [f32], factor: f32, vector: &[f32]) {
    let factor = simd.splat_f32s(factor);
    for (target, &number) in S::as_mut_simd_f32s(target).0.iter_mut().zip(S::as_simd_f32s(vector).0) {
        *target = simd.mul_add_e_f32s(factor, number, *target);
    }
}

/// The inner product of two vectors that are whole registers long.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, left: &[f32], right: &[f32]) -> f32 {
    let (left, right) = (S::as_simd_f32s(left).0.chunks(4), S::as_simd_f32s(right).0.chunks(4));
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (left, right) in left.zip(right) {
        for (sum, (&left, &right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum = simd.mul_add_e_f32s(left, right, *sum);
        }
    }
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

/// Solves A x = right for the positive definite A whose upper triangle is `matrix`: `dim` rows, padded to a multiple of
/// [`ROWS`], of `stride(dim)`; the vectors are as long. Overwrites `matrix` by U with UᵀU = A; `right` is used up.
///
/// Left-looking by blocks of rows (Golub and Van Loan, Matrix Computations, section 4.2); the forward substitution runs
/// along. No result depends on numbers below the diagonal.
#[inline(always)]
pub(crate) fn solve_positive<S: Simd>(
    simd: S,
    dim: usize,
    matrix: &mut [f32],
    right: &mut [f32],
    solution: &mut [f32],
) -> Result<(), NotPositive> {
    let stride = stride(dim);
    let start = |at: usize| at / S::F32_LANES * S::F32_LANES;
    solution.fill(0.0);
    for first in (0..dim).step_by(ROWS) {
        let (above, block) = matrix.split_at_mut(first * stride);
        let block = &mut block[..ROWS * stride];
        let before = Product {
            left: &above[first.min(above.len())..],
            steps: (1, stride),
            right: above,
            right_stride: stride,
            terms: first,
            sign: -1.0,
            upper: Some(first),
        };
        before.add(simd, block, stride, (ROWS, dim));
        for pivot in first..dim.min(first + ROWS) {
            let (row, below) = block[(pivot - first) * stride..].split_at_mut(stride);
            let diagonal = row[pivot];
            if !(diagonal > 0.0 && diagonal.is_finite()) {
                return Err(NotPositive);
            }
            let (inverse, from) = (1.0 / diagonal.sqrt(), start(pivot));
            let scale = simd.splat_f32s(inverse);
            for number in S::as_mut_simd_f32s(&mut row[from..]).0 {
                *number = simd.mul_f32s(*number, scale);
            }
            solution[pivot] = right[pivot] * inverse;
            add_scaled(simd, &mut right[from..], -solution[pivot], &row[from..]);
            for (target, at) in below.chunks_exact_mut(stride).zip(pivot + 1..dim) {
                add_scaled(simd, &mut target[start(at)..], -row[at], &row[start(at)..]);
            }
            // From here on the diagonal is only divided by.
            row[pivot] = inverse;
        }
    }
    // `right` becomes the solution found so far: zero where nothing is known yet.
    right.fill(0.0);
    for at in (0..dim).rev() {
        let row = &matrix[at * stride..][..stride];
        solution[at] = (solution[at] - dot(simd, &row[start(at)..], &right[start(at)..])) * row[at];
        right[at] = solution[at];
    }
    Ok(())
}

/// Solves one system by vector instructions chosen at run time; shapes as in [`solve_positive`]. Returns `stride(dim)`
/// numbers.
pub(crate) fn solve_once(dim: usize, matrix: &mut [f32], right: &mut [f32]) -> Result<Vec<f32>, NotPositive> {
    struct Once<'a>(usize, &'a mut [f32], &'a mut [f32]);
    impl WithSimd for Once<'_> {
        type Output = Result<Vec<f32>, NotPositive>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Self(dim, matrix, right) = self;
            let mut solution = vec![0.0; stride(dim)];
            solve_positive(simd, dim, matrix, right, &mut solution)?;
            Ok(solution)
        }
    }
    Arch::new().dispatch(Once(dim, matrix, right))
}

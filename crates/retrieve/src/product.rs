//! Inner products: of one vector with a few rows, and of blocks of vectors with all rows.
//!
//! What runs under vector instructions is written in loops. A closure handed to an iterator is compiled without them
//! unless the compiler happens to inline it: each instruction then is a call, 30 times as slow.
//!
//! This is the one module with unsafe code: `gemm` takes pointers. What it may touch is asserted before the call.

use lookalike_bundle::Matrix;
use pulp::{Arch, Simd, WithSimd};

/// Vector instructions of this machine, found out once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Products {
    arch: Arch,
}

impl Products {
    /// `scores[i]` becomes the inner product of `query` (as long as a row) and row `i` of `table`.
    pub(crate) fn of_all(self, query: &[f32], table: &Matrix, scores: &mut Vec<f32>) {
        assert_eq!(query.len(), table.cols());
        self.arch.dispatch(OfAll { query, table, scores });
    }

    /// The inner product of two vectors of equal length.
    pub(crate) fn of(self, a: &[f32], b: &[f32]) -> f32 {
        self.arch.dispatch(Of { a, b })
    }

    /// The squared Euclidean distance of two vectors of equal length.
    pub(crate) fn squared_distance(self, a: &[f32], b: &[f32]) -> f32 {
        self.arch.dispatch(SquaredDistance { a, b })
    }
}

struct OfAll<'a> {
    query: &'a [f32],
    table: &'a Matrix,
    scores: &'a mut Vec<f32>,
}

impl WithSimd for OfAll<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.scores.resize(self.table.rows(), 0.0);
        for (row, score) in self.scores.iter_mut().enumerate() {
            *score = accumulate(simd, self.query, self.table.row(row), Product);
        }
    }
}

struct Of<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl WithSimd for Of<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        accumulate(simd, self.a, self.b, Product)
    }
}

struct SquaredDistance<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl WithSimd for SquaredDistance<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        accumulate(simd, self.a, self.b, Square)
    }
}

/// What is added up over two vectors.
trait Term: Copy {
    fn lanes<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s;
    fn single(self, a: f32, b: f32) -> f32;
}

#[derive(Clone, Copy)]
struct Product;

impl Term for Product {
    #[inline(always)]
    fn lanes<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_e_f32s(a, b, sum)
    }

    #[inline(always)]
    fn single(self, a: f32, b: f32) -> f32 {
        a * b
    }
}

#[derive(Clone, Copy)]
struct Square;

impl Term for Square {
    #[inline(always)]
    fn lanes<S: Simd>(self, simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
        let apart = simd.sub_f32s(a, b);
        simd.mul_add_e_f32s(apart, apart, sum)
    }

    #[inline(always)]
    fn single(self, a: f32, b: f32) -> f32 {
        (a - b) * (a - b)
    }
}

/// Four sums at a time hide the latency of the addition.
#[inline(always)]
fn accumulate<S: Simd, T: Term>(simd: S, a: &[f32], b: &[f32], term: T) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let mut sums = [simd.splat_f32s(0.0); 4];
    let ((a4, a1), (b4, b1)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (a, b) in a4.iter().zip(b4) {
        for lane in 0..4 {
            sums[lane] = term.lanes(simd, a[lane], b[lane], sums[lane]);
        }
    }
    for (&a, &b) in a1.iter().zip(b1) {
        sums[0] = term.lanes(simd, a, b, sums[0]);
    }
    let pairs = [simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])];
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term.single(a, b)).sum();
    simd.reduce_sum_f32s(simd.add_f32s(pairs[0], pairs[1])) + rest
}

/// `scores[q * cols + i]` becomes the inner product of query `q`, one of `rows`, and item `i`, one of `cols`, on the
/// calling thread. Both are row-major, `dim` numbers a row.
pub(crate) fn of_blocks(
    dim: usize,
    (queries, rows): (&[f32], usize),
    (items, cols): (&[f32], usize),
    scores: &mut [f32],
) {
    assert!(queries.len() == rows * dim && items.len() == cols * dim && scores.len() == rows * cols);
    let [dim_stride, cols_stride] = [dim as isize, cols as isize];
    // SAFETY: with the strides given, the product reads `rows x dim` numbers of `queries`, `cols x dim` of `items` and
    // writes `rows x cols` of `scores`; the assertion above says that each slice holds exactly as many. `scores` is
    // borrowed mutably, so it overlaps neither, and with `read_dst` false nothing is read from it.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            rows,
            cols,
            dim,
            scores.as_mut_ptr(),
            1,
            cols_stride,
            false,
            queries.as_ptr(),
            1,
            dim_stride,
            items.as_ptr(),
            dim_stride,
            1,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| (((i + seed * 31) * 7919 % 1009) as f32 / 1009.0) - 0.5).collect()
    }

    fn plain(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
        a.iter().zip(b).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum()
    }

    proptest! {
        #[test]
        fn sums_over_vectors_of_any_length(len in 0usize..200, seed in 0usize..99) {
            let (a, b) = (numbers(len, seed), numbers(len, seed + 1));
            let products = Products::default();
            prop_assert!((f64::from(products.of(&a, &b)) - plain(&a, &b, |a, b| a * b)).abs() < 1e-4);
            let apart = plain(&a, &b, |a, b| (a - b).powi(2));
            prop_assert!((f64::from(products.squared_distance(&a, &b)) - apart).abs() < 1e-4);
        }

        #[test]
        fn blocks_of_any_shape(rows in 0usize..20, cols in 0usize..40, dim in 0usize..70) {
            let (queries, items) = (numbers(rows * dim, 1), numbers(cols * dim, 2));
            let mut scores = vec![f32::NAN; rows * cols];
            of_blocks(dim, (&queries, rows), (&items, cols), &mut scores);
            for (at, &score) in scores.iter().enumerate() {
                let (q, i) = (at / cols, at % cols);
                let expected = plain(&queries[q * dim..][..dim], &items[i * dim..][..dim], |a, b| a * b);
                prop_assert!((f64::from(score) - expected).abs() < 1e-4);
            }
        }
    }
}

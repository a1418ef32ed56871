//! Products of dense matrices, on the calling thread: a safe face of the `gemm` crate over views into slices.
//!
//! This is the one module of the crate with unsafe code: `gemm` takes pointers. A view asserts when it is made that all
//! its numbers lie in its slice, and [`product`] that shapes fit.

/// `rows x cols` numbers of a slice: number `(r, c)` stands at `r * row_stride + c * col_stride`.
#[derive(Clone, Copy, Debug)]
struct Layout {
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl Layout {
    /// Fails unless every number lies within the first `len`.
    fn checked(self, len: usize) -> Self {
        let extent = |count: usize, stride: usize| (count - 1).checked_mul(stride);
        let fits = || extent(self.rows, self.row_stride)?.checked_add(extent(self.cols, self.col_stride)?);
        let empty = self.rows == 0 || self.cols == 0;
        assert!(empty || fits().is_some_and(|last| last < len), "{self:?} goes beyond {len} numbers");
        // A slice of numbers has fewer bytes than isize::MAX, so that strides within it convert.
        Self { row_stride: self.row_stride.min(len), col_stride: self.col_stride.min(len), ..self }
    }

    /// Fails if two numbers stand at one place.
    fn distinct(self) -> Self {
        let Self { rows, cols, row_stride, col_stride } = self;
        let nested = |outer: usize, inner: usize, count: usize| inner > 0 && outer >= inner.saturating_mul(count);
        let apart = nested(row_stride, col_stride, cols) || nested(col_stride, row_stride, rows);
        let few =
            rows == 0 || cols == 0 || (rows == 1 && (cols == 1 || col_stride > 0)) || (cols == 1 && row_stride > 0);
        assert!(apart || few, "numbers of {self:?} overlap");
        self
    }

    fn transposed(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride }
    }
}

/// A matrix to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    layout: Layout,
}

impl<'a> View<'a> {
    /// The first `rows x cols` numbers of `data`, row after row.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, [rows, cols], [cols, 1])
    }

    /// Number `(r, c)` of `shape` stands at `r * strides[0] + c * strides[1]`.
    pub(crate) fn strided(data: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        let ([rows, cols], [row_stride, col_stride]) = (shape, strides);
        Self { layout: Layout { rows, cols, row_stride, col_stride }.checked(data.len()), data }
    }

    /// Rows and columns exchanged; no number moves.
    pub(crate) fn transposed(self) -> Self {
        Self { layout: self.layout.transposed(), ..self }
    }
}

/// A matrix to be written.
#[derive(Debug)]
pub(crate) struct ViewMut<'a> {
    data: &'a mut [f32],
    layout: Layout,
}

impl<'a> ViewMut<'a> {
    /// The first `rows x cols` numbers of `data`, row after row.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, [rows, cols], [cols, 1])
    }

    /// As [`View::strided`]; no two numbers may stand at one place.
    pub(crate) fn strided(data: &'a mut [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        let ([rows, cols], [row_stride, col_stride]) = (shape, strides);
        Self { layout: Layout { rows, cols, row_stride, col_stride }.checked(data.len()).distinct(), data }
    }
}

/// `dst` becomes `alpha · dst + beta · lhs · rhs` for shapes `[m, n]`, `[m, k]` and `[k, n]`. With `alpha` 0 what `dst`
/// held does not matter, be it NaN. The same shapes and numbers give the same bits.
pub(crate) fn product(dst: ViewMut<'_>, lhs: View<'_>, rhs: View<'_>, alpha: f32, beta: f32) {
    let (d, l, r) = (dst.layout, lhs.layout, rhs.layout);
    assert!((d.rows, d.cols, l.cols) == (l.rows, r.cols, r.rows), "shapes {d:?}, {l:?}, {r:?} do not fit");
    let strides = [d, l, r].map(|layout| [layout.row_stride as isize, layout.col_stride as isize]);
    // SAFETY: each view asserted that all its numbers lie within its slice, and the assertion above that the product asks
    // for no others. `dst` is borrowed mutably, so it overlaps neither factor, and its own numbers stand apart.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            d.rows,
            d.cols,
            l.cols,
            dst.data.as_mut_ptr(),
            strides[0][1],
            strides[0][0],
            alpha != 0.0,
            lhs.data.as_ptr(),
            strides[1][1],
            strides[1][0],
            rhs.data.as_ptr(),
            strides[2][1],
            strides[2][0],
            alpha,
            beta,
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

    /// A view of a `rows x cols` matrix whose stored rows are `pad` longer than they need be.
    fn view(data: &[f32], [rows, cols]: [usize; 2], pad: usize, turned: bool) -> View<'_> {
        match turned {
            true => View::strided(data, [cols, rows], [rows + pad, 1]).transposed(),
            false => View::strided(data, [rows, cols], [cols + pad, 1]),
        }
    }

    fn at(view: View<'_>, row: usize, col: usize) -> f64 {
        f64::from(view.data[row * view.layout.row_stride + col * view.layout.col_stride])
    }

    proptest! {
        #[test]
        fn products_of_any_shape_and_layout(
            (m, n, k) in (0usize..40, 0usize..40, 0usize..70),
            (pad, turn_lhs, turn_rhs) in (0usize..3, any::<bool>(), any::<bool>()),
            (alpha, beta) in (prop::sample::select(vec![0.0f32, 1.0, -0.5]), prop::sample::select(vec![1.0f32, -2.0])),
        ) {
            let (lhs, rhs) = (numbers((m + pad) * (k + pad), 1), numbers((k + pad) * (n + pad), 2));
            let (lhs, rhs) = (view(&lhs, [m, k], pad, turn_lhs), view(&rhs, [k, n], pad, turn_rhs));
            let before = numbers(m * (n + pad), 3);
            let mut dst = before.clone();
            product(ViewMut::strided(&mut dst, [m, n], [n + pad, 1]), lhs, rhs, alpha, beta);
            for (place, (&was, &is)) in before.iter().zip(&dst).enumerate() {
                let (row, col) = (place / (n + pad), place % (n + pad));
                let sum = |col| (0..k).map(|i| at(lhs, row, i) * at(rhs, i, col)).sum::<f64>();
                let want = match col < n {
                    true => f64::from(alpha) * f64::from(was) + f64::from(beta) * sum(col),
                    false => f64::from(was),
                };
                prop_assert!((f64::from(is) - want).abs() < 1e-4, "{row}, {col}: {is} is not {want}");
            }
        }
    }

    #[test]
    fn what_was_there_is_not_read_without_need() {
        let mut dst = [f32::NAN; 4];
        product(ViewMut::new(&mut dst, 2, 2), View::new(&[1.0, 2.0], 2, 1), View::new(&[3.0, 4.0], 1, 2), 0.0, 1.0);
        assert_eq!(dst, [3.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    #[should_panic(expected = "goes beyond")]
    fn a_view_beyond_its_slice() {
        View::strided(&[0.0; 11], [3, 3], [4, 2]);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn a_target_that_overlaps_itself() {
        ViewMut::strided(&mut [0.0; 9], [3, 3], [2, 1]);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn shapes_that_do_not_fit() {
        product(ViewMut::new(&mut [0.0; 4], 2, 2), View::new(&[0.0; 6], 2, 3), View::new(&[0.0; 4], 2, 2), 0.0, 1.0);
    }
}

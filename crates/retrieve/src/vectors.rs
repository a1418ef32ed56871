//! Vectors laid out for search: every number split into its two halves, row after row, each row on cache lines of its own.
//!
//! A walk through a graph is bound by the memory it touches, not by arithmetic. The upper 16 bits of a float (sign,
//! exponent and 7 bits, what others call bf16, here rounded to the nearest) tell apart all but near ties, so a walk reads
//! the upper halves alone, half the memory. What it found is then scored with both halves, which are the float, to the
//! bit. So a first pass costs no memory beyond the vectors.
//!
//! A word of a plane holds the halves of an even and of an odd number, so that vector instructions get at either with one
//! shift or mask; a [`Query`] has its even and odd numbers apart.

use bytemuck::{Pod, Zeroable};
use lookalike_bundle::Matrix;
use pulp::{Arch, Simd, WithSimd};

use crate::block::Block;

/// A cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u32; LINE]);

/// Words on a line, each with halves of two numbers.
pub(crate) const LINE: usize = 16;
const NUMBERS: usize = 2 * LINE;
const UPPER: u32 = 0xffff_0000;
const LOWER: u32 = 0x0000_ffff;
/// The sign of a lower half.
const SIGN: u32 = 0x0000_8000;

/// A table of vectors.
#[derive(Debug)]
pub(crate) struct Vectors {
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    /// Lines of a row in either plane.
    lines: usize,
    pub(crate) upper: Block,
    pub(crate) lower: Block,
}

/// A vector to compare with rows: its even numbers, then its odd ones, each filled with zeros to whole lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    numbers: Vec<f32>,
}

impl Query {
    pub(crate) fn set(&mut self, vector: &[f32]) {
        let half = vector.len().div_ceil(NUMBERS) * LINE;
        self.numbers.clear();
        self.numbers.resize(2 * half, 0.0);
        for (at, &number) in vector.iter().enumerate() {
            self.numbers[at % 2 * half + at / 2] = number;
        }
    }

    #[cfg(test)]
    pub(crate) fn of(vector: &[f32]) -> Self {
        let mut query = Self::default();
        query.set(vector);
        query
    }

    #[inline(always)]
    fn halves(&self) -> (&[f32], &[f32]) {
        self.numbers.split_at(self.numbers.len() / 2)
    }
}

/// Upper and lower half of a float; the upper is the nearest number of 16 bits, and the lower what is missing to it.
fn split(number: f32) -> (u32, u32) {
    let bits = number.to_bits();
    (bits.wrapping_add(SIGN) >> 16, bits & LOWER)
}

impl Vectors {
    /// Lines of a row in one plane.
    pub(crate) fn lines(dim: usize) -> usize {
        dim.div_ceil(NUMBERS)
    }

    pub(crate) fn new(table: &Matrix) -> Self {
        let (rows, dim) = (table.rows(), table.cols());
        let lines = Self::lines(dim);
        let mut planes = [vec![Line::default(); rows * lines], vec![Line::default(); rows * lines]];
        for row in 0..rows {
            for (at, &number) in table.row(row).iter().enumerate() {
                let (line, word, shift) = (row * lines + at / NUMBERS, at % NUMBERS / 2, at % 2 * 16);
                let (upper, lower) = split(number);
                planes[0][line].0[word] |= upper << shift;
                planes[1][line].0[word] |= lower << shift;
            }
        }
        let [upper, lower] = planes.map(Block::Owned);
        Self { rows, dim, lines, upper, lower }
    }

    /// Of planes as they were written. `None` if they do not hold so many lines.
    pub(crate) fn from_planes(rows: usize, dim: usize, upper: Block, lower: Block) -> Option<Self> {
        let lines = Self::lines(dim);
        let fits = |plane: &Block| Some(plane.lines().len()) == rows.checked_mul(lines);
        (fits(&upper) && fits(&lower)).then_some(Self { rows, dim, lines, upper, lower })
    }

    /// The planes, for a search: what lies behind a file is looked up once.
    #[inline(always)]
    pub(crate) fn planes(&self) -> Planes<'_> {
        Planes { lines: self.lines, upper: self.upper.lines(), lower: self.lower.lines() }
    }

    /// One row as it was given.
    pub(crate) fn row(&self, row: u32) -> Vec<f32> {
        let planes = self.planes();
        let (upper, lower) = (planes.upper_of(row), planes.lower_of(row));
        let number = |at: usize| {
            let shift = at % 2 * 16;
            let [upper, lower] = [upper, lower].map(|words| words[at / 2] >> shift & LOWER);
            f32::from_bits(join(upper, lower))
        };
        (0..self.dim).map(number).collect()
    }
}

/// The bits of a float from its two halves.
fn join(upper: u32, lower: u32) -> u32 {
    (upper << 16).wrapping_sub((lower & SIGN) << 1) | lower
}

/// The planes of a table.
#[derive(Clone, Copy)]
pub(crate) struct Planes<'a> {
    lines: usize,
    upper: &'a [Line],
    lower: &'a [Line],
}

impl<'a> Planes<'a> {
    #[inline(always)]
    fn words(&self, plane: &'a [Line], row: u32) -> &'a [u32] {
        let at = row as usize * self.lines;
        bytemuck::cast_slice(&plane[at..at + self.lines])
    }

    #[inline(always)]
    fn upper_of(&self, row: u32) -> &'a [u32] {
        self.words(self.upper, row)
    }

    #[inline(always)]
    fn lower_of(&self, row: u32) -> &'a [u32] {
        self.words(self.lower, row)
    }

    /// The lines that [`Planes::rough`] will read.
    #[inline(always)]
    pub(crate) fn ahead(&self, row: u32) -> &'a [Line] {
        &self.upper[row as usize * self.lines..(row as usize + 1) * self.lines]
    }

    /// The inner product with the upper halves of a row.
    #[inline(always)]
    pub(crate) fn rough<S: Simd>(&self, simd: S, query: &Query, row: u32) -> f32 {
        let (evens, odds) = query.halves();
        let ((evens, _), (odds, _)) = (S::as_simd_f32s(evens), S::as_simd_f32s(odds));
        let (words, _) = S::as_simd_u32s(self.upper_of(row));
        let (mask, sixteen) = (simd.splat_u32s(UPPER), simd.splat_u32s(16));
        let mut sums = [simd.splat_f32s(0.0); 2];
        for ((&word, &even), &odd) in words.iter().zip(evens).zip(odds) {
            let left = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(word, sixteen));
            let right = simd.transmute_f32s_u32s(simd.and_u32s(word, mask));
            sums[0] = simd.mul_add_e_f32s(even, left, sums[0]);
            sums[1] = simd.mul_add_e_f32s(odd, right, sums[1]);
        }
        simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]))
    }

    /// The inner product with a row.
    #[inline(always)]
    pub(crate) fn product<S: Simd>(&self, simd: S, query: &Query, row: u32) -> f32 {
        self.whole(simd, query, row, |a, b, sum| simd.mul_add_e_f32s(a, b, sum))
    }

    /// The squared Euclidean distance to a row.
    #[inline(always)]
    pub(crate) fn squared_distance<S: Simd>(&self, simd: S, query: &Query, row: u32) -> f32 {
        self.whole(simd, query, row, |a, b, sum| {
            let apart = simd.sub_f32s(a, b);
            simd.mul_add_e_f32s(apart, apart, sum)
        })
    }

    #[inline(always)]
    fn whole<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        row: u32,
        term: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s,
    ) -> f32 {
        let (evens, odds) = query.halves();
        let ((evens, _), (odds, _)) = (S::as_simd_f32s(evens), S::as_simd_f32s(odds));
        let ((upper, _), (lower, _)) = (S::as_simd_u32s(self.upper_of(row)), S::as_simd_u32s(self.lower_of(row)));
        let mut sums = [simd.splat_f32s(0.0); 2];
        for (((&upper, &lower), &even), &odd) in upper.iter().zip(lower).zip(evens).zip(odds) {
            let [left, right] = floats(simd, upper, lower);
            sums[0] = term(left, even, sums[0]);
            sums[1] = term(right, odd, sums[1]);
        }
        simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]))
    }

    /// A row as a query.
    #[inline(always)]
    pub(crate) fn query<S: Simd>(&self, simd: S, row: u32, query: &mut Query) {
        let (upper, lower) = (self.upper_of(row), self.lower_of(row));
        query.numbers.resize(2 * upper.len(), 0.0);
        let (evens, odds) = query.numbers.split_at_mut(upper.len());
        let ((evens, _), (odds, _)) = (S::as_mut_simd_f32s(evens), S::as_mut_simd_f32s(odds));
        let ((upper, _), (lower, _)) = (S::as_simd_u32s(upper), S::as_simd_u32s(lower));
        for (((&upper, &lower), even), odd) in upper.iter().zip(lower).zip(evens).zip(odds) {
            [*even, *odd] = floats(simd, upper, lower);
        }
    }
}

/// The even and the odd floats of words from either plane.
#[inline(always)]
fn floats<S: Simd>(simd: S, upper: S::u32s, lower: S::u32s) -> [S::f32s; 2] {
    let sixteen = simd.splat_u32s(16);
    let (upper_even, upper_odd) =
        (simd.wrapping_dyn_shl_u32s(upper, sixteen), simd.and_u32s(upper, simd.splat_u32s(UPPER)));
    let (lower_even, lower_odd) =
        (simd.and_u32s(lower, simd.splat_u32s(LOWER)), simd.wrapping_dyn_shr_u32s(lower, sixteen));
    [joined(simd, upper_even, lower_even), joined(simd, upper_odd, lower_odd)]
}

/// Whether upper halves are those of finite numbers: none has all bits of its exponent set.
pub(crate) fn finite(words: &[u32]) -> bool {
    Arch::new().dispatch(Longest(bytemuck::cast_slice(words))) < 0x7f80
}

struct Longest<'a>(&'a [u16]);

impl WithSimd for Longest<'_> {
    type Output = u16;

    /// A loop without a way out, which becomes vector instructions. An exponent of ones alone is the greatest there is.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u16 {
        self.0.iter().fold(0, |most, half| most.max(half & 0x7fff))
    }
}

/// [`join`], with the upper half in its place already.
#[inline(always)]
fn joined<S: Simd>(simd: S, upper: S::u32s, lower: S::u32s) -> S::f32s {
    let sign = simd.and_u32s(lower, simd.splat_u32s(SIGN));
    let borrow = simd.add_u32s(sign, sign);
    simd.transmute_f32s_u32s(simd.or_u32s(simd.sub_u32s(upper, borrow), lower))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::random;

    struct All<'a>(&'a Vectors, &'a Query, u32);

    impl WithSimd for All<'_> {
        type Output = [f32; 3];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [f32; 3] {
            let planes = self.0.planes();
            [
                planes.rough(simd, self.1, self.2),
                planes.product(simd, self.1, self.2),
                planes.squared_distance(simd, self.1, self.2),
            ]
        }
    }

    struct Again<'a>(&'a Vectors, u32);

    impl WithSimd for Again<'_> {
        type Output = Query;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Query {
            let mut query = Query::default();
            self.0.planes().query(simd, self.1, &mut query);
            query
        }
    }

    proptest! {
        #[test]
        fn rows_come_back_to_the_bit_and_sums_are_those_of_plain_loops(rows in 1usize..9, dim in 1usize..150, seed: u64) {
            let mut table = random(rows, dim, seed);
            table.row_mut(0)[0] = [1e-40, -0.0, 1e18, f32::from_bits(0x3f80_8000), f32::from_bits(0x3f7f_ffff)][dim % 5];
            let vectors = Vectors::new(&table);
            let given = random(1, dim, seed ^ 1);
            let query = Query::of(given.row(0));
            for row in 0..rows {
                let bits = |row: &[f32]| row.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&vectors.row(row as u32)), bits(table.row(row)));
                let pairs = || given.row(0).iter().zip(table.row(row)).map(|(&a, &b)| (f64::from(a), f64::from(b)));
                let product: f64 = pairs().map(|(a, b)| a * b).sum();
                let apart: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
                let size: f64 = pairs().map(|(a, b)| (a * b).abs()).sum();
                for arch in [Arch::new(), Arch::Scalar] {
                    let [rough, exact, distance] = arch.dispatch(All(&vectors, &query, row as u32)).map(f64::from);
                    prop_assert!((rough - product).abs() <= size / 256.0 + 1e-5);
                    prop_assert!((exact - product).abs() <= size * 1e-5 + 1e-6);
                    prop_assert!((distance - apart).abs() <= apart * 1e-5 + 1e-6);
                }
                for arch in [Arch::new(), Arch::Scalar] {
                    let again = arch.dispatch(Again(&vectors, row as u32));
                    prop_assert_eq!(bits(&again.numbers), bits(&Query::of(table.row(row)).numbers));
                }
            }
        }
    }
}

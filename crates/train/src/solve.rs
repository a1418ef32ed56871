//! One row of implicit ALS in one block of numbers, solved exactly in whichever of two ways takes less.
//!
//! The row minimises `Σ w·(1 − p − v·δ)² + …` over the change δ of its numbers in the block, where p is what its present
//! numbers predict of an entry. In the eigenbasis of the Gram matrix (see `als.rs`) the equations are
//! `(Λ + Σ w·v·vᵀ) δ = Σ w·(1 − p)·v + h` with a diagonal Λ. With the rows c = √w·Λ^-½·v of C, t = √w·(1 − p),
//! q = Λ^-½·h and δ = Λ^-½·z they become `(I + CᵀC) z = Cᵀt + q`, a system as large as the block, or
//! `z = Cᵀy + q` with `(I + CCᵀ) y = t − C·q`, a system as large as the row has entries (Woodbury's identity). All
//! eigenvalues of both are at least 1, so that single precision suffices.

use std::hint::black_box;

use pulp::Simd;

use crate::dense::{Aligned, NotPositive, PAD, Product, ROWS, add_scaled, dot, solve_positive, stride};

/// Entries gathered before they are added to the matrix; keeps the gathered vectors in the nearer caches.
const TILE: usize = 128;
/// A ridge below this share of the Gram matrix's largest eigenvalue is beyond what single precision tells apart.
const LEAST: f32 = 1e-8;

/// A block of numbers in the eigenbasis of its Gram matrix.
pub(crate) struct Block {
    /// Where it begins in a row.
    pub(crate) offset: usize,
    /// Numbers in it.
    pub(crate) width: usize,
    /// The eigenvalues, padded with zeros.
    pub(crate) values: Vec<f32>,
}

impl Block {
    /// Whether single precision tells systems with this ridge from singular ones.
    pub(crate) fn bears(&self, ridge: f32) -> bool {
        let most = self.values.iter().fold(0.0f32, |most, &value| most.max(value));
        ridge > LEAST * most && ridge.is_finite()
    }
}

/// What a row has to do with the other side.
#[derive(Clone, Copy)]
pub(crate) struct Entries<'a> {
    /// Rows of the other side.
    pub(crate) cols: &'a [u32],
    pub(crate) weights: &'a [f32],
    /// What the row's present numbers predict of each entry.
    pub(crate) scores: &'a [f32],
    /// All rows of the other side, and how far apart they are.
    pub(crate) others: &'a [f32],
    pub(crate) stride: usize,
}

impl Entries<'_> {
    /// Reads a number of every line of the other side's vectors. Many lines are on their way at once then, while the work
    /// on each vector is too long for the processor to see the next ones before it is done.
    #[inline(always)]
    pub(crate) fn touch(&self, block: &Block) {
        let mut kept = 0;
        for &col in self.cols {
            let vector = &self.others[col as usize * self.stride + block.offset..][..stride(block.width)];
            vector.as_chunks::<PAD>().0.iter().for_each(|line| kept ^= line[0].to_bits());
        }
        black_box(kept);
    }
}

/// A row to be solved.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) ridge: f32,
    pub(crate) entries: Entries<'a>,
    /// h, padded with zeros; zero if there is none.
    pub(crate) pull: Option<&'a [f32]>,
}

/// Workspace for solving one row after the other.
pub(crate) struct Solver {
    scale: Aligned,
    pull: Aligned,
    gathered: Aligned,
    turned: Aligned,
    targets: Aligned,
    matrix: Aligned,
    right: Aligned,
    solution: Aligned,
}

impl Solver {
    /// For blocks of up to `width` numbers.
    pub(crate) fn new(width: usize) -> Self {
        let stride = stride(width);
        let zeros = |rows: usize| Aligned::zeros(rows * stride);
        Self {
            scale: zeros(1),
            pull: zeros(1),
            gathered: zeros(width.max(TILE)),
            turned: zeros(stride),
            targets: Aligned::zeros(width.max(TILE)),
            matrix: zeros(width.next_multiple_of(ROWS)),
            right: zeros(1),
            solution: zeros(1),
        }
    }

    /// Writes the change δ of the block's numbers to `out`, padded with zeros.
    #[inline(always)]
    pub(crate) fn solve<S: Simd>(
        &mut self,
        simd: S,
        block: &Block,
        task: &Task<'_>,
        out: &mut [f32],
    ) -> Result<(), NotPositive> {
        let Task { ridge, entries, pull } = *task;
        let used = stride(block.width);
        if !block.bears(ridge) {
            return Err(NotPositive);
        }
        for (scale, &value) in self.scale[..used].iter_mut().zip(&block.values) {
            *scale = 1.0 / (value + ridge).sqrt();
        }
        match pull {
            Some(pull) => {
                for ((own, &pull), &scale) in self.pull[..used].iter_mut().zip(pull).zip(self.scale.iter()) {
                    *own = scale * pull;
                }
            }
            None => self.pull[..used].fill(0.0),
        }
        match entries.cols.len() < block.width {
            true => self.small(simd, block, entries, pull.is_some())?,
            false => self.large(simd, block, entries)?,
        }
        for ((out, &number), &scale) in out.iter_mut().zip(&self.pull[..used]).zip(self.scale.iter()) {
            *out = scale * number;
        }
        Ok(())
    }

    /// A row with fewer entries than the block has numbers: leaves z in `pull`.
    #[inline(always)]
    fn small<S: Simd>(
        &mut self,
        simd: S,
        block: &Block,
        entries: Entries<'_>,
        pulled: bool,
    ) -> Result<(), NotPositive> {
        let (used, count) = (stride(block.width), entries.cols.len());
        let size = stride(count);
        if count == 0 {
            return Ok(());
        }
        self.gather(block, entries);
        for (at, row) in self.gathered.chunks_exact(used).take(count).enumerate() {
            let own = if pulled { dot(simd, row, &self.pull[..used]) } else { 0.0 };
            self.right[at] = self.targets[at] - own;
        }
        let turned = &mut self.turned[..used * size];
        for (from, columns) in (0..used).step_by(ROWS).zip(turned.chunks_exact_mut(ROWS * size)) {
            for (at, row) in self.gathered.chunks_exact(used).take(count).enumerate() {
                for (column, &number) in columns.chunks_exact_mut(size).zip(&row[from..from + ROWS]) {
                    column[at] = number;
                }
            }
            for column in columns.chunks_exact_mut(size) {
                column[count..].fill(0.0);
            }
        }
        let matrix = unit(&mut self.matrix, count);
        gram(turned, size, block.width).add(simd, matrix, size, (count.next_multiple_of(ROWS), count));
        let (right, solution) = (&mut self.right[..size], &mut self.solution[..size]);
        solve_positive(simd, count, matrix, right, solution)?;
        for (row, &factor) in self.gathered.chunks_exact(used).zip(&solution[..count]) {
            add_scaled(simd, &mut self.pull[..used], factor, row);
        }
        Ok(())
    }

    /// A row with at least as many entries as the block has numbers: leaves z in `pull`.
    #[inline(always)]
    fn large<S: Simd>(&mut self, simd: S, block: &Block, entries: Entries<'_>) -> Result<(), NotPositive> {
        let (width, used) = (block.width, stride(block.width));
        unit(&mut self.matrix, width);
        for first in (0..entries.cols.len()).step_by(TILE) {
            let tile = first..entries.cols.len().min(first + TILE);
            let part = Entries {
                cols: &entries.cols[tile.clone()],
                weights: &entries.weights[tile.clone()],
                scores: &entries.scores[tile],
                ..entries
            };
            self.gather(block, part);
            let gathered = &self.gathered[..part.cols.len() * used];
            for (row, &target) in gathered.chunks_exact(used).zip(self.targets.iter()) {
                add_scaled(simd, &mut self.pull[..used], target, row);
            }
            let rows = width.next_multiple_of(ROWS);
            gram(gathered, used, part.cols.len()).add(simd, &mut self.matrix[..rows * used], used, (rows, width));
        }
        let solution = &mut self.solution[..used];
        solve_positive(simd, width, &mut self.matrix, &mut self.pull[..used], solution)?;
        self.pull[..used].copy_from_slice(solution);
        Ok(())
    }

    /// Writes the rows c of the entries to `gathered` and their t to `targets`.
    #[inline(always)]
    fn gather(&mut self, block: &Block, entries: Entries<'_>) {
        entries.touch(block);
        let used = stride(block.width);
        let facts = entries.cols.iter().zip(entries.weights).zip(entries.scores);
        let targets = self.gathered.chunks_exact_mut(used).zip(self.targets.iter_mut());
        for ((gathered, target), ((&col, &weight), &score)) in targets.zip(facts) {
            let root = weight.sqrt();
            *target = root * (1.0 - score);
            let vector = &entries.others[col as usize * entries.stride + block.offset..][..used];
            for ((gathered, &number), &scale) in gathered.iter_mut().zip(vector).zip(self.scale.iter()) {
                *gathered = root * scale * number;
            }
        }
    }
}

/// The first `dim` rows of a matrix, and what pads them, as those of the unit matrix.
fn unit(matrix: &mut [f32], dim: usize) -> &mut [f32] {
    let stride = stride(dim);
    let matrix = &mut matrix[..dim.next_multiple_of(ROWS) * stride];
    matrix.fill(0.0);
    (0..dim).for_each(|at| matrix[at * stride + at] = 1.0);
    matrix
}

/// The upper triangle of `Σ r·rᵀ` over rows of length `stride`.
pub(crate) fn gram(rows: &[f32], stride: usize, terms: usize) -> Product<'_> {
    Product { left: rows, steps: (1, stride), right: rows, right_stride: stride, terms, sign: 1.0, upper: Some(0) }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use pulp::{Arch, WithSimd};
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    struct Run<'a>(&'a Block, Task<'a>);

    impl WithSimd for Run<'_> {
        type Output = Result<Vec<f32>, NotPositive>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let mut out = vec![0.0; stride(self.0.width)];
            Solver::new(self.0.width).solve(simd, self.0, &self.1, &mut out)?;
            Ok(out)
        }
    }

    /// Solves `system`, rows with their right-hand side behind them, in `f64` by elimination with pivoting.
    pub(crate) fn eliminate(mut system: Vec<Vec<f64>>) -> Vec<f64> {
        let dim = system.len();
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

    /// The equations as they are written at the top of this file, with the block in the midst of longer rows.
    fn check(width: usize, count: usize, pulled: bool, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (used, offset) = (stride(width), 16);
        let long = used + 2 * offset;
        let mut others = vec![7.0f32; (count + 1) * long];
        for row in others.chunks_exact_mut(long) {
            row[offset..offset + used].fill(0.0);
            row[offset..offset + width].fill_with(|| rng.random_range(-1.0..1.0));
        }
        let mut padded = |least: f32, count: usize| -> Vec<f32> {
            let numbers = (0..count).map(|_| rng.random_range(least..3.0));
            numbers.chain(std::iter::repeat(0.0)).take(used.max(count)).collect()
        };
        let (values, pull) = (padded(0.0, width), padded(-3.0, width));
        let (weights, scores) = (padded(0.1, count), padded(-1.0, count));
        let cols: Vec<u32> = (0..count as u32).rev().collect();
        let block = Block { offset, width, values };
        let entries = Entries {
            cols: &cols,
            weights: &weights[..count],
            scores: &scores[..count],
            others: &others,
            stride: long,
        };
        let got =
            Arch::new().dispatch(Run(&block, Task { ridge: 0.5, entries, pull: pulled.then_some(&pull) })).unwrap();

        let mut system = vec![vec![0.0f64; width + 1]; width];
        for (row, line) in system.iter_mut().enumerate() {
            line[row] += f64::from(block.values[row]) + 0.5;
            line[width] += if pulled { f64::from(pull[row]) } else { 0.0 };
            for (at, &col) in cols.iter().enumerate() {
                let v: Vec<f64> = others[col as usize * long + offset..][..width].iter().map(|&x| x.into()).collect();
                let weighed = f64::from(weights[at]) * v[row];
                line.iter_mut().zip(&v).for_each(|(number, v)| *number += weighed * v);
                line[width] += weighed * (1.0 - f64::from(scores[at]));
            }
        }
        for (got, want) in got.iter().zip(eliminate(system)) {
            let near = (f64::from(*got) - want).abs() < 3e-4 * want.abs().max(1.0);
            assert!(near, "{width} wide, {count} entries: {got} is not {want}");
        }
        assert!(got[width..].iter().all(|&pad| pad == 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]
        #[test]
        fn solves_like_gaussian_elimination(width in 1usize..70, count in 0usize..150, pulled: bool, seed: u64) {
            check(width, count, pulled, seed);
        }
    }

    #[test]
    fn both_ways_meet_where_there_are_as_many_entries_as_numbers() {
        for (width, count) in [(1, 1), (16, 15), (16, 16), (17, 300), (130, 129), (130, 130), (257, 40), (200, 500)] {
            check(width, count, true, 3);
        }
    }

    #[test]
    fn a_ridge_that_is_zero_tiny_or_not_finite_is_refused() {
        let block = Block { offset: 0, width: 2, values: [vec![10.0, 0.0], vec![0.0; 14]].concat() };
        let none = Entries { cols: &[], weights: &[], scores: &[], others: &[], stride: 16 };
        let task = |ridge| Task { ridge, entries: none, pull: None };
        for ridge in [0.0, -1.0, 1e-9, f32::NAN, f32::INFINITY] {
            assert!(Arch::new().dispatch(Run(&block, task(ridge))).is_err());
        }
        assert!(Arch::new().dispatch(Run(&block, task(1e-3))).is_ok());
    }
}

//! Implicit ALS on the CPU: ridge solves, row after row, both sides in turn.
//!
//! Minimises `Σ_S w·(1 − u·v)² + α0·Σ_all (u·v)² + Σ_rows λ_r·|row|²` with
//! `λ_r = λ·(n_r + α0·N)^ν`, n_r = summed weight of the row, N = rows of the other side
//! (Hu, Koren and Volinsky 2008; frequency-scaled regularisation after Rendle et al. 2022).
//!
//! A row's numbers are solved block after block, each block exactly with the others held (iALS++, Rendle et al. 2021);
//! with one block the row is solved exactly. Every block of the other side is turned into the eigenbasis of its Gram
//! matrix first. There α0·G is diagonal for every λ_r at once, which makes rows with few entries cheap; see `solve.rs`.

use std::cmp::Reverse;

use lookalike_bundle::{Matrix, Row};
use lookalike_dataset::Csr;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::dense::{Aligned, NotPositive, Product, ROWS, add_scaled, dot, stride};
use crate::eigen::eigen;
use crate::lanes::Lanes;
use crate::solve::{Block, Entries, Solver, Task, gram};

/// Rows solved together at most, and entries after which no further row joins them.
const TOGETHER: (usize, usize) = (32, 4096);
/// Rows summed into one Gram matrix in single precision.
const GRAM_ROWS: usize = 2048;
/// Rows of them that stay in the nearer caches.
const GRAM_TILE: usize = 128;
/// Pieces that are summed side by side at most; they are added in order, whichever thread made them.
const GRAM_PIECES: usize = 32;

/// How a row's numbers are cut into blocks, each padded to whole registers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    dim: usize,
    block: usize,
}

impl Layout {
    fn blocks(self) -> usize {
        self.dim.div_ceil(self.block)
    }

    fn width(self, block: usize) -> usize {
        self.block.min(self.dim - block * self.block)
    }

    fn offset(self, block: usize) -> usize {
        block * stride(self.block)
    }

    fn stride(self) -> usize {
        let last = self.blocks() - 1;
        self.offset(last) + stride(self.width(last))
    }
}

/// One side's factors, in rows of padded blocks.
pub(crate) struct Side {
    rows: usize,
    layout: Layout,
    data: Vec<f32>,
}

impl Side {
    /// Numbers are solved `block` at a time.
    pub(crate) fn new(matrix: &Matrix, block: usize) -> Self {
        let (rows, layout) = (matrix.rows(), Layout { dim: matrix.cols(), block: block.min(matrix.cols()) });
        let mut data = vec![0.0; rows * layout.stride()];
        for (row, padded) in data.chunks_exact_mut(layout.stride()).enumerate() {
            for (numbers, padded) in matrix.row(row).chunks(layout.block).zip(padded.chunks_mut(stride(layout.block))) {
                padded[..numbers.len()].copy_from_slice(numbers);
            }
        }
        Self { rows, layout, data }
    }

    pub(crate) fn matrix(&self) -> Matrix {
        let layout = self.layout;
        let mut matrix = Matrix::zeros(self.rows, layout.dim);
        for (row, padded) in self.data.chunks_exact(layout.stride()).enumerate() {
            let blocks = matrix.row_mut(row).chunks_mut(layout.block);
            for (numbers, padded) in blocks.zip(padded.chunks(stride(layout.block))) {
                numbers.copy_from_slice(&padded[..numbers.len()]);
            }
        }
        matrix
    }
}

/// `factor · Σ v·vᵀ` over the columns `offset..offset + width` of all rows of `data`: its upper triangle, `width` rows of
/// `stride(width)`.
fn gram_of(data: &[f32], row_stride: usize, offset: usize, width: usize, factor: f32) -> Vec<f64> {
    let rows = data.len() / row_stride;
    let piece = rows.div_ceil(GRAM_PIECES).next_multiple_of(GRAM_ROWS);
    let padded = stride(width);
    let pieces = data.par_chunks(piece * row_stride).map(|piece| {
        let mut sum = vec![0.0f64; width * padded];
        let mut matrix = vec![0.0f32; width.next_multiple_of(ROWS) * padded];
        for rows in piece.chunks(GRAM_ROWS * row_stride) {
            matrix.fill(0.0);
            Arch::new().dispatch(Gram { rows, row_stride, offset, width, matrix: &mut matrix });
            for (sum, &number) in sum.iter_mut().zip(&matrix) {
                *sum += f64::from(number);
            }
        }
        sum
    });
    let mut sum = vec![0.0f64; width * padded];
    for piece in pieces.collect::<Vec<_>>() {
        sum.iter_mut().zip(piece).for_each(|(sum, number)| *sum += number);
    }
    sum.iter_mut().for_each(|number| *number *= f64::from(factor));
    sum
}

struct Gram<'a> {
    rows: &'a [f32],
    row_stride: usize,
    offset: usize,
    width: usize,
    matrix: &'a mut [f32],
}

impl WithSimd for Gram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let size = (self.width.next_multiple_of(ROWS), self.width);
        for tile in self.rows.chunks(GRAM_TILE * self.row_stride) {
            let rows = tile.len() / self.row_stride;
            gram(&tile[self.offset..], self.row_stride, rows).add(simd, self.matrix, stride(self.width), size);
        }
    }
}

/// The eigenbasis of every block's Gram matrix.
struct Basis {
    layout: Layout,
    blocks: Vec<Block>,
    /// Per block `width` rows of `stride(width)`, a number `from` of the plain basis to the eigenbasis ...
    into: Vec<Aligned>,
    /// ... and back.
    back: Vec<Aligned>,
}

impl Basis {
    fn new(side: &Side, alpha0: f32) -> Result<Self, NotPositive> {
        let layout = side.layout;
        let parts = (0..layout.blocks()).into_par_iter().map(|block| {
            let (offset, width) = (layout.offset(block), layout.width(block));
            let padded = stride(width);
            let upper = gram_of(&side.data, layout.stride(), offset, width, alpha0);
            let number = |p: usize| upper[(p / width).min(p % width) * padded + (p / width).max(p % width)];
            let (values, vectors) = eigen(width, (0..width * width).map(number).collect()).ok_or(NotPositive)?;
            let (mut into, mut back) = (Aligned::zeros(width * padded), Aligned::zeros(width * padded));
            for (p, &number) in vectors.iter().enumerate() {
                back[p / width * padded + p % width] = number as f32;
                into[p % width * padded + p / width] = number as f32;
            }
            // Rounding may leave a zero slightly below zero.
            let mut values: Vec<f32> = values.iter().map(|&value| value.max(0.0) as f32).collect();
            values.resize(padded, 0.0);
            Ok((Block { offset, width, values }, (into, back)))
        });
        let (blocks, (into, back)) = parts.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(Self { layout, blocks, into, back })
    }

    /// Writes `from`, rows of the layout, in another basis to `to`.
    #[inline(always)]
    fn turn<S: Simd>(&self, simd: S, bases: &[Aligned], from: &[f32], to: &mut [f32]) {
        let stride_all = self.layout.stride();
        to.fill(0.0);
        for (block, basis) in self.blocks.iter().zip(bases) {
            let product = Product {
                left: &from[block.offset..],
                steps: (stride_all, 1),
                right: basis,
                right_stride: stride(block.width),
                terms: block.width,
                sign: 1.0,
                upper: None,
            };
            let rows = to.len() / stride_all;
            product.add(simd, &mut to[block.offset..], stride_all, (rows, block.width));
        }
    }
}

/// λ_r of every row; `others` is N, the rows of the other side that count.
pub(crate) fn ridges<R: Row, C: Row>(
    matrix: &Csr<R, C>,
    others: usize,
    (alpha0, reg, nu): (f32, f32, f32),
) -> Vec<f32> {
    let everything = f64::from(alpha0) * others as f64;
    let ridge = |row| {
        let mass: f64 = matrix.weights(row).iter().map(|&weight| f64::from(weight)).sum();
        (f64::from(reg) * (mass + everything).powf(f64::from(nu))) as f32
    };
    matrix.rows().map(ridge).collect()
}

/// Solves every row of `side` against `other`, which is cut into the same blocks. The result does not depend on the
/// number of threads.
pub(crate) fn half_step<R: Row, C: Row>(
    side: &mut Side,
    other: &Side,
    matrix: &Csr<R, C>,
    ridges: &[f32],
    alpha0: f32,
) -> Result<(), NotPositive> {
    let layout = side.layout;
    let row_stride = layout.stride();
    let basis = Basis::new(other, alpha0)?;
    let mut others = Aligned::zeros(other.data.len());
    let parts = others.par_chunks_mut(GRAM_TILE * row_stride).zip(other.data.par_chunks(GRAM_TILE * row_stride));
    parts.for_each(|(to, from)| Arch::new().dispatch(Turn { basis: &basis, from, to }));
    let cross = match layout.blocks() {
        1 => Vec::new(),
        _ => full(&gram_of(&others, row_stride, 0, row_stride, alpha0), row_stride),
    };
    let step = Step { matrix, ridges, basis: &basis, others: &others, cross: &cross };

    // Long rows go first, so that no thread begins one when the others are done.
    let length = |row: usize| matrix.cols(R::new(row as u32)).len();
    let mut jobs: Vec<Job<'_>> = side.data.chunks_exact_mut(row_stride).enumerate().collect();
    jobs.sort_by_key(|(row, _)| Reverse(length(*row)));
    let mut together: Vec<Vec<Job<'_>>> = Vec::new();
    let mut entries = usize::MAX;
    for job in jobs {
        match together.last_mut() {
            Some(last) if last.len() < TOGETHER.0 && entries < TOGETHER.1 => {
                entries += length(job.0);
                last.push(job);
            }
            _ => {
                entries = length(job.0);
                together.push(vec![job]);
            }
        }
    }
    together
        .into_par_iter()
        .with_max_len(1)
        .try_for_each_init(|| Work::new(layout), |work, jobs| Arch::new().dispatch(Solve { step: &step, work, jobs }))
}

/// A square matrix from its upper triangle.
fn full(upper: &[f64], dim: usize) -> Vec<f32> {
    (0..dim * dim).map(|p| upper[(p / dim).min(p % dim) * dim + (p / dim).max(p % dim)] as f32).collect()
}

struct Turn<'a> {
    basis: &'a Basis,
    from: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.basis.turn(simd, &self.basis.into, self.from, self.to);
    }
}

/// A row's number and its numbers.
type Job<'a> = (usize, &'a mut [f32]);

/// What all rows of a half-step share; `others` is in the eigenbasis, and so is their Gram matrix `cross`, which only
/// several blocks need.
struct Step<'a, R: Row, C: Row> {
    matrix: &'a Csr<R, C>,
    ridges: &'a [f32],
    basis: &'a Basis,
    others: &'a [f32],
    cross: &'a [f32],
}

/// Workspace of a thread.
struct Work {
    solver: Solver,
    lanes: Lanes,
    /// Rows in the plain basis and in the eigenbasis.
    plain: Aligned,
    turned: Aligned,
    pull: Aligned,
    changes: Aligned,
    scores: Vec<f32>,
}

impl Work {
    fn new(layout: Layout) -> Self {
        let rows = || Aligned::zeros(TOGETHER.0 * layout.stride());
        let padded = stride(layout.block);
        Self {
            solver: Solver::new(layout.block),
            lanes: Lanes::new(layout.block),
            plain: rows(),
            turned: rows(),
            pull: Aligned::zeros(TOGETHER.0 * padded),
            changes: Aligned::zeros(TOGETHER.0 * padded),
            scores: Vec::new(),
        }
    }
}

struct Solve<'a, R: Row, C: Row> {
    step: &'a Step<'a, R, C>,
    work: &'a mut Work,
    jobs: Vec<Job<'a>>,
}

impl<R: Row, C: Row> WithSimd for Solve<'_, R, C> {
    type Output = Result<(), NotPositive>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { step, work, jobs } = self;
        let Step { matrix, ridges, basis, others, cross } = *step;
        let row_stride = basis.layout.stride();
        let several = basis.blocks.len() > 1;
        let plain = &mut work.plain[..jobs.len() * row_stride];
        let turned = &mut work.turned[..jobs.len() * row_stride];
        let entries = |row: usize| (matrix.cols(R::new(row as u32)), matrix.weights(R::new(row as u32)));

        // A single block is solved from zero: nothing of the present numbers remains in the result.
        turned.fill(0.0);
        work.scores.clear();
        if several {
            for (plain, (row, numbers)) in plain.chunks_exact_mut(row_stride).zip(&jobs) {
                match entries(*row).0.is_empty() {
                    true => plain.fill(0.0),
                    false => plain.copy_from_slice(numbers),
                }
            }
            basis.turn(simd, &basis.into, plain, turned);
        }
        for (turned, (row, _)) in turned.chunks_exact(row_stride).zip(&jobs) {
            let (cols, _) = entries(*row);
            match several {
                true => work.scores.extend(cols.iter().map(
                    #[inline(always)]
                    |&col| dot(simd, turned, &others[col as usize * row_stride..][..row_stride]),
                )),
                false => work.scores.resize(work.scores.len() + cols.len(), 0.0),
            }
        }

        for block in &basis.blocks {
            let used = stride(block.width);
            let pulls = &mut work.pull[..jobs.len() * used];
            if several {
                pulls.fill(0.0);
                let product = Product {
                    left: turned,
                    steps: (row_stride, 1),
                    right: &cross[block.offset..],
                    right_stride: row_stride,
                    terms: row_stride,
                    sign: -1.0,
                    upper: None,
                };
                product.add(simd, pulls, used, (jobs.len(), used));
            }
            let mut rest = work.scores.as_slice();
            let rows = jobs.iter().zip(turned.chunks_exact(row_stride).zip(pulls.chunks_exact_mut(used)));
            let rows: Vec<_> = rows
                .map(|((row, _), (turned, pull))| {
                    let ((cols, weights), ridge) = (entries(*row), ridges[*row]);
                    let scores = rest.split_off(..cols.len()).unwrap_or_default();
                    add_scaled(simd, pull, -ridge, &turned[block.offset..][..used]);
                    let entries = Entries { cols, weights, scores, others, stride: row_stride };
                    Task { ridge, entries, pull: several.then_some(&*pull) }
                })
                .collect();
            let changes = &mut work.changes[..jobs.len() * used];
            for (rows, changes) in rows.chunks(S::F32_LANES).zip(changes.chunks_mut(S::F32_LANES * used)) {
                let longest = rows.iter().map(|row| row.entries.cols.len()).max().unwrap_or(0);
                if Lanes::fit(simd, block, longest) {
                    work.lanes.solve(simd, block, rows, changes)?;
                    continue;
                }
                for (row, change) in rows.iter().zip(changes.chunks_exact_mut(used)) {
                    work.solver.solve(simd, block, row, change)?;
                }
            }
            let mut first = 0;
            let rows = turned.chunks_exact_mut(row_stride).zip(changes.chunks_exact(used));
            for ((row, _), (turned, change)) in jobs.iter().zip(rows) {
                add_scaled(simd, &mut turned[block.offset..][..used], 1.0, change);
                if several {
                    let (cols, _) = entries(*row);
                    for (score, &col) in work.scores[first..].iter_mut().zip(cols) {
                        *score += dot(simd, change, &others[col as usize * row_stride + block.offset..][..used]);
                    }
                    first += cols.len();
                }
            }
        }

        basis.turn(simd, &basis.back, turned, plain);
        for ((_, numbers), plain) in jobs.into_iter().zip(plain.chunks_exact(row_stride)) {
            numbers.copy_from_slice(plain);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{ItemRow, UserRow};
    use lookalike_dataset::Pair;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    fn random(users: usize, items: usize, dim: usize, block: usize) -> (Csr<UserRow, ItemRow>, Side, Side) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let pair = |rng: &mut Xoshiro256PlusPlus| Pair {
            row: UserRow::new(rng.random_range(0..users as u32)),
            col: ItemRow::new(rng.random_range(0..items as u32)),
            weight: rng.random_range(0.5..2.0),
        };
        let pairs: Vec<_> = (0..users * 4).map(|_| pair(&mut rng)).collect();
        let mut side = |rows: usize| {
            let data = (0..rows * dim).map(|_| rng.random_range(-0.3..0.3)).collect();
            Side::new(&Matrix::from_vec(rows, dim, data).unwrap(), block)
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

    fn loss_never_rises(dim: usize, block: usize) -> Vec<f64> {
        let (matrix, mut users, mut items) = random(31, 43, dim, block);
        let turned = matrix.transpose();
        let (lu, li) =
            (ridges(&matrix, matrix.n_cols(), (0.2, 0.01, 0.8)), ridges(&turned, turned.n_cols(), (0.2, 0.01, 0.8)));
        let mut losses = vec![loss(&matrix, &users, &items, 0.2, [&lu, &li])];
        for _ in 0..4 {
            half_step(&mut users, &items, &matrix, &lu, 0.2).unwrap();
            losses.push(loss(&matrix, &users, &items, 0.2, [&lu, &li]));
            half_step(&mut items, &users, &turned, &li, 0.2).unwrap();
            losses.push(loss(&matrix, &users, &items, 0.2, [&lu, &li]));
        }
        assert!(losses.is_sorted_by(|before, after| after < before), "dim {dim}, block {block}: {losses:?}");
        losses
    }

    #[test]
    fn every_half_step_lowers_the_loss_however_large_the_blocks() {
        for (dim, block) in [(5, 1), (5, 2), (5, 5), (37, 16), (37, 37), (50, 17), (33, 32), (70, 70)] {
            let losses = loss_never_rises(dim, block);
            // Solving exactly, the first half-step gains most.
            if block < dim {
                assert!(losses[1] > loss_never_rises(dim, dim)[1]);
            }
        }
    }

    #[test]
    fn an_exact_half_step_ends_at_the_minimum() {
        let (matrix, users, mut items) = random(31, 43, 5, 5);
        let turned = matrix.transpose();
        let (lu, li) =
            (ridges(&matrix, matrix.n_cols(), (0.2, 0.01, 0.8)), ridges(&turned, turned.n_cols(), (0.2, 0.01, 0.8)));
        half_step(&mut items, &users, &turned, &li, 0.2).unwrap();
        let least = loss(&matrix, &users, &items, 0.2, [&lu, &li]);
        for (row, at, step) in [(3, 1, -1e-2f32), (3, 1, 1e-2), (7, 0, 1e-2), (20, 4, -1e-2)] {
            let mut moved = Side::new(&items.matrix(), 5);
            moved.data[row * stride(5) + at] += step;
            assert!(loss(&matrix, &users, &moved, 0.2, [&lu, &li]) > least);
        }
    }

    /// Half-steps by the textbook in `f64`: block after block, from the gradient and the Hessian of the loss.
    fn slow(matrix: &Csr<UserRow, ItemRow>, users: &Side, items: &Side, ridges: &[f32], alpha0: f64) -> Vec<Vec<f64>> {
        let (dim, block) = (users.layout.dim, users.layout.block);
        let wide = |m: Matrix| -> Vec<Vec<f64>> {
            (0..m.rows()).map(|r| m.row(r).iter().map(|&x| f64::from(x)).collect()).collect()
        };
        let (mut x, v) = (wide(users.matrix()), wide(items.matrix()));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (row, x) in x.iter_mut().enumerate() {
            let (cols, weights) = (matrix.cols(UserRow::new(row as u32)), matrix.weights(UserRow::new(row as u32)));
            if cols.is_empty() {
                x.fill(0.0);
            }
            for first in (0..dim).step_by(block).take(if cols.is_empty() { 0 } else { dim }) {
                let range = first..dim.min(first + block);
                let ridge = f64::from(ridges[row]);
                let mut system: Vec<Vec<f64>> = range.clone().map(|_| vec![0.0; range.len() + 1]).collect();
                for (at, line) in system.iter_mut().enumerate() {
                    line[at] += ridge;
                    line[range.len()] -= ridge * x[first + at];
                    let facts = cols.iter().zip(weights).map(|(&c, &w)| (&v[c as usize], f64::from(w), 1.0));
                    for (v, weight, target) in facts.chain(v.iter().map(|v| (v, alpha0, 0.0))) {
                        let weighed = weight * v[first + at];
                        line.iter_mut().zip(&v[range.clone()]).for_each(|(number, v)| *number += weighed * v);
                        line[range.len()] += weighed * (target - dot(v, x));
                    }
                }
                for (number, change) in x[range].iter_mut().zip(crate::solve::tests::eliminate(system)) {
                    *number += change;
                }
            }
        }
        x
    }

    #[test]
    fn a_half_step_is_that_of_the_textbook() {
        for (dim, block) in [(1, 1), (7, 3), (20, 20), (40, 16), (45, 20), (64, 64)] {
            let (matrix, mut users, items) = random(53, 87, dim, block);
            let ridges = ridges(&matrix, matrix.n_cols(), (0.3, 0.02, 0.7));
            let want = slow(&matrix, &users, &items, &ridges, 0.3f32.into());
            half_step(&mut users, &items, &matrix, &ridges, 0.3).unwrap();
            for (row, want) in want.iter().enumerate() {
                for (got, want) in users.matrix().row(row).iter().zip(want) {
                    assert!(
                        (f64::from(*got) - want).abs() < 2e-4,
                        "dim {dim}, block {block}, row {row}: {got}, {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn more_numbers_than_rows_can_be_solved() {
        let (matrix, mut users, mut items) = random(3, 4, 64, 64);
        let turned = matrix.transpose();
        let (lu, li) =
            (ridges(&matrix, matrix.n_cols(), (0.1, 0.01, 1.0)), ridges(&turned, turned.n_cols(), (0.1, 0.01, 1.0)));
        for _ in 0..3 {
            half_step(&mut users, &items, &matrix, &lu, 0.1).unwrap();
            half_step(&mut items, &users, &turned, &li, 0.1).unwrap();
        }
        assert!(users.data.iter().chain(&items.data).all(|number| number.is_finite()));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        for block in [9, 4] {
            let run = |threads| {
                let (matrix, mut users, items) = random(301, 5000, 9, block);
                let ridges = ridges(&matrix, matrix.n_cols(), (0.1, 0.01, 1.0));
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| half_step(&mut users, &items, &matrix, &ridges, 0.1)).unwrap();
                users.data
            };
            assert_eq!(run(1), run(3));
        }
    }
}

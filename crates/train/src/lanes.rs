//! Rows of implicit ALS with few entries, solved side by side: one row per lane of the vector registers.
//!
//! The equations are those of `solve.rs` for rows with fewer entries than the block has numbers:
//! `z = Cᵀy + q` with `(I + CCᵀ) y = t − C·q`. Every register holds the same number of as many rows as it has lanes, so
//! that pivots, square roots and substitutions need no sum across a register, and a system is only as large as the row
//! has entries. Rows that are solved together should be of about the same length; the shorter ones have entries of weight
//! zero instead.

use pulp::Simd;

use crate::dense::{Aligned, NotPositive, PAD, stride};
use crate::solve::{Block, Task};

/// Lanes of the widest register.
const LANES: usize = 16;
/// Numbers of a row that are brought into lanes, or back, together.
const QUAD: usize = 4;
/// Entries of a panel: the sums of two panels' products stay in registers, of which there may be 32 ...
const PANEL: usize = 4;
/// ... or 16.
const FEW: usize = 3;
/// Numbers of the panels at most, so that they stay in a core's own cache.
const ROOM: usize = 1 << 17;

/// Workspace for solving rows side by side.
pub(crate) struct Lanes {
    /// Entries by panels: each `[number of the block, then entry before or in the panel][entry of the panel][lane]`,
    /// first C, then U with UᵀU = I + CCᵀ, whose diagonal is inverted.
    panels: Aligned,
    /// Λ^-½, `[number][lane]`.
    scale: Aligned,
    /// q, then z, `[number][lane]`.
    pull: Aligned,
    /// t − C·q, then y, `[entry][lane]`.
    right: Aligned,
    /// `[four numbers][lane][one of the four]`.
    quads: Aligned,
    zeros: Aligned,
}

impl Lanes {
    /// For blocks of up to `width` numbers.
    pub(crate) fn new(width: usize) -> Self {
        let used = stride(width);
        let zeros = |numbers: usize| Aligned::zeros(numbers * LANES);
        Self {
            panels: Aligned::zeros(ROOM),
            scale: zeros(used),
            pull: zeros(used),
            right: zeros(width + PANEL),
            quads: zeros(used),
            zeros: Aligned::zeros(used),
        }
    }

    /// Whether rows with up to `count` entries are solved here.
    pub(crate) fn fit<S: Simd>(_: S, block: &Block, count: usize) -> bool {
        let padded = count.next_multiple_of(panel::<S>());
        count < block.width && padded * (stride(block.width) + padded) * S::F32_LANES <= ROOM
    }

    /// Writes the changes δ of the block's numbers to `out`, row after row, each padded with zeros. Solves as many rows as
    /// a register has lanes at most.
    #[inline(always)]
    pub(crate) fn solve<S: Simd>(
        &mut self,
        simd: S,
        block: &Block,
        rows: &[Task<'_>],
        out: &mut [f32],
    ) -> Result<(), NotPositive> {
        if !rows.iter().all(|row| block.bears(row.ridge)) {
            return Err(NotPositive);
        }
        rows.iter().for_each(|row| row.entries.touch(block));
        match panel::<S>() {
            PANEL => self.solve_by::<S, PANEL>(simd, block, rows, out),
            _ => self.solve_by::<S, FEW>(simd, block, rows, out),
        }
    }

    #[inline(always)]
    fn solve_by<S: Simd, const P: usize>(
        &mut self,
        simd: S,
        block: &Block,
        rows: &[Task<'_>],
        out: &mut [f32],
    ) -> Result<(), NotPositive> {
        let used = stride(block.width);
        let most = rows.iter().map(|row| row.entries.cols.len()).max().unwrap_or(0);
        let count = most.next_multiple_of(P);
        let length = used + count;
        let (scale, pull) = (&mut registers::<S>(&mut self.scale)[..used], &mut registers::<S>(&mut self.pull)[..used]);
        let right = &mut registers::<S>(&mut self.right)[..count];
        let panels = &mut registers::<S>(&mut self.panels)[..count * length].as_chunks_mut::<P>().0;
        let quads = &mut self.quads[..used * S::F32_LANES];
        let zeros = &self.zeros[..used];

        let [ridge, ..] = turn_facts(simd, |lane| [rows.get(lane).map_or(1.0, |row| row.ridge), 0.0, 0.0, 0.0]);
        for (scale, &value) in scale.iter_mut().zip(&block.values) {
            let value = simd.add_f32s(simd.splat_f32s(value), ridge);
            *scale = simd.div_f32s(simd.splat_f32s(1.0), simd.sqrt_f32s(value));
        }
        let pulled = rows.iter().any(|row| row.pull.is_some());
        pull.fill(simd.splat_f32s(0.0));
        if pulled {
            lay::<S>(quads, |lane| rows.get(lane).and_then(|row| row.pull).unwrap_or(zeros));
            turn(
                simd,
                quads,
                #[inline(always)]
                |at, number| pull[at] = simd.mul_f32s(scale[at], number),
            );
        }
        for (panel, (own, right)) in panels.chunks_exact_mut(length).zip(right.chunks_exact_mut(P)).enumerate() {
            for (place, right) in right.iter_mut().enumerate() {
                let entry = |lane: usize| {
                    let entries = rows.get(lane)?.entries;
                    let at = panel * P + place;
                    let from = *entries.cols.get(at)? as usize * entries.stride + block.offset;
                    Some((&entries.others[from..][..used], [entries.weights[at], 1.0 - entries.scores[at], 0.0, 0.0]))
                };
                lay::<S>(quads, |lane| entry(lane).map_or(zeros, |(vector, _)| vector));
                let facts = turn_facts(simd, |lane| entry(lane).map_or([0.0; QUAD], |(_, facts)| facts));
                let root = simd.sqrt_f32s(facts[0]);
                *right = simd.mul_f32s(root, facts[1]);
                turn(
                    simd,
                    quads,
                    #[inline(always)]
                    |at, number| own[at][place] = simd.mul_f32s(simd.mul_f32s(root, scale[at]), number),
                );
                for (c, &q) in own.iter().zip(pull.iter()).take(if pulled { used } else { 0 }) {
                    *right = simd.negate_mul_add_e_f32s(c[place], q, *right);
                }
            }
        }
        let fine = decompose::<S, P>(simd, used, panels, right);
        if simd.reduce_min_f32s(fine) == 0.0 {
            return Err(NotPositive);
        }
        substitute::<S, P>(simd, panels, right, pull);
        let (quads, _) = S::as_mut_simd_f32s(quads);
        for (quad, (z, scale)) in
            quads.chunks_exact_mut(QUAD).zip(pull.chunks_exact(QUAD).zip(scale.chunks_exact(QUAD)))
        {
            let change: [S::f32s; QUAD] = std::array::from_fn(|at| simd.mul_f32s(scale[at], z[at]));
            quad.copy_from_slice(&simd.interleave_shfl_f32s(change));
        }
        for (lane, out) in out.chunks_exact_mut(used).take(rows.len()).enumerate() {
            let quads = self.quads.chunks_exact(QUAD * S::F32_LANES);
            for (out, quad) in out.chunks_exact_mut(QUAD).zip(quads) {
                out.copy_from_slice(&quad[lane * QUAD..][..QUAD]);
            }
        }
        Ok(())
    }
}

/// Completes the panels, which hold C, by U, and solves `Uᵀy = right` along the way. Says per lane whether all pivots were
/// positive and finite, 1 if so and else 0.
#[expect(clippy::needless_range_loop, reason = "indices name rows and columns of a panel")]
#[inline(always)]
fn decompose<S: Simd, const P: usize>(
    simd: S,
    used: usize,
    panels: &mut [[S::f32s; P]],
    right: &mut [S::f32s],
) -> S::f32s {
    let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
    let mut fine = one;
    let length = used + right.len();
    for panel in 0..right.len() / P {
        let (before, own) = panels.split_at_mut(panel * length);
        let own = &mut own[..length];
        for (at, left) in before.chunks_exact(length).enumerate() {
            let (first, within) = (used + at * P, &left[used + at * P..][..P]);
            let mut sums = remainder::<S, P>(simd, used, &left[..first], &own[..first]);
            for r in 0..P {
                for above in 0..r {
                    for c in 0..P {
                        sums[r][c] = simd.negate_mul_add_e_f32s(within[above][r], sums[above][c], sums[r][c]);
                    }
                }
                sums[r] = sums[r].map(
                    #[inline(always)]
                    |sum| simd.mul_f32s(sum, within[r][r]),
                );
            }
            own[first..first + P].copy_from_slice(&sums);
        }
        let first = used + panel * P;
        let mut sums = remainder::<S, P>(simd, used, &own[..first], &own[..first]);
        let (known, own_right) = right[..(panel + 1) * P].split_at_mut(panel * P);
        let mut y: [S::f32s; P] = std::array::from_fn(|at| own_right[at]);
        for (u, &known) in own[used..].iter().zip(known.iter()) {
            for (y, &u) in y.iter_mut().zip(u) {
                *y = simd.negate_mul_add_e_f32s(u, known, *y);
            }
        }
        for at in 0..P {
            let pivot = simd.add_f32s(sums[at][at], one);
            let positive = simd
                .and_m32s(simd.less_than_f32s(zero, pivot), simd.less_than_f32s(pivot, simd.splat_f32s(f32::INFINITY)));
            fine = simd.select_f32s(positive, fine, zero);
            let inverse = simd.div_f32s(one, simd.sqrt_f32s(pivot));
            y[at] = simd.mul_f32s(y[at], inverse);
            for c in at + 1..P {
                sums[at][c] = simd.mul_f32s(sums[at][c], inverse);
            }
            for below in at + 1..P {
                for c in below..P {
                    sums[below][c] = simd.negate_mul_add_e_f32s(sums[at][below], sums[at][c], sums[below][c]);
                }
                y[below] = simd.negate_mul_add_e_f32s(sums[at][below], y[at], y[below]);
            }
            sums[at][at] = inverse;
        }
        own[first..first + P].copy_from_slice(&sums);
        own_right.copy_from_slice(&y);
    }
    fine
}

/// Solves `U y = right` from the last panel to the first, using up `right`, and adds `Cᵀy` to `pull`.
#[inline(always)]
fn substitute<S: Simd, const P: usize>(simd: S, panels: &[[S::f32s; P]], right: &mut [S::f32s], pull: &mut [S::f32s]) {
    let used = pull.len();
    let length = used + right.len();
    for (panel, own) in panels.chunks_exact(length).enumerate().rev() {
        let (known, own_right) = right[..(panel + 1) * P].split_at_mut(panel * P);
        let (numbers, before) = own.split_at(used);
        let (before, within) = before.split_at(panel * P);
        let mut y: [S::f32s; P] = std::array::from_fn(|at| own_right[at]);
        for at in (0..P).rev() {
            for later in at + 1..P {
                y[at] = simd.negate_mul_add_e_f32s(within[at][later], y[later], y[at]);
            }
            y[at] = simd.mul_f32s(y[at], within[at][at]);
        }
        for (number, u) in known.iter_mut().zip(before) {
            for (&u, &y) in u.iter().zip(&y) {
                *number = simd.negate_mul_add_e_f32s(u, y, *number);
            }
        }
        for (number, c) in pull.iter_mut().zip(numbers) {
            for (&c, &y) in c.iter().zip(&y) {
                *number = simd.mul_add_e_f32s(c, y, *number);
            }
        }
    }
}

/// What is left of `C Cᵀ` between the entries of two panels when `UᵀU` of the earlier ones is taken away: one register per
/// pair of entries. The first `used` rows of the panels are of C, the others of U.
#[inline(always)]
fn remainder<S: Simd, const P: usize>(
    simd: S,
    used: usize,
    left: &[[S::f32s; P]],
    right: &[[S::f32s; P]],
) -> [[S::f32s; P]; P] {
    let mut sums = [[simd.splat_f32s(0.0); P]; P];
    let ((c, u), (other_c, other_u)) = (left.split_at(used), right.split_at(used));
    for (left, right) in c.iter().zip(other_c) {
        for (sums, &left) in sums.iter_mut().zip(left) {
            for (sum, &right) in sums.iter_mut().zip(right) {
                *sum = simd.mul_add_e_f32s(left, right, *sum);
            }
        }
    }
    for (left, right) in u.iter().zip(other_u) {
        for (sums, &left) in sums.iter_mut().zip(left) {
            for (sum, &right) in sums.iter_mut().zip(right) {
                *sum = simd.negate_mul_add_e_f32s(left, right, *sum);
            }
        }
    }
    sums
}

/// Entries of a panel.
const fn panel<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { PANEL } else { FEW }
}

#[inline(always)]
fn registers<S: Simd>(numbers: &mut [f32]) -> &mut [S::f32s] {
    S::as_mut_simd_f32s(numbers).0
}

/// Lays the vectors of all lanes beside each other, four numbers of one after four of another.
#[inline(always)]
fn lay<'a, S: Simd>(quads: &mut [f32], vector: impl Fn(usize) -> &'a [f32]) {
    let (quads, _) = quads.as_chunks_mut::<QUAD>();
    for lane in 0..S::F32_LANES {
        let lines = vector(lane).as_chunks::<PAD>().0;
        for (quads, line) in quads.chunks_exact_mut(PAD / QUAD * S::F32_LANES).zip(lines) {
            for (at, numbers) in line.as_chunks::<QUAD>().0.iter().enumerate() {
                quads[at * S::F32_LANES + lane] = *numbers;
            }
        }
    }
}

/// Gives `take` every number of the vectors that were laid, one per lane.
#[inline(always)]
fn turn<S: Simd>(simd: S, quads: &[f32], mut take: impl FnMut(usize, S::f32s)) {
    for (quad, at) in S::as_simd_f32s(quads).0.as_chunks::<QUAD>().0.iter().zip((0..).step_by(QUAD)) {
        for (number, at) in simd.deinterleave_shfl_f32s(*quad).into_iter().zip(at..) {
            take(at, number);
        }
    }
}

/// Four numbers of every lane.
#[inline(always)]
fn turn_facts<S: Simd>(simd: S, facts: impl Fn(usize) -> [f32; QUAD]) -> [S::f32s; QUAD] {
    let mut quads = [[0.0; QUAD]; LANES];
    for (lane, quad) in quads.iter_mut().enumerate().take(S::F32_LANES) {
        *quad = facts(lane);
    }
    let (registers, _) = S::as_simd_f32s(quads.as_flattened());
    simd.deinterleave_shfl_f32s([registers[0], registers[1], registers[2], registers[3]])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use pulp::{Arch, Scalar, WithSimd};
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::solve::{Entries, Solver};

    /// Solves rows beside each other or one after the other.
    struct Run<'a>(&'a Block, &'a [Task<'a>], bool);

    impl WithSimd for Run<'_> {
        type Output = Result<Vec<f32>, NotPositive>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let Self(block, tasks, beside) = self;
            let used = stride(block.width);
            let (mut out, mut lanes, mut solver) =
                (vec![7.0; tasks.len() * used], Lanes::new(block.width), Solver::new(block.width));
            // What earlier rows leave behind must not be seen.
            lanes.panels.fill(f32::NAN);
            lanes.quads.fill(f32::NAN);
            if beside {
                for (tasks, out) in tasks.chunks(S::F32_LANES).zip(out.chunks_mut(S::F32_LANES * used)) {
                    assert!(tasks.iter().all(|task| Lanes::fit(simd, block, task.entries.cols.len())));
                    lanes.solve(simd, block, tasks, out)?;
                }
            } else {
                for (task, out) in tasks.iter().zip(out.chunks_mut(used)) {
                    solver.solve(simd, block, task, out)?;
                }
            }
            Ok(out)
        }
    }

    /// Rows of random lengths, whatever instructions there are, against the same rows one by one.
    fn check(width: usize, rows: usize, most: usize, pulled: bool, seed: u64) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (used, offset) = (stride(width), 16);
        let long = used + 2 * offset;
        let mut others = vec![7.0f32; 90 * long];
        for row in others.chunks_exact_mut(long) {
            row[offset..offset + used].fill(0.0);
            row[offset..offset + width].fill_with(|| rng.random_range(-1.0..1.0));
        }
        let mut numbers = |least: f32, count: usize| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(least..3.0)).chain(std::iter::repeat_n(0.0, used - width)).collect()
        };
        let block = Block { offset, width, values: numbers(0.0, width) };
        let facts: Vec<_> = (0..rows)
            .map(|row| {
                let count = if row == 0 { most } else { (row * 31 + seed as usize % 97) % (most + 1) };
                let cols: Vec<u32> = (0..count as u32).map(|at| (at * 7 + row as u32) % 90).collect();
                (cols, numbers(0.1, count), numbers(-1.0, count), numbers(-3.0, width), 0.5 + row as f32 * 0.1)
            })
            .collect();
        let tasks: Vec<_> = facts
            .iter()
            .map(|(cols, weights, scores, pull, ridge)| {
                let entries = Entries {
                    cols,
                    weights: &weights[..cols.len()],
                    scores: &scores[..cols.len()],
                    others: &others,
                    stride: long,
                };
                Task { ridge: *ridge, entries, pull: pulled.then_some(pull) }
            })
            .collect();
        let want = Arch::new().dispatch(Run(&block, &tasks, false)).unwrap();
        let mut got = vec![
            Arch::new().dispatch(Run(&block, &tasks, true)),
            Simd::vectorize(Scalar::new(), Run(&block, &tasks, true)),
        ];
        #[cfg(target_arch = "x86_64")]
        got.extend(pulp::x86::V3::try_new().map(|simd| Simd::vectorize(simd, Run(&block, &tasks, true))));
        for got in got {
            for (at, (got, want)) in got.unwrap().iter().zip(&want).enumerate() {
                let (row, number) = (at / used, at % used);
                let near = (got - want).abs() < 3e-4 * want.abs().max(1.0);
                assert!(near, "{width} wide, number {number} of row {row} of {rows}: {got} is not {want}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn rows_side_by_side_are_rows_one_by_one(
            width in 1usize..65, rows in 1usize..40, share in 0.0f64..1.0, pulled: bool, seed: u64,
        ) {
            check(width, rows, (share * width as f64) as usize, pulled, seed);
        }
    }

    #[test]
    fn the_longest_rows_that_fit_are_solved() {
        for (width, most) in [(1, 0), (16, 15), (64, 63), (128, 44), (256, 26)] {
            check(width, 17, most, true, 3);
        }
    }

    #[test]
    fn a_single_row_that_cannot_be_solved_is_refused_among_others() {
        let block = Block { offset: 0, width: 2, values: [vec![1.0, 1.0], vec![0.0; 14]].concat() };
        let solve = |vector: f32, ridge: f32| {
            let others = [vec![0.5; 16], vec![vector; 16]].concat();
            let facts = |cols, ridge| {
                let entries = Entries { cols, weights: &[1.0], scores: &[0.0], others: &others, stride: 16 };
                Task { ridge, entries, pull: None }
            };
            let tasks = [facts(&[0], 0.5), facts(&[1], ridge), facts(&[0], 0.5)];
            Arch::new().dispatch(Run(&block, &tasks, true))
        };
        assert!(solve(0.5, 0.5).is_ok());
        for (vector, ridge) in [(0.5, 0.0), (0.5, f32::NAN), (1e30, 0.5), (f32::NAN, 0.5), (f32::INFINITY, 0.5)] {
            assert!(solve(vector, ridge).is_err(), "{vector}, {ridge}");
        }
    }
}

//! A step of the two-tower model on the CPU. Scores of a few users with all columns are made, turned into their gradients
//! and used up while they are in the cache; the whole matrix of examples by columns never exists.

use lookalike_bundle::Matrix;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::attention::Attention;
use super::base::Scale;
use super::engine::Told;
use super::inputs::Inputs;
use super::layers::{Layers, PARTS, Passed};
use super::step::{Compared, Step};
use crate::device::DeviceError;
use crate::exp::exp;
use crate::gemm::{View, ViewMut, product};
use crate::host_table::HostTable;
use crate::preset::TwoTower as Knobs;

/// Kept from the denominator of row-wise Adagrad.
pub(super) const EPS: f32 = 1e-8;
/// Examples whose scores one thread computes at a time.
const EXAMPLES: usize = 32;
/// Rows turned into embeddings at a time when a model is read out.
pub(super) const READ_BLOCK: usize = 4096;

/// One side on the CPU: an embedding for every input, and the layers above them.
pub(super) struct HostSide {
    pub(super) table: HostTable,
    pub(super) layers: Layers,
}

impl HostSide {
    pub(super) fn new(table: HostTable, layers: Layers) -> Self {
        Self { table, layers }
    }

    pub(super) fn embeddings(&self, inputs: &Inputs<'_>, attention: Option<&Attention>) -> Result<Matrix, DeviceError> {
        let dim = self.table.dim();
        let mut matrix = Matrix::zeros(inputs.rows(), dim);
        for (block, target) in matrix.data_mut().chunks_mut((READ_BLOCK * dim).max(1)).enumerate() {
            let first = block * READ_BLOCK;
            let bags = inputs.whole(first..first + target.len() / dim, attention)?;
            target.copy_from_slice(&out(&self.layers.forward(&self.table.gathered(&bags))));
        }
        Ok(matrix)
    }
}

/// What came out of all parts.
fn out(passed: &[Passed]) -> Vec<f32> {
    passed.iter().flat_map(|part| part.out.iter().copied()).collect()
}

/// Learns from one step. `rate` scales the step sizes.
pub(super) fn learn(
    [users, items]: [&mut HostSide; 2],
    scale: &mut Scale,
    step: &Step,
    knobs: &Knobs,
    rate: f32,
) -> Told {
    let passed = [(&*users, &step.users), (&*items, &step.items)]
        .map(|(side, bags)| side.layers.forward(&side.table.gathered(bags)));
    let [u, v] = passed.each_ref().map(|passed| out(passed));
    let dim = users.table.dim();
    let (loss, gradients) = match &step.base {
        None => softmax(step, knobs, dim, &u, &v),
        Some(known) => {
            let base = scale.of_users(known);
            let [u, v] = [beside(&base, known.dim, &u, dim), beside(&known.rows[1], known.dim, &v, dim)];
            let (loss, gradients) = softmax(step, knobs, known.dim + dim, &u, &v);
            let [(by_base, by_user), (_, by_item)] = gradients.map(|both| apart(&both, known.dim, dim));
            let along = by_base.iter().zip(&base).map(|(g, number)| f64::from(g * number)).sum::<f64>();
            scale.step(along as f32, rate);
            (loss, [by_user, by_item])
        }
    };
    let mut by_weight = Vec::new();
    for (nth, ((side, bags), (passed, mut gradient))) in
        [(users, &step.users), (items, &step.items)].into_iter().zip(passed.iter().zip(gradients)).enumerate()
    {
        let mut dense = side.layers.backward(passed, &mut gradient);
        side.layers.step(&mut dense, knobs.tower_lr * rate, knobs.decay);
        if knobs.attention && nth == 0 {
            by_weight = side.table.by_weight(bags, &gradient);
        }
        side.table.learn(&bags.segments(), &gradient, knobs.lr * rate, EPS);
    }
    Told { loss, by_weight }
}

/// Rows of `first` numbers, each followed by its row of `second` numbers.
pub(super) fn beside(rows: &[f32], first: usize, others: &[f32], second: usize) -> Vec<f32> {
    let pairs = rows.chunks_exact(first.max(1)).zip(others.chunks_exact(second.max(1)));
    pairs.flat_map(|(row, other)| row.iter().chain(other).copied()).collect()
}

/// What [`beside`] put together.
fn apart(both: &[f32], first: usize, second: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = || both.chunks_exact((first + second).max(1));
    (rows().flat_map(|row| &row[..first]).copied().collect(), rows().flat_map(|row| &row[first..]).copied().collect())
}

/// The loss summed over the examples, and the gradients of its mean by the vectors of examples `u` `[examples, dim]` and
/// of columns `v` `[columns, dim]`.
pub(super) fn softmax(step: &Step, knobs: &Knobs, dim: usize, u: &[f32], v: &[f32]) -> (f64, [Vec<f32>; 2]) {
    let (arch, columns, examples) = (Arch::new(), step.columns(), step.examples());
    let part = examples.div_ceil(PARTS).max(1);
    let mut by_user = vec![0.0; u.len()];
    let scale = 1.0 / (knobs.tau * step.weight().max(f32::MIN_POSITIVE));
    let columns_view = View::new(v, columns, dim);
    let parts: Vec<(f64, Vec<f32>)> = by_user
        .par_chunks_mut((part * dim).max(1))
        .enumerate()
        .map(|(nth, by_user)| {
            let (mut loss, mut by_item) = (0.0, vec![0.0; v.len()]);
            let mut scores = vec![0.0; EXAMPLES * columns];
            for (block, by_user) in by_user.chunks_mut(EXAMPLES * dim).enumerate() {
                let (first, rows) = (nth * part + block * EXAMPLES, by_user.len() / dim);
                let users = View::new(&u[first * dim..], rows, dim);
                let scores = &mut scores[..rows * columns];
                product(ViewMut::new(scores, rows, columns), users, columns_view.transposed(), 0.0, 1.0 / knobs.tau);
                for (row, scores) in scores.chunks_exact_mut(columns).enumerate() {
                    loss += arch.dispatch(ExampleLoss { step, example: first + row, scores, scale });
                }
                let pulls = View::new(scores, rows, columns);
                product(ViewMut::new(by_user, rows, dim), pulls, columns_view, 0.0, 1.0);
                product(ViewMut::new(&mut by_item, columns, dim), pulls.transposed(), users, 1.0, 1.0);
            }
            (loss, by_item)
        })
        .collect();
    let loss = parts.iter().map(|(loss, _)| loss).sum();
    let mut by_item = vec![0.0; v.len()];
    by_item.par_chunks_mut(1 << 14).enumerate().for_each(|(nth, sums)| {
        for (_, part) in &parts {
            sums.iter_mut().zip(&part[nth << 14..]).for_each(|(sum, number)| *sum += number);
        }
    });
    (loss, [by_user, by_item])
}

/// One example's loss; its scores become `scale` times the gradient of the loss by them. A struct, as a closure may be
/// compiled without vector instructions.
struct ExampleLoss<'a> {
    step: &'a Step,
    example: usize,
    scores: &'a mut [f32],
    scale: f32,
}

impl WithSimd for ExampleLoss<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self { step, example, scores, scale } = self;
        let (own, weight) = (step.own.of(example), step.weights[example]);
        let own_scores = own.iter().map(|&column| scores[column as usize]);
        let own_score: f64 = own_scores.clone().map(f64::from).sum();
        let count = own.len() as f32;
        let (top, sum) = match &step.compared {
            Compared::AllBut(known) => {
                let kept: Vec<f32> = own_scores.collect();
                scores.iter_mut().zip(&step.log_q).for_each(|(score, log_q)| *score -= log_q);
                known.of(example).iter().for_each(|&column| scores[column as usize] = f32::MIN);
                own.iter().zip(kept).for_each(|(&column, score)| scores[column as usize] = score);
                let (top, sum) = exponentials(scores, scale * weight * count);
                known.of(example).iter().for_each(|&column| scores[column as usize] = 0.0);
                (top, sum)
            }
            Compared::Only(listed) => {
                let listed = listed.of(example);
                let mut few: Vec<f32> = listed.iter().map(|&column| scores[column as usize]).collect();
                let (top, sum) = exponentials(&mut few, scale * weight * count);
                scores.fill(0.0);
                listed.iter().zip(few).for_each(|(&column, pull)| scores[column as usize] = pull);
                (top, sum)
            }
        };
        own.iter().for_each(|&column| scores[column as usize] -= scale * weight);
        f64::from(weight) * (f64::from(count) * (f64::from(sum.ln()) + f64::from(top)) - own_score)
    }
}

/// Turns scores into their exponentials, scaled so that they add up to `total`; the largest score, and the sum of the
/// exponentials of the distances to it.
#[inline(always)]
fn exponentials(scores: &mut [f32], total: f32) -> (f32, f32) {
    // Arrays of a known length stay in registers.
    let (whole, rest) = scores.as_chunks_mut::<16>();
    let mut tops = [f32::MIN; 16];
    for scores in whole.iter() {
        tops.iter_mut().zip(scores).for_each(|(top, score)| *top = top.max(*score));
    }
    tops.iter_mut().zip(rest.iter()).for_each(|(top, score)| *top = top.max(*score));
    let top = tops.iter().copied().fold(f32::MIN, f32::max);
    let mut sums = [0.0f32; 16];
    let turn = |(sum, score): (&mut f32, &mut f32)| {
        *score = exp(*score - top);
        *sum += *score;
    };
    for scores in whole {
        sums.iter_mut().zip(scores).for_each(turn);
    }
    sums.iter_mut().zip(rest).for_each(turn);
    let sum: f32 = sums.iter().sum();
    let share = total / sum;
    scores.iter_mut().for_each(|score| *score *= share);
    (top, sum)
}

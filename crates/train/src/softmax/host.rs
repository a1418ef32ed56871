//! A step of softmax matrix factorization on the CPU.
//!
//! With unit vectors u of the users of the step (dropout applied), v of items, weights w of pairs, W the sum of a user's
//! weights and P the negatives that the user does not have, it lowers, summed over users and divided by all weights,
//!
//! - `sl`: `Σ -w·(u·v)/τ + W·a·log Σ_P exp(u·v/τ)`, with a the negative weight;
//! - `bsl`: `-W·log Σ w·exp(u·v/τ′)/W + W·log Σ_P exp(u·v/τ)`, with τ′ = a·τ;
//! - `ccl`: `Σ w·(1 - u·v) + W·a/|P| · Σ_P max(0, u·v - margin)`.
//!
//! All of a user's pairs share one row of scores, so an epoch costs (users · negatives · dim), not (pairs · negatives ·
//! dim) as where negatives are scored for every pair. Scores and their gradients are three matrix products.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::exp::exp;
use crate::gemm::{View, ViewMut, product};
use crate::preset::{Loss, SoftmaxMf as Knobs};

use super::rows::{Pace, Rows, dot};
use super::step::Step;

/// Users whose scores one thread computes at a time.
const USERS: usize = 64;
/// Negatives whose gradients one thread computes at a time.
const PLACES: usize = 256;
/// The most scores kept at a time: 64 MB.
pub(super) const SCORES: usize = 1 << 24;

/// Both sides on the CPU.
pub(super) struct Host {
    arch: Arch,
    dim: usize,
    pub(super) users: Rows,
    pub(super) items: Rows,
    scores: Vec<f32>,
}

/// What a step reads of the gathered embeddings.
struct Gathered<'a> {
    /// Users `[users, dim]`, dropout applied.
    users: &'a [f32],
    /// Items `[items, dim]`.
    items: &'a [f32],
    /// Negatives `[pool, dim]`.
    pool: &'a [f32],
}

impl Host {
    pub(super) fn new(users: Rows, items: Rows) -> Self {
        Self { arch: Arch::new(), dim: users.dim(), users, items, scores: Vec::new() }
    }

    /// Learns from one step; returns its loss summed over the pairs' weights.
    pub(super) fn step(&mut self, step: &Step, knobs: &Knobs, [user_pace, item_pace]: [Pace; 2]) -> f64 {
        let (arch, dim) = (self.arch, self.dim);
        let (user_units, user_lengths) = self.users.gather(arch, &step.users);
        let (item_units, item_lengths) = self.items.gather(arch, &step.items);
        let dropped: Option<Vec<f32>> = (!step.keep.is_empty())
            .then(|| user_units.iter().zip(&step.keep).map(|(number, keep)| number * keep).collect());
        let pool: Option<Vec<f32>> = (step.pool.len() < step.items.len()).then(|| {
            let mut pool = Vec::with_capacity(step.pool.len() * dim);
            step.pool.iter().for_each(|&slot| pool.extend_from_slice(&item_units[slot as usize * dim..][..dim]));
            pool
        });
        let gathered = Gathered {
            users: dropped.as_ref().unwrap_or(&user_units),
            items: &item_units,
            pool: pool.as_ref().unwrap_or(&item_units),
        };

        let mut user_gradient = vec![0.0; user_units.len()];
        let mut pool_gradient = vec![0.0; gathered.pool.len()];
        // What each pair's weight becomes in the gradient.
        let mut pulls = vec![0.0; step.weights().len()];
        let count = step.pool.len();
        let block = (SCORES / count.max(1)).max(1).next_multiple_of(USERS);
        self.scores.resize(count * block.min(step.users.len()), 0.0);
        let mut loss = 0.0;
        for first in (0..step.users.len()).step_by(block) {
            let rows = first..step.users.len().min(first + block);
            let scores = &mut self.scores[..rows.len() * count];
            let pulls = &mut pulls[step.pairs_of(rows.start).start..step.pairs_of(rows.end - 1).end];
            let user_gradient = &mut user_gradient[rows.start * dim..rows.end * dim];
            loss += score(arch, step, knobs, dim, &gathered, rows.start, (scores, pulls, user_gradient));
            let users = View::new(&gathered.users[rows.start * dim..], rows.len(), dim);
            pool_gradient.par_chunks_mut(PLACES * dim).enumerate().for_each(|(nth, gradient)| {
                let places = gradient.len() / dim;
                let scores = View::strided(&scores[nth * PLACES..], [rows.len(), places], [count, 1]).transposed();
                product(ViewMut::new(gradient, places, dim), scores, users, 1.0, 1.0);
            });
        }

        let scale = 1.0 / step.total().max(f64::MIN_POSITIVE) as f32;
        self.items.update(
            arch,
            &step.items,
            (&item_units, &item_lengths),
            item_pace,
            #[inline(always)]
            |slot, out| {
                if let Some(place) = step.place(slot) {
                    out.copy_from_slice(&pool_gradient[place * dim..][..dim]);
                }
                for &pair in step.pairs_about(slot) {
                    let user = &gathered.users[step.rows()[pair as usize] as usize * dim..][..dim];
                    let pull = pulls[pair as usize];
                    out.iter_mut().zip(user).for_each(|(out, number)| *out -= pull * number);
                }
                out.iter_mut().for_each(|out| *out *= scale);
            },
        );
        self.users.update(
            arch,
            &step.users,
            (&user_units, &user_lengths),
            user_pace,
            #[inline(always)]
            |row, out| {
                let gradient = &user_gradient[row * dim..][..dim];
                out.iter_mut().zip(gradient).for_each(|(out, number)| *out = number * scale);
                if !step.keep.is_empty() {
                    out.iter_mut().zip(&step.keep[row * dim..][..dim]).for_each(|(out, keep)| *out *= keep);
                }
            },
        );
        loss
    }
}

/// Fills `scores` `[users, pool]` with the gradient of the loss by each score, `pulls` with minus that by the score of
/// each pair, and adds the gradient of the users' vectors; returns the loss. `first` is the first row.
fn score(
    arch: Arch,
    step: &Step,
    knobs: &Knobs,
    dim: usize,
    gathered: &Gathered<'_>,
    first: usize,
    (scores, pulls, gradient): (&mut [f32], &mut [f32], &mut [f32]),
) -> f64 {
    let count = step.pool.len();
    let pool = View::new(gathered.pool, count, dim);
    let mut chunks = Vec::new();
    let mut rest = pulls;
    let all = scores.chunks_mut((USERS * count).max(1)).zip(gradient.chunks_mut(USERS * dim));
    for (nth, (scores, gradient)) in all.enumerate() {
        let start = first + nth * USERS;
        let rows = gradient.len() / dim;
        let pairs = step.pairs_of(start + rows - 1).end - step.pairs_of(start).start;
        let (pulls, left) = rest.split_at_mut(pairs);
        rest = left;
        chunks.push((start, rows, scores, pulls, gradient));
    }
    let losses: Vec<f64> = chunks
        .into_par_iter()
        .map(|(start, rows, scores, pulls, gradient)| {
            let users = View::new(&gathered.users[start * dim..], rows, dim);
            product(ViewMut::new(scores, rows, count), users, pool.transposed(), 0.0, 1.0);
            let from = step.pairs_of(start).start;
            let mut loss = 0.0;
            for row in 0..rows {
                let pairs = step.pairs_of(start + row);
                let pulls = &mut pulls[pairs.start - from..pairs.end - from];
                let scores = &mut scores[row * count..][..count];
                let user = &gathered.users[(start + row) * dim..][..dim];
                loss += arch.dispatch(UserLoss {
                    step,
                    knobs,
                    items: gathered.items,
                    row: start + row,
                    user,
                    scores,
                    pulls,
                });
            }
            product(ViewMut::new(gradient, rows, dim), View::new(scores, rows, count), pool, 0.0, 1.0);
            for row in 0..rows {
                let gradient = &mut gradient[row * dim..][..dim];
                for pair in step.pairs_of(start + row) {
                    let item = &gathered.items[step.slots()[pair] as usize * dim..][..dim];
                    let pull = pulls[pair - from];
                    gradient.iter_mut().zip(item).for_each(|(out, number)| *out -= pull * number);
                }
            }
            loss
        })
        .collect();
    losses.iter().sum()
}

/// One user's loss; scores and pulls become gradients as [`score`] says. Not a closure: the shim that a closure is
/// called through may be compiled without vector instructions, and calls a function for every multiply-add then.
struct UserLoss<'a> {
    step: &'a Step,
    knobs: &'a Knobs,
    /// Items `[items, dim]`.
    items: &'a [f32],
    row: usize,
    user: &'a [f32],
    scores: &'a mut [f32],
    pulls: &'a mut [f32],
}

impl WithSimd for UserLoss<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self { step, knobs, items, row, user, scores, pulls } = self;
        let pairs = step.pairs_of(row);
        let weights = &step.weights()[pairs.clone()];
        let total: f32 = weights.iter().sum();
        let (tau, share) = (knobs.tau, knobs.negative_weight);
        let mut own_places = 0;
        for (&slot, pull) in step.slots()[pairs.clone()].iter().zip(pulls.iter_mut()) {
            *pull = dot(user, &items[slot as usize * user.len()..][..user.len()]);
            if let Some(place) = step.place(slot as usize) {
                // The user's own items are no negatives.
                scores[place] = f32::NEG_INFINITY;
                own_places += 1;
            }
        }
        let own: f64 = match knobs.loss {
            Loss::Sl => pulls.iter_mut().zip(weights).map(|(pull, &w)| pulled(pull, w / tau, -w / tau)).sum(),
            Loss::Ccl => pulls.iter_mut().zip(weights).map(|(pull, &w)| f64::from(w) + pulled(pull, w, -w)).sum(),
            Loss::Bsl => {
                let sharp = 1.0 / (tau * share);
                let mut sum = 0.0;
                for (pull, &weight) in pulls.iter_mut().zip(weights) {
                    *pull = weight * exp((*pull - 1.0) * sharp);
                    sum += *pull;
                }
                pulls.iter_mut().for_each(|pull| *pull *= total * sharp / sum);
                -f64::from(total) * (f64::from(sum / total).ln() + f64::from(sharp))
            }
        };
        if own_places == scores.len() {
            // With no negative left, there is nothing to push away.
            scores.fill(0.0);
            return own;
        }
        let negative = match knobs.loss {
            Loss::Ccl => {
                let push = total * share / scores.len() as f32;
                let mut sum = 0.0f32;
                for score in scores.iter_mut() {
                    let above = *score > knobs.margin;
                    sum += if above { *score - knobs.margin } else { 0.0 };
                    *score = if above { push } else { 0.0 };
                }
                f64::from(sum * push)
            }
            Loss::Sl | Loss::Bsl => {
                let share = if knobs.loss == Loss::Sl { share } else { 1.0 };
                // A cosine is at most about 1, so this cannot overflow.
                let sum = exponentials(scores, &step.log_weights, 1.0 / tau);
                let push = total * share / (tau * sum);
                scores.iter_mut().for_each(|score| *score *= push);
                f64::from(total * share) * (f64::from(sum).ln() + f64::from(1.0 / tau))
            }
        };
        own + negative
    }
}

/// Turns a pair's cosine into its pull; returns its loss, `factor` times the cosine.
#[inline(always)]
fn pulled(pull: &mut f32, becomes: f32, factor: f32) -> f64 {
    let loss = f64::from(factor * *pull);
    *pull = becomes;
    loss
}

/// Scores s become `exp((s - 1)·sharp + log weight)`; returns their sum.
#[inline(always)]
fn exponentials(scores: &mut [f32], log_weights: &[f32], sharp: f32) -> f32 {
    let mut sums = [0.0f32; 16];
    if log_weights.is_empty() {
        for scores in scores.chunks_mut(16) {
            for (sum, score) in sums.iter_mut().zip(scores) {
                *score = exp((*score - 1.0) * sharp);
                *sum += *score;
            }
        }
    } else {
        for (scores, log_weights) in scores.chunks_mut(16).zip(log_weights.chunks(16)) {
            for ((sum, score), log_weight) in sums.iter_mut().zip(scores).zip(log_weights) {
                *score = exp((*score - 1.0) * sharp + log_weight);
                *sum += *score;
            }
        }
    }
    // With nothing to add up, or nothing that can be told from zero, no score gets a gradient.
    sums.iter().sum::<f32>().max(f32::MIN_POSITIVE)
}

//! What one step of softmax matrix factorization learns from: some users with all their items, and negatives that
//! these users share. Drawn on the host from seeds, so that every device sees the same steps.

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::device::DeviceError;
use crate::preset::{Confidence, PoolDraw, SoftmaxMf as Knobs};

/// No place in the pool.
const NOWHERE: u32 = u32::MAX;

/// One step. Rows of the batch number its users, slots its items, places its negatives.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The users, ascending, all different.
    pub(super) users: Vec<u32>,
    /// Every item of these users and every negative, ascending: the rows that the step may change.
    pub(super) items: Vec<u32>,
    /// Slots of the negatives, ascending, all different.
    pub(super) pool: Vec<u32>,
    /// What is added to a negative's score so that the sum over the pool estimates that over all items; empty if the
    /// same for all.
    pub(super) log_weights: Vec<f32>,
    /// The place in the pool of each slot, or [`NOWHERE`].
    places: Vec<u32>,
    /// Where the pairs of each user start in `slots`, then their number.
    pub(super) offsets: Vec<u32>,
    slots: Vec<u32>,
    weights: Vec<f32>,
    /// Where the pairs of each slot start in `by_slot`, then their number.
    pub(super) slot_offsets: Vec<u32>,
    /// Numbers of pairs, slot after slot.
    pub(super) by_slot: Vec<u32>,
    /// The row of each pair.
    rows: Vec<u32>,
    /// What the numbers of the users' embeddings are multiplied by, `[users, dim]`: 0 where left out, more than 1 where
    /// kept; empty without dropout.
    pub(super) keep: Vec<f32>,
}

impl Step {
    /// The numbers of a user's pairs; pair `p` is about slot `slots()[p]`.
    pub(super) fn pairs_of(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// The slot of each pair.
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The weight of each pair.
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The sum of the pairs' weights.
    pub(super) fn total(&self) -> f64 {
        self.weights.iter().map(|&weight| f64::from(weight)).sum()
    }

    /// The numbers of a slot's pairs, ascending.
    pub(super) fn pairs_about(&self, slot: usize) -> &[u32] {
        &self.by_slot[self.slot_offsets[slot] as usize..self.slot_offsets[slot + 1] as usize]
    }

    /// The row of each pair.
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Where in the pool a slot is, if it is.
    pub(super) fn place(&self, slot: usize) -> Option<usize> {
        Some(self.places[slot]).filter(|&place| place != NOWHERE).map(|place| place as usize)
    }
}

/// Fails if a step of `batch` pairs, rounded up to a user with so many, may have more than 32-bit offsets count.
pub(super) fn countable(batch: usize, longest: usize) -> Result<(), DeviceError> {
    match batch.saturating_add(longest) > u32::MAX as usize {
        true => {
            let problem = format!("have up to {longest} items, more than the 32-bit offsets of a step can count");
            Err(DeviceError::Input { what: "users", problem })
        }
        false => Ok(()),
    }
}

/// What no step exceeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Largest {
    pub(super) users: usize,
    pub(super) items: usize,
    pub(super) pool: usize,
    pub(super) pairs: usize,
}

/// Draws steps. An epoch visits every pair once, all pairs of a user in one step.
pub(super) struct Steps<'a> {
    train: &'a Csr<UserRow, ItemRow>,
    confidence: Confidence,
    seed: u64,
    dim: usize,
    dropout: f32,
    batch: usize,
    negatives: usize,
    /// Cumulative draw weights of the items, where they are not drawn uniformly.
    cumulative: Vec<f64>,
    /// Users with items.
    users: Vec<u32>,
    /// Slots by item, [`NOWHERE`] between steps.
    slot_of: Vec<u32>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(train: &'a Csr<UserRow, ItemRow>, dim: usize, knobs: &Knobs, seed: u64) -> Self {
        let items = train.n_cols();
        let mut cumulative = Vec::new();
        if knobs.draw == PoolDraw::Popularity {
            let mut users_of = vec![0u32; items];
            train.all_cols().iter().for_each(|&item| users_of[item as usize] += 1);
            let mut total = 0.0;
            cumulative.extend(users_of.iter().map(|&users| {
                total += f64::from(users.max(1)).powf(0.75);
                total
            }));
        }
        let negatives = if knobs.negatives == 0 { items } else { knobs.negatives.min(items) };
        let users = train.rows().filter(|&user| !train.cols(user).is_empty()).map(Row::get).collect();
        let Knobs { confidence, dropout, batch, .. } = *knobs;
        Self {
            train,
            confidence,
            seed,
            dim,
            dropout,
            batch,
            negatives,
            cumulative,
            users,
            slot_of: vec![NOWHERE; items],
        }
    }

    /// What no step exceeds: each has at least one pair for every user, and less than a batch before its last user.
    pub(super) fn largest(&self) -> Largest {
        let longest = self.users.iter().map(|&user| self.train.cols(UserRow::new(user)).len()).max().unwrap_or(0);
        let pairs = (self.batch.saturating_add(longest)).min(self.train.len());
        let items = self.negatives.saturating_add(pairs).min(self.train.n_cols());
        Largest { users: self.batch.min(self.users.len()), items, pool: self.negatives, pairs }
    }

    /// The users of each step of an epoch.
    pub(super) fn epoch(&self, epoch: u32) -> Vec<Vec<u32>> {
        let mut users = self.users.clone();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(self.seed, 20, u64::from(epoch)));
        for at in (1..users.len()).rev() {
            users.swap(at, rng.random_range(0..=at));
        }
        let (mut steps, mut step, mut pairs) = (Vec::new(), Vec::new(), 0);
        for user in users {
            pairs += self.train.cols(UserRow::new(user)).len();
            step.push(user);
            if pairs >= self.batch {
                steps.push(std::mem::take(&mut step));
                pairs = 0;
            }
        }
        if !step.is_empty() {
            steps.push(step);
        }
        steps
    }

    /// The step of these users; `number` counts the steps of all epochs.
    pub(super) fn step(&mut self, mut users: Vec<u32>, number: u64) -> Step {
        users.sort_unstable();
        let seed = stream_seed(self.seed, 21, number);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (pool, log_weights) = self.pool(&mut rng);
        // Marks pool items first: NOWHERE - 1 stands for an item in use whose slot is not known yet.
        const MARK: u32 = NOWHERE - 1;
        let mut items = pool.clone();
        for &item in &pool {
            self.slot_of[item as usize] = MARK;
        }
        let mut offsets = vec![0u32];
        let (mut slots, mut weights, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &user) in users.iter().enumerate() {
            let user = UserRow::new(user);
            for &item in self.train.cols(user) {
                if self.slot_of[item as usize] == NOWHERE {
                    self.slot_of[item as usize] = MARK;
                    items.push(item);
                }
            }
            slots.extend_from_slice(self.train.cols(user));
            weights.extend(self.train.weights(user).iter().map(|&n| self.confidence.weigh(n)));
            rows.resize(slots.len(), row as u32);
            offsets.push(slots.len() as u32);
        }
        if items.len() > pool.len() {
            items.sort_unstable();
        }
        for (slot, &item) in items.iter().enumerate() {
            self.slot_of[item as usize] = slot as u32;
        }
        slots.iter_mut().for_each(|slot| *slot = self.slot_of[*slot as usize]);
        let pool: Vec<u32> = pool.iter().map(|&item| self.slot_of[item as usize]).collect();
        let mut places = vec![NOWHERE; items.len()];
        for (place, &slot) in pool.iter().enumerate() {
            places[slot as usize] = place as u32;
        }
        for &item in &items {
            self.slot_of[item as usize] = NOWHERE;
        }
        let (slot_offsets, by_slot) = sort_by_slot(&slots, items.len());
        let keep = match self.dropout > 0.0 {
            true => {
                let kept = 1.0 / (1.0 - self.dropout);
                let mut keep = || if rng.random::<f32>() < self.dropout { 0.0 } else { kept };
                (0..users.len() * self.dim).map(|_| keep()).collect()
            }
            false => Vec::new(),
        };
        Step { users, items, pool, log_weights, places, offsets, slots, weights, slot_offsets, by_slot, rows, keep }
    }

    /// Distinct items, ascending, and what to add to their scores.
    fn pool(&self, rng: &mut Xoshiro256PlusPlus) -> (Vec<u32>, Vec<f32>) {
        let items = self.train.n_cols();
        if self.negatives == items && self.cumulative.is_empty() {
            return ((0..items as u32).collect(), Vec::new());
        }
        if self.cumulative.is_empty() {
            return (distinct(items, self.negatives, rng), Vec::new());
        }
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let mut drawn: Vec<u32> = (0..self.negatives)
            .map(|_| {
                let at = rng.random::<f64>() * total;
                self.cumulative.partition_point(|&upto| upto <= at).min(items - 1) as u32
            })
            .collect();
        drawn.sort_unstable();
        // An item drawn c times stands for c / (N·q) of its kind (Bengio and Senécal 2003).
        let (mut pool, mut log_weights) = (Vec::new(), Vec::new());
        for same in drawn.chunk_by(|a, b| a == b) {
            let item = same[0] as usize;
            let q = (self.cumulative[item] - if item > 0 { self.cumulative[item - 1] } else { 0.0 }) / total;
            pool.push(same[0]);
            log_weights.push((same.len() as f64 / (self.negatives as f64 * q * items as f64)).ln() as f32);
        }
        (pool, log_weights)
    }
}

/// `count` distinct numbers below `below`, ascending: drawn again where drawn before, and the complement is drawn where
/// more than half are wanted.
fn distinct(below: usize, count: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<u32> {
    let drop = below - count;
    let (draws, invert) = if count <= below / 2 { (count, false) } else { (drop, true) };
    let mut words = vec![0u64; below.div_ceil(64)];
    let mut left = draws;
    while left > 0 {
        let at = rng.random_range(0..below);
        let (word, bit) = (at / 64, 1u64 << (at % 64));
        if words[word] & bit == 0 {
            words[word] |= bit;
            left -= 1;
        }
    }
    let mut chosen = Vec::with_capacity(count);
    for (nth, &word) in words.iter().enumerate() {
        let mut word = if invert { !word } else { word };
        while word != 0 {
            let at = nth * 64 + word.trailing_zeros() as usize;
            if at < below {
                chosen.push(at as u32);
            }
            word &= word - 1;
        }
    }
    chosen
}

/// A counting sort: where each slot's pairs start, and the pairs in that order.
fn sort_by_slot(slots: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut offsets = vec![0u32; count + 1];
    for &slot in slots {
        offsets[slot as usize + 1] += 1;
    }
    for slot in 0..count {
        offsets[slot + 1] += offsets[slot];
    }
    let mut next = offsets.clone();
    let mut sorted = vec![0; slots.len()];
    for (pair, &slot) in slots.iter().enumerate() {
        let at = &mut next[slot as usize];
        sorted[*at as usize] = pair as u32;
        *at += 1;
    }
    (offsets, sorted)
}

//! Bayesian personalised ranking: an item the user had shall score above one they did not have.
//!
//! For a pair (u, i) and a drawn item j with x = u·(vᵢ - vⱼ), the loss is -ln σ(x) + reg/2·(|u|² + |vᵢ|² + |vⱼ|²)
//! (Rendle et al. 2009), or with [`PairDraw::Warp`] the weighted hinge w·max(0, 1 - x) in the place of the logarithm. Each
//! step takes a batch of pairs, and row-wise Adagrad updates the rows they name; see [`Table`].

use burn::tensor::activation::{log_sigmoid, relu, sigmoid};
use burn::tensor::{Tensor, TensorData};
use lookalike_bundle::{Data, ItemRow, Learned, Matrix, Row, Tensor as Stored, Tensors, UserRow};
use lookalike_dataset::{Csr, Pair, Shuffled, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::bags::Bags;
use crate::device::{Device, DeviceError};
use crate::fit::{FitError, Model};
use crate::preset::{Bpr as Knobs, PairDraw};
use crate::read::read;
use crate::table::Table;

/// Kept from the denominator of row-wise Adagrad.
const EPS: f32 = 1e-8;
/// Length of a starting embedding.
const START: f32 = 0.1;

/// A pair's item, and one to be ranked below it.
#[derive(Clone, Copy, Debug)]
struct Triple {
    user: u32,
    item: u32,
    other: u32,
    /// Factor of the loss.
    weight: f32,
}

/// A model by Bayesian personalised ranking, in training.
pub(crate) struct BprModel<'a> {
    device: &'a Device,
    knobs: Knobs,
    seed: u64,
    train: &'a Csr<UserRow, ItemRow>,
    shuffled: Shuffled<UserRow, ItemRow>,
    /// `harmonic[n]` = 1 + 1/2 + … + 1/n.
    harmonic: Vec<f32>,
    users: Table,
    items: Table,
}

impl<'a> BprModel<'a> {
    pub(crate) fn new(
        train: &'a Csr<UserRow, ItemRow>,
        dim: usize,
        knobs: &Knobs,
        device: &'a Device,
        seed: u64,
    ) -> Result<Self, FitError> {
        let start = |rows: usize, stream| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, stream, 0));
            let bound = START * (3.0 / dim as f32).sqrt();
            let mut matrix = Matrix::zeros(rows, dim);
            matrix.data_mut().fill_with(|| (rng.random::<f32>() * 2.0 - 1.0) * bound);
            Table::new(device, &matrix)
        };
        let sum = |sum: &mut f64, n: usize| {
            *sum += if n == 0 { 0.0 } else { 1.0 / n as f64 };
            Some(*sum as f32)
        };
        Ok(Self {
            users: start(train.n_rows(), 20)?,
            items: start(train.n_cols(), 21)?,
            device,
            knobs: knobs.clone(),
            seed,
            train,
            shuffled: Shuffled::new(train),
            harmonic: (0..=train.n_cols()).scan(0.0, sum).collect(),
        })
    }

    /// One step over a batch of pairs; returns the sum of its losses as a tensor, so that the device need not be waited
    /// for, or nothing if there was nothing to learn from.
    fn step(
        &mut self,
        batch: &[Pair<UserRow, ItemRow>],
        rng: &mut Xoshiro256PlusPlus,
    ) -> Result<Option<Tensor<1>>, DeviceError> {
        let triples = match self.knobs.draw {
            PairDraw::Uniform => self.uniform(batch, rng),
            PairDraw::Warp => self.warp(batch, rng)?,
        };
        if triples.is_empty() {
            return Ok(None);
        }
        let user_bags = Bags::single(triples.iter().map(|triple| triple.user).collect())?;
        let items = triples.iter().map(|triple| triple.item);
        let item_bags = Bags::single(items.chain(triples.iter().map(|triple| triple.other)).collect())?;
        let users = self.users.gather(&user_bags)?; // [triples, dim]
        let both = self.items.gather(&item_bags)?; // [2 · triples, dim], the pairs' items first
        let weights: Vec<f32> = triples.iter().map(|triple| triple.weight).collect();
        let weights = TensorData::new(weights, [triples.len(), 1]);
        let weights = Tensor::<2>::from_data(weights, self.device.burn());
        let Gradients { loss, users, items } = gradients(users, both, weights, &self.knobs);
        self.users.update(&user_bags.segments(), users, self.knobs.lr, EPS)?;
        self.items.update(&item_bags.segments(), items, self.knobs.lr, EPS)?;
        Ok(Some(loss))
    }

    /// Any other item for every pair whose user has not had them all.
    fn uniform(&self, batch: &[Pair<UserRow, ItemRow>], rng: &mut Xoshiro256PlusPlus) -> Vec<Triple> {
        let triple = |pair: &Pair<UserRow, ItemRow>| {
            let other = draw(self.train.cols(pair.row), self.train.n_cols(), rng)?;
            Some(Triple { user: pair.row.get(), item: pair.col.get(), other, weight: 1.0 })
        };
        batch.iter().filter_map(triple).collect()
    }

    /// For every pair the first drawn item that scores within 1 of its own; pairs for which `tries` draws find none are
    /// left out. Draws come in rounds of 1, 1, 2, 4, …, so that most pairs are done before many are scored.
    fn warp(&self, batch: &[Pair<UserRow, ItemRow>], rng: &mut Xoshiro256PlusPlus) -> Result<Vec<Triple>, DeviceError> {
        let own: Vec<_> = batch.iter().map(|pair| (pair.row.get(), pair.col.get())).collect();
        let own = self.scores(&own)?;
        let unseen = |at: usize| self.train.n_cols() - self.train.cols(batch[at].row).len();
        let mut open: Vec<usize> = (0..batch.len()).filter(|&at| unseen(at) > 0).collect();
        let mut found: Vec<Option<Triple>> = vec![None; batch.len()];
        let mut tried = 0;
        while tried < self.knobs.tries && !open.is_empty() {
            let round = tried.max(1).min(self.knobs.tries - tried);
            let mut drawn = Vec::with_capacity(open.len() * round);
            for &at in &open {
                let user = batch[at].row;
                let mut other = || draw(self.train.cols(user), self.train.n_cols(), rng);
                drawn.extend((0..round).filter_map(|_| Some((user.get(), other()?))));
            }
            let scores = self.scores(&drawn)?;
            let rounds = drawn.chunks(round).zip(scores.chunks(round));
            for (&at, (drawn, scores)) in open.iter().zip(rounds) {
                let Some(first) = scores.iter().position(|&score| score > own[at] - 1.0) else { continue };
                let (user, other) = drawn[first];
                let most = unseen(at);
                let weight = self.harmonic[most / (tried + first + 1)] / self.harmonic[most];
                found[at] = Some(Triple { user, item: batch[at].col.get(), other, weight });
            }
            open.retain(|&at| found[at].is_none());
            tried += round;
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// The scores of items for users.
    fn scores(&self, pairs: &[(u32, u32)]) -> Result<Vec<f32>, DeviceError> {
        let users = self.users.gather(&Bags::single(pairs.iter().map(|pair| pair.0).collect())?)?;
        let items = self.items.gather(&Bags::single(pairs.iter().map(|pair| pair.1).collect())?)?;
        read((users * items).sum_dim(1))
    }
}

/// What a step learns from its triples.
struct Gradients {
    /// Sum of the losses without regularisation, `[1]`.
    loss: Tensor<1>,
    /// `[triples, dim]`.
    users: Tensor<2>,
    /// `[2 · triples, dim]`: those of the pairs' items, then those of the others.
    items: Tensor<2>,
}

/// Loss and gradients for rows of users `[triples, dim]`, items `[2 · triples, dim]` and weights `[triples, 1]`. The
/// hinge is taken to be active: [`BprModel::warp`] returns no other triples.
fn gradients(users: Tensor<2>, items: Tensor<2>, weights: Tensor<2>, knobs: &Knobs) -> Gradients {
    let [triples, _] = users.dims();
    let between = items.clone().narrow(0, 0, triples) - items.clone().narrow(0, triples, triples);
    let x = (users.clone() * between.clone()).sum_dim(1); // [triples, 1]
    let (loss, slope) = match knobs.draw {
        PairDraw::Uniform => (log_sigmoid(x.clone()).neg(), sigmoid(x.neg())),
        PairDraw::Warp => (relu(x.neg() + 1.0), Tensor::ones([triples, 1], &weights.device())),
    };
    let (loss, slope) = (loss * weights.clone(), slope * weights); // [triples, 1]
    let push = users.clone() * slope.clone(); // [triples, dim]
    Gradients {
        loss: loss.sum(),
        users: users * knobs.reg - between * slope,
        items: items * knobs.reg + Tensor::cat(vec![push.clone().neg(), push], 0),
    }
}

/// One of the `items` rows that `had` (ascending) does not name, each as likely; none if it names all.
fn draw(had: &[u32], items: usize, rng: &mut Xoshiro256PlusPlus) -> Option<u32> {
    let unseen = (items - had.len()) as u32;
    (unseen > 0).then(|| nth_unseen(had, rng.random_range(0..unseen)))
}

/// The `n`-th row, from 0, that `had` (ascending) does not name.
fn nth_unseen(had: &[u32], n: u32) -> u32 {
    // had[at] - at rows before had[at] are not named; those named before the wanted row shift it.
    let (mut low, mut high) = (0, had.len());
    while low < high {
        let middle = (low + high) / 2;
        if had[middle] - middle as u32 <= n { low = middle + 1 } else { high = middle }
    }
    n + low as u32
}

impl Model for BprModel<'_> {
    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError> {
        let size = self.knobs.batch;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(self.seed, 22, u64::from(epoch)));
        let mut shuffled = std::mem::take(&mut self.shuffled);
        let (total, mut pairs, mut losses) = (shuffled.batches(size) as u64, 0, Vec::new());
        for (done, batch) in shuffled.epoch(size, stream_seed(self.seed, 23, u64::from(epoch))).enumerate() {
            losses.extend(self.step(batch, &mut rng)?);
            pairs += batch.len();
            tick(done as u64 + 1, total)?;
        }
        self.shuffled = shuffled;
        if losses.is_empty() {
            return Ok(Some(0.0));
        }
        let sum: f64 = read(Tensor::cat(losses, 0))?.into_iter().map(f64::from).sum();
        let mean = sum / pairs as f64;
        match mean.is_finite() {
            true => Ok(Some(mean)),
            false => Err(FitError::Diverged { epoch, what: format!("the mean loss is {mean}"), hint: "lower `lr`" }),
        }
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        Ok(Learned::Embeddings { users: self.users.read()?, items: self.items.read()? })
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        let mut state = Tensors::new();
        for (name, table) in [("user", &self.users), ("item", &self.items)] {
            state.insert(format!("{name}.table"), table.read()?.into());
            state.insert(format!("{name}.accumulator"), Stored::f32s(table.read_accumulator()?));
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        for (name, table) in [("user", &mut self.users), ("item", &mut self.items)] {
            let (rows, sums) = (format!("{name}.table"), format!("{name}.accumulator"));
            let stored = state.remove(&rows).and_then(Stored::into_matrix);
            let stored = stored.filter(|stored| (stored.rows(), stored.cols()) == (table.rows(), table.dim()));
            let Some(Data::F32(accumulator)) = state.remove(&sums).map(|stored| stored.data) else { return Err(sums) };
            let restored = stored.and_then(|stored| Table::with_accumulator(self.device, &stored, &accumulator).ok());
            *table = restored.ok_or(rows)?;
        }
        Ok(())
    }

    fn weights(&mut self) -> Result<Tensors, FitError> {
        Ok(Tensors::new())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nth_unseen_row_is_that_of_a_list(named in prop::collection::vec(any::<bool>(), 1..90)) {
            let of = |wanted: bool| (0..).zip(&named).filter(move |(_, named)| **named == wanted).map(|(row, _)| row);
            let (had, unseen): (Vec<u32>, Vec<u32>) = (of(true).collect(), of(false).collect());
            let found: Vec<u32> = (0..unseen.len() as u32).map(|n| nth_unseen(&had, n)).collect();
            prop_assert_eq!(found, unseen);
        }
    }

    /// The loss of triples, regularisation included, in double precision as it is written at the top of this file.
    fn loss(users: &[f64], items: &[f64], weights: &[f64], dim: usize, knobs: &Knobs) -> f64 {
        let rows = |from: &[f64], at: usize| from[at * dim..][..dim].to_vec();
        let norm = |row: &[f64]| row.iter().map(|number| number * number).sum::<f64>();
        let one = |at: usize| {
            let (u, i, j) = (rows(users, at), rows(items, at), rows(items, at + weights.len()));
            let x: f64 = (0..dim).map(|d| u[d] * (i[d] - j[d])).sum();
            let fit = match knobs.draw {
                PairDraw::Uniform => (1.0 + (-x).exp()).ln(),
                PairDraw::Warp => (1.0 - x).max(0.0),
            };
            weights[at] * fit + f64::from(knobs.reg) / 2.0 * (norm(&u) + norm(&i) + norm(&j))
        };
        (0..weights.len()).map(one).sum()
    }

    #[test]
    fn gradients_are_finite_differences_of_the_loss() {
        let (triples, dim, step) = (5, 3, 1e-5);
        let numbers = |len: usize, seed: usize| -> Vec<f64> {
            (0..len).map(|at| ((at + seed * 31) * 7919 % 1009) as f64 / 1009.0 - 0.5).collect()
        };
        let (users, items) = (numbers(triples * dim, 1), numbers(2 * triples * dim, 2));
        let weights: Vec<f64> = numbers(triples, 3).iter().map(|number| number + 1.0).collect();
        let device = burn::tensor::Device::flex();
        let tensor = |numbers: &[f64], shape: [usize; 2]| {
            let numbers: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
            Tensor::<2>::from_data(TensorData::new(numbers, shape), &device)
        };
        for draw in [PairDraw::Uniform, PairDraw::Warp] {
            let knobs = Knobs { draw, tries: 1, batch: triples, lr: 0.1, reg: 0.3 };
            let (u, i) = (tensor(&users, [triples, dim]), tensor(&items, [2 * triples, dim]));
            let made = gradients(u, i, tensor(&weights, [triples, 1]), &knobs);
            let slope = |side: usize, at: usize| {
                let moved = |by: f64| {
                    let mut sides = [users.clone(), items.clone()];
                    sides[side][at] += by;
                    loss(&sides[0], &sides[1], &weights, dim, &knobs)
                };
                (moved(step) - moved(-step)) / (2.0 * step)
            };
            for (side, tensor) in [made.users, made.items].into_iter().enumerate() {
                for (at, found) in read(tensor).unwrap().into_iter().enumerate() {
                    let want = slope(side, at);
                    assert!((f64::from(found) - want).abs() < 1e-4, "{draw:?}, {side}, {at}: {found} is not {want}");
                }
            }
            let plain = Knobs { reg: 0.0, ..knobs };
            let found = f64::from(read(made.loss).unwrap()[0]);
            assert!((found - loss(&users, &items, &weights, dim, &plain)).abs() < 1e-4);
        }
    }
}

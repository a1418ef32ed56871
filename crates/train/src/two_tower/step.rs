//! What one step of the two-tower model learns from: pairs, and columns of items that all of them are compared with.
//! Drawn on the host from seeds, so that every device sees the same steps.

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, Pair, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::inputs::Inputs;
use crate::bags::Bags;
use crate::device::DeviceError;
use crate::preset::TwoTower as Knobs;

/// No column.
const NOWHERE: u32 = u32::MAX;

/// One step. Its examples are pairs; its columns are the items of the pairs and further ones, each once, ascending.
#[derive(Debug)]
pub(super) struct Step {
    /// Inputs of the user of each example.
    pub(super) users: Bags,
    /// Inputs of the item of each column.
    pub(super) items: Bags,
    /// The column of each example's own item.
    pub(super) own: Vec<u32>,
    /// The logarithm of how likely each column was to be drawn, to be taken from its scores.
    pub(super) log_q: Vec<f32>,
    /// Where in `known` the columns of each example begin, then their number.
    offsets: Vec<usize>,
    known: Vec<u32>,
}

impl Step {
    /// How many examples there are.
    pub(super) fn examples(&self) -> usize {
        self.own.len()
    }

    /// How many columns there are.
    pub(super) fn columns(&self) -> usize {
        self.log_q.len()
    }

    /// The columns of other items that the example's user had: no negatives.
    pub(super) fn known(&self, example: usize) -> &[u32] {
        &self.known[self.offsets[example]..self.offsets[example + 1]]
    }
}

/// Draws steps.
pub(super) struct Steps<'a> {
    train: &'a Csr<UserRow, ItemRow>,
    /// The share of the pairs that are about each item.
    shares: Vec<f64>,
    /// The column of each item; [`NOWHERE`] between steps.
    columns: Vec<u32>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(train: &'a Csr<UserRow, ItemRow>) -> Self {
        let mut shares = vec![0.0; train.n_cols()];
        train.all_cols().iter().for_each(|&item| shares[item as usize] += 1.0 / train.len() as f64);
        Self { train, shares, columns: vec![NOWHERE; train.n_cols()] }
    }

    /// The step of these pairs.
    pub(super) fn step(
        &mut self,
        batch: &[Pair<UserRow, ItemRow>],
        [users, items]: [&Inputs<'_>; 2],
        knobs: &Knobs,
        seed: u64,
    ) -> Result<Step, DeviceError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, 0, 0));
        let n_items = self.columns.len();
        let mut drawn: Vec<u32> = batch.iter().map(|pair| pair.col.get()).collect();
        drawn.extend((0..knobs.negatives).map(|_| rng.random_range(0..n_items as u32)));
        drawn.sort_unstable();
        drawn.dedup();
        (0..).zip(&drawn).for_each(|(column, &item)| self.columns[item as usize] = column);

        let own = batch.iter().map(|pair| self.columns[pair.col.index()]).collect();
        let log_q = match knobs.logq {
            true => drawn.iter().map(|&item| self.log_q(item, batch.len(), knobs.negatives)).collect(),
            false => vec![0.0; drawn.len()],
        };
        let (mut offsets, mut known) = (vec![0], Vec::new());
        for pair in batch {
            let had = self.train.cols(pair.row).iter().filter(|&&item| item != pair.col.get());
            known.extend(had.map(|&item| self.columns[item as usize]).filter(|&column| column != NOWHERE));
            offsets.push(known.len());
        }
        let step = Step {
            users: users.drawn(
                batch.iter().map(|pair| (pair.row.index(), Some(pair.col.get()))),
                knobs.id_dropout,
                &mut rng,
            )?,
            items: items.drawn(drawn.iter().map(|&item| (item as usize, None)), knobs.id_dropout, &mut rng)?,
            own,
            log_q,
            offsets,
            known,
        };
        drawn.iter().for_each(|&item| self.columns[item as usize] = NOWHERE);
        Ok(step)
    }

    /// The logarithm of the chance that an item is among the columns: that of at least one of the pairs, drawn by how
    /// often items occur, and of the further items, drawn evenly, taken as a Poisson process.
    fn log_q(&self, item: u32, pairs: usize, further: usize) -> f32 {
        let expected = pairs as f64 * self.shares[item as usize] + further as f64 / self.columns.len() as f64;
        (-(-expected).exp_m1()).max(f64::MIN_POSITIVE).ln() as f32
    }
}

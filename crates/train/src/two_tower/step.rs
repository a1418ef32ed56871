//! What one step of the two-tower model learns from: users with items to be foretold, and columns of items that these are
//! compared with. Drawn on the host from seeds, so that every device sees the same steps.

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, Pair, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::inputs::Inputs;
use crate::bags::Bags;
use crate::device::DeviceError;
use crate::preset::TwoTower as Knobs;

/// One step. Its examples are users, each with one or several items to be foretold; its columns are these items and further
/// ones, each once, ascending.
#[derive(Debug)]
pub(super) struct Step {
    /// Inputs of the user of each example.
    pub(super) users: Bags,
    /// Inputs of the item of each column.
    pub(super) items: Bags,
    /// The columns of each example's own items.
    pub(super) own: Lists,
    /// How much each of an example's own items counts.
    pub(super) weights: Vec<f32>,
    /// The logarithm of how likely each column was to be drawn, to be taken from its scores.
    pub(super) log_q: Vec<f32>,
    /// With which columns the own items of each example are compared.
    pub(super) compared: Compared,
    /// What a base says of the users of the examples and of the items of the columns.
    pub(super) base: Option<Known>,
}

/// The columns that take part in the softmax of an example.
#[derive(Debug)]
pub(super) enum Compared {
    /// All but these: items that the user had.
    AllBut(Lists),
    /// These alone; the own items are among them.
    Only(Lists),
}

/// Vectors of a base, scaled by nothing.
#[derive(Debug)]
pub(super) struct Known {
    /// Numbers per vector.
    pub(super) dim: usize,
    /// Those of the users of the examples and of the items of the columns, row after row.
    pub(super) rows: [Vec<f32>; 2],
}

/// Lists of columns, one an example.
#[derive(Debug)]
pub(super) struct Lists {
    offsets: Vec<usize>,
    columns: Vec<u32>,
}

impl Lists {
    pub(super) fn new() -> Self {
        Self { offsets: vec![0], columns: Vec::new() }
    }

    /// Adds the next example's list.
    pub(super) fn push(&mut self, columns: impl IntoIterator<Item = u32>) {
        self.columns.extend(columns);
        self.offsets.push(self.columns.len());
    }

    pub(super) fn of(&self, example: usize) -> &[u32] {
        &self.columns[self.offsets[example]..self.offsets[example + 1]]
    }
}

impl Step {
    /// How many examples there are.
    pub(super) fn examples(&self) -> usize {
        self.weights.len()
    }

    /// How many columns there are.
    pub(super) fn columns(&self) -> usize {
        self.log_q.len()
    }

    /// What all own items count together: the loss is divided by it.
    pub(super) fn weight(&self) -> f32 {
        (0..self.examples()).map(|example| self.weights[example] * self.own.of(example).len() as f32).sum()
    }
}

/// Draws steps of pairs.
pub(super) struct Steps<'a> {
    train: &'a Csr<UserRow, ItemRow>,
    /// The share of the pairs that are about each item.
    shares: Vec<f64>,
}

/// Which column each of a few items has. A table with a place for every item would be met cold wherever the catalogue is
/// larger than the cache, and a step asks for every item of its users' histories: nearly all of them have no column, and a
/// bit says so.
struct Columns {
    /// The items of the columns, ascending.
    items: Vec<u32>,
    /// One bit for all items that have the lowest bits of their numbers in common: whether any of them has a column.
    some: Vec<u64>,
}

/// Bits of [`Columns::some`]: 8 KiB of them.
const MARKS: usize = 1 << 16;

impl Columns {
    /// Takes items in any order, more than once or not.
    fn new(mut items: Vec<u32>) -> Self {
        items.sort_unstable();
        items.dedup();
        let mut some = vec![0; MARKS / 64];
        items.iter().for_each(|&item| some[item as usize % MARKS / 64] |= 1 << (item % 64));
        Self { items, some }
    }

    fn of(&self, item: u32) -> Option<u32> {
        let marked = self.some[item as usize % MARKS / 64] >> (item % 64) & 1 == 1;
        marked.then(|| self.items.binary_search(&item).ok().map(|column| column as u32)).flatten()
    }
}

impl<'a> Steps<'a> {
    pub(super) fn new(train: &'a Csr<UserRow, ItemRow>) -> Self {
        let mut shares = vec![0.0; train.n_cols()];
        train.all_cols().iter().for_each(|&item| shares[item as usize] += 1.0 / train.len() as f64);
        Self { train, shares }
    }

    /// The step of these pairs.
    pub(super) fn step(
        &self,
        batch: &[Pair<UserRow, ItemRow>],
        [users, items]: [&Inputs<'_>; 2],
        knobs: &Knobs,
        seed: u64,
    ) -> Result<Step, DeviceError> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, 0, 0));
        let mut drawn: Vec<u32> = batch.iter().map(|pair| pair.col.get()).collect();
        drawn.extend((0..knobs.negatives).map(|_| rng.random_range(0..self.shares.len() as u32)));
        let columns = Columns::new(drawn);

        let log_q = match knobs.logq {
            true => columns.items.iter().map(|&item| self.log_q(item, batch.len(), knobs.negatives)).collect(),
            false => vec![0.0; columns.items.len()],
        };
        let (mut own, mut known) = (Lists::new(), Lists::new());
        for pair in batch {
            own.push(columns.of(pair.col.get()));
            let had = self.train.cols(pair.row).iter().filter(|&&item| item != pair.col.get());
            known.push(had.filter_map(|&item| columns.of(item)));
        }
        let targets = batch.iter().map(|pair| (pair.row.index(), Some(pair.col.get())));
        Ok(Step {
            users: users.drawn(targets, knobs.id_dropout[0], &mut rng)?,
            items: items.drawn(
                columns.items.iter().map(|&item| (item as usize, None)),
                knobs.id_dropout[1],
                &mut rng,
            )?,
            own,
            weights: vec![1.0; batch.len()],
            log_q,
            compared: Compared::AllBut(known),
            base: None,
        })
    }

    /// The logarithm of the chance that an item is among the columns: that of at least one of the pairs, drawn by how
    /// often items occur, and of the further items, drawn evenly, taken as a Poisson process.
    fn log_q(&self, item: u32, pairs: usize, further: usize) -> f32 {
        let expected = pairs as f64 * self.shares[item as usize] + further as f64 / self.shares.len() as f64;
        (-(-expected).exp_m1()).max(f64::MIN_POSITIVE).ln() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_the_place_of_its_item_however_the_marks_collide() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        for count in [0, 1, 90, 5000] {
            // Half of them share their mark with an item that has no column, or with another that has one.
            let item =
                |rng: &mut Xoshiro256PlusPlus| rng.random_range(0..4000) + (MARKS as u32) * rng.random_range(0..3);
            let items: Vec<u32> = (0..count).map(|_| item(&mut rng)).collect();
            let columns = Columns::new(items.clone());
            let mut sorted = items;
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(columns.items, sorted);
            for _ in 0..20_000 {
                let item = item(&mut rng);
                let place = sorted.iter().position(|&other| other == item);
                assert_eq!(columns.of(item), place.map(|place| place as u32));
            }
        }
    }
}

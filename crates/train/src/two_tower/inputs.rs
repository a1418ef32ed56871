//! What of a user or an item enters its tower: its id, the values it has, and, of users, the items of their history.

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, Features};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::attention::Attention;
use crate::bags::Bags;
use crate::device::DeviceError;

/// One side. Rows of its table: the ids, then the values, then the items of histories.
pub(super) struct Inputs<'a> {
    /// Of each row, whether its id enters: that of a user or an item who was never met says nothing.
    ids: Vec<bool>,
    features: Features,
    history: Option<History<'a>>,
}

/// The items that users had, as inputs: they enter with weights that add up to 1.
#[derive(Clone, Copy)]
pub(super) struct History<'a> {
    pub(super) had: &'a Csr<UserRow, ItemRow>,
    /// How many days ago each entry was met last; empty if that is not known.
    pub(super) ages: &'a [f32],
    /// After so many days an item counts half; infinite if they all count the same.
    pub(super) half_life: f32,
    /// The most that enter in training, drawn anew each time; all enter where a model is read out.
    pub(super) most: usize,
}

/// Bags in the making.
#[derive(Default)]
struct Entries {
    offsets: Vec<u32>,
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl Entries {
    fn push(&mut self, row: usize, weight: f32) {
        // Table rows are counted in 32 bits when a side is made.
        self.rows.push(row as u32);
        self.weights.push(weight);
    }

    fn bags(mut self) -> Result<Bags, DeviceError> {
        self.offsets.insert(0, 0);
        let Self { offsets, rows, weights } = self;
        Bags::new(offsets, rows)?.weighted(weights)
    }
}

impl<'a> Inputs<'a> {
    /// Fails if the rows of the table are more than 32 bits count.
    pub(super) fn new(
        name: &'static str,
        ids: Vec<bool>,
        features: Features,
        history: Option<History<'a>>,
    ) -> Result<Self, DeviceError> {
        let inputs = Self { ids, features, history };
        let total = inputs.table_rows();
        match u32::try_from(total) {
            Ok(_) => Ok(inputs),
            Err(_) => {
                let problem =
                    format!("has {total} rows with those of its features, more than a 32-bit row number can count");
                Err(DeviceError::Input { what: name, problem })
            }
        }
    }

    /// How many users or items there are.
    pub(super) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Attention over the histories, if there are any.
    pub(super) fn attention(&self) -> Option<Attention> {
        let history = self.history?;
        Some(Attention::new(self.rows() + self.features.len(), history.had.n_cols()))
    }

    /// Rows of the table.
    pub(super) fn table_rows(&self) -> usize {
        self.rows() + self.features.len() + self.history.map_or(0, |history| history.had.n_cols())
    }

    /// All that is known of these rows.
    pub(super) fn whole(
        &self,
        rows: impl Iterator<Item = usize>,
        attention: Option<&Attention>,
    ) -> Result<Bags, DeviceError> {
        let mut entries = Entries::default();
        for row in rows {
            if self.ids[row] {
                entries.push(row, 1.0);
            }
            self.features_of(row, &mut entries);
            if let Some(history) = self.history {
                self.items_of(&history.entries(row).collect::<Vec<_>>(), &mut entries);
            }
            entries.offsets.push(entries.rows.len() as u32);
        }
        let mut bags = entries.bags()?;
        attention.into_iter().for_each(|attention| attention.weigh(&mut bags));
        Ok(bags)
    }

    /// Inputs of a step: each row with the item that is to be foretold from it, which its history leaves out. An id is
    /// left out with a chance of `dropout`, so that the rest learns to do without.
    pub(super) fn drawn(
        &self,
        rows: impl Iterator<Item = (usize, Option<u32>)>,
        dropout: f32,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Result<Bags, DeviceError> {
        let mut entries = Entries::default();
        let mut pool = Vec::new();
        for (row, target) in rows {
            if self.ids[row] && (dropout <= 0.0 || rng.random::<f32>() >= dropout) {
                entries.push(row, 1.0);
            }
            self.features_of(row, &mut entries);
            if let Some(history) = self.history {
                pool.clear();
                pool.extend(history.entries(row).filter(|&(item, _)| Some(item) != target));
                let count = pool.len().min(history.most);
                for place in 0..count {
                    // The first places of a shuffled list (Fisher and Yates) are a sample without repeats.
                    let other = rng.random_range(place..pool.len());
                    pool.swap(place, other);
                }
                self.items_of(&pool[..count], &mut entries);
            }
            entries.offsets.push(entries.rows.len() as u32);
        }
        entries.bags()
    }

    fn features_of(&self, row: usize, entries: &mut Entries) {
        self.features.weighed(row).for_each(|(value, weight)| entries.push(self.rows() + value as usize, weight));
    }

    fn items_of(&self, items: &[(u32, f32)], entries: &mut Entries) {
        let total: f32 = items.iter().map(|(_, weight)| weight).sum();
        let first = self.rows() + self.features.len();
        items
            .iter()
            .for_each(|&(item, weight)| entries.push(first + item as usize, weight / total.max(f32::MIN_POSITIVE)));
    }
}

impl History<'_> {
    /// The items of a user, each with how much it counts.
    fn entries(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let items = self.had.cols(UserRow::new(row as u32));
        let ages = self.ages.get(self.had.offsets()[row] as usize..).unwrap_or_default();
        let weights = ages.iter().map(|age| (-age / self.half_life).exp2()).chain(std::iter::repeat(1.0));
        items.iter().copied().zip(weights)
    }
}

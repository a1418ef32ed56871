//! Seeded orders in which a trainer visits interactions.

use lookalike_bundle::Row;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::{Csr, Pair};

/// A seed for one purpose out of the run's seed: `stream` names the purpose, `step` counts within it. Mixed by
/// the finaliser of SplitMix64 (Steele, Lea and Flood 2014), so that neighbouring numbers give unrelated seeds.
pub fn stream_seed(seed: u64, stream: u64, step: u64) -> u64 {
    let mut mixed = seed;
    for part in [stream, step] {
        mixed = mixed.wrapping_add(part.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// All entries of a matrix in a random order, handed out in batches.
pub struct Shuffled<R: Row, C: Row> {
    pairs: Vec<Pair<R, C>>,
}

impl<R: Row, C: Row> Default for Shuffled<R, C> {
    fn default() -> Self {
        Self { pairs: Vec::new() }
    }
}

impl<R: Row, C: Row> Shuffled<R, C> {
    /// Lists the entries; their order is made by [`Shuffled::epoch`].
    pub fn new(matrix: &Csr<R, C>) -> Self {
        Self { pairs: matrix.pairs().collect() }
    }

    /// How many batches an epoch has. A last batch of less than half the size is left out: its softmax would be
    /// over too few negatives, and another epoch's order brings its entries back.
    pub fn batches(&self, batch: usize) -> usize {
        let whole = self.pairs.len() / batch;
        whole + usize::from(self.pairs.len() % batch >= batch.div_ceil(2) || whole == 0)
    }

    /// The batches of one epoch. The order depends on the seed alone, not on earlier epochs, so that a resumed run
    /// continues as if it had never stopped.
    pub fn epoch(&mut self, batch: usize, seed: u64) -> impl Iterator<Item = &[Pair<R, C>]> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        self.pairs.sort_unstable_by_key(|pair| (pair.row, pair.col));
        for last in (1..self.pairs.len()).rev() {
            self.pairs.swap(last, rng.random_range(0..=last));
        }
        let batches = self.batches(batch);
        self.pairs.chunks(batch).take(batches)
    }
}

#[cfg(test)]
mod tests {
    use lookalike_bundle::{ItemRow, UserRow};

    use super::*;

    fn pairs(seed: u64, warm_up: bool) -> Vec<(u32, u32)> {
        let all: Vec<_> =
            (0..23).map(|n| Pair { row: UserRow::new(n % 5), col: ItemRow::new(n), weight: 1.0 }).collect();
        let mut shuffled = Shuffled::new(&Csr::from_pairs(5, 23, &all));
        if warm_up {
            shuffled.epoch(4, 99).for_each(drop);
        }
        shuffled.epoch(4, seed).flatten().map(|pair| (pair.row.get(), pair.col.get())).collect()
    }

    #[test]
    fn the_order_depends_on_the_seed_alone() {
        assert_eq!(pairs(7, false), pairs(7, true));
        assert_ne!(pairs(7, false), pairs(8, false));
    }

    #[test]
    fn every_entry_comes_once_when_batches_fit() {
        let mut got = pairs(1, false);
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 23);
    }

    #[test]
    fn streams_and_steps_differ() {
        let seeds = [stream_seed(1, 0, 0), stream_seed(1, 0, 1), stream_seed(1, 1, 0), stream_seed(2, 0, 0)];
        assert!((0..4).all(|a| (0..a).all(|b| seeds[a] != seeds[b])));
    }
}

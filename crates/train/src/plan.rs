//! What a run will hold in memory, said before it starts: arithmetic over the sizes of the data set and of the model.
//!
//! What grows with the data is counted structure by structure, at each of three stages; a run needs the most that any of
//! them does. On a GPU the model's own numbers lie there too, and the host needs no more than is said here.

use lookalike_dataset::Dataset;
use serde::Serialize;

use crate::dense::stride;
use crate::fit::FitError;
use crate::memory::{self, Need};
use crate::preset::{Knobs, Optimizer, Preset};
use crate::symmetric::Symmetric;

/// The program itself, its threads' stacks and its buffers for reading.
const PROGRAM: u64 = 120 << 20;
/// An id, held twice: its texts and its place in the map.
const ID: u64 = 160;
/// What is known of an item, titles and categories aside.
const ITEM: u64 = 80;
/// An event as it is read, and an entry of a sparse matrix.
const EVENT: u64 = 12;
const ENTRY: u64 = 8;
/// Links of an item in the index while it is built (a million vectors of 64 numbers took 680 bytes each beside their numbers),
/// and its nearest items in the item-kNN baseline.
const LINKS: u64 = 1024;
const NEAREST: u64 = 50 * ENTRY;
/// A held-out user's lists in an evaluation.
const LISTS: u64 = 600;
/// A row's share in handing rows out to threads.
const JOB: u64 = 64;
/// The scores that a step of softmax matrix factorization keeps, and what it keeps of a pair, in this step and the next.
const SCORES: u64 = 64 << 20;
const PAIR: u64 = 80;

/// The sizes of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Users with a row.
    users: u64,
    /// Items with a row.
    items: u64,
    /// Different values of attributes, of users and items together, of tags and of what friends had; and of items' alone.
    features: u64,
    of_items: u64,
    /// How many of them all users and items have, at all times together.
    entries: u64,
    /// Pairs known at earlier times, all of these together.
    earlier: u64,
    /// Pairs that epochs are chosen with.
    train: u64,
    /// Pairs that the final model learns from.
    full: u64,
    /// Held-out pairs, for validation and for the test.
    held_out: u64,
    /// Users of whom some of these are.
    judged: u64,
}

impl Shape {
    fn of(data: &Dataset) -> Self {
        let held_out = [&data.validation, &data.test];
        let declared = [&data.user_features, &data.item_features];
        let last = [&data.portraits, &data.friends].into_iter().filter_map(|times| times.last());
        let all = declared.into_iter().chain(&data.portraits).chain(&data.friends);
        Self {
            users: data.users.len() as u64,
            items: data.items.len() as u64,
            features: declared.into_iter().chain(last).map(|features| features.len() as u64).sum(),
            of_items: data.item_features.len() as u64,
            entries: all.map(|features| features.entries() as u64).sum(),
            earlier: data.earlier.iter().map(|part| part.len() as u64).sum(),
            train: data.train.len() as u64,
            full: data.full.len() as u64,
            held_out: held_out.map(|held| (held.truth.len() + held.cold.len()) as u64).iter().sum(),
            judged: held_out.map(|held| (held.users() + held.cold_users()) as u64).iter().sum(),
        }
    }

    fn rows(&self) -> u64 {
        self.users + self.items
    }

    /// A matrix of so many pairs with a row a user.
    fn by_user(&self, pairs: u64) -> u64 {
        ENTRY * (pairs + self.users)
    }

    /// One with a row an item.
    fn by_item(&self, pairs: u64) -> u64 {
        ENTRY * (pairs + self.items)
    }
}

/// Bytes that a run holds at its peak, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Ids and interactions, from the first epoch to the end.
    pub data: u64,
    /// The model's numbers.
    pub model: u64,
    /// What its optimizer remembers.
    pub optimizer: u64,
    /// Everything else at the peak: copies in another order, steps, a checkpoint, the evaluation.
    pub workspace: u64,
    /// What of the model, its optimizer and the rest is there for values of attributes and tags, for histories and friends.
    pub values: u64,
    /// All of these.
    pub total: u64,
    /// All of these where no index is built beside the evaluation.
    pub unindexed: u64,
}

/// What training one kind of model takes beside the data.
#[derive(Default)]
struct Fit {
    model: u64,
    optimizer: u64,
    /// Copies of the interactions in another form or order.
    copies: u64,
    /// What one step computes with.
    step: u64,
    /// What scores come from, as a file has it.
    learned: u64,
    /// What of all this is there for what enters towers beside ids.
    values: u64,
}

impl Plan {
    /// What the system could give to this process, what it holds now included; unknown but on Linux.
    pub fn available() -> Option<u64> {
        memory::in_all()
    }

    /// The plan of a process that holds so much with the data read: titles, attributes and what the program itself takes
    /// are in it, whatever the arithmetic makes of them.
    fn holding(self, held: u64) -> Self {
        let more = held.saturating_sub(self.data);
        Self { data: self.data + more, total: self.total + more, unindexed: self.unindexed + more, ..self }
    }

    /// Whether there is room for an index beside the evaluation, or nothing is gained by leaving it for later.
    pub fn indexed(&self, has: Option<u64>) -> bool {
        has.is_none_or(|has| self.total <= has || has < self.unindexed)
    }

    /// Fails if that is less than the plan takes without an index, which can be built later and alone.
    fn require(&self, name: &str, has: Option<u64>) -> Result<(), FitError> {
        let (what, hint) = match self.values * 4 > self.unindexed {
            true => (
                format!("training `{name}`, {} bytes of it for values of attributes and tags,", self.values),
                "name fewer `features` and `tags` in the preset, or lower `dim`",
            ),
            false => (format!("training `{name}`"), "lower `dim` in a preset, or take a part of the history"),
        };
        memory::fits(Need { what, bytes: self.unindexed, hint }, has)
    }
}

impl Preset {
    /// What a run on this data set, already read, will hold in memory at its peak.
    pub fn plan(&self, data: &Dataset) -> Plan {
        self.plan_for(&Shape::of(data)).holding(memory::held().unwrap_or(0))
    }

    /// Fails if there is less memory than a run takes. What is solved in one step asks for its memory itself, once it knows
    /// how many items have users in common.
    pub(crate) fn require(&self, data: &Dataset) -> Result<(), FitError> {
        match self.knobs.one_step() {
            true => Ok(()),
            false => self.plan(data).require(&self.name, memory::in_all()),
        }
    }

    fn plan_for(&self, shape: &Shape) -> Plan {
        let Shape { users, items, full, held_out, .. } = *shape;
        let ids = ID * shape.rows() + ITEM * items;
        let interactions = shape.by_user(shape.train) + shape.by_user(full) + 2 * shape.by_user(held_out / 2);
        let data = PROGRAM + ids + interactions;
        let Fit { model, optimizer, copies, step, learned, values } = self.fit(shape);

        // All events, a second set of ids, and two places a user while a matrix is filled.
        let reading = data + EVENT * (full + held_out) + ids + 3 * ENTRY * users;
        // A checkpoint is a copy of the state, its file, and a table on the way there.
        let state = model + optimizer;
        let training = data + model + optimizer + copies + step.max(2 * state + state / 2).max(2 * learned);
        // The model twice, the bundle's ids and history; then the baselines beside the index, or the files.
        let kept = data + 2 * learned + ids + shape.by_user(full);
        let neighbours = shape.by_user(full) + shape.by_item(full) + NEAREST * items;
        let index = if learned > 0 && self.dim > 0 { (LINKS + 8 * self.dim as u64) * items } else { 0 };
        let files = 2 * learned + ENTRY / 2 * full;
        let judging = neighbours + LISTS * shape.judged;

        let unindexed = reading.max(training).max(kept + judging.max(files));
        let total = unindexed.max(kept + judging + index);
        Plan { data, model, optimizer, workspace: total - data - model - optimizer, values, total, unindexed }
    }

    fn fit(&self, shape: &Shape) -> Fit {
        let Shape { users, items, train, full, features, .. } = *shape;
        let (rows, dim) = (shape.rows(), self.dim as u64);
        let pairs = train.max(full);
        let table = 4 * dim * rows;
        let embeddings = Fit { model: table, learned: table, ..Fit::default() };
        match &self.knobs {
            Knobs::Ials(_) => {
                let row = 4 * stride(self.dim) as u64;
                let copies = shape.by_user(pairs) + shape.by_item(pairs) + 4 * rows;
                Fit { model: row * rows, copies, step: (row + JOB) * users.max(items), ..embeddings }
            }
            Knobs::SoftmaxMf(knobs) => {
                let memory = if knobs.optimizer == Optimizer::Adam { 2 * dim + 1 } else { 1 };
                let batch = (knobs.batch as u64).min(pairs);
                let pool = if knobs.negatives == 0 { items } else { items.min(knobs.negatives as u64) };
                let numbers = 6 * batch.min(users) + 4 * pool + 2 * (pool + batch).min(items);
                let step = 4 * dim * numbers + PAIR * batch + SCORES + 12 * items;
                // The embeddings and their average over epochs.
                Fit { model: 2 * table, optimizer: 4 * memory * rows, step, ..embeddings }
            }
            Knobs::Bpr(knobs) => {
                let step = 4 * dim * 3 * knobs.batch as u64 * 6 + 4 * items;
                Fit { optimizer: 4 * rows, copies: EVENT * pairs, step, ..embeddings }
            }
            Knobs::TwoTower(knobs) => {
                let batch = (knobs.batch as u64).min(if knobs.base.is_some() { users } else { pairs });
                let further = if knobs.history > 0 { items } else { 0 } + if knobs.taste { shape.of_items } else { 0 };
                let inputs = rows + features + further;
                let (times, base) =
                    knobs.base.as_ref().map_or((1, 0), |base| (base.stretches as u64 + 1, base.dim as u64));
                let columns = match &knobs.base {
                    Some(_) => items.min(batch * knobs.hard as u64),
                    None => items.min(batch + knobs.negatives as u64),
                };
                // A column's gradient in eight parts, its vector at every layer, and the rows that it touches.
                let widths = dim + knobs.towers.iter().map(|&width| width as u64).sum::<u64>();
                let step = 4 * (columns * (8 * (dim + base) + 4 * widths) + batch * (4 * (dim + base) + 4 * widths));
                // The order of the pairs, or of every time its pairs; of every time what enters; scores of few users.
                let order = if base > 0 { shape.by_user(shape.earlier) + 64 * items } else { EVENT * pairs };
                let taste = if knobs.taste { ENTRY * users * times * shape.of_items.min(128) } else { 0 };
                let entries = 2 * ENTRY * shape.entries + taste;
                let copies = order + entries + 4 * base * rows * times;
                let learned = 4 * (dim + base) * rows;
                let attention = if knobs.attention { 2 * 4 * items } else { 0 };
                let values = 4 * (dim + 1) * (features + further) + entries + attention;
                Fit { model: 4 * dim * inputs, optimizer: 4 * inputs, copies, step, learned, values }
            }
            Knobs::Ease(knobs) => {
                let learned = ENTRY * items * (knobs.keep as u64).min(items);
                // Half of what 64 bits count stands for whatever is more: sums have room beside it.
                let matrix = Symmetric::bytes(items as usize).min(u64::MAX / 2);
                let matrix = if knobs.neighbours == 0 { matrix } else { 0 };
                Fit { model: learned, copies: shape.by_item(pairs), step: matrix + learned, learned, ..Fit::default() }
            }
            Knobs::ItemKnn(knobs) => {
                let learned = ENTRY * items * (knobs.neighbours as u64).min(items);
                let copies = shape.by_user(pairs) + shape.by_item(pairs);
                Fit { model: learned, copies, step: learned, learned, ..Fit::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A hundred million pairs of a million users and 200 thousand items.
    const LARGE: Shape = Shape {
        users: 1_000_000,
        items: 200_000,
        features: 0,
        of_items: 0,
        entries: 0,
        earlier: 0,
        train: 99_900_000,
        full: 100_000_000,
        held_out: 200_000,
        judged: 20_000,
    };

    fn preset(name: &str, dim: usize) -> Preset {
        Preset { dim, ..Preset::load(name).unwrap() }
    }

    #[test]
    fn a_hundred_million_pairs_fit_into_twelve_gigabytes() {
        for (name, tables) in [("ials", 1), ("softmax-mf", 2)] {
            let plan = preset(name, 64).plan_for(&LARGE);
            assert!((4_000_000_000..12_000_000_000).contains(&plan.total), "{name}: {plan:?}");
            assert_eq!(plan.total, plan.data + plan.model + plan.optimizer + plan.workspace);
            assert!(plan.data > 16 * LARGE.train && plan.model == tables * 4 * 64 * LARGE.rows(), "{name}: {plan:?}");
        }
    }

    #[test]
    fn more_of_anything_takes_more() {
        for preset in Preset::built_in().map(Result::unwrap) {
            let before = preset.plan_for(&LARGE).total;
            for larger in [
                Shape { users: 2 * LARGE.users, ..LARGE },
                Shape { items: 2 * LARGE.items, ..LARGE },
                Shape { train: 2 * LARGE.train, full: 2 * LARGE.full, earlier: 2 * LARGE.train, ..LARGE },
            ] {
                assert!(preset.plan_for(&larger).total > before, "{}: {larger:?}", preset.name);
            }
        }
        let plan = |dim, optimizer| {
            let mut preset = preset("softmax-mf", dim);
            let Knobs::SoftmaxMf(knobs) = &mut preset.knobs else { unreachable!() };
            knobs.optimizer = optimizer;
            preset.plan_for(&LARGE)
        };
        let (small, large) = (plan(64, Optimizer::Adam), plan(1024, Optimizer::Adam));
        assert!(large.model == 16 * small.model && large.optimizer > 15 * small.optimizer && large.total > small.total);
        assert_eq!(plan(64, Optimizer::Adagrad).optimizer, 4 * LARGE.rows());
    }

    #[test]
    fn the_largest_tables_there_can_be_are_counted_without_overflow() {
        let (rows, pairs) = (u64::from(u32::MAX), 1 << 45);
        let largest = Shape {
            users: rows,
            items: rows,
            features: rows,
            of_items: rows,
            entries: pairs,
            earlier: pairs,
            train: pairs,
            full: pairs,
            held_out: pairs,
            judged: rows,
        };
        for preset in Preset::built_in().map(Result::unwrap) {
            let preset = Preset { dim: if preset.dim > 0 { 1024 } else { 0 }, ..preset };
            assert!(preset.plan_for(&largest).total > 8 * pairs, "{}", preset.name);
        }
    }

    #[test]
    fn what_is_held_beyond_the_arithmetic_counts() {
        let plan = preset("ials", 64).plan_for(&LARGE);
        assert_eq!(plan.holding(plan.data), plan);
        let more = plan.holding(plan.data + 7);
        assert_eq!((more.data, more.workspace, more.total), (plan.data + 7, plan.workspace, plan.total + 7));
        assert_eq!(more.unindexed, plan.unindexed + 7);
    }

    #[test]
    fn more_values_than_memory_are_refused_with_the_sum() {
        let many = Shape { features: 50_000_000, entries: 400_000_000, ..LARGE };
        let preset = preset("two-tower", 64);
        let (plan, few) = (preset.plan_for(&many), preset.plan_for(&LARGE));
        assert!(plan.total > few.total + (plan.values - few.values) && plan.values * 4 > plan.total, "{plan:?}");
        let error = plan.require("two-tower", Some(1 << 30)).unwrap_err();
        for part in [plan.unindexed, plan.values, 1 << 30] {
            assert!(error.to_string().contains(&part.to_string()), "{error}");
        }
        assert!(error.hint().unwrap().contains("`features`"));
        assert!(few.require("two-tower", Some(1 << 30)).unwrap_err().hint().unwrap().starts_with("lower `dim`"));
    }

    #[test]
    fn an_index_that_does_not_fit_is_left_for_later() {
        let items = Shape { items: 10_000_000, train: 1_000_000, full: 1_000_000, ..LARGE };
        let plan = preset("ials", 64).plan_for(&items);
        assert!(plan.unindexed < plan.total && plan.indexed(None) && plan.indexed(Some(plan.total)), "{plan:?}");
        for has in [plan.total - 1, plan.unindexed] {
            assert!(!plan.indexed(Some(has)) && plan.require("ials", Some(has)).is_ok());
        }
        // What is refused anyway is not said to be lacking an index as well.
        assert!(plan.indexed(Some(plan.unindexed - 1)) && plan.require("ials", Some(plan.unindexed - 1)).is_err());
        let none = preset("item-knn", 0).plan_for(&items);
        assert_eq!(none.total, none.unindexed);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let plan = preset("ials", 64).plan_for(&LARGE);
        assert!(plan.require("ials", Some(plan.unindexed)).is_ok() && plan.require("ials", None).is_ok());
        let least = plan.unindexed;
        let error = plan.require("ials", Some(least - 1)).unwrap_err();
        let message = format!("training `ials` takes {least} bytes, and {} are available", least - 1);
        assert_eq!(error.to_string(), message);
        assert!(error.hint().unwrap().contains("`dim`"));
    }
}

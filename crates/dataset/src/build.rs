//! From events to a data set: rows for ids, the split, what is held out and what no model could know.

use std::collections::HashMap;

use lookalike_bundle::{ItemInfo, ItemRow, Row, UserRow, Vocab};

use crate::cold::apart;
use crate::{Csr, Error, Features, FeaturesBuilder, Field, Pair, stream_seed};

/// Which part of the split an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a model may learn from while its epochs and knobs are chosen; where it is cut into stretches, the last one.
    Train,
    /// What epochs and knobs are chosen by; the final model learns from it too.
    Validation,
    /// What the final figures are read from, once.
    Test,
    /// An earlier stretch of the training part, counted from the oldest. Nobody tells it from the rest of the training part
    /// but a model that learns what happened after a time from what was known by then.
    Earlier(usize),
}

/// Held-out items per user, without those that no model could have known.
#[derive(Clone, Debug)]
pub struct HeldOut {
    /// The items each user went on to, ascending.
    pub truth: Csr<UserRow, ItemRow>,
    /// The same of users without a history in the part learned from, of whom something else is known: they are judged
    /// apart, and no figure but theirs depends on them.
    pub cold: Csr<UserRow, ItemRow>,
    /// User-item pairs before anything was left out.
    pub pairs: usize,
    /// Pairs that are not in [`HeldOut::truth`] because the user or the item does not occur in the part learned from.
    pub unknown: usize,
}

/// Everything a trainer and an evaluator need.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Users that occur before the test part, by id; behind them, by id too, those of whom something else is known.
    pub users: Vocab<UserRow>,
    /// Items that occur before the test part, by id.
    pub items: Vocab<ItemRow>,
    /// Title, category and brand of every item.
    pub item_info: Vec<ItemInfo>,
    /// Declared attributes of users.
    pub user_features: Features,
    /// Declared attributes of items.
    pub item_features: Features,
    /// What became of each declared attribute, of users and of items.
    pub fields: [Vec<Field>; 2],
    /// What a portrait says of users, as of the ends of [`Dataset::parts`], in the same values; without any unless somebody
    /// put them there.
    pub portraits: Vec<Features>,
    /// What the friends of each user had, as of the same ends and in the same values: a field `friends` whose values are ids
    /// of items, weighed so that a bag has length 1; without values where the store joins no users.
    pub friends: Vec<Features>,
    /// Who is a friend of whom, as of the end of [`Dataset::full`]; every weight is 1.
    pub friendships: Csr<UserRow, UserRow>,
    /// How many days before the ends of [`Dataset::parts`] each of their entries was met last; empty unless somebody put
    /// them there.
    pub ages: Vec<Vec<f32>>,
    /// The part learned from without its last stretches, that without most of them first; as many as were asked for.
    pub earlier: Vec<Csr<UserRow, ItemRow>>,
    /// The part learned from while epochs and knobs are chosen.
    pub train: Csr<UserRow, ItemRow>,
    /// Training and validation part together: what the final model learns from.
    pub full: Csr<UserRow, ItemRow>,
    /// Held out from [`Dataset::train`].
    pub validation: HeldOut,
    /// Held out from [`Dataset::full`].
    pub test: HeldOut,
    /// The split in words.
    pub split: String,
    /// Events that count by kind but name no item.
    pub without_item: u64,
}

impl Dataset {
    /// What was known at several times, each of which knew what the one before it did: [`Dataset::earlier`],
    /// [`Dataset::train`] and [`Dataset::full`].
    pub fn parts(&self) -> Vec<&Csr<UserRow, ItemRow>> {
        self.earlier.iter().chain([&self.train, &self.full]).collect()
    }
}

#[derive(Default)]
struct Interner {
    ids: Vec<String>,
    rows: HashMap<String, u32>,
    /// The row asked for last. Files are often in the order of their users, and a search costs most of reading them.
    last: u32,
}

impl Interner {
    fn row(&mut self, id: &str) -> u32 {
        if self.ids.get(self.last as usize).is_some_and(|last| last == id) {
            return self.last;
        }
        if let Some(&row) = self.rows.get(id) {
            self.last = row;
            return row;
        }
        let row = number(self.ids.len());
        self.ids.push(id.to_owned());
        self.rows.insert(id.to_owned(), row);
        self.last = row;
        row
    }

    fn knows(&self, id: &str) -> bool {
        self.rows.contains_key(id)
    }
}

/// The number of the next id after so many. Ids that 32 bits do not count share the last number: `vocabulary` refuses them
/// all before a number is looked at.
fn number(before: usize) -> u32 {
    u32::try_from(before).unwrap_or(u32::MAX)
}

/// An event by the numbers of the two interners. The part is not in it but the list it stands in: with hundreds of
/// millions of events, four bytes count.
#[derive(Clone, Copy)]
struct Event {
    user: u32,
    item: u32,
    weight: f32,
}

/// Collects events; [`Builder::finish`] makes the data set. Ids become rows in the order of their text, so the
/// order of events does not matter to the numbering.
#[derive(Default)]
pub struct Builder {
    users: Interner,
    items: Interner,
    /// Training, validation and test part.
    events: [Vec<Event>; 3],
    /// Earlier stretches of the training part, from the oldest.
    earlier: Vec<Vec<Event>>,
    /// Users who get a row even without an event before the test part.
    known: Vec<u32>,
}

impl Builder {
    /// Adds one event. Weights of the same user and item add up within a part.
    pub fn push(&mut self, user: &str, item: &str, weight: f32, part: Part) {
        let (user, item) = (self.users.row(user), self.items.row(item));
        self.events_of(part).push(Event { user, item, weight });
    }

    /// Notes a user of whom something but events is known: they get a row in any case.
    pub fn know(&mut self, user: &str) {
        let user = self.users.row(user);
        self.known.push(user);
    }

    /// Whether somebody of this id has an event or is known otherwise.
    pub fn is_user(&self, id: &str) -> bool {
        self.users.knows(id)
    }

    /// Whether no event was added.
    pub fn is_empty(&self) -> bool {
        self.events.iter().chain(&self.earlier).all(Vec::is_empty)
    }

    /// Moves a share of the training pairs to validation, for splits that come without a validation part.
    pub fn draw_validation(&mut self, share: f64, seed: u64) {
        self.draw(share, seed, Part::Train, Part::Validation);
    }

    /// Cuts the training part into stretches where no time is known: each has a share of the pairs, the oldest the rest.
    pub fn draw_earlier(&mut self, stretches: usize, share: f64, seed: u64) {
        let mut from = Part::Train;
        for nth in (0..stretches).rev() {
            let part = Part::Earlier(nth);
            self.draw(1.0 - share, stream_seed(seed, nth as u64, 0), from, part);
            from = part;
        }
    }

    fn events_of(&mut self, part: Part) -> &mut Vec<Event> {
        let [train, validation, test] = &mut self.events;
        match part {
            Part::Train => train,
            Part::Validation => validation,
            Part::Test => test,
            Part::Earlier(nth) => {
                let stretches = self.earlier.len().max(nth + 1);
                self.earlier.resize_with(stretches, Vec::new);
                &mut self.earlier[nth]
            }
        }
    }

    /// Moves a share of the pairs from one part to another, drawn by a hash of the seed, the user's and the item's id.
    fn draw(&mut self, share: f64, seed: u64, from: Part, to: Part) {
        let hash = |ids: &[String]| -> Vec<u64> {
            let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            ids.iter().map(|id| id.bytes().fold(0xcbf2_9ce4_8422_2325, fold)).collect() // FNV-1a
        };
        let (users, items) = (hash(&self.users.ids), hash(&self.items.ids));
        let drawn = |event: &mut Event| {
            let drawn = stream_seed(seed, users[event.user as usize], items[event.item as usize]);
            ((drawn >> 11) as f64) < share * (1u64 << 53) as f64
        };
        let moved: Vec<Event> = self.events_of(from).extract_if(.., drawn).collect();
        self.events_of(to).extend(moved);
    }

    /// Sorts everything into rows. `split` describes the split in words. `describe` receives the vocabularies and
    /// returns item information and the features of users and items.
    pub fn finish(
        self,
        split: String,
        describe: impl FnOnce(&Vocab<UserRow>, &Vocab<ItemRow>) -> Result<Described, Error>,
    ) -> Result<Dataset, Error> {
        let [recent, validation, test] = &self.events;
        let before_test = || self.earlier.iter().flatten().chain(recent).chain(validation);
        let (users, user_rows) = vocabulary(&self.users, before_test().map(|event| event.user), &self.known)?;
        let (items, item_rows) = vocabulary(&self.items, before_test().map(|event| event.item), &[])?;
        let pair = |event: &Event| {
            let (row, col) = (user_rows[event.user as usize]?, item_rows[event.item as usize]?);
            Some(Pair { row, col, weight: event.weight })
        };
        let csr = |parts: &[&Vec<Event>]| {
            Csr::collect(users.len(), items.len(), || parts.iter().flat_map(|part| part.iter()).filter_map(pair))
        };
        let distinct = |part: &[Event]| {
            let mut pairs: Vec<_> = part.iter().map(|event| (event.user, event.item)).collect();
            pairs.sort_unstable();
            pairs.dedup();
            pairs.len()
        };
        let (held, tested) = ((csr(&[validation]), distinct(validation)), (csr(&[test]), distinct(test)));
        let all: Vec<&Vec<Event>> = self.earlier.iter().chain([recent, validation]).collect();
        let earlier: Vec<_> = (1..=self.earlier.len()).map(|stretches| csr(&all[..stretches])).collect();
        let (train, full) = (csr(&all[..=self.earlier.len()]), csr(&all));
        let validation = HeldOut::new(held.0, &train, held.1);
        let test = HeldOut::new(tested.0, &full, tested.1);
        let untested = test.truth.is_empty() && test.cold.is_empty();
        for (part, empty) in [("training", train.is_empty()), ("test", untested)] {
            if empty {
                return Err(Error::EmptyPart { part, split });
            }
        }
        if validation.truth.is_empty() {
            return Err(Error::EmptyPart { part: "validation", split });
        }
        let described = describe(&users, &items)?;
        let (user_features, of_users) = described.user_features.declared(users.len(), 2);
        let (item_features, of_items) = described.item_features.declared(items.len(), 2);
        Ok(Dataset {
            item_info: described.item_info,
            user_features,
            item_features,
            fields: [of_users, of_items],
            portraits: vec![Features::none(users.len()); earlier.len() + 2],
            friends: vec![Features::none(users.len()); earlier.len() + 2],
            friendships: Csr::from_pairs(users.len(), users.len(), &[]),
            ages: vec![Vec::new(); earlier.len() + 2],
            earlier,
            users,
            items,
            train,
            full,
            validation,
            test,
            split,
            without_item: 0,
        })
    }
}

/// What is declared about users and items, in row order.
pub struct Described {
    /// One entry an item.
    pub item_info: Vec<ItemInfo>,
    /// Attributes of users.
    pub user_features: FeaturesBuilder,
    /// Attributes of items.
    pub item_features: FeaturesBuilder,
}

impl Described {
    /// Nothing is known but the ids.
    pub fn nothing(items: usize) -> Self {
        let (user_features, item_features) = (FeaturesBuilder::default(), FeaturesBuilder::default());
        Self { item_info: vec![ItemInfo::default(); items], user_features, item_features }
    }
}

impl HeldOut {
    /// Keeps pairs whose user and item both occur in `learned`: about other items no model could know anything, and other
    /// users are kept apart.
    pub(crate) fn new(held: Csr<UserRow, ItemRow>, learned: &Csr<UserRow, ItemRow>, pairs: usize) -> Self {
        let [truth, cold] = apart(held, learned);
        Self { unknown: pairs - truth.len(), truth, cold, pairs }
    }

    /// Users with a history and at least one held-out item.
    pub fn users(&self) -> usize {
        with_entries(&self.truth)
    }

    /// Users without a history who have at least one.
    pub fn cold_users(&self) -> usize {
        with_entries(&self.cold)
    }
}

fn with_entries(held: &Csr<UserRow, ItemRow>) -> usize {
    held.rows().filter(|&user| !held.cols(user).is_empty()).count()
}

/// The vocabulary of the ids in use, sorted by text, then of the others that are `known`, sorted too; and the row of every
/// interned id.
fn vocabulary<R: Row>(
    all: &Interner,
    used: impl Iterator<Item = u32>,
    known: &[u32],
) -> Result<(Vocab<R>, Vec<Option<R>>), Error> {
    Vocab::<R>::countable(all.ids.len())?;
    let (mut in_use, mut other) = (vec![false; all.ids.len()], vec![false; all.ids.len()]);
    used.for_each(|id| in_use[id as usize] = true);
    known.iter().for_each(|&id| other[id as usize] = !in_use[id as usize]);
    let mut order: Vec<usize> = (0..all.ids.len()).filter(|&id| in_use[id] || other[id]).collect();
    order.sort_unstable_by(|&a, &b| other[a].cmp(&other[b]).then_with(|| all.ids[a].cmp(&all.ids[b])));
    let mut rows = vec![None; all.ids.len()];
    for (row, &id) in order.iter().enumerate() {
        rows[id] = Some(R::new(row as u32));
    }
    Ok((Vocab::new(order.iter().map(|&id| all.ids[id].clone()).collect())?, rows))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn built(events: &[(&str, &str, Part)]) -> Result<Dataset, Error> {
        let mut builder = Builder::default();
        for (user, item, part) in events {
            builder.push(user, item, 1.0, *part);
        }
        builder.finish("a test".into(), |_, items| Ok(Described::nothing(items.len())))
    }

    fn small() -> Dataset {
        use Part::{Test, Train, Validation};
        built(&[
            ("b", "y", Train),
            ("a", "x", Train),
            ("a", "x", Train),
            ("a", "y", Validation),
            ("b", "z", Validation), // z is not in training: no model can know it
            ("a", "z", Test),
            ("a", "w", Test), // w is first seen in the test part
            ("c", "x", Test), // so is c
        ])
        .unwrap()
    }

    #[test]
    fn rows_follow_the_text_of_ids_before_the_test_part() {
        assert_eq!(small().users.ids(), ["a", "b"]);
        assert_eq!(small().items.ids(), ["x", "y", "z"]);
        assert_eq!(small().train.weights(UserRow::new(0)), [2.0]);
    }

    #[test]
    fn held_out_pairs_that_no_model_could_know_are_counted_and_left_out() {
        let (validation, test) = (small().validation, small().test);
        assert_eq!((validation.truth.len(), validation.pairs, validation.unknown), (1, 2, 1));
        assert_eq!((test.truth.len(), test.pairs, test.unknown), (1, 3, 2));
        assert_eq!(test.users(), 1);
    }

    #[test]
    fn users_without_a_history_stand_behind_the_others_and_are_judged_apart() {
        use Part::{Test, Train, Validation};
        let events = [
            ("m", "x", Train),
            ("m", "y", Validation),
            ("z", "y", Train),
            ("z", "x", Test),
            ("a", "x", Test), // known, without a history
            ("a", "w", Test), // nobody had w before
            ("q", "x", Test), // not known at all
        ];
        let built = |known: &[&str]| {
            let mut builder = Builder::default();
            known.iter().for_each(|id| builder.know(id));
            events.iter().for_each(|(user, item, part)| builder.push(user, item, 1.0, *part));
            builder.finish("a test".into(), |_, items| Ok(Described::nothing(items.len()))).unwrap()
        };
        let (with, without) = (built(&["b", "m", "a", "b"]), built(&[]));
        assert_eq!(with.users.ids(), ["m", "z", "a", "b"]);
        assert_eq!((with.full.rows_in_use(), with.full.n_rows()), (2, 4));
        let pairs = |held: &Csr<UserRow, ItemRow>| held.pairs().map(|p| (p.row.get(), p.col.get())).collect::<Vec<_>>();
        assert_eq!((pairs(&with.test.truth), pairs(&with.test.cold)), (vec![(1, 0)], vec![(2, 0)]));
        assert_eq!((with.test.pairs, with.test.unknown, with.test.users()), (4, 3, 1));
        // Whoever else is known, nothing of the others changes.
        assert_eq!(pairs(&with.full), pairs(&without.full));
        assert_eq!(pairs(&with.test.truth), pairs(&without.test.truth));
        assert_eq!((without.test.unknown, without.test.cold.len()), (3, 0));
    }

    #[test]
    fn an_empty_part_is_an_error_that_names_it() {
        let error = built(&[("a", "x", Part::Train), ("a", "x", Part::Validation)]).unwrap_err();
        assert_eq!(error.to_string(), "the split `a test` leaves no test interactions");
    }

    #[test]
    fn validation_is_drawn_by_seed_and_never_from_the_test_part() {
        let draw = |seed| {
            let mut builder = Builder::default();
            for n in 0..1000 {
                let part = if n % 10 == 0 { Part::Test } else { Part::Train };
                builder.push(&format!("u{}", n % 37), &format!("i{n}"), 1.0, part);
            }
            builder.draw_validation(0.1, seed);
            builder.events.map(|part| part.iter().map(|event| event.item).collect::<Vec<_>>())
        };
        assert!(draw(1) == draw(1) && draw(1) != draw(2));
        let [train, drawn, test] = draw(1).map(|part| part.len());
        assert!((60..120).contains(&drawn), "{drawn} of 900");
        assert_eq!((train + drawn, test), (900, 100));
    }

    #[test]
    fn ids_beyond_the_last_row_do_not_take_the_first_rows_again() {
        assert_eq!((number(0), number(7), number(u32::MAX as usize)), (0, 7, u32::MAX));
        assert_eq!((number(u32::MAX as usize + 1), number(u32::MAX as usize + 8)), (u32::MAX, u32::MAX));
    }
}

//! A data set beside a run that was trained before some of it was there: users and items are found by their ids.

use lookalike_bundle::{ItemInfo, ItemRow, UserRow, Vocab};

use crate::{Csr, Dataset, Error, Features, HeldOut, Pair};

/// How many users and items are not on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Users whom the run does not know; they are cold to it.
    pub new_users: usize,
    /// Items that the run does not know; they are left out, like those first seen in the test part.
    pub new_items: usize,
    /// Users of the run who are not in the data any more; nothing is held out of them.
    pub gone_users: usize,
    /// Items of the run that are not in the data any more.
    pub gone_items: usize,
}

impl Dataset {
    /// What a run is judged by, in the rows of the run: `had` is what it learned from, in rows of `users` and `items`. What
    /// is held out, and who is a friend of whom, is that of this data set. Users whom the run does not know get rows behind
    /// all others. What a model would be trained with is not there.
    pub fn onto(
        &self,
        users: &Vocab<UserRow>,
        items: &Vocab<ItemRow>,
        had: &Csr<UserRow, ItemRow>,
    ) -> Result<(Self, Changed), Error> {
        let new = self.users.ids().iter().filter(|id| users.row(id).is_none());
        let all = Vocab::<UserRow>::new(users.ids().iter().chain(new).cloned().collect())?;
        let changed = Changed {
            new_users: all.len() - users.len(),
            new_items: self.items.ids().iter().filter(|id| items.row(id).is_none()).count(),
            gone_users: users.ids().iter().filter(|id| self.users.row(id).is_none()).count(),
            gone_items: items.ids().iter().filter(|id| self.items.row(id).is_none()).count(),
        };
        let user = |row: UserRow| all.row(self.users.id(row));
        let held = [&self.test.truth, &self.test.cold].into_iter().flat_map(|held| held.pairs()).filter_map(|pair| {
            let (row, col) = (user(pair.row)?, items.row(self.items.id(pair.col))?);
            Some(Pair { row, col, weight: pair.weight })
        });
        let held: Vec<_> = held.collect();
        let friends = self
            .friendships
            .pairs()
            .filter_map(|pair| Some(Pair { row: user(pair.row)?, col: user(pair.col)?, weight: pair.weight }));
        let friends: Vec<_> = friends.collect();
        let (rows, cols) = (all.len(), items.len());
        let full = Csr::collect(rows, cols, || had.pairs());
        let none = || Csr::from_pairs(rows, cols, &[]);
        let nothing = HeldOut { truth: none(), cold: none(), pairs: 0, unknown: 0 };
        let onto = Self {
            item_info: vec![ItemInfo::default(); cols],
            user_features: Features::none(rows),
            item_features: Features::none(cols),
            fields: Default::default(),
            portraits: vec![Features::none(rows); 2],
            friends: vec![Features::none(rows); 2],
            friendships: Csr::from_pairs(rows, rows, &friends),
            ages: vec![Vec::new(); 2],
            earlier: Vec::new(),
            train: none(),
            validation: nothing,
            test: HeldOut::new(Csr::from_pairs(rows, cols, &held), &full, self.test.pairs),
            full,
            users: all,
            items: items.clone(),
            split: self.split.clone(),
            without_item: self.without_item,
        };
        Ok((onto, changed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Builder, Described, Part};

    type Events = Vec<(u32, u32, bool)>;

    fn built(events: &Events) -> Dataset {
        let mut builder = Builder::default();
        // Somebody is always there, so that no part is empty.
        for part in [Part::Train, Part::Validation, Part::Test] {
            builder.push("u0", "i0", 1.0, part);
        }
        for (user, item, test) in events {
            let part = if *test { Part::Test } else { Part::Train };
            builder.push(&format!("u{user}"), &format!("i{item}"), 1.0, part);
        }
        builder.finish("a test".into(), |_, items| Ok(Described::nothing(items.len()))).unwrap()
    }

    fn ids(data: &Dataset, held: &Csr<UserRow, ItemRow>) -> BTreeSet<(String, String)> {
        held.pairs().map(|pair| (data.users.id(pair.row).to_owned(), data.items.id(pair.col).to_owned())).collect()
    }

    proptest! {
        #[test]
        fn held_out_pairs_are_those_that_plain_sets_of_ids_find(
            before in proptest::collection::vec((0..6u32, 0..6u32, any::<bool>()), 0..30),
            after in proptest::collection::vec((0..9u32, 0..9u32, any::<bool>()), 0..30),
        ) {
            let (run, now) = (built(&before), built(&after));
            let (onto, changed) = now.onto(&run.users, &run.items, &run.full).unwrap();
            let held: BTreeSet<_> = ids(&now, &now.test.truth).union(&ids(&now, &now.test.cold)).cloned().collect();
            let known = |pair: &&(String, String)| run.items.row(&pair.1).is_some();
            let (warm, cold): (BTreeSet<_>, BTreeSet<_>) =
                held.iter().filter(known).cloned().partition(|pair| run.users.row(&pair.0).is_some());
            prop_assert_eq!(ids(&onto, &onto.test.truth), warm);
            prop_assert_eq!(ids(&onto, &onto.test.cold), cold);
            prop_assert_eq!(onto.test.unknown, onto.test.pairs - onto.test.truth.len());
            let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
            let apart = |a: &[String], b: &[String]| set(a).difference(&set(b)).count();
            prop_assert_eq!(changed.new_users, apart(now.users.ids(), run.users.ids()));
            prop_assert_eq!(changed.gone_items, apart(run.items.ids(), now.items.ids()));
            prop_assert_eq!(ids(&onto, &onto.full), ids(&run, &run.full));
        }
    }

    #[test]
    fn the_same_data_stays_as_it_is() {
        let data = built(&vec![(1, 2, false), (2, 1, false), (2, 2, true), (1, 1, true)]);
        let (onto, changed) = data.onto(&data.users, &data.items, &data.full).unwrap();
        assert_eq!(changed, Changed::default());
        assert_eq!((&onto.full, &onto.test.truth), (&data.full, &data.test.truth));
        assert_eq!((onto.test.pairs, onto.test.unknown), (data.test.pairs, data.test.unknown));
    }
}

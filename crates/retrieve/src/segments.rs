//! Which segments the users of a bundle are in, by what was declared of them: a further file of it, since the store need not
//! be at hand where a bundle answers.
//!
//! `segments.safetensors`, format version 1: a file of lists (`crates/retrieve/src/lists.rs`) with the tensor `segments`,
//! numbers of segments; what they are called, such as `age=45-54`, is a JSON list under `names` in the file's own metadata.
//! A bundle of a project that declares nothing of users has no such file.

use std::sync::OnceLock;

use lookalike_bundle::{Bundle, History, Meta, Row, UserRow};

use crate::error::RetrieveError;
use crate::lists::Lists;

/// Name of the file in a bundle.
pub const SEGMENTS: &str = "segments.safetensors";
const TENSOR: &str = "segments";
const NAMES: &str = "names";

/// How many users everybody counts for beside those of a segment. Of 3 to 1000, 300 was best for households of the bundled
/// project whose past was hidden, before its validation part.
const EVERYBODY: f32 = 300.0;

/// The segments of every user.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments {
    names: Vec<String>,
    lists: Lists,
}

impl Segments {
    /// Takes the segments of all users one after the other; those of a user begin where `offsets` says and are ascending
    /// numbers of names.
    pub fn new(names: Vec<String>, offsets: Vec<u64>, segments: Vec<u32>) -> Result<Self, RetrieveError> {
        let lists = Lists::new(SEGMENTS, offsets, segments, names.len())?;
        Ok(Self { names, lists })
    }

    /// Those of a bundle, if it has the file.
    pub fn of_bundle(bundle: &Bundle) -> Result<Option<Self>, RetrieveError> {
        let Some((offsets, segments, meta)) = Lists::read(bundle, SEGMENTS, TENSOR)? else { return Ok(None) };
        let names = meta.get(NAMES).and_then(|names| serde_json::from_str(names).ok());
        let names = names.ok_or(RetrieveError::Lists { file: SEGMENTS, problem: "segments have no names" })?;
        Self::new(names, offsets, segments).map(Some)
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RetrieveError> {
        let names = serde_json::to_string(&self.names).unwrap_or_default();
        self.lists.to_bytes(SEGMENTS, TENSOR, Meta::from([(NAMES.to_owned(), names)]))
    }

    /// How many users there are.
    pub fn users(&self) -> usize {
        self.lists.users()
    }

    /// What the segments are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The segments of a user, by their numbers.
    pub fn of(&self, user: UserRow) -> &[u32] {
        self.lists.of(user)
    }
}

/// The items that users had, ascending.
#[derive(Clone, Copy)]
pub enum ItemsHad<'a> {
    /// As a bundle has it.
    History(&'a History),
    /// One after the other; those of a user begin where `offsets` says.
    Rows {
        /// One more than users.
        offsets: &'a [u64],
        /// Rows of items.
        items: &'a [u32],
    },
}

impl<'a> ItemsHad<'a> {
    pub(crate) fn of(self, user: UserRow) -> &'a [u32] {
        match self {
            Self::History(history) => history.items(user),
            Self::Rows { offsets, items } => &items[offsets[user.index()] as usize..offsets[user.index() + 1] as usize],
        }
    }
}

/// What the users of segments had, counted when it is first asked for.
pub(crate) struct Shares<'a> {
    had: ItemsHad<'a>,
    items: usize,
    segments: Segments,
    counted: OnceLock<Vec<Counted>>,
}

/// What the users of one segment had.
#[derive(Default)]
struct Counted {
    /// Users with a history.
    users: f32,
    /// Items, ascending, and how many of these users had each.
    items: Vec<(u32, f32)>,
}

impl<'a> Shares<'a> {
    /// Of so many items that users had.
    pub(crate) fn new(had: ItemsHad<'a>, items: usize, segments: Segments) -> Self {
        Self { had, items, segments, counted: OnceLock::new() }
    }

    /// Whether anybody in a segment of the user had anything.
    pub(crate) fn know(&self, user: UserRow) -> bool {
        !self.segments.of(user).is_empty() && self.of(user).next().is_some()
    }

    /// Scores of all items: over the user's segments the mean of (c + k p) / (n + k), where c of the n users of a segment had
    /// the item, and of all users the share p. `popularity` is how many of all `users` had each item.
    pub(crate) fn score(&self, user: UserRow, popularity: &[f32], users: f32, scores: &mut [f32]) {
        let count = self.of(user).count().max(1) as f32;
        let everybody = self.of(user).map(|segment| EVERYBODY / (segment.users + EVERYBODY)).sum::<f32>();
        let share = everybody / (users.max(1.0) * count);
        scores.iter_mut().zip(popularity).for_each(|(score, users)| *score = users * share);
        for segment in self.of(user) {
            let weight = 1.0 / ((segment.users + EVERYBODY) * count);
            segment.items.iter().for_each(|&(item, users)| scores[item as usize] += users * weight);
        }
    }

    /// The segments of a user in which somebody had something.
    fn of(&self, user: UserRow) -> impl Iterator<Item = &Counted> {
        let counted = self.counted.get_or_init(|| self.count());
        let own = self.segments.of(user).iter().map(|&segment| &counted[segment as usize]);
        own.filter(|segment| segment.users > 0.0)
    }

    fn count(&self) -> Vec<Counted> {
        let mut members = vec![Vec::new(); self.segments.names.len()];
        for user in (0..self.segments.users() as u32).map(UserRow::new) {
            if !self.had.of(user).is_empty() {
                self.segments.of(user).iter().for_each(|&segment| members[segment as usize].push(user));
            }
        }
        let mut counts = vec![0.0f32; self.items];
        let mut count = |members: Vec<UserRow>| {
            let mut touched = Vec::new();
            for &item in members.iter().flat_map(|&user| self.had.of(user)) {
                if counts[item as usize] == 0.0 {
                    touched.push(item);
                }
                counts[item as usize] += 1.0;
            }
            touched.sort_unstable();
            let items = touched.into_iter().map(|item| (item, std::mem::take(&mut counts[item as usize]))).collect();
            Counted { users: members.len() as f32, items }
        };
        members.into_iter().map(&mut count).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{Extra, History, ItemRow, Tensors, encode_tensors};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bundle;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|nth| format!("age={nth}")).collect()
    }

    fn segments(names_of: usize, lists: &[Vec<u32>]) -> Segments {
        let mut offsets = vec![0];
        lists.iter().for_each(|list| offsets.push(offsets.last().unwrap() + list.len() as u64));
        Segments::new(names(names_of), offsets, lists.concat()).unwrap()
    }

    #[test]
    fn they_come_back_from_a_bundle_as_they_went_in() {
        let mut bundle = bundle(3, 9);
        assert_eq!(Segments::of_bundle(&bundle).unwrap(), None);
        let written = segments(3, &[vec![0, 2], vec![], vec![1]]);
        let bytes = written.to_bytes().unwrap();
        bundle.extra.insert(SEGMENTS.to_owned(), Extra::Bytes(bytes.clone()));
        assert_eq!(Segments::of_bundle(&bundle).unwrap(), Some(written));
        for place in [8, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            bundle.extra.insert(SEGMENTS.to_owned(), Extra::Bytes(damaged));
            assert!(Segments::of_bundle(&bundle).is_err(), "{place}");
        }
        assert!(Segments::new(names(1), vec![0, 1], vec![1]).unwrap_err().to_string().contains(SEGMENTS));
        assert!(Segments::new(names(2), vec![0, 2], vec![1, 0]).unwrap_err().hint().is_some());
    }

    #[test]
    fn a_file_of_this_version_is_still_read() {
        let mut bundle = bundle(3, 9);
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/segments-1.safetensors");
        bundle.extra.insert(SEGMENTS.to_owned(), Extra::File(fixture.into()));
        let expected = segments(3, &[vec![0, 2], vec![], vec![1]]);
        assert_eq!(Segments::of_bundle(&bundle).unwrap(), Some(expected.clone()));
        // And written to the byte.
        assert_eq!(expected.to_bytes().unwrap(), std::fs::read(fixture).unwrap());
        let meta = Meta::from([("format".to_owned(), "2".to_owned())]);
        let newer = encode_tensors(&Tensors::new(), &meta, SEGMENTS.as_ref()).unwrap();
        bundle.extra.insert(SEGMENTS.to_owned(), Extra::Bytes(newer));
        assert!(Segments::of_bundle(&bundle).unwrap_err().to_string().contains("format version 2"));
    }

    proptest! {
        #[test]
        fn scores_are_what_plain_loops_find(
            lists in proptest::collection::vec(proptest::collection::btree_set(0u32..4, 0..4), 6),
            had in proptest::collection::btree_set((0u32..6, 0u32..8), 1..30),
        ) {
            let lists: Vec<Vec<u32>> = lists.into_iter().map(|list| list.into_iter().collect()).collect();
            let mut bundle = bundle(6, 8);
            let entries = had.iter().map(|&(user, item)| (UserRow::new(user), ItemRow::new(item), 1.0));
            bundle.history = History::new(6, 8, entries).unwrap();
            let shares = Shares::new(ItemsHad::History(&bundle.history), 8, segments(4, &lists));
            let users = |of: &dyn Fn(usize) -> bool| -> Vec<u32> {
                (0..6u32).filter(|&user| of(user as usize) && had.iter().any(|pair| pair.0 == user)).collect()
            };
            let count = |users: &[u32], item: u32| users.iter().filter(|&&user| had.contains(&(user, item))).count() as f64;
            let all = users(&|_| true);
            let popularity: Vec<f32> = (0..8).map(|item| count(&all, item) as f32).collect();
            for (user, own) in lists.iter().enumerate() {
                let members: Vec<Vec<u32>> =
                    own.iter().map(|s| users(&|user| lists[user].contains(s))).filter(|m| !m.is_empty()).collect();
                prop_assert_eq!(shares.know(UserRow::new(user as u32)), !members.is_empty());
                if members.is_empty() {
                    continue;
                }
                let mut scores = vec![7.0; 8];
                shares.score(UserRow::new(user as u32), &popularity, all.len() as f32, &mut scores);
                for item in 0..8 {
                    let share = |m: &Vec<u32>| {
                        (count(m, item) + 300.0 * count(&all, item) / all.len() as f64) / (m.len() as f64 + 300.0)
                    };
                    let slow = members.iter().map(share).sum::<f64>() / members.len() as f64;
                    prop_assert!((f64::from(scores[item as usize]) - slow).abs() < 1e-6);
                }
            }
        }
    }
}

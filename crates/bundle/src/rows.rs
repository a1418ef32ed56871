//! Row numbers as types, and the one place where external ids become rows.

use std::collections::HashMap;
use std::marker::PhantomData;

/// A row of one particular table. Implemented by [`UserRow`] and [`ItemRow`] alone, so that a user's
/// row cannot index items.
pub trait Row: Copy + Eq + Ord + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static {
    /// What a row stands for, as written in messages: `user` or `item`.
    const NOUN: &'static str;
    /// The row with this number.
    fn new(row: u32) -> Self;
    /// The row number.
    fn get(self) -> u32;
    /// The row number as an index.
    fn index(self) -> usize {
        self.get() as usize
    }
}

macro_rules! row {
    ($name:ident, $noun:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);
        impl Row for $name {
            const NOUN: &'static str = $noun;
            fn new(row: u32) -> Self {
                Self(row)
            }
            fn get(self) -> u32 {
                self.0
            }
        }
    };
}
row!(UserRow, "user", "A row of the user table.");
row!(ItemRow, "item", "A row of the item table.");

/// External ids in row order: row 0 is the first id. No id appears twice.
#[derive(Clone, Debug)]
pub struct Vocab<R: Row> {
    ids: Vec<String>,
    rows: HashMap<String, u32>,
    row: PhantomData<R>,
}

impl<R: Row> Vocab<R> {
    /// Takes ids in row order. Fails with the first id that appears twice, or if there are more than `u32` can count.
    pub fn new(ids: Vec<String>) -> Result<Self, VocabError> {
        Self::countable(ids.len())?;
        let mut rows = HashMap::with_capacity(ids.len());
        for (row, id) in (0u32..).zip(&ids) {
            if rows.insert(id.clone(), row).is_some() {
                return Err(VocabError::Twice { noun: R::NOUN, id: id.clone() });
            }
        }
        Ok(Self { ids, rows, row: PhantomData })
    }

    /// Fails if 32-bit row numbers cannot tell so many rows apart. The two highest numbers are no rows: they are free as
    /// marks of what has none.
    pub fn countable(count: usize) -> Result<(), VocabError> {
        match count > u32::MAX as usize - 1 {
            true => Err(VocabError::TooMany { noun: R::NOUN, count }),
            false => Ok(()),
        }
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no id at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The row of an id, if it is known.
    pub fn row(&self, id: &str) -> Option<R> {
        self.rows.get(id).map(|&row| R::new(row))
    }

    /// The id of a row. The row must come from this vocabulary.
    pub fn id(&self, row: R) -> &str {
        &self.ids[row.index()]
    }

    /// All ids in row order.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }
}

/// Why ids do not make a vocabulary.
#[derive(Debug, thiserror::Error)]
pub enum VocabError {
    /// An id appears twice.
    #[error("{noun} id `{id}` appears twice")]
    Twice {
        /// `user` or `item`.
        noun: &'static str,
        /// The id in question.
        id: String,
    },
    /// More ids than a 32-bit row number can count.
    #[error("{count} {noun} ids are more than a 32-bit row number can count")]
    TooMany {
        /// `user` or `item`.
        noun: &'static str,
        /// How many ids there were.
        count: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_as_32_bits_count_but_for_two_marks() {
        assert!(Vocab::<UserRow>::countable(u32::MAX as usize - 1).is_ok());
        for count in [u32::MAX as usize, u32::MAX as usize + 1, usize::MAX] {
            let error = Vocab::<UserRow>::countable(count).map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("{count} user ids are more than a 32-bit row number can count")));
        }
    }
}

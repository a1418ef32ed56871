//! Who is a friend of whom among the users of a bundle: a further file of it, since the store need not be at hand where a
//! bundle answers.
//!
//! `friends.safetensors`, format version 1: a file of lists (`crates/retrieve/src/lists.rs`) with the tensor `friends`, rows of
//! users. A friend has the user for a friend too. A bundle of a project without edges
//! between users has no such file.

use lookalike_bundle::{Bundle, Meta, UserRow};

use crate::error::RetrieveError;
use crate::lists::Lists;

/// Name of the file in a bundle.
pub const FRIENDS: &str = "friends.safetensors";
const TENSOR: &str = "friends";

/// The friends of every user.
#[derive(Clone, Debug, PartialEq)]
pub struct Friends(Lists);

impl Friends {
    /// Takes the friends of all users one after the other; those of a user begin where `offsets` says and are ascending.
    pub fn new(offsets: Vec<u64>, rows: Vec<u32>) -> Result<Self, RetrieveError> {
        let users = offsets.len().saturating_sub(1);
        Lists::new(FRIENDS, offsets, rows, users).map(Self)
    }

    /// Those of a bundle, if it has the file.
    pub fn of_bundle(bundle: &Bundle) -> Result<Option<Self>, RetrieveError> {
        let Some((offsets, rows, _)) = Lists::read(bundle, FRIENDS, TENSOR)? else { return Ok(None) };
        Self::new(offsets, rows).map(Some)
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RetrieveError> {
        self.0.to_bytes(FRIENDS, TENSOR, Meta::new())
    }

    /// The friends of a user, as row numbers.
    pub fn of(&self, user: UserRow) -> &[u32] {
        self.0.of(user)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{Extra, Row};

    use super::*;
    use crate::testing::bundle;

    #[test]
    fn they_come_back_from_a_bundle_as_they_went_in() {
        let mut bundle = bundle(3, 9);
        assert_eq!(Friends::of_bundle(&bundle).unwrap(), None);
        let friends = Friends::new(vec![0, 2, 3, 4], vec![1, 2, 0, 0]).unwrap();
        let bytes = friends.to_bytes().unwrap();
        bundle.extra.insert(FRIENDS.to_owned(), Extra::Bytes(bytes.clone()));
        assert_eq!(Friends::of_bundle(&bundle).unwrap(), Some(friends.clone()));
        assert_eq!((friends.of(UserRow::new(0)), friends.of(UserRow::new(2))), (&[1, 2][..], &[0][..]));
        for place in [8, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            bundle.extra.insert(FRIENDS.to_owned(), Extra::Bytes(damaged));
            assert!(Friends::of_bundle(&bundle).is_err(), "{place}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (offsets, rows) in [
            (vec![], vec![]),
            (vec![1, 1], vec![0]),
            (vec![0, 2], vec![0]),
            (vec![0, 2, 1, 3], vec![1, 2, 0]),
            (vec![0, 2, 2], vec![1, 0]),
            (vec![0, 1, 1], vec![2]),
        ] {
            let error = Friends::new(offsets, rows).unwrap_err();
            assert!(error.to_string().contains(FRIENDS) && error.hint().is_some());
        }
        let mut other = bundle(4, 9);
        let bytes = Friends::new(vec![0, 0], vec![]).unwrap().to_bytes().unwrap();
        other.extra.insert(FRIENDS.to_owned(), Extra::Bytes(bytes));
        assert!(Friends::of_bundle(&other).unwrap_err().to_string().contains("not those of the bundle"));
    }
}

//! Who is a friend of whom among the users of a bundle: a further file of it, since the store need not be at hand where a
//! bundle answers.
//!
//! `friends.safetensors`, format version 1: `offsets` (u64, one more than users) says where the friends of each user begin in
//! `friends` (u32), rows of users, ascending. A friend has the user for a friend too. A bundle of a project without edges
//! between users has no such file.

use std::path::Path;

use lookalike_bundle::{Bundle, Data, Extra, Meta, Row, Tensor, Tensors, UserRow, decode_tensors, encode_tensors};

use crate::error::RetrieveError;

/// Name of the file in a bundle.
pub const FRIENDS: &str = "friends.safetensors";
const FORMAT: u32 = 1;

/// The friends of every user.
#[derive(Clone, Debug, PartialEq)]
pub struct Friends {
    offsets: Vec<u64>,
    rows: Vec<u32>,
}

impl Friends {
    /// Takes the friends of all users one after the other; those of a user begin where `offsets` says and are ascending.
    pub fn new(offsets: Vec<u64>, rows: Vec<u32>) -> Result<Self, RetrieveError> {
        let users = offsets.len().saturating_sub(1);
        let whole = offsets.first() == Some(&0) && offsets.last() == Some(&(rows.len() as u64));
        if !whole || !offsets.is_sorted() {
            return Err(RetrieveError::Friends { problem: "offsets do not fit its rows" });
        }
        let lists = offsets.windows(2).map(|ends| &rows[ends[0] as usize..ends[1] as usize]);
        if !lists
            .into_iter()
            .all(|list| list.is_sorted_by(|a, b| a < b) && list.iter().all(|&row| (row as usize) < users))
        {
            return Err(RetrieveError::Friends { problem: "rows are out of order or no users" });
        }
        Ok(Self { offsets, rows })
    }

    /// Those of a bundle, if it has the file.
    pub fn of_bundle(bundle: &Bundle) -> Result<Option<Self>, RetrieveError> {
        let read;
        let (bytes, path) = match bundle.extra.get(FRIENDS) {
            None => return Ok(None),
            Some(Extra::Bytes(bytes)) => (bytes, Path::new(FRIENDS)),
            Some(Extra::File(path)) => {
                let failed = |source| RetrieveError::Io { verb: "read", path: path.clone(), source };
                read = std::fs::read(path).map_err(failed)?;
                (&read, path.as_path())
            }
        };
        let (mut tensors, meta) = decode_tensors(bytes, path)?;
        match meta.get("format").and_then(|format| format.parse::<u32>().ok()) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => return Err(RetrieveError::NewerFriends { found, known: FORMAT }),
            _ => return Err(RetrieveError::Friends { problem: "format is not stated" }),
        }
        let mut take = |name: &str| tensors.remove(name).map(|tensor| tensor.data);
        let (Some(Data::U64(offsets)), Some(Data::U32(rows))) = (take("offsets"), take("friends")) else {
            return Err(RetrieveError::Friends { problem: "tensors are others" });
        };
        if offsets.len() != bundle.users.len() + 1 {
            return Err(RetrieveError::Friends { problem: "users are not those of the bundle" });
        }
        Self::new(offsets, rows).map(Some)
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RetrieveError> {
        let tensors = Tensors::from([
            ("offsets".to_owned(), Tensor::u64s(self.offsets.clone())),
            ("friends".to_owned(), Tensor::u32s(self.rows.clone())),
        ]);
        let meta = Meta::from([("format".to_owned(), FORMAT.to_string())]);
        Ok(encode_tensors(&tensors, &meta, Path::new(FRIENDS))?)
    }

    /// The friends of a user, as row numbers.
    pub fn of(&self, user: UserRow) -> &[u32] {
        &self.rows[self.offsets[user.index()] as usize..self.offsets[user.index() + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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

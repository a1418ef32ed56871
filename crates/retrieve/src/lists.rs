//! A list of numbers for every user of a bundle, as a further file of it: friends, and segments.
//!
//! Format version 1 of such a file: `offsets` (u64, one more than users) says where the list of each user begins in a tensor
//! (u32) that has them one after the other, each ascending.

use std::path::Path;

use lookalike_bundle::{Bundle, Data, Extra, Meta, Row, Tensor, Tensors, UserRow, decode_tensors, encode_tensors};

use crate::error::RetrieveError;

const FORMAT: u32 = 1;

/// Offsets and numbers of a file, and what else it says.
type Read = (Vec<u64>, Vec<u32>, Meta);

/// The lists of all users.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lists {
    offsets: Vec<u64>,
    numbers: Vec<u32>,
}

impl Lists {
    /// Takes the lists one after the other; that of a user begins where `offsets` says, ascends, and keeps below a number.
    /// `file` is named where they do not.
    pub(crate) fn new(
        file: &'static str,
        offsets: Vec<u64>,
        numbers: Vec<u32>,
        below: usize,
    ) -> Result<Self, RetrieveError> {
        let whole = offsets.first() == Some(&0) && offsets.last() == Some(&(numbers.len() as u64));
        if !whole || !offsets.is_sorted() {
            return Err(RetrieveError::Lists { file, problem: "offsets do not fit its rows" });
        }
        let mut lists = offsets.windows(2).map(|ends| &numbers[ends[0] as usize..ends[1] as usize]);
        match lists.all(|list| list.is_sorted_by(|a, b| a < b) && list.iter().all(|&row| (row as usize) < below)) {
            true => Ok(Self { offsets, numbers }),
            false => Err(RetrieveError::Lists { file, problem: "rows are out of order or not there" }),
        }
    }

    /// Offsets and numbers of a bundle's file, and what else it says, if the bundle has the file. `tensor` is the name of the
    /// numbers.
    pub(crate) fn read(bundle: &Bundle, file: &'static str, tensor: &str) -> Result<Option<Read>, RetrieveError> {
        let read;
        let (bytes, path) = match bundle.extra.get(file) {
            None => return Ok(None),
            Some(Extra::Bytes(bytes)) => (bytes, Path::new(file)),
            Some(Extra::File(path)) => {
                let failed = |source| RetrieveError::Io { verb: "read", path: path.clone(), source };
                read = std::fs::read(path).map_err(failed)?;
                (&read, path.as_path())
            }
        };
        let (mut tensors, meta) = decode_tensors(bytes, path)?;
        let wrong = |problem| RetrieveError::Lists { file, problem };
        match meta.get("format").and_then(|format| format.parse::<u32>().ok()) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => return Err(RetrieveError::NewerLists { file, found, known: FORMAT }),
            _ => return Err(wrong("format is not stated")),
        }
        let mut take = |name: &str| tensors.remove(name).map(|tensor| tensor.data);
        let (Some(Data::U64(offsets)), Some(Data::U32(numbers))) = (take("offsets"), take(tensor)) else {
            return Err(wrong("tensors are others"));
        };
        match offsets.len() == bundle.users.len() + 1 {
            true => Ok(Some((offsets, numbers, meta))),
            false => Err(wrong("users are not those of the bundle")),
        }
    }

    /// The bytes of the file, with what else it says.
    pub(crate) fn to_bytes(&self, file: &str, tensor: &str, mut meta: Meta) -> Result<Vec<u8>, RetrieveError> {
        let tensors = Tensors::from([
            ("offsets".to_owned(), Tensor::u64s(self.offsets.clone())),
            (tensor.to_owned(), Tensor::u32s(self.numbers.clone())),
        ]);
        meta.insert("format".to_owned(), FORMAT.to_string());
        Ok(encode_tensors(&tensors, &meta, Path::new(file))?)
    }

    /// The list of a user.
    pub(crate) fn of(&self, user: UserRow) -> &[u32] {
        &self.numbers[self.offsets[user.index()] as usize..self.offsets[user.index() + 1] as usize]
    }

    /// How many users there are.
    pub(crate) fn users(&self) -> usize {
        self.offsets.len() - 1
    }
}

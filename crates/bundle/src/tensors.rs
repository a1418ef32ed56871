//! Named tensors and the file they live in: safetensors, sealed.
//!
//! The file is plain [safetensors](https://github.com/huggingface/safetensors); its metadata has one key, `lookalike`,
//! whose text is the seal (`blake3=` and 64 digits), a space and a JSON object of texts. Equal content gives equal bytes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};

use crate::disk;
use crate::error::BundleError;
use crate::matrix::Matrix;
use crate::seal;

const KEY: &str = "lookalike";

/// Numbers of one of the types that are kept on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 32-bit counts, such as row numbers.
    U32(Vec<u32>),
    /// 64-bit counts, such as the state of a random generator.
    U64(Vec<u64>),
}

/// Numbers in row-major order and their shape, whose product is how many there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extent of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The numbers.
    pub data: Data,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;
/// Texts by name that travel with tensors.
pub type Meta = BTreeMap<String, String>;

impl Tensor {
    /// A list of floats, of shape `[len]`.
    pub fn f32s(data: Vec<f32>) -> Self {
        Self { shape: vec![data.len()], data: Data::F32(data) }
    }

    /// A list of 32-bit counts, of shape `[len]`.
    pub fn u32s(data: Vec<u32>) -> Self {
        Self { shape: vec![data.len()], data: Data::U32(data) }
    }

    /// A list of 64-bit counts, of shape `[len]`.
    pub fn u64s(data: Vec<u64>) -> Self {
        Self { shape: vec![data.len()], data: Data::U64(data) }
    }

    /// The tensor as a matrix, if it holds floats in two dimensions.
    pub fn into_matrix(self) -> Option<Matrix> {
        match (&self.shape[..], self.data) {
            (&[rows, cols], Data::F32(data)) => Matrix::from_vec(rows, cols, data),
            _ => None,
        }
    }

    /// Where the first number stands that is not finite, if there is one.
    pub fn not_finite(&self) -> Option<usize> {
        match &self.data {
            Data::F32(data) => data.iter().position(|number| !number.is_finite()),
            Data::U32(_) | Data::U64(_) => None,
        }
    }
}

impl From<Matrix> for Tensor {
    fn from(matrix: Matrix) -> Self {
        Self { shape: vec![matrix.rows(), matrix.cols()], data: Data::F32(matrix.into_vec()) }
    }
}

/// What a file of tensors needs of one: borrowed, so that large tables are not copied twice.
pub(crate) struct Lent<'a> {
    shape: Vec<usize>,
    numbers: Numbers<'a>,
}

enum Numbers<'a> {
    F32(&'a [f32]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

impl<'a> Lent<'a> {
    pub(crate) fn floats(shape: Vec<usize>, data: &'a [f32]) -> Self {
        Self { shape, numbers: Numbers::F32(data) }
    }

    pub(crate) fn u32s(data: &'a [u32]) -> Self {
        Self { shape: vec![data.len()], numbers: Numbers::U32(data) }
    }

    pub(crate) fn u64s(data: &'a [u64]) -> Self {
        Self { shape: vec![data.len()], numbers: Numbers::U64(data) }
    }
}

impl<'a> From<&'a Tensor> for Lent<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        let numbers = match &tensor.data {
            Data::F32(data) => Numbers::F32(data),
            Data::U32(data) => Numbers::U32(data),
            Data::U64(data) => Numbers::U64(data),
        };
        Self { shape: tensor.shape.clone(), numbers }
    }
}

impl View for Lent<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::F32(_) => Dtype::F32,
            Numbers::U32(_) => Dtype::U32,
            Numbers::U64(_) => Dtype::U64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        match self.numbers {
            Numbers::F32(data) => data.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes())),
            Numbers::U32(data) => data.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes())),
            Numbers::U64(data) => data.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes())),
        }
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        match self.numbers {
            Numbers::F32(data) => data.len() * 4,
            Numbers::U32(data) => data.len() * 4,
            Numbers::U64(data) => data.len() * 8,
        }
    }
}

/// The bytes of a tensor file; `path` is what errors name. Each tensor's shape must hold as many numbers as it has.
pub fn encode_tensors(tensors: &Tensors, meta: &Meta, path: &Path) -> Result<Vec<u8>, BundleError> {
    encode(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.into())), meta, path)
}

pub(crate) fn encode<'a>(
    tensors: impl Iterator<Item = (&'a str, Lent<'a>)>,
    meta: &Meta,
    path: &Path,
) -> Result<Vec<u8>, BundleError> {
    let invalid = |source| BundleError::Tensors { path: path.to_owned(), source };
    let json = |source| BundleError::Json { path: path.to_owned(), source };
    // One metadata key only: the order of several would follow the hash map and change from run to run.
    let text = format!("{} {}", seal::BLANK, serde_json::to_string(meta).map_err(json)?);
    let mut bytes = safetensors::serialize(tensors, Some(HashMap::from([(KEY.to_owned(), text)]))).map_err(invalid)?;
    seal::seal(&mut bytes);
    Ok(bytes)
}

/// Tensors and texts from the bytes of a tensor file; `path` is what errors name.
pub fn decode_tensors(bytes: &[u8], path: &Path) -> Result<(Tensors, Meta), BundleError> {
    let invalid = |source| BundleError::Tensors { path: path.to_owned(), source };
    let damaged = || BundleError::Damaged { path: path.to_owned() };
    if !seal::holds(bytes) {
        return Err(damaged());
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
    let text = header.metadata().as_ref().and_then(|texts| texts.get(KEY)).ok_or_else(damaged)?;
    let meta = text.get(seal::BLANK.len()..).ok_or_else(damaged)?;
    let meta = serde_json::from_str(meta).map_err(|source| BundleError::Json { path: path.to_owned(), source })?;
    let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
    let mut tensors = Tensors::new();
    for (name, view) in file.iter() {
        let data = numbers(&view).ok_or_else(|| BundleError::Missing {
            path: path.to_owned(),
            name: name.to_owned(),
            kind: "f32, u32 or u64",
        })?;
        tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), data });
    }
    Ok((tensors, meta))
}

fn numbers(view: &TensorView<'_>) -> Option<Data> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => Data::F32(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()),
        Dtype::U32 => Data::U32(bytes.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()),
        Dtype::U64 => Data::U64(bytes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect()),
        _ => return None,
    })
}

/// Writes a tensor file so that at every moment either the old or the new one is there, whole.
pub fn write_tensors(path: &Path, tensors: &Tensors, meta: &Meta) -> Result<(), BundleError> {
    disk::replace_file(path, &encode_tensors(tensors, meta, path)?)
}

/// Reads a tensor file and checks all of it: a torn or flipped file is an error.
pub fn read_tensors(path: &Path) -> Result<(Tensors, Meta), BundleError> {
    let bytes = std::fs::read(path).map_err(BundleError::io("read", path))?;
    decode_tensors(&bytes, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> (Tensors, Meta) {
        let tensors = [
            ("a", Tensor { shape: vec![2, 2], data: Data::F32(vec![1.0, -0.0, f32::MIN_POSITIVE, 3e9]) }),
            ("b", Tensor::u64s(vec![u64::MAX, 0])),
            ("c", Tensor::u32s(Vec::new())),
        ];
        let meta = [("epoch", "3"), ("quote", "\"blake3=\"")];
        (
            tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into(),
            meta.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        )
    }

    #[test]
    fn what_is_written_is_read_and_twice_the_same_bytes() {
        let (folder, (tensors, meta)) = (tempfile::tempdir().unwrap(), sample());
        let path = folder.path().join("checkpoint.safetensors");
        write_tensors(&path, &tensors, &meta).unwrap();
        let first = std::fs::read(&path).unwrap();
        write_tensors(&path, &tensors, &meta).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), (tensors, meta));
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn every_flipped_bit_and_every_shorter_file_is_an_error() {
        let (tensors, meta) = sample();
        let bytes = encode_tensors(&tensors, &meta, Path::new("x")).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(decode_tensors(&flipped, Path::new("x")).is_err(), "byte {at}");
            assert!(decode_tensors(&bytes[..at], Path::new("x")).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_file_of_others_is_an_error_that_names_it() {
        let bytes = safetensors::serialize([("a", Lent::from(&Tensor::u32s(vec![1])))], None).unwrap();
        let error = decode_tensors(&bytes, Path::new("other.safetensors")).unwrap_err();
        assert!(error.to_string().contains("`other.safetensors`"));
    }

    #[test]
    fn a_shape_that_does_not_fit_is_not_written() {
        let tensors = Tensors::from([("a".to_owned(), Tensor { shape: vec![3], data: Data::U32(vec![1]) })]);
        assert!(encode_tensors(&tensors, &Meta::new(), Path::new("x")).is_err());
    }
}

//! Tables of vectors from files that other tools write: `.fvecs`, `.npy`, `.safetensors` and Parquet; and lists of
//! neighbours, `.ivecs` and `.npy`.

use std::path::Path;

use arrow::array::{Array, AsArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use lookalike_bundle::Matrix;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use safetensors::{Dtype, SafeTensors};

use crate::failure::{Failure, io};

/// Reads a table of vectors, one per row. Every number must be finite.
pub fn vectors(path: &Path) -> Result<Matrix, Failure> {
    let file = File { path };
    let table = match file.ending() {
        "fvecs" => file.records(f32::from_le_bytes).and_then(|rows| file.matrix(rows)),
        "npy" => file.npy_floats(),
        "safetensors" => file.safetensors(),
        "parquet" => file.parquet(),
        _ => Err(Failure::wrong_use(format!("vectors in `{}`: its name does not tell what it is", path.display()))
            .with_hint("the name must end in .fvecs, .npy, .safetensors or .parquet")),
    }?;
    match table.data().iter().position(|number| !number.is_finite()) {
        Some(at) => Err(file.bad(format!("row {} holds a number that is not finite", at / table.cols()))),
        None if table.rows() == 0 || table.cols() == 0 => Err(file.bad("it holds no vectors")),
        None => Ok(table),
    }
}

/// Reads lists of row numbers, one per query.
pub fn neighbours(path: &Path) -> Result<Vec<Vec<u32>>, Failure> {
    let file = File { path };
    match file.ending() {
        "ivecs" => file.records(u32::from_le_bytes),
        "npy" => file.npy_rows(),
        _ => Err(Failure::wrong_use(format!("neighbours in `{}`: its name does not tell what it is", path.display()))
            .with_hint("the name must end in .ivecs or .npy")),
    }
}

/// A type of numbers in numpy's notation, its bytes, and how one is read.
type NpyKind<T> = (&'static str, usize, fn(&[u8]) -> T);

struct File<'a> {
    path: &'a Path,
}

/// The head of a file of numpy's: type, shape, and where the numbers begin.
struct Npy {
    kind: String,
    shape: [usize; 2],
    start: usize,
}

impl File<'_> {
    fn ending(&self) -> &str {
        self.path.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
    }

    fn bad(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(format!("`{}` cannot be used: {why}", self.path.display()))
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        std::fs::read(self.path).map_err(io("read", self.path))
    }

    fn matrix(&self, rows: Vec<Vec<f32>>) -> Result<Matrix, Failure> {
        let cols = rows.first().map_or(0, Vec::len);
        if let Some(at) = rows.iter().position(|row| row.len() != cols) {
            return Err(self.bad(format!("row {at} has {} numbers and the first has {cols}", rows[at].len())));
        }
        let count = rows.len();
        Matrix::from_vec(count, cols, rows.concat()).ok_or_else(|| self.bad("its rows make no table"))
    }

    /// Records of a 32-bit length and so many 32-bit numbers (the TEXMEX format, Jégou et al. 2011).
    fn records<T>(&self, number: impl Fn([u8; 4]) -> T) -> Result<Vec<Vec<T>>, Failure> {
        let bytes = self.bytes()?;
        let (words, rest) = bytes.as_chunks::<4>();
        let (mut words, mut rows) = (words, Vec::new());
        while let Some((length, after)) = words.split_first() {
            let length = u32::from_le_bytes(*length) as usize;
            let row = after.get(..length).filter(|_| rest.is_empty() && length <= i32::MAX as usize);
            let row = row.ok_or_else(|| {
                self.bad(format!("row {} says it has {length} numbers, and the file ends before", rows.len()))
            })?;
            rows.push(row.iter().map(|word| number(*word)).collect());
            words = &after[length..];
        }
        Ok(rows)
    }

    /// Numpy's own format: a magic, a version, the length of the header, a header in Python's notation.
    fn npy(&self, bytes: &[u8]) -> Result<Npy, Failure> {
        let bad = || self.bad("it is no whole .npy file");
        let wide = match bytes.get(..8) {
            Some([0x93, b'N', b'U', b'M', b'P', b'Y', version, _]) => *version > 1,
            _ => return Err(bad()),
        };
        let (length, start) = match wide {
            false => (bytes.get(8..10).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]]))), 10),
            true => (
                bytes.get(8..12).and_then(|four| four.try_into().ok()).map(|four| u32::from_le_bytes(four) as usize),
                12,
            ),
        };
        let length = length.ok_or_else(bad)?;
        let header =
            bytes.get(start..start + length).and_then(|header| std::str::from_utf8(header).ok()).ok_or_else(bad)?;
        let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, after)| after.trim_start());
        let kind = value("descr").and_then(|text| text.split('\'').nth(1)).ok_or_else(bad)?.to_owned();
        if value("fortran_order").is_none_or(|text| !text.starts_with("False")) {
            return Err(self.bad("it is stored column after column; save `numpy.ascontiguousarray` of it"));
        }
        let shape = value("shape")
            .and_then(|text| text.strip_prefix('('))
            .and_then(|text| text.split_once(')'))
            .ok_or_else(bad)?
            .0;
        let shape: Vec<usize> = shape.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        match shape[..] {
            [rows, cols] => Ok(Npy { kind, shape: [rows, cols], start: start + length }),
            _ => Err(self.bad(format!("its shape has {} dimensions, and a table has two", shape.len()))),
        }
    }

    /// The numbers of an .npy file, which must be as many as it says.
    fn npy_numbers<T>(&self, kinds: &[NpyKind<T>]) -> Result<(Vec<T>, [usize; 2]), Failure> {
        let bytes = self.bytes()?;
        let Npy { kind, shape, start } = self.npy(&bytes)?;
        let known = || kinds.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
        let Some(&(_, size, read)) = kinds.iter().find(|(name, ..)| *name == kind) else {
            return Err(self.bad(format!("its numbers are of type `{kind}`, and {} can be read", known())));
        };
        let body = &bytes[start..];
        let count = shape[0].checked_mul(shape[1]).and_then(|count| count.checked_mul(size));
        match count == Some(body.len()) {
            true => Ok((body.chunks_exact(size).map(read).collect(), shape)),
            false => Err(self.bad(format!(
                "{} x {} numbers are announced, and {} bytes are there",
                shape[0],
                shape[1],
                body.len()
            ))),
        }
    }

    fn npy_floats(&self) -> Result<Matrix, Failure> {
        let (numbers, [rows, cols]) = self.npy_numbers(&[
            ("<f4", 4, |bytes| bytes.try_into().map_or(f32::NAN, f32::from_le_bytes)),
            ("<f8", 8, |bytes| bytes.try_into().map_or(f32::NAN, |bytes| f64::from_le_bytes(bytes) as f32)),
        ])?;
        Matrix::from_vec(rows, cols, numbers).ok_or_else(|| self.bad("its rows make no table"))
    }

    fn npy_rows(&self) -> Result<Vec<Vec<u32>>, Failure> {
        let (numbers, [_, cols]) = self.npy_numbers(&[
            ("<i4", 4, |bytes| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes)),
            ("<u4", 4, |bytes| bytes.try_into().map_or(u32::MAX, u32::from_le_bytes)),
            ("<i8", 8, |bytes| {
                bytes.try_into().map_or(u32::MAX, |bytes| u32::try_from(i64::from_le_bytes(bytes)).unwrap_or(u32::MAX))
            }),
        ])?;
        Ok(numbers.chunks(cols.max(1)).map(<[u32]>::to_vec).collect())
    }

    /// The only table of floats in the file.
    fn safetensors(&self) -> Result<Matrix, Failure> {
        let bytes = self.bytes()?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| self.bad(error))?;
        let tables: Vec<_> =
            file.iter().filter(|(_, view)| view.dtype() == Dtype::F32 && view.shape().len() == 2).collect();
        let [(_, view)] = &tables[..] else {
            let names = tables.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let failure = self.bad(format!("it has {} tables of 32-bit floats, and one is needed", tables.len()));
            return Err(if names.is_empty() { failure } else { failure.with_hint(format!("they are {names}")) });
        };
        let numbers = view.data().as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        Matrix::from_vec(view.shape()[0], view.shape()[1], numbers).ok_or_else(|| self.bad("its rows make no table"))
    }

    /// The first column that holds lists of numbers.
    fn parquet(&self) -> Result<Matrix, Failure> {
        let file = std::fs::File::open(self.path).map_err(io("read", self.path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| self.bad(error))?;
        let list = |kind: &DataType| match kind {
            DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                field.data_type().is_numeric()
            }
            _ => false,
        };
        let Some(column) = reader.schema().fields().iter().position(|field| list(field.data_type())) else {
            return Err(self.bad("none of its columns holds lists of numbers"));
        };
        let mut rows = Vec::new();
        for batch in reader.build().map_err(|error| self.bad(error))? {
            let batch = batch.map_err(|error| self.bad(error))?;
            let column = batch.column(column);
            for row in 0..column.len() {
                let value = match column.data_type() {
                    _ if column.is_null(row) => None,
                    DataType::LargeList(_) => Some(element::<i64>(column.as_list(), row)),
                    DataType::List(_) => Some(element::<i32>(column.as_list(), row)),
                    _ => column.as_any().downcast_ref::<FixedSizeListArray>().map(|lists| lists.value(row)),
                };
                let floats = value.map(|value| cast(&value, &DataType::Float32)).transpose();
                let floats = floats.map_err(|error| self.bad(error))?.filter(|floats| floats.null_count() == 0);
                let floats = floats.ok_or_else(|| self.bad(format!("row {} has a gap", rows.len())))?;
                rows.push(floats.as_primitive::<Float32Type>().values().to_vec());
            }
        }
        self.matrix(rows)
    }
}

fn element<O: OffsetSizeTrait>(lists: &GenericListArray<O>, row: usize) -> arrow::array::ArrayRef {
    lists.value(row)
}

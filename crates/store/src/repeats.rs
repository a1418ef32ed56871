//! Finding lines that repeat a key, in memory that does not depend on how many there are.
//!
//! Keys are hashed to 128 bits (two different keys of 10^12 meet with a chance below 10^-14), sorted on disk
//! with the number of their row, and compared with their neighbours. The first line in reading order stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::clean::{Raw, text};
use crate::error::{Error, Result};
use crate::read::RawBatch;
use crate::schema::Table;
use crate::sort::Sorter;
use crate::source::Source;
use crate::stage::{FILE, LINE, ROW, TableWriter};

pub(crate) const HIGH: &str = "high";
pub(crate) const LOW: &str = "low";

/// The hashed keys of one table's rows and where each row came from.
pub(crate) struct Keys {
    writer: TableWriter,
    schema: SchemaRef,
}

/// The halves of a hashed key; `None` where a part of the key is empty, which repeats nothing.
pub(crate) type Key = Option<[u64; 2]>;

impl Keys {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let schema = schema(&[HIGH, LOW]);
        Ok(Keys { writer: TableWriter::temporary(path, schema.clone())?, schema })
    }

    /// Adds the keys of consecutive rows, of which the first is number `first`.
    pub(crate) fn push(&mut self, keys: &[Key], first: u64, file: u32, lines: &[u64]) -> Result<()> {
        let some: Vec<usize> = (0..keys.len()).filter(|row| keys[*row].is_some()).collect();
        let half = |half: usize| UInt64Array::from_iter_values(keys.iter().flatten().map(|key| key[half]));
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(half(0)),
            Arc::new(half(1)),
            Arc::new(UInt64Array::from_iter_values(some.iter().map(|row| first + *row as u64))),
            Arc::new(UInt32Array::from(vec![file; some.len()])),
            Arc::new(UInt64Array::from_iter_values(some.iter().map(|row| lines[*row]))),
        ];
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns).map_err(internal)?)
    }

    pub(crate) fn finish(self) -> Result<PathBuf> {
        self.writer.finish_temporary()
    }
}

fn schema(first: &[&str]) -> SchemaRef {
    let whole = |name: &str| Field::new(name, DataType::UInt64, false);
    let mut fields: Vec<Field> = first.iter().map(|name| whole(name)).collect();
    fields.extend([whole(ROW), Field::new(FILE, DataType::UInt32, false), whole(LINE)]);
    Arc::new(Schema::new(fields))
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::Read { path: PathBuf::from("keys"), source: std::io::Error::other(error) }
}

/// The hashed key of every line. Ids of users and items are compared as they go into the store, over all sources of
/// their table; other keys are columns of one source, as they stand in its files.
pub(crate) fn keys(source: &Source, file: &Path, raw: &RawBatch, rows: &RecordBatch) -> Result<Vec<Key>> {
    let id = source.table.id().and_then(|id| rows.column_by_name(id));
    let mut columns = Vec::with_capacity(source.key.len());
    match id {
        Some(ids) => columns.push(ids.as_string::<i32>().clone()),
        None => {
            for name in &source.key {
                if let Some(array) = raw.columns.column_by_name(name) {
                    columns.push(text(&Raw { file, name, array })?);
                }
            }
        }
    }
    let domain = if id.is_some() { "" } else { &source.name };
    let key = |row: usize| {
        halves(domain, columns.iter().map(|column| column.is_valid(row).then(|| column.value(row).trim())))
    };
    Ok((0..raw.lines.len()).map(key).collect())
}

/// The hashed key of these parts; `None` if one of them is empty.
pub(crate) fn halves<S: AsRef<str>>(domain: &str, parts: impl Iterator<Item = Option<S>>) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.as_bytes());
    for part in parts {
        let part = part.filter(|part| !part.as_ref().is_empty())?;
        hasher.update(&(part.as_ref().len() as u64).to_le_bytes());
        hasher.update(part.as_ref().as_bytes());
    }
    let hash = hasher.finalize();
    let half = |from: usize| hash.as_bytes()[from..from + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some([half(0), half(8)])
}

/// Where a line came from: number of the file and line in it.
pub(crate) type Place = (u32, u64);

/// Writes a file of the rows whose key an earlier row has, with the place of that row, by ascending row;
/// `None` if there are none.
pub(crate) fn find(sorter: &Sorter, table: Table, keys: &Path) -> Result<Option<PathBuf>> {
    let path = keys.with_extension("repeats.parquet");
    let schema = schema(&[]);
    let mut writer = TableWriter::temporary(path, schema.clone())?;
    let mut kept: Option<([u64; 2], Place)> = None;
    for batch in sorter.sorted(table, keys, &[HIGH, LOW, ROW])? {
        let batch = batch?;
        let whole = |column: usize| batch.column(column).as_primitive::<UInt64Type>().values();
        let (high, low, rows, lines) = (whole(0), whole(1), whole(2), whole(4));
        let files = batch.column(3).as_primitive::<UInt32Type>().values();
        let mut repeats: (Vec<u64>, Vec<u32>, Vec<u64>) = Default::default();
        for row in 0..batch.num_rows() {
            let key = [high[row], low[row]];
            match kept {
                Some((first, (file, line))) if first == key => {
                    repeats.0.push(rows[row]);
                    repeats.1.push(file);
                    repeats.2.push(line);
                }
                _ => kept = Some((key, (files[row], lines[row]))),
            }
        }
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(UInt64Array::from(repeats.0)),
            Arc::new(UInt32Array::from(repeats.1)),
            Arc::new(UInt64Array::from(repeats.2)),
        ];
        writer.write(&RecordBatch::try_new(schema.clone(), columns).map_err(internal)?)?;
    }
    let any = writer.rows > 0;
    let path = writer.finish_temporary()?;
    Ok(any.then_some(path))
}

/// Copies the staged rows without the `repeats`, and tells of each of these: batch, row in it, place of the kept.
pub(crate) fn remove(
    sorter: &Sorter,
    table: Table,
    stage: &Path,
    repeats: &Path,
    mut tell: impl FnMut(&RecordBatch, usize, Place) -> Result<()>,
) -> Result<PathBuf> {
    let path = stage.with_extension("unique.parquet");
    let mut repeats = sorter.sorted(table, repeats, &[ROW])?.flat_map(places).peekable();
    let input = std::fs::File::open(stage).map_err(Error::read(stage))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(Error::parquet(stage))?;
    let mut writer = TableWriter::temporary(path, builder.schema().clone())?;
    for batch in builder.with_batch_size(8192).build().map_err(Error::parquet(stage))? {
        let batch = batch.map_err(|error| Error::parquet(stage)(error.into()))?;
        let Some(numbers) = batch.column_by_name(ROW) else { continue };
        let mut keep = vec![true; batch.num_rows()];
        for (row, number) in numbers.as_primitive::<UInt64Type>().values().iter().enumerate() {
            let repeat = repeats.next_if(|next| !matches!(next, Ok((repeat, _)) if repeat != number));
            if let Some((_, place)) = repeat.transpose()? {
                keep[row] = false;
                tell(&batch, row, place)?;
            }
        }
        writer.write(&filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(internal)?)?;
    }
    writer.finish_temporary()
}

fn places(batch: Result<RecordBatch>) -> Vec<Result<(u64, Place)>> {
    let batch = match batch {
        Ok(batch) => batch,
        Err(error) => return vec![Err(error)],
    };
    let rows = batch.column(0).as_primitive::<UInt64Type>().values();
    let files = batch.column(1).as_primitive::<UInt32Type>().values();
    let lines = batch.column(2).as_primitive::<UInt64Type>().values();
    rows.iter().zip(files).zip(lines).map(|((row, file), line)| Ok((*row, (*file, *line)))).collect()
}

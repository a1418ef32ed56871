//! Rows on their way into the store: cleaned, unsorted, each with the place it came from.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};

/// Number of the row over all sources, in reading order; it settles ties.
pub(crate) const ROW: &str = "#row";
/// Number of the file.
pub(crate) const FILE: &str = "#file";
/// Line in the file.
pub(crate) const LINE: &str = "#line";
/// How the row was repaired, if it was.
pub(crate) const FIXED: &str = "#fixed";

/// How many columns say where a row came from.
pub(crate) const PLACE: usize = 4;

/// Rows per row group of any file written here; a writer holds no more than one group in memory.
const GROUP_ROWS: usize = 1 << 17;

/// A Parquet file that is being written; a short disk shows up as an error that names it.
pub(crate) struct TableWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
    pub(crate) rows: u64,
}

impl TableWriter {
    /// A file that only this run will read: written fast.
    pub(crate) fn temporary(path: PathBuf, schema: SchemaRef) -> Result<Self> {
        let mut fast = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_statistics_enabled(EnabledStatistics::None);
        for field in schema.fields() {
            // Text repeats itself, numbers of rows and hashes of keys do not.
            let repeats = *field.data_type() == DataType::Utf8;
            fast = fast.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), repeats);
        }
        TableWriter::create(path, schema, fast.set_max_row_group_row_count(Some(GROUP_ROWS)).build())
    }

    /// A file of the store: written small.
    pub(crate) fn lasting(path: PathBuf, schema: SchemaRef) -> Result<Self> {
        let small = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("lookalike-store {}", env!("CARGO_PKG_VERSION")));
        TableWriter::create(path, schema, small.set_max_row_group_row_count(Some(GROUP_ROWS)).build())
    }

    fn create(path: PathBuf, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let file = File::create(&path).map_err(Error::write(&path))?;
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(Error::write_parquet(&path))?;
        Ok(TableWriter { path, writer, rows: 0 })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(Error::write_parquet(&self.path))
    }

    /// Completes the file and makes sure that it is on the disk.
    pub(crate) fn finish(self) -> Result<()> {
        let file = self.writer.into_inner().map_err(Error::write_parquet(&self.path))?;
        file.sync_all().map_err(Error::write(&self.path))
    }

    /// Completes a file that only this run will read.
    pub(crate) fn finish_temporary(self) -> Result<PathBuf> {
        self.writer.close().map_err(Error::write_parquet(&self.path))?;
        Ok(self.path)
    }
}

/// The columns of a table and, after them, where each row came from.
fn staged(table: &Schema) -> SchemaRef {
    let own = table.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let place = [
        Field::new(ROW, DataType::UInt64, false),
        Field::new(FILE, DataType::UInt32, false),
        Field::new(LINE, DataType::UInt64, false),
        Field::new(FIXED, DataType::Utf8, true),
    ];
    Arc::new(Schema::new(own.chain(place).collect::<Vec<_>>()))
}

/// The cleaned rows of one table, in reading order.
pub(crate) struct Stage {
    writer: TableWriter,
    schema: SchemaRef,
}

impl Stage {
    pub(crate) fn create(path: PathBuf, table: &Schema) -> Result<Self> {
        let schema = staged(table);
        Ok(Stage { writer: TableWriter::temporary(path, schema.clone())?, schema })
    }

    /// Adds the rows of `batch` that `keep` names. `lines` has a line for every row of `batch`, `fixed` a word
    /// for every row that is kept; `first` is the number of the first of these.
    pub(crate) fn push(
        &mut self,
        batch: &RecordBatch,
        keep: &BooleanArray,
        first: u64,
        file: u32,
        lines: &[u64],
        fixed: StringArray,
    ) -> Result<()> {
        let lines: Vec<u64> =
            lines.iter().zip(keep.values()).filter(|(_, keep)| *keep).map(|(line, _)| *line).collect();
        let rows = lines.len();
        let place: [ArrayRef; PLACE] = [
            Arc::new(UInt64Array::from_iter_values(first..first + rows as u64)),
            Arc::new(UInt32Array::from(vec![file; rows])),
            Arc::new(UInt64Array::from(lines)),
            Arc::new(fixed),
        ];
        let kept = if rows == batch.num_rows() { Ok(batch.clone()) } else { filter_record_batch(batch, keep) };
        let placed = kept.and_then(|kept| {
            let columns = kept.columns().iter().cloned().chain(place).collect();
            RecordBatch::try_new(self.schema.clone(), columns)
        });
        let placed = placed.map_err(|error| Error::write_parquet(&self.writer.path)(error.into()))?;
        self.writer.write(&placed)
    }

    pub(crate) fn rows(&self) -> u64 {
        self.writer.rows
    }

    pub(crate) fn finish(self) -> Result<PathBuf> {
        self.writer.finish_temporary()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let schema = Arc::new(Schema::new(vec![Field::new("user", DataType::Utf8, true)]));
        let written = TableWriter::lasting(PathBuf::from("/dev/full"), schema).and_then(TableWriter::finish);
        assert!(matches!(written, Err(Error::Write { path, .. }) if path.ends_with("full")));
    }
}

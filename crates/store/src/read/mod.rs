//! Raw files, read in batches whose size does not depend on the file: csv, tsv, JSON lines and Parquet.

mod csv;
mod jsonl;
mod parquet;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Result};
use crate::source::Format;

/// Lines in one batch, at most.
pub(crate) const BATCH_LINES: usize = 16_384;
/// Bytes of text in one batch, about; wide lines make short batches.
const BATCH_BYTES: usize = 8 << 20;

/// Lines as they stand in the file.
pub(crate) struct RawBatch {
    /// The columns of the file: text for csv and JSON lines, the file's own types for Parquet.
    pub(crate) columns: RecordBatch,
    /// Line of each row (row number in Parquet), from 1.
    pub(crate) lines: Vec<u64>,
    /// Lines that are not even a record.
    pub(crate) broken: Vec<Broken>,
}

/// A line that could not be taken apart.
pub(crate) struct Broken {
    pub(crate) line: u64,
    /// What is wrong, the same words for all lines that it is wrong with.
    pub(crate) rule: String,
    /// What is special about this line.
    pub(crate) detail: String,
    pub(crate) raw: String,
}

/// A reader of one file.
pub(crate) enum Reader {
    Csv(csv::CsvReader),
    Jsonl(jsonl::JsonlReader),
    Parquet(parquet::ParquetReader),
}

impl Reader {
    /// Opens `file`, in which the columns `needed` must be.
    pub(crate) fn open(file: &Path, format: Format, needed: &[String]) -> Result<Reader> {
        match format {
            Format::Csv => csv::CsvReader::open(file, b',', needed).map(Reader::Csv),
            Format::Tsv => csv::CsvReader::open(file, b'\t', needed).map(Reader::Csv),
            Format::Jsonl => jsonl::JsonlReader::open(file, needed).map(Reader::Jsonl),
            Format::Parquet => parquet::ParquetReader::open(file, needed).map(Reader::Parquet),
        }
    }

    /// The next lines, or `None` at the end. A file without any line is an error.
    pub(crate) fn next(&mut self) -> Result<Option<RawBatch>> {
        match self {
            Reader::Csv(reader) => reader.next(),
            Reader::Jsonl(reader) => reader.next(),
            Reader::Parquet(reader) => reader.next(),
        }
    }

    /// How much of the file has been read, from 0 to 1.
    pub(crate) fn done(&self) -> f64 {
        match self {
            Reader::Csv(reader) => reader.done(),
            Reader::Jsonl(reader) => reader.done(),
            Reader::Parquet(reader) => reader.done(),
        }
    }
}

/// Errors if one of `needed` is not among `found`.
fn require(file: &Path, needed: &[String], found: &[String]) -> Result<()> {
    match needed.iter().find(|column| !found.contains(column)) {
        None => Ok(()),
        Some(column) => {
            Err(Error::MissingColumn { file: file.to_owned(), column: column.clone(), found: found.to_vec() })
        }
    }
}

/// Columns of text that grow line by line.
struct TextColumns {
    schema: SchemaRef,
    builders: Vec<StringBuilder>,
    lines: Vec<u64>,
    broken: Vec<Broken>,
    bytes: usize,
}

impl TextColumns {
    fn new(schema: SchemaRef) -> Self {
        let builders = schema.fields().iter().map(|_| StringBuilder::new()).collect();
        TextColumns { schema, builders, lines: Vec::new(), broken: Vec::new(), bytes: 0 }
    }

    fn schema<S: AsRef<str>>(names: &[S]) -> SchemaRef {
        Arc::new(Schema::new(names.iter().map(|n| Field::new(n.as_ref(), DataType::Utf8, true)).collect::<Vec<_>>()))
    }

    fn push(&mut self, column: usize, value: Option<&str>) {
        self.bytes += value.map_or(0, str::len);
        self.builders[column].append_option(value);
    }

    fn reject(&mut self, broken: Broken) {
        self.bytes += broken.raw.len();
        self.broken.push(broken);
    }

    fn is_full(&self) -> bool {
        self.lines.len() + self.broken.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES
    }

    /// The batch, or `None` if there is nothing in it.
    fn finish(mut self, file: &Path) -> Result<Option<RawBatch>> {
        if self.lines.is_empty() && self.broken.is_empty() {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(|builder| Arc::new(builder.finish()) as _).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.lines.len()));
        let columns = RecordBatch::try_new_with_options(self.schema, columns, &options)
            .map_err(|error| Error::Read { path: file.to_owned(), source: std::io::Error::other(error) })?;
        Ok(Some(RawBatch { columns, lines: self.lines, broken: self.broken }))
    }
}

/// One row as a JSON object, so that a quarantined line can be repaired without its file.
pub(crate) fn raw_json(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::default();
    let mut text = String::from("{");
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(&quoted(field.name()));
        text.push_str(": ");
        let value = ArrayFormatter::try_new(column, &options).map(|formatter| formatter.value(row).to_string());
        match value {
            Ok(value) if column.is_valid(row) => {
                let bare = field.data_type().is_integer()
                    || field.data_type().is_floating() && value.parse().is_ok_and(f64::is_finite);
                text.push_str(&if bare { value } else { quoted(&value) });
            }
            _ => text.push_str("null"),
        }
    }
    text.push('}');
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

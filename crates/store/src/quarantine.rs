//! The lines that were set aside: where each stood, why it was refused, and what it said.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, UInt64Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::stage::TableWriter;

/// Name of the file in the store.
pub(crate) const FILE: &str = "quarantine.parquet";

/// Lines that are held before they are written.
const HELD: usize = 4096;

/// Writes `quarantine.parquet`: source, file, line (from 1; row number in Parquet), reason, raw record.
pub(crate) struct Quarantine {
    path: PathBuf,
    writer: TableWriter,
    texts: [StringBuilder; 4],
    lines: UInt64Builder,
    held: usize,
}

pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let line = Field::new("line", DataType::UInt64, false);
    Arc::new(Schema::new(vec![text("source"), text("file"), line, text("reason"), text("raw")]))
}

impl Quarantine {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        let writer = TableWriter::lasting(path.clone(), schema())?;
        Ok(Quarantine { path, writer, texts: Default::default(), lines: UInt64Builder::new(), held: 0 })
    }

    pub(crate) fn push(&mut self, source: &str, file: &str, line: u64, reason: &str, raw: &str) -> Result<()> {
        for (builder, text) in self.texts.iter_mut().zip([source, file, reason, raw]) {
            builder.append_value(text);
        }
        self.lines.append_value(line);
        self.held += 1;
        if self.held < HELD { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.held = 0;
        let [source, file, reason, raw] = self.texts.each_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef);
        let columns = vec![source, file, Arc::new(self.lines.finish()), reason, raw];
        let batch = RecordBatch::try_new(schema(), columns);
        self.writer.write(&batch.map_err(|error| Error::write_parquet(&self.path)(error.into()))?)
    }

    pub(crate) fn finish(mut self) -> Result<u64> {
        self.flush()?;
        let rows = self.writer.rows;
        self.writer.finish()?;
        Ok(rows)
    }
}

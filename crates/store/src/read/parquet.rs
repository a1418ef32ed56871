//! Apache Parquet, read with the types that the file declares; a line is a row number from 1.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{BATCH_LINES, RawBatch, require};
use crate::error::{Error, Result};

pub(crate) struct ParquetReader {
    file: PathBuf,
    reader: ParquetRecordBatchReader,
    read: u64,
    rows: u64,
}

impl ParquetReader {
    pub(super) fn open(file: &Path, needed: &[String]) -> Result<Self> {
        let input = File::open(file).map_err(Error::read(file))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(Error::parquet(file))?;
        let schema = builder.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        require(file, needed, &names)?;
        let rows = builder.metadata().file_metadata().num_rows();
        if rows <= 0 {
            return Err(Error::Empty { file: file.to_owned() });
        }
        // Nested columns that nobody asked for would only cost time.
        let wanted = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| needed.contains(field.name()) || !field.data_type().is_nested());
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(index, _)| index));
        let reader =
            builder.with_projection(mask).with_batch_size(BATCH_LINES).build().map_err(Error::parquet(file))?;
        Ok(ParquetReader { file: file.to_owned(), reader, read: 0, rows: rows as u64 })
    }

    pub(super) fn next(&mut self) -> Result<Option<RawBatch>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let columns = batch.map_err(|error| Error::parquet(&self.file)(error.into()))?;
        let first = self.read + 1;
        self.read += columns.num_rows() as u64;
        Ok(Some(RawBatch { columns, lines: (first..=self.read).collect(), broken: Vec::new() }))
    }

    pub(super) fn done(&self) -> f64 {
        self.read as f64 / self.rows as f64
    }
}

//! Fields divided by commas or tabs, under a header, quoted as in RFC 4180; an empty field is no value.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::{Broken, RawBatch, TextColumns, require};
use crate::error::{Error, Result};

pub(crate) struct CsvReader {
    file: PathBuf,
    reader: csv::Reader<File>,
    schema: SchemaRef,
    length: u64,
    ends_with_newline: bool,
    any: bool,
}

impl CsvReader {
    pub(super) fn open(file: &Path, delimiter: u8, needed: &[String]) -> Result<Self> {
        let mut input = File::open(file).map_err(Error::read(file))?;
        let (length, ends_with_newline) = last_byte(&mut input).map_err(Error::read(file))?;
        // With `\n` alone as the end of a line, line numbers stay exact in files that end lines with `\r\n`.
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(1 << 16)
            .from_reader(input);
        let mut this = CsvReader {
            file: file.to_owned(),
            reader,
            schema: TextColumns::schema::<&str>(&[]),
            length,
            ends_with_newline,
            any: false,
        };
        let Some((_, header)) = this.record()? else { return Err(Error::Empty { file: file.to_owned() }) };
        let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(Error::DuplicateColumn { file: file.to_owned(), column: name.clone() });
            }
        }
        require(file, needed, &names)?;
        this.schema = TextColumns::schema(&names);
        Ok(this)
    }

    /// The next record that is not a blank line, and the line it begins on.
    fn record(&mut self) -> Result<Option<(u64, ByteRecord)>> {
        let mut record = ByteRecord::new();
        while self
            .reader
            .read_byte_record(&mut record)
            .map_err(|error| Error::Read { path: self.file.clone(), source: error.into() })?
        {
            let inner = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
            let position = self.reader.position();
            let ended = position.byte() < self.length || self.ends_with_newline;
            let line = position.line() - inner - u64::from(ended);
            let record = without_carriage_return(std::mem::take(&mut record));
            if record.len() > 1 || record.get(0).is_some_and(|field| !field.is_empty()) {
                return Ok(Some((line, record)));
            }
        }
        Ok(None)
    }

    pub(super) fn next(&mut self) -> Result<Option<RawBatch>> {
        let width = self.schema.fields().len();
        let mut columns = TextColumns::new(self.schema.clone());
        while !columns.is_full() {
            let Some((line, record)) = self.record()? else { break };
            let broken = |rule: &str, detail: String| {
                let fields: Vec<_> = record.iter().map(String::from_utf8_lossy).collect();
                Broken { line, rule: rule.to_owned(), detail, raw: serde_json::json!(fields).to_string() }
            };
            if record.len() != width {
                columns.reject(broken("wrong number of fields", format!("{} instead of {width}", record.len())));
                continue;
            }
            // Fields are checked before any is pushed, so that the columns stay equally long.
            let fields: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
            match fields {
                Ok(fields) => {
                    columns.lines.push(line);
                    for (column, field) in fields.into_iter().enumerate() {
                        columns.push(column, (!field.is_empty()).then_some(field));
                    }
                }
                Err(error) => columns.reject(broken("invalid UTF-8", format!("byte {}", error.valid_up_to()))),
            }
        }
        let batch = columns.finish(&self.file)?;
        if batch.is_none() && !self.any {
            return Err(Error::Empty { file: self.file.clone() });
        }
        self.any = true;
        Ok(batch)
    }

    pub(super) fn done(&self) -> f64 {
        self.reader.position().byte() as f64 / self.length.max(1) as f64
    }
}

fn last_byte(file: &mut File) -> std::io::Result<(u64, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut last = [0];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((length, last == *b"\n"))
}

/// Removes the `\r` that a `\r\n` leaves on the last field.
fn without_carriage_return(record: ByteRecord) -> ByteRecord {
    if !record.as_slice().ends_with(b"\r") || record.get(record.len() - 1).is_some_and(<[u8]>::is_empty) {
        return record;
    }
    let last = record.len() - 1;
    record.iter().enumerate().map(|(i, field)| if i == last { &field[..field.len() - 1] } else { field }).collect()
}

//! One JSON object per line. Numbers and truth values are carried as their text; a missing key is no value.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value};

use super::{BATCH_BYTES, BATCH_LINES, Broken, RawBatch, TextColumns, require};
use crate::error::{Error, Result};

/// Keys that nobody asked for are remembered up to this number.
const NAMES: usize = 256;

/// A line: its number, and what it says or what is wrong with it.
type Record = (u64, Result<Map<String, Value>, Broken>);

pub(crate) struct JsonlReader {
    file: PathBuf,
    input: BufReader<File>,
    needed: Vec<String>,
    /// Keys that occurred in any line so far.
    seen: Vec<String>,
    /// Columns of the batches, settled by the first lines.
    schema: Option<SchemaRef>,
    /// Lines that were read to settle the columns, and not given yet.
    ahead: VecDeque<Record>,
    /// Whether any line was an object.
    objects: bool,
    line: u64,
    read: u64,
    length: u64,
    any: bool,
}

impl JsonlReader {
    pub(super) fn open(file: &Path, needed: &[String]) -> Result<Self> {
        let input = File::open(file).map_err(Error::read(file))?;
        let length = input.metadata().map_err(Error::read(file))?.len();
        Ok(JsonlReader {
            file: file.to_owned(),
            input: BufReader::with_capacity(1 << 16, input),
            needed: needed.to_vec(),
            seen: Vec::new(),
            schema: None,
            ahead: VecDeque::new(),
            objects: false,
            line: 0,
            read: 0,
            length,
            any: false,
        })
    }

    /// The next line that is not blank, without its end.
    fn line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let count = self.input.read_until(b'\n', &mut bytes).map_err(Error::read(&self.file))?;
            if count == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.read += count as u64;
            let start = if self.line == 1 && bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
            let text = bytes[start..].trim_ascii();
            if !text.is_empty() {
                return Ok(Some(text.to_vec()));
            }
        }
    }

    /// The next line that is not blank, taken apart.
    fn record(&mut self) -> Result<Option<Record>> {
        if let Some(record) = self.ahead.pop_front() {
            return Ok(Some(record));
        }
        let Some(bytes) = self.line()? else { return Ok(None) };
        let object = parse(&bytes).and_then(|object| self.check(object));
        let raw = |(rule, detail)| Broken {
            line: self.line,
            rule,
            detail,
            raw: String::from_utf8_lossy(&bytes).into_owned(),
        };
        Ok(Some((self.line, object.map_err(raw))))
    }

    /// The columns of all batches: those needed, and the keys of as many lines as fit into a batch. One line is not
    /// enough, since a key may be left out where there is no value.
    fn settle(&mut self) -> Result<SchemaRef> {
        let (mut names, mut records) = (self.needed.clone(), VecDeque::new());
        let start = self.read;
        while records.len() < BATCH_LINES && self.read - start < BATCH_BYTES as u64 {
            let Some(record) = self.record()? else { break };
            for key in record.1.iter().flat_map(Map::keys) {
                if names.len() < self.needed.len() + NAMES && !names.contains(key) {
                    names.push(key.clone());
                }
            }
            self.objects |= record.1.is_ok();
            records.push_back(record);
        }
        self.ahead = records;
        Ok(self.schema.insert(TextColumns::schema(&names)).clone())
    }

    pub(super) fn next(&mut self) -> Result<Option<RawBatch>> {
        let schema = match &self.schema {
            Some(schema) => schema.clone(),
            None => self.settle()?,
        };
        let mut columns = TextColumns::new(schema);
        while !columns.is_full() {
            let Some((line, record)) = self.record()? else { break };
            match record {
                Ok(object) => {
                    self.objects = true;
                    columns.lines.push(line);
                    for (index, field) in columns.schema.clone().fields().iter().enumerate() {
                        columns.push(index, object.get(field.name()).and_then(text).as_deref());
                    }
                }
                Err(broken) => columns.reject(broken),
            }
        }
        let batch = columns.finish(&self.file)?;
        if batch.is_none() {
            if !self.any {
                return Err(Error::Empty { file: self.file.clone() });
            }
            // Keys may come late, so only the end of the file tells that one never came.
            if self.objects {
                require(&self.file, &self.needed, &self.seen)?;
            }
        }
        self.any = true;
        Ok(batch)
    }

    /// Refuses a list or an object where a value is wanted.
    fn check(&mut self, object: Map<String, Value>) -> Result<Map<String, Value>, (String, String)> {
        for key in object.keys() {
            // What nobody asked for is kept for a hint only, so some names are enough.
            let wanted = self.seen.len() < NAMES || self.needed.contains(key);
            if wanted && !self.seen.contains(key) {
                self.seen.push(key.clone());
            }
        }
        let nested = self.needed.iter().find(|name| object.get(*name).is_some_and(|v| v.is_array() || v.is_object()));
        match nested {
            Some(name) => Err((format!("`{name}` is not a single value"), object[name].to_string())),
            None => Ok(object),
        }
    }

    pub(super) fn done(&self) -> f64 {
        self.read as f64 / self.length.max(1) as f64
    }
}

fn parse(bytes: &[u8]) -> Result<Map<String, Value>, (String, String)> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ("invalid UTF-8".to_owned(), format!("byte {}", error.valid_up_to())))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(("not a JSON object".to_owned(), shortened(text))),
        Err(error) => Err(("invalid JSON".to_owned(), error.to_string())),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

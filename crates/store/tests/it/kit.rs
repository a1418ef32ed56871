//! The one place of the tests that knows how a project is made and read.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lookalike_store::{Error, Project, Report, Store, Table, ingest};
use tempfile::TempDir;

/// Events out of `log.csv` with the columns `u`, `i`, `t`, `v`.
pub const EVENTS: &str = r#"
[sources.log]
path = "log.csv"
table = "events"
kind = "buy"
at = { column = "t", stored_as = "America/New_York" }
map = { user = "u", item = "i", value = "v" }
[interactions]
kinds = { buy = 1.0 }
split = "leave-last"
"#;

/// A project in a folder that goes away with the test.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(toml: &str) -> Self {
        let folder = Folder(TempDir::new().unwrap());
        folder.write("lookalike.toml", toml)
    }

    /// A project of [`EVENTS`] over these lines.
    pub fn events(lines: &str) -> Self {
        Folder::new(EVENTS).write("log.csv", format!("u,i,t,v\n{lines}"))
    }

    pub fn write(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path().join(name), content).unwrap();
        self
    }

    pub fn parquet(self, name: &str, columns: Vec<(&str, ArrayRef)>) -> Self {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(self.path().join(name)).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn project(&self) -> Project {
        Project::open(self.path()).unwrap()
    }

    pub fn ingest(&self) -> Result<Report, Error> {
        ingest(&Project::open(self.path())?, &mut |_| {})
    }

    pub fn store(&self) -> Store {
        self.ingest().unwrap();
        Store::open(&self.project()).unwrap()
    }

    /// The error that ingesting gives: message, causes and hint.
    pub fn error(&self) -> String {
        told(&self.ingest().unwrap_err())
    }

    /// Rows of a table after ingesting, columns divided by bars, gaps as `-`.
    pub fn rows(&self, table: Table, columns: &[&str]) -> Vec<String> {
        lines(self.store().scan(table, columns).unwrap())
    }

    /// Lines of the quarantine after ingesting: line and reason.
    pub fn quarantined(&self) -> Vec<String> {
        let rows = lines(self.store().quarantine().unwrap());
        rows.iter().map(|row| row.split('|').skip(2).take(2).collect::<Vec<_>>().join(" ")).collect()
    }
}

#[track_caller]
pub fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

pub fn told(error: &Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        parts.push(inner.to_string());
        cause = inner.source();
    }
    parts.extend(error.hint());
    parts.join(" | ")
}

pub fn lines(batches: impl Iterator<Item = Result<RecordBatch, Error>>) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    rows
}

pub fn array(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

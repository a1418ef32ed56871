//! What can go wrong between a folder of raw files and a readable store, in words for the person who can fix it.

use std::path::{Path, PathBuf};

use crate::expression::meant;
use crate::sql::TIME_AND_NUMBER;

/// An error of this crate; its message is one sentence, [`Error::hint`] is the advice that goes with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be opened or read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder could not be written, moved or removed; a full disk ends here.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without `lookalike.toml`.
    #[error("`{}` has no `lookalike.toml`", dir.display())]
    NoProject {
        /// The folder that was named as a project.
        dir: PathBuf,
    },
    /// Something in `lookalike.toml` is wrong.
    #[error("`{}` line {line}: {message}", path.display())]
    Config {
        /// The project file.
        path: PathBuf,
        /// Line of the key or value, from 1.
        line: usize,
        /// What is wrong, with the key in backticks.
        message: String,
        /// What to write instead, where that is known.
        hint: Option<String>,
    },
    /// A source whose path matches no file.
    #[error("source `{name}` of `{}` line {line}: no file matches `{pattern}`", config.display())]
    NoFile {
        /// Name of the source.
        name: String,
        /// The project file.
        config: PathBuf,
        /// Line of the `path` key, from 1.
        line: usize,
        /// The path or glob as it was typed.
        pattern: String,
    },
    /// A project of which nothing can be ingested.
    #[error("`{}` declares no sources", config.display())]
    NoSources {
        /// The project file.
        config: PathBuf,
    },
    /// A column that the project file names but the file does not have.
    #[error("`{}` has no column `{column}`", file.display())]
    MissingColumn {
        /// The data file.
        file: PathBuf,
        /// The column that was asked for.
        column: String,
        /// The columns that there are.
        found: Vec<String>,
    },
    /// A column of a type that cannot become what the project file wants of it.
    #[error("column `{column}` of `{}` holds {found}, which is no {wanted}", file.display())]
    ColumnType {
        /// The data file.
        file: PathBuf,
        /// The column.
        column: String,
        /// Its type in the file.
        found: String,
        /// What it should become.
        wanted: &'static str,
    },
    /// A data file without a header or without rows.
    #[error("`{}` is empty", file.display())]
    Empty {
        /// The data file.
        file: PathBuf,
    },
    /// A header that names one column twice.
    #[error("`{}` names column `{column}` twice in its header", file.display())]
    DuplicateColumn {
        /// The data file.
        file: PathBuf,
        /// The column.
        column: String,
    },
    /// A Parquet file that is truncated or damaged.
    #[error("`{}` is not a whole Parquet file", file.display())]
    Parquet {
        /// The data file.
        file: PathBuf,
        /// What the Parquet reader said.
        source: parquet::errors::ParquetError,
    },
    /// A data file that was written to while it was read.
    #[error("`{}` changed while it was read", file.display())]
    Changed {
        /// The data file.
        file: PathBuf,
    },
    /// SQL in `lookalike.toml` that does not fit the source.
    #[error("`{}` line {line}: `{expression}` in `{key}` cannot be evaluated", file.display())]
    Expression {
        /// The project file.
        file: PathBuf,
        /// Line of the expression, from 1.
        line: usize,
        /// Its dotted key.
        key: String,
        /// The SQL as it was typed.
        expression: String,
        /// What the SQL engine said.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// A condition that is no SQL condition over the items of the store.
    #[error("condition `{expression}` over the items cannot be evaluated")]
    ItemCondition {
        /// The condition as it was typed.
        expression: String,
        /// The columns that there are.
        columns: Vec<String>,
        /// What the SQL engine said.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// A source of which not one line could be used.
    #[error("every one of the {lines} lines of source `{name}` was quarantined, most often because {reason}")]
    AllQuarantined {
        /// Name of the source.
        name: String,
        /// Lines read.
        lines: u64,
        /// The commonest reason.
        reason: String,
    },
    /// A line of a given split that cannot be used.
    #[error("`{}` line {line}: {reason}", file.display())]
    Line {
        /// The data file.
        file: PathBuf,
        /// Line (row number in Parquet), from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Sorting a table failed, most often for want of disk space.
    #[error("cannot sort the lines of `{table}`")]
    Sort {
        /// Name of the canonical table.
        table: &'static str,
        /// What the engine said.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// Two processes ingest the same project.
    #[error("another process is ingesting `{}`", dir.display())]
    Busy {
        /// The project folder.
        dir: PathBuf,
    },
    /// The project has not been ingested yet.
    #[error("there is no store in `{}`", dir.display())]
    NoStore {
        /// The project folder.
        dir: PathBuf,
    },
    /// A store that a later version of this program wrote.
    #[error("the store in `{}` has format {found}, and this version reads formats up to {known}", dir.display())]
    NewerFormat {
        /// The store folder.
        dir: PathBuf,
        /// Format of the store.
        found: u32,
        /// Newest format this version reads.
        known: u32,
    },
    /// A list of those to be forgotten that cannot be read; without it nothing may be ingested.
    #[error("`{}` is damaged: {what}", path.display())]
    DamagedList {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A store that is not what its `store.json` says.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let again = "run `lookalike ingest` again; it rebuilds the store from the sources";
        match self {
            Error::Config { hint, .. } => hint.clone(),
            Error::MissingColumn { column, found, .. } => Some(match nearest(column, found) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the columns are {}", listed(found)),
            }),
            Error::NoProject { .. } => Some("name a folder that holds a `lookalike.toml` with `--project`".to_owned()),
            Error::NoFile { .. } => Some("paths are relative to the folder of `lookalike.toml`".to_owned()),
            Error::NoSources { .. } => Some("add a `[sources.NAME]` section with `path` and `table`".to_owned()),
            Error::ColumnType { wanted: "timestamp", .. } => {
                Some("say what the number counts with `unit = \"s\"`, `\"ms\"` or `\"us\"` in `at`".to_owned())
            }
            Error::Expression { source, .. } => Some(match meant(source) {
                Some(name) => format!("did you mean `{name}`?"),
                None if source.strip_backtrace().contains(TIME_AND_NUMBER) => {
                    "a day is written as text, such as '2024-01-15', or as DATE '2024-01-15'".to_owned()
                }
                None => {
                    "text that is not always a number is compared with one through `try_cast(x as double)`".to_owned()
                }
            }),
            Error::ItemCondition { columns, .. } => Some(format!(
                "the columns are {}; all but `price` are text, and compared with a number through `try_cast(x as double)`",
                listed(columns)
            )),
            Error::Write { .. } | Error::Sort { .. } => {
                Some("check the free disk space and the permissions".to_owned())
            }
            Error::Busy { .. } => Some("wait until it is done".to_owned()),
            Error::DamagedList { .. } => Some(
                "bring it back from a copy: without it people who asked to be forgotten would come back".to_owned(),
            ),
            Error::NoStore { .. } => Some("run `lookalike ingest` first".to_owned()),
            Error::NewerFormat { .. } | Error::Damaged { .. } => Some(again.to_owned()),
            _ => None,
        }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::Read { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::Write { path, source }
    }

    pub(crate) fn parquet(file: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Error + use<> {
        let file = file.to_owned();
        |source| Error::Parquet { file, source }
    }

    /// A failing Parquet writer is a failing disk, so it is told as one.
    pub(crate) fn write_parquet(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::Write { path, source: std::io::Error::other(source) }
    }
}

/// The name in `names` that `word` was most likely meant to be.
pub fn nearest<S: AsRef<str>>(word: &str, names: &[S]) -> Option<String> {
    let word = word.to_lowercase();
    // The first measure forgives a wrong ending, the second two letters in the wrong order.
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        strsim::jaro_winkler(&word, &name).max(strsim::normalized_damerau_levenshtein(&word, &name) + 0.1)
    };
    let names = names.iter().map(|name| (likeness(name.as_ref()), name.as_ref()));
    let best = names.filter(|(likeness, _)| *likeness > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, name)| name.to_owned())
}

/// Names in backticks, divided by commas.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

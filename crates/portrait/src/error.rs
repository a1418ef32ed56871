//! What can go wrong between tag files and a profile, in words for the person who can fix it.

use std::path::{Path, PathBuf};

use lookalike_store::nearest;

/// An error of this crate; its message is one sentence, [`Error::hint`] is the advice that goes with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the store or a tag file failed, or a key of a tag file is wrong.
    #[error(transparent)]
    Store(#[from] lookalike_store::Error),
    /// A file could not be read or written.
    #[error("cannot {} `{}`", if *.writing { "write" } else { "read" }, path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Whether it was to be written.
        writing: bool,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something of a tag is wrong.
    #[error("{place}: tag `{tag}`: {message}")]
    Tag {
        /// File and line of the tag.
        place: Place,
        /// Name of the tag.
        tag: String,
        /// What is wrong.
        message: String,
        /// What to write instead, where that is known.
        hint: Option<String>,
    },
    /// Tags that are made from one another.
    #[error("tags are made from one another: {}", path.join(" → "))]
    Cycle {
        /// The way round, from a tag back to itself.
        path: Vec<String>,
    },
    /// There is no tag of this name.
    #[error("there is no tag `{name}`")]
    NoTag {
        /// The name.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// Nothing had happened yet.
    #[error("there is no event before {as_of}; the first is of {first}")]
    BeforeData {
        /// The day that was asked for.
        as_of: jiff::civil::Date,
        /// The day of the first event.
        first: jiff::civil::Date,
    },
    /// A store without events.
    #[error("the store has no events, so there is no day to look from")]
    NoEvents,
    /// Evaluating an expression failed.
    #[error("{what} cannot be computed")]
    Compute {
        /// Which expression, or which step.
        what: String,
        /// What the engine said.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// A snapshot that is not there.
    #[error("there is no profile in `{}`", path.display())]
    NoProfile {
        /// The folder.
        path: PathBuf,
    },
    /// A snapshot of a later version of this program.
    #[error("the profile in `{}` has format {found}, and this version reads formats up to {known}", path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is read.
        known: u32,
    },
    /// A snapshot that is not what its manifest says.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// There is no such user in a snapshot.
    #[error("there is no user `{user}` in the profile of {as_of}")]
    NoUser {
        /// The id.
        user: String,
        /// The day of the profile.
        as_of: jiff::civil::Date,
    },
}

/// Where a tag was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file; one of the catalogue that ships with the program begins with `catalogue:`.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` line {}", self.file.display(), self.line)
    }
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Store(error) => error.hint(),
            Error::Tag { hint, .. } => hint.clone(),
            Error::NoTag { name, known } => match known
                .iter()
                .find(|known| known.ends_with(&format!("/{name}")))
                .cloned()
                .or_else(|| nearest(name, known))
            {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => Some("`lookalike show tags` lists them".to_owned()),
            },
            Error::NoUser { .. } => {
                Some("users are in a profile from their first event on, or with their row".to_owned())
            }
            Error::BeforeData { first, .. } => Some(format!("take a day after {first}")),
            Error::NoProfile { .. } => Some("run `lookalike profile` first".to_owned()),
            Error::Damaged { .. } | Error::NewerFormat { .. } => {
                Some("remove the folder and run `lookalike profile` again; it is made from the store".to_owned())
            }
            Error::File { writing: true, .. } => Some("check the free disk space and the permissions".to_owned()),
            _ => None,
        }
    }

    pub(crate) fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::File { path, writing: false, source }
    }

    pub(crate) fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        |source| Error::File { path, writing: true, source }
    }

    /// A failing Parquet writer is a failing disk, so it is told as one.
    pub(crate) fn parquet(path: &Path, writing: bool) -> impl FnOnce(parquet::errors::ParquetError) -> Error + use<> {
        let path = path.to_owned();
        move |source| Error::File { path, writing, source: std::io::Error::other(source) }
    }

    pub(crate) fn compute<E: Into<datafusion::error::DataFusionError>>(
        what: impl std::fmt::Display,
    ) -> impl FnOnce(E) -> Error {
        let what = what.to_string();
        |source| Error::Compute { what, source: Box::new(source.into()) }
    }
}

//! Everything that can be wrong with a bundle or a tensor file, each with the file it is wrong in.

use std::path::{Path, PathBuf};

use crate::rows::VocabError;

/// Why a bundle or a tensor file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The operating system refused: missing file, full disk, no permission.
    #[error("could not {doing} `{}`", path.display())]
    Io {
        /// What was attempted, such as `write`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// The folder holds no manifest.
    #[error("`{}` is not a bundle: it has no `manifest.json`", path.display())]
    NotABundle {
        /// The folder.
        path: PathBuf,
    },
    /// A folder with other content stands where the bundle should go.
    #[error("`{}` holds other files and no bundle, and is left as it is", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("`{}` has format version {found}, and {known} is the newest one known here", path.display())]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// The version it states.
        found: u64,
        /// The newest version this program reads.
        known: u32,
    },
    /// The content does not match its checksum.
    #[error("`{}` is damaged: its content does not match its checksum", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file is shorter or longer than it was when written.
    #[error("`{}` has {found} bytes instead of {expected}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Bytes there are.
        found: u64,
        /// Bytes there were.
        expected: u64,
    },
    /// The manifest does not list a file that every bundle has.
    #[error("`{}` does not list `{name}`", path.display())]
    Unlisted {
        /// The manifest.
        path: PathBuf,
        /// The file in question.
        name: String,
    },
    /// The name of a file that travels with a bundle is not a plain file name of its own.
    #[error("`{name}` cannot be the name of a further file in a bundle")]
    Name {
        /// The name.
        name: String,
    },
    /// Text that is not the JSON expected.
    #[error("`{}` holds text that is not the JSON expected", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Not a valid safetensors file.
    #[error("`{}` is not a valid tensor file", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is absent or of another element type than expected.
    #[error("`{}` has no {kind} tensor `{name}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The element type expected.
        kind: &'static str,
    },
    /// A tensor's shape does not fit.
    #[error("tensor `{name}` in `{}` has shape {found:?} instead of {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: Vec<usize>,
    },
    /// NaN or infinity.
    #[error("tensor `{name}` in `{}` holds a number that is not finite at position {position}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Position in row-major order.
        position: usize,
    },
    /// Not a valid Parquet file.
    #[error("`{}` is not a valid Parquet file", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A column is absent, of another type, or empty in places.
    #[error("`{}` has no column `{column}` of type {kind} without nulls", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The type expected.
        kind: &'static str,
    },
    /// A row number that is not its own position.
    #[error("`{}` states row {found} where row {expected} belongs", path.display())]
    RowOrder {
        /// The file.
        path: PathBuf,
        /// The row number stated.
        found: u32,
        /// The row number that belongs there.
        expected: usize,
    },
    /// A table has another number of rows than the manifest says.
    #[error("`{}` has {found} rows instead of {expected}", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// Rows there are.
        found: usize,
        /// Rows there should be.
        expected: usize,
    },
    /// The ids do not make a vocabulary.
    #[error("`{}` holds ids that cannot be told apart", path.display())]
    Vocab {
        /// The file.
        path: PathBuf,
        /// Which.
        source: VocabError,
    },
    /// The history is out of range or out of order.
    #[error("`{}` holds a history that cannot be used", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: HistoryError,
    },
    /// The item weights are absent in part, out of range or out of order.
    #[error("`{}` holds item weights that cannot be used", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: WeightsError,
    },
}

impl BundleError {
    /// What may help, where something may.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Newer { .. } => Some("update lookalike to read it".into()),
            Self::NotABundle { .. } => Some("`lookalike train` makes one".into()),
            Self::NotOurs { .. } => Some("name a new or empty folder".into()),
            Self::Damaged { .. } | Self::Size { .. } => Some("restore the file from a copy, or train again".into()),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("free some space and repeat; what was there before is untouched".into())
            }
            _ => None,
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// Why rows do not make a history.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum HistoryError {
    /// A user or item row beyond the tables.
    #[error("entry {entry} names user {user} and item {item}, beyond {users} users and {items} items")]
    Range {
        /// Which entry, from 0.
        entry: usize,
        /// Its user row.
        user: u32,
        /// Its item row.
        item: u32,
        /// How many users there are.
        users: usize,
        /// How many items there are.
        items: usize,
    },
    /// Entries must ascend by user, then item, each pair once.
    #[error("entry {entry} does not come after the one before it")]
    Order {
        /// Which entry, from 0.
        entry: usize,
    },
    /// Weights are finite and not negative.
    #[error("entry {entry} has weight {weight}, which is not a finite number from 0 up")]
    Weight {
        /// Which entry, from 0.
        entry: usize,
        /// Its weight.
        weight: f32,
    },
}

/// Why tensors do not make item weights.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// A tensor is absent, or not what this program knows by that name.
    #[error("there is no `{name}` that is known here")]
    Missing {
        /// The tensor.
        name: &'static str,
    },
    /// Offsets must ascend from 0 to the number of entries, and each entry needs its value.
    #[error("the offsets do not divide {entries} entries with {values} values into items")]
    Offsets {
        /// Entries there are.
        entries: usize,
        /// Values there are.
        values: usize,
    },
    /// Entries of an item must ascend.
    #[error("entry {entry} does not come after the one before it")]
    Order {
        /// Which entry, from 0.
        entry: usize,
    },
    /// An item beyond the table.
    #[error("entry {entry} names item {col} of {items}")]
    Range {
        /// Which entry, from 0.
        entry: usize,
        /// The item row it names.
        col: u32,
        /// How many items there are.
        items: usize,
    },
    /// Weights are finite.
    #[error("entry {entry} has weight {value}, which is not finite")]
    Value {
        /// Which entry, from 0.
        entry: usize,
        /// Its weight.
        value: f32,
    },
}

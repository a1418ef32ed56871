//! Everything that can be wrong with an index or a request for recommendations.

use std::io;
use std::path::PathBuf;

/// Why an index could not be built or read, or a list not be made.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// No items or no dimensions.
    #[error("an index needs items, and the item table is {rows} x {cols}")]
    Empty {
        /// Rows of the table.
        rows: usize,
        /// Columns of the table.
        cols: usize,
    },
    /// More links than a 32-bit offset can count.
    #[error("{rows} items are more than an index can hold")]
    TooMany {
        /// Rows of the table.
        rows: usize,
    },
    /// NaN, infinity, or a length beyond what `f32` holds.
    #[error("row {row} of the {table} embedding is not finite")]
    NotFinite {
        /// `item` or `query`.
        table: &'static str,
        /// The row.
        row: usize,
    },
    /// Queries of another length than the items.
    #[error("queries have {found} dimensions and items {expected}")]
    Dim {
        /// Dimensions of the queries.
        found: usize,
        /// Dimensions of the items.
        expected: usize,
    },
    /// A setting out of its range.
    #[error("`{name}` is {value}, and must be from {min} to {max}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: usize,
        /// The least value allowed.
        min: usize,
        /// The greatest value allowed.
        max: usize,
    },
    /// The index misses too many of the nearest items.
    #[error("the index finds {found:.3} of the 10 nearest items, and at least {needed} are needed")]
    Recall {
        /// Share found.
        found: f64,
        /// Share needed.
        needed: f64,
    },
    /// A file that cannot be read or written.
    #[error("{} cannot be {verb}", path.display())]
    Io {
        /// `read` or `written`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not an index, or one of which a part is absent, changed, or contradicts the rest.
    #[error("the index is damaged, or is none: its {part} cannot be trusted")]
    Damaged {
        /// The part in question.
        part: &'static str,
    },
    /// Written by a newer version.
    #[error("the index has format version {found}, and {known} is the newest one known here")]
    Newer {
        /// The version it states.
        found: u64,
        /// The newest version this program reads.
        known: u32,
    },
    /// Written by an older version.
    #[error("the index was written by an older version")]
    Older,
    /// A file of friends or segments that cannot be right.
    #[error("`{file}` of the bundle cannot be used: its {problem}")]
    Lists {
        /// Its name.
        file: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// One written by a newer version.
    #[error("`{file}` has format version {found}, and {known} is the newest one known here")]
    NewerLists {
        /// Its name.
        file: &'static str,
        /// The version it states.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// A file of a ranker that cannot be right.
    #[error("`ranker.safetensors` of the bundle cannot be used: its {problem}")]
    Ranker {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// One written by a newer version.
    #[error("`ranker.safetensors` has format version {found}, and {known} is the newest one known here")]
    NewerRanker {
        /// The version it states.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// A file of tensors that cannot be read.
    #[error(transparent)]
    Bundle(#[from] lookalike_bundle::BundleError),
    /// Made for other embeddings.
    #[error("the index was made for other item embeddings than those of this bundle")]
    Stale,
    /// The model has no rule for repeats.
    #[error("the bundle of model `{model}` does not say how to blend repeats")]
    NoRepeat {
        /// Name of the model.
        model: String,
    },
    /// A model whose vectors are not made from a history alone.
    #[error("model `{model}` cannot take in a new history")]
    NoFolding {
        /// Name of the model.
        model: String,
    },
    /// Nothing to make a vector from.
    #[error("no {noun} of the history is known to the model")]
    NothingKnown {
        /// `item` or `user`.
        noun: &'static str,
    },
    /// Equations without one solution, or vectors that cancel out.
    #[error("the {noun}s of the history do not make a vector")]
    NoSolution {
        /// `item` or `user`.
        noun: &'static str,
    },
}

impl RetrieveError {
    /// What may help, where something may.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Recall { .. } => Some("raise `m` or `ef_construction`, or search exactly".into()),
            Self::Newer { .. } | Self::NewerLists { .. } | Self::NewerRanker { .. } => {
                Some("update lookalike to read it".into())
            }
            Self::Damaged { .. } | Self::Older | Self::Stale => Some("`lookalike index` builds it anew".into()),
            Self::Lists { .. } | Self::Ranker { .. } => Some("train again".into()),
            Self::Bundle(error) => error.hint(),
            Self::NoFolding { .. } => Some("train `ials` or `two-tower`, or train again with the new history".into()),
            Self::NoRepeat { .. } => Some("ask without repeats, or train again".into()),
            _ => None,
        }
    }
}

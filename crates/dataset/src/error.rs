//! Why a store does not make a data set.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store or a given file could not be read.
    #[error(transparent)]
    Store(#[from] lookalike_store::Error),
    /// No event counts as an interaction.
    #[error("no event of the kinds {kinds} has both a user and an item, so there is nothing to train on")]
    NoInteractions {
        /// The kinds asked for, in backticks.
        kinds: String,
    },
    /// The split leaves one side empty.
    #[error("the split `{split}` leaves no {part} interactions")]
    EmptyPart {
        /// `training`, `validation` or `test`.
        part: &'static str,
        /// The split in words.
        split: String,
    },
    /// More users or items than a row number counts.
    #[error(transparent)]
    Vocab(#[from] lookalike_bundle::VocabError),
    /// A weight that says nothing or the opposite.
    #[error("`{}`: user `{user}` and item `{item}` have the weight {weight}, which is not above 0", path.display())]
    Weight {
        /// The file it came from.
        path: std::path::PathBuf,
        /// The weight.
        weight: f64,
        /// The user's id.
        user: String,
        /// The item's id.
        item: String,
    },
    /// A given file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::NoInteractions { .. } => Some(
                "name other kinds under `[interactions] kinds` in `lookalike.toml`, or map a column to `item`".into(),
            ),
            Self::EmptyPart { .. } => {
                Some("move `test_from` or change `validation_days` under `[interactions] split`".into())
            }
            Self::Weight { .. } => Some("leave such lines out: only what happened counts as a signal".into()),
            Self::Vocab(_) | Self::Read { .. } => None,
        }
    }
}

//! Why a figure cannot be computed from the numbers that were given.

/// Numbers of which no figure can be made; a message is one sentence.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two lists that belong together have different lengths.
    #[error("{left} values stand beside {right}")]
    Lengths {
        /// Length of the first list.
        left: usize,
        /// Length of the second.
        right: usize,
    },
    /// A table of numbers whose length is not rows times columns.
    #[error("{numbers} numbers are not {rows} rows of {columns} columns")]
    Shape {
        /// How many numbers there are.
        numbers: usize,
        /// How many rows they should make.
        rows: usize,
        /// How many numbers a row has.
        columns: usize,
    },
    /// A number that is infinite or not a number.
    #[error("value {at} is {value}, which is not finite")]
    NotFinite {
        /// Its position, from 0.
        at: usize,
        /// What stands there.
        value: f64,
    },
    /// A number that should be a probability.
    #[error("value {at} is {value}, which is no probability")]
    NoProbability {
        /// Its position, from 0.
        at: usize,
        /// What stands there.
        value: f64,
    },
    /// A part that is larger than its whole.
    #[error("{part} of {whole} is more than all")]
    MoreThanAll {
        /// How many were counted.
        part: u64,
        /// How many there are.
        whole: u64,
    },
    /// Nothing to count with: no bins, no columns.
    #[error("there must be at least one {what}")]
    Nothing {
        /// What there is none of.
        what: &'static str,
    },
}

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// That two lists are equally long.
pub(crate) fn same_length(left: usize, right: usize) -> Result<()> {
    if left == right { Ok(()) } else { Err(Error::Lengths { left, right }) }
}

/// That all numbers are finite.
pub(crate) fn finite(values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::NotFinite { at, value: values[at] }),
        None => Ok(()),
    }
}

/// That all numbers are probabilities.
pub(crate) fn probabilities(values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !(0.0..=1.0).contains(value)) {
        Some(at) => Err(Error::NoProbability { at, value: values[at] }),
        None => Ok(()),
    }
}

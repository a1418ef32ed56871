//! Why a model cannot be fitted.

/// What is wrong with what a model was given; a message is one sentence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too few customers.
    #[error("only {found} customers {what}, and {least} are needed")]
    TooFew {
        /// How many there are.
        found: usize,
        /// Of what they must have done.
        what: &'static str,
        /// How many there must be.
        least: usize,
    },
    /// A history that cannot be.
    #[error("customer {at} has {what}")]
    Impossible {
        /// Its position, from 0.
        at: usize,
        /// What cannot be.
        what: &'static str,
    },
    /// The search for the best parameters came to no end.
    #[error("the likelihood has no maximum that {tries} tries could find")]
    NoMaximum {
        /// Evaluations of the likelihood.
        tries: usize,
    },
    /// A parameter of shape that grows, or shrinks, without end.
    #[error("the fit does not settle: `{parameter}` runs away to {value:.3e}, because {because}")]
    RunsAway {
        /// The parameter.
        parameter: &'static str,
        /// Where the search left it.
        value: f64,
        /// What that says of the customers.
        because: &'static str,
    },
    /// Answers that are all the same.
    #[error("all {count} answers are the same")]
    OneAnswer {
        /// How many there are.
        count: usize,
    },
    /// Numbers that make no table.
    #[error("{numbers} numbers are not {rows} rows of {columns} columns")]
    Shape {
        /// How many numbers there are.
        numbers: usize,
        /// How many rows they should make.
        rows: usize,
        /// How many numbers a row has.
        columns: usize,
    },
}

/// What the functions of this module return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

//! What comes next: models that are fitted on what users did up to a day. Pure functions over numbers.
//!
//! Nothing here knows a store, a tag or a device; time is given in weeks, money in the units of the shop.

pub mod buyer;
mod error;
pub mod logistic;
pub mod repurchase;
mod simplex;
mod special;
pub mod spend;

pub use error::{Error, Result};

/// A fitted model with what its fit says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted<M> {
    /// The model with its parameters.
    pub model: M,
    /// Logarithm of the likelihood of all customers that it was fitted on.
    pub log_likelihood: f64,
    /// How many customers that are.
    pub customers: usize,
}

/// A model needs so many customers who came back: with fewer its parameters say little.
pub const LEAST: usize = 30;

/// A parameter of shape beyond these bounds stands for a distribution of one value: the customers do not differ in it, or
/// what they did does not show that they do.
pub(crate) const BOUNDS: (f64, f64) = (1e-4, 1e3);

/// Sums of chunks are added in their order, so that a sum does not depend on how many workers there are.
pub(crate) const CHUNK: usize = 4096;

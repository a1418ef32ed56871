//! Segments as pure functions over numbers and labels: scores and states of users, clusters and the rules that explain
//! them, and what sets a segment apart. Users are positions in slices here; ids, files and declarations are elsewhere.
//!
//! Tables of numbers are row after row, with the number of columns beside them.

pub mod cluster;
mod error;
pub mod flow;
pub mod insight;
pub mod lifecycle;
pub mod rfm;
mod table;
pub mod tree;

pub use error::{Error, Result};

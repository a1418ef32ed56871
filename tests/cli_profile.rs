//! `lookalike profile` and what shows its results.
#![allow(clippy::unwrap_used)]

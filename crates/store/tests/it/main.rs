//! The store as its users meet it: a folder with files and a `lookalike.toml` in, tables and reports out.

#![allow(clippy::unwrap_used, missing_docs)]

mod bad_input;
mod checks;
mod consent;
mod dirty;
mod golden;
mod ingest;
mod kit;
mod pairs;
mod people;
mod project;
mod replace;
mod retail;
mod rules;

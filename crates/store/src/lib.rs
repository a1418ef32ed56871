//! What happened: raw files in, a cleaned history in four canonical tables out.
//!
//! A [`Project`] is a folder with a checked `lookalike.toml`; [`ingest`] reads its sources, sets aside what is
//! wrong and writes the store; a [`Store`] is that history opened for reading. This crate knows nothing of
//! training, of what an event is worth, or of rows as numbers: ids stay text.
//!
//! # The store
//!
//! `store/` holds `users.parquet`, `items.parquet`, `events.parquet` and `edges.parquet` (zstd), sorted as
//! [`Table`] says; `quarantine.parquet` with every line that was refused; where ids are stitched together,
//! `identity.parquet` with every id that is not its person's own; and `store.json` with the format version, what it was
//! made from, the [`Report`] and the hash of each file. It is replaced as a whole.
//!
//! Version 2 of the format added `identity.parquet`, and to `store.json` what consent, identity, returns and gaps came to.

mod checks;
mod clean;
mod consent;
mod drift;
mod error;
mod expected;
mod expression;
mod files;
mod forget;
mod forgotten;
mod identity;
mod ingest;
mod interactions;
mod manifest;
mod pairs;
mod people;
mod project;
mod quarantine;
mod read;
mod repeats;
mod report;
mod returns;
mod schema;
pub mod settings;
mod sort;
mod source;
pub mod sql;
mod stage;
mod store;
mod swap;
mod time;

pub use checks::{Finding, check};
pub use consent::Consent;
pub use error::{Error, Result, listed, nearest};
pub use expected::Expected;
pub use expression::Expression;
pub use files::hash_file;
pub use forget::{Mentions, SourceLines, forget, source_files, source_lines};
pub use identity::Identity;
pub use ingest::{Phase, Progress, ingest};
pub use interactions::{Interactions, Split};
pub use pairs::{Events, Pairs, read_history, read_pairs};
pub use project::{FILE as PROJECT_FILE, Project};
pub use report::{ConsentReport, IdentityReport, Report, ReturnsReport, SourceReport};
pub use schema::Table;
pub use source::{At, Format, Kind, Missing, ReadAs, Returns, Source, Unit};
pub use store::{Rows, Store};

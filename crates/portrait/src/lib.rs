//! Who the users are: tags, profiles and segments, as of any day, and why.
//!
//! A [`Tag`] is a named, versioned function of the store up to a day. It is declared in a file; a [`Catalogue`] is all
//! tags of a project, those that ship with the program among them. A [`Profile`] is what they say of all users as of
//! one day, kept as an immutable snapshot ([`snapshot`]).
//!
//! Events are gone over once (before that over less of them, where users are compared with the population), user by user and on all cores, for
//! all tags together; nothing is kept of them but what the tags gather. Conditions and expressions are SQL.

mod catalogue;
pub mod cells;
mod clock;
mod column;
pub mod crosscheck;
pub mod decided;
mod derive;
pub mod describe;
pub mod diff;
pub mod embedding;
mod error;
mod fold;
mod forecast;
pub mod levels;
pub mod model;
mod nearness;
mod opinion;
mod partition;
mod pass;
mod plan;
pub mod principles;
mod profile;
mod rows;
pub mod segment;
pub mod sentiment;
pub mod snapshot;
mod sql;
mod tag;
pub mod validate;
pub mod why;

pub use catalogue::{Catalogue, FOLDER as TAGS_FOLDER};
pub use column::{Column, Values};
pub use error::{Error, Place, Result};
pub use forecast::{Expect, Fit, Forecast};
pub use opinion::Sentiment;
pub use profile::{About, AboutTag, Profile, latest};
pub use tag::{Body, Class, Measure, Over, Rank, Scores, Tag, Title, Value, Window};

//! Who the users are: tags, profiles and segments, as of any day, and why.

pub mod segment;

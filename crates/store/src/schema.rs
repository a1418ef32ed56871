//! The four canonical tables and what each of their columns holds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// One of the four tables of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Who: one row per user, sorted by id, with any attributes as text.
    Users,
    /// What: one row per item, sorted by id, with any attributes as text.
    Items,
    /// Who did what and when: sorted by user, time and order in the sources.
    Events,
    /// Who or what belongs to what: sorted by both ends and kind.
    Edges,
}

/// What a column holds, and so how a raw value is cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A name that is compared: white space around it is removed, and nothing is left of an empty one.
    Id,
    /// Text to be read, kept as it is.
    Text,
    /// A finite number.
    Number,
    /// An instant between the years 1900 and 2200.
    Time,
    /// Steps from the root of a hierarchy down.
    Path,
}

impl Role {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Role::Id | Role::Text => DataType::Utf8,
            Role::Number => DataType::Float64,
            Role::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Role::Path => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        }
    }
}

/// Name, role, and whether every row must have it.
pub(crate) type Column = (&'static str, Role, bool);

impl Table {
    /// All four, in the order in which they are written and hashed.
    pub const ALL: [Table; 4] = [Table::Users, Table::Items, Table::Events, Table::Edges];

    /// The table's name in `lookalike.toml` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Table::Users => "users",
            Table::Items => "items",
            Table::Events => "events",
            Table::Edges => "edges",
        }
    }

    /// The table's file in the store.
    pub fn file_name(self) -> String {
        format!("{}.parquet", self.name())
    }

    /// The canonical columns, in the order of the file; attributes follow them.
    pub(crate) fn canonical(self) -> &'static [Column] {
        use Role::{Id, Number, Path, Text, Time};
        match self {
            Table::Users => &[("user", Id, true)],
            Table::Items => &[
                ("item", Id, true),
                ("title", Text, false),
                ("category", Path, false),
                ("brand", Text, false),
                ("price", Number, false),
            ],
            Table::Events => &[
                ("user", Id, true),
                ("at", Time, true),
                ("kind", Id, true),
                ("item", Id, false),
                ("value", Number, false),
                ("quantity", Number, false),
                ("discount", Number, false),
                ("session", Id, false),
                ("channel", Id, false),
                ("campaign", Id, false),
                ("text", Text, false),
                ("source", Id, true),
            ],
            Table::Edges => {
                &[("from", Id, true), ("to", Id, true), ("kind", Id, true), ("at", Time, false), ("source", Id, true)]
            }
        }
    }

    /// Columns that settle the order of the rows; ties keep the order of the sources.
    pub(crate) fn order(self) -> &'static [&'static str] {
        match self {
            Table::Users => &["user"],
            Table::Items => &["item"],
            Table::Events => &["user", "at"],
            Table::Edges => &["from", "to", "kind"],
        }
    }

    /// The column that may hold each value only once.
    pub(crate) fn id(self) -> Option<&'static str> {
        match self {
            Table::Users => Some("user"),
            Table::Items => Some("item"),
            Table::Events | Table::Edges => None,
        }
    }

    /// What a canonical column holds; `None` if the table has no such column.
    pub(crate) fn role(self, name: &str) -> Option<Role> {
        self.canonical().iter().find(|(column, ..)| *column == name).map(|(_, role, _)| *role)
    }

    /// The canonical columns but for these.
    pub(crate) fn names_without(self, without: &[&str]) -> Vec<&'static str> {
        self.canonical().iter().map(|(name, ..)| *name).filter(|name| !without.contains(name)).collect()
    }

    /// The columns that name people. A source of edges may say that only one end is a person, or none.
    pub(crate) fn people(self) -> Vec<String> {
        let names: &[&str] = match self {
            Table::Users | Table::Events => &["user"],
            Table::Edges => &["from", "to"],
            Table::Items => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Whether a source may add columns of its own.
    pub(crate) fn takes_attributes(self) -> bool {
        self.id().is_some()
    }

    /// The schema of the table's file with these attributes.
    pub(crate) fn schema<S: AsRef<str>>(self, attributes: &[S]) -> SchemaRef {
        let canonical =
            self.canonical().iter().map(|(name, role, required)| Field::new(*name, role.data_type(), !required));
        let attributes = attributes.iter().map(|name| Field::new(name.as_ref(), DataType::Utf8, true));
        Arc::new(Schema::new(canonical.chain(attributes).collect::<Vec<_>>()))
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

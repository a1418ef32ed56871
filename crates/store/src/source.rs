//! One `[sources.NAME]` of the project file: which files there are, what their columns mean, and what is put right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::error::{Result, listed};
use crate::expected::Expected;
use crate::expression::Expression;
use crate::project::zone;
use crate::schema::{Role, Table};
use crate::settings::Entry;

/// One `[sources.NAME]`.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Source {
    /// The name of the section.
    pub name: String,
    /// Path or glob, relative to the project folder.
    pub path: String,
    /// Line of `path` in the project file, from 1.
    #[serde(skip)]
    pub line: usize,
    /// How the files are written; by their extension if `None`.
    pub format: Option<Format>,
    /// The canonical table that the lines go to.
    pub table: Table,
    /// The kind of the events or edges; `None` for users and items, and where `set` says it.
    pub kind: Option<Kind>,
    /// Columns of the source that together name a line; empty if lines may repeat.
    pub key: Vec<String>,
    /// Where the time of a line comes from.
    pub at: Option<At>,
    /// Canonical column or attribute → columns of the source.
    pub map: BTreeMap<String, Vec<String>>,
    /// Canonical column or attribute → what is written there instead.
    pub set: BTreeMap<String, Expression>,
    /// What is done where a canonical column or attribute is empty.
    pub missing: BTreeMap<String, Missing>,
    /// Which lines take earlier ones back.
    pub returns: Option<Returns>,
    /// The canonical columns that name people.
    pub people: Vec<String>,
    /// Canonical columns that a line must have, those the table asks for included.
    pub not_null: Vec<String>,
    /// SQL conditions that send a line to quarantine.
    pub quarantine: Vec<Expression>,
    /// As what attributes of users and items are read where models learn from them; the store does not depend on it.
    #[serde(skip)]
    pub read_as: BTreeMap<String, ReadAs>,
    /// What `check data` holds the source to; the store does not depend on it.
    #[serde(skip)]
    pub expected: Expected,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Fields divided by commas, with a header.
    Csv,
    /// Fields divided by tabs, with a header.
    Tsv,
    /// One JSON object per line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

/// The kind of an event or edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The same for every line.
    Literal(String),
    /// Read from this column of the source.
    Column(String),
}

/// Where the time of a line comes from and how it is to be read.
#[derive(Debug, Clone, Serialize)]
pub struct At {
    /// Column of the source.
    pub column: String,
    /// The zone of a stamp that names no offset; the project's zone unless typed.
    #[serde(serialize_with = "zone_name")]
    pub stored_as: TimeZone,
    /// A `strptime` pattern, where the stamps are not ISO 8601.
    pub format: Option<String>,
    /// What a whole number counts since 1970.
    pub unit: Option<Unit>,
}

/// What a number counts since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
}

/// As what an attribute enters a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadAs {
    /// As it stands: each value is one of its own.
    Word,
    /// As a number, by the tenth that it falls into.
    Number,
    /// As a text, by its words and pairs of words.
    Text,
}

/// What is done with a line whose column is empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It goes to quarantine.
    Drop,
    /// It stays as it is, and is counted.
    Keep,
    /// This is written there.
    Text(String),
    /// This is written there.
    Number(f64),
}

/// Lines that take earlier ones back.
#[derive(Debug, Clone, Serialize)]
pub struct Returns {
    /// The condition that makes a line a return.
    pub when: Expression,
    /// The kind that such a line gets.
    pub kind: String,
    /// The kind of the lines that it takes back.
    pub of: String,
    /// Canonical columns in which both agree.
    pub key: Vec<String>,
}

impl Source {
    /// All kinds that its lines can have; `None` if only the lines tell.
    pub(crate) fn kinds(&self) -> Option<Vec<&str>> {
        if self.set.contains_key("kind") {
            return None;
        }
        let returned = self.returns.iter().map(|returns| returns.kind.as_str());
        match &self.kind {
            Some(Kind::Literal(word)) => Some([word.as_str()].into_iter().chain(returned).collect()),
            Some(Kind::Column(_)) => None,
            None => Some(Vec::new()),
        }
    }

    /// Whether the source says anything about this canonical column or attribute.
    pub(crate) fn has(&self, name: &str) -> bool {
        let own = match name {
            "at" => self.at.is_some(),
            "kind" => self.kind.is_some(),
            _ => self.map.contains_key(name),
        };
        own || self.set.contains_key(name)
    }
}

pub(crate) fn zone_name<S: Serializer>(zone: &TimeZone, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(zone.iana_name().unwrap_or("UTC"))
}

/// One of the words of `allowed`, turned into what it stands for.
pub(crate) fn word<T: Clone>(entry: &Entry<'_>, what: &str, allowed: &[(&'static str, T)]) -> Result<T> {
    let word = entry.text()?;
    let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
    let found = allowed.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| value.clone()).ok_or_else(|| entry.unknown(what, &word, &names))
}

const FORMATS: [(&str, Format); 4] =
    [("csv", Format::Csv), ("tsv", Format::Tsv), ("jsonl", Format::Jsonl), ("parquet", Format::Parquet)];

impl Format {
    /// The format that the extension of `path` stands for.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_lowercase();
        FORMATS.iter().find(|(name, _)| *name == extension).map(|(_, format)| *format)
    }
}

pub(crate) fn source(name: String, entry: &Entry<'_>, zone: &TimeZone) -> Result<Source> {
    let mut typed = entry.section()?;
    let path = typed.require("path")?;
    let format = typed.take("format").map(|entry| word(&entry, "format", &FORMATS)).transpose()?;
    if format.is_none() && Format::of(Path::new(&path.text()?)).is_none() {
        let known = listed(&FORMATS.map(|(name, _)| name));
        return Err(path.error(format_args!("has an extension that is none of {known}, and there is no `format`")));
    }
    let table = word(&typed.require("table")?, "table", &Table::ALL.map(|table| (table.name(), table)))?;
    let set = typed.take("set").map(|entry| set(&entry, table)).transpose()?.unwrap_or_default();
    let kind = match (table.role("kind").is_some(), set.contains_key("kind")) {
        (true, false) => Some(kind(&typed.require("kind")?)?),
        (true, true) => typed.take("kind").map(|entry| kind(&entry)).transpose()?,
        (false, _) => None,
    };
    let at = match table {
        Table::Events => Some(at(&typed.require("at")?, zone)?),
        Table::Edges => typed.take("at").map(|entry| at(&entry, zone)).transpose()?,
        Table::Users | Table::Items => None,
    };
    let map = map(&typed.require("map")?, table, &set)?;
    let key = match typed.take("key") {
        Some(key) => {
            let columns = key.texts()?;
            if table.id().is_some_and(|id| map.get(id) != Some(&columns)) {
                return Err(key.error(format_args!("of the table `{table}` can only be the column of its id")));
            }
            columns
        }
        None => table.id().and_then(|id| map.get(id).cloned()).unwrap_or_default(),
    };
    let mut source = Source {
        name,
        path: path.text()?,
        line: path.line(),
        format,
        table,
        kind,
        key,
        at,
        map,
        set,
        missing: BTreeMap::new(),
        returns: None,
        people: table.people(),
        not_null: Vec::new(),
        quarantine: Vec::new(),
        read_as: BTreeMap::new(),
        expected: Expected::default(),
    };
    if table.takes_attributes()
        && let Some(entry) = typed.take("as")
    {
        source.read_as = read_as(&entry, &source)?;
    }
    if table == Table::Edges
        && let Some(entry) = typed.take("people")
    {
        source.people =
            entry.entries()?.iter().map(|entry| word(entry, "end", &ENDS).map(str::to_owned)).collect::<Result<_>>()?;
    }
    if let Some(entry) = typed.take("missing") {
        source.missing = missing(&entry, &source)?;
    }
    if let Some(entry) = typed.take("returns") {
        source.returns = Some(returns(&entry, &source)?);
    }
    let required = table.canonical().iter().filter(|(name, _, required)| *required && *name != "source");
    source.not_null = required.map(|(name, ..)| (*name).to_owned()).collect();
    if let Some(entry) = typed.take("contract") {
        contract(&entry, &mut source)?;
    }
    if let Some(entry) = typed.take("freshness") {
        source.expected.freshness(&entry, source.at.is_some())?;
    }
    if let Some(entry) = typed.take("drift") {
        source.expected.drift(&entry, source.at.is_some())?;
    }
    typed.finish()?;
    Ok(source)
}

fn read_as(entry: &Entry<'_>, source: &Source) -> Result<BTreeMap<String, ReadAs>> {
    const WORDS: [(&str, ReadAs); 3] = [("word", ReadAs::Word), ("number", ReadAs::Number), ("text", ReadAs::Text)];
    let filled: BTreeSet<&str> = source.map.keys().chain(source.set.keys()).map(String::as_str).collect();
    let attributes: Vec<&str> = filled.into_iter().filter(|name| source.table.role(name).is_none()).collect();
    let read = |(name, entry): (String, Entry<'_>)| match attributes.contains(&name.as_str()) {
        true => Ok((name, word(&entry, "way to read it", &WORDS)?)),
        false => Err(entry.unknown("attribute", &name, &attributes)),
    };
    entry.section()?.rest().into_iter().map(read).collect()
}

const ENDS: [(&str, &str); 2] = [("from", "from"), ("to", "to")];

fn kind(entry: &Entry<'_>) -> Result<Kind> {
    if entry.is_text() {
        return Ok(Kind::Literal(entry.text()?));
    }
    let mut typed = entry.section()?;
    let column = typed.require("column")?.text()?;
    typed.finish()?;
    Ok(Kind::Column(column))
}

fn at(entry: &Entry<'_>, project_zone: &TimeZone) -> Result<At> {
    if entry.is_text() {
        return Ok(At { column: entry.text()?, stored_as: project_zone.clone(), format: None, unit: None });
    }
    const UNITS: [(&str, Unit); 3] = [("s", Unit::Second), ("ms", Unit::Millisecond), ("us", Unit::Microsecond)];
    let mut typed = entry.section()?;
    let column = typed.require("column")?.text()?;
    let stored_as = typed.take("stored_as").map(|entry| zone(&entry)).transpose()?;
    let format = typed.take("format").map(|entry| pattern(&entry)).transpose()?;
    let unit = typed.take("unit").map(|entry| word(&entry, "unit", &UNITS)).transpose()?;
    typed.finish()?;
    Ok(At { column, stored_as: stored_as.unwrap_or_else(|| project_zone.clone()), format, unit })
}

/// A `strptime` pattern that at least can be written, so that a typing error does not quarantine every line.
fn pattern(entry: &Entry<'_>) -> Result<String> {
    let pattern = entry.text()?;
    let sample = Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    match jiff::fmt::strtime::format(&pattern, &sample) {
        Ok(_) => Ok(pattern),
        Err(error) => Err(entry.error(format_args!("is no time pattern: {error}"))),
    }
}

/// The name of a column that a source may fill: canonical, or where the table takes such, an attribute.
fn column(entry: &Entry<'_>, name: &str, table: Table, canonical: &[&str]) -> Result<Option<Role>> {
    match table.role(name).filter(|_| canonical.contains(&name)) {
        Some(role) => Ok(Some(role)),
        None if !table.takes_attributes() => Err(entry.unknown("column", name, canonical)),
        None if name.trim().is_empty() || name.starts_with('#') => {
            Err(entry.error("cannot be the name of an attribute"))
        }
        None => Ok(None),
    }
}

fn map(entry: &Entry<'_>, table: Table, set: &BTreeMap<String, Expression>) -> Result<BTreeMap<String, Vec<String>>> {
    // `kind`, `at` and `source` are columns too, but they are not filled through `map`.
    let names = table.names_without(&["kind", "at", "source"]);
    let mut map = BTreeMap::new();
    for (name, entry) in entry.section()?.rest() {
        let columns = entry.texts()?;
        match column(&entry, &name, table, &names)? {
            Some(Role::Id | Role::Number | Role::Time) if columns.len() > 1 => {
                return Err(entry.error("takes one column, not a list"));
            }
            _ => map.insert(name, columns),
        };
    }
    for (name, ..) in table.canonical().iter().filter(|(name, _, required)| *required && names.contains(name)) {
        if !map.contains_key(*name) && !set.contains_key(*name) {
            return Err(entry.error(format_args!("lacks `{name}`, which every line of `{table}` must have")));
        }
    }
    Ok(map)
}

fn set(entry: &Entry<'_>, table: Table) -> Result<BTreeMap<String, Expression>> {
    // A time is read as `at` says, and the source of a line is what it is.
    let names = table.names_without(&["at", "source"]);
    let mut set = BTreeMap::new();
    for (name, entry) in entry.section()?.rest() {
        column(&entry, &name, table, &names)?;
        set.insert(name, entry.expression()?);
    }
    Ok(set)
}

/// The columns that a source fills, for hints and checks.
fn filled(source: &Source) -> Vec<String> {
    let own = ["at", "kind"].iter().filter(|name| source.has(name)).map(|name| (*name).to_owned());
    let mut names: Vec<String> = source.map.keys().chain(source.set.keys()).cloned().chain(own).collect();
    names.sort();
    names.dedup();
    names
}

fn missing(entry: &Entry<'_>, source: &Source) -> Result<BTreeMap<String, Missing>> {
    let names = filled(source);
    let mut missing = BTreeMap::new();
    for (name, entry) in entry.section()?.rest() {
        if !names.contains(&name) {
            return Err(entry.unknown("column", &name, &names));
        }
        let role = source.table.role(&name);
        let rule = if entry.is_text() {
            word(&entry, "rule", &[("drop", Missing::Drop), ("keep", Missing::Keep)])?
        } else {
            let mut typed = entry.section()?;
            let value = typed.require("value")?;
            typed.finish()?;
            match role {
                Some(Role::Time) => return Err(entry.error("cannot be filled: a time that nobody knows is none")),
                Some(Role::Number) => Missing::Number(value.finite()?),
                _ => Missing::Text(value.text()?),
            }
        };
        let required = source.table.canonical().iter().any(|(column, _, required)| *column == name && *required);
        if required && rule == Missing::Keep {
            return Err(
                entry.error(format_args!("cannot be kept empty: every line of `{}` must have it", source.table))
            );
        }
        missing.insert(name, rule);
    }
    Ok(missing)
}

fn returns(entry: &Entry<'_>, source: &Source) -> Result<Returns> {
    if source.table != Table::Events {
        return Err(entry.error(format_args!("is for events, and this source fills `{}`", source.table)));
    }
    let mut typed = entry.section()?;
    let when = typed.require("when")?.expression()?;
    let kind = typed.take("kind").map(|entry| entry.text()).transpose()?.unwrap_or_else(|| "return".to_owned());
    let of = match (typed.take("of"), &source.kind) {
        (Some(entry), _) => entry.text()?,
        (None, Some(Kind::Literal(word))) if !source.set.contains_key("kind") => word.clone(),
        (None, _) => return Err(entry.error("lacks `of`: which kind of event is taken back")),
    };
    if of == kind {
        return Err(entry.error(format_args!("gives returns the kind `{kind}` of what they take back")));
    }
    let mut key = vec!["user".to_owned(), "item".to_owned()];
    if let Some(entry) = typed.take("key") {
        key = entry.texts()?;
        let names: Vec<String> =
            filled(source).into_iter().filter(|name| source.table.role(name) == Some(Role::Id)).collect();
        if let Some(name) = key.iter().find(|name| !names.contains(name)) {
            return Err(entry.unknown("column", name, &names));
        }
    }
    typed.finish()?;
    if let Some(name) = key.iter().find(|name| !source.has(name)) {
        return Err(entry.error(format_args!("compares `{name}`, which this source does not fill")));
    }
    Ok(Returns { when, kind, of, key })
}

fn contract(entry: &Entry<'_>, source: &mut Source) -> Result<()> {
    let names = filled(source);
    let mut typed = entry.section()?;
    if let Some(entry) = typed.take("not_null") {
        for name in entry.texts()? {
            if !names.contains(&name) {
                return Err(entry.unknown("column", &name, &names));
            }
            if !source.not_null.contains(&name) {
                source.not_null.push(name);
            }
        }
    }
    if let Some(entry) = typed.take("quarantine") {
        source.quarantine = entry.entries()?.iter().map(Entry::expression).collect::<Result<_>>()?;
    }
    let numbers: Vec<String> = names.into_iter().filter(|name| source.table.role(name) == Some(Role::Number)).collect();
    source.expected.contract(&mut typed, &numbers)?;
    typed.finish()
}

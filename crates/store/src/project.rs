//! The checked form of `lookalike.toml`: nothing in here can be a wrong word, a bad number or an unknown zone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use crate::error::{Error, Result, listed, nearest};
use crate::interactions::Interactions;
use crate::schema::{Role, Table};
use crate::settings::{Document, Entry, Section};

/// Name of the file that makes a folder a project.
pub const FILE: &str = "lookalike.toml";

/// A folder with a checked `lookalike.toml`.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder.
    pub root: PathBuf,
    /// What the project is called; the folder's name unless `project.name` says otherwise.
    pub name: String,
    /// Where its days begin; UTC unless `project.timezone` says otherwise.
    pub timezone: TimeZone,
    /// The smallest group of users that may leave the tool.
    pub min_cell: u32,
    /// The sources, in the order in which they were typed.
    pub sources: Vec<Source>,
    /// What training counts as a signal.
    pub interactions: Interactions,
}

/// One `[sources.NAME]`: which files there are and what their columns mean.
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
    /// The kind of the events or edges; `None` for users and items.
    pub kind: Option<Kind>,
    /// Columns of the source that together name a line; empty if lines may repeat.
    pub key: Vec<String>,
    /// Where the time of a line comes from.
    pub at: Option<At>,
    /// Canonical column or attribute → columns of the source.
    pub map: BTreeMap<String, Vec<String>>,
    /// Canonical columns that a line must have, those the table asks for included.
    pub not_null: Vec<String>,
    /// SQL conditions that send a line to quarantine.
    pub quarantine: Vec<String>,
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

impl Project {
    /// Reads and checks `lookalike.toml` in `dir`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Project> {
        let root = dir.as_ref();
        let file = root.join(FILE);
        if !file.is_file() {
            return Err(Error::NoProject { dir: root.to_owned() });
        }
        let document = Document::read(&file)?;
        let table = document.parse()?;
        let mut typed = Section::root(&document, &table);
        let (name, timezone, min_cell) = head(root, typed.take("project"))?;
        let mut sources = Vec::new();
        if let Some(entry) = typed.take("sources") {
            for (name, entry) in entry.section()?.rest() {
                sources.push(source(name, &entry, &timezone)?);
            }
        }
        let interactions = Interactions::check(&typed.require("interactions")?, root, &timezone, &sources)?;
        typed.finish()?;
        Ok(Project { root: root.to_owned(), name, timezone, min_cell, sources, interactions })
    }

    /// A hash of everything in the project file that a store depends on.
    pub(crate) fn ingest_hash(&self) -> String {
        let text = serde_json::to_string(&self.sources).unwrap_or_default();
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join(FILE)
    }
}

fn head(root: &Path, entry: Option<Entry<'_>>) -> Result<(String, TimeZone, u32)> {
    let folder = || {
        let path = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        path.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned())
    };
    let Some(entry) = entry else { return Ok((folder(), TimeZone::UTC, 5)) };
    let mut typed = entry.section()?;
    let name = typed.take("name").map(|entry| entry.text()).transpose()?.unwrap_or_else(folder);
    let zone = typed.take("timezone").map(|entry| zone(&entry)).transpose()?.unwrap_or(TimeZone::UTC);
    let min_cell = typed.take("min_cell").map(|entry| entry.whole(1)).transpose()?.unwrap_or(5);
    typed.finish()?;
    Ok((name, zone, min_cell))
}

fn zone(entry: &Entry<'_>) -> Result<TimeZone> {
    let name = entry.text()?;
    TimeZone::get(&name).map_err(|_| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let near = nearest(&name, &names);
        entry.unknown("time zone", &name, near.as_slice())
    })
}

fn zone_name<S: Serializer>(zone: &TimeZone, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(zone.iana_name().unwrap_or("UTC"))
}

/// One of the words of `allowed`, turned into what it stands for.
fn word<T: Copy>(entry: &Entry<'_>, what: &str, allowed: &[(&'static str, T)]) -> Result<T> {
    let word = entry.text()?;
    let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
    let found = allowed.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| entry.unknown(what, &word, &names))
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

fn source(name: String, entry: &Entry<'_>, zone: &TimeZone) -> Result<Source> {
    let mut typed = entry.section()?;
    let path = typed.require("path")?;
    let format = typed.take("format").map(|entry| word(&entry, "format", &FORMATS)).transpose()?;
    if format.is_none() && Format::of(Path::new(&path.text()?)).is_none() {
        let known = listed(&FORMATS.map(|(name, _)| name));
        return Err(path.error(format_args!("has an extension that is none of {known}, and there is no `format`")));
    }
    let table = word(&typed.require("table")?, "table", &Table::ALL.map(|table| (table.name(), table)))?;
    let has = |name: &str| table.canonical().iter().any(|(column, ..)| *column == name);
    let kind = if has("kind") { Some(kind(&typed.require("kind")?)?) } else { None };
    let at = match table {
        Table::Events => Some(at(&typed.require("at")?, zone)?),
        Table::Edges => typed.take("at").map(|entry| at(&entry, zone)).transpose()?,
        Table::Users | Table::Items => None,
    };
    let map = map(&typed.require("map")?, table)?;
    let key = match typed.take("key") {
        Some(key) => {
            let columns = key.texts()?;
            if table.id().is_some_and(|id| map[id] != columns) {
                return Err(key.error(format_args!("of the table `{table}` can only be the column of its id")));
            }
            columns
        }
        None => table.id().map(|id| map[id].clone()).unwrap_or_default(),
    };
    let mut mapped: Vec<String> = map.keys().cloned().collect();
    mapped.extend(at.is_some().then(|| "at".to_owned()));
    mapped.extend(kind.is_some().then(|| "kind".to_owned()));
    let (not_null, quarantine) = contract(typed.take("contract"), table, &mapped)?;
    typed.finish()?;
    Ok(Source { name, path: path.text()?, line: path.line(), format, table, kind, key, at, map, not_null, quarantine })
}

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

fn map(entry: &Entry<'_>, table: Table) -> Result<BTreeMap<String, Vec<String>>> {
    // `kind`, `at` and `source` are columns too, but they are not filled through `map`.
    let canonical: Vec<_> =
        table.canonical().iter().filter(|(name, ..)| !["kind", "at", "source"].contains(name)).collect();
    let names: Vec<&str> = canonical.iter().map(|(name, ..)| *name).collect();
    let mut map = BTreeMap::new();
    for (name, entry) in entry.section()?.rest() {
        let columns = entry.texts()?;
        let role = canonical.iter().find(|(column, ..)| *column == name).map(|(_, role, _)| *role);
        match role {
            None if !table.takes_attributes() => return Err(entry.unknown("column", &name, &names)),
            None if name.trim().is_empty() || name.starts_with('#') => {
                return Err(entry.error("cannot be the name of an attribute"));
            }
            Some(Role::Id | Role::Number | Role::Time) if columns.len() > 1 => {
                return Err(entry.error("takes one column, not a list"));
            }
            _ => map.insert(name, columns),
        };
    }
    for (name, ..) in canonical.iter().filter(|(.., required)| *required) {
        if !map.contains_key(*name) {
            return Err(entry.error(format_args!("lacks `{name}`, which every line of `{table}` must have")));
        }
    }
    Ok(map)
}

fn contract(entry: Option<Entry<'_>>, table: Table, mapped: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    let required = table.canonical().iter().filter(|(name, _, required)| *required && *name != "source");
    let mut not_null: Vec<String> = required.map(|(name, ..)| (*name).to_owned()).collect();
    let Some(entry) = entry else { return Ok((not_null, Vec::new())) };
    let mut typed = entry.section()?;
    if let Some(entry) = typed.take("not_null") {
        for name in entry.texts()? {
            if !mapped.contains(&name) {
                return Err(entry.unknown("column", &name, mapped));
            }
            if !not_null.contains(&name) {
                not_null.push(name);
            }
        }
    }
    let quarantine = typed.take("quarantine").map(|entry| entry.texts()).transpose()?.unwrap_or_default();
    typed.finish()?;
    Ok((not_null, quarantine))
}

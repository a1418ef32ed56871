//! The checked form of `lookalike.toml`: nothing in here can be a wrong word, a bad number or an unknown zone.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::consent::Consent;
use crate::error::{Error, Result, nearest};
use crate::forgotten::Forgotten;
use crate::identity::Identity;
use crate::interactions::Interactions;
use crate::settings::{Document, Entry, Section};
use crate::source::{At, Source, source};

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
    /// Who allows what, if people are asked.
    pub consent: Option<Consent>,
    /// Which ids are one person, if that is found out.
    pub identity: Option<Identity>,
    /// What training counts as a signal.
    pub interactions: Interactions,
    /// Those who asked to be forgotten.
    pub(crate) forgotten: Forgotten,
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
        let consent = typed.take("consent").map(|entry| Consent::check(&entry, &timezone, &sources)).transpose()?;
        let identity = typed.take("identity").map(|entry| Identity::check(&entry, &sources)).transpose()?;
        let interactions = Interactions::check(&typed.require("interactions")?, root, &timezone, &sources)?;
        typed.finish()?;
        let (root, forgotten) = (root.to_owned(), Forgotten::open(root)?);
        Ok(Project { root, name, timezone, min_cell, sources, consent, identity, interactions, forgotten })
    }

    /// An instant as somebody types it: a date, which begins at midnight in the project's zone, or a time.
    pub fn instant(&self, text: &str) -> Option<Timestamp> {
        let at = At { column: String::new(), stored_as: self.timezone.clone(), format: None, unit: None };
        let (micros, _) = crate::time::from_text(text.trim(), &at).ok()?;
        Timestamp::from_microsecond(micros).ok()
    }

    /// Whether this person asked to be forgotten.
    pub fn has_forgotten(&self, user: &str) -> bool {
        self.forgotten.holds(user)
    }

    /// A hash of who asked to be forgotten; `None` if nobody did.
    pub fn forgotten_hash(&self) -> Option<String> {
        self.forgotten.hash()
    }

    /// A hash of everything in the project file that a store depends on.
    pub(crate) fn ingest_hash(&self) -> String {
        let text = serde_json::to_string(&(&self.sources, &self.consent, &self.identity)).unwrap_or_default();
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

pub(crate) fn zone(entry: &Entry<'_>) -> Result<TimeZone> {
    let name = entry.text()?;
    TimeZone::get(&name).map_err(|_| {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let near = nearest(&name, &names);
        entry.unknown("time zone", &name, near.as_slice())
    })
}

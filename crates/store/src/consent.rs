//! The consent ledger: who allows what, as events of a declared kind say it.
//!
//! A row grants, denies or revokes, for one purpose or for all. Of the rows that concern a purpose the latest counts, and
//! of several at one instant the strictest. A grant may have an end; after it the answer is no, not what holds for people
//! who never said anything. Whether somebody may be used is asked for the day on which they are used: a person who
//! revokes today is in nothing that is made today, whatever day it is about.

use std::collections::HashSet;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::TimestampMicrosecondType;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::clean::Verdicts;
use crate::error::Result;
use crate::report::ConsentReport;
use crate::schema::{Role, Table};
use crate::settings::Entry;
use crate::source::{At, Source, word, zone_name};
use crate::store::columns;
use crate::time;

/// The purposes of a project that names none.
const PURPOSES: [&str; 3] = ["training", "profile", "marketing"];
/// The word for all purposes at once; an empty field means the same.
const ALL: &str = "all";

/// `[consent]`: which events are rows of the ledger, and what holds for people without one.
#[derive(Debug, Clone, Serialize)]
pub struct Consent {
    /// The kind of such an event.
    pub kind: String,
    /// The column of events that says `grant`, `deny` or `revoke`.
    pub action: String,
    /// The column that names the purpose; without it a row is about all of them.
    pub purpose: Option<String>,
    /// The column that says when a grant ends.
    pub expires: Option<String>,
    /// Whether people without a row may be used.
    pub granted: bool,
    /// What data are used for.
    pub purposes: Vec<String>,
    /// Where the days of `expires` begin.
    #[serde(serialize_with = "zone_name")]
    zone: TimeZone,
}

/// What a row of the ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Grant,
    Refuse,
}

struct Row {
    at: i64,
    action: Action,
    purpose: Option<String>,
    expires: Option<i64>,
}

impl Consent {
    pub(crate) fn check(entry: &Entry<'_>, zone: &TimeZone, sources: &[Source]) -> Result<Self> {
        let text = |name: &&str| matches!(Table::Events.role(name), Some(Role::Id | Role::Text));
        let names: Vec<&str> =
            Table::Events.names_without(&["user", "kind", "source"]).into_iter().filter(text).collect();
        let column = |entry: &Entry<'_>| -> Result<String> {
            let name = entry.text()?;
            if names.contains(&name.as_str()) { Ok(name) } else { Err(entry.unknown("column", &name, &names)) }
        };
        let mut typed = entry.section()?;
        let kind = typed.require("kind")?;
        let known: Option<Vec<Vec<&str>>> =
            sources.iter().filter(|source| source.table == Table::Events).map(Source::kinds).collect();
        if let Some(known) = known.map(|kinds| kinds.concat())
            && !known.contains(&kind.text()?.as_str())
        {
            return Err(kind.unknown("kind", &kind.text()?, &known));
        }
        let consent = Consent {
            kind: kind.text()?,
            action: column(&typed.require("action")?)?,
            purpose: typed.take("purpose").map(|entry| column(&entry)).transpose()?,
            expires: typed.take("expires").map(|entry| column(&entry)).transpose()?,
            granted: word(&typed.require("default")?, "default", &[("granted", true), ("denied", false)])?,
            purposes: match typed.take("purposes") {
                Some(entry) => entry.texts()?,
                None => PURPOSES.map(str::to_owned).to_vec(),
            },
            zone: zone.clone(),
        };
        typed.finish()?;
        Ok(consent)
    }

    /// Refuses rows of the ledger that cannot be understood; nobody's word is guessed at.
    pub(crate) fn judge(&self, rows: &RecordBatch, verdicts: &mut Verdicts) {
        let text = |name: &str| rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let (Some(kinds), Some(actions)) = (text("kind"), text(&self.action)) else { return };
        let purposes = self.purpose.as_ref().and_then(|name| text(name));
        let expires = self.expires.as_ref().and_then(|name| text(name));
        for row in (0..rows.num_rows()).filter(|&row| kinds.is_valid(row) && kinds.value(row) == self.kind) {
            let action = value(Some(actions), row).unwrap_or_default();
            if action_of(action).is_none() {
                verdicts.reject(row, &self.unclear(), action);
            }
            let named = value(purposes, row).filter(|purpose| *purpose != ALL);
            if let Some(purpose) = named.filter(|purpose| !self.purposes.iter().any(|known| known == purpose)) {
                verdicts.reject(row, &self.no_purpose(), purpose);
            }
            if let Some(text) = value(expires, row).filter(|text| self.instant(text).is_none()) {
                verdicts.reject(row, &self.no_end(), text);
            }
        }
    }

    fn unclear(&self) -> String {
        format!("`{}` says neither `grant` nor `deny` nor `revoke`", self.action)
    }

    fn no_purpose(&self) -> String {
        format!("`{}` names no purpose of the project", self.purpose.as_deref().unwrap_or_default())
    }

    fn no_end(&self) -> String {
        format!("`{}` is no end of a consent", self.expires.as_deref().unwrap_or_default())
    }

    /// Whether lines are refused for this reason because somebody's word is not understood.
    pub(crate) fn refuses(&self, reason: &str) -> bool {
        [self.unclear(), self.no_purpose(), self.no_end()].iter().any(|rule| rule == reason)
    }

    fn instant(&self, text: &str) -> Option<i64> {
        let at = At { column: String::new(), stored_as: self.zone.clone(), format: None, unit: None };
        time::from_text(text.trim(), &at).ok().map(|(micros, _)| micros)
    }

    /// Whether a person with these rows may be used for `purpose`.
    fn allows(&self, rows: &[Row], purpose: &str, as_of: i64) -> bool {
        let concerns = |row: &&Row| row.at <= as_of && row.purpose.as_ref().is_none_or(|named| named == purpose);
        let Some(latest) = rows.iter().filter(concerns).map(|row| row.at).max() else { return self.granted };
        rows.iter()
            .filter(concerns)
            .filter(|row| row.at == latest)
            .all(|row| row.action == Action::Grant && row.expires.is_none_or(|expires| expires > as_of))
    }

    /// The people whose data may not be used for `purpose` at `as_of`, out of all that the tables in `folder` name. A
    /// purpose that the project does not name is allowed by nobody who did not allow all that it names.
    pub(crate) fn withheld(&self, folder: &Path, purpose: &str, as_of: Timestamp) -> Result<HashSet<String>> {
        let as_of = as_of.as_microsecond();
        let named: Vec<&str> = self.purposes.iter().map(String::as_str).filter(|named| *named == purpose).collect();
        let purposes = if named.is_empty() { self.purposes.iter().map(String::as_str).collect() } else { named };
        let mut withheld = HashSet::new();
        let mut settle = |user: &str, rows: &[Row]| {
            if !purposes.iter().all(|purpose| self.allows(rows, purpose, as_of)) {
                withheld.insert(user.to_owned());
            }
        };
        if !self.granted {
            // People without any event stand in their table alone.
            for batch in columns(&folder.join(Table::Users.file_name()), &["user"], None)? {
                batch?.column(0).as_string::<i32>().iter().flatten().for_each(|user| settle(user, &[]));
            }
        }
        let mut granted = HashSet::new();
        self.each(folder, |user, rows, _| {
            settle(user, rows);
            if purposes.iter().all(|purpose| self.allows(rows, purpose, as_of)) {
                granted.insert(user.to_owned());
            }
        })?;
        withheld.retain(|user| !granted.contains(user));
        Ok(withheld)
    }

    /// Calls `tell` for every person with events: the id, their rows of the ledger, and whether there are other events.
    fn each(&self, folder: &Path, mut tell: impl FnMut(&str, &[Row], bool)) -> Result<()> {
        let mut names = vec!["user", "kind", "at", self.action.as_str()];
        let purpose = self.purpose.as_ref().map(|name| (names.push(name), names.len() - 1).1);
        let expires = self.expires.as_ref().map(|name| (names.push(name), names.len() - 1).1);
        let (mut now, mut rows, mut others): (Option<String>, Vec<Row>, bool) = (None, Vec::new(), false);
        for batch in columns(&folder.join(Table::Events.file_name()), &names, None)? {
            let batch = batch?;
            let text = |column: usize| batch.column(column).as_string::<i32>();
            let (users, kinds, actions) = (text(0), text(1), text(3));
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                if now.as_deref() != Some(users.value(row)) {
                    if let Some(user) = now.replace(users.value(row).to_owned()) {
                        tell(&user, &rows, others);
                    }
                    (rows, others) = (Vec::new(), false);
                }
                if kinds.value(row) != self.kind {
                    others = true;
                    continue;
                }
                let purpose = purpose.and_then(|column| value(Some(text(column)), row));
                rows.push(Row {
                    at: times.value(row),
                    // What an older version let through without a word that is known is no permission.
                    action: value(Some(actions), row).and_then(action_of).unwrap_or(Action::Refuse),
                    purpose: purpose.filter(|purpose| *purpose != ALL).map(str::to_owned),
                    expires: expires
                        .and_then(|column| value(Some(text(column)), row))
                        .map(|text| self.instant(text).unwrap_or(i64::MIN)),
                });
            }
        }
        if let Some(user) = now {
            tell(&user, &rows, others);
        }
        Ok(())
    }

    /// What the ledger in `folder` holds.
    pub(crate) fn report(&self, folder: &Path) -> Result<ConsentReport> {
        let mut report = ConsentReport::default();
        let mut unknown = HashSet::new();
        self.each(folder, |user, rows, others| {
            report.lines += rows.len() as u64;
            report.people += u64::from(!rows.is_empty());
            if !rows.is_empty() && !others {
                unknown.insert(user.to_owned());
            }
        })?;
        for batch in columns(&folder.join(Table::Users.file_name()), &["user"], None)? {
            for user in batch?.column(0).as_string::<i32>().iter().flatten() {
                unknown.remove(user);
            }
        }
        report.unknown = unknown.len() as u64;
        Ok(report)
    }
}

fn action_of(text: &str) -> Option<Action> {
    match text.to_lowercase().as_str() {
        "grant" => Some(Action::Grant),
        "deny" | "revoke" => Some(Action::Refuse),
        _ => None,
    }
}

/// A text without white space around it, if there is one.
fn value(column: Option<&StringArray>, row: usize) -> Option<&str> {
    let text = column.filter(|column| column.is_valid(row))?.value(row).trim();
    (!text.is_empty()).then_some(text)
}

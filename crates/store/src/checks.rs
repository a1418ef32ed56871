//! `check data`: whether a store keeps what its project file promises about it. Everything is read, whoever allows what:
//! nothing but counts leaves.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use jiff::Timestamp;

use crate::drift::{Values, psi};
use crate::error::{Result, listed};
use crate::project::Project;
use crate::repeats::halves;
use crate::schema::{Role, Table};
use crate::source::{Missing, Source};
use crate::store::Store;

/// What one check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What was checked: the source or table, then what.
    pub name: String,
    /// Whether it is as promised.
    pub ok: bool,
    /// The figure that decides.
    pub figure: f64,
    /// What the figure is, and what was promised.
    pub note: String,
}

const DAY: f64 = 86_400e6;

/// Compares a store with what its project file promises, on the day `as_of`. Drift is that of the later half of a source's
/// time against the first, or against the store `against` where one is given.
pub fn check(project: &Project, store: &Store, as_of: Timestamp, against: Option<&Store>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let stale = store.is_stale(project)?;
    let note = stale.clone().unwrap_or_else(|| "the store is what its sources give".to_owned());
    findings.push(Finding {
        name: "store: up to date".to_owned(),
        ok: stale.is_none(),
        figure: f64::from(stale.is_some()),
        note,
    });
    for table in [Table::Users, Table::Items] {
        if let Some(id) = table.id().filter(|_| project.sources.iter().any(|source| source.table == table)) {
            let twice = repeated(store, table, id)?;
            findings.push(counted(format!("{table}: {id} is unique"), twice, "ids that stand there twice"));
        }
    }
    let items = ids(store, Table::Items, "item")?;
    for source in &project.sources {
        unique_keys(project, store, source, &mut findings)?;
        set_aside(store, source, &mut findings);
        let seen = Seen::of(store, source, &items)?;
        let (name, rows) = (&source.name, seen.rows);
        for (column, gaps) in &seen.gaps {
            findings.push(counted(format!("{name}: {column} is there"), *gaps, "rows without it"));
        }
        for (column, (min, max)) in &source.expected.ranges {
            let outside = seen.outside.get(column).copied().unwrap_or(0);
            let note = format!("of {rows} rows outside {min} to {max}");
            findings.push(counted(format!("{name}: {column} in range"), outside, &note));
        }
        if source.table == Table::Events && source.has("item") && !items.is_empty() {
            let share = seen.unknown_items as f64 / rows.max(1) as f64;
            let allowed = source.expected.unknown_items;
            findings.push(Finding {
                name: format!("{name}: items are known"),
                ok: share <= allowed,
                figure: share,
                note: format!(
                    "{} of {rows} rows name an item without a row; allowed are {allowed} of all",
                    seen.unknown_items
                ),
            });
        }
        if let Some(max_age) = source.expected.max_age {
            findings.push(fresh(name, &seen, max_age, as_of));
        }
        if let Some(max) = source.expected.max_psi {
            drifted(store, source, &seen, against, max, &mut findings)?;
        }
    }
    told(project, store, &mut findings);
    Ok(findings)
}

fn counted(name: String, count: u64, note: &str) -> Finding {
    Finding { name, ok: count == 0, figure: count as f64, note: format!("{count} {note}") }
}

/// The share of lines that were set aside, where a largest one is promised.
fn set_aside(store: &Store, source: &Source, findings: &mut Vec<Finding>) {
    let (Some(max), Some(report)) = (source.expected.max_quarantined, store.report().sources.get(&source.name)) else {
        return;
    };
    let share = report.quarantined as f64 / report.lines.max(1) as f64;
    let note = format!("{} of {} lines were set aside; allowed are {max} of all", report.quarantined, report.lines);
    findings.push(Finding { name: format!("{}: set aside", source.name), ok: share <= max, figure: share, note });
}

fn fresh(name: &str, seen: &Seen, max_age: i64, as_of: Timestamp) -> Finding {
    let (age, max) = ((as_of.as_microsecond() - seen.newest) as f64 / DAY, max_age as f64 / 86_400.0);
    let newest = Timestamp::from_microsecond(seen.newest).map_or_else(|_| "never".to_owned(), |at| at.to_string());
    let note = format!("the newest row is of {newest}, {age:.2} days before {as_of}; allowed are {max:.2}");
    Finding { name: format!("{name}: fresh"), ok: age <= max, figure: age, note }
}

/// What the ingest found out about people; it is told, and fails only where somebody's word could not be read.
fn told(project: &Project, store: &Store, findings: &mut Vec<Finding>) {
    let report = store.report();
    if let (Some(consent), Some(ledger)) = (&project.consent, &report.consent) {
        let unread = report.sources.values().flat_map(|source| &source.reasons);
        let unread = unread.filter(|(reason, _)| consent.refuses(reason)).map(|(_, lines)| lines).sum();
        findings.push(counted("consent: every row is understood".to_owned(), unread, "rows were set aside"));
        let note = format!("of {} people with a row nothing else is known", ledger.people);
        findings.push(Finding { ok: true, ..counted("consent: people are known".to_owned(), ledger.unknown, &note) });
    }
    if let Some(identity) = &report.identity {
        let note = format!("groups of ids are too large for one person: {} ids left apart", identity.ids_apart);
        findings.push(Finding { ok: true, ..counted("identity: groups".to_owned(), identity.too_large, &note) });
    }
}

fn ids(store: &Store, table: Table, id: &str) -> Result<HashSet<String>> {
    let mut ids = HashSet::new();
    for batch in store.scan_file(&table.file_name(), &[id], None)? {
        ids.extend(batch?.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// Whether no two events of a source have the same declared key, as far as the store still has what the key is made of.
fn unique_keys(project: &Project, store: &Store, source: &Source, findings: &mut Vec<Finding>) -> Result<()> {
    if source.table != Table::Events || source.key.is_empty() {
        return Ok(());
    }
    let name = format!("{}: key is unique", source.name);
    let kept: Vec<Option<&str>> = source.key.iter().map(|column| kept_as(project, source, column)).collect();
    if let Some(lost) = kept.iter().position(Option::is_none) {
        let column = &source.key[lost];
        let note = format!("`{column}` of the key is not in the store as the files have it; ingest compared it there");
        findings.push(Finding { name, ok: true, figure: 0.0, note });
        return Ok(());
    }
    let columns: Vec<&str> = kept.into_iter().flatten().collect();
    let note = format!("rows repeat an earlier one's key {}", listed(&source.key));
    findings.push(counted(name, repeated_keys(store, source, &columns)?, &note));
    Ok(())
}

/// The canonical column that holds a column of the files letter for letter. Numbers and times may be written in several
/// ways, and `set`, a filled gap or another id of the same person is not what the file said.
fn kept_as<'a>(project: &Project, source: &'a Source, column: &str) -> Option<&'a str> {
    let plain = source.map.iter().find(|(_, from)| matches!(from.as_slice(), [only] if only == column));
    let name = plain.map(|(name, _)| name.as_str())?;
    let filled = matches!(source.missing.get(name), Some(Missing::Text(_) | Missing::Number(_)));
    let stitched = project.identity.is_some() && source.people.iter().any(|person| person == name);
    let text = matches!(source.table.role(name), Some(Role::Id | Role::Text));
    Some(name).filter(|name| text && !filled && !stitched && !source.set.contains_key(*name))
}

/// Keys that are compared at once; of more, a part is looked at after the other, so that memory does not grow.
const KEYS: u64 = 1 << 24;

fn repeated_keys(store: &Store, source: &Source, columns: &[&str]) -> Result<u64> {
    let parts = store.rows(Table::Events).div_ceil(KEYS).max(1);
    let names: Vec<&str> = columns.iter().copied().chain(["source"]).collect();
    let mut repeated = 0;
    for part in 0..parts {
        let mut met = HashSet::new();
        for batch in store.scan_file(&Table::Events.file_name(), &names, None)? {
            let batch = batch?;
            let texts: Vec<&StringArray> = batch.columns().iter().map(|column| column.as_string()).collect();
            let Some((sources, own)) = texts.split_last() else { continue };
            for row in (0..batch.num_rows()).filter(|row| sources.value(*row) == source.name) {
                let parts_of = own.iter().map(|column| column.is_valid(row).then(|| column.value(row).trim()));
                let key = halves(&source.name, parts_of).filter(|[high, _]| high % parts == part);
                repeated += u64::from(key.is_some_and(|key| !met.insert(key)));
            }
        }
    }
    Ok(repeated)
}

/// How many ids of a table, which is sorted by them, stand in it more than once.
fn repeated(store: &Store, table: Table, id: &str) -> Result<u64> {
    let (mut last, mut repeated): (Option<String>, u64) = (None, 0);
    for batch in store.scan_file(&table.file_name(), &[id], None)? {
        for id in batch?.column(0).as_string::<i32>().iter().flatten() {
            if last.as_deref() == Some(id) {
                repeated += 1;
            } else {
                last = Some(id.to_owned());
            }
        }
    }
    Ok(repeated)
}

/// What the rows of a source look like. Rows of users and items do not say where they are from: those of all sources of
/// their table are looked at.
#[derive(Default)]
struct Seen {
    rows: u64,
    gaps: BTreeMap<String, u64>,
    outside: BTreeMap<String, u64>,
    unknown_items: u64,
    oldest: i64,
    newest: i64,
}

impl Seen {
    fn of(store: &Store, source: &Source, items: &HashSet<String>) -> Result<Self> {
        let mut seen = Seen { oldest: i64::MAX, newest: i64::MIN, ..Seen::default() };
        seen.gaps = source.not_null.iter().map(|name| (name.clone(), 0)).collect();
        each(store, source, |batch, rows| {
            seen.rows += rows.len() as u64;
            for (name, gaps) in &mut seen.gaps {
                let Some(column) = batch.column_by_name(name) else { continue };
                *gaps += rows.iter().filter(|&&row| column.is_null(row)).count() as u64;
            }
            for (name, (min, max)) in &source.expected.ranges {
                let Some(column) = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Float64Type>()) else {
                    continue;
                };
                let outside = |row: &usize| column.is_valid(*row) && !(*min..=*max).contains(&column.value(*row));
                *seen.outside.entry(name.clone()).or_default() += rows.iter().copied().filter(outside).count() as u64;
            }
            if source.table == Table::Events
                && let Some(column) = batch.column_by_name("item").and_then(|column| column.as_string_opt::<i32>())
            {
                let unknown = |row: &usize| column.is_valid(*row) && !items.contains(column.value(*row));
                seen.unknown_items += rows.iter().copied().filter(unknown).count() as u64;
            }
            if let Some(at) = batch.column_by_name("at").map(|at| at.as_primitive::<TimestampMicrosecondType>()) {
                for row in rows.iter().copied().filter(|&row| at.is_valid(row)) {
                    seen.oldest = seen.oldest.min(at.value(row));
                    seen.newest = seen.newest.max(at.value(row));
                }
            }
        })?;
        Ok(seen)
    }
}

/// Calls `look` with batches of a source's table and the rows in them that are the source's.
fn each(store: &Store, source: &Source, mut look: impl FnMut(&RecordBatch, &[usize])) -> Result<()> {
    let columns = store.columns(source.table)?;
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    for batch in store.scan_file(&source.table.file_name(), &names, None)? {
        let batch = batch?;
        let sources = batch.column_by_name("source").filter(|_| !source.table.takes_attributes());
        let sources: Option<&StringArray> = sources.and_then(|column| column.as_string_opt());
        let own = |row: &usize| sources.is_none_or(|sources| sources.value(*row) == source.name);
        let rows: Vec<usize> = (0..batch.num_rows()).filter(own).collect();
        look(&batch, &rows);
    }
    Ok(())
}

/// The columns whose drift says something: numbers, and words that come back.
fn watched(source: &Source) -> Vec<(&'static str, Role)> {
    let told = ["kind", "item", "channel", "campaign"];
    let always_the_same = |name: &str| name == "kind" && source.kinds().is_some_and(|kinds| kinds.len() < 2);
    let canonical = source.table.canonical().iter().map(|(name, role, _)| (*name, *role));
    let says = |name: &str, role| (role == Role::Number || told.contains(&name)) && !always_the_same(name);
    canonical.filter(|(name, role)| source.has(name) && says(name, *role)).collect()
}

fn drifted(
    store: &Store,
    source: &Source,
    seen: &Seen,
    against: Option<&Store>,
    max: f64,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let columns = watched(source);
    let fresh = || columns.iter().map(|_| Values::default()).collect::<Vec<_>>();
    let (mut first, mut later) = (fresh(), fresh());
    let (of, middle) = match against {
        Some(other) => {
            each(other, source, |batch, rows| gather(batch, rows, &columns, &mut first))?;
            ("that of the other store", i64::MIN)
        }
        None => ("the first half of its time", seen.oldest.midpoint(seen.newest)),
    };
    each(store, source, |batch, rows| {
        let Some(at) = batch.column_by_name("at").map(|at| at.as_primitive::<TimestampMicrosecondType>()) else {
            return;
        };
        let (early, late): (Vec<usize>, Vec<usize>) =
            rows.iter().copied().partition(|&row| against.is_none() && at.value(row) <= middle);
        gather(batch, &early, &columns, &mut first);
        gather(batch, &late, &columns, &mut later);
    })?;
    for (((name, _), first), later) in columns.iter().zip(&first).zip(&later) {
        let Some(figure) = psi(first, later) else { continue };
        findings.push(Finding {
            name: format!("{}: drift of {name}", source.name),
            ok: figure <= max,
            figure,
            note: format!("population stability index {figure:.4} against {of}; allowed are {max}"),
        });
    }
    Ok(())
}

fn gather(batch: &RecordBatch, rows: &[usize], columns: &[(&str, Role)], values: &mut [Values]) {
    for ((name, role), values) in columns.iter().zip(values) {
        let Some(column) = batch.column_by_name(name) else { continue };
        for &row in rows {
            match role {
                _ if column.is_null(row) => values.gap(),
                Role::Number => values.number(column.as_primitive::<Float64Type>().value(row)),
                _ => values.word(column.as_string::<i32>().value(row)),
            }
        }
    }
}

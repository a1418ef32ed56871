//! Forgetting a person: what still names them, in the store and in the files that it was made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};

use crate::clean::{Cleaner, Raw, text};
use crate::error::Result;
use crate::files;
use crate::forgotten::Forgotten;
use crate::interactions::Split;
use crate::people;
use crate::project::Project;
use crate::quarantine;
use crate::read::Reader;
use crate::schema::Table;
use crate::source::Format;
use crate::store::Store;
use crate::swap;

/// Where the store names a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Rows of each file of the store in which somebody is one of these ids.
    pub rows: BTreeMap<String, u64>,
    /// Cells of other columns that hold the same text, by file and column; that text need not be a person there.
    pub same_text: BTreeMap<String, u64>,
    /// Cells that were looked at.
    pub cells: u64,
}

/// Lines of one file that name a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLines {
    /// The file.
    pub file: PathBuf,
    /// Its lines (row numbers in Parquet), from 1.
    pub lines: Vec<u64>,
}

/// Notes that these ids are to be forgotten, before anything else is done about it: whatever happens then, the next ingest
/// leaves them out.
pub fn forget(project: &mut Project, ids: &[String]) -> Result<()> {
    let root = project.root.clone();
    // Two people may be forgotten at once, and neither list may be lost.
    let _lock = swap::lock(&root)?;
    project.forgotten = Forgotten::open(&root)?;
    project.forgotten.add(&root, ids.iter().map(String::as_str))
}

/// The files that the project reads, as far as there are such.
pub fn source_files(project: &Project) -> Vec<PathBuf> {
    project.sources.iter().filter_map(|source| files::paths(project, source).ok()).flatten().collect()
}

impl Mentions {
    /// Rows that name the person, over all files.
    pub fn total(&self) -> u64 {
        self.rows.values().sum()
    }
}

impl Store {
    /// Where the store names somebody with one of these ids, whoever may be read otherwise.
    pub fn mentions(&self, ids: &[String]) -> Result<Mentions> {
        let mut found = Mentions::default();
        let files = Table::ALL.map(|table| (table.file_name(), table.people()));
        let others = [
            (people::FILE.to_owned(), vec!["id".to_owned(), "person".to_owned()]),
            (quarantine::FILE.to_owned(), vec![]),
        ];
        for (name, people) in files.into_iter().chain(others).filter(|(name, _)| self.path(name).exists()) {
            let columns = self.columns_of(&name)?;
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            let quoted: Vec<String> = ids.iter().map(|id| serde_json::Value::from(id.as_str()).to_string()).collect();
            for batch in self.scan_file(&name, &names, None)? {
                let batch = batch?;
                let mut named = vec![false; batch.num_rows()];
                let sources = batch.column_by_name("source").and_then(|column| column.as_string_opt::<i32>());
                for (column, array) in names.iter().zip(batch.columns()) {
                    let Some(cells) = array.as_string_opt::<i32>() else { continue };
                    found.cells += cells.len() as u64;
                    for row in (0..cells.len()).filter(|&row| cells.is_valid(row)) {
                        let (cell, is_raw) = (cells.value(row), name == quarantine::FILE && *column == "raw");
                        let same = ids.iter().any(|id| id == cell);
                        let within = is_raw && quoted.iter().any(|quoted| cell.contains(quoted));
                        if !same && !within {
                            continue;
                        }
                        let ends = sources.filter(|_| name == Table::Edges.file_name());
                        let ends = ends.and_then(|sources| self.people_of(sources.value(row)));
                        let person = ends.map_or(people.iter().any(|p| p == column), |e| e.iter().any(|p| p == column));
                        if person {
                            named[row] = true;
                        } else {
                            *found.same_text.entry(format!("{name}: {column}")).or_default() += 1;
                        }
                    }
                }
                let rows = named.iter().filter(|named| **named).count() as u64;
                if rows > 0 {
                    *found.rows.entry(name.clone()).or_default() += rows;
                }
            }
        }
        Ok(found)
    }
}

/// Lines of the project's own files that name somebody with one of these ids. The files are not changed.
pub fn source_lines(project: &Project, ids: &[String]) -> Result<Vec<SourceLines>> {
    let mut found: Vec<SourceLines> = Vec::new();
    // Several sources may read one file.
    let mut tell = |file: &Path, lines: Vec<u64>| match found.iter_mut().find(|known| known.file == file) {
        Some(known) => {
            known.lines.extend(lines);
            known.lines.sort_unstable();
            known.lines.dedup();
        }
        None if lines.is_empty() => {}
        None => found.push(SourceLines { file: file.to_owned(), lines }),
    };
    let is = |id: &str| ids.iter().any(|known| known == id.trim());
    for source in &project.sources {
        for path in files::paths(project, source)? {
            let Some(format) = source.format.or_else(|| Format::of(&path)) else { continue };
            let mut reader = Reader::open(&path, format, &source.needed())?;
            let mut cleaner = Cleaner::new(source, &[]);
            let mut lines = Vec::new();
            while let Some(raw) = reader.next()? {
                let (rows, _) = cleaner.clean(&path, &raw)?;
                let columns: Vec<_> =
                    source.people.iter().filter_map(|name| rows.column_by_name(name)?.as_string_opt::<i32>()).collect();
                let names = |row: &usize| columns.iter().any(|ids| ids.is_valid(*row) && is(ids.value(*row)));
                lines.extend((0..rows.num_rows()).filter(names).map(|row| raw.lines[row]));
            }
            tell(&path, lines);
        }
    }
    if let Split::Given { train, validation, test } = &project.interactions.split {
        for path in [Some(train), validation.as_ref(), Some(test)].into_iter().flatten() {
            let Some(format) = Format::of(path) else { continue };
            let mut reader = Reader::open(path, format, &["user".to_owned()])?;
            let mut lines = Vec::new();
            while let Some(raw) = reader.next()? {
                let Some(array) = raw.columns.column_by_name("user") else { continue };
                let users = text(&Raw { file: path, name: "user", array })?;
                lines.extend(
                    (0..users.len())
                        .filter(|&row| users.is_valid(row) && is(users.value(row)))
                        .map(|row| raw.lines[row]),
                );
            }
            tell(path, lines);
        }
    }
    Ok(found)
}

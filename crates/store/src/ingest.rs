//! Files → store: read, clean, set aside, remove repeats, sort, write, and put in place of the old store.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{SchemaRef, UInt32Type, UInt64Type};

use crate::clean::{Cleaner, FORGOTTEN, sentence};
use crate::error::{Error, Result, listed};
use crate::files::{self, Input};
use crate::forgotten::Forgotten;
use crate::identity::People;
use crate::manifest::{self, Manifest, TableEntry};
use crate::people;
use crate::project::Project;
use crate::quarantine::{self, Quarantine};
use crate::read::{RawBatch, Reader, raw_json};
use crate::repeats::{self, Keys};
use crate::report::{Report, ReturnsReport, SourceReport};
use crate::returns::{self, Taken};
use crate::schema::Table;
use crate::sort::Sorter;
use crate::source::{Missing, Source};
use crate::stage::{FILE, FIXED, LINE, PLACE, ROW, Stage, TableWriter};
use crate::swap;

/// How far an ingest has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done.
    pub stage: Phase,
    /// The source that is read or the table that is written.
    pub name: &'a str,
    /// Bytes read of all sources, or rows written of this table.
    pub done: u64,
    /// Bytes of all sources, or rows of this table.
    pub total: u64,
}

/// The phases of an ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Sources are read and cleaned; counts are bytes.
    Reading,
    /// Tables are sorted and written; counts are rows.
    Writing,
}

/// Builds the store of `project` anew from its sources.
///
/// The old store stays readable until the new one is complete. The same sources give the same bytes.
pub fn ingest(project: &Project, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Report> {
    if project.sources.is_empty() {
        return Err(Error::NoSources { config: project.config() });
    }
    let inputs = files::inputs(project)?;
    let builder = swap::Builder::new(&project.root)?;
    // Somebody may have asked to be forgotten since the project was opened.
    let project = &Project { forgotten: Forgotten::open(&project.root)?, ..project.clone() };
    let people = people::find(project, &inputs)?;
    let mut run = Run::new(project, &inputs, &people, builder.path())?;
    run.read(progress)?;
    let manifest = run.write(progress)?;
    manifest.write(builder.path())?;
    builder.publish()?;
    Ok(manifest.report)
}

/// The attributes that all sources of a table add to it, in the order in which they were typed first.
fn attributes(project: &Project, table: Table) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for source in project.sources.iter().filter(|source| source.table == table) {
        for name in source.map.keys().chain(source.set.keys()) {
            if !names.contains(name) && !table.canonical().iter().any(|(column, ..)| column == name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// What one table gathers while the sources are read.
struct Gathered {
    table: Table,
    attributes: Vec<String>,
    /// Of the table's file.
    schema: SchemaRef,
    stage: Stage,
    keys: Keys,
}

/// What is kept of a line of which nothing may be kept.
const SILENT: &str = "{}";

/// One run from the first line read to the last table written.
struct Run<'a> {
    project: &'a Project,
    inputs: &'a [Input],
    people: &'a People,
    /// The store in the making.
    folder: &'a Path,
    /// What only this run needs.
    work: PathBuf,
    tables: Vec<Gathered>,
    reports: Vec<SourceReport>,
    quarantine: Quarantine,
    /// Rows staged so far, over all tables.
    rows: u64,
}

impl<'a> Run<'a> {
    fn new(project: &'a Project, inputs: &'a [Input], people: &'a People, folder: &'a Path) -> Result<Self> {
        let work = folder.join("work");
        std::fs::create_dir(&work).map_err(Error::write(&work))?;
        let gather = |table: Table| -> Result<Gathered> {
            let attributes = attributes(project, table);
            let schema = table.schema(&attributes);
            let stage = Stage::create(work.join(table.file_name()), &schema)?;
            let keys = Keys::create(work.join(format!("{table}.keys.parquet")))?;
            Ok(Gathered { table, attributes, schema, stage, keys })
        };
        let tables = Table::ALL.into_iter().map(gather).collect::<Result<_>>()?;
        let quarantine = Quarantine::create(folder.join(quarantine::FILE))?;
        let reports = vec![SourceReport::default(); project.sources.len()];
        Ok(Run { project, inputs, people, folder, work, tables, reports, quarantine, rows: 0 })
    }

    fn read(&mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
        let total = self.inputs.iter().map(|input| input.print.bytes).sum();
        let mut before = 0;
        for (number, input) in self.inputs.iter().enumerate() {
            let project = self.project;
            let source = &project.sources[input.source];
            let mut reader = Reader::open(&input.path, input.format, &source.needed())?;
            let attributes = self.table(source.table).attributes.clone();
            let mut cleaner = Cleaner::new(source, &attributes);
            while let Some(raw) = reader.next()? {
                self.take(&mut cleaner, source, number, &raw)?;
                let done = before + (input.print.bytes as f64 * reader.done()) as u64;
                progress(Progress { stage: Phase::Reading, name: &source.name, done, total });
            }
            if !input.print.untouched(&input.path) {
                return Err(Error::Changed { file: input.path.clone() });
            }
            before += input.print.bytes;
        }
        self.check()
    }

    fn table(&mut self, table: Table) -> &mut Gathered {
        // `tables` was made from `Table::ALL`, whose order is that of the enum.
        &mut self.tables[table as usize]
    }

    /// Cleans one batch; its good rows go to their table's stage, the others to quarantine.
    fn take(&mut self, cleaner: &mut Cleaner<'_>, source: &Source, number: usize, raw: &RawBatch) -> Result<()> {
        let input = &self.inputs[number];
        let report = &mut self.reports[input.source];
        for line in &raw.broken {
            report.refuse(&line.rule);
            let reason = sentence(&line.rule, &line.detail);
            // Nobody can tell whose line it is.
            let raw = if self.project.forgotten.is_empty() { &line.raw } else { SILENT };
            self.quarantine.push(&source.name, &input.shown, line.line, &reason, raw)?;
        }
        let (rows, mut verdicts) = cleaner.clean(&input.path, raw)?;
        let rows = people::settle(self.project, self.people, source, rows, &raw.columns, &mut verdicts)?;
        if let Some(consent) = self.project.consent.as_ref().filter(|_| source.table == Table::Events) {
            consent.judge(&rows, &mut verdicts);
        }
        let mut keep = Vec::with_capacity(raw.lines.len());
        let mut fixed = Vec::with_capacity(raw.lines.len());
        for (row, line) in raw.lines.iter().enumerate() {
            keep.push(verdicts.bad(row).is_none());
            if let Some((rule, detail)) = verdicts.bad(row) {
                report.refuse(rule);
                let silent = verdicts.is_silent(row);
                let record = if silent { SILENT.to_owned() } else { raw_json(&raw.columns, row) };
                self.quarantine.push(&source.name, &input.shown, *line, &sentence(rule, detail), &record)?;
            } else {
                report.accept(verdicts.fixed(row));
                fixed.push(verdicts.fixed(row));
            }
        }
        let (first, file) = (self.rows, number as u32);
        self.rows += fixed.len() as u64;
        for name in source.missing.iter().filter(|(_, rule)| **rule == Missing::Keep).map(|(name, _)| name) {
            let Some(column) = rows.column_by_name(name) else { continue };
            let gaps = keep.iter().enumerate().filter(|(row, keep)| **keep && column.is_null(*row)).count();
            *report.gaps.entry(name.clone()).or_default() += gaps as u64;
        }
        let keyed = !source.key.is_empty() || source.table.id().is_some();
        let keys = if keyed { repeats::keys(source, &input.path, raw, &rows)? } else { Vec::new() };
        let table = self.table(source.table);
        if !keys.is_empty() {
            let kept = |row: &usize| keep[*row];
            let keys: Vec<_> = (0..keys.len()).filter(kept).map(|row| keys[row]).collect();
            let lines: Vec<_> = (0..keep.len()).filter(kept).map(|row| raw.lines[row]).collect();
            table.keys.push(&keys, first, file, &lines)?;
        }
        table.stage.push(&rows, &BooleanArray::from(keep), first, file, &raw.lines, StringArray::from(fixed))
    }

    /// Errors if nothing of a source could be used.
    fn check(&self) -> Result<()> {
        for (source, report) in self.project.sources.iter().zip(&self.reports) {
            debug_assert_eq!(report.lines, report.kept + report.fixed + report.quarantined);
            // Where somebody asked to be forgotten, it may have been all about them.
            if report.kept + report.fixed == 0 && !report.reasons.contains_key(FORGOTTEN) {
                return Err(Error::AllQuarantined {
                    name: source.name.clone(),
                    lines: report.lines,
                    reason: report.commonest().unwrap_or("there was no line").to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Writes all tables and tells what is in them.
    fn write(mut self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Manifest> {
        let sorter = Sorter::new(&self.work)?;
        let mut report = Report::default();
        for gathered in std::mem::take(&mut self.tables) {
            let table = gathered.table;
            let rows = self.write_table(&sorter, gathered, progress)?;
            report.tables.insert(table.name().to_owned(), rows);
        }
        drop(sorter);
        report.identity = self.project.identity.as_ref().map(|_| self.people.report);
        let ids = self.project.identity.as_ref().map(|_| people::write(self.people, self.folder)).transpose()?;
        report.consent = self.project.consent.as_ref().map(|consent| consent.report(self.folder)).transpose()?;
        let quarantined = self.quarantine.finish()?;
        for (source, counts) in self.project.sources.iter().zip(self.reports) {
            debug_assert_eq!(counts.lines, counts.kept + counts.fixed + counts.quarantined);
            report.sources.insert(source.name.clone(), counts);
        }
        std::fs::remove_dir_all(&self.work).map_err(Error::write(&self.work))?;
        let mut tables = std::collections::BTreeMap::new();
        let written = Table::ALL.map(|table| (table.file_name(), report.tables[table.name()]));
        let ids = ids.map(|ids| (people::FILE.to_owned(), ids));
        for (name, rows) in written.into_iter().chain([(quarantine::FILE.to_owned(), quarantined)]).chain(ids) {
            let path = self.folder.join(&name);
            let bytes = path.metadata().map_err(Error::read(&path))?.len();
            tables.insert(name, TableEntry { rows, bytes, blake3: files::hash_file(&path)? });
        }
        Ok(Manifest {
            format: manifest::FORMAT,
            declared: self.project.ingest_hash(),
            forgotten: self.project.forgotten_hash(),
            files: self.inputs.iter().map(|input| input.print.clone()).collect(),
            report,
            tables,
        })
    }

    fn write_table(
        &mut self,
        sorter: &Sorter,
        gathered: Gathered,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<u64> {
        let Gathered { table, schema, stage, keys, .. } = gathered;
        let total = stage.rows();
        let mut stage = stage.finish()?;
        if let Some(repeats) = repeats::find(sorter, table, &keys.finish()?)? {
            stage =
                repeats::remove(sorter, table, &stage, &repeats, |batch, row, place| self.repeats(batch, row, place))?;
        }
        if table == Table::Events && self.project.sources.iter().any(|source| source.returns.is_some()) {
            let (edits, reports) = returns::find(sorter, &stage, &self.project.sources)?;
            stage = returns::apply(sorter, &stage, &edits, |taken| self.taken_back(&taken))?;
            self.tell_returns(&reports);
        }
        let path = self.folder.join(table.file_name());
        let mut writer = TableWriter::lasting(path.clone(), schema.clone())?;
        let order: Vec<&str> = table.order().iter().copied().chain([ROW]).collect();
        for batch in sorter.sorted(table, &stage, &order)? {
            let columns = batch?.columns()[..schema.fields().len()].to_vec();
            let batch = RecordBatch::try_new(schema.clone(), columns);
            writer.write(&batch.map_err(|error| Error::write_parquet(&path)(error.into()))?)?;
            progress(Progress { stage: Phase::Writing, name: table.name(), done: writer.rows, total });
        }
        let rows = writer.rows;
        writer.finish()?;
        Ok(rows)
    }

    /// Sends a staged row to quarantine because an earlier line has its key.
    fn repeats(&mut self, batch: &RecordBatch, row: usize, (kept_file, kept_line): repeats::Place) -> Result<()> {
        let Some(staged) = Staged::of(batch, row) else { return Ok(()) };
        let source = &self.project.sources[self.inputs[staged.file].source];
        let id = source.table.id().map(|id| vec![source.origin(id)]);
        let rule = format!("repeats the key {}", listed(id.as_ref().unwrap_or(&source.key)));
        let kept = format!("`{}` line {kept_line} stays", self.inputs[kept_file as usize].shown);
        self.withdraw(&staged, &rule, &kept)
    }

    /// Sends a staged row to quarantine, or counts its repair, because a return took it back.
    fn taken_back(&mut self, taken: &Taken<'_>) -> Result<()> {
        let Some(staged) = Staged::of(taken.batch, taken.row) else { return Ok(()) };
        if !taken.whole {
            self.reports[self.inputs[staged.file].source].repair(staged.fixed, returns::REDUCED);
            return Ok(());
        }
        let by = format!("`{}` line {}", self.inputs[taken.by.0 as usize].shown, taken.by.1);
        self.withdraw(&staged, "taken back by a return", &by)
    }

    fn tell_returns(&mut self, reports: &[ReturnsReport]) {
        let declared = self.project.sources.iter().map(|source| source.returns.is_some());
        for ((report, counts), _) in
            self.reports.iter_mut().zip(reports).zip(declared).filter(|(_, declared)| *declared)
        {
            report.returns = Some(*counts);
        }
    }

    /// Sends a staged row to quarantine.
    fn withdraw(&mut self, staged: &Staged<'_>, rule: &str, detail: &str) -> Result<()> {
        let input = &self.inputs[staged.file];
        self.reports[input.source].withdraw(staged.fixed, rule);
        let name = &self.project.sources[input.source].name;
        self.quarantine.push(name, &input.shown, staged.line, &sentence(rule, detail), &staged.record())
    }
}

/// A row on its way into the store, and where it came from.
struct Staged<'a> {
    batch: &'a RecordBatch,
    row: usize,
    file: usize,
    line: u64,
    fixed: Option<&'a str>,
}

impl<'a> Staged<'a> {
    fn of(batch: &'a RecordBatch, row: usize) -> Option<Self> {
        let [file, line, fixed] = [FILE, LINE, FIXED].map(|name| batch.column_by_name(name));
        let fixed = fixed?.as_string::<i32>();
        Some(Staged {
            batch,
            row,
            file: file?.as_primitive::<UInt32Type>().value(row) as usize,
            line: line?.as_primitive::<UInt64Type>().value(row),
            fixed: fixed.is_valid(row).then(|| fixed.value(row)),
        })
    }

    /// What it says, without the place.
    fn record(&self) -> String {
        let columns: Vec<usize> = (0..self.batch.num_columns() - PLACE).collect();
        self.batch.project(&columns).map(|record| raw_json(&record, self.row)).unwrap_or_default()
    }
}

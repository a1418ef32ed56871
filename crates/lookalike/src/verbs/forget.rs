//! `forget`: a person is erased from the store and from what was made of it, and a scan of what is left proves it.
//!
//! First the person's ids go, as keyed hashes, on the list that every ingest obeys. Then runs that learned from the person
//! are taken away and the store is built anew. Killed in between, the same command goes on where it was. Source files are
//! the user's own and stay as they are; their lines that name the person are told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lookalike_bundle::Bundle;
use lookalike_store::{Mentions, Project, SourceLines, Split, Store};
use serde_json::json;

use crate::cli::{Common, Forget};
use crate::failure::{Failure, io};
use crate::run::Run;
use crate::say::{Say, grouped};
use crate::workspace;

/// Lines of a file that are told; of more, only the number.
const LISTED: usize = 12;

pub fn run(common: &Common, args: &Forget, say: &Say) -> Result<(), Failure> {
    let mut project = Project::open(&common.project)?;
    let store = if project.sources.is_empty() { None } else { present(&project)? };
    let user = args.user.trim();
    let ids = match &store {
        Some(store) => store.ids_of(user)?,
        None => vec![user.to_owned()],
    };
    let before = store.as_ref().map(|store| store.mentions(&ids)).transpose()?.unwrap_or_default();
    let (runs, profiles) = (runs(&project, &ids)?, profiles(&project, &ids)?);
    let derived = [runs.clone(), profiles.clone()].concat();
    let sources = lookalike_store::source_lines(&project, &ids)?;
    let known = before.total() > 0 || !derived.is_empty() || !sources.is_empty() || project.has_forgotten(user);
    if !known {
        return Err(Failure::new(format!("nobody in project `{}` is called `{user}`", project.name))
            .with_hint("ids are compared letter by letter, as they stand in the store"));
    }
    tell_before(&before, &runs, &profiles, say);
    if !args.yes {
        tell_sources(&project, &sources, say);
        say.json(&json!({
            "user": user, "erased": false, "store": before.rows, "derived": derived,
            "sources": lines(&project, &sources),
        }))?;
        return Err(Failure::new("nothing was erased").with_hint("add `--yes` to erase all of this"));
    }
    lookalike_store::forget(&mut project, &ids)?;
    runs.into_iter().try_for_each(|run| erase(&Run(run)))?;
    profiles.iter().try_for_each(|profile| fs::remove_dir_all(profile).map_err(io("removed", profile)))?;
    if !project.sources.is_empty() {
        let report = workspace::ingest(&project, say);
        report.map_err(|failure| failure.after("the person will not come back, but the old store is still there"))?;
    }
    prove(&project, user, &ids, &before, &derived, &sources, say)
}

/// The store, if there is one that can be read.
fn present(project: &Project) -> Result<Option<Store>, Failure> {
    match Store::open(project) {
        Ok(store) => Ok(Some(store)),
        Err(lookalike_store::Error::NoStore { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn tell_before(before: &Mentions, runs: &[PathBuf], profiles: &[PathBuf], say: &Say) {
    for (file, rows) in &before.rows {
        say.line(format!("store/{file}: {} rows name the person", grouped(*rows)));
    }
    for run in runs {
        say.line(format!(
            "{}: was trained with the person, or may have been; its bundle must be made anew",
            run.display()
        ));
    }
    for profile in profiles {
        say.line(format!("{}: describes the person, and must be made anew", profile.display()));
    }
}

fn tell_sources(project: &Project, sources: &[SourceLines], say: &Say) {
    for SourceLines { file, lines } in sources {
        let told: Vec<String> = lines.iter().take(LISTED).map(u64::to_string).collect();
        let more = if lines.len() > LISTED { ", …" } else { "" };
        let (file, count) = (file.strip_prefix(&project.root).unwrap_or(file).display(), grouped(lines.len() as u64));
        say.line(format!(
            "{file}: still holds the person in {count} lines, which are yours to remove: {}{more}",
            told.join(", ")
        ));
    }
}

fn lines(project: &Project, sources: &[SourceLines]) -> Vec<serde_json::Value> {
    let one = |SourceLines { file, lines }: &SourceLines| json!({ "file": file.strip_prefix(&project.root).unwrap_or(file), "lines": lines });
    sources.iter().map(one).collect()
}

/// The runs of the project that learned from the person, or of which nobody can tell.
fn runs(project: &Project, ids: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let folder = project.root.join("runs");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io("read", &folder))? {
        let run = Run(entry.map_err(io("read", &folder))?.path());
        if !run.0.is_dir() || made(&run).iter().all(|path| !path.exists()) {
            continue;
        }
        // A checkpoint does not say whom it has learned from, and a bundle that cannot be read says nothing.
        let holds = run.checkpoint().exists()
            || Bundle::read(&run.bundle()).map_or(true, |bundle| ids.iter().any(|id| bundle.users.row(id).is_some()));
        if holds {
            found.push(run.0);
        }
    }
    found.sort();
    Ok(found)
}

/// The profiles of the project that describe the person.
fn profiles(project: &Project, ids: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let folder = project.root.join("profiles");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io("read", &folder))? {
        let profile = entry.map_err(io("read", &folder))?.path();
        let mut scan = Scan::default();
        // One that cannot be read says nothing of whom it describes.
        if profile.is_dir() && (scan.folder(&profile, &[], ids).is_err() || !scan.people.is_empty()) {
            found.push(profile);
        }
    }
    found.sort();
    Ok(found)
}

/// What training leaves in a run that knows people: the bundle under each of its names, and the checkpoint.
fn made(run: &Run) -> Vec<PathBuf> {
    let names = [".bundle.next", ".bundle.last"].map(|name| run.0.join(name));
    names.into_iter().chain([run.checkpoint(), run.bundle()]).collect()
}

fn erase(run: &Run) -> Result<(), Failure> {
    for path in made(run) {
        match path.is_dir() {
            true => fs::remove_dir_all(&path).map_err(io("removed", &path))?,
            false if path.exists() => fs::remove_file(&path).map_err(io("removed", &path))?,
            false => {}
        }
    }
    Ok(())
}

/// Looks through everything in the project that is not a source for what still names the person.
fn prove(
    project: &Project,
    user: &str,
    ids: &[String],
    before: &Mentions,
    erased: &[PathBuf],
    sources: &[SourceLines],
    say: &Say,
) -> Result<(), Failure> {
    let store = if project.sources.is_empty() { None } else { present(project)? };
    let after = store.as_ref().map(|store| store.mentions(ids)).transpose()?.unwrap_or_default();
    let mut scan = Scan::default();
    scan.folder(&project.root, &own(project), ids)?;
    scan.cells += after.cells;
    let named: BTreeMap<String, u64> =
        after.rows.iter().map(|(file, rows)| (format!("store/{file}"), *rows)).chain(scan.people).collect();
    let same: BTreeMap<String, u64> =
        after.same_text.iter().map(|(place, cells)| (format!("store/{place}"), *cells)).chain(scan.same_text).collect();
    for run in erased {
        say.line(format!("removed from {}: all that knows people; make it anew where it is needed", run.display()));
    }
    if before.total() > 0 {
        say.line(format!("erased: {} rows of the store", grouped(before.total())));
    }
    for (place, cells) in &same {
        say.line(format!("{place}: the same text stands in {} cells, where it names nobody", grouped(*cells)));
    }
    say.line(format!(
        "scan: {} cells and {} bytes were compared with {} ids; {} name the person",
        grouped(scan.cells),
        grouped(scan.bytes),
        ids.len(),
        grouped(named.values().sum())
    ));
    tell_sources(project, sources, say);
    say.json(&json!({
        "user": user, "erased": true, "store": before.rows, "derived": erased, "sources": lines(project, sources),
        "scan": { "cells": scan.cells, "bytes": scan.bytes, "people": named, "same_text": same },
    }))?;
    match named.keys().next() {
        None => Ok(()),
        Some(first) => Err(Failure::new(format!("`{first}` still names the person"))
            .with_hint("it is not made by `ingest` or `train`: remove it, and run the same command again")),
    }
}

/// Files and folders that the scan leaves out: the sources, and the store, which is scanned by what its columns mean.
fn own(project: &Project) -> Vec<PathBuf> {
    let mut own: Vec<PathBuf> = lookalike_store::source_files(project);
    if let Split::Given { train, validation, test } = &project.interactions.split {
        own.extend([Some(train), validation.as_ref(), Some(test)].into_iter().flatten().cloned());
    }
    own.extend(["store", ".git", "target"].map(|name| project.root.join(name)));
    own
}

/// Whether a column of a file that this program wrote names people.
fn names_people(file: &Path, column: &str) -> bool {
    let of_users = file.file_name().is_some_and(|name| name == "users.parquet");
    ["user", "from", "to"].contains(&column) || of_users && column == "id"
}

#[derive(Default)]
struct Scan {
    cells: u64,
    bytes: u64,
    /// Place → cells that name the person.
    people: BTreeMap<String, u64>,
    /// Place → cells that hold the same text.
    same_text: BTreeMap<String, u64>,
}

impl Scan {
    fn folder(&mut self, folder: &Path, own: &[PathBuf], ids: &[String]) -> Result<(), Failure> {
        let mut entries = fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
            .map_err(io("read", folder))?;
        entries.sort();
        for path in entries.iter().filter(|path| !own.contains(path) && !path.is_symlink()) {
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => self.folder(path, own, ids)?,
                Some("parquet" | "pq") => self.parquet(path, ids)?,
                // Tensors are numbers, and their names are not those of people.
                Some("safetensors") => {}
                _ => self.text(path, ids)?,
            }
        }
        Ok(())
    }

    fn parquet(&mut self, path: &Path, ids: &[String]) -> Result<(), Failure> {
        let file = fs::File::open(path).map_err(io("read", path))?;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1 << 14);
        for batch in reader.map_err(io("read", path))? {
            let batch = batch.map_err(io("read", path))?;
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                // What cannot be shown as text is no id.
                let Ok(column) = cast(column, &DataType::Utf8) else { continue };
                self.cells += column.len() as u64;
                let equal = |cell: &&str| ids.iter().any(|id| id == cell);
                let found = column.as_string::<i32>().iter().flatten().filter(equal).count() as u64;
                if found > 0 {
                    let people = names_people(path, field.name());
                    let places = if people { &mut self.people } else { &mut self.same_text };
                    *places.entry(format!("{}: {}", path.display(), field.name())).or_default() += found;
                }
            }
        }
        Ok(())
    }

    /// Counts ids that stand alone between quotes, commas, tabs or ends of lines.
    fn text(&mut self, path: &Path, ids: &[String]) -> Result<(), Failure> {
        let bytes = fs::read(path).map_err(io("read", path))?;
        self.bytes += bytes.len() as u64;
        let parts = bytes.split(|byte| b"\",;\t\r\n".contains(byte)).map(<[u8]>::trim_ascii);
        let found = parts.filter(|part| ids.iter().any(|id| id.as_bytes() == *part)).count() as u64;
        if found > 0 {
            self.same_text.insert(path.display().to_string(), found);
        }
        Ok(())
    }
}

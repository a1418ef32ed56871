//! `check`: whether the project keeps what it promises. Every check has a figure; one that fails fails the command.

use lookalike_portrait::levels::Levels;
use lookalike_portrait::principles::{Looked, Principle, principles};
use lookalike_portrait::{Catalogue, Profile, cells, snapshot};
use lookalike_store::{Project, Store};
use lookalike_train::Preset;
use serde::Serialize;
use serde_json::{Value, json};

use super::profile::stored;
use crate::cli::{Check as What, Common};
use crate::failure::Failure;
use crate::say::{Say, table, to_value};

/// One check, whatever it is about.
#[derive(Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    pub figure: f64,
    /// What the figure is, and what was promised.
    pub note: String,
}

pub fn run(common: &Common, what: &What, say: &Say) -> Result<(), Failure> {
    match what {
        What::Data { as_of, against } => {
            let project = Project::open(&common.project)?;
            let store = Store::open(&project)?;
            let against = against.as_ref().map(|dir| Store::open(&Project::open(dir)?)).transpose()?;
            let as_of = match as_of {
                Some(text) => project.instant(text).ok_or_else(|| {
                    Failure::wrong_use(format!("`{text}` is no date")).with_hint("a date looks like 2017-11-27")
                })?,
                None => jiff::Timestamp::now(),
            };
            let findings = lookalike_store::check(&project, &store, as_of, against.as_ref())?;
            let check = |found: lookalike_store::Finding| {
                let lookalike_store::Finding { name, ok, figure, note } = found;
                Check { name, ok, figure, note }
            };
            report(&findings.into_iter().map(check).collect::<Vec<_>>(), say)
        }
        What::Tags => tags(common, say),
        What::Privacy => privacy(common, say),
    }
}

/// The profiles that checks look at: the latest, and the one before it.
fn profiles(project: &Project) -> Result<(Profile, Option<Profile>), Failure> {
    let days = snapshot::days(project)?;
    let none = || Failure::new("there is no profile yet").with_hint("run `lookalike profile` first");
    let (last, earlier) = days.split_last().ok_or_else(none)?;
    let read = |day| snapshot::read(project, day).map(|(profile, _)| profile);
    Ok((read(*last)?, earlier.last().map(|day| read(*day)).transpose()?))
}

fn tags(common: &Common, say: &Say) -> Result<(), Failure> {
    let (project, store) = stored(common, say)?;
    let (profile, before) = profiles(&project)?;
    let catalogue = Catalogue::open(&project)?;
    if profile.about.store != store.hash() {
        say.remark("the store changed since the latest profile was made; `lookalike profile` makes it anew");
    }
    let models: Vec<String> = Preset::built_in().filter_map(Result::ok).map(|preset| preset.name).collect();
    let looked = Looked {
        project: &project,
        store: &store,
        catalogue: &catalogue,
        profile: &profile,
        before: before.as_ref(),
        models: &models,
    };
    let check = |found: Principle| {
        let Principle { name, ok, figure, note } = found;
        Check { name: name.to_owned(), ok, figure, note }
    };
    let levels = Levels::of(&project, &catalogue, &profile);
    for (level, _) in levels.counts().iter().enumerate() {
        let names = levels.all.iter().filter(|one| one.level == Some(level)).map(|one| one.name.as_str());
        say.line(format!("level {level}: {}", names.collect::<Vec<_>>().join(", ")));
    }
    say.line("");
    let checks: Vec<Check> = principles(&looked)?.into_iter().map(check).chain([proof(&levels)]).collect();
    report_with(&checks, json!({ "checks": checks, "levels": to_value(&levels.all)? }), say)
}

/// That whatever is read is of a lower level and no later day.
fn proof(levels: &Levels) -> Check {
    let counts: Vec<String> = levels.counts().iter().map(usize::to_string).collect();
    let wrong = if levels.wrong.is_empty() { "none".to_owned() } else { levels.wrong.join("; ") };
    let note = format!(
        "{} tags, runs and what models read of events have {} levels ({}); what they read, {} times, is of a lower level and \
         no later day; but for: {wrong}",
        levels.all.len(),
        counts.len(),
        counts.join(" + "),
        levels.reads
    );
    Check { name: "levels".to_owned(), ok: levels.wrong.is_empty(), figure: levels.wrong.len() as f64, note }
}

fn privacy(common: &Common, say: &Say) -> Result<(), Failure> {
    let project = Project::open(&common.project)?;
    let (profile, _) = profiles(&project)?;
    let found = cells::look(&profile, project.min_cell);
    let check = |found: cells::Found| {
        let cells::Found { name, ok, figure, note } = found;
        Check { name, ok, figure, note }
    };
    report(&found.into_iter().map(check).collect::<Vec<_>>(), say)
}

/// A figure as short as it can be told apart from none.
fn figure(figure: f64) -> String {
    match figure.abs() {
        _ if figure.fract() == 0.0 => format!("{figure}"),
        small if small < 0.001 => format!("{figure:.2e}"),
        _ => format!("{figure:.4}"),
    }
}

/// Tells of all checks, and fails if one of them does.
pub fn report(checks: &[Check], say: &Say) -> Result<(), Failure> {
    report_with(checks, json!({ "checks": checks }), say)
}

/// The same with a document that tells more.
fn report_with(checks: &[Check], document: Value, say: &Say) -> Result<(), Failure> {
    let row = |check: &Check| {
        vec![check.name.clone(), if check.ok { "ok" } else { "FAILS" }.to_owned(), figure(check.figure)]
    };
    let rows: Vec<_> = checks.iter().map(row).collect();
    let notes = std::iter::once("what it is").chain(checks.iter().map(|check| check.note.as_str()));
    for (line, note) in table(&["check", "", "figure"], &rows).lines().zip(notes) {
        say.line(format!("{line}  {note}"));
    }
    say.json(&document)?;
    let failed: Vec<_> = checks.iter().filter(|check| !check.ok).map(|check| format!("`{}`", check.name)).collect();
    match failed.len() {
        0 => Ok(()),
        n => Err(Failure::new(format!("{n} of {} checks failed: {}", checks.len(), failed.join(", ")))),
    }
}

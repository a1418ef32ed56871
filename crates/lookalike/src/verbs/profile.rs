//! `profile`: the tags of every user as of a day, and what changed between two days.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::civil::Date;
use lookalike_portrait::crosscheck::{CrossCheck, crosscheck};
use lookalike_portrait::{Catalogue, Profile, diff, latest, snapshot, validate};
use lookalike_store::{Project, Store};
use serde_json::json;

use crate::cli::{Common, Profile as Args, ProfileVerb};
use crate::failure::Failure;
use crate::say::{Say, grouped, table, to_value};
use crate::workspace::Workspace;

pub fn run(common: &Common, args: &Args, say: &Say) -> Result<(), Failure> {
    match args.verb {
        None => build(common, args, say),
        Some(ProfileVerb::Diff { before, after }) => compare(common, before, after, say),
        Some(ProfileVerb::Validate { as_of, until, ref behaviour }) => {
            judge(common, as_of, until, behaviour.as_deref(), say)
        }
    }
}

/// The store of a project, brought up to date.
pub fn stored(common: &Common, say: &Say) -> Result<(Project, Store), Failure> {
    let Workspace { project, store, .. } = Workspace::open_for(common, "profile", say)?;
    let none = || Failure::new("the project has no sources, so nothing is known of its users");
    let store = store.ok_or_else(none)?;
    Ok((project, store))
}

fn build(common: &Common, args: &Args, say: &Say) -> Result<(), Failure> {
    let (project, store) = stored(common, say)?;
    let start = Instant::now();
    let catalogue = Catalogue::open(&project)?;
    let date = args.as_of.map_or_else(|| latest(&project, &store), Ok)?;
    let end = latest(&project, &store)?;
    if date > end {
        say.remark(format!("the last event is of the day before {end}: nothing more is known on {date}"));
    }
    // A snapshot that cannot be read is replaced, not continued.
    let before = if args.anew { None } else { snapshot::read(&project, date).ok().map(|(profile, _)| profile) };
    let profile = Profile::build(&project, &store, &catalogue, date, before.as_ref())?;
    let hash = snapshot::write(&project, &profile)?;
    let about = &profile.about;
    let same = |name: &str, version: &str| {
        let before = before.iter().filter(|before| before.about.store == about.store);
        before.flat_map(|before| &before.about.tags).any(|tag| tag.name == name && tag.version == version)
    };
    let kept = about.tags.iter().filter(|tag| same(&tag.name, &tag.version)).count();
    let mut groups: BTreeMap<&str, (u64, f64, usize)> = BTreeMap::new();
    for tag in &about.tags {
        let group = tag.name.rsplit_once('/').map_or(tag.name.as_str(), |(group, _)| group);
        let (tags, share, empty) = groups.entry(group).or_default();
        *tags += 1;
        *share += tag.count as f64 / about.users as f64;
        *empty += usize::from(tag.count == 0);
    }
    let row = |(group, (tags, share, empty)): (&&str, &(u64, f64, usize))| {
        vec![(*group).to_owned(), tags.to_string(), format!("{:.1} %", 100.0 * share / *tags as f64), empty.to_string()]
    };
    let rows: Vec<Vec<String>> = groups.iter().map(row).collect();
    say.line(format!("{} users as of {date}, {} tags", grouped(about.users as u64), about.tags.len()));
    say.line("");
    say.line(table(&["tags", "count", "mean coverage", "without a value"], &rows));
    by_reason(&about.left_out).iter().for_each(|line| say.line(line));
    say.line("");
    let folder = snapshot::folder(&project, date);
    let seconds = start.elapsed().as_secs_f64();
    say.line(format!(
        "profile: {} ({kept} of {} tags taken from before, {seconds:.1} s)",
        folder.display(),
        about.tags.len()
    ));
    if let Some(user) = profile.users.first() {
        say.line(format!("next: lookalike show user {user}"));
    }
    let tags: Vec<_> = about
        .tags
        .iter()
        .map(|tag| json!({ "name": tag.name, "version": tag.version, "kind": tag.kind, "users": tag.count }))
        .collect();
    say.json(&json!({
        "hash": hash,
        "as_of": date.to_string(),
        "users": about.users,
        "tags": tags,
        "left_out": about.left_out,
        "kept": kept,
        "seconds": seconds,
        "folder": folder.display().to_string(),
    }))
}

/// How far tags are true, as a table.
fn judge(
    common: &Common,
    as_of: Option<Date>,
    until: Option<Date>,
    behaviour: Option<&str>,
    say: &Say,
) -> Result<(), Failure> {
    let (project, store) = stored(common, say)?;
    let none = || Failure::new("there is no profile yet").with_hint("run `lookalike profile` first");
    let day = as_of.map_or_else(|| snapshot::days(&project).map(|days| days.last().copied()), |day| Ok(Some(day)))?;
    let (profile, _) = snapshot::read(&project, day.ok_or_else(none)?)?;
    if let Some(until) = until.filter(|until| *until <= profile.about.as_of) {
        return Err(Failure::wrong_use(format!(
            "{until} is not after {}, the day of the profile",
            profile.about.as_of
        )));
    }
    let catalogue = Catalogue::open(&project)?;
    let checked = behaviour.map(|tag| crosscheck(&project, &store, &catalogue, &profile, tag)).transpose()?;
    let verdicts = validate::validate(&project, &store, &catalogue, &profile, until)?;
    let agreement = |agreement: Option<validate::Agreement>| match agreement {
        Some(agreement) if agreement.chance > 0.0 => format!("{:.3} ({:.3})", agreement.figure, agreement.chance),
        Some(agreement) => format!("{:.3}", agreement.figure),
        None => "–".to_owned(),
    };
    let kept = |kept: Option<(f64, f64)>| kept.map_or("–".to_owned(), |(own, all)| format!("{own:.3} ({all:.3})"));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for verdict in &verdicts {
        let mut row =
            vec![verdict.tag.clone(), format!("{:.1} %", 100.0 * verdict.coverage), agreement(verdict.reliability)];
        if until.is_some() {
            row.extend([agreement(verdict.hindsight), kept(verdict.kept)]);
        }
        rows.push(row);
    }
    let header = ["tag", "coverage", "odd against even days", "afterwards", "kept"];
    let header = if until.is_some() { &header[..] } else { &header[..3] };
    say.line(table(header, &rows));
    say.line("");
    say.line("numbers: Spearman's rank correlation; others: share of values found again (by chance);");
    say.line("kept: share of the values found later that the profile had named (that everybody's favourites name)");
    if verdicts.iter().any(|verdict| verdict.hindsight.is_some_and(|found| found.chance == 0.5)) {
        say.line("a chance of coming back: area under the curve (0.5)");
    }
    for verdict in &verdicts {
        if let (Some(found), Some((naive, by))) = (verdict.hindsight, verdict.naive) {
            say.line(format!("{}: {:.3}, and {naive:.3} {by}", verdict.tag, found.figure));
        }
    }
    for (verdict, (foretold, came)) in verdicts.iter().filter_map(|verdict| Some((verdict, verdict.came?))) {
        say.line(format!("{}: {foretold:.2} foretold a user, {came:.2} came", verdict.tag));
    }
    if let (Some(checked), Some(behaviour)) = (&checked, behaviour) {
        told(checked, behaviour, say);
    }
    say.json(&json!({
        "as_of": profile.about.as_of.to_string(),
        "until": until.map(|day| day.to_string()),
        "tags": to_value(&verdicts)?,
        "declared": checked.as_ref().map(to_value).transpose()?,
    }))
}

/// What users said of themselves, told from what they do.
fn told(checked: &CrossCheck, behaviour: &str, say: &Say) {
    say.line("");
    say.line(format!("what users said, told from {} values of {behaviour}:", grouped(checked.columns as u64)));
    let rows: Vec<Vec<String>> = checked
        .told
        .iter()
        .map(|told| {
            let share = format!("{:.1} %", 100.0 * told.share);
            vec![told.tag.clone(), told.value.clone(), grouped(told.users as u64), share, format!("{:.3}", told.auc)]
        })
        .collect();
    say.line(table(&["tag", "value", "users", "said so", "AUC"], &rows));
    say.line("AUC: of two users, one of whom said so, how often behaviour names the right one (0.5 by chance)");
}

/// How many tags were left out for each reason, and their names.
fn by_reason(left_out: &BTreeMap<String, String>) -> Vec<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in left_out {
        reasons.entry(reason.as_str()).or_default().push(name);
    }
    reasons.into_iter().map(|(reason, names)| format!("left out, {reason}: {}", names.join(", "))).collect()
}

fn compare(common: &Common, before: Date, after: Date, say: &Say) -> Result<(), Failure> {
    let project = Project::open(&common.project)?;
    let read = |date| snapshot::read(&project, date).map(|(profile, _)| profile);
    let difference = diff::compare(&read(before)?, &read(after)?, project.min_cell);
    say.line(format!(
        "{before} → {after}: {} users came, {} went, {} stayed",
        grouped(difference.came as u64),
        grouped(difference.went as u64),
        grouped(difference.stayed as u64)
    ));
    for (what, names) in
        [("new", &difference.added), ("gone", &difference.removed), ("defined otherwise", &difference.redefined)]
    {
        if !names.is_empty() {
            say.line(format!("tags {what}: {}", names.join(", ")));
        }
    }
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let rows: Vec<Vec<String>> = difference
        .tags
        .iter()
        .map(|tag| {
            let changed = 100.0 * tag.changed as f64 / difference.stayed.max(1) as f64;
            vec![tag.name.clone(), grouped(tag.changed as u64), format!("{changed:.1} %"), number(tag.psi)]
        })
        .collect();
    say.line("");
    say.line(table(&["tag", "users changed", "share", "PSI"], &rows));
    difference.flows.iter().for_each(|flow| flows(flow, project.min_cell, say));
    say.json(&to_value(&difference)?)
}

/// Who moved between the values of a segment, as a table.
pub fn flows(flow: &diff::Flow, min_cell: u32, say: &Say) {
    say.line("");
    say.line(format!("{}: from (row) to (column)", flow.tag));
    let header: Vec<&str> = [""].into_iter().chain(flow.values.iter().map(String::as_str)).collect();
    let cell = |count: &Option<u64>| match *count {
        Some(0) => "·".to_owned(),
        Some(count) => grouped(count),
        None => format!("<{min_cell}"),
    };
    let row = |(value, counts): (&String, &Vec<Option<u64>>)| {
        [vec![value.clone()], counts.iter().map(cell).collect()].concat()
    };
    let rows: Vec<Vec<String>> = flow.values.iter().zip(&flow.counts).map(row).collect();
    say.line(table(&header, &rows));
}

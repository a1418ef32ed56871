//! `segment`: find clusters of users or rules that tell a tag, say what sets a segment apart, how two overlap, and who moved.

mod run;
mod tree;

use std::path::{Path, PathBuf};

use jiff::civil::Date;
use lookalike_portrait::segment::cluster::{Clusters, Scaling, Search, choose, kmeans, place};
use lookalike_portrait::segment::tree::{Limits, grow};
use lookalike_portrait::segment::{self, insight};
use lookalike_portrait::{Catalogue, Column, Profile, TAGS_FOLDER, Values, describe, diff, snapshot};
use serde_json::json;

use super::portrait::open;
use super::profile::flows;
use crate::cli::{Common, Language, OfDay, Segment};
use crate::failure::{Failure, io};
use crate::say::{Say, grouped, table, to_value};

/// Users that the number of clusters is chosen by; more would only take longer.
const SAMPLE: usize = 20_000;
/// Traits that are printed of a value.
const TRAITS: usize = 8;
/// Runs of k-means, of which the best is kept.
const STARTS: usize = 20;

pub fn run(common: &Common, verb: &Segment, say: &Say) -> Result<(), Failure> {
    match verb {
        Segment::Fit { name, on, target: Some(target), depth, .. } => {
            let depth = *depth as usize;
            tree::fit(common, name, on, target, depth, say)
        }
        Segment::Fit { name, run: Some(run), items: Some(items), .. } => run::near(common, name, run, items, say),
        Segment::Fit { name, on, run: Some(run), k, most, .. } => {
            run::fit(common, name, run, on, (*k, *most as usize), say)
        }
        Segment::Fit { name, on, k, most, .. } => fit(common, name, on, *k, *most as usize, say),
        Segment::Describe { name, of, value } => {
            let (project, profile) = open(common, of)?;
            let catalogue = Catalogue::open(&project)?;
            let column = &profile.columns[profile.tag(name)?];
            let mut members = describe::members(column);
            if let Some(value) = value {
                if !members.contains_key(value) {
                    let known: Vec<&str> = members.keys().map(String::as_str).collect();
                    let hint = format!("the values are {}", known.join(", "));
                    return Err(Failure::new(format!("nobody has the value `{value}` of `{name}`")).with_hint(hint));
                }
                members.retain(|name, _| name == value);
            }
            let mut document = Vec::new();
            for (value, rows) in &members {
                if rows.len() < project.min_cell as usize {
                    say.line(format!("{value}: fewer than {} users", project.min_cell));
                    continue;
                }
                let share = 100.0 * rows.len() as f64 / profile.users.len() as f64;
                say.line(format!("{value}: {} users ({share:.1} %)", grouped(rows.len() as u64)));
                let traits = describe::traits(&profile, &catalogue, name, rows, project.min_cell)?;
                let sure = traits.iter().filter(|found| found.p.is_some_and(|p| p < 0.05) && found.index > 100.0);
                let rows: Vec<Vec<String>> = sure
                    .take(TRAITS)
                    .map(|found| {
                        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
                        let p = found
                            .p
                            .map_or(String::new(), |p| if p < 1e-4 { "<0.0001".into() } else { format!("{p:.4}") });
                        let (own, all) = (percent(found.share), percent(found.base_share));
                        vec![
                            format!("  {}", found.tag),
                            found.value.clone(),
                            own,
                            all,
                            format!("{:.0}", found.index),
                            p,
                        ]
                    })
                    .collect();
                if rows.is_empty() {
                    say.line("  nothing that may not be chance");
                } else {
                    say.line(table(&["  tag", "value", "here", "all", "index", "p"], &rows));
                }
                say.line("");
                document.push(json!({ "value": value, "users": share, "traits": to_value(&traits)? }));
            }
            say.line(
                "index: share here as a percentage of the share of all (TGI); p is adjusted for all values looked at",
            );
            say.json(&json!({ "name": name, "as_of": profile.about.as_of.to_string(), "values": document }))
        }
        Segment::Compare { first, second: Some(second), of, .. } => compare(common, first, second, of, say),
        Segment::Compare { first, since, of, .. } => moved(common, first, *since, of, say),
    }
}

fn compare(common: &Common, first: &str, second: &str, of: &OfDay, say: &Say) -> Result<(), Failure> {
    let (project, profile) = open(common, of)?;
    let all = [first, second].map(|name| profile.tag(name).map(|place| describe::members(&profile.columns[place])));
    let [left, right] = all;
    let (left, right) = (left?, right?);
    let groups: Vec<(&str, &[u32])> =
        left.iter().chain(&right).map(|(name, rows)| (name.as_str(), rows.as_slice())).collect();
    let rows: Vec<&[u32]> = groups.iter().map(|(_, rows)| *rows).collect();
    let overlaps = insight::overlaps(&rows, profile.users.len() as u64)?;
    let mut lines = Vec::new();
    let mut document = Vec::new();
    for overlap in overlaps.iter().filter(|overlap| overlap.left < left.len() && overlap.right >= left.len()) {
        if overlap.both < u64::from(project.min_cell) {
            continue;
        }
        let (a, b) = (groups[overlap.left].0, groups[overlap.right].0);
        let lift = overlap.lift.map_or("–".to_owned(), |lift| format!("{lift:.2}"));
        let jaccard = overlap.jaccard.map_or("–".to_owned(), |jaccard| format!("{jaccard:.3}"));
        lines.push(vec![a.to_owned(), b.to_owned(), grouped(overlap.both), jaccard, lift]);
        document.push(
            json!({ "first": a, "second": b, "users": overlap.both, "jaccard": overlap.jaccard, "lift": overlap.lift }),
        );
    }
    say.line(table(&[first, second, "users", "Jaccard", "lift"], &lines));
    say.line(format!("groups of fewer than {} users are not shown", project.min_cell));
    say.json(&json!({ "first": first, "second": second, "overlaps": document }))
}

/// Who moved from which value to which between the profile of `since` and another.
fn moved(common: &Common, name: &str, since: Option<Date>, of: &OfDay, say: &Say) -> Result<(), Failure> {
    let (project, after) = open(common, of)?;
    // The command line asks for a day where it asks for no second segment.
    let since = since.unwrap_or(after.about.as_of);
    if since >= after.about.as_of {
        let hint = "`--since` takes the day of an earlier profile";
        let days = format!("{since} is not before {}, the day of the profile", after.about.as_of);
        return Err(Failure::wrong_use(days).with_hint(hint));
    }
    let (before, _) = snapshot::read(&project, since)?;
    let flow = diff::moved(&before, &after, name, project.min_cell)?;
    if flow.values.is_empty() || !has_values(&after.columns[after.tag(name)?]) {
        return Err(Failure::new(format!("`{name}` has no values that users could move between"))
            .with_hint("`lookalike show tags` lists the tags with their kinds"));
    }
    let version = |profile: &Profile| profile.tag(name).map(|place| profile.about.tags[place].version.clone());
    let same = version(&before)? == version(&after)?;
    if !same {
        say.remark("the tag was defined otherwise then: who moved may say nothing of the users");
    }
    say.line(format!("{since} → {}", after.about.as_of));
    flows(&flow, project.min_cell, say);
    say.json(&json!({
        "name": name,
        "before": since.to_string(),
        "after": after.about.as_of.to_string(),
        "same_definition": same,
        "values": flow.values,
        "counts": flow.counts,
    }))
}

fn has_values(column: &Column) -> bool {
    matches!(column.values, Values::Text { .. })
}

/// The file of a tag, and its section there.
fn file_of(root: &Path, name: &str) -> Result<(PathBuf, String), Failure> {
    let wrong = || {
        Failure::wrong_use(format!("`{name}` is no name of a tag"))
            .with_hint("a name has at least two parts, such as segment/behaviour")
    };
    let allowed = |letter: char| letter.is_alphanumeric() || "_-/".contains(letter);
    let (path, section) = name.rsplit_once('/').ok_or_else(wrong)?;
    if !name.chars().all(allowed) || name.split('/').any(str::is_empty) {
        return Err(wrong());
    }
    Ok((root.join(TAGS_FOLDER).join(format!("{path}.toml")), section.to_owned()))
}

/// Writes a tag file as a whole.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(io("written", folder))?;
    let part = tempfile::NamedTempFile::new_in(folder).map_err(io("written", file))?;
    std::fs::write(part.path(), text).map_err(io("written", file))?;
    part.as_file().sync_all().map_err(io("written", file))?;
    part.persist(file).map_err(|error| Failure::new(format!("`{}` cannot be written: {error}", file.display())))?;
    Ok(())
}

/// The file and the section of a tag that is to be made; it must not be there yet.
fn new_file(root: &Path, name: &str) -> Result<(PathBuf, String), Failure> {
    let (file, section) = file_of(root, name)?;
    if file.exists() {
        let hint = "take another name, or remove the file";
        return Err(Failure::new(format!("`{}` is there already", file.display())).with_hint(hint));
    }
    Ok((file, section))
}

/// The places of numeric tags in a profile, in their order there.
fn places(profile: &Profile, on: &[String]) -> Result<Vec<usize>, Failure> {
    let mut tags = on.iter().map(|tag| profile.tag(tag)).collect::<Result<Vec<usize>, _>>()?;
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

/// Clusters of rows of numbers: as many as were asked for, or as are stable; what was tried is said.
fn clusters_of(
    features: &[f64],
    columns: usize,
    (k, most): (Option<u32>, usize),
    seed: u64,
    say: &Say,
) -> Result<(Clusters, Vec<serde_json::Value>), Failure> {
    // Every so many users: the order of ids says nothing about them.
    let step = (features.len() / columns.max(1)).div_ceil(SAMPLE).max(1);
    let sample: Vec<f64> = features.chunks(columns).step_by(step).flatten().copied().collect();
    let (clusters, chosen) = match k {
        Some(k) => (kmeans(&sample, columns, k as usize, STARTS, seed)?, None),
        None => {
            let search = Search { clusters: 2..=most, starts: STARTS, seed, ..Search::default() };
            let choice = choose(&sample, columns, &search)?;
            (choice.tried[choice.chosen].clusters.clone(), Some(choice))
        }
    };
    let mut tried = Vec::new();
    if let Some(choice) = &chosen {
        let row = |(at, one): (usize, &segment::cluster::Tried)| {
            let silhouette = one.silhouette.map_or("–".to_owned(), |silhouette| format!("{silhouette:.3}"));
            let mark = if at == choice.chosen { "chosen" } else { "" };
            let (mean, least) = (format!("{:.3}", one.stability), format!("{:.3}", one.least_stability));
            vec![one.clusters.sizes.len().to_string(), silhouette, mean, least, mark.to_owned()]
        };
        let lines: Vec<Vec<String>> = choice.tried.iter().enumerate().map(row).collect();
        say.line(table(&["clusters", "silhouette", "stability", "least", ""], &lines));
        if !choice.holds {
            say.remark("no number of clusters is stable: parts of the users give other clusters");
        }
        tried = choice.tried.iter().map(|one| json!({ "clusters": one.clusters.sizes.len(), "silhouette": one.silhouette, "stability": one.stability, "least_stability": one.least_stability })).collect();
    }
    Ok((clusters, tried))
}

fn fit(common: &Common, name: &str, on: &[String], k: Option<u32>, most: usize, say: &Say) -> Result<(), Failure> {
    let of = OfDay { as_of: None, lang: Language::En };
    let (project, profile) = open(common, &of)?;
    let (file, section) = new_file(&project.root, name)?;
    let tags = places(&profile, on)?;
    let names: Vec<&str> = tags.iter().map(|tag| profile.about.tags[*tag].name.as_str()).collect();
    let short: Vec<String> = (0..names.len()).map(|at| format!("x{:02}", at + 1)).collect();
    let (rows, numbers) = describe::numbers(&profile, &tags)?;
    let columns = tags.len();
    let scaling = Scaling::of(&numbers, columns)?;
    let features = scaling.apply(&numbers)?;
    let (clusters, tried) = clusters_of(&features, columns, (k, most), common.seed, say)?;
    let labels = place(&features, columns, &clusters.centres)?;
    let tree = grow(&numbers, columns, &labels, Limits { depth: 3, least: project.min_cell as usize })?;
    let fidelity = tree.fidelity(&numbers, &labels)?;
    let plain: Vec<&str> = names.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
    let called = |label: u32| format!("cluster {}", label + 1);
    let rules: Vec<String> = tree.rules().iter().map(|rule| rule.sentence(&plain, called)).collect();
    say.line("");
    rules.iter().for_each(|rule| say.line(format!("  {rule}")));
    say.line(format!("  these rules tell {:.1} % of the users as the clusters do", 100.0 * fidelity));
    let list = |numbers: &[f64]| numbers.iter().map(|number| format!("{number:?}")).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "# Clusters of {} users as of {}, by `lookalike segment fit`. Rules that tell {:.1} % of them in the same way:\n",
        grouped(rows.len() as u64),
        profile.about.as_of,
        100.0 * fidelity
    );
    rules.iter().for_each(|rule| text += &format!("#   {rule}\n"));
    let from: Vec<String> = short.iter().zip(&names).map(|(short, name)| format!("{short} = \"{name}\"")).collect();
    text += &format!(
        "# The centres are fixed: the same numbers always give the same cluster. Say what is done for each (`treatment`).\n\n[{section}]\nkind = \"cluster\"\nfrom = {{ {} }}\nmeans = [{}]\ndeviations = [{}]\n[{section}.values]\n",
        from.join(", "),
        list(&scaling.means),
        list(&scaling.deviations)
    );
    for (label, centre) in clusters.centres.chunks(columns).enumerate() {
        text += &format!("\"{}\" = {{ centre = [{}] }}\n", called(label as u32), list(centre));
    }
    write(&file, &text)?;
    say.line("");
    say.line(format!("tag: {} (add titles and treatments there)", file.display()));
    say.line(format!("next: lookalike profile && lookalike segment describe {name}"));
    say.json(&json!({
        "name": name,
        "file": file.display().to_string(),
        "users": rows.len(),
        "clusters": clusters.sizes.len(),
        "tried": tried,
        "rules": rules,
        "fidelity": fidelity,
    }))
}

//! `segment fit --run`: users in clusters by the vectors that a model learned, told apart by what is more common in each and
//! by rules over numbers that people understand.

use std::collections::HashMap;
use std::path::Path;

use lookalike_portrait::embedding::Vectors;
use lookalike_portrait::segment::cluster::place;
use lookalike_portrait::segment::tree::{Limits, grow};
use lookalike_portrait::{Catalogue, Profile, Values, describe};
use serde_json::json;

use super::{clusters_of, new_file, places, write};
use crate::cli::{Common, Language, OfDay};
use crate::failure::Failure;
use crate::say::{Say, grouped};
use crate::verbs::portrait::open;
use crate::verbs::profile::stored;

/// Comparisons of a rule that tells clusters apart.
const DEPTH: u32 = 3;
/// The share of users whom a number must be known of to be used in such rules, unless it was asked for.
const KNOWN: f64 = 0.9;

pub fn fit(
    common: &Common,
    name: &str,
    run: &str,
    on: &[String],
    asked: (Option<u32>, usize),
    say: &Say,
) -> Result<(), Failure> {
    let of = OfDay { as_of: None, lang: Language::En };
    let (project, profile) = open(common, &of)?;
    let (file, section) = new_file(&project.root, name)?;
    let run = &seen_from(&project.root, run);
    let vectors = read(&project.root, run)?;
    let (rows, features) = vectors.of(&profile.users);
    let columns = vectors.dim();
    let (clusters, tried) = clusters_of(&features, columns, asked, common.seed, say)?;
    let labels = place(&features, columns, &clusters.centres)?;
    let count = clusters.sizes.len();

    let catalogue = Catalogue::open(&project)?;
    let titles: Vec<String> = (0..count as u32)
        .map(|cluster| {
            let inside: Vec<u32> =
                rows.iter().zip(&labels).filter(|(_, own)| **own == cluster).map(|(row, _)| *row).collect();
            let traits = describe::traits(&profile, &catalogue, name, &inside, project.min_cell)?;
            let telling = traits.iter().find(|found| found.index > 100.0 && found.p.is_some_and(|p| p < 0.05));
            Ok(telling.map_or("like the others".to_owned(), |found| {
                format!("{}: {} ({:.0})", found.tag.rsplit('/').next().unwrap_or(&found.tag), found.value, found.index)
            }))
        })
        .collect::<Result<_, Failure>>()?;

    let tags = match on {
        [] => well_known(&profile),
        on => places(&profile, on)?,
    };
    let (known, numbers) = describe::numbers(&profile, &tags)?;
    let label_of: HashMap<u32, u32> = rows.iter().copied().zip(labels.iter().copied()).collect();
    let told: Vec<(usize, u32)> =
        known.iter().enumerate().filter_map(|(at, row)| Some((at, *label_of.get(row)?))).collect();
    let table: Vec<f64> = told.iter().flat_map(|(at, _)| &numbers[at * tags.len()..][..tags.len()]).copied().collect();
    let own: Vec<u32> = told.iter().map(|(_, label)| *label).collect();
    let tree = grow(&table, tags.len(), &own, Limits { depth: DEPTH as usize, least: project.min_cell as usize })?;
    let fidelity = tree.fidelity(&table, &own)?;
    let called = |label: u32| format!("cluster {}", label + 1);
    let plain: Vec<&str> = tags
        .iter()
        .map(|tag| {
            let name = profile.about.tags[*tag].name.as_str();
            name.rsplit('/').next().unwrap_or(name)
        })
        .collect();
    let rules: Vec<String> = tree.rules().iter().map(|rule| rule.sentence(&plain, called)).collect();

    say.line("");
    for (label, title) in titles.iter().enumerate() {
        let users = labels.iter().filter(|own| **own as usize == label).count();
        say.line(format!("  {}, {} users: {title}", called(label as u32), grouped(users as u64)));
    }
    say.line("");
    rules.iter().for_each(|rule| say.line(format!("  {rule}")));
    let told = format!("these rules tell {:.1} % of the users as the clusters do", 100.0 * fidelity);
    say.line(format!("  {told}"));
    let mut text = format!(
        "# Clusters of {} users by their vectors in `{run}`, by `lookalike segment fit`; {told}:\n",
        grouped(rows.len() as u64)
    );
    rules.iter().for_each(|rule| text += &format!("#   {rule}\n"));
    text += &format!(
        "# A title is what is most certainly more common than among all, with its index. Say what is done for each \
         (`treatment`).\n\n[{section}]\nkind = \"embedding\"\nrun = {}\nvectors = \"{}\"\n[{section}.values]\n",
        json!(run),
        vectors.hash
    );
    for ((label, centre), title) in clusters.centres.chunks(columns).enumerate().zip(&titles) {
        let centre: Vec<String> = centre.iter().map(|number| format!("{number:?}")).collect();
        text += &format!(
            "\"{}\" = {{ title = {{ en = {} }}, centre = [{}] }}\n",
            called(label as u32),
            json!(title),
            centre.join(", ")
        );
    }
    write(&file, &text)?;
    say.line("");
    say.line(format!("tag: {} (add treatments there)", file.display()));
    say.line(format!("next: lookalike profile && lookalike segment describe {name}"));
    say.json(&json!({
        "name": name,
        "file": file.display().to_string(),
        "users": rows.len(),
        "clusters": count,
        "titles": titles,
        "tried": tried,
        "rules": rules,
        "fidelity": fidelity,
    }))
}

/// A tag of how near users are to some items.
pub fn near(common: &Common, name: &str, run: &str, items: &str, say: &Say) -> Result<(), Failure> {
    let (project, store) = stored(common, say)?;
    let (file, section) = new_file(&project.root, name)?;
    let run = &seen_from(&project.root, run);
    let vectors = read(&project.root, run)?;
    let ids = store.items_where(items)?;
    if vectors.centre(&ids).is_none() {
        let failure = Failure::new(format!("`{run}` knows no item for which `{items}` is true"));
        return Err(failure.with_hint(format!("it is true for {} items of the store", grouped(ids.len() as u64))));
    }
    let count = grouped(ids.len() as u64);
    let text = format!(
        "# How near users are to {count} items by their vectors in `{run}`, by `lookalike segment fit`: less the mean of all users, in \
         standard deviations.\n\n[{section}]\nkind = \"nearness\"\nrun = {}\nvectors = \"{}\"\nitems = {}\n",
        json!(run),
        vectors.hash,
        json!(items)
    );
    write(&file, &text)?;
    say.line(format!("{count} items, and the users of `{run}`"));
    say.line(format!("tag: {} (add titles there)", file.display()));
    say.line(format!("next: lookalike profile && lookalike show tag {name}"));
    say.json(&json!({ "name": name, "file": file.display().to_string(), "items": ids.len() }))
}

/// A run as the project names it. As with every verb, a folder is first looked for from where the command is given.
fn seen_from(root: &Path, run: &str) -> String {
    let here = Path::new(run);
    let (true, Ok(root), Ok(full)) = (here.join("bundle").is_dir(), root.canonicalize(), here.canonicalize()) else {
        return run.to_owned();
    };
    full.strip_prefix(&root).unwrap_or(&full).display().to_string()
}

fn read(root: &Path, run: &str) -> Result<Vectors, Failure> {
    Vectors::read(root, run).map_err(|(message, hint)| match hint {
        Some(hint) => Failure::new(message).with_hint(hint),
        None => Failure::new(message),
    })
}

/// Numbers that are known of nearly everybody.
fn well_known(profile: &Profile) -> Vec<usize> {
    let known = |place: &usize| {
        let column = &profile.columns[*place];
        matches!(column.values, Values::Number(_)) && column.count() as f64 >= KNOWN * profile.users.len() as f64
    };
    (0..profile.columns.len()).filter(known).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::seen_from;

    #[test]
    fn a_run_is_named_as_the_project_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("shop");
        std::fs::create_dir_all(root.join("runs/ials/bundle")).unwrap();
        std::fs::create_dir_all(folder.path().join("other/bundle")).unwrap();
        let named = |run: std::path::PathBuf| seen_from(&root, run.to_str().unwrap());
        assert_eq!(named(root.join("runs/ials")), "runs/ials");
        let other = folder.path().join("other").canonicalize().unwrap();
        assert_eq!(named(other.clone()), other.to_str().unwrap());
        // What is not found from here is left to be found from the project.
        assert_eq!(seen_from(&root, "runs/ials"), "runs/ials");
    }
}

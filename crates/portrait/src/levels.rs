//! Levels: whatever a tag reads lies below it, and is of no later day.
//!
//! The level of what reads nothing but the store is 0; of anything else it is one more than the highest level that it reads.
//! Tags read tags; models among them read figures of events that have no name; a tag of what a run learned reads the
//! run; and a run reads the tags that the preset of its two-tower names, as of the day its learning ends. So a loop may go
//! through a run, which no tag file tells of.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::Date;
use lookalike_bundle::Manifest;
use lookalike_store::Project;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::profile::Profile;
use crate::tag::Tag;

/// What the names of runs begin with; no name of a tag has a space in it.
const RUN: &str = "run ";

/// Something that reads others, or is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    /// The name of a tag, `run ` and the folder of a run, or `events of ` and the tag that reads them.
    pub name: String,
    /// Its level; none where it reads itself by some way round.
    pub level: Option<usize>,
    /// What it reads beside the store.
    pub reads: Vec<String>,
    /// The day whose events, and later ones, it does not see; none where that is not known.
    pub as_of: Option<Date>,
}

/// All levels, and what of them is not as it must be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Levels {
    /// The lowest first, those without a level last.
    pub all: Vec<Level>,
    /// How many times something reads something else.
    pub reads: usize,
    /// What reads something of its own level or above, of a later day, or of an unknown one.
    pub wrong: Vec<String>,
}

impl Levels {
    /// Those of the tags of a profile, and of the runs that they read or that read them.
    pub fn of(project: &Project, catalogue: &Catalogue, profile: &Profile) -> Self {
        let day = Some(profile.about.as_of);
        let mut nodes: Vec<Level> = Vec::new();
        let node = |name: String, reads: Vec<String>, as_of| Level { name, level: None, reads, as_of };
        let mut folders: Vec<String> = runs_of(&project.root);
        for tag in catalogue.tags().iter().filter(|tag| profile.tag(&tag.name).is_ok()) {
            let mut reads: Vec<String> = tag.parents().map(str::to_owned).collect();
            if let Some(run) = tag.run() {
                reads.push(format!("{RUN}{run}"));
                folders.push(run.to_owned());
            }
            if !tag.ingredients().is_empty() {
                let events = format!("events of {}", tag.name);
                nodes.push(node(events.clone(), Vec::new(), day));
                reads.push(events);
            }
            reads.sort();
            reads.dedup();
            nodes.push(node(tag.name.clone(), reads, day));
        }
        folders.sort();
        folders.dedup();
        for folder in folders {
            let Ok(manifest) = Manifest::read(&project.root.join(&folder).join("bundle")) else { continue };
            let named = manifest.preset.get("tags").and_then(|tags| tags.as_array()).into_iter().flatten();
            let named: Vec<&str> = named.filter_map(|tag| tag.as_str()).collect();
            let reads = catalogue.tags().iter().filter(|tag| named.iter().any(|name| enters(catalogue, tag, name)));
            let reads = reads.map(|tag| tag.name.clone()).filter(|name| profile.tag(name).is_ok()).collect();
            let day = manifest.learned_before.and_then(|day| day.parse().ok());
            nodes.push(node(format!("{RUN}{folder}"), reads, day));
        }
        Self::among(nodes)
    }

    /// The levels of things that read one another; what they read and is not among them counts as nothing.
    fn among(mut nodes: Vec<Level>) -> Self {
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        let known: BTreeMap<String, Option<Date>> = nodes.iter().map(|node| (node.name.clone(), node.as_of)).collect();
        nodes.iter_mut().for_each(|node| node.reads.retain(|name| known.contains_key(name)));
        // Round after round those of whom all is settled that they read: a round is a level.
        for level in 0.. {
            let settled =
                |node: &&Level| !done.contains_key(&node.name) && node.reads.iter().all(|n| done.contains_key(n));
            let next: Vec<String> = nodes.iter().filter(settled).map(|node| node.name.clone()).collect();
            if next.is_empty() {
                break;
            }
            done.extend(next.into_iter().map(|name| (name, level)));
        }
        nodes.iter_mut().for_each(|node| node.level = done.get(&node.name).copied());
        let mut wrong = Vec::new();
        for node in &nodes {
            for read in &node.reads {
                match (node.level, done.get(read)) {
                    (Some(own), Some(level)) if *level < own => {}
                    _ => wrong.push(format!("{} reads {read} and is read by it", node.name)),
                }
                // A run reads tags as of its own day, whatever day the profile at hand is of.
                let day = if node.name.starts_with(RUN) { node.as_of } else { known[read] };
                match (node.as_of, day) {
                    (Some(own), Some(day)) if day <= own => {}
                    (Some(own), Some(day)) => wrong.push(format!("{} of {own} reads {read} of {day}", node.name)),
                    _ => wrong.push(format!("{} reads {read}, and the day of one is not known", node.name)),
                }
            }
        }
        nodes.sort_by(|a, b| (a.level.is_none(), a.level, &a.name).cmp(&(b.level.is_none(), b.level, &b.name)));
        Self { reads: nodes.iter().map(|node| node.reads.len()).sum(), all: nodes, wrong }
    }

    /// How many there are of each level, from 0 on.
    pub fn counts(&self) -> Vec<usize> {
        let levels = self.all.iter().filter_map(|node| node.level).max().map_or(0, |most| most + 1);
        (0..levels).map(|level| self.all.iter().filter(|node| node.level == Some(level)).count()).collect()
    }
}

/// Whether a run reads a tag where its preset says this: a name, a folder that ends in `/`, or `*`. Of a folder those tags
/// alone enter that no run made.
fn enters(catalogue: &Catalogue, tag: &Tag, asked: &str) -> bool {
    let inside = asked == "*" || asked.ends_with('/') && tag.name.starts_with(asked);
    asked == tag.name || inside && !of_run(catalogue, tag)
}

/// Whether a tag is made from what a run learned, itself or by what it is made from.
fn of_run(catalogue: &Catalogue, tag: &Tag) -> bool {
    tag.run().is_some() || tag.parents().any(|name| catalogue.get(name).is_ok_and(|parent| of_run(catalogue, parent)))
}

/// The runs in their usual place in a project.
fn runs_of(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join("runs")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(format!("runs/{}", entry.file_name().to_str()?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn node(name: usize, reads: &[usize], day: i8) -> Level {
        let reads = reads.iter().map(|read| format!("t{read}")).collect();
        Level { name: format!("t{name}"), level: None, reads, as_of: Some(date(2024, 1, day)) }
    }

    /// The longest way down, or none if there is a way round; as slowly as it reads.
    fn slow(reads: &[Vec<usize>], at: usize, path: &[usize]) -> Option<usize> {
        if path.contains(&at) {
            return None;
        }
        let path = [path, &[at]].concat();
        let below: Option<Vec<usize>> = reads[at].iter().map(|&read| slow(reads, read, &path)).collect();
        Some(below?.into_iter().map(|level| level + 1).max().unwrap_or(0))
    }

    proptest! {
        #[test]
        fn levels_are_the_longest_ways_down(
            reads in proptest::collection::vec(proptest::collection::btree_set(0usize..7, 0..3), 7),
        ) {
            let reads: Vec<Vec<usize>> = reads.into_iter().map(|reads| reads.into_iter().collect()).collect();
            let found = Levels::among(reads.iter().enumerate().map(|(name, reads)| node(name, reads, 1)).collect());
            for level in &found.all {
                let at: usize = level.name[1..].parse().unwrap();
                prop_assert_eq!(level.level, slow(&reads, at, &[]));
            }
            prop_assert_eq!(found.wrong.is_empty(), (0..7).all(|at| slow(&reads, at, &[]).is_some()));
        }
    }

    #[test]
    fn a_loop_and_a_later_day_are_found() {
        let right = Levels::among(vec![node(0, &[], 1), node(1, &[0], 1), node(2, &[0, 1], 2)]);
        assert_eq!((right.counts(), right.reads, right.wrong.len()), (vec![1, 1, 1], 3, 0));
        let round = Levels::among(vec![node(0, &[2], 1), node(1, &[0], 1), node(2, &[1], 1), node(3, &[], 1)]);
        assert_eq!((round.counts(), round.wrong.len()), (vec![1], 3));
        let later = Levels::among(vec![node(0, &[], 3), node(1, &[0], 2)]);
        assert_eq!(later.wrong, ["t1 of 2024-01-02 reads t0 of 2024-01-03"]);
        let unknown = Levels::among(vec![Level { as_of: None, ..node(0, &[], 1) }, node(1, &[0], 2)]);
        assert_eq!(unknown.wrong.len(), 1);
    }
}

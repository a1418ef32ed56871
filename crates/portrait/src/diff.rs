//! What changed between two profiles: which tags, who moved, and whether the tag or the users changed.

use std::collections::{BTreeMap, HashMap};

use lookalike_measure::psi;
use serde::Serialize;

use crate::column::{Column, Values};
use crate::error::Result;
use crate::profile::Profile;
use crate::segment;

/// What changed between two profiles.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Users in the newer one alone.
    pub came: usize,
    /// Users in the older one alone.
    pub went: usize,
    /// Users in both.
    pub stayed: usize,
    /// Tags of the newer one alone.
    pub added: Vec<String>,
    /// Tags of the older one alone.
    pub removed: Vec<String>,
    /// Tags of both that compute something else: what changed of them says nothing of the users.
    pub redefined: Vec<String>,
    /// What changed of the tags that both have, most first.
    pub tags: Vec<Change>,
    /// How users moved between the values of segments.
    pub flows: Vec<Flow>,
}

/// What changed of a tag.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Users of both profiles whose value is another.
    pub changed: usize,
    /// Population stability index of its values, over all users of either; `None` where there is nothing to compare.
    pub psi: Option<f64>,
}

/// Users of a segment by where they were and where they are.
#[derive(Debug, Clone, Serialize)]
pub struct Flow {
    /// Name of the tag.
    pub tag: String,
    /// Its values; the last stands for users without one.
    pub values: Vec<String>,
    /// Users from each value (outer) to each value (inner); `None` stands for a few, fewer than `min_cell`.
    pub counts: Vec<Vec<Option<u64>>>,
}

/// Name of users without a value.
const WITHOUT: &str = "(none)";

/// Compares two profiles; groups of fewer than `min_cell` users are not told.
pub fn compare(before: &Profile, after: &Profile, min_cell: u32) -> Difference {
    let pairs = pairs(&before.users, &after.users);
    let names = |profile: &Profile| profile.about.tags.iter().map(|tag| tag.name.clone()).collect::<Vec<_>>();
    let (old, new) = (names(before), names(after));
    let only =
        |some: &[String], others: &[String]| some.iter().filter(|name| !others.contains(name)).cloned().collect();
    let (mut redefined, mut tags, mut flows) = (Vec::new(), Vec::new(), Vec::new());
    for (place, about) in after.about.tags.iter().enumerate() {
        let Ok(earlier) = before.tag(&about.name) else { continue };
        if before.about.tags[earlier].version != about.version {
            redefined.push(about.name.clone());
        }
        let (was, is) = (&before.columns[earlier], &after.columns[place]);
        let changed = pairs.iter().filter(|(a, b)| !same(was, *a, is, *b)).count();
        tags.push(Change { name: about.name.clone(), changed, psi: drift(was, is) });
        if about.segment {
            flows.push(flow(&about.name, was, is, &pairs, min_cell));
        }
    }
    tags.sort_by(|a, b| b.changed.cmp(&a.changed).then_with(|| a.name.cmp(&b.name)));
    Difference {
        came: after.users.len() - pairs.len(),
        went: before.users.len() - pairs.len(),
        stayed: pairs.len(),
        added: only(&new, &old),
        removed: only(&old, &new),
        redefined,
        tags,
        flows,
    }
}

/// Rows of the users that both lists have; both are sorted.
pub(crate) fn pairs(before: &[String], after: &[String]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut next = 0;
    for (row, user) in before.iter().enumerate() {
        next += after[next..].partition_point(|other| other < user);
        if after.get(next) == Some(user) {
            pairs.push((row, next));
        }
    }
    pairs
}

fn same(was: &Column, a: usize, is: &Column, b: usize) -> bool {
    match (&was.values, &is.values) {
        (Values::Number(_), Values::Number(_)) => was.values.number(a) == is.values.number(b),
        (Values::List { .. }, Values::List { .. }) => {
            was.values.list(a).map(|(name, _)| name).eq(is.values.list(b).map(|(name, _)| name))
        }
        _ => was.values.text(a) == is.values.text(b),
    }
}

/// How the users of both profiles moved between the values of a tag; groups of fewer than `min_cell` users are not told.
pub fn moved(before: &Profile, after: &Profile, tag: &str, min_cell: u32) -> Result<Flow> {
    let (was, is) = (&before.columns[before.tag(tag)?], &after.columns[after.tag(tag)?]);
    Ok(flow(tag, was, is, &pairs(&before.users, &after.users), min_cell))
}

fn flow(tag: &str, was: &Column, is: &Column, pairs: &[(usize, usize)], min_cell: u32) -> Flow {
    let from: Vec<&str> = pairs.iter().map(|(row, _)| was.values.text(*row).unwrap_or(WITHOUT)).collect();
    let to: Vec<&str> = pairs.iter().map(|(_, row)| is.values.text(*row).unwrap_or(WITHOUT)).collect();
    let mut values: Vec<&str> = from.iter().chain(&to).copied().collect();
    // Users without a value come last.
    values.sort_unstable_by_key(|value| (*value == WITHOUT, *value));
    values.dedup();
    let places: HashMap<&str, u32> = values.iter().copied().zip(0..).collect();
    let labels = |texts: &[&str]| texts.iter().map(|text| places[text]).collect::<Vec<u32>>();
    let n = values.len();
    // Labels are places among the values, so that this cannot fail.
    let table = segment::flow::Flow::between(&labels(&from), &labels(&to), n).ok();
    let count = |from: usize, to: usize| {
        let count = table.as_ref().map_or(0, |table| table.count(from, to));
        Some(count).filter(|n| *n == 0 || *n >= u64::from(min_cell))
    };
    let counts = (0..n).map(|from| (0..n).map(|to| count(from, to)).collect()).collect();
    Flow { tag: tag.to_owned(), values: values.into_iter().map(str::to_owned).collect(), counts }
}

/// The population stability index over values of texts, tenths of the older numbers, and users without a value.
pub(crate) fn drift(was: &Column, is: &Column) -> Option<f64> {
    let edges = match &was.values {
        Values::Number(numbers) => {
            let mut sorted: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            (1..10).filter_map(|tenth| sorted.get(sorted.len() * tenth / 10).copied()).collect()
        }
        _ => Vec::new(),
    };
    let mut cells: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (side, column) in [was, is].into_iter().enumerate() {
        for row in 0..column.values.len() {
            let cell = match (column.values.number(row), column.values.text(row)) {
                (Some(number), _) => edges.partition_point(|edge: &f64| *edge < number).to_string(),
                (None, Some(text)) => text.to_owned(),
                (None, None) => WITHOUT.to_owned(),
            };
            cells.entry(cell).or_default()[side] += 1;
        }
    }
    let side = |side: usize| cells.values().map(|cell| cell[side]).collect::<Vec<u64>>();
    psi(&side(0), &side(1)).ok().flatten()
}

//! What sets the users of a segment apart, by all other tags of a profile.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::column::{Column, Values};
use crate::profile::Profile;
use crate::segment::insight::{self, Counts};
use crate::segment::{Error, Result};

/// A value of a tag that is more, or less, common in a segment than among all users.
#[derive(Debug, Clone, Serialize)]
pub struct Trait {
    /// Name of the tag.
    pub tag: String,
    /// The value; of numbers the fifth of the users that they lie in.
    pub value: String,
    /// Share of the segment that has it, of those for whom the tag is known.
    pub share: f64,
    /// The same share of all users.
    pub base_share: f64,
    /// 100 · share / base share.
    pub index: f64,
    /// Chance of such a difference if there were none, adjusted for having looked at all values.
    pub p: Option<f64>,
}

const FIFTHS: [&str; 5] = ["lowest fifth", "second fifth", "middle fifth", "fourth fifth", "highest fifth"];

/// Rows of the users with each value of a segment, by value.
pub fn members(column: &Column) -> BTreeMap<String, Vec<u32>> {
    let mut members: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for row in 0..column.values.len() {
        column
            .values
            .text(row)
            .into_iter()
            .for_each(|name| members.entry(name.to_owned()).or_default().push(row as u32));
    }
    members
}

/// The values that set `members` (rows, ascending) of the segment `tag` apart, the most certain first. Left out are tags
/// that the segment is made from, for they say what it is and not how its users are, and groups of fewer than
/// `min_cell`.
pub fn traits(
    profile: &Profile,
    catalogue: &Catalogue,
    tag: &str,
    members: &[u32],
    min_cell: u32,
) -> Result<Vec<Trait>> {
    let related = related(catalogue, tag);
    let inside: BTreeSet<u32> = members.iter().copied().collect();
    let (mut named, mut counts) = (Vec::new(), Vec::new());
    for (about, column) in profile.about.tags.iter().zip(&profile.columns) {
        if related.contains(about.name.as_str()) {
            continue;
        }
        let fifths = fifths(column);
        let known = |row: u32| column.values.has(row as usize);
        let segment = members.iter().filter(|row| known(**row)).count() as u64;
        let mut values: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for row in 0..profile.users.len() as u32 {
            let mut add = |value: &str| {
                let (own, all) = values.entry(value.to_owned()).or_default();
                *own += u64::from(inside.contains(&row));
                *all += 1;
            };
            match (&column.values, &fifths) {
                (Values::List { .. }, _) => column.values.list(row as usize).for_each(|(name, _)| add(name)),
                (Values::Number(_), Some(fifths)) => {
                    if let Some(fifth) = fifths[row as usize] {
                        add(FIFTHS[fifth]);
                    }
                }
                _ => column.values.text(row as usize).into_iter().for_each(&mut add),
            }
        }
        for (value, (own, all)) in values.into_iter().filter(|(_, (own, _))| *own >= u64::from(min_cell)) {
            named.push((about.name.clone(), value));
            counts.push(Counts { in_segment: own, segment, in_base: all, base: column.count() as u64 });
        }
    }
    let found = insight::compare(&counts)?.into_iter().map(|found| {
        let (tag, value) = named[found.value].clone();
        Trait { tag, value, share: found.share, base_share: found.base_share, index: found.index, p: found.adjusted }
    });
    Ok(found.collect())
}

/// The tag itself, all that it is made from, and all that is made from these.
fn related<'a>(catalogue: &'a Catalogue, tag: &'a str) -> BTreeSet<&'a str> {
    let mut related = BTreeSet::from([tag]);
    for tag in catalogue.tags().iter().rev() {
        if related.contains(tag.name.as_str()) {
            related.extend(tag.parents());
        }
    }
    for tag in catalogue.tags() {
        if tag.parents().any(|parent| related.contains(parent)) {
            related.insert(&tag.name);
        }
    }
    related
}

/// The fifth of the users that each number lies in, equal numbers in the same; `None` for other tags than numbers, and for
/// numbers of which there are not five different ones at the bounds.
fn fifths(column: &Column) -> Option<Vec<Option<usize>>> {
    let Values::Number(numbers) = &column.values else { return None };
    let mut sorted: Vec<f64> = numbers.iter().copied().filter(|number| !number.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let bounds: Vec<f64> = (1..5).filter_map(|fifth| sorted.get(sorted.len() * fifth / 5).copied()).collect();
    let fifth = |number: &f64| (!number.is_nan()).then(|| bounds.partition_point(|bound| bound <= number));
    (bounds.len() == 4).then(|| numbers.iter().map(fifth).collect())
}

/// Rows of the users who have all of some numbers, and these, row after row.
pub fn numbers(profile: &Profile, tags: &[usize]) -> Result<(Vec<u32>, Vec<f64>)> {
    let whole = |row: &u32| tags.iter().all(|tag| profile.columns[*tag].values.number(*row as usize).is_some());
    let rows: Vec<u32> = (0..profile.users.len() as u32).filter(whole).collect();
    let number = |row: &u32, tag: &usize| profile.columns[*tag].values.number(*row as usize).unwrap_or_default();
    let table = rows.iter().flat_map(|row| tags.iter().map(move |tag| number(row, tag))).collect();
    if rows.is_empty() { Err(Error::Nobody) } else { Ok((rows, table)) }
}

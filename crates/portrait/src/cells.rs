//! Small groups and telling combinations: what of a profile could point to one person.
//!
//! A quasi-identifier is a personal attribute that, together with others, may tell who somebody is. What is counted is how
//! many users are alone with their combination of values, and how many share it with fewer than `min_cell`.

use std::collections::HashMap;

use serde::Serialize;

use crate::column::Values;
use crate::profile::Profile;
use crate::tag::Class;

/// One look at the privacy of a profile.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// What was looked at.
    pub name: String,
    /// Whether it may leave as it is.
    pub ok: bool,
    /// Users in groups that are too small.
    pub figure: f64,
    /// What the figure says.
    pub note: String,
}

/// Groups of users with the same values of some tags: how many groups, how many of one user, how many users in groups
/// smaller than `min_cell`. Users without any of the values are left out; one that is missing is a value of its own.
pub fn groups(profile: &Profile, tags: &[usize], min_cell: u32) -> (usize, usize, usize) {
    let mut cells: HashMap<Vec<Option<String>>, usize> = HashMap::new();
    for row in 0..profile.users.len() {
        let value = |tag: &usize| {
            let values = &profile.columns[*tag].values;
            values.text(row).map(str::to_owned).or_else(|| values.number(row).map(|number| number.to_string()))
        };
        let key: Vec<Option<String>> = tags.iter().map(value).collect();
        if key.iter().any(Option::is_some) {
            *cells.entry(key).or_default() += 1;
        }
    }
    let alone = cells.values().filter(|count| **count == 1).count();
    let small = cells.values().filter(|count| **count < min_cell as usize).sum();
    (cells.len(), alone, small)
}

/// Looks at every personal attribute, at every pair of them, and at all of them together.
///
/// The whole combination is what an export of them would give away; it fails where somebody would be in too small a
/// group. Single attributes fail in the same way; pairs are told, worst first.
pub fn look(profile: &Profile, min_cell: u32) -> Vec<Found> {
    let personal = |place: &usize| {
        let about = &profile.about.tags[*place];
        about.class >= Class::Personal
            && about.count > 0
            && !matches!(profile.columns[*place].values, Values::List { .. })
    };
    let tags: Vec<usize> = (0..profile.about.tags.len()).filter(personal).collect();
    let named = |tags: &[usize]| {
        let short = |tag: &usize| profile.about.tags[*tag].name.rsplit('/').next().unwrap_or_default().to_owned();
        tags.iter().map(short).collect::<Vec<_>>().join(" × ")
    };
    let found = |tags: &[usize]| {
        let (cells, alone, small) = groups(profile, tags, min_cell);
        let note = format!("{cells} groups, {alone} users alone in theirs, {small} in groups of fewer than {min_cell}");
        Found { name: named(tags), ok: small == 0, figure: small as f64, note }
    };
    let mut all: Vec<Found> = tags.iter().map(|tag| found(&[*tag])).collect();
    let mut pairs: Vec<Found> = Vec::new();
    for (at, first) in tags.iter().enumerate() {
        pairs.extend(tags[at + 1..].iter().map(|second| found(&[*first, *second])));
    }
    pairs.sort_by(|a, b| b.figure.total_cmp(&a.figure));
    all.extend(pairs.into_iter().take(5));
    if tags.len() > 2 {
        all.push(Found { name: format!("all {} personal attributes", tags.len()), ..found(&tags) });
    }
    all
}

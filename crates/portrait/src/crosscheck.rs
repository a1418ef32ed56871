//! Whether what users said of themselves shows in what they do.
//!
//! What each user did is a row of logarithms, ln(1 + weight), one number a value of a preference tag that more than a
//! fiftieth of those who said something have. A penalised logistic regression ([`crate::model::logistic`]) learns each
//! declared value from four fifths of the users and is asked about the last fifth, five times over. The area under the
//! curve of all answers is 0.5 where behaviour says nothing; far below what it is elsewhere, what was said is doubtful.

use std::collections::BTreeMap;

use lookalike_measure::auc;
use lookalike_store::{Project, Store};
use rayon::prelude::*;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::column::Values;
use crate::error::{Error, Result};
use crate::model::logistic::{Table, out_of_fold};
use crate::pass;
use crate::plan::Plan;
use crate::profile::{Profile, span};
use crate::tag::{Body, Measure, Rank, Tag};

/// C of the regression: with some hundred columns and users, less of a penalty learns the users by heart.
const COST: f64 = 0.002;
const FOLDS: usize = 5;
/// A column that fewer have says little, and is left out.
const COMMON: f64 = 0.02;
/// So many users must have a value, and so many another.
const LEAST: usize = 30;
/// Of more users than these every so many-th is asked: their number is what the figures' errors and the time depend on.
const MOST: usize = 10_000;

/// How well one declared value is told from what users do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Name of the tag.
    pub tag: String,
    /// The value.
    pub value: String,
    /// Users who said something there.
    pub users: usize,
    /// Share of them who said this.
    pub share: f64,
    /// The chance that of two users, one of whom said so, behaviour names the right one.
    pub auc: f64,
}

/// What was found, and by how many columns of behaviour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossCheck {
    /// Values of the preference tag that are common enough.
    pub columns: usize,
    /// Tag by tag, value by value.
    pub told: Vec<Told>,
}

/// Tells declared values from behaviour as of the day of the profile.
///
/// Looked at are text attributes, and tags whose values are made from such alone. `behaviour` is a tag of kind `preference`:
/// its values with the user's whole weight of each are what users do. Values that fewer than 30 users have, or lack, are
/// left out, and of a tag that divides into two, the second. Of more than 10,000 users some are asked.
///
/// # Errors
/// A tag that is not there or is no preference, and those of reading the events.
pub fn crosscheck(
    project: &Project,
    store: &Store,
    catalogue: &Catalogue,
    profile: &Profile,
    behaviour: &str,
) -> Result<CrossCheck> {
    let tag = catalogue.get(behaviour)?;
    let Body::Preference { by, weight, over, .. } = &tag.body else {
        let message = format!("is of kind `{}`, and what users do is read from a `preference`", tag.kind());
        return Err(tag.error(message, Some("such as `consumption/preference/category`".to_owned())));
    };
    let declared = declared(catalogue);
    let places: Vec<(usize, &Tag)> =
        declared.iter().filter_map(|tag| Some((profile.tag(&tag.name).ok()?, *tag))).collect();
    let said = |row: &usize| places.iter().any(|(place, _)| profile.columns[*place].values.has(*row));
    let mut rows: Vec<usize> = (0..profile.users.len()).filter(said).collect();
    // Shorter ids first, so that numbers stand in their order: whose fold is whose should not look like chance.
    rows.sort_by_key(|row| (profile.users[*row].len(), &profile.users[*row]));
    let rows: Vec<usize> = rows.iter().copied().step_by(rows.len().div_ceil(MOST).max(1)).collect();

    // All of a user's shares, and what they are shares of.
    let whole = Body::Preference {
        by: by.clone(),
        weight: weight.clone(),
        top: usize::MAX,
        rank: Rank::Share,
        min_share: 0.0,
        min_affinity: 0.0,
        over: over.clone(),
    };
    let amount = weight.clone().unwrap_or_else(|| "1.0".to_owned());
    let total = format!("case when ({by}) is not null and ({amount}) > 0 then {amount} end");
    let total = Body::Metric { of: Measure::Sum(total), over: over.clone() };
    let [whole, total] = [whole, total].map(|body| Tag { body, prior: 0.0, ..tag.clone() });
    let clock = Clock::new(&project.timezone, profile.about.as_of, span(store)?.0)?;
    let view = store.reader().for_purpose(&tag.purpose, jiff::Timestamp::now());
    let mut plan = Plan::new(&view, clock, &[&whole, &total])?;
    let found = pass::run(&view, &mut plan)?;
    let (shares, totals) = (&found.columns[0].values, &found.columns[1].values);

    let mut names: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let places_of: Vec<Option<usize>> =
        rows.iter().map(|row| found.users.binary_search(&profile.users[*row]).ok()).collect();
    for place in places_of.iter().flatten() {
        shares.list(*place).for_each(|(name, _)| names.entry(name).or_default().0 += 1);
    }
    names.retain(|_, (count, _)| *count as f64 > COMMON * rows.len() as f64);
    (0..).zip(names.values_mut()).for_each(|(column, (_, own))| *own = column);
    let columns = names.len();
    let mut numbers = vec![0.0; rows.len() * columns];
    for (row, place) in places_of.iter().enumerate().filter_map(|(row, place)| Some((row, (*place)?))) {
        let total = totals.number(place).unwrap_or_default();
        for (name, share) in shares.list(place) {
            if let Some((_, column)) = names.get(name) {
                numbers[row * columns + column] = (share * total).ln_1p();
            }
        }
    }

    let mut questions: Vec<(&Tag, &Values, String)> = Vec::new();
    for (place, tag) in &places {
        let values = &profile.columns[*place].values;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().filter_map(|row| values.text(*row)).for_each(|value| *counts.entry(value).or_default() += 1);
        let all: usize = counts.values().sum();
        let enough = |(_, count): &(&&str, &usize)| **count >= LEAST && all - **count >= LEAST;
        let wanted = if counts.len() == 2 { 1 } else { counts.len() };
        questions
            .extend(counts.iter().filter(enough).take(wanted).map(|(value, _)| (*tag, values, (*value).to_owned())));
    }
    let answer = |(tag, values, value): &(&Tag, &Values, String)| -> Result<Option<Told>> {
        let known: Vec<usize> = (0..rows.len()).filter(|at| values.has(rows[*at])).collect();
        let answers: Vec<bool> = known.iter().map(|at| values.text(rows[*at]) == Some(value)).collect();
        let own: Vec<f64> = known.iter().flat_map(|at| &numbers[at * columns..(at + 1) * columns]).copied().collect();
        let failed = |error: String| tag.error(format!("cannot be told from `{behaviour}`: {error}"), None);
        let scores = Table::new(&own, columns).and_then(|table| out_of_fold(table, &answers, COST, FOLDS));
        let scores = scores.map_err(|error| failed(error.to_string()))?;
        let auc = auc(&scores, &answers).map_err(|error| failed(error.to_string()))?;
        let share = answers.iter().filter(|answer| **answer).count() as f64 / answers.len().max(1) as f64;
        Ok(auc.map(|auc| Told { tag: tag.name.clone(), value: value.clone(), users: answers.len(), share, auc }))
    };
    let told: Vec<Option<Told>> =
        if columns == 0 { Vec::new() } else { questions.par_iter().map(answer).collect::<Result<_, Error>>()? };
    Ok(CrossCheck { columns, told: told.into_iter().flatten().collect() })
}

/// Text attributes, and tags that divide users by nothing but such; contradictions say nothing of a user.
fn declared(catalogue: &Catalogue) -> Vec<&Tag> {
    let mut found: Vec<&Tag> = Vec::new();
    // Parents come before children.
    for tag in catalogue.tags() {
        let made_of_declared = || tag.parents().all(|parent| found.iter().any(|known| known.name == parent));
        let is = match &tag.body {
            Body::Declared { number, .. } => !number,
            Body::Rules { contradiction, .. } => !contradiction && made_of_declared(),
            _ => false,
        };
        if is {
            found.push(tag);
        }
    }
    found
}

//! Whether a profile is true: how steady each tag is in itself, and what became of its users afterwards.
//!
//! *Reliability*: the tag computed over every other day that it looks at, and over the days between. (Earlier against
//! later days would tell how people change as well, and how long they have been here.)
//! Numbers are compared by Spearman's rank correlation over users with both, values by how many of the one half are among
//! those of the other, beside how many would be by chance.
//!
//! *Hindsight*: the same tag over a later period, compared in the same way with what the profile said; of preferences
//! also the share of a user's later weight that falls on what was said they prefer, beside the share that falls on
//! what all users together prefer most. What a model foretold is compared with what came: whether a user came back at all
//! (by the area under the curve), on how many days, for how much, and for what.

use std::collections::HashMap;

use jiff::civil::Date;
use lookalike_measure::{auc, spearman};
use lookalike_store::{Project, Store};
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::clock::{self, Clock};
use crate::column::{Column, Values};
use crate::diff::pairs;
use crate::error::Result;
use crate::forecast::{Expect, Forecast};
use crate::opinion::Sentiment;
use crate::pass::{self, Found};
use crate::plan::Plan;
use crate::profile::{Profile, span};
use crate::tag::{Body, Measure, Over, Rank, Tag, Window};

/// How two looks at the same tag agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Users with a value in both.
    pub users: usize,
    /// Rank correlation of numbers, or the mean share of a user's values that are found again.
    pub figure: f64,
    /// What the figure would be by chance: 0 for numbers, for values the mean share of users who have them in the end, and
    /// 0.5 for a chance of coming back.
    pub chance: f64,
}

/// What became of one tag.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Name of the tag.
    pub tag: String,
    /// Share of users with a value.
    pub coverage: f64,
    /// Every other day against the days between; `None` where fewer than three users have both.
    pub reliability: Option<Agreement>,
    /// What the profile said against the same definition over the later period.
    pub hindsight: Option<Agreement>,
    /// Of a preference: mean share of later weight on the user's own values, and on as many values of all users.
    pub kept: Option<(f64, f64)>,
    /// Of a model, where the later period is as long as it looked ahead: mean purchases foretold, and mean that came.
    pub came: Option<(f64, f64)>,
    /// Of a model: the same figure by what needs no model, and what that is.
    pub naive: Option<(f64, &'static str)>,
}

/// Judges the tags of `profile` that look at events: by their halves, and by what happened from its day to `until`.
pub fn validate(
    project: &Project,
    store: &Store,
    catalogue: &Catalogue,
    profile: &Profile,
    until: Option<Date>,
) -> Result<Vec<Verdict>> {
    let as_of = profile.about.as_of;
    let tags: Vec<&Tag> = catalogue.tags().iter().filter(|tag| tag.over().is_some() && !is_model(tag)).collect();
    let every_other = |rest: u8| {
        move |over: &mut Over| {
            let half = format!("days_ago % 2 = {rest}");
            over.condition = Some(over.condition.take().map_or(half.clone(), |own| format!("({own}) and {half}")));
        }
    };
    let even = look(project, store, &tags, as_of, &every_other(0))?;
    let odd = look(project, store, &tags, as_of, &every_other(1))?;
    let after = match until {
        Some(until) => {
            let after = (clock::days(until) - clock::days(as_of)).max(1) as u32;
            Some(look(project, store, &tags, until, &|over| over.window = Some(Window { from: after, to: 0 }))?)
        }
        None => None,
    };
    let halves = pairs(&even.users, &odd.users);
    let since = after.as_ref().map(|after| pairs(&profile.users, &after.users));
    let mut verdicts = Vec::new();
    for (place, tag) in tags.iter().enumerate() {
        let Ok(own) = profile.tag(&tag.name) else { continue };
        let column = &profile.columns[own];
        let hindsight = after.as_ref().zip(since.as_ref());
        verdicts.push(Verdict {
            tag: tag.name.clone(),
            coverage: column.count() as f64 / profile.users.len().max(1) as f64,
            reliability: agreement(&even.columns[place], &odd.columns[place], &halves),
            hindsight: hindsight.and_then(|(after, since)| agreement(column, &after.columns[place], since)),
            kept: hindsight.and_then(|(after, since)| kept(tag, column, &after.columns[place], since)),
            came: None,
            naive: None,
        });
    }
    let models: Vec<&Tag> = catalogue.tags().iter().filter(|tag| is_model(tag)).collect();
    for tag in models {
        let Ok(own) = profile.tag(&tag.name) else { continue };
        let column = &profile.columns[own];
        let mut verdict = Verdict {
            tag: tag.name.clone(),
            coverage: column.count() as f64 / profile.users.len().max(1) as f64,
            reliability: None,
            hindsight: None,
            kept: None,
            came: None,
            naive: None,
        };
        if let Some(until) = until {
            outcome(project, store, tag, profile, until, &mut verdict)?;
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// What a model said beside what came.
fn outcome(
    project: &Project,
    store: &Store,
    tag: &Tag,
    profile: &Profile,
    until: Date,
    verdict: &mut Verdict,
) -> Result<()> {
    let Body::Model { model, over } = &tag.body else { return Ok(()) };
    let said = &profile.columns[profile.tag(&tag.name)?];
    let metric = |of: Measure| Body::Metric { of, over: over.clone() };
    let days = metric(Measure::Distinct("day".to_owned()));
    let facts = match model {
        Forecast::BgNbd { .. } | Forecast::Nbd { .. } => vec![days],
        Forecast::GammaGamma { weight } => vec![days, metric(Measure::Sum(weight.clone()))],
        Forecast::Repurchase { by, .. } => vec![Body::Preference {
            by: by.clone(),
            weight: None,
            top: usize::MAX,
            rank: Rank::Share,
            min_share: 0.0,
            min_affinity: 0.0,
            over: over.clone(),
        }],
    };
    let facts: Vec<Tag> = facts.into_iter().map(|body| Tag { body, ..tag.clone() }).collect();
    let after = (clock::days(until) - clock::days(profile.about.as_of)).max(1) as u32;
    let window = |over: &mut Over| over.window = Some(Window { from: after, to: 0 });
    let found = look(project, store, &facts.iter().collect::<Vec<_>>(), until, &window)?;
    let since = pairs(&profile.users, &found.users);
    // A user without events afterwards bought on no day.
    let fact = |place: usize| {
        let mut numbers = vec![f64::NAN; profile.users.len()];
        let value = |row: usize| found.columns[place].values.number(row);
        since.iter().for_each(|(row, later)| numbers[*row] = value(*later).unwrap_or(f64::NAN));
        numbers
    };
    // Who bought once cannot have left, says BG/NBD: of them it foretells nothing that could be judged.
    let least = if matches!(model, Forecast::BgNbd { value: Expect::Alive, .. }) { 2 } else { 1 };
    let is_known = |row: &usize| said.values.has(*row) && said.evidence[*row] >= least;
    let known: Vec<usize> = (0..profile.users.len()).filter(is_known).collect();
    let foretold: Vec<f64> = known.iter().filter_map(|row| said.values.number(*row)).collect();
    let users = known.len();
    // What could be said without a model, of the same users.
    let ingredients = tag.ingredients();
    let own = look(project, store, &ingredients.iter().collect::<Vec<_>>(), profile.about.as_of, &|_| {})?;
    let places: HashMap<usize, usize> = pairs(&profile.users, &own.users).into_iter().collect();
    let ingredient = |at: usize, row: usize| {
        places.get(&row).and_then(|place| own.columns[at].values.number(*place)).unwrap_or(f64::NAN)
    };
    verdict.hindsight = match model {
        Forecast::BgNbd { .. } | Forecast::Nbd { .. } => {
            let days = fact(0);
            let came: Vec<f64> = known.iter().map(|row| if days[*row].is_nan() { 0.0 } else { days[*row] }).collect();
            let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
            let rates: Vec<f64> = known.iter().map(|row| (ingredient(2, *row) - 1.0) / ingredient(0, *row)).collect();
            let by_rate = spearman(&rates, &came).ok().flatten().map(|figure| (figure, "by the own rate so far"));
            verdict.naive = by_rate;
            let (figure, ahead, chance) = match model {
                Forecast::BgNbd { value: Expect::Alive, .. } => {
                    let back: Vec<bool> = came.iter().map(|days| *days > 0.0).collect();
                    let recent: Vec<f64> = known.iter().map(|row| -ingredient(1, *row)).collect();
                    verdict.naive = auc(&recent, &back)
                        .ok()
                        .flatten()
                        .map(|figure| (figure, "by the days since the last purchase"));
                    (auc(&foretold, &back), None, 0.5)
                }
                Forecast::BgNbd { horizon, .. } => (spearman(&foretold, &came), *horizon, 0.0),
                Forecast::Nbd { horizon } => (spearman(&foretold, &came), Some(*horizon), 0.0),
                _ => (Ok(None), None, 0.0),
            };
            verdict.came = (ahead == Some(after)).then(|| (mean(&foretold), mean(&came)));
            figure.ok().flatten().map(|figure| Agreement { users, figure, chance })
        }
        Forecast::GammaGamma { .. } => {
            let worth: Vec<f64> = fact(0).iter().zip(fact(1)).map(|(days, sum)| sum / days).collect();
            let rows = worth.len();
            let all: Vec<(usize, usize)> = (0..rows).map(|row| (row, row)).collect();
            let column = |numbers: Vec<f64>| Column { evidence: vec![1; rows], values: Values::Number(numbers) };
            let means = (0..rows).map(|row| ingredient(1, row) / ingredient(0, row)).collect();
            let worth = column(worth);
            let by_mean = agreement(&column(means), &worth, &all);
            verdict.naive = by_mean.map(|found| (found.figure, "by the own mean so far"));
            agreement(said, &worth, &all)
        }
        Forecast::Repurchase { .. } => agreement(said, &found.columns[0], &since),
    };
    Ok(())
}

/// What a model says is about the days that follow, and has no halves of its own.
fn is_model(tag: &Tag) -> bool {
    matches!(tag.body, Body::Model { .. })
}

/// The tags over other days than they declare.
fn look(project: &Project, store: &Store, tags: &[&Tag], date: Date, change: &dyn Fn(&mut Over)) -> Result<Found> {
    let changed: Vec<Tag> = tags
        .iter()
        .map(|tag| {
            let mut tag = (*tag).clone();
            match &mut tag.body {
                Body::Metric { over, .. }
                | Body::FirstLast { over, .. }
                | Body::Preference { over, .. }
                | Body::Lifecycle { over, .. }
                | Body::Sequence { over, .. }
                | Body::Sentiment(Sentiment { over, .. }) => {
                    change(over);
                }
                _ => {}
            }
            tag
        })
        .collect();
    let clock = Clock::new(&project.timezone, date, span(store)?.0)?;
    let mut plan = Plan::new(store, clock, &changed.iter().collect::<Vec<_>>())?;
    pass::run(store, &mut plan)
}

fn agreement(a: &Column, b: &Column, pairs: &[(usize, usize)]) -> Option<Agreement> {
    let both: Vec<(usize, usize)> =
        pairs.iter().copied().filter(|(x, y)| a.values.has(*x) && b.values.has(*y)).collect();
    if both.len() < 3 {
        return None;
    }
    let users = both.len();
    if let (Values::Number(x), Values::Number(y)) = (&a.values, &b.values) {
        let x: Vec<f64> = both.iter().map(|(row, _)| x[*row]).collect();
        let y: Vec<f64> = both.iter().map(|(_, row)| y[*row]).collect();
        return spearman(&x, &y).ok().flatten().map(|figure| Agreement { users, figure, chance: 0.0 });
    }
    let values = |column: &Column, row: usize| -> Vec<String> {
        match &column.values {
            Values::List { .. } => column.values.list(row).map(|(name, _)| name.to_owned()).collect(),
            _ => column.values.text(row).map(str::to_owned).into_iter().collect(),
        }
    };
    let mut later: HashMap<String, f64> = HashMap::new();
    for (_, y) in &both {
        values(b, *y).into_iter().for_each(|value| *later.entry(value).or_default() += 1.0 / users as f64);
    }
    let (mut figure, mut chance) = (0.0, 0.0);
    for (x, y) in &both {
        let (was, is) = (values(a, *x), values(b, *y));
        let n = (was.len() * users) as f64;
        figure += was.iter().filter(|value| is.contains(value)).count() as f64 / n;
        chance += was.iter().map(|value| later.get(value).copied().unwrap_or_default()).sum::<f64>() / n;
    }
    Some(Agreement { users, figure, chance })
}

/// Of the values a user had more of than others, how much of what was found later falls on them.
fn kept(tag: &Tag, said: &Column, after: &Column, pairs: &[(usize, usize)]) -> Option<(f64, f64)> {
    let Body::Preference { top, .. } = tag.body else { return None };
    let (Values::List { .. }, Values::List { .. }) = (&said.values, &after.values) else { return None };
    let mut popular: HashMap<&str, usize> = HashMap::new();
    for row in 0..said.values.len() {
        said.values.list(row).for_each(|(name, _)| *popular.entry(name).or_default() += 1);
    }
    let mut popular: Vec<(&str, usize)> = popular.into_iter().collect();
    popular.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let popular: Vec<&str> = popular.into_iter().take(top).map(|(name, _)| name).collect();
    let (mut own, mut global, mut users) = (0.0, 0.0, 0.0);
    for (a, b) in pairs.iter().filter(|(a, b)| said.values.has(*a) && after.values.has(*b)) {
        let later: Vec<&str> = after.values.list(*b).map(|(name, _)| name).collect();
        let share =
            |names: &[&str]| later.iter().filter(|name| names.contains(name)).count() as f64 / later.len() as f64;
        own += share(&said.values.list(*a).map(|(name, _)| name).collect::<Vec<_>>());
        global += share(&popular);
        users += 1.0;
    }
    (users > 0.0).then(|| (own / users, global / users))
}

//! Whether a profile is true: how steady each tag is in itself, and what became of its users afterwards.
//!
//! *Reliability*: the tag computed over every other day that it looks at, and over the days between. (Earlier against
//! later days would tell how people change as well, and how long they have been here.)
//! Numbers are compared by Spearman's rank correlation over users with both, values by how many of the one half are among
//! those of the other, beside how many would be by chance.
//!
//! *Hindsight*: the same tag over a later period, compared in the same way with what the profile said; of preferences
//! also the share of a user's later weight that falls on what was said they prefer, beside the share that falls on
//! what all users together prefer most.

use std::collections::HashMap;

use jiff::civil::Date;
use lookalike_measure::spearman;
use lookalike_store::{Project, Store};
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::clock::{self, Clock};
use crate::column::{Column, Values};
use crate::diff::pairs;
use crate::error::Result;
use crate::pass::{self, Found};
use crate::plan::Plan;
use crate::profile::{Profile, span};
use crate::tag::{Body, Over, Tag, Window};

/// How two looks at the same tag agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreement {
    /// Users with a value in both.
    pub users: usize,
    /// Rank correlation of numbers, or the mean share of a user's values that are found again.
    pub figure: f64,
    /// What the figure would be by chance: 0 for numbers, for values the mean share of users who have them in the end.
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
        });
    }
    Ok(verdicts)
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
                | Body::Sequence { over, .. } => {
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

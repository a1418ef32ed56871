//! Whether a profile is true: how steady each tag is in itself, and what became of its users afterwards.
//!
//! *Reliability*: the tag computed over the earlier and over the later half of the days it looks at. Numbers are
//! compared by Spearman's rank correlation over users with both, first values by how often they are the same, beside
//! how often they would be by chance.
//!
//! *Hindsight*: the same tag over a later period, compared in the same way with what the profile said; of preferences
//! also the share of a user's later weight that falls on what was said they prefer, beside the share that falls on
//! what all users together prefer most.

use std::collections::HashMap;

use jiff::civil::Date;
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
    /// Rank correlation of numbers, or the share of users whose first value is the same.
    pub figure: f64,
    /// What the figure would be by chance: 0 for numbers, for values the sum of the products of their shares.
    pub chance: f64,
}

/// What became of one tag.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Name of the tag.
    pub tag: String,
    /// Share of users with a value.
    pub coverage: f64,
    /// Earlier against later half of its own days; `None` where fewer than three users have both.
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
    let first = span(store)?.0;
    let days = (clock::days(as_of) - clock::days(clock::local_date(&project.timezone, first))).max(2) as u32;
    let tags: Vec<&Tag> = catalogue.tags().iter().filter(|tag| tag.over().is_some()).collect();
    let split = |late: bool| {
        move |over: &Over| {
            let Window { from, to } = over.window.unwrap_or(Window { from: days, to: 0 });
            let middle = to + (from - to) / 2;
            if late { Window { from: middle, to } } else { Window { from, to: middle } }
        }
    };
    let earlier = look(project, store, &tags, as_of, &split(false))?;
    let later = look(project, store, &tags, as_of, &split(true))?;
    let after = match until {
        Some(until) => {
            let after = (clock::days(until) - clock::days(as_of)).max(1) as u32;
            Some(look(project, store, &tags, until, &|_| Window { from: after, to: 0 })?)
        }
        None => None,
    };
    let halves = pairs(&earlier.users, &later.users);
    let since = after.as_ref().map(|after| pairs(&profile.users, &after.users));
    let mut verdicts = Vec::new();
    for (place, tag) in tags.iter().enumerate() {
        let Ok(own) = profile.tag(&tag.name) else { continue };
        let column = &profile.columns[own];
        let hindsight = after.as_ref().zip(since.as_ref());
        verdicts.push(Verdict {
            tag: tag.name.clone(),
            coverage: column.count() as f64 / profile.users.len().max(1) as f64,
            reliability: agreement(&earlier.columns[place], &later.columns[place], &halves),
            hindsight: hindsight.and_then(|(after, since)| agreement(column, &after.columns[place], since)),
            kept: hindsight.and_then(|(after, since)| kept(tag, column, &after.columns[place], since)),
        });
    }
    Ok(verdicts)
}

/// The tags over other days than they declare. Preferences keep all their values and compare with nobody.
fn look(
    project: &Project,
    store: &Store,
    tags: &[&Tag],
    date: Date,
    window: &dyn Fn(&Over) -> Window,
) -> Result<Found> {
    let changed: Vec<Tag> = tags
        .iter()
        .map(|tag| {
            let mut tag = (*tag).clone();
            match &mut tag.body {
                Body::Metric { over, .. } | Body::FirstLast { over, .. } | Body::Sequence { over, .. } => {
                    over.window = Some(window(over));
                }
                Body::Preference { over, top, .. } => {
                    over.window = Some(window(over));
                    *top = (*top).max(1);
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
        return spearman(&x, &y).map(|figure| Agreement { users, figure, chance: 0.0 });
    }
    let (mut same, mut shares): (f64, HashMap<&str, (f64, f64)>) = (0.0, HashMap::new());
    for (x, y) in &both {
        let (x, y) = (a.values.text(*x).unwrap_or_default(), b.values.text(*y).unwrap_or_default());
        same += f64::from(u8::from(x == y));
        shares.entry(x).or_default().0 += 1.0;
        shares.entry(y).or_default().1 += 1.0;
    }
    let n = users as f64;
    // In the order of the names: sums of floats depend on it, and results repeat.
    let mut shares: Vec<(&str, (f64, f64))> = shares.into_iter().collect();
    shares.sort_unstable_by_key(|(name, _)| *name);
    let chance = shares.iter().map(|(_, (p, q))| p / n * q / n).sum();
    Some(Agreement { users, figure: same / n, chance })
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

/// Spearman's rank correlation: Pearson's of the ranks, equal values having the mean of theirs. `None` if either side
/// has one value alone.
pub(crate) fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = (ranks(x), ranks(y));
    let mean = (x.len() as f64 - 1.0) / 2.0;
    let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let (xx, yy) = (sum(&x, &x), sum(&y, &y));
    (xx > 0.0 && yy > 0.0).then(|| sum(&x, &y) / (xx * yy).sqrt())
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let to = (from..order.len()).find(|at| values[order[*at]] != values[order[from]]).unwrap_or(order.len());
        order[from..to].iter().for_each(|at| ranks[*at] = (from + to - 1) as f64 / 2.0);
        from = to;
    }
    ranks
}

//! The way over all events, user by user, on all cores.
//!
//! The store keeps events sorted by user and time, in row groups. A row group belongs to the users that begin in it:
//! who goes over it skips the rest of a user from the group before and follows its last user into the groups behind.
//! So every user is seen whole and in order by one worker, nothing is kept but that user, and no sum depends on the
//! number of workers.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use lookalike_store::{Rows, Store, Table};
use rayon::prelude::*;

use crate::column::{Column, NONE, Names, Values};
use crate::error::Result;
use crate::fold::{Population, Said, State, weighed};
use crate::plan::{Job, Plan};
use crate::segment::lifecycle;

/// What the jobs of a plan say of the users that have events before the day.
pub(crate) struct Found {
    /// Ids, sorted.
    pub users: Vec<String>,
    /// A column a job.
    pub columns: Vec<Column>,
}

/// Goes over all events: once to know everybody where that is needed, once to say something of each.
pub(crate) fn run(store: &Store, plan: &mut Plan) -> Result<Found> {
    let ends = store.group_ends()?;
    let populations = match plan.looks_at_everybody() {
        true => everybody(store, plan, &ends)?,
        false => vec![Population::default(); plan.jobs.len()],
    };
    let plan = &*plan;
    let parts = (0..ends.len()).into_par_iter().map(|group| each(store, plan, &populations, &ends, group));
    let mut found = Found { users: Vec::new(), columns: plan.jobs.iter().map(|(_, job)| empty(job)).collect() };
    for part in parts.collect::<Vec<_>>() {
        let part = part?;
        found.users.extend(part.users);
        found.columns.iter_mut().zip(part.columns).for_each(|(all, part)| append(all, part));
    }
    for ((_, job), column) in plan.jobs.iter().zip(&mut found.columns) {
        match (job, &mut column.values) {
            (Job::Edge { value, .. }, Values::Text { names, .. }) => *names = plan.names(*value).to_vec(),
            (Job::Sequence { names: steps, .. }, Values::Text { names, .. }) => names.clone_from(steps),
            (Job::Lifecycle { .. }, Values::Text { names, .. }) => {
                *names = lifecycle::State::ALL.map(|state| state.name().to_owned()).to_vec();
            }
            (Job::Preference { by, .. }, Values::List { names, .. }) => *names = plan.names(*by).to_vec(),
            _ => {}
        }
    }
    Ok(found)
}

/// Completes the names of the plan, and sums up what preferences are compared with.
fn everybody(store: &Store, plan: &mut Plan, ends: &[String]) -> Result<Vec<Population>> {
    let open = plan.open_names();
    if !open.is_empty() {
        let shared = &*plan;
        let parts = (0..ends.len()).into_par_iter().map(|group| {
            let mut names = vec![Names::default(); open.len()];
            for batch in store.scan_groups(Table::Events, &shared.rows.read, group..group + 1)? {
                let batch = batch?;
                for (names, slot) in names.iter_mut().zip(&open) {
                    let texts = shared.texts(*slot, &batch)?;
                    names.extend(texts.as_string::<i32>().iter().flatten());
                }
            }
            Ok::<_, crate::error::Error>(names)
        });
        let mut all = vec![Names::default(); open.len()];
        for part in parts.collect::<Vec<_>>() {
            for (all, part) in all.iter_mut().zip(part?) {
                all.extend(part.names.iter().map(String::as_str));
            }
        }
        open.into_iter().zip(all).for_each(|(slot, names)| plan.set_names(slot, names.sorted()));
    }
    let plan = &*plan;
    let sums = |group: usize| -> Result<Vec<Population>> {
        let mut sums: Vec<Population> = plan.jobs.iter().map(|(_, job)| start(plan, job)).collect();
        for batch in store.scan_groups(Table::Events, &plan.rows.read, group..group + 1)? {
            let seen = plan.see(&batch?)?;
            for ((filter, job), sums) in plan.jobs.iter().zip(&mut sums) {
                let Job::Preference { by, weight, .. } = job else { continue };
                let codes = seen.values[*by].codes();
                let weights = weight.map(|weight| seen.values[weight].numbers());
                for row in (0..codes.len()).filter(|row| seen.counts[*filter][*row]) {
                    if let Some(weight) = weighed(codes, weights, row) {
                        sums.weights[codes[row] as usize] += weight;
                        sums.weight += weight;
                        sums.events += 1;
                    }
                }
            }
        }
        Ok(sums)
    };
    let mut all: Vec<Population> = plan.jobs.iter().map(|(_, job)| start(plan, job)).collect();
    for part in (0..ends.len()).into_par_iter().map(sums).collect::<Vec<_>>() {
        for (all, part) in all.iter_mut().zip(part?) {
            all.weights.iter_mut().zip(part.weights).for_each(|(all, part)| *all += part);
            all.weight += part.weight;
            all.events += part.events;
        }
    }
    Ok(all)
}

fn start(plan: &Plan, job: &Job) -> Population {
    match job {
        Job::Preference { by, .. } => Population { weights: vec![0.0; plan.names(*by).len()], ..Default::default() },
        _ => Population::default(),
    }
}

/// What is said of the users that begin in a row group.
fn each(store: &Store, plan: &Plan, populations: &[Population], ends: &[String], group: usize) -> Result<Found> {
    let mut found = Found { users: Vec::new(), columns: plan.jobs.iter().map(|(_, job)| empty(job)).collect() };
    let mut current: Option<String> = None;
    let fresh = || plan.jobs.iter().map(|(_, job)| job.start()).collect::<Vec<State>>();
    let (mut states, mut seen_before) = (fresh(), false);
    for batch in Owned::new(store, &plan.rows.read, ends, group)? {
        let batch = batch?;
        let seen = plan.see(&batch)?;
        let users = batch.column(0).as_string::<i32>();
        let mut from = 0;
        while from < users.len() {
            let user = users.value(from);
            let to = (from..users.len()).find(|row| users.value(*row) != user).unwrap_or(users.len());
            if current.as_deref() != Some(user) {
                finish(
                    plan,
                    populations,
                    current.take(),
                    std::mem::replace(&mut states, fresh()),
                    seen_before,
                    &mut found,
                );
                current = Some(user.to_owned());
                seen_before = false;
            }
            // Events of a user are sorted by time: the first one says whether there is one before the day.
            seen_before |= seen.at[from] < plan.clock.end;
            for ((filter, job), state) in plan.jobs.iter().zip(&mut states) {
                job.gather(state, &seen, *filter, from..to);
            }
            from = to;
        }
    }
    finish(plan, populations, current, states, seen_before, &mut found);
    Ok(found)
}

fn finish(
    plan: &Plan,
    populations: &[Population],
    user: Option<String>,
    states: Vec<State>,
    seen_before: bool,
    found: &mut Found,
) {
    let Some(user) = user.filter(|_| seen_before) else { return };
    found.users.push(user);
    for (place, state) in states.into_iter().enumerate() {
        let (said, evidence) = plan.jobs[place].1.say(state, &populations[place]);
        let column = &mut found.columns[place];
        column.evidence.push(evidence);
        match &mut column.values {
            Values::Number(numbers) => numbers.push(if let Said::Number(number) = said { number } else { f64::NAN }),
            Values::Text { codes, .. } => codes.push(if let Said::Code(code) = said { code } else { NONE }),
            Values::List { offsets, codes, figures, .. } => {
                for (code, figure) in if let Said::List(list) = said { list } else { Vec::new() } {
                    codes.push(code);
                    figures.push(figure);
                }
                offsets.push(codes.len() as u32);
            }
        }
    }
}

/// The column of a job before the first user.
fn empty(job: &Job) -> Column {
    let values = match job {
        Job::Preference { .. } => {
            Values::List { offsets: vec![0], codes: Vec::new(), figures: Vec::new(), names: Vec::new() }
        }
        Job::Edge { text: true, .. } | Job::Sequence { .. } | Job::Lifecycle { .. } => {
            Values::Text { codes: Vec::new(), names: Vec::new() }
        }
        _ => Values::Number(Vec::new()),
    };
    Column { values, evidence: Vec::new() }
}

fn append(all: &mut Column, part: Column) {
    all.evidence.extend(part.evidence);
    match (&mut all.values, part.values) {
        (Values::Number(all), Values::Number(part)) => all.extend(part),
        (Values::Text { codes: all, .. }, Values::Text { codes: part, .. }) => all.extend(part),
        (
            Values::List { offsets, codes, figures, .. },
            Values::List { offsets: more, codes: part, figures: part_figures, .. },
        ) => {
            let before = codes.len() as u32;
            offsets.extend(more[1..].iter().map(|offset| before + offset));
            codes.extend(part);
            figures.extend(part_figures);
        }
        _ => {}
    }
}

/// The events of the users that begin in a row group.
struct Owned<'a> {
    store: &'a Store,
    read: &'a [&'static str],
    ends: &'a [String],
    own: usize,
    /// The group that is read.
    group: usize,
    rows: Rows,
    /// Whether all rows so far were those of a user from the group before.
    leading: bool,
    done: bool,
}

impl<'a> Owned<'a> {
    fn new(store: &'a Store, read: &'a [&'static str], ends: &'a [String], own: usize) -> Result<Self> {
        let rows = store.scan_groups(Table::Events, read, own..own + 1)?;
        Ok(Owned { store, read, ends, own, group: own, rows, leading: own > 0, done: false })
    }

    /// The next batch, cut to the rows that belong here.
    fn cut(&mut self) -> Result<Option<RecordBatch>> {
        while !self.done {
            let Some(batch) = self.rows.next().transpose()? else {
                self.group += 1;
                // A group in which no user begins has nothing to follow.
                if self.leading || self.group >= self.ends.len() {
                    self.done = true;
                } else {
                    self.rows = self.store.scan_groups(Table::Events, self.read, self.group..self.group + 1)?;
                }
                continue;
            };
            let users: &StringArray = batch.column(0).as_string::<i32>();
            let rows = users.len();
            if self.group > self.own {
                let last = &self.ends[self.own];
                let mine = (0..rows).find(|row| users.value(*row) != last).unwrap_or(rows);
                self.done = mine < rows;
                if mine > 0 {
                    return Ok(Some(batch.slice(0, mine)));
                }
            } else if self.leading {
                let before = &self.ends[self.own - 1];
                if let Some(first) = (0..rows).find(|row| users.value(*row) != before) {
                    self.leading = false;
                    return Ok(Some(batch.slice(first, rows - first)));
                }
            } else {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl Iterator for Owned<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cut().transpose()
    }
}

//! The way over all events, user by user, on all cores.
//!
//! The store keeps events sorted by user and time, in row groups. A row group belongs to the users that begin in it:
//! who goes over it skips the rest of a user from the group before and follows its last user into the groups behind.
//! So every user is seen whole and in order by one worker, nothing is kept but that user, and no sum depends on the
//! number of workers.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use lookalike_store::{Rows, Store};
use rayon::prelude::*;

use crate::column::{Column, NONE, Names, Values};
use crate::error::Result;
use crate::fold::{Population, Said, State, each_cycle, weighed};
use crate::model::repurchase::{Gaps, Trial, Typical};
use crate::opinion::learn;
use crate::plan::{Job, Memory, Part, Plan};
use crate::rows::Text;
use crate::segment::lifecycle;
use crate::sentiment::Learned;

/// What the jobs of a plan say of the users that have events before the day.
pub(crate) struct Found {
    /// Ids, sorted.
    pub users: Vec<String>,
    /// A column a job.
    pub columns: Vec<Column>,
    /// What each job learned from ratings, if it did.
    pub learned: Vec<Option<Learned>>,
    /// A trial a job: how well the last purchases of a category would have been foretold, of jobs that do so.
    pub trials: Vec<Trial>,
}

/// Goes over all events: once to know everybody where that is needed, once to say something of each.
pub(crate) fn run(store: &Store, plan: &mut Plan) -> Result<Found> {
    let ends = store.group_ends()?;
    learn(store, plan)?;
    let (compared, cycles) = (plan.comparisons(), plan.cycles());
    let populations = match compared.jobs.is_empty() && cycles.jobs.is_empty() {
        false => everybody(store, plan, (&compared, &cycles), &ends)?,
        true => vec![Population::default(); plan.jobs.len()],
    };
    let plan = &*plan;
    let all = plan.everything();
    let mut found = Found::of(plan);
    let mut met = vec![Names::default(); plan.jobs.len()];
    in_order(
        ends.len(),
        |group| each(store, plan, &all, &populations, &ends, group),
        |(part, names)| {
            found.users.extend(part.users);
            found.trials.iter_mut().zip(&part.trials).for_each(|(own, part)| own.merge(part));
            for (place, part) in part.columns.into_iter().enumerate() {
                let names = plan.jobs[place].1.open(plan).map(|slot| &names[slot]);
                append(&mut found.columns[place], part, names, &mut met[place]);
            }
        },
    )?;
    for ((place, (_, job)), column) in plan.jobs.iter().enumerate().zip(&mut found.columns) {
        match (job, &mut column.values) {
            (_, Values::Text { names, .. }) if job.open(plan).is_some() => {
                *names = std::mem::take(&mut met[place]).names
            }
            (Job::Edge { value, .. }, Values::Text { names, codes }) => *names = used(codes, plan.names(*value)),
            (Job::Sequence { names: steps, .. }, Values::Text { names, .. }) => names.clone_from(steps),
            (Job::Lifecycle { .. }, Values::Text { names, .. }) => {
                *names = lifecycle::State::ALL.map(|state| state.name().to_owned()).to_vec();
            }
            (Job::Preference { by, .. } | Job::Repurchase { by, .. }, Values::List { names, codes, .. }) => {
                *names = used(codes, plan.names(*by));
            }
            _ => {}
        }
    }
    Ok(found)
}

impl Found {
    /// Nobody, as yet.
    fn of(plan: &Plan) -> Found {
        Found {
            users: Vec::new(),
            columns: plan.jobs.iter().map(|(_, job)| empty(job)).collect(),
            learned: plan.jobs.iter().map(|(_, job)| plan.learned(job)).collect(),
            trials: vec![Trial::default(); plan.jobs.len()],
        }
    }
}

impl Job {
    /// The expression whose names are found on the way, if there is one.
    fn open(&self, plan: &Plan) -> Option<usize> {
        match self {
            Job::Edge { value, text: true, .. } if plan.is_open(*value) => Some(*value),
            _ => None,
        }
    }
}

/// Works on all row groups at once, and takes in what was found in their order. No more than some of the results are
/// held at a time.
pub(crate) fn in_order<T: Send>(
    groups: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
    mut take_in: impl FnMut(T),
) -> Result<()> {
    const AT_ONCE: usize = 64;
    for first in (0..groups).step_by(AT_ONCE) {
        let parts: Vec<Result<T>> = (first..groups.min(first + AT_ONCE)).into_par_iter().map(&work).collect();
        for part in parts {
            take_in(part?);
        }
    }
    Ok(())
}

/// What one worker knows of everybody: a population a preference, the gaps a tag of cycles, and the names it met.
type Known = (Vec<Population>, Vec<Cycles>, Vec<Names>);

/// Completes the names of the plan, and sums up what preferences and cycles are compared with.
fn everybody(
    store: &Store,
    plan: &mut Plan,
    (part, cycles): (&Part, &Part),
    ends: &[String],
) -> Result<Vec<Population>> {
    let shared = &*plan;
    let sums = |group: usize| -> Result<Known> {
        let mut memory = shared.memory();
        let mut sums = vec![Population::default(); part.jobs.len()];
        let groups = if part.jobs.is_empty() { group..group } else { group..group + 1 };
        for batch in store.scan_coded(&part.rows.read, groups)? {
            let seen = shared.look(&batch?, part, &mut memory)?;
            for (job, sums) in part.jobs.iter().zip(&mut sums) {
                let (filter, Job::Preference { by, weight, .. }) = &shared.jobs[*job] else { continue };
                let codes = seen.values[*by].codes();
                let weights = weight.map(|weight| seen.values[weight].numbers());
                for (row, _) in seen.counts[*filter].iter().enumerate().filter(|(_, counts)| **counts) {
                    if let Some(weight) = weighed(codes, weights, row) {
                        sums.add(codes[row], weight);
                        sums.weight += weight;
                        sums.events += 1;
                    }
                }
            }
        }
        let cycles = count_cycles(store, shared, cycles, ends, group, &mut memory)?;
        Ok((sums, cycles, memory.names))
    };
    let mut all = vec![Population::default(); plan.jobs.len()];
    let mut counted = vec![Cycles::default(); cycles.jobs.len()];
    let mut names: HashMap<usize, Names> = HashMap::new();
    let merge = |(sums, part_cycles, own): Known| {
        // Where names are met on the way, a worker's codes are its own.
        for slot in part.jobs.iter().chain(&cycles.jobs).filter_map(|job| shared.jobs[*job].1.names_of()) {
            if shared.is_open(slot) {
                names.entry(slot).or_default().extend(own[slot].names.iter().map(String::as_str));
            }
        }
        let place_of = |job: &usize, code: u32| match shared.jobs[*job].1.names_of() {
            Some(slot) if shared.is_open(slot) => names[&slot].find(&own[slot].names[code as usize]),
            _ => code,
        };
        for (job, sums) in part.jobs.iter().zip(sums) {
            (0..).zip(sums.weights).for_each(|(code, weight)| all[*job].add(place_of(job, code), weight));
            all[*job].weight += sums.weight;
            all[*job].events += sums.events;
        }
        for ((job, all), cycles) in cycles.jobs.iter().zip(&mut counted).zip(part_cycles) {
            for (code, (gaps, before)) in cycles.0 {
                let own = all.0.entry(place_of(job, code)).or_default();
                own.0.merge(&gaps);
                own.1.merge(&before);
            }
        }
    };
    in_order(ends.len(), sums, merge)?;
    // Names that nobody had are in no order with the others; from here on their places are those of the alphabet.
    let sorted: HashMap<usize, Names> = names.iter().map(|(slot, names)| (*slot, names.clone().sorted())).collect();
    let moved = |job: usize, code: u32| {
        let slot = plan.jobs[job].1.names_of();
        let of = slot.and_then(|slot| Some((names.get(&slot)?, sorted.get(&slot)?)));
        of.map_or(code, |(names, sorted)| sorted.find(&names.names[code as usize]))
    };
    for job in &part.jobs {
        let weights = std::mem::take(&mut all[*job].weights);
        (0..).zip(weights).for_each(|(code, weight)| all[*job].add(moved(*job, code), weight));
    }
    for (job, cycles) in cycles.jobs.iter().zip(counted) {
        let cycles: BTreeMap<u32, _> = cycles.0.into_iter().map(|(code, gaps)| (moved(*job, code), gaps)).collect();
        (all[*job].typical, all[*job].typical_before) = (
            Typical::of(cycles.iter().map(|(code, (gaps, _))| (*code, gaps))),
            Typical::of(cycles.iter().map(|(code, (_, before))| (*code, before))),
        );
    }
    sorted.into_iter().for_each(|(slot, names)| plan.set_names(slot, names));
    Ok(all)
}

/// Gaps between purchases by category: all, and without everybody's last.
#[derive(Debug, Clone, Default)]
struct Cycles(BTreeMap<u32, (Gaps, Gaps)>);

/// Counts the gaps of the users that begin in a row group.
fn count_cycles(
    store: &Store,
    plan: &Plan,
    part: &Part,
    ends: &[String],
    group: usize,
    memory: &mut Memory,
) -> Result<Vec<Cycles>> {
    let mut counted = vec![Cycles::default(); part.jobs.len()];
    if part.jobs.is_empty() {
        return Ok(counted);
    }
    by_user(store, plan, part, (ends, group), memory, |_, _, states| {
        for ((job, state), counted) in part.jobs.iter().zip(states).zip(&mut counted) {
            if let (Job::Repurchase { least, .. }, State::Calendar { met, .. }) = (&plan.jobs[*job].1, state) {
                each_cycle(met, *least, |code, _, gaps| {
                    let (all, before) = counted.0.entry(code).or_default();
                    gaps.iter().for_each(|gap| all.add(*gap));
                    gaps[..gaps.len() - 1].iter().for_each(|gap| before.add(*gap));
                });
            }
        }
    })?;
    Ok(counted)
}

impl Job {
    /// The expression whose values users are compared by.
    fn names_of(&self) -> Option<usize> {
        match self {
            Job::Preference { by, .. } | Job::Repurchase { by, .. } => Some(*by),
            _ => None,
        }
    }
}

/// Lets a part of the jobs gather the events of each user that begins in a row group, and hands over their states when the
/// user is complete, with the id and whether there is an event before the day.
fn by_user(
    store: &Store,
    plan: &Plan,
    part: &Part,
    (ends, group): (&[String], usize),
    memory: &mut Memory,
    mut done: impl FnMut(&str, bool, &mut [State]),
) -> Result<()> {
    let mut states: Vec<State> = part.jobs.iter().map(|job| plan.jobs[*job].1.start()).collect();
    let mut finish = |user: &str, seen_before: bool, states: &mut [State]| {
        done(user, seen_before, states);
        part.jobs.iter().zip(states).for_each(|(job, state)| plan.jobs[*job].1.restart(state));
    };
    let mut current: Option<(String, bool)> = None;
    for batch in Owned::new(store, &part.rows.read, ends, group)? {
        let seen = plan.look(&batch?, part, memory)?;
        let places = &seen.users.places;
        let mut from = 0;
        while from < places.len() {
            let same = places[from..].iter().take_while(|place| **place == places[from]).count();
            let rows = from..from + same;
            let user = seen.users.value(from);
            if current.as_ref().is_none_or(|(current, _)| current != user)
                && let Some((user, seen_before)) = current.replace((user.to_owned(), false))
            {
                finish(&user, seen_before, &mut states);
            }
            // Events of a user are sorted by time: the first one says whether there is one before the day.
            if let Some((_, seen_before)) = &mut current {
                *seen_before |= seen.at[from] < plan.clock.end;
            }
            for (job, state) in part.jobs.iter().zip(&mut states) {
                let (filter, job) = &plan.jobs[*job];
                job.gather(state, &seen, *filter, rows.clone());
            }
            from = rows.end;
        }
    }
    if let Some((user, seen_before)) = current {
        finish(&user, seen_before, &mut states);
    }
    Ok(())
}

/// What is said of the users that begin in a row group, and the names that were met there.
fn each(
    store: &Store,
    plan: &Plan,
    part: &Part,
    populations: &[Population],
    ends: &[String],
    group: usize,
) -> Result<(Found, Vec<Names>)> {
    let (mut found, mut memory) = (Found::of(plan), plan.memory());
    by_user(store, plan, part, (ends, group), &mut memory, |user, seen_before, states| {
        if !seen_before {
            return;
        }
        found.users.push(user.to_owned());
        for (place, state) in states.iter_mut().enumerate() {
            let (job, population) = (&plan.jobs[place].1, &populations[place]);
            let (said, evidence) = job.say(state, population);
            push(&mut found.columns[place], said, evidence);
            job.try_out(state, population, &mut found.trials[place]);
        }
    })?;
    Ok((found, memory.names))
}

fn push(column: &mut Column, said: Said, evidence: u32) {
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

/// The names that codes use, in their order; the codes become places among these.
fn used(codes: &mut [u32], names: &[String]) -> Vec<String> {
    let mut places = vec![NONE; names.len()];
    codes.iter().filter(|code| **code != NONE).for_each(|code| places[*code as usize] = 0);
    let mut kept = Vec::new();
    for (place, name) in places.iter_mut().zip(names).filter(|(place, _)| **place != NONE) {
        *place = kept.len() as u32;
        kept.push(name.clone());
    }
    codes.iter_mut().filter(|code| **code != NONE).for_each(|code| *code = places[*code as usize]);
    kept
}

/// The column of a job before the first user.
fn empty(job: &Job) -> Column {
    let values = match job {
        Job::Preference { .. } | Job::Repurchase { .. } => {
            Values::List { offsets: vec![0], codes: Vec::new(), figures: Vec::new(), names: Vec::new() }
        }
        Job::Edge { text: true, .. } | Job::Sequence { .. } | Job::Lifecycle { .. } => {
            Values::Text { codes: Vec::new(), names: Vec::new() }
        }
        _ => Values::Number(Vec::new()),
    };
    Column { values, evidence: Vec::new() }
}

/// Appends a part; where its codes are places of `names`, they become places of `met`.
fn append(all: &mut Column, part: Column, names: Option<&Names>, met: &mut Names) {
    all.evidence.extend(part.evidence);
    match (&mut all.values, part.values) {
        (Values::Number(all), Values::Number(part)) => all.extend(part),
        (Values::Text { codes: all, .. }, Values::Text { codes: part, .. }) => match names {
            Some(names) => {
                let mut places = vec![NONE; names.names.len()];
                all.extend(part.into_iter().map(|code| match places.get_mut(code as usize) {
                    Some(place) => {
                        if *place == NONE {
                            *place = met.code(&names.names[code as usize]);
                        }
                        *place
                    }
                    None => NONE,
                }));
            }
            None => all.extend(part),
        },
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
        let rows = store.scan_coded(read, own..own + 1)?;
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
                    self.rows = self.store.scan_coded(self.read, self.group..self.group + 1)?;
                }
                continue;
            };
            // In the midst of its own group a worker keeps every row.
            if self.group == self.own && !self.leading {
                return Ok(Some(batch));
            }
            let users = Text::of(batch.column(0))?;
            let rows = batch.num_rows();
            if self.group > self.own {
                let last = &self.ends[self.own];
                let mine = (0..rows).find(|row| users.value(*row) != last).unwrap_or(rows);
                self.done = mine < rows;
                if mine > 0 {
                    return Ok(Some(batch.slice(0, mine)));
                }
            } else {
                let before = &self.ends[self.own - 1];
                if let Some(first) = (0..rows).find(|row| users.value(*row) != before) {
                    self.leading = false;
                    return Ok(Some(batch.slice(first, rows - first)));
                }
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

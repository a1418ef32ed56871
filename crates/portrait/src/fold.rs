//! What a tag gathers from the events of one user, and what it says of them in the end.
//!
//! Events come in the order of time. A figure depends on nothing but them and, where users are compared with others,
//! on sums over all users.

use crate::column::NONE;
use crate::model::repurchase::{Trial, Typical, blend, median as middle};
use crate::plan::{Job, Seen};
use crate::segment::lifecycle;
use crate::tag::Rank;

/// Sums over all users that one tag compares with: the weight of each value, and of all events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Population {
    pub weights: Vec<f64>,
    pub weight: f64,
    pub events: u64,
    /// Days between purchases of a category: of all, and without everybody's last.
    pub typical: Typical,
    pub typical_before: Typical,
}

impl Population {
    /// Adds to the weight of a value.
    pub(crate) fn add(&mut self, code: u32, weight: f64) {
        let code = code as usize;
        if code >= self.weights.len() {
            self.weights.resize(code + 1, 0.0);
        }
        self.weights[code] += weight;
    }
}

/// What a tag has gathered of the current user.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Sums {
        n: u32,
        a: f64,
        b: f64,
    },
    Days {
        n: u32,
        days: Vec<i32>,
    },
    Marks {
        n: u32,
        marks: Vec<u64>,
    },
    Code {
        n: u32,
        code: u32,
    },
    /// A weight a code, 0 where there is none, and the codes that have one.
    Tally {
        n: u32,
        weights: Vec<f64>,
        met: Vec<u32>,
    },
    /// Days ago on which there was a value, one entry each.
    Calendar {
        n: u32,
        met: Vec<(u32, i32)>,
    },
    Way {
        n: u32,
        started: Vec<Option<i64>>,
        reached: usize,
    },
}

/// What is said of a user: a number, a place among names, or several of these with their figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Nothing,
    Number(f64),
    Code(u32),
    List(Vec<(u32, f64)>),
}

impl Job {
    /// The state of a user without events.
    pub(crate) fn start(&self) -> State {
        match self {
            Job::Min(_) => State::Sums { n: 0, a: f64::INFINITY, b: 0.0 },
            Job::Max(_) => State::Sums { n: 0, a: f64::NEG_INFINITY, b: 0.0 },
            Job::Interval | Job::Lifecycle { .. } => State::Days { n: 0, days: Vec::new() },
            Job::Distinct(_) => State::Marks { n: 0, marks: Vec::new() },
            Job::Edge { text: true, .. } => State::Code { n: 0, code: NONE },
            Job::Preference { .. } => State::Tally { n: 0, weights: Vec::new(), met: Vec::new() },
            Job::Repurchase { .. } => State::Calendar { n: 0, met: Vec::new() },
            Job::Sequence { steps, .. } => State::Way { n: 0, started: vec![None; steps.len()], reached: 0 },
            _ => State::Sums { n: 0, a: 0.0, b: 0.0 },
        }
    }

    /// Makes the state that of a user without events, and keeps what memory it has.
    pub(crate) fn restart(&self, state: &mut State) {
        match state {
            State::Days { n, days } => {
                *n = 0;
                days.clear();
            }
            State::Marks { n, marks } => {
                *n = 0;
                marks.clear();
            }
            State::Calendar { n, met } => {
                *n = 0;
                met.clear();
            }
            State::Tally { n, weights, met } => {
                *n = 0;
                met.drain(..).for_each(|code| weights[code as usize] = 0.0);
            }
            State::Way { n, started, reached } => {
                (*n, *reached) = (0, 0);
                started.fill(None);
            }
            State::Sums { .. } | State::Code { .. } => *state = self.start(),
        }
    }

    /// Takes in the events of `rows`, those that count.
    pub(crate) fn gather(&self, state: &mut State, seen: &Seen, filter: usize, rows: std::ops::Range<usize>) {
        let counts = &seen.counts[filter][rows.clone()];
        let numbers = |at: &usize| &seen.values[*at].numbers()[rows.clone()];
        let days_ago = &seen.days_ago[rows.clone()];
        match (self, state) {
            (Job::Count, State::Sums { n, .. }) => *n += counts.iter().filter(|counts| **counts).count() as u32,
            (Job::Sum(value) | Job::Mean(value), State::Sums { n, a, .. }) => {
                each(numbers(value), counts, |value| {
                    *n += 1;
                    *a += value;
                });
            }
            (Job::Min(value), State::Sums { n, a, .. }) => each(numbers(value), counts, |value| {
                *n += 1;
                *a = a.min(value);
            }),
            (Job::Max(value), State::Sums { n, a, .. }) => each(numbers(value), counts, |value| {
                *n += 1;
                *a = a.max(value);
            }),
            (Job::Share(condition), State::Sums { n, a, .. }) => {
                let mask = &seen.values[*condition].mask()[rows.clone()];
                let (mut all, mut hits) = (0_u32, 0_u32);
                for (holds, counts) in mask.iter().zip(counts) {
                    all += u32::from(*counts);
                    hits += u32::from(*counts && *holds);
                }
                *n += all;
                *a += f64::from(hits);
            }
            (Job::Ratio(above, below), State::Sums { n, a, b }) => {
                for ((above, below), counts) in numbers(above).iter().zip(numbers(below)).zip(counts) {
                    if *counts && !above.is_nan() && !below.is_nan() {
                        *n += 1;
                        *a += above;
                        *b += below;
                    }
                }
            }
            // Events come in the order of time: the last one is the nearest.
            (Job::Recency, State::Sums { n, a, .. }) => {
                *n += counts.iter().filter(|counts| **counts).count() as u32;
                if let Some(last) = counts.iter().rposition(|counts| *counts) {
                    *a = f64::from(days_ago[last]);
                }
            }
            (Job::Age, State::Sums { n, a, .. }) => {
                if let (0, Some(first)) = (*n, counts.iter().position(|counts| *counts)) {
                    *a = f64::from(days_ago[first]);
                }
                *n += counts.iter().filter(|counts| **counts).count() as u32;
            }
            (Job::Opening(value), State::Sums { n, a, b }) => {
                for ((value, days), _) in numbers(value).iter().zip(days_ago).zip(counts).filter(|(_, counts)| **counts)
                {
                    // The day is that of the first event, whether that has a value or not.
                    if *n == 0 {
                        *b = f64::from(*days);
                    }
                    *n += 1;
                    if *b == f64::from(*days) && !value.is_nan() {
                        *a += value;
                    }
                }
            }
            (Job::Edge { last, value, .. }, State::Sums { n, a, .. }) => {
                each(numbers(value), counts, |value| {
                    if *last || *n == 0 {
                        *a = value;
                    }
                    *n += 1;
                });
            }
            (Job::Edge { last, value, .. }, State::Code { n, code }) => {
                let codes = &seen.values[*value].codes()[rows.clone()];
                for (own, _) in codes.iter().zip(counts).filter(|(own, counts)| **counts && **own != NONE) {
                    if *last || *n == 0 {
                        *code = *own;
                    }
                    *n += 1;
                }
            }
            (Job::Interval | Job::Lifecycle { .. }, State::Days { n, days }) => {
                for (day, _) in days_ago.iter().zip(counts).filter(|(_, counts)| **counts) {
                    *n += 1;
                    if days.last() != Some(day) {
                        days.push(*day);
                    }
                }
            }
            (Job::Distinct(value), State::Marks { n, marks }) => {
                let values = &seen.values[*value].marks()[rows.clone()];
                for (mark, _) in values.iter().zip(counts).filter(|(mark, counts)| **counts && **mark != 0) {
                    *n += 1;
                    // Runs of one value are common: lines of a basket, events of a session.
                    if marks.last() != Some(mark) {
                        // A user with very many events keeps one entry a value, not one an event.
                        if marks.len() == marks.capacity() && marks.len() >= 1 << 14 {
                            marks.sort_unstable();
                            marks.dedup();
                        }
                        marks.push(*mark);
                    }
                }
            }
            (Job::Preference { by, weight, .. }, State::Tally { n, weights, met }) => {
                let codes = seen.values[*by].codes();
                let weight = weight.map(|weight| seen.values[weight].numbers());
                for (row, _) in rows.clone().zip(counts).filter(|(_, counts)| **counts) {
                    let Some(weight) = weighed(codes, weight, row) else { continue };
                    let code = codes[row] as usize;
                    if code >= weights.len() {
                        weights.resize(code + 1, 0.0);
                    }
                    *n += 1;
                    if weights[code] == 0.0 {
                        met.push(codes[row]);
                    }
                    weights[code] += weight;
                }
            }
            (Job::Repurchase { by, .. }, State::Calendar { n, met }) => {
                let codes = seen.values[*by].codes();
                for (row, _) in rows.clone().zip(counts).filter(|(row, counts)| **counts && codes[*row] != NONE) {
                    *n += 1;
                    let entry = (codes[row], seen.days_ago[row]);
                    if met.last() != Some(&entry) {
                        // A user with very many events keeps one entry a value and day.
                        if met.len() == met.capacity() && met.len() >= 1 << 14 {
                            met.sort_unstable();
                            met.dedup();
                        }
                        met.push(entry);
                    }
                }
            }
            (Job::Sequence { steps, within, .. }, State::Way { n, started, reached }) => {
                for (row, _) in rows.clone().zip(counts).filter(|(_, counts)| **counts) {
                    let mut any = false;
                    // Later steps first, so that one event is not two steps.
                    for step in (0..steps.len()).rev().filter(|step| seen.values[steps[*step]].mask()[row]) {
                        any = true;
                        let start = match step {
                            0 => Some(seen.at[row]),
                            _ => started[step - 1].filter(|start| seen.at[row] - start <= *within),
                        };
                        if start.is_some() {
                            started[step] = start;
                            *reached = (*reached).max(step + 1);
                        }
                    }
                    *n += u32::from(any);
                }
            }
            _ => {}
        }
    }

    /// What is said of the user, with the number of events behind it.
    pub(crate) fn say(&self, state: &mut State, population: &Population) -> (Said, u32) {
        let (said, evidence) = match (self, state) {
            (_, State::Sums { n: 0, .. } | State::Code { n: 0, .. }) => (Said::Nothing, 0),
            (Job::Count, State::Sums { n, .. }) => (Said::Number(f64::from(*n)), *n),
            (Job::Mean(_) | Job::Share(_), State::Sums { n, a, .. }) => (Said::Number(*a / f64::from(*n)), *n),
            (Job::Ratio(..), State::Sums { n, a, b }) => (Said::Number(*a / *b), *n),
            (_, State::Sums { n, a, .. }) => (Said::Number(*a), *n),
            (_, State::Code { n, code }) => (Said::Code(*code), *n),
            (Job::Lifecycle { windows }, State::Days { n, days }) => {
                // Days count back from the day that is looked from, whose own events are not seen.
                let bought: Vec<i32> = days.iter().map(|days| -days).collect();
                let state = lifecycle::state(None, &bought, -1, windows).ok().flatten();
                let code = |state| lifecycle::State::ALL.iter().position(|other| *other == state);
                (state.and_then(code).map_or(Said::Nothing, |code| Said::Code(code as u32)), *n)
            }
            (_, State::Days { n, days }) => {
                let mut gaps: Vec<i32> = days.windows(2).map(|pair| pair[0] - pair[1]).collect();
                (median(&mut gaps).map_or(Said::Nothing, Said::Number), *n)
            }
            (_, State::Marks { n, marks }) => {
                marks.sort_unstable();
                marks.dedup();
                let count = marks.len() as f64;
                (if *n == 0 { Said::Nothing } else { Said::Number(count) }, *n)
            }
            (Job::Repurchase { least, top, horizon, prior, .. }, State::Calendar { met, .. }) => {
                let mut due: Vec<(f64, u32, u32)> = Vec::new();
                each_cycle(met, *least, |code, last, gaps| {
                    let Some(category) = population.typical.category(code as usize) else { return };
                    let days = blend(middle(gaps), gaps.len(), category, *prior) - f64::from(last);
                    if days.abs() <= f64::from(*horizon) {
                        due.push((days, code, gaps.len() as u32 + 1));
                    }
                });
                due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                due.truncate(*top);
                let evidence = due.iter().map(|(_, _, days)| *days).min().unwrap_or_default();
                (Said::List(due.into_iter().map(|(days, code, _)| (code, days)).collect()), evidence)
            }
            (_, State::Calendar { .. }) => (Said::Nothing, 0),
            (_, State::Way { n, reached, .. }) => {
                (if *reached == 0 { Said::Nothing } else { Said::Code(*reached as u32 - 1) }, *n)
            }
            (Job::Preference { top, rank, min_share, min_affinity, prior, .. }, State::Tally { n, weights, met }) => {
                let limits = (*min_share, *min_affinity);
                // In the order of the names: sums depend on it.
                met.sort_unstable();
                let weights: Vec<(u32, f64)> = met.iter().map(|code| (*code, weights[*code as usize])).collect();
                (preferred(&weights, population, *prior, *rank, limits, *top), *n)
            }
            (_, State::Tally { .. }) => (Said::Nothing, 0),
        };
        match said {
            Said::Number(number) if !number.is_finite() => (Said::Nothing, 0),
            Said::Nothing => (Said::Nothing, 0),
            Said::List(list) if list.is_empty() => (Said::Nothing, 0),
            said => (said, evidence),
        }
    }
}

impl Job {
    /// Tries what would have been said of the user's last purchases in each category before them.
    pub(crate) fn try_out(&self, state: &mut State, population: &Population, trial: &mut Trial) {
        if let (Job::Repurchase { least, prior, .. }, State::Calendar { met, .. }) = (self, state) {
            let typical = &population.typical_before;
            each_cycle(met, *least, |code, _, gaps| trial.add(gaps, typical, code as usize, *prior));
        }
    }
}

/// For each value with at least `least` days: its code, how many days ago the last was, and the gaps between them, oldest
/// first; values in the order of their codes.
pub(crate) fn each_cycle(met: &mut Vec<(u32, i32)>, least: u32, mut f: impl FnMut(u32, i32, &[u32])) {
    met.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    met.dedup();
    let mut gaps = Vec::new();
    for days in met.chunk_by(|a, b| a.0 == b.0).filter(|days| days.len() >= least as usize) {
        gaps.clear();
        gaps.extend(days.windows(2).map(|pair| pair[0].1.abs_diff(pair[1].1)));
        f(days[0].0, days[days.len() - 1].1, &gaps);
    }
}

/// What an event weighs for a preference; `None` if it says nothing.
pub(crate) fn weighed(codes: &[u32], weights: Option<&[f64]>, row: usize) -> Option<f64> {
    let weight = weights.map_or(1.0, |weights| weights[row]);
    (codes[row] != NONE && weight > 0.0).then_some(weight)
}

fn each(values: &[f64], counts: &[bool], mut f: impl FnMut(f64)) {
    for (value, counts) in values.iter().zip(counts) {
        if *counts && !value.is_nan() {
            f(*value);
        }
    }
}

/// The mean of the middle two of an even count.
fn median(values: &mut [i32]) -> Option<f64> {
    values.sort_unstable();
    let (below, above) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((f64::from(*below) + f64::from(*above)) / 2.0)
}

/// The values a user has more of than others, best first; ties by name.
///
/// A user's share of a value is smoothed with the population's, `(w + k·p) / (W + k)`, the mean of a Dirichlet
/// posterior whose prior weighs as much as `prior` average events. Affinity is that share divided by `p`.
fn preferred(
    weights: &[(u32, f64)],
    population: &Population,
    prior: f64,
    rank: Rank,
    (min_share, min_affinity): (f64, f64),
    top: usize,
) -> Said {
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let k = prior * population.weight / population.events.max(1) as f64;
    let mut found: Vec<(u32, f64, f64)> = Vec::with_capacity(weights.len());
    for &(code, weight) in weights {
        let p = population.weights.get(code as usize).map_or(0.0, |weight| weight / population.weight);
        let share = (weight + k * p) / (total + k);
        let affinity = share / p;
        if weight / total >= min_share && affinity >= min_affinity && affinity.is_finite() {
            found.push((code, if rank == Rank::Share { share } else { affinity }, weight));
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found.truncate(top);
    Said::List(found.into_iter().map(|(code, figure, _)| (code, figure)).collect())
}

//! What a tag gathers from the events of one user, and what it says of them in the end.
//!
//! Events come in the order of time. A figure depends on nothing but them and, where users are compared with others,
//! on sums over all users.

use crate::column::NONE;
use crate::plan::{Job, Seen};
use crate::segment::lifecycle;
use crate::tag::Rank;

/// Sums over all users that one tag compares with: the weight of each value, and of all events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Population {
    pub weights: Vec<f64>,
    pub weight: f64,
    pub events: u64,
}

/// What a tag has gathered of the current user.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Sums { n: u32, a: f64, b: f64 },
    Days { n: u32, days: Vec<i32> },
    Marks { n: u32, marks: Vec<u64> },
    Code { n: u32, code: u32 },
    Tally { n: u32, weights: Vec<(u32, f64)> },
    Way { n: u32, started: Vec<Option<i64>>, reached: usize },
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
            Job::Preference { .. } => State::Tally { n: 0, weights: Vec::new() },
            Job::Sequence { steps, .. } => State::Way { n: 0, started: vec![None; steps.len()], reached: 0 },
            _ => State::Sums { n: 0, a: 0.0, b: 0.0 },
        }
    }

    /// Takes in the events of `rows`, those that count.
    pub(crate) fn gather(&self, state: &mut State, seen: &Seen, filter: usize, rows: std::ops::Range<usize>) {
        let counts = &seen.counts[filter];
        let rows = rows.filter(|row| counts[*row]);
        match (self, state) {
            (Job::Count, State::Sums { n, .. }) => *n += rows.count() as u32,
            (Job::Sum(value) | Job::Mean(value), State::Sums { n, a, .. }) => {
                each(seen.values[*value].numbers(), rows, |value| {
                    *n += 1;
                    *a += value;
                });
            }
            (Job::Min(value), State::Sums { n, a, .. }) => each(seen.values[*value].numbers(), rows, |value| {
                *n += 1;
                *a = a.min(value);
            }),
            (Job::Max(value), State::Sums { n, a, .. }) => each(seen.values[*value].numbers(), rows, |value| {
                *n += 1;
                *a = a.max(value);
            }),
            (Job::Share(condition), State::Sums { n, a, .. }) => {
                let mask = seen.values[*condition].mask();
                rows.for_each(|row| {
                    *n += 1;
                    *a += f64::from(u8::from(mask[row]));
                });
            }
            (Job::Ratio(above, below), State::Sums { n, a, b }) => {
                let (above, below) = (seen.values[*above].numbers(), seen.values[*below].numbers());
                rows.filter(|row| !above[*row].is_nan() && !below[*row].is_nan()).for_each(|row| {
                    *n += 1;
                    *a += above[row];
                    *b += below[row];
                });
            }
            // Events come in the order of time: the last one is the nearest.
            (Job::Recency, State::Sums { n, a, .. }) => rows.for_each(|row| {
                *n += 1;
                *a = f64::from(seen.days_ago[row]);
            }),
            (Job::Age, State::Sums { n, a, .. }) => rows.for_each(|row| {
                if *n == 0 {
                    *a = f64::from(seen.days_ago[row]);
                }
                *n += 1;
            }),
            (Job::Edge { last, value, .. }, State::Sums { n, a, .. }) => {
                each(seen.values[*value].numbers(), rows, |value| {
                    if *last || *n == 0 {
                        *a = value;
                    }
                    *n += 1;
                });
            }
            (Job::Edge { last, value, .. }, State::Code { n, code }) => {
                let codes = seen.values[*value].codes();
                rows.filter(|row| codes[*row] != NONE).for_each(|row| {
                    if *last || *n == 0 {
                        *code = codes[row];
                    }
                    *n += 1;
                });
            }
            (Job::Interval | Job::Lifecycle { .. }, State::Days { n, days }) => rows.for_each(|row| {
                *n += 1;
                if days.last() != Some(&seen.days_ago[row]) {
                    days.push(seen.days_ago[row]);
                }
            }),
            (Job::Distinct(value), State::Marks { n, marks }) => {
                let values = seen.values[*value].marks();
                rows.filter(|row| values[*row] != 0).for_each(|row| {
                    *n += 1;
                    // Runs of one value are common: lines of a basket, events of a session.
                    if marks.last() != Some(&values[row]) {
                        marks.push(values[row]);
                    }
                });
            }
            (Job::Preference { by, weight, .. }, State::Tally { n, weights }) => {
                let codes = seen.values[*by].codes();
                let weight = weight.map(|weight| seen.values[weight].numbers());
                rows.for_each(|row| {
                    if let Some(weight) = weighed(codes, weight, row) {
                        *n += 1;
                        weights.push((codes[row], weight));
                    }
                });
                // A user with very many events keeps one entry a value, not one an event.
                if weights.len() > 1 << 14 {
                    *weights = tallied(std::mem::take(weights));
                }
            }
            (Job::Sequence { steps, within, .. }, State::Way { n, started, reached }) => {
                for row in rows {
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
    pub(crate) fn say(&self, state: State, population: &Population) -> (Said, u32) {
        let (said, evidence) = match (self, state) {
            (_, State::Sums { n: 0, .. } | State::Code { n: 0, .. }) => (Said::Nothing, 0),
            (Job::Count, State::Sums { n, .. }) => (Said::Number(f64::from(n)), n),
            (Job::Mean(_) | Job::Share(_), State::Sums { n, a, .. }) => (Said::Number(a / f64::from(n)), n),
            (Job::Ratio(..), State::Sums { n, a, b }) => (Said::Number(a / b), n),
            (_, State::Sums { n, a, .. }) => (Said::Number(a), n),
            (_, State::Code { n, code }) => (Said::Code(code), n),
            (Job::Lifecycle { windows }, State::Days { n, days }) => {
                // Days count back from the day that is looked from, whose own events are not seen.
                let bought: Vec<i32> = days.iter().map(|days| -days).collect();
                let state = lifecycle::state(None, &bought, -1, windows).ok().flatten();
                let code = |state| lifecycle::State::ALL.iter().position(|other| *other == state);
                (state.and_then(code).map_or(Said::Nothing, |code| Said::Code(code as u32)), n)
            }
            (_, State::Days { n, days }) => {
                let mut gaps: Vec<i32> = days.windows(2).map(|pair| pair[0] - pair[1]).collect();
                (median(&mut gaps).map_or(Said::Nothing, Said::Number), n)
            }
            (_, State::Marks { n, mut marks }) => {
                marks.sort_unstable();
                marks.dedup();
                let count = marks.len() as f64;
                (if n == 0 { Said::Nothing } else { Said::Number(count) }, n)
            }
            (_, State::Way { n, reached, .. }) => {
                (if reached == 0 { Said::Nothing } else { Said::Code(reached as u32 - 1) }, n)
            }
            (Job::Preference { top, rank, min_share, min_affinity, prior, .. }, State::Tally { n, weights }) => {
                let limits = (*min_share, *min_affinity);
                (preferred(tallied(weights), population, *prior, *rank, limits, *top), n)
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

/// What an event weighs for a preference; `None` if it says nothing.
pub(crate) fn weighed(codes: &[u32], weights: Option<&[f64]>, row: usize) -> Option<f64> {
    let weight = weights.map_or(1.0, |weights| weights[row]);
    (codes[row] != NONE && weight > 0.0).then_some(weight)
}

fn each(values: &[f64], rows: impl Iterator<Item = usize>, mut f: impl FnMut(f64)) {
    rows.map(|row| values[row]).filter(|value| !value.is_nan()).for_each(&mut f);
}

/// One entry a value, by the place of its name; weights are summed in the order in which they came.
fn tallied(mut weights: Vec<(u32, f64)>) -> Vec<(u32, f64)> {
    weights.sort_by_key(|(code, _)| *code);
    weights.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    weights
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
    weights: Vec<(u32, f64)>,
    population: &Population,
    prior: f64,
    rank: Rank,
    (min_share, min_affinity): (f64, f64),
    top: usize,
) -> Said {
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let k = prior * population.weight / population.events.max(1) as f64;
    let mut found: Vec<(u32, f64, f64)> = Vec::with_capacity(weights.len());
    for (code, weight) in weights {
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

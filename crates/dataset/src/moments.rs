//! What the events say beside the matrices: when, at what price, and with what else, as of the ends of the training part and
//! of all that is before the test part.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, Float64Array, StringArray};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use lookalike_bundle::{ItemRow, Moments, Row, UserRow};
use lookalike_store::{Project, Split, Store, Table};

use crate::pairs::{Baskets, pairs};
use crate::read::midnight;
use crate::{Csr, Dataset, Error};

const DAY: i64 = 86_400_000_000;
/// Windows that count as lately, in [`Moments::lately`].
const LATELY: i64 = 3;

/// The moments of the entries of [`Dataset::train`] and of [`Dataset::full`], each as of its end. What counts as of late is
/// as long as the validation part. Nothing unless the split is by time.
///
/// A basket is what a user had in one session; without a session, what a user had on one day.
pub fn moments(project: &Project, store: &Store, data: &Dataset) -> Result<Option<[Moments; 2]>, Error> {
    let Split::Time { validation_days, .. } = project.interactions.split else { return Ok(None) };
    let Some(ends) = project.interactions.split.ends(&project.timezone, 0) else { return Ok(None) };
    let window = i64::from(validation_days) * DAY;
    let mut parts = [(&data.train, ends[0]), (&data.full, ends[1])]
        .map(|(matrix, end)| Part::new(matrix, midnight(project, end), window));
    let names = ["user", "item", "kind", "at", "value", "quantity", "session"];
    let mut now: (Option<UserRow>, String) = Default::default();
    let mut open = Open::default();
    for batch in store.scan(Table::Events, &names)? {
        let batch = batch?;
        let text = |column: usize| batch.column(column).as_string::<i32>();
        let number = |column: usize| batch.column(column).as_primitive::<Float64Type>();
        let times = batch.column(3).as_primitive::<TimestampMicrosecondType>();
        let (users, items, kinds, sessions) = (text(0), text(1), text(2), text(6));
        for row in 0..batch.num_rows() {
            if now.1 != users.value(row) || now.0.is_none() {
                open.close(&mut parts);
                now = (data.users.row(users.value(row)), users.value(row).to_owned());
            }
            let counts = project.interactions.kinds.get(kinds.value(row)).is_some_and(|&weight| weight > 0.0);
            let (Some(user), true) = (now.0, counts && items.is_valid(row)) else { continue };
            let Some(item) = data.items.row(items.value(row)) else { continue };
            let at = times.value(row);
            parts.iter_mut().for_each(|part| part.meet(user, item, at, price(number(4), number(5), row)));
            open.add(sessions, row, (at, [parts[0].end, parts[1].end]), item);
        }
    }
    open.close(&mut parts);
    Ok(Some(both(parts, data.items.len())))
}

/// The moments of both ends; the second has the baskets of the first too.
fn both([train, full]: [Part<'_>; 2], items: usize) -> [Moments; 2] {
    let all = pairs(&[&train.baskets, &full.baskets], items);
    let first = pairs(&[&train.baskets], items);
    [Moments { pairs: first, ..train.finish() }, Moments { pairs: all, ..full.finish() }]
}

/// What a piece costs, if a line says what it all came to.
fn price(values: &Float64Array, quantities: &Float64Array, row: usize) -> Option<f64> {
    let pieces = if quantities.is_valid(row) { quantities.value(row) } else { 1.0 };
    let price = values.is_valid(row).then(|| values.value(row) / pieces)?;
    (price.is_finite() && price > 0.0).then_some(price)
}

/// What is gathered for one of the two ends.
struct Part<'a> {
    matrix: &'a Csr<UserRow, ItemRow>,
    end: i64,
    window: i64,
    /// Of every entry the first and the last time.
    times: Vec<(i64, i64)>,
    days: Vec<u32>,
    lately: Vec<u32>,
    /// Of every item the sum of the logarithms of what a piece cost, and of how many lines.
    prices: Vec<(f64, u32)>,
    /// The baskets that no part before has.
    baskets: Baskets,
}

impl<'a> Part<'a> {
    fn new(matrix: &'a Csr<UserRow, ItemRow>, end: i64, window: i64) -> Self {
        Self {
            matrix,
            end,
            window,
            times: vec![(i64::MAX, i64::MIN); matrix.len()],
            days: vec![0; matrix.len()],
            lately: vec![0; matrix.len()],
            prices: vec![(0.0, 0); matrix.n_cols()],
            baskets: Baskets::default(),
        }
    }

    /// Takes in an event; those of a user come in the order of time.
    fn meet(&mut self, user: UserRow, item: ItemRow, at: i64, price: Option<f64>) {
        if at >= self.end {
            return;
        }
        let Ok(nth) = self.matrix.cols(user).binary_search(&item.get()) else { return };
        let entry = self.matrix.offsets()[user.index()] as usize + nth;
        let day = |at: i64| (self.end - 1 - at).div_euclid(DAY);
        let (first, last) = &mut self.times[entry];
        if *last == i64::MIN || day(*last) != day(at) {
            self.days[entry] += 1;
            self.lately[entry] += u32::from(self.end - at <= LATELY * self.window);
        }
        (*first, *last) = ((*first).min(at), (*last).max(at));
        if let Some(price) = price {
            let (sum, lines) = &mut self.prices[item.index()];
            (*sum, *lines) = (*sum + price.ln(), *lines + 1);
        }
    }

    fn finish(self) -> Moments {
        let ago = |at: i64| ((self.end - at) as f64 / DAY as f64) as f32;
        let priced = self.prices.iter().any(|(_, lines)| *lines > 0);
        let price = |(sum, lines): &(f64, u32)| if *lines > 0 { (sum / f64::from(*lines)).exp() as f32 } else { 0.0 };
        Moments {
            window: ago(self.end - self.window),
            last: self.times.iter().map(|&(_, last)| ago(last)).collect(),
            first: self.times.iter().map(|&(first, _)| ago(first)).collect(),
            days: self.days,
            lately: self.lately,
            prices: if priced { self.prices.iter().map(price).collect() } else { Vec::new() },
            pairs: Default::default(),
        }
    }
}

/// The baskets of the user whose events are being read. One that reaches over the end of a part is two: what is known at
/// that end must not know the rest.
#[derive(Default)]
struct Open {
    sessions: HashMap<String, i64>,
    /// The items of each basket by its part and its session or day.
    baskets: BTreeMap<(usize, i64), Vec<u32>>,
}

impl Open {
    fn add(&mut self, sessions: &StringArray, row: usize, (at, ends): (i64, [i64; 2]), item: ItemRow) {
        let Some(part) = ends.iter().position(|&end| at < end) else { return };
        // Days are numbers from 0 on, sessions numbers below.
        let key = match sessions.is_valid(row).then(|| sessions.value(row)) {
            None => (ends[1] - 1 - at).div_euclid(DAY),
            Some(session) => match self.sessions.get(session) {
                Some(&key) => key,
                None => {
                    let next = -1 - self.sessions.len() as i64;
                    *self.sessions.entry(session.to_owned()).or_insert(next)
                }
            },
        };
        self.baskets.entry((part, key)).or_default().push(item.get());
    }

    fn close(&mut self, parts: &mut [Part<'_>; 2]) {
        self.sessions.clear();
        for ((part, _), mut items) in std::mem::take(&mut self.baskets) {
            parts[part].baskets.push(&mut items);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Pair;

    const ENDS: [i64; 2] = [60 * DAY, 90 * DAY];
    const WINDOW: i64 = 10 * DAY;

    /// User, item, time, price in cents, session.
    type Line = (u32, u32, i64, Option<u16>, Option<u8>);

    fn matrix(lines: &[Line], end: i64) -> Csr<UserRow, ItemRow> {
        let pair = |line: &Line| Pair { row: UserRow::new(line.0), col: ItemRow::new(line.1), weight: 1.0 };
        Csr::from_pairs(3, 5, &lines.iter().filter(|line| line.2 < end).map(pair).collect::<Vec<_>>())
    }

    /// The same as [`moments`] makes of a store.
    fn found(lines: &[Line]) -> [Moments; 2] {
        let mut lines = lines.to_vec();
        lines.sort_by_key(|line| (line.0, line.2));
        let matrices = ENDS.map(|end| matrix(&lines, end));
        let mut parts = [Part::new(&matrices[0], ENDS[0], WINDOW), Part::new(&matrices[1], ENDS[1], WINDOW)];
        let sessions: StringArray = lines.iter().map(|line| line.4.map(|session| session.to_string())).collect();
        let mut open = Open::default();
        for (row, line) in lines.iter().enumerate() {
            if row > 0 && lines[row - 1].0 != line.0 {
                open.close(&mut parts);
            }
            let price = line.3.map(|cents| f64::from(cents) / 100.0);
            parts.iter_mut().for_each(|part| part.meet(UserRow::new(line.0), ItemRow::new(line.1), line.2, price));
            open.add(&sessions, row, (line.2, ENDS), ItemRow::new(line.1));
        }
        open.close(&mut parts);
        both(parts, 5)
    }

    /// As slowly as the words say it.
    fn slow(lines: &[Line], end: i64) -> Moments {
        let before: Vec<_> = lines.iter().filter(|line| line.2 < end).collect();
        let day = |at: i64| (end - 1 - at) / DAY;
        let mut moments = Moments { window: 10.0, ..Moments::default() };
        for pair in matrix(lines, end).pairs() {
            let mine = before.iter().filter(|line| (line.0, line.1) == (pair.row.get(), pair.col.get()));
            let times: Vec<i64> = mine.map(|line| line.2).collect();
            let ago = |at: Option<&i64>| ((end - at.copied().unwrap_or(end)) as f64 / DAY as f64) as f32;
            let days = |most: i64| {
                times.iter().map(|&at| day(at)).filter(|day| *day < most).collect::<std::collections::BTreeSet<_>>()
            };
            moments.last.push(ago(times.iter().max()));
            moments.first.push(ago(times.iter().min()));
            moments.days.push(days(i64::MAX).len() as u32);
            moments.lately.push(days(30).len() as u32);
        }
        let price = |item: u32| {
            let logs =
                before.iter().filter(|line| line.1 == item).filter_map(|line| Some((f64::from(line.3?) / 100.0).ln()));
            let logs: Vec<f64> = logs.collect();
            if logs.is_empty() { 0.0 } else { (logs.iter().sum::<f64>() / logs.len() as f64).exp() as f32 }
        };
        if before.iter().any(|line| line.3.is_some()) {
            moments.prices = (0..5).map(price).collect();
        }
        moments
    }

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        let line = (0u32..3, 0u32..5, 0i64..100, 0i64..DAY, prop::option::of(1u16..999), prop::option::of(0u8..4));
        let line = line.prop_map(|(user, item, day, at, price, session)| (user, item, day * DAY + at, price, session));
        prop::collection::vec(line, 0..80)
    }

    proptest! {
        #[test]
        fn moments_are_what_plain_loops_find(lines in lines()) {
            for (found, end) in found(&lines).into_iter().zip(ENDS) {
                let slow = slow(&lines, end);
                prop_assert_eq!((&found.last, &found.first, &found.days), (&slow.last, &slow.first, &slow.days));
                prop_assert_eq!((&found.lately, found.window), (&slow.lately, slow.window));
                prop_assert_eq!(found.prices.len(), slow.prices.len());
                prop_assert!(found.prices.iter().zip(&slow.prices).all(|(a, b)| (a - b).abs() <= 1e-5 * b));
                prop_assert_eq!(found.problem(matrix(&lines, end).len(), 5), None);
            }
        }

        #[test]
        fn what_comes_later_changes_nothing(mut lines in lines()) {
            // Often enough that pairs are found.
            let days = |user, item| (0..40).map(move |day| (user, item, day * DAY + 5, None, None));
            lines.extend(days(1, 2).chain(days(1, 3)).chain(days(2, 4)));
            let with = found(&lines);
            for (nth, end) in ENDS.into_iter().enumerate() {
                let before: Vec<Line> = lines.iter().filter(|line| line.2 < end).copied().collect();
                prop_assert_eq!(&found(&before)[nth], &with[nth]);
                prop_assert!(!with[nth].pairs.partners.is_empty());
            }
        }
    }

    #[test]
    fn a_price_is_that_of_a_piece() {
        let numbers = |numbers: [Option<f64>; 5]| Float64Array::from(numbers.to_vec());
        let values = numbers([Some(6.0), Some(6.0), None, Some(-1.0), Some(6.0)]);
        let pieces = numbers([Some(3.0), None, Some(1.0), None, Some(0.0)]);
        let prices: Vec<_> = (0..5).map(|row| price(&values, &pieces, row)).collect();
        assert_eq!(prices, [Some(2.0), Some(6.0), None, None, None]);
    }
}

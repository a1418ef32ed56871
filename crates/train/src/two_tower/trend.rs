//! How much an item was in demand, of late and in all, as values that a tower can read.

use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, Features, FeaturesBuilder};

/// Days looked back upon.
const WINDOWS: [f32; 3] = [f32::INFINITY, 28.0, 7.0];

/// What was known at a time, and how many days before it each entry was met last, if that is known.
pub(super) type Past<'a> = (&'a Csr<UserRow, ItemRow>, &'a [f32]);

/// For every item and every window the power of two nearest to the number of its users then, at each of several times, in
/// values that all times share. Where ages are not known, there is one window.
pub(super) fn trend(times: &[Past<'_>]) -> Vec<Features> {
    let items = times.iter().map(|(train, _)| train.n_cols()).max().unwrap_or(0);
    let mut features = FeaturesBuilder::default();
    for (first, (train, ages)) in (0..).step_by(items.max(1)).zip(times) {
        for days in WINDOWS.into_iter().take(if ages.is_empty() { 1 } else { WINDOWS.len() }) {
            let mut users = vec![0u32; items];
            for (place, &item) in train.all_cols().iter().enumerate() {
                users[item as usize] += u32::from(ages.get(place).is_none_or(|&age| age <= days));
            }
            for (row, &users) in (first..).zip(&users) {
                let size = (2.0 * f64::from(1 + users).log2()).round() / 2.0;
                features.push(ItemRow::new(row), &format!("users of {days} days"), &format!("2^{size}"));
            }
        }
    }
    features.finish(items * times.len(), 2).in_groups_of(items)
}

//! How much an item was in demand, of late and in all, as values that a tower can read.

use lookalike_bundle::{ItemRow, Row, UserRow, Vocab};
use lookalike_dataset::{Csr, Features, FeaturesBuilder};

/// Days looked back upon.
const WINDOWS: [f32; 3] = [f32::INFINITY, 28.0, 7.0];

/// For every item and every window the power of two nearest to the number of its users then. `ages` are the days since
/// each entry was met last; where they are not known, there is one window.
pub(super) fn trend(train: &Csr<UserRow, ItemRow>, ages: &[f32], items: &Vocab<ItemRow>) -> Features {
    let mut features = FeaturesBuilder::default();
    for days in WINDOWS.into_iter().take(if ages.is_empty() { 1 } else { WINDOWS.len() }) {
        let mut users = vec![0u32; train.n_cols()];
        for (place, &item) in train.all_cols().iter().enumerate() {
            users[item as usize] += u32::from(ages.get(place).is_none_or(|&age| age <= days));
        }
        for (row, &users) in (0..).zip(&users) {
            let size = (2.0 * f64::from(1 + users).log2()).round() / 2.0;
            features.push(ItemRow::new(row), &format!("users of {days} days"), &format!("2^{size}"));
        }
    }
    features.finish(items)
}

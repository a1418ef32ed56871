//! When something of a category is bought again: a customer's own gaps, shrunk towards those that all have there.
//!
//! The own median is drawn towards the category's on the scale of logarithms, as if the latter were so many gaps more:
//! exp((m ln own + k ln category) / (m + k)) with m gaps of one's own. Medians, since a gap over a holiday is no habit.

use std::collections::BTreeMap;

/// Gaps in days, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps(BTreeMap<u32, u64>);

impl Gaps {
    /// Counts a gap.
    pub fn add(&mut self, days: u32) {
        *self.0.entry(days).or_default() += 1;
    }

    /// Counts those of another.
    pub fn merge(&mut self, other: &Gaps) {
        other.0.iter().for_each(|(days, count)| *self.0.entry(*days).or_default() += count);
    }

    /// The mean of the middle two of an even count; `None` of none.
    pub fn median(&self) -> Option<f64> {
        let count: u64 = self.0.values().sum();
        let at = |place: u64| {
            let mut before = 0;
            self.0.iter().find_map(|(days, count)| {
                before += count;
                (before > place).then_some(f64::from(*days))
            })
        };
        Some((at(count.checked_sub(1)? / 2)? + at(count / 2)?) / 2.0)
    }
}

/// The median of a customer's own gaps, the mean of the middle two of an even count; 0 of none.
pub fn median(gaps: &[u32]) -> f64 {
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    match (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2)) {
        (Some(below), Some(above)) => (f64::from(*below) + f64::from(*above)) / 2.0,
        _ => 0.0,
    }
}

/// Days until the next purchase after the last: the own median of `m` gaps and the category's, which counts as `prior` gaps.
/// Medians below a day count as one.
pub fn blend(own: f64, m: usize, category: f64, prior: f64) -> f64 {
    let m = m as f64;
    if m + prior <= 0.0 {
        return category;
    }
    ((m * own.max(1.0).ln() + prior * category.max(1.0).ln()) / (m + prior)).exp()
}

/// Typical gaps in each category and over all, by the place of the category; `None` where there are none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Typical {
    /// Medians by category.
    pub categories: Vec<Option<f64>>,
    /// The median of all.
    pub all: Option<f64>,
}

impl Typical {
    /// Medians of what was counted in each category, by its place.
    pub fn of<'a>(gaps: impl Iterator<Item = (u32, &'a Gaps)>) -> Typical {
        let (mut all, mut categories) = (Gaps::default(), Vec::new());
        for (place, gaps) in gaps {
            let place = place as usize;
            if place >= categories.len() {
                categories.resize(place + 1, None);
            }
            categories[place] = gaps.median();
            all.merge(gaps);
        }
        Typical { categories, all: all.median() }
    }

    /// The median of a category; of one that is not known, that of all.
    pub fn category(&self, place: usize) -> Option<f64> {
        self.categories.get(place).copied().flatten().or(self.all)
    }
}

/// How far the last gap of each customer and category was from what could be said before it: sums of absolute days.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trial {
    /// Pairs of a customer and a category.
    pub pairs: u64,
    /// By the customer's own median.
    pub own: f64,
    /// By the median of the category.
    pub category: f64,
    /// By the blend of both.
    pub blend: f64,
    /// By the median of all gaps.
    pub all: f64,
}

impl Trial {
    /// Tries the last of a customer's `gaps` in a category, oldest first, against those before; `typical` was made without
    /// any last gap. Fewer than two gaps are not tried.
    pub fn add(&mut self, gaps: &[u32], typical: &Typical, place: usize, prior: f64) {
        let (Some((last, known)), Some(all), Some(category)) =
            (gaps.split_last(), typical.all, typical.category(place))
        else {
            return;
        };
        if known.is_empty() {
            return;
        }
        let (last, own) = (f64::from(*last), median(known));
        self.pairs += 1;
        self.own += (last - own).abs();
        self.category += (last - category).abs();
        self.blend += (last - blend(own, known.len(), category, prior)).abs();
        self.all += (last - all).abs();
    }

    /// Adds what others tried.
    pub fn merge(&mut self, other: &Trial) {
        self.pairs += other.pairs;
        self.own += other.own;
        self.category += other.category;
        self.blend += other.blend;
        self.all += other.all;
    }
}

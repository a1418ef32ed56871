//! How much a column has moved: the population stability index, `Σ (q − p) · ln(q / p)` over bins, as in N. Siddiqi,
//! *Credit Risk Scorecards* (2006), who reads less than 0.1 as no change and more than 0.25 as a great one.
//!
//! Numbers are put into tenths of what came first, words into the twenty commonest of what came first and the rest; gaps
//! are a bin of their own. Every bin counts half a line more than it has, so that an empty one gives no infinity.

use std::collections::BTreeMap;

/// Values of a column that are kept of each side, at most about so many.
const KEPT: usize = 1 << 17;
/// Words with a bin of their own.
const WORDS: usize = 20;
/// Bins of numbers.
const TENTHS: usize = 10;

/// Values of a column on one side.
#[derive(Default)]
pub(crate) struct Values {
    numbers: Vec<f64>,
    /// Of the numbers every so many-th is kept (a power of two), so that memory stays small and all parts are heard.
    step: usize,
    seen: usize,
    words: BTreeMap<String, u64>,
    gaps: u64,
}

impl Values {
    pub(crate) fn number(&mut self, number: f64) {
        let step = self.step.max(1);
        if self.seen.is_multiple_of(step) {
            self.numbers.push(number);
        }
        self.seen += 1;
        if self.numbers.len() >= 2 * KEPT {
            let mut at = 0;
            self.numbers.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.step = step * 2;
        }
    }

    pub(crate) fn word(&mut self, word: &str) {
        match self.words.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(self.words.insert(word.to_owned(), 1)),
        }
    }

    pub(crate) fn gap(&mut self) {
        self.gaps += 1;
    }

    fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.words.is_empty() && self.gaps == 0
    }

    /// Lines in each bin, gaps last.
    fn counts(&self, bins: &Bins) -> Vec<f64> {
        let step = self.step.max(1) as f64;
        let mut counts = vec![0.0; bins.edges.len() + 1 + bins.words.len() + 1 + 1];
        for number in &self.numbers {
            counts[bins.edges.partition_point(|edge| edge < number)] += step;
        }
        let first = bins.edges.len() + 1;
        for (word, count) in &self.words {
            let at = bins.words.iter().position(|known| known == word).unwrap_or(bins.words.len());
            counts[first + at] += *count as f64;
        }
        if let Some(last) = counts.last_mut() {
            *last = self.gaps as f64;
        }
        counts
    }
}

struct Bins {
    /// Upper ends, the last bin having none.
    edges: Vec<f64>,
    words: Vec<String>,
}

impl Bins {
    fn of(first: &Values) -> Self {
        let mut numbers = first.numbers.clone();
        numbers.sort_unstable_by(f64::total_cmp);
        let mut edges: Vec<f64> = (1..TENTHS)
            .filter(|_| !numbers.is_empty())
            .map(|tenth| numbers[(numbers.len() * tenth / TENTHS).min(numbers.len() - 1)])
            .collect();
        edges.dedup();
        let mut words: Vec<(&String, u64)> = first.words.iter().map(|(word, count)| (word, *count)).collect();
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Bins { edges, words: words.into_iter().take(WORDS).map(|(word, _)| word.clone()).collect() }
    }
}

/// The index between what came first and what came later; `None` if one of them is empty.
pub(crate) fn psi(first: &Values, later: &Values) -> Option<f64> {
    if first.is_empty() || later.is_empty() {
        return None;
    }
    let bins = Bins::of(first);
    let (p, q) = (first.counts(&bins), later.counts(&bins));
    // Bins that neither side can fill, such as those of words in a column of numbers, say nothing.
    let used: Vec<usize> = (0..p.len()).filter(|&bin| p[bin] + q[bin] > 0.0).collect();
    let share = |counts: &[f64], bin: usize| {
        let total: f64 = used.iter().map(|&bin| counts[bin] + 0.5).sum();
        (counts[bin] + 0.5) / total
    };
    Some(used.iter().map(|&bin| (share(&q, bin) - share(&p, bin)) * (share(&q, bin) / share(&p, bin)).ln()).sum())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn numbers(values: impl Iterator<Item = f64>) -> Values {
        let mut kept = Values::default();
        values.for_each(|value| kept.number(value));
        kept
    }

    #[test]
    fn nothing_moved_is_nothing() {
        let values = || numbers((0..1000).map(f64::from));
        assert_eq!(psi(&values(), &values()), Some(0.0));
        assert_eq!(psi(&values(), &Values::default()), None);
    }

    #[test]
    fn two_bins_by_hand() {
        let mut first = Values::default();
        let mut later = Values::default();
        (0..80).for_each(|_| first.word("a"));
        (0..20).for_each(|_| first.word("b"));
        (0..50).for_each(|_| later.word("a"));
        (0..50).for_each(|_| later.word("b"));
        let (p, q) = (80.5 / 101.0, 50.5 / 101.0_f64);
        let by_hand = (q - p) * (q / p).ln() + ((1.0 - q) - (1.0 - p)) * ((1.0 - q) / (1.0 - p)).ln();
        assert!((psi(&first, &later).unwrap() - by_hand).abs() < 1e-12);
        // Without the half a line: (0.5 − 0.8) ln(0.5/0.8) + (0.5 − 0.2) ln(0.5/0.2) = 0.4159.
        assert!((by_hand - 0.4159).abs() < 0.02);
    }

    #[test]
    fn many_numbers_are_thinned_evenly() {
        let rising = numbers((0..2_000_000).map(f64::from));
        assert!(rising.numbers.len() < 2 * KEPT);
        assert!(psi(&rising, &numbers((0..2_000_000).map(|x| f64::from(x) + 0.25))).unwrap() < 1e-3);
        assert!(psi(&rising, &numbers((1_000_000..3_000_000).map(f64::from))).unwrap() > 0.25);
    }
}

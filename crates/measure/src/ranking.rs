//! Ranking metrics over full rankings: recall, nDCG, average precision, coverage.
//!
//! Definitions (n = held-out items of the user, hits counted in the first k ranks):
//! - precision@k = hits / k;
//! - recall@k = hits / n (He et al., LightGCN, 2020);
//! - ndcg@k = Σ over hits of 1/log2(rank + 1), divided by that sum for min(k, n) hits at the top
//!   (Järvelin and Kekäläinen 2002, binary gains);
//! - map@k = Σ over hits of (hits so far / rank), divided by min(k, n);
//! - coverage@k = distinct items shown in any first k / items in the catalogue.
//!
//! Means go over the users that have held-out items.

use serde::{Deserialize, Serialize};

/// One user's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    precision_10: f64,
    recall_10: f64,
    recall_20: f64,
    ndcg_10: f64,
    ndcg_20: f64,
    map_10: f64,
}

impl Judged {
    /// The user's ndcg@10.
    pub fn ndcg_10(&self) -> f64 {
        self.ndcg_10
    }
}

/// Judges one ranked list (best first, no item twice) against the user's held-out items (sorted, not empty).
/// Ranks beyond the 20th are not looked at.
pub fn judge(ranked: &[u32], held_out: &[u32]) -> Judged {
    let n = held_out.len();
    if n == 0 {
        return Judged::default();
    }
    let mut judged = Judged::default();
    let (mut hits, mut dcg, mut precision) = (0u32, 0.0, 0.0);
    for (at, item) in ranked.iter().take(20).enumerate() {
        if held_out.binary_search(item).is_ok() {
            hits += 1;
            dcg += gain(at);
            if at < 10 {
                precision += f64::from(hits) / (at + 1) as f64;
            }
        }
        if at == 9 {
            (judged.recall_10, judged.ndcg_10) = (f64::from(hits), dcg);
        }
    }
    if ranked.len() < 10 {
        (judged.recall_10, judged.ndcg_10) = (f64::from(hits), dcg);
    }
    judged.precision_10 = judged.recall_10 / 10.0;
    judged.recall_10 /= n as f64;
    judged.recall_20 = f64::from(hits) / n as f64;
    judged.ndcg_10 /= ideal(n.min(10));
    judged.ndcg_20 = dcg / ideal(n.min(20));
    judged.map_10 = precision / n.min(10) as f64;
    judged
}

/// ndcg@`depth` of one ranked list (best first, no item twice) against the user's held-out items (sorted); 0 if there
/// are none.
pub fn ndcg(ranked: &[u32], held_out: &[u32], depth: usize) -> f64 {
    let hits = ranked.iter().take(depth).enumerate().filter(|(_, item)| held_out.binary_search(item).is_ok());
    let best = ideal(held_out.len().min(depth));
    if best > 0.0 { hits.fold(0.0, |sum, (at, _)| sum + gain(at)) / best } else { 0.0 }
}

/// The gain of a hit at a rank counted from 0.
fn gain(at: usize) -> f64 {
    1.0 / (at as f64 + 2.0).log2()
}

fn ideal(n: usize) -> f64 {
    (0..n).map(gain).sum()
}

/// Sums users up, in the order they are added: the same order gives the same bits.
#[derive(Clone, Debug)]
pub struct RankingSum {
    users: u64,
    sum: Judged,
    shown: Vec<bool>,
}

impl RankingSum {
    /// For a catalogue of so many items.
    pub fn new(items: usize) -> Self {
        Self { users: 0, sum: Judged::default(), shown: vec![false; items] }
    }

    /// Adds one user: the figures of [`judge`] and the ranked list they came from.
    pub fn add(&mut self, judged: Judged, ranked: &[u32]) {
        self.users += 1;
        self.sum.precision_10 += judged.precision_10;
        self.sum.recall_10 += judged.recall_10;
        self.sum.recall_20 += judged.recall_20;
        self.sum.ndcg_10 += judged.ndcg_10;
        self.sum.ndcg_20 += judged.ndcg_20;
        self.sum.map_10 += judged.map_10;
        for &item in ranked.iter().take(10) {
            if let Some(shown) = self.shown.get_mut(item as usize) {
                *shown = true;
            }
        }
    }

    /// The means; all zero if no user was added.
    pub fn mean(&self) -> RankingMean {
        let mean = |sum: f64| sum / self.users.max(1) as f64;
        let shown = self.shown.iter().filter(|&&shown| shown).count();
        RankingMean {
            users: self.users,
            precision_10: mean(self.sum.precision_10),
            recall_10: mean(self.sum.recall_10),
            recall_20: mean(self.sum.recall_20),
            ndcg_10: mean(self.sum.ndcg_10),
            ndcg_20: mean(self.sum.ndcg_20),
            map_10: mean(self.sum.map_10),
            coverage_10: shown as f64 / self.shown.len().max(1) as f64,
        }
    }
}

/// Means over the users that have held-out items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankingMean {
    /// Users with held-out items.
    pub users: u64,
    /// Share of the first 10 ranks that are held-out items.
    #[serde(rename = "precision@10", default)]
    pub precision_10: f64,
    /// Share of a user's held-out items found in the first 10 ranks.
    #[serde(rename = "recall@10")]
    pub recall_10: f64,
    /// The same in the first 20 ranks.
    #[serde(rename = "recall@20")]
    pub recall_20: f64,
    /// Discounted gain of the first 10 ranks relative to the best possible.
    #[serde(rename = "ndcg@10")]
    pub ndcg_10: f64,
    /// The same for the first 20 ranks.
    #[serde(rename = "ndcg@20")]
    pub ndcg_20: f64,
    /// Mean average precision of the first 10 ranks.
    #[serde(rename = "map@10")]
    pub map_10: f64,
    /// Share of the catalogue that appears in some user's first 10 ranks.
    #[serde(rename = "coverage@10")]
    pub coverage_10: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn a_perfect_list_scores_one_everywhere() {
        let got = judge(&[3, 5, 9], &[3, 5, 9]);
        for figure in [got.recall_10, got.recall_20, got.ndcg_10, got.ndcg_20, got.map_10] {
            close(figure, 1.0);
        }
    }

    #[test]
    fn a_worked_example() {
        // Hits at ranks 1 and 3 of four held-out items.
        let got = judge(&[7, 1, 8, 2], &[5, 6, 7, 8]);
        close(got.recall_10, 0.5);
        close(got.precision_10, 0.2);
        close(got.ndcg_10, (1.0 + 0.5) / (1.0 + 1.0 / 3f64.log2() + 0.5 + 1.0 / 5f64.log2()));
        close(got.map_10, (1.0 + 2.0 / 3.0) / 4.0);
    }

    #[test]
    fn means_and_coverage() {
        let mut sum = RankingSum::new(4);
        sum.add(judge(&[0, 1], &[0]), &[0, 1]);
        sum.add(judge(&[1, 0], &[3]), &[1, 0]);
        let mean = sum.mean();
        assert_eq!(mean.users, 2);
        close(mean.recall_10, 0.5);
        close(mean.coverage_10, 0.5);
    }

    #[test]
    fn nothing_held_out_or_nothing_looked_at_is_nothing_found() {
        assert_eq!([ndcg(&[1, 2], &[], 10), ndcg(&[1, 2], &[1], 0), ndcg(&[], &[1], 10)], [0.0; 3]);
    }

    #[test]
    fn no_user_gives_zeros_not_nan() {
        assert_eq!(RankingSum::new(0).mean(), RankingMean::default());
    }

    /// The definitions again, as slowly as they read.
    fn slow(ranked: &[u32], truth: &[u32], k: usize) -> (f64, f64, f64) {
        let top = &ranked[..ranked.len().min(k)];
        let hit = |item: &u32| truth.contains(item);
        let hits = top.iter().filter(|item| hit(item)).count();
        let dcg: f64 = (0..top.len()).filter(|&at| hit(&top[at])).map(|at| 1.0 / ((at + 2) as f64).log2()).sum();
        let best: f64 = (0..truth.len().min(k)).map(|at| 1.0 / ((at + 2) as f64).log2()).sum();
        let precise = |at: usize| top[..=at].iter().filter(|item| hit(item)).count() as f64 / (at + 1) as f64;
        let ap: f64 = (0..top.len()).filter(|&at| hit(&top[at])).map(precise).sum();
        (hits as f64 / truth.len() as f64, dcg / best, ap / truth.len().min(k) as f64)
    }

    proptest! {
        #[test]
        fn judge_agrees_with_the_definitions(
            ranked in Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(),
            shown in 0usize..40,
            truth in proptest::collection::btree_set(0u32..40, 1..30),
        ) {
            let (ranked, truth) = (&ranked[..shown], truth.into_iter().collect::<Vec<_>>());
            let got = judge(ranked, &truth);
            let (ten, twenty) = (slow(ranked, &truth, 10), slow(ranked, &truth, 20));
            let hits = ranked.iter().take(10).filter(|item| truth.contains(item)).count();
            prop_assert_eq!(got.precision_10, hits as f64 / 10.0);
            for (a, b) in [(got.recall_10, ten.0), (got.ndcg_10, ten.1), (got.map_10, ten.2),
                           (got.recall_20, twenty.0), (got.ndcg_20, twenty.1)] {
                prop_assert!((a - b).abs() < 1e-12, "{a} is not {b}");
            }
            prop_assert_eq!([10, 20].map(|depth| ndcg(ranked, &truth, depth)), [got.ndcg_10, got.ndcg_20]);
            prop_assert!((ndcg(ranked, &truth, 7) - slow(ranked, &truth, 7).1).abs() < 1e-12);
        }
    }
}

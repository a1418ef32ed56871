//! Figures on new items by how active users are: by how many different items they had.

use std::collections::BTreeMap;

use lookalike_measure::{Judged, RankingMean, RankingSum};
use serde::{Deserialize, Serialize};

/// Name of a bucket, and the most different items that its users had.
const BUCKETS: [(&str, usize); 4] = [("cold", 0), ("1-5", 5), ("6-20", 20), ("more", usize::MAX)];

/// One bucket's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// `cold` (no history at all), `1-5`, `6-20` or `more`.
    pub name: String,
    #[serde(flatten)]
    pub figures: Few,
}

/// The figures of few words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Few {
    pub users: u64,
    #[serde(rename = "precision@10")]
    pub precision_10: f64,
    #[serde(rename = "recall@10")]
    pub recall_10: f64,
    #[serde(rename = "ndcg@10")]
    pub ndcg_10: f64,
}

impl From<RankingMean> for Few {
    fn from(mean: RankingMean) -> Self {
        let RankingMean { users, precision_10, recall_10, ndcg_10, .. } = mean;
        Self { users, precision_10, recall_10, ndcg_10 }
    }
}

impl Few {
    /// The three figures as cells of a table.
    pub fn cells(&self) -> [String; 3] {
        [self.precision_10, self.recall_10, self.ndcg_10].map(|figure| format!("{figure:.4}"))
    }
}

/// The names of the columns that [`Few::cells`] fill.
pub const CELLS: [&str; 3] = ["precision@10", "recall@10", "ndcg@10"];

/// Buckets with users, the least active first; each user comes with how many different items they had.
pub fn buckets(users: impl Iterator<Item = (usize, Judged)>) -> Vec<Bucket> {
    let mut sums: BTreeMap<usize, RankingSum> = BTreeMap::new();
    for (had, judged) in users {
        let nth = BUCKETS.iter().position(|(_, most)| had <= *most).unwrap_or(BUCKETS.len() - 1);
        // What is shown does not matter here.
        sums.entry(nth).or_insert_with(|| RankingSum::new(0)).add(judged, &[]);
    }
    let bucket =
        |(nth, sum): (usize, RankingSum)| Bucket { name: BUCKETS[nth].0.to_owned(), figures: sum.mean().into() };
    sums.into_iter().map(bucket).collect()
}

#[cfg(test)]
mod tests {
    use lookalike_measure::judge;

    use super::*;

    #[test]
    fn buckets_are_what_plain_loops_find() {
        // Users had 0, 1, 2, … items, and every third found one of two held-out items at some rank.
        let judged = |had: usize| judge(&(0..12).map(|rank| rank as u32 + had as u32).collect::<Vec<_>>(), &[15, 900]);
        let users: Vec<_> = (0..40).filter(|had| !(6..=20).contains(had)).map(|had| (had, judged(had))).collect();
        let found = buckets(users.iter().copied());
        let slow = |name: &str, range: std::ops::RangeInclusive<usize>| {
            let users: Vec<usize> = range.collect();
            let hits: usize = users.iter().filter(|&&had| (had..had + 10).contains(&15)).count();
            (
                name.to_owned(),
                users.len() as u64,
                hits as f64 / 10.0 / users.len() as f64,
                hits as f64 / 2.0 / users.len() as f64,
            )
        };
        let expected = [slow("cold", 0..=0), slow("1-5", 1..=5), slow("more", 21..=39)];
        assert_eq!(found.len(), expected.len());
        for (bucket, (name, users, precision, recall)) in found.iter().zip(expected) {
            assert_eq!((&bucket.name, bucket.figures.users), (&name, users));
            assert!((bucket.figures.precision_10 - precision).abs() < 1e-12, "{bucket:?}");
            assert!((bucket.figures.recall_10 - recall).abs() < 1e-12, "{bucket:?}");
        }
        assert!(found[0].figures.ndcg_10 == 0.0 && found[1].figures.ndcg_10 == 0.0);
    }
}

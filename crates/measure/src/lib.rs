//! Whether it worked: pure functions over numbers. Knows no files, no users, no models.

mod ranking;

pub use ranking::{Judged, RankingMean, RankingSum, judge, ndcg};

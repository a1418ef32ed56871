//! Whether it worked: pure functions over numbers. Knows no files, no users, no models.

mod agreement;
mod calibration;
mod drift;
mod error;
mod quantile;
mod ranking;
mod significance;
mod silhouette;
mod special;

pub use agreement::{SplitHalf, accuracy, adjusted_rand, average_ranks, pearson, spearman, split_half};
pub use calibration::{Bin, auc, brier, calibration_error, reliability};
pub use drift::{PSI_FLOOR, SHIFTED, STABLE, psi, psi_of_numbers};
pub use error::{Error, Result};
pub use quantile::quantile;
pub use ranking::{Judged, RankingMean, RankingSum, judge, ndcg};
pub use significance::{
    Means, Method, Shares, benjamini_hochberg, normal_two_sided, student_two_sided, two_shares, welch,
};
pub use silhouette::{silhouette, silhouette_sampled};

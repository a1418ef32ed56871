//! Recency, frequency and money as scores, as the R package `rfm` (0.3.0) gives them, and segments named by ranges of
//! scores.
//!
//! # The tie rule
//!
//! It moves people between segments, so it is pinned. `rfm_table_order` cuts a number into n bins at its n − 1 inner
//! quantiles **plus 1**; the quantiles are R's default, type 7 (linear between order statistics). A bin holds what is at
//! or above its lower and below its upper cut. So:
//!
//! - equal values always get equal scores;
//! - a value equal to a quantile lies in the lower bin, and so does whatever is less than 1 above it: with whole numbers
//!   the bins are "up to and including the quantile", with money a dollar is added to it;
//! - where two quantiles are equal, the score between them is given to nobody.
//!
//! Cuts that are declared are taken as they are, without the 1, as the package does.
//!
//! Frequency and money score 1 for the lowest bin; recency, in days since the last purchase, scores 1 for the longest ago.

use lookalike_measure::quantile;

use super::error::{Error, Result, setting};

/// Where a number is cut: score 1 lies below the first cut point, and each cut point belongs to the score above it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cuts(Vec<f64>);

impl Cuts {
    /// Cut points as declared, finite and ascending; n of them make n + 1 scores.
    pub fn declared(cuts: &[f64]) -> Result<Self> {
        if let Some(at) = cuts.iter().position(|cut| !cut.is_finite()) {
            return Err(Error::NotFinite { row: at, column: 0, value: cuts[at] });
        }
        if let Some(at) = cuts.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::CutsNotAscending { at: at + 1 });
        }
        Ok(Self(cuts.to_vec()))
    }

    /// The `scores` − 1 inner quantiles of `values` plus 1.
    pub fn of(values: &[f64], scores: u8) -> Result<Self> {
        if scores == 0 {
            return Err(setting("scores", scores, "at least 1"));
        }
        let shares: Vec<f64> = (1..scores).map(|bin| f64::from(bin) / f64::from(scores)).collect();
        let quantiles = quantile(values, &shares)?.ok_or(Error::Nobody)?;
        Ok(Self(quantiles.into_iter().map(|quantile| quantile + 1.0).collect()))
    }

    /// The cut points, ascending; equal ones may follow each other.
    pub fn points(&self) -> &[f64] {
        &self.0
    }

    /// The score of a number of which more is better, from 1 to one more than there are cut points.
    pub fn rising(&self, value: f64) -> u8 {
        let below = self.0.partition_point(|cut| *cut <= value);
        u8::try_from(below + 1).unwrap_or(u8::MAX)
    }

    /// The score of a number of which less is better.
    pub fn falling(&self, value: f64) -> u8 {
        let above = self.0.len() - self.0.partition_point(|cut| *cut <= value);
        u8::try_from(above + 1).unwrap_or(u8::MAX)
    }
}

/// The three scores of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scores {
    /// How lately they bought.
    pub recency: u8,
    /// How often.
    pub frequency: u8,
    /// For how much.
    pub money: u8,
}

/// Cuts of the three numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Of whole days since the last purchase.
    pub days_since: Cuts,
    /// Of purchases.
    pub purchases: Cuts,
    /// Of the money of all of them.
    pub money: Cuts,
}

impl Thresholds {
    /// Cuts at quantiles of the people who are here: one number each a person, in days, purchases and money.
    pub fn of(days_since: &[f64], purchases: &[f64], money: &[f64], scores: u8) -> Result<Self> {
        for other in [purchases, money] {
            if other.len() != days_since.len() {
                let (left, right) = (days_since.len(), other.len());
                return Err(lookalike_measure::Error::Lengths { left, right }.into());
            }
        }
        Ok(Self {
            days_since: Cuts::of(days_since, scores)?,
            purchases: Cuts::of(purchases, scores)?,
            money: Cuts::of(money, scores)?,
        })
    }

    /// The scores of one person.
    pub fn scores(&self, days_since: f64, purchases: f64, money: f64) -> Scores {
        Scores {
            recency: self.days_since.falling(days_since),
            frequency: self.purchases.rising(purchases),
            money: self.money.rising(money),
        }
    }
}

/// A name for ranges of scores, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// What those within are called.
    pub name: String,
    /// Least and most recency.
    pub recency: (u8, u8),
    /// Least and most frequency.
    pub frequency: (u8, u8),
    /// Least and most money.
    pub money: (u8, u8),
}

impl Range {
    fn holds(&self, scores: Scores) -> bool {
        let within = |(least, most): (u8, u8), score: u8| (least..=most).contains(&score);
        within(self.recency, scores.recency)
            && within(self.frequency, scores.frequency)
            && within(self.money, scores.money)
    }
}

/// Position of the first of `ranges` that holds the scores, as `rfm_segment` decides since version 0.2.1; `None`, its
/// "Others", if none does.
pub fn segment(ranges: &[Range], scores: Scores) -> Option<usize> {
    ranges.iter().position(|range| range.holds(scores))
}

/// The ten ranges of the package's documentation (version 0.3.0), in its order.
pub fn usual_ranges() -> Vec<Range> {
    let range = |name: &str, recency, frequency, money| Range { name: name.to_owned(), recency, frequency, money };
    vec![
        range("Champions", (5, 5), (5, 5), (5, 5)),
        range("Potential Loyalist", (3, 5), (3, 5), (2, 5)),
        range("Loyal Customers", (2, 4), (2, 4), (2, 4)),
        range("Promising", (3, 4), (1, 3), (3, 5)),
        range("New Customers", (4, 5), (1, 3), (1, 5)),
        range("Can't Lose Them", (1, 2), (3, 4), (4, 5)),
        range("At Risk", (1, 2), (2, 5), (4, 5)),
        range("Need Attention", (1, 3), (3, 5), (3, 5)),
        range("About To Sleep", (2, 3), (1, 3), (1, 4)),
        range("Lost", (1, 1), (1, 5), (1, 5)),
    ]
}

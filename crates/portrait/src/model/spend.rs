//! What a purchase of a customer is worth: the gamma-gamma model.
//!
//! Purchases of a customer vary around a mean as a gamma distribution (p), and the means differ between customers as an
//! inverse gamma distribution (q, v): Fader and Hardie, *The gamma-gamma model of monetary value* (2013), after Fader,
//! Hardie and Lee, J. Marketing Research 42 (2005). It takes what a purchase is worth not to depend on how often one buys;
//! [`Fitted`] comes with the correlation of the two, so that this can be judged.

use libm::lgamma;
use lookalike_measure::pearson;
use rayon::prelude::*;

use super::error::{Error, Result};
use super::simplex::{TRIES, minimize};
use super::{BOUNDS, CHUNK, Fitted, LEAST};

/// What the repeat purchases of one customer were worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// Purchases after the first, x.
    pub repeats: u32,
    /// Their mean value, m.
    pub mean: f64,
}

/// The gamma-gamma model with its three parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaGamma {
    /// Shape of the purchases of a customer.
    pub p: f64,
    /// Shape of the means of the customers.
    pub q: f64,
    /// Scale of these means, in money.
    pub v: f64,
}

impl GammaGamma {
    /// The parameters of the greatest likelihood over customers with repeat purchases that are worth something (others say
    /// nothing here, and are not counted), and the correlation of x and m among them. The order of the customers is of no account.
    ///
    /// # Errors
    /// A mean that is not a number, fewer than [`LEAST`] such customers, a likelihood without a maximum, and a shape that
    /// runs away: then all purchases of a customer are worth the same, or customers do not differ.
    pub fn fit(customers: &[Spent]) -> Result<(Fitted<GammaGamma>, Option<f64>)> {
        if let Some(at) = customers.iter().position(|spent| spent.repeats > 0 && !spent.mean.is_finite()) {
            return Err(Error::Impossible { at, what: "a mean value that is not a number" });
        }
        let mut sorted: Vec<Spent> =
            customers.iter().copied().filter(|spent| spent.repeats > 0 && spent.mean > 0.0).collect();
        if sorted.len() < LEAST {
            let what = "have repeat purchases that are worth more than 0";
            return Err(Error::TooFew { found: sorted.len(), what, least: LEAST });
        }
        sorted.sort_by(|a, b| a.repeats.cmp(&b.repeats).then(a.mean.total_cmp(&b.mean)));
        let of = |logs: &[f64]| {
            let fits = logs.iter().all(|log| log.abs() <= 25.0);
            fits.then(|| GammaGamma { p: logs[0].exp(), q: logs[1].exp(), v: logs[2].exp() })
        };
        let cost = |logs: &[f64]| of(logs).map_or(f64::INFINITY, |model| -model.likelihood(&sorted));
        // The scale begins where the money is.
        let middle = sorted.iter().map(|spent| spent.mean.ln()).sum::<f64>() / sorted.len() as f64;
        let (at, cost) = minimize(cost, &[0.0, 0.5, middle]).ok_or(Error::NoMaximum { tries: TRIES })?;
        let model = of(&at).ok_or(Error::NoMaximum { tries: TRIES })?;
        for (parameter, value, because) in [
            ("p", model.p, "all purchases of a customer are worth the same"),
            ("q", model.q, "customers do not differ in what they spend at a time"),
        ] {
            if value < BOUNDS.0 || value > BOUNDS.1 {
                return Err(Error::RunsAway { parameter, value, because });
            }
        }
        let counts: Vec<f64> = sorted.iter().map(|spent| f64::from(spent.repeats)).collect();
        let means: Vec<f64> = sorted.iter().map(|spent| spent.mean).collect();
        let fitted = Fitted { model, log_likelihood: -cost, customers: sorted.len() };
        Ok((fitted, pearson(&counts, &means).ok().flatten()))
    }

    /// Logarithm of the likelihood, by equation 1a of the note; customers are sorted by their number of repeats.
    fn likelihood(&self, customers: &[Spent]) -> f64 {
        let GammaGamma { p, q, v } = *self;
        let all = q * v.ln() - lgamma(q);
        let chunk = |customers: &[Spent]| {
            let (mut sum, mut known) = (0.0, (u32::MAX, 0.0));
            for spent in customers {
                let x = f64::from(spent.repeats);
                if known.0 != spent.repeats {
                    known = (spent.repeats, all + lgamma(p * x + q) - lgamma(p * x) + p * x * x.ln());
                }
                sum += known.1 + (p * x - 1.0) * spent.mean.ln() - (p * x + q) * (x * spent.mean + v).ln();
            }
            sum
        };
        let sums: Vec<f64> = customers.par_chunks(CHUNK).map(chunk).collect();
        sums.iter().sum()
    }

    /// What the next purchase of the customer is to be expected to be worth (equation 5 of the note): between what all
    /// customers spend and what this one did, the nearer to the latter the more often they bought. `None` where the mean
    /// of all is infinite and too little is known of the customer.
    pub fn expected(&self, spent: &Spent) -> Option<f64> {
        let GammaGamma { p, q, v } = *self;
        let x = if spent.mean > 0.0 { f64::from(spent.repeats) } else { 0.0 };
        let total = if x > 0.0 { x * spent.mean } else { 0.0 };
        (p * x + q > 1.0).then(|| p * (v + total) / (p * x + q - 1.0))
    }
}

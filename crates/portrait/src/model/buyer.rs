//! How often customers come back, and whether they still will.
//!
//! - BG/NBD: while a customer is there, purchases come at a rate λ that differs between customers as a gamma
//!   distribution (r, α), and after each the customer leaves for good with a chance p that differs as a beta distribution
//!   (a, b): Fader, Hardie and Lee, *"Counting your customers" the easy way*, Marketing Science 24 (2005).
//! - NBD: the same where nobody leaves: Ehrenberg, *The pattern of consumer purchases*, Applied Statistics 8 (1959).
//!
//! Time is in weeks, as in the papers. A purchase is a day on which something was bought.

use libm::lgamma;
use rayon::prelude::*;

use super::error::{Error, Result};
use super::simplex::{TRIES, minimize};
use super::special::{hypergeometric, ln_beta};
use super::{BOUNDS, CHUNK, Fitted, LEAST};

/// What one customer did since the first purchase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History {
    /// Purchases after the first, x.
    pub repeats: u32,
    /// Weeks from the first purchase to the last, tₓ; 0 without repeats.
    pub last: f64,
    /// Weeks from the first purchase to the end of what is known, T.
    pub age: f64,
}

/// BG/NBD with its four parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgNbd {
    /// Shape of the rates.
    pub r: f64,
    /// Scale of the rates, in weeks.
    pub alpha: f64,
    /// Shape of the chance to leave.
    pub a: f64,
    /// Shape of the chance to stay.
    pub b: f64,
}

/// NBD with its two parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nbd {
    /// Shape of the rates.
    pub r: f64,
    /// Scale of the rates, in weeks.
    pub alpha: f64,
}

/// Customers with equal histories, counted, in an order that does not depend on theirs.
struct Counted(Vec<(History, f64)>);

impl Counted {
    fn of(histories: &[History]) -> Result<Counted> {
        for (at, history) in histories.iter().enumerate() {
            let History { repeats, last, age } = *history;
            let wrong = match () {
                () if !last.is_finite() || !age.is_finite() => "a time that is not a number",
                () if last < 0.0 || age < 0.0 => "a time before the first purchase",
                () if last > age => "a purchase after the end of what is known",
                () if repeats == 0 && last > 0.0 => "a last purchase that is not the first, and no second",
                () => continue,
            };
            return Err(Error::Impossible { at, what: wrong });
        }
        let found = histories.iter().filter(|history| history.repeats > 0).count();
        if found < LEAST {
            return Err(Error::TooFew { found, what: "bought on a second day", least: LEAST });
        }
        let mut sorted = histories.to_vec();
        sorted.sort_by(|a, b| a.repeats.cmp(&b.repeats).then(a.last.total_cmp(&b.last)).then(a.age.total_cmp(&b.age)));
        let mut counted: Vec<(History, f64)> = Vec::new();
        for history in sorted {
            match counted.last_mut() {
                Some((own, count)) if *own == history => *count += 1.0,
                _ => counted.push((history, 1.0)),
            }
        }
        Ok(Counted(counted))
    }

    /// The sum over all customers of `head`, which depends on the number of repeats alone, and `tail`.
    fn sum(&self, head: impl Fn(f64) -> f64 + Sync, tail: impl Fn(&History) -> f64 + Sync) -> f64 {
        let chunk = |customers: &[(History, f64)]| {
            let (mut sum, mut known) = (0.0, (u32::MAX, 0.0));
            for (history, count) in customers {
                if known.0 != history.repeats {
                    known = (history.repeats, head(f64::from(history.repeats)));
                }
                sum += count * (known.1 + tail(history));
            }
            sum
        };
        let sums: Vec<f64> = self.0.par_chunks(CHUNK).map(chunk).collect();
        sums.iter().sum()
    }
}

/// ln(eᵃ + eᵇ).
fn ln_add(a: f64, b: f64) -> f64 {
    let most = a.max(b);
    if most == f64::NEG_INFINITY { most } else { most + (-(a - b).abs()).exp().ln_1p() }
}

/// Exponentials of logarithms, none so great or small that sums lose all digits.
fn parameters(logs: &[f64]) -> Option<Vec<f64>> {
    logs.iter().all(|log| log.abs() <= 14.0).then(|| logs.iter().map(|log| log.exp()).collect())
}

fn settled(parameters: &[(&'static str, f64, &'static str)]) -> Result<()> {
    match parameters.iter().find(|(_, value, _)| *value < BOUNDS.0 || *value > BOUNDS.1) {
        Some((parameter, value, because)) => Err(Error::RunsAway { parameter, value: *value, because }),
        None => Ok(()),
    }
}

const SAME_RATE: &str = "customers do not differ in how often they buy";
const NO_LEAVING: &str = "what customers did does not show who has left";

impl BgNbd {
    /// The parameters of the greatest likelihood. The result does not depend on the order of the customers.
    ///
    /// # Errors
    /// A history that cannot be, fewer than [`LEAST`] customers with a second purchase, a likelihood without a
    /// maximum, and a parameter of shape that runs away: then customers do not differ, or what they did does not show it.
    pub fn fit(histories: &[History]) -> Result<Fitted<BgNbd>> {
        let customers = Counted::of(histories)?;
        let of = |logs: &[f64]| parameters(logs).map(|p| BgNbd { r: p[0], alpha: p[1], a: p[2], b: p[3] });
        let cost = |logs: &[f64]| of(logs).map_or(f64::INFINITY, |model| -model.likelihood(&customers));
        let start = [1.0_f64, 3.0, 1.0, 3.0].map(f64::ln);
        let (at, cost) = minimize(cost, &start).ok_or(Error::NoMaximum { tries: TRIES })?;
        let model = of(&at).ok_or(Error::NoMaximum { tries: TRIES })?;
        settled(&[("r", model.r, SAME_RATE), ("a", model.a, NO_LEAVING), ("b", model.b, NO_LEAVING)])?;
        Ok(Fitted { model, log_likelihood: -cost, customers: histories.len() })
    }

    /// Logarithm of the likelihood, by equation 6 of the paper.
    ///
    /// # Errors
    /// A history that cannot be, and fewer than [`LEAST`] customers with a second purchase.
    pub fn log_likelihood(&self, histories: &[History]) -> Result<f64> {
        Ok(self.likelihood(&Counted::of(histories)?))
    }

    fn likelihood(&self, customers: &Counted) -> f64 {
        let BgNbd { r, alpha, a, b } = *self;
        let all = r * alpha.ln() - lgamma(r) - ln_beta(a, b);
        let head = |x: f64| all + lgamma(r + x) + ln_beta(a, b + x);
        let tail = |history: &History| {
            let x = f64::from(history.repeats);
            let alive = -(r + x) * (alpha + history.age).ln();
            match history.repeats {
                0 => alive,
                _ => ln_add(alive, a.ln() - (b + x - 1.0).ln() - (r + x) * (alpha + history.last).ln()),
            }
        };
        customers.sum(head, tail)
    }

    /// The chance that the customer has not left: 1 for one who never came back, since nobody leaves before a purchase.
    pub fn alive(&self, history: &History) -> f64 {
        let BgNbd { r, alpha, a, b } = *self;
        let x = f64::from(history.repeats);
        match history.repeats {
            0 => 1.0,
            _ => 1.0 / (1.0 + a / (b + x - 1.0) * ((alpha + history.age) / (alpha + history.last)).powf(r + x)),
        }
    }

    /// Purchases that are to be expected of the customer in the `weeks` that follow: equation 10 of the paper.
    pub fn expected(&self, history: &History, weeks: f64) -> f64 {
        self.alive(history) * self.while_there(f64::from(history.repeats), history.age, weeks)
    }

    /// Purchases after the first that are to be expected of a new customer in the first `weeks`: equation 9 of the paper.
    pub fn expected_of_new(&self, weeks: f64) -> f64 {
        self.while_there(0.0, 0.0, weeks)
    }

    /// Purchases in the `weeks` after `age` of a customer who is there at the beginning.
    ///
    /// The papers' ₂F₁(r + x, b + x; a + b + x − 1; z) times (1 − z)^(r + x) is, by Euler's transformation (Abramowitz and
    /// Stegun 15.3.3), (1 − z)^(a − 1) · ₂F₁(a + b − 1 − r, a − 1; a + b + x − 1; z), which neither overflows nor cancels.
    fn while_there(&self, x: f64, age: f64, weeks: f64) -> f64 {
        let BgNbd { r, alpha, a, b } = *self;
        if weeks <= 0.0 {
            return 0.0;
        }
        let of = |a: f64| {
            let (rest, z) = ((alpha + age) / (alpha + age + weeks), weeks / (alpha + age + weeks));
            let c = a + b + x - 1.0;
            c / (a - 1.0) * (1.0 - rest.powf(a - 1.0) * hypergeometric(a + b - 1.0 - r, a - 1.0, c, z))
        };
        // At a = 1, and where a + b + x = 1, the formula is 0 / 0 and its limit the mean of what is beside it.
        const BESIDE: f64 = 1e-4;
        match (a - 1.0).abs() < BESIDE || (a + b + x - 1.0).abs() < BESIDE {
            true => (of(a + 2.0 * BESIDE) + of(a - 2.0 * BESIDE)) / 2.0,
            false => of(a),
        }
    }
}

impl Nbd {
    /// The parameters of the greatest likelihood. The result does not depend on the order of the customers.
    ///
    /// # Errors
    /// A history that cannot be, fewer than [`LEAST`] customers with a second purchase, a likelihood without a
    /// maximum, and a shape that runs away: then customers do not differ in their rates.
    pub fn fit(histories: &[History]) -> Result<Fitted<Nbd>> {
        let customers = Counted::of(histories)?;
        let of = |logs: &[f64]| parameters(logs).map(|p| Nbd { r: p[0], alpha: p[1] });
        let cost = |logs: &[f64]| of(logs).map_or(f64::INFINITY, |model| -model.likelihood(&customers));
        let (at, cost) = minimize(cost, &[0.0, 3.0]).ok_or(Error::NoMaximum { tries: TRIES })?;
        let model = of(&at).ok_or(Error::NoMaximum { tries: TRIES })?;
        settled(&[("r", model.r, SAME_RATE)])?;
        Ok(Fitted { model, log_likelihood: -cost, customers: histories.len() })
    }

    /// Without what does not depend on the parameters.
    fn likelihood(&self, customers: &Counted) -> f64 {
        let Nbd { r, alpha } = *self;
        let all = r * alpha.ln() - lgamma(r);
        let tail = |history: &History| -(r + f64::from(history.repeats)) * (alpha + history.age).ln();
        customers.sum(|x| all + lgamma(r + x), tail)
    }

    /// Purchases that are to be expected of the customer in the `weeks` that follow.
    pub fn expected(&self, history: &History, weeks: f64) -> f64 {
        (self.r + f64::from(history.repeats)) / (self.alpha + history.age) * weeks
    }

    /// The chance that a new customer buys nothing more in the first `weeks`.
    pub fn nothing_of_new(&self, weeks: f64) -> f64 {
        (self.alpha / (self.alpha + weeks)).powf(self.r)
    }
}

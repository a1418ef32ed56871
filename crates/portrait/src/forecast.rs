//! Tags of kind `model`: what is to be expected of a user, by a model that is fitted on the events of all users up to the
//! day. How the models work is in [`crate::model`].

use std::collections::{BTreeMap, HashMap};

use lookalike_store::settings::Section;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::column::{Column, Values};
use crate::error::{Error, Result};
use crate::model;
use crate::model::buyer::{BgNbd, History, Nbd};
use crate::model::repurchase::Trial;
use crate::model::spend::{GammaGamma, Spent};
use crate::tag::{Body, Measure, Over, Tag, days, optional_text};

/// Which model, and what of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "model", rename_all = "kebab-case")]
pub enum Forecast {
    /// How often users come back, where some have left for good.
    BgNbd {
        /// What is said of a user.
        value: Expect,
        /// Days that are looked ahead, for purchases.
        horizon: Option<u32>,
    },
    /// How often users come back, where nobody leaves: days with purchases that are to be expected.
    Nbd {
        /// Days that are looked ahead.
        horizon: u32,
    },
    /// What the next purchase is to be expected to be worth.
    GammaGamma {
        /// The expression that says what an event is worth.
        weight: String,
    },
    /// What is bought again next: values of an expression with the days until then, the soonest first.
    Repurchase {
        /// The expression whose values come again.
        by: String,
        /// On how many days a user must have had a value.
        least: u32,
        /// How many values at most.
        top: usize,
        /// The days, ahead or overdue, within which a value is named.
        horizon: u32,
    },
}

/// What BG/NBD says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// The chance that the user has not left, 0 to 1.
    Alive,
    /// Days with purchases.
    Purchases,
}

/// What the model behind a tag came to when it was fitted; a part of a profile's lineage.
///
/// Numbers have nine digits, so that reading and writing them changes none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Its parameters; times are in weeks, money in units of the shop.
    pub parameters: BTreeMap<String, f64>,
    /// Logarithm of the likelihood, of models that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_likelihood: Option<f64>,
    /// Users that it was fitted on; of `repurchase` pairs of a user and a value.
    pub fitted_on: u64,
    /// Other figures: mean errors in days, or how much an assumption is off.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

fn nine_digits(number: f64) -> f64 {
    format!("{number:.8e}").parse().unwrap_or(number)
}

fn named(numbers: &[(&str, f64)]) -> BTreeMap<String, f64> {
    numbers.iter().map(|(name, number)| ((*name).to_owned(), nine_digits(*number))).collect()
}

impl Fit {
    fn of<M>(fitted: &model::Fitted<M>, parameters: &[(&str, f64)], figures: &[(&str, f64)]) -> Fit {
        Fit {
            parameters: named(parameters),
            log_likelihood: Some(nine_digits(fitted.log_likelihood)),
            fitted_on: fitted.customers as u64,
            figures: named(figures),
        }
    }

    /// How far the last purchases were from what could have been said before; `None` where none could be tried.
    pub(crate) fn of_trial(trial: &Trial) -> Option<Fit> {
        let mean = |sum: f64| sum / trial.pairs as f64;
        let Trial { pairs, own, category, blend, all } = *trial;
        let figures = [
            ("mean_error_own", mean(own)),
            ("mean_error_category", mean(category)),
            ("mean_error_blend", mean(blend)),
            ("mean_error_all", mean(all)),
        ];
        (pairs > 0).then(|| Fit { fitted_on: pairs, figures: named(&figures), ..Fit::default() })
    }
}

/// Reads what a section of kind `model` has of its own.
pub(crate) fn read(typed: &mut Section<'_>) -> Result<Body> {
    const MODELS: [&str; 4] = ["bg-nbd", "nbd", "gamma-gamma", "repurchase"];
    let entry = typed.require("model")?;
    let model = match entry.text()?.as_str() {
        "bg-nbd" => {
            let value = typed.require("value")?;
            match value.text()?.as_str() {
                "alive" => Forecast::BgNbd { value: Expect::Alive, horizon: None },
                "purchases" => {
                    Forecast::BgNbd { value: Expect::Purchases, horizon: Some(days(&typed.require("horizon")?)?) }
                }
                other => return Err(value.unknown("value", other, &["alive", "purchases"]).into()),
            }
        }
        "nbd" => Forecast::Nbd { horizon: days(&typed.require("horizon")?)? },
        "gamma-gamma" => Forecast::GammaGamma { weight: typed.require("weight")?.text()? },
        "repurchase" => Forecast::Repurchase {
            by: typed.require("by")?.text()?,
            least: typed.take("least").map(|entry| entry.whole(2)).transpose()?.unwrap_or(5),
            top: typed.take("top").map(|entry| entry.whole(1)).transpose()?.unwrap_or(3) as usize,
            horizon: days(&typed.require("horizon")?)?,
        },
        other => return Err(entry.unknown("model", other, &MODELS).into()),
    };
    // There is no window: a model of how long users stay needs their first purchase.
    let events = typed.take("events").map(|entry| entry.texts()).transpose()?.unwrap_or_default();
    let condition = optional_text(typed.take("where"))?;
    Ok(Body::Model { model, over: Over { events, condition, window: None } })
}

impl Tag {
    /// What its model is fitted on, as tags of their own; none if it is no such tag. Tags that need the same have it by
    /// the same name.
    pub(crate) fn ingredients(&self) -> Vec<Tag> {
        let Body::Model { model, over } = &self.body else { return Vec::new() };
        let days = Measure::Distinct("day".to_owned());
        let measures = match model {
            Forecast::BgNbd { .. } | Forecast::Nbd { .. } => vec![Measure::Age, Measure::Recency, days],
            Forecast::GammaGamma { weight } => {
                vec![days, Measure::Sum(weight.clone()), Measure::Opening(weight.clone())]
            }
            Forecast::Repurchase { .. } => Vec::new(),
        };
        let ingredient = |of: Measure| {
            let body = Body::Metric { of, over: over.clone() };
            // No name of a tag has a line's end in it.
            let name = format!("{}\n{}", self.purpose, serde_json::to_string(&body).unwrap_or_default());
            Tag { name, body, ..self.clone() }
        };
        measures.into_iter().map(ingredient).collect()
    }
}

/// Models that were fitted for a profile, so that tags which need the same one share it.
#[derive(Default)]
pub(crate) struct Models {
    bg_nbd: HashMap<String, model::Result<model::Fitted<BgNbd>>>,
}

impl Models {
    /// What the model of a tag says of each user, and how it was fitted. `columns` has the ingredients.
    pub(crate) fn say(
        &mut self,
        tag: &Tag,
        forecast: &Forecast,
        columns: &HashMap<String, Column>,
    ) -> Result<(Column, Fit)> {
        let ingredients = tag.ingredients();
        let key: String = ingredients.iter().map(|ingredient| ingredient.name.as_str()).collect();
        let numbers = |place: usize| match ingredients.get(place).and_then(|tag| columns.get(&tag.name)) {
            Some(Column { values: Values::Number(numbers), .. }) => numbers.as_slice(),
            _ => &[],
        };
        let failed = |error: model::Error| {
            let hint = match &error {
                model::Error::RunsAway { parameter: "a" | "b", .. } => {
                    Some("`model = \"nbd\"` foretells purchases where nobody leaves".to_owned())
                }
                model::Error::TooFew { .. } => Some("take a later day, or more events".to_owned()),
                _ => None,
            };
            tag.error(format!("the model cannot be fitted: {error}"), hint)
        };
        let weeks = |days: u32| f64::from(days) / 7.0;
        let (expected, bought, fit): (Vec<Option<f64>>, &[f64], Fit) = match forecast {
            Forecast::BgNbd { value, horizon } => {
                let histories = histories(numbers(0), numbers(1), numbers(2));
                let known: Vec<History> = histories.iter().flatten().copied().collect();
                let fitted = self.bg_nbd.entry(key).or_insert_with(|| BgNbd::fit(&known));
                let fitted = fitted.as_ref().map_err(|error| failed(error.clone()))?;
                let model = fitted.model;
                let say = |history: &History| match value {
                    Expect::Alive => model.alive(history),
                    Expect::Purchases => model.expected(history, weeks(horizon.unwrap_or_default())),
                };
                let parameters = [("r", model.r), ("alpha", model.alpha), ("a", model.a), ("b", model.b)];
                (each(&histories, say), numbers(2), Fit::of(fitted, &parameters, &[]))
            }
            Forecast::Nbd { horizon } => {
                let histories = histories(numbers(0), numbers(1), numbers(2));
                let known: Vec<History> = histories.iter().flatten().copied().collect();
                let fitted = Nbd::fit(&known).map_err(failed)?;
                let model = fitted.model;
                let say = |history: &History| model.expected(history, weeks(*horizon));
                let parameters = [("r", model.r), ("alpha", model.alpha)];
                (each(&histories, say), numbers(2), Fit::of(&fitted, &parameters, &[]))
            }
            Forecast::GammaGamma { .. } => {
                let spent = spent(numbers(0), numbers(1), numbers(2));
                let known: Vec<Spent> = spent.iter().flatten().copied().collect();
                let (fitted, correlation) = GammaGamma::fit(&known).map_err(failed)?;
                let model = fitted.model;
                let expected = spent.iter().map(|spent| model.expected(spent.as_ref()?)).collect();
                let aside = known.iter().filter(|spent| spent.repeats > 0 && spent.mean <= 0.0).count();
                let mut figures = vec![("worth_nothing", aside as f64)];
                figures.extend(correlation.map(|correlation| ("correlation_of_count_and_value", correlation)));
                let parameters = [("p", model.p), ("q", model.q), ("v", model.v)];
                (expected, numbers(0), Fit::of(&fitted, &parameters, &figures))
            }
            Forecast::Repurchase { .. } => (Vec::new(), &[], Fit::default()),
        };
        let expected: Vec<f64> = expected.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect();
        let evidence = expected.iter().zip(bought).map(|(value, days)| if value.is_nan() { 0 } else { *days as u32 });
        Ok((Column { evidence: evidence.collect(), values: Values::Number(expected) }, fit))
    }
}

fn each(histories: &[Option<History>], say: impl Fn(&History) -> f64 + Sync) -> Vec<Option<f64>> {
    let finite = |history: &Option<History>| history.as_ref().map(&say).filter(|value| value.is_finite());
    histories.par_iter().map(finite).collect()
}

/// Histories from days since the first and the last purchase and the number of days with one; `None` without any.
fn histories(ages: &[f64], recencies: &[f64], days: &[f64]) -> Vec<Option<History>> {
    let history = |((age, recency), days): ((&f64, &f64), &f64)| {
        let whole = !age.is_nan() && !recency.is_nan() && *days >= 1.0;
        // The day that is looked from is not seen any more: what is known ends on the day before.
        whole.then(|| History {
            repeats: *days as u32 - 1,
            last: (age - recency) / 7.0,
            age: (age - 1.0).max(age - recency) / 7.0,
        })
    };
    ages.iter().zip(recencies).zip(days).map(history).collect()
}

/// What repeat purchases were worth, from the number of days, the sum and that of the first day; `None` without any.
fn spent(days: &[f64], sums: &[f64], first: &[f64]) -> Vec<Option<Spent>> {
    let spent = |((days, sum), first): ((&f64, &f64), &f64)| {
        let whole = !sum.is_nan() && !first.is_nan() && *days >= 1.0;
        whole.then(|| match *days as u32 - 1 {
            0 => Spent { repeats: 0, mean: 0.0 },
            repeats => Spent { repeats, mean: (sum - first) / f64::from(repeats) },
        })
    };
    days.iter().zip(sums).zip(first).map(spent).collect()
}

/// Where the shipped catalogue's model does not fit a shop, that is no error of the shop's.
pub(crate) fn reason(error: &Error) -> Option<String> {
    match error {
        Error::Tag { message, .. } => Some(message.clone()),
        _ => None,
    }
}

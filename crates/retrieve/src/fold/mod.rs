//! Fold-in: the vector of a user or an item who was not in training, from what is known of them now, while everything
//! that was trained stays as it is.
//!
//! A model is folded into by its own objective. Implicit ALS has one exact solution per row ([`ridge`]); models whose
//! vectors have length 1 and whose scores are cosines are maximised over the unit sphere ([`sphere`]); of towers that add to
//! implicit ALS, the part of that is solved for ([`beside`]). What kind a
//! bundle is and which knobs it was trained with is in its manifest.

mod beside;
mod ridge;
mod sphere;

use std::borrow::Cow;
use std::marker::PhantomData;

use lookalike_bundle::{Bundle, ItemRow, Learned, Matrix, Row, UserRow};
use serde::Deserialize;

use crate::error::RetrieveError;
use beside::Beside;
use ridge::Ridge;
use sphere::Sphere;

/// What a preset in a manifest says that matters here.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Trained {
    Ials {
        alpha0: f64,
        reg: f64,
        nu: f64,
        confidence: Confidence,
    },
    #[serde(alias = "softmax-mf")]
    TwoTower {
        tau: f32,
        /// Of softmax matrix factorization alone.
        #[serde(default = "one")]
        negative_weight: f32,
        /// Of two towers alone: whether items have length 1, as [`sphere`] takes them to have.
        #[serde(default = "yes")]
        cosine: bool,
        /// Of two towers alone: the factorization that they add to.
        #[serde(default)]
        base: Option<Base>,
    },
    #[serde(other)]
    Other,
}

/// A factorization that towers add to.
#[derive(Deserialize)]
struct Base {
    dim: usize,
    #[serde(flatten)]
    trained: Box<Trained>,
}

fn one() -> f32 {
    1.0
}

fn yes() -> bool {
    true
}

/// How the summed weight n of a pair's events becomes its weight in the loss.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Confidence {
    One,
    Log,
    Linear,
}

impl Confidence {
    fn weigh(self, n: f32) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Log => (1.0 + f64::from(n)).log2(),
            Self::Linear => f64::from(n),
        }
    }
}

enum Rule<'a> {
    Ridge(Ridge<'a>, Confidence),
    Beside(Beside<'a>, Confidence),
    Sphere(Sphere<'a>),
    /// The model scores a history as it is: vectors are empty.
    History,
}

/// Makes vectors of one side from rows `R` of the other.
pub struct Folding<'a, R: Row> {
    rule: Rule<'a>,
    row: PhantomData<R>,
}

impl<'a> Folding<'a, ItemRow> {
    /// Users, from the items they had.
    pub fn of_users(bundle: &'a Bundle) -> Result<Self, RetrieveError> {
        match &bundle.learned {
            Learned::Embeddings { users, items } => match beside(bundle, users, items) {
                Some(rule) => Ok(Self { rule, row: PhantomData }),
                None => Self::new(bundle, items, items.rows()),
            },
            Learned::ItemWeights(_) => Ok(Self { rule: Rule::History, row: PhantomData }),
        }
    }
}

/// The rule of towers that add to implicit ALS; none for other models.
fn beside<'a>(bundle: &Bundle, users: &Matrix, items: &Matrix) -> Option<Rule<'a>> {
    let Ok(Trained::TwoTower { base: Some(base), .. }) = Trained::deserialize(&bundle.manifest.preset) else {
        return None;
    };
    let Trained::Ials { alpha0, reg, nu, confidence } = *base.trained else { return None };
    let met = |user: UserRow| !bundle.history.items(user).is_empty();
    let beside = Beside::new([users, items], base.dim, met, (alpha0, reg, nu))?;
    Some(Rule::Beside(beside, confidence))
}

impl<'a> Folding<'a, UserRow> {
    /// Items, from the users who had them.
    pub fn of_items(bundle: &'a Bundle) -> Result<Self, RetrieveError> {
        match &bundle.learned {
            Learned::Embeddings { users, .. } => Self::new(bundle, users, bundle.history.users_in_use()),
            Learned::ItemWeights(_) => Err(RetrieveError::NoFolding { model: bundle.manifest.model.clone() }),
        }
    }
}

impl<'a, R: Row> Folding<'a, R> {
    /// Looks at the whole of `table` once: O(rows · dim²) for implicit ALS.
    fn new(bundle: &Bundle, table: &'a Matrix, rows: usize) -> Result<Self, RetrieveError> {
        let manifest = &bundle.manifest;
        let rule = match Trained::deserialize(&manifest.preset) {
            Ok(Trained::Ials { alpha0, reg, nu, confidence }) => {
                Rule::Ridge(Ridge::new(Cow::Borrowed(table), rows, (alpha0, reg, nu)), confidence)
            }
            Ok(Trained::TwoTower { tau, negative_weight, cosine: true, base: None }) => {
                Rule::Sphere(Sphere::new(table, tau, negative_weight, manifest.seed))
            }
            Ok(Trained::Other | Trained::TwoTower { .. }) | Err(_) => {
                return Err(RetrieveError::NoFolding { model: manifest.model.clone() });
            }
        };
        Ok(Self { rule, row: PhantomData })
    }

    /// The vector of one user or item. `rows` (ascending, each once) are what they are known by and must belong to the
    /// table; `weights` beside it are the summed weights of the events, as in a bundle's history. Two-tower models were
    /// trained on pairs that count once each, so there weights do not matter.
    ///
    /// # Errors
    /// Nothing is known, or the equations cannot be solved (weights beyond what numbers hold).
    pub fn vector(&self, rows: &[R], weights: &[f32]) -> Result<Vec<f32>, RetrieveError> {
        if rows.is_empty() {
            return Err(RetrieveError::NothingKnown { noun: R::NOUN });
        }
        let made = match &self.rule {
            Rule::Ridge(ridge, confidence) => {
                ridge.solve(rows.iter().zip(weights).map(|(row, &n)| (row.index(), confidence.weigh(n))))
            }
            Rule::Beside(beside, confidence) => {
                beside.solve(rows.iter().zip(weights).map(|(row, &n)| (row.index(), confidence.weigh(n))))
            }
            Rule::History => Some(Vec::new()),
            Rule::Sphere(sphere) => sphere.ascend(&rows.iter().map(|row| row.index()).collect::<Vec<_>>()),
        };
        made.filter(|vector| vector.iter().all(|number| number.is_finite()))
            .ok_or(RetrieveError::NoSolution { noun: R::NOUN })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn bundle(preset: serde_json::Value) -> Bundle {
        let mut bundle = testing::bundle(5, 9);
        bundle.manifest.preset = preset;
        bundle
    }

    fn ials(confidence: &str) -> serde_json::Value {
        json!({ "kind": "ials", "name": "mine", "dim": 5, "alpha0": 0.1, "reg": 0.1, "nu": 1.0, "confidence": confidence })
    }

    #[test]
    fn implicit_als_weighs_events_as_its_preset_says() {
        let vector = |confidence, weights: [f32; 2]| {
            let bundle = bundle(ials(confidence));
            let folding = Folding::of_users(&bundle).unwrap();
            folding.vector(&[ItemRow::new(1), ItemRow::new(4)], &weights).unwrap()
        };
        assert_eq!(vector("one", [1.0, 7.0]), vector("linear", [1.0, 1.0]));
        assert_eq!(vector("log", [1.0, 7.0]), vector("linear", [1.0, 3.0]));
        assert_ne!(vector("one", [1.0, 7.0]), vector("linear", [1.0, 7.0]));
    }

    #[test]
    fn cosine_models_get_a_vector_of_length_one_for_either_side() {
        for kind in ["two-tower", "softmax-mf"] {
            let bundle = bundle(json!({ "kind": kind, "tau": 0.1 }));
            let user = Folding::of_users(&bundle).unwrap().vector(&[ItemRow::new(2)], &[1.0]).unwrap();
            let item = Folding::of_items(&bundle).unwrap().vector(&[UserRow::new(4)], &[9.0]).unwrap();
            for vector in [user, item] {
                assert!((vector.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn what_cannot_be_folded_in() {
        let free = json!({ "kind": "two-tower", "tau": 0.1, "cosine": false });
        for preset in [json!(null), json!({ "kind": "ease", "reg": 80.0 }), json!({ "kind": "ials" }), free] {
            let error = Folding::of_users(&bundle(preset)).err().unwrap();
            assert!(error.to_string().contains("`ials`") && error.hint().is_some());
        }
        let bundle = bundle(ials("linear"));
        let folding = Folding::of_users(&bundle).unwrap();
        assert!(matches!(folding.vector(&[], &[]), Err(RetrieveError::NothingKnown { noun: "item" })));
        let endless = folding.vector(&[ItemRow::new(0)], &[f32::INFINITY]);
        assert!(matches!(endless, Err(RetrieveError::NoSolution { noun: "item" })));
    }
}

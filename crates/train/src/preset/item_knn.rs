//! Knobs of item-kNN.

use serde::{Deserialize, Serialize};

use super::{Check, Dice, PresetError};

/// Knobs of the model by nearest items; see [`crate::ItemKnn`] for what it computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knn {
    /// Neighbours that an item keeps, and those as near as the last of them.
    pub neighbours: usize,
}

impl Knn {
    pub(super) const KEYS: &[&str] = &["neighbours"];

    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        Self { neighbours: dice.log(5.0, 500.0) as usize }
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        check.that(self.neighbours >= 1, "neighbours", self.neighbours, "at least 1")
    }
}

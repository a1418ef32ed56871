//! Knobs of the two-tower model.

use serde::{Deserialize, Serialize};

use super::{Check, Dice, PresetError};

/// Knobs of the two-tower model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoTower {
    /// Widths of the hidden layers of each tower.
    pub towers: Vec<usize>,
    /// Attribute fields to use; `*` stands for all of them.
    pub features: Vec<String>,
    /// Pairs per step.
    pub batch: usize,
    /// Step size of the embedding tables (row-wise Adagrad).
    pub lr: f32,
    /// Step size of the tower weights (Adam).
    pub tower_lr: f32,
    /// Temperature: cosine scores are divided by it.
    pub tau: f32,
    /// Whether scores are corrected for how often an item is drawn as a negative.
    pub logq: bool,
}

impl TwoTower {
    pub(super) const KEYS: &[&str] = &["towers", "features", "batch", "lr", "tower_lr", "tau", "logq"];

    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        let (tau, lr, tower_lr) = (dice.log(0.05, 0.3), dice.log(0.01, 0.2), dice.log(0.0002, 0.005));
        Self { tau, lr, tower_lr, ..self.clone() }
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        let widths = self.towers.iter().all(|width| (1..=4096).contains(width));
        check.that(widths, "towers", format!("{:?}", self.towers), "a list of widths from 1 to 4096")?;
        check.that((2..=65_536).contains(&self.batch), "batch", self.batch, "from 2 to 65536")?;
        check.positive("lr", self.lr)?;
        check.positive("tower_lr", self.tower_lr)?;
        check.positive("tau", self.tau)
    }
}

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
    /// Tags of users to use, as of the day on which what is learned from ends: names, folders that end in `/`, or `*` for
    /// all; a sensitive tag enters by its own name alone.
    pub tags: Vec<String>,
    /// The most items of a user's history that enter a step, drawn anew each time; 0 for none.
    pub history: usize,
    /// After so many days an item of the history counts half; 0 if all count the same.
    pub half_life: f32,
    /// Whether it enters how many users an item had, in all and of late.
    pub trend: bool,
    /// The chance that the id of a user or an item is left out of a step, so that the rest learns to do without.
    pub id_dropout: f32,
    /// Whether items are compared by direction alone; else an item's vector may be as long as it is popular.
    pub cosine: bool,
    /// Pairs per step.
    pub batch: usize,
    /// Items drawn evenly for each step, as negatives beside those of its pairs.
    pub negatives: usize,
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
    pub(super) const KEYS: &[&str] = &[
        "towers",
        "features",
        "tags",
        "history",
        "half_life",
        "trend",
        "id_dropout",
        "cosine",
        "batch",
        "negatives",
        "lr",
        "tower_lr",
        "tau",
        "logq",
    ];

    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        let (tau, lr, tower_lr) = (dice.log(0.05, 0.3), dice.log(0.01, 0.2), dice.log(0.0002, 0.005));
        Self { tau, lr, tower_lr, ..self.clone() }
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        let widths = self.towers.iter().all(|width| (1..=4096).contains(width));
        check.that(widths, "towers", format!("{:?}", self.towers), "a list of widths from 1 to 4096")?;
        check.that((2..=65_536).contains(&self.batch), "batch", self.batch, "from 2 to 65536")?;
        check.that(self.history <= 65_536, "history", self.history, "at most 65536")?;
        let days = self.half_life.is_finite() && self.half_life >= 0.0;
        check.that(days, "half_life", self.half_life, "a number of days, or 0")?;
        check.that((0.0..1.0).contains(&self.id_dropout), "id_dropout", self.id_dropout, "at least 0 and below 1")?;
        check.that(self.negatives <= 1 << 24, "negatives", self.negatives, "at most 16777216")?;
        check.positive("lr", self.lr)?;
        check.positive("tower_lr", self.tower_lr)?;
        check.positive("tau", self.tau)
    }
}

//! Knobs of EASE.

use serde::{Deserialize, Serialize};

use super::{Check, Dice, PresetError};

/// Knobs of EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ease {
    /// Strength λ of the regularisation.
    pub reg: f32,
    /// Items that may have a say in an item's score, its nearest ones; 0 stands for all: the dense solution, which holds
    /// half the item × item matrix in memory.
    #[serde(default)]
    pub neighbours: usize,
    /// Weights kept for an item, the largest by magnitude, at 8 bytes each. What is evaluated is what is kept. On Gowalla
    /// (40,981 items, λ = 80) recall@20 and ndcg@20 of the dense solution are 0.1765 and 0.1465 with 4000 of them, 0.1756
    /// and 0.1448 with 1000, 0.1732 and 0.1426 with 100.
    #[serde(default = "keep")]
    pub keep: usize,
    /// GiB that the solution may take; 0 asks the system what is available.
    #[serde(default)]
    pub memory_gib: f32,
}

fn keep() -> usize {
    4000
}

impl Ease {
    pub(super) const KEYS: &[&str] = &["reg", "neighbours", "keep", "memory_gib"];

    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        Self { reg: dice.log(5.0, 3000.0), ..self.clone() }
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        check.positive("reg", self.reg)?;
        check.that(self.neighbours <= 4096, "neighbours", self.neighbours, "from 1 to 4096, or 0 for all")?;
        check.that(self.keep >= 1, "keep", self.keep, "at least 1")?;
        let memory = self.memory_gib;
        check.that(memory >= 0.0 && memory.is_finite(), "memory_gib", memory, "a finite number from 0 up")
    }
}

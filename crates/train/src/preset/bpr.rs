//! Knobs of Bayesian personalised ranking.

use serde::{Deserialize, Serialize};

use super::{Check, Dice, PresetError};

/// Knobs of Bayesian personalised ranking (Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback",
/// UAI 2009).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bpr {
    /// How the item that a pair's item is compared with is drawn.
    pub draw: PairDraw,
    /// Most items that [`PairDraw::Warp`] looks at for a pair.
    pub tries: usize,
    /// Pairs per step.
    pub batch: usize,
    /// Step size of the embedding tables (row-wise Adagrad).
    pub lr: f32,
    /// Strength of the L2 regularisation of the rows a pair touches.
    pub reg: f32,
}

/// Where the other item comes from; never from those the user had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairDraw {
    /// Any item, each as likely as the others; the loss is -ln σ(difference of the scores).
    Uniform,
    /// The first drawn item that scores within 1 of the pair's item or above; the loss is the hinge, weighted by the rank
    /// that the number of draws suggests (Weston, Bengio and Usunier, "WSABIE", IJCAI 2011).
    Warp,
}

impl Bpr {
    pub(super) const KEYS: &[&str] = &["draw", "tries", "batch", "lr", "reg"];

    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        let draw = dice.pick([PairDraw::Uniform, PairDraw::Warp]);
        Self { draw, lr: dice.log(0.02, 0.5), reg: dice.log(0.0001, 0.1), ..self.clone() }
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        check.that((1..=1024).contains(&self.tries), "tries", self.tries, "from 1 to 1024")?;
        check.that((1..=65_536).contains(&self.batch), "batch", self.batch, "from 1 to 65536")?;
        check.positive("lr", self.lr)?;
        check.that(self.reg >= 0.0 && self.reg.is_finite(), "reg", self.reg, "a finite number from 0 up")
    }
}

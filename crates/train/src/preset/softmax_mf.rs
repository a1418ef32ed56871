//! Knobs of matrix factorization with cosine scores and a softmax loss.

use serde::{Deserialize, Serialize};

use super::{Check, Confidence, Dice, PresetError};

/// Knobs of softmax matrix factorization. Scores are cosines; one step learns from all items of some users against
/// negatives that these users share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoftmaxMf {
    /// What is minimised.
    pub loss: Loss,
    /// Temperature τ: cosines are divided by it (`sl` and `bsl`).
    pub tau: f32,
    /// How much the negatives count beside the user's own items; 1 is the plain softmax.
    pub negative_weight: f32,
    /// Cosine above which a negative is pushed away (`ccl`).
    pub margin: f32,
    /// Items drawn as negatives of a step; 0 stands for all items.
    pub negatives: usize,
    /// How negatives are drawn.
    pub draw: PoolDraw,
    /// The weight of a pair in the loss, from the summed weight of its events.
    pub confidence: Confidence,
    /// Pairs per step, rounded up to whole users.
    pub batch: usize,
    /// Step size. With Adagrad and no `l2` it scales all embeddings and changes no cosine.
    pub lr: f32,
    /// Strength of the pull of every embedding in use towards zero length.
    pub l2: f32,
    /// Share of a user's numbers left out of a step.
    pub dropout: f32,
    /// How step sizes adapt to a row.
    pub optimizer: Optimizer,
}

/// Losses of softmax matrix factorization, for a user with cosines s_i of own items and s_j of N negatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Sampled softmax: mean of -s_i/τ, plus log Σ exp(s_j/τ) (Wu et al. 2024, "On the Effectiveness of Sampled Softmax
    /// Loss for Item Recommendation").
    Sl,
    /// Bilateral softmax: -log mean exp(s_i/τ′), plus log Σ exp(s_j/τ), with τ′ = τ · `negative_weight` over all of the
    /// user's items at once (Wu et al. 2024, "BSL: Understanding and Improving Softmax Loss for Recommendation").
    Bsl,
    /// Cosine contrastive loss: mean of 1 - s_i, plus the mean of max(0, s_j - margin) times the negative weight (Mao et
    /// al. 2021, "SimpleX: A Simple and Strong Baseline for Collaborative Filtering").
    Ccl,
}

/// How negatives are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolDraw {
    /// Every item equally often.
    Uniform,
    /// By how many users have an item, to the power 3/4; scores are corrected by logQ.
    Popularity,
}

/// How step sizes adapt to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam whose moments move only when a row is used.
    Adam,
    /// Adagrad with one accumulator a row.
    Adagrad,
}

impl SoftmaxMf {
    pub(super) const KEYS: &[&str] = &[
        "loss",
        "tau",
        "negative_weight",
        "margin",
        "negatives",
        "draw",
        "confidence",
        "batch",
        "lr",
        "l2",
        "dropout",
        "optimizer",
    ];

    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        // Adagrad's steps and the start are multiples of `lr`, and cosines do not see lengths: it would change nothing.
        let lr = match self.optimizer {
            Optimizer::Adam => dice.log(0.0005, 0.01),
            Optimizer::Adagrad => self.lr,
        };
        let dropout = dice.pick([0.0, 0.1, 0.2, 0.3]);
        let mut drawn = Self { lr, dropout, ..self.clone() };
        // Few negatives are above the margin, so the weight of their mean has no usual size.
        match self.loss {
            Loss::Sl | Loss::Bsl => (drawn.tau, drawn.negative_weight) = (dice.log(0.05, 0.3), dice.log(0.9, 1.5)),
            Loss::Ccl => (drawn.margin, drawn.negative_weight) = (dice.log(0.1, 0.9), dice.log(1.0, 1000.0)),
        }
        drawn
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        check.positive("tau", self.tau)?;
        check.positive("negative_weight", self.negative_weight)?;
        check.that((-1.0..=1.0).contains(&self.margin), "margin", self.margin, "from -1 to 1")?;
        check.that((1..=1 << 24).contains(&self.batch), "batch", self.batch, "from 1 to 16777216")?;
        check.positive("lr", self.lr)?;
        check.that(self.l2 >= 0.0 && self.l2.is_finite(), "l2", self.l2, "a finite number from 0")?;
        check.that((0.0..1.0).contains(&self.dropout), "dropout", self.dropout, "from 0 to below 1")
    }
}

//! Knobs of the two-tower model.

use serde::{Deserialize, Serialize};

use super::{Bpr, Check, Dice, Ials, Knobs, Preset, PresetError, SoftmaxMf};

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
    /// Whether it is learned how much each item of a history counts, beside its age.
    #[serde(default)]
    pub attention: bool,
    /// Whether it enters how many users an item had, in all and of late.
    pub trend: bool,
    /// Whether it enters which attributes the items had that a user had: of each field, the shares of its values.
    pub taste: bool,
    /// Whether it enters what a user's friends had, where the store joins users.
    pub friends: bool,
    /// The chance that the id of a user, and that of an item, is left out of a step, so that the rest learns to do without;
    /// at 1, ids are no inputs.
    pub id_dropout: [f32; 2],
    /// Whether items are compared by direction alone; else an item's vector may be as long as it is popular.
    pub cosine: bool,
    /// Pairs per step; users per step beside a `base`.
    pub batch: usize,
    /// Items drawn evenly for each step, as negatives beside those of its pairs, or beside the `hard` ones.
    pub negatives: usize,
    /// Beside a `base`: among how many of the items that it puts first a user's next ones are looked for.
    pub hard: usize,
    /// Step size of the embedding tables (row-wise Adagrad).
    pub lr: f32,
    /// Step size of the tower weights (AdamW).
    pub tower_lr: f32,
    /// The share of the tower weights that is taken off with each step, times its step size.
    pub decay: f32,
    /// Temperature: cosine scores are divided by it.
    pub tau: f32,
    /// How exactly a GPU makes products of vectors; the CPU makes all of them in single precision.
    #[serde(default)]
    pub precision: Precision,
    /// Whether scores are corrected for how often an item is drawn as a negative.
    pub logq: bool,
    /// A factorization whose scores the towers add to. They then learn from what users went on to in each of the last
    /// stretches of the part learned from, with all that is read of users and items as of its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

/// How exactly a GPU multiplies. What is learned is kept and changed in single precision either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// In 32 bits.
    #[default]
    Single,
    /// In 16 bits where scores and their gradients are made (Micikevicius et al., "Mixed Precision Training", ICLR 2018),
    /// if the adapter has such numbers.
    Mixed,
}

/// A matrix factorization that towers add to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// Numbers per embedding.
    pub dim: usize,
    /// Passes over the data.
    pub epochs: u32,
    /// How many of the last stretches of the part learned from the towers learn from.
    pub stretches: usize,
    /// What only this kind of model has.
    #[serde(flatten)]
    pub knobs: Factorization,
}

/// The knobs of each kind of matrix factorization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Factorization {
    /// Implicit alternating least squares.
    Ials(Ials),
    /// Matrix factorization with cosine scores and a softmax loss.
    SoftmaxMf(SoftmaxMf),
    /// Bayesian personalised ranking.
    Bpr(Bpr),
}

impl From<Factorization> for Knobs {
    fn from(knobs: Factorization) -> Self {
        match knobs {
            Factorization::Ials(knobs) => Self::Ials(knobs),
            Factorization::SoftmaxMf(knobs) => Self::SoftmaxMf(knobs),
            Factorization::Bpr(knobs) => Self::Bpr(knobs),
        }
    }
}

impl Preset {
    /// The base of its towers as a model of its own.
    pub(crate) fn base_alone(&self) -> Option<Self> {
        let Knobs::TwoTower(TwoTower { base: Some(base), .. }) = &self.knobs else { return None };
        let Base { dim, epochs, knobs, .. } = base.clone();
        Some(Self { dim, epochs, patience: epochs, knobs: knobs.into(), ..self.clone() })
    }

    /// The same with other knobs of its base, where they are a base's.
    pub(crate) fn with_base(mut self, found: Knobs) -> Self {
        if let Knobs::TwoTower(TwoTower { base: Some(base), .. }) = &mut self.knobs {
            match found {
                Knobs::Ials(knobs) => base.knobs = Factorization::Ials(knobs),
                Knobs::SoftmaxMf(knobs) => base.knobs = Factorization::SoftmaxMf(knobs),
                Knobs::Bpr(knobs) => base.knobs = Factorization::Bpr(knobs),
                Knobs::TwoTower(_) | Knobs::Ease(_) | Knobs::ItemKnn(_) => {}
            }
        }
        self
    }
}

impl Base {
    /// The kinds of [`Factorization`].
    pub(super) const KINDS: &[&str] = &["ials", "softmax-mf", "bpr"];
    /// What a base has of any kind.
    pub(super) const KEYS: &[&str] = &["kind", "dim", "epochs", "stretches"];

    fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        check.that((1..=1024).contains(&self.dim), "base.dim", self.dim, "from 1 to 1024")?;
        check.that(self.epochs >= 1, "base.epochs", self.epochs, "at least 1")?;
        check.that((1..=64).contains(&self.stretches), "base.stretches", self.stretches, "from 1 to 64")?;
        let check = Check { file: check.file, dim: self.dim };
        match &self.knobs {
            Factorization::Ials(knobs) => knobs.check(&check),
            Factorization::SoftmaxMf(knobs) => knobs.check(&check),
            Factorization::Bpr(knobs) => knobs.check(&check),
        }
    }
}

impl TwoTower {
    pub(super) const KEYS: &[&str] = &[
        "towers",
        "features",
        "tags",
        "history",
        "half_life",
        "attention",
        "trend",
        "taste",
        "friends",
        "id_dropout",
        "cosine",
        "batch",
        "negatives",
        "hard",
        "lr",
        "tower_lr",
        "decay",
        "tau",
        "precision",
        "logq",
        "base",
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
        let attends = !self.attention || self.history > 0;
        check.that(
            attends,
            "attention",
            self.attention,
            "false where `history` is 0: there is nothing to attend to",
        )?;
        let chances = self.id_dropout.iter().all(|chance| (0.0..=1.0).contains(chance));
        check.that(chances, "id_dropout", format!("{:?}", self.id_dropout), "two numbers from 0 to 1")?;
        check.that((1..=1 << 20).contains(&self.hard), "hard", self.hard, "from 1 to 1048576")?;
        self.base.iter().try_for_each(|base| base.check(check))?;
        check.that(self.negatives <= 1 << 24, "negatives", self.negatives, "at most 16777216")?;
        check.positive("lr", self.lr)?;
        check.positive("tower_lr", self.tower_lr)?;
        check.that((0.0..=100.0).contains(&self.decay), "decay", self.decay, "from 0 to 100")?;
        check.positive("tau", self.tau)
    }
}

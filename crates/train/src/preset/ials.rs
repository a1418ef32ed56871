//! Knobs of implicit ALS.

use serde::{Deserialize, Serialize};

use super::{Check, Dice, PresetError};

/// Rows of so many numbers are solved as a whole on the CPU. On Gowalla that took less time than blocks of any size up
/// to here, and about as much at 1024.
const EXACT: usize = 512;
/// Numbers solved together beyond.
const BEYOND: usize = 256;

/// Knobs of implicit ALS, as in Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks"
/// (RecSys 2022).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ials {
    /// Weight α0 of every user-item pair, seen or not.
    pub alpha0: f32,
    /// Strength λ of the regularisation.
    pub reg: f32,
    /// How much of it grows with a row's frequency: λ·(n + α0·N)^ν.
    pub nu: f32,
    /// The weight of a seen pair, from the summed weight of its events.
    pub confidence: Confidence,
    /// Numbers of a row that are solved together, up to `dim`, which is exact (iALS++, Rendle et al. 2021). Left out, it
    /// is what is fast on the device: exact up to 512 numbers on a CPU, and as many as its shared memory takes on a GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
}

/// How the summed weight n of a pair's events becomes its weight in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// 1, however often it happened.
    One,
    /// ln(1 + n) / ln 2, which is 1 for a single event.
    Log,
    /// n itself.
    Linear,
}

impl Confidence {
    /// The weight in the loss for a summed weight of events.
    pub fn weigh(self, n: f32) -> f32 {
        match self {
            Self::One => 1.0,
            Self::Log => (1.0 + n).log2(),
            Self::Linear => n,
        }
    }
}

impl Ials {
    pub(super) const KEYS: &[&str] = &["alpha0", "reg", "nu", "confidence", "block"];

    /// λ of one setting of ν says nothing of another: where λ·n^ν shall be the same for a row with n = 1000, λ grows by
    /// 1000^(1 - ν). The range is that of ν = 1, moved so.
    pub(super) fn draw(&self, dice: &mut Dice) -> Self {
        let nu = dice.pick([0.0, 0.5, 1.0]);
        let scale = 1000.0f32.powf(1.0 - nu);
        let reg = dice.log(0.0005 * scale, 0.05 * scale);
        let confidence = dice.pick([Confidence::One, Confidence::Log, Confidence::Linear]);
        Self { alpha0: dice.log(0.01, 2.0), reg, nu, confidence, block: self.block }
    }

    /// Knobs by what the data are like, with ν = 1: α0 is the square root of the share of pairs that are seen, and λ such that a
    /// user of average length `n` is held by √n / 2 in all. Both follow what searches found best on sets from 5 to 250 pairs a
    /// user (α0 from 0.01 to 0.3, λ from 0.001 to 0.01), within a factor of two or so: a place to start from, not an optimum.
    pub(super) fn by_data(&self, [users, items]: [usize; 2], pairs: usize) -> Self {
        let (users, items, pairs) = (users.max(1) as f64, items.max(1) as f64, pairs.max(1) as f64);
        let alpha0 = (pairs / users / items).sqrt();
        let length = pairs / users;
        let reg = length.sqrt() / 2.0 / (length + alpha0 * items);
        Self { alpha0: alpha0 as f32, reg: reg as f32, nu: 1.0, ..self.clone() }
    }

    pub(super) fn check(&self, check: &Check<'_>) -> Result<(), PresetError> {
        check.positive("alpha0", self.alpha0)?;
        check.positive("reg", self.reg)?;
        check.that((0.0..=2.0).contains(&self.nu), "nu", self.nu, "from 0 to 2")?;
        let block = self.block.unwrap_or(1);
        check.that((1..=check.dim).contains(&block), "block", block, "from 1 to `dim`")
    }

    /// Numbers solved together on the CPU: `block`, or what was fastest.
    pub(crate) fn host_block(&self, dim: usize) -> usize {
        self.block.unwrap_or(if dim <= EXACT { dim } else { BEYOND })
    }
}

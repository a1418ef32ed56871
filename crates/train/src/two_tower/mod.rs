//! The two-tower model: what is known of a user and of an item each passes a tower; the inner product of what comes out,
//! divided by a temperature, is the score. Trained by softmax over items of the batch and further ones drawn evenly
//! (mixed negatives: Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations",
//! WWW 2020).
//!
//! Sampled softmax with logQ correction: an item that is drawn often as a negative has log q subtracted from its
//! score (Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019). The
//! example's own item was not drawn, it is always there, so nothing is subtracted from its score (Khrylchenko et al.,
//! "Correcting the LogQ Correction: Revisiting Sampled Softmax for Large-Scale Retrieval", RecSys 2025).
//! Items the user is known to have had are no negatives for them: their scores are masked.

mod engine;
mod gpu;
mod host;
mod inputs;
mod layers;
mod step;
#[cfg(test)]
mod tests;
mod trend;

use lookalike_bundle::{ItemRow, Learned, Matrix, Tensors, UserRow};
use lookalike_dataset::{Dataset, Features, Shuffled, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::device::{Device, DeviceError};
use crate::fit::{FitError, Model, Phase};
use crate::preset::TwoTower as Knobs;
use engine::{Engine, SideState};
use inputs::{History, Inputs};
use layers::Layers;
use step::Steps;

/// A two-tower model in training.
pub(crate) struct TwoTowerModel<'a> {
    device: &'a Device,
    knobs: Knobs,
    seed: u64,
    epochs: u32,
    shuffled: Shuffled<UserRow, ItemRow>,
    steps: Steps<'a>,
    inputs: [Inputs<'a>; 2],
    engine: Engine,
}

/// Names of the sides.
const SIDES: [&str; 2] = ["user", "item"];

impl<'a> TwoTowerModel<'a> {
    pub(crate) fn new(
        data: &'a Dataset,
        phase: Phase,
        (dim, epochs): (usize, u32),
        knobs: &Knobs,
        device: &'a Device,
        seed: u64,
    ) -> Result<Self, FitError> {
        let (train, nth) = match phase {
            Phase::Choose => (&data.train, 0),
            Phase::Final => (&data.full, 1),
        };
        let chosen = |features: &Features| {
            let all = knobs.features.iter().any(|name| name == "*");
            features.only(|field| all || knobs.features.iter().any(|name| name == field))
        };
        let ages = &data.ages[nth];
        let half_life = if knobs.half_life > 0.0 { knobs.half_life } else { f32::INFINITY };
        let history = (knobs.history > 0).then_some(History { had: train, ages, half_life, most: knobs.history });
        let users = chosen(&data.user_features).beside(&data.portraits[nth]);
        let items = match knobs.trend {
            true => chosen(&data.item_features).beside(&trend::trend(train, ages, &data.items)),
            false => chosen(&data.item_features),
        };
        let inputs = [
            Inputs::new(SIDES[0], train.n_rows(), users, history)?,
            Inputs::new(SIDES[1], train.n_cols(), items, None)?,
        ];
        let side = |nth: usize| {
            let seed = stream_seed(seed, 10 + nth as u64, 0);
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            // Rows start with a length of about 1/√8 each, so that a bag of a few starts near length 1.
            let bound = (3.0 / (8.0 * dim as f32)).sqrt();
            let mut rows = Matrix::zeros(inputs[nth].table_rows(), dim);
            rows.data_mut().fill_with(|| (rng.random::<f32>() * 2.0 - 1.0) * bound);
            let (name, unit) = (format!("tower.{}", SIDES[nth]), nth == 0 || knobs.cosine);
            let layers = Layers::new(&name, dim, &knobs.towers, unit, stream_seed(seed, 1, 0));
            SideState { accumulator: vec![0.0; rows.rows()], rows, layers }
        };
        let engine = Engine::open(device, [side(0), side(1)])?;
        let (shuffled, steps) = (Shuffled::new(train), Steps::new(train));
        Ok(Self { device, knobs: knobs.clone(), seed, epochs, shuffled, steps, inputs, engine })
    }

    /// What step sizes are multiplied by after `done` of `total` steps of an epoch: up over the first half of the first
    /// epoch, then down evenly to a tenth at the end of the last.
    fn rate(&self, epoch: u32, done: usize, total: usize) -> f32 {
        let at = f64::from(epoch - 1) + done as f64 / total.max(1) as f64;
        let up = (at * 2.0 + 1.0 / total.max(1) as f64).min(1.0);
        (up * (1.0 - 0.9 * at / f64::from(self.epochs.max(1)))) as f32
    }
}

impl Model for TwoTowerModel<'_> {
    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError> {
        let size = self.knobs.batch;
        let mut shuffled = std::mem::take(&mut self.shuffled);
        let total = shuffled.batches(size);
        let mut batches = shuffled.epoch(size, stream_seed(self.seed, 12, u64::from(epoch)));
        let (mut loss, mut examples) = (0.0, 0);
        let mut next = None;
        for number in 0..total {
            let rate = self.rate(epoch, number, total);
            let Self { device, knobs, seed, steps, inputs, engine, .. } = self;
            let sides = inputs.each_ref();
            let mut draw = |number: usize| {
                let seed = stream_seed(stream_seed(*seed, 13, u64::from(epoch)), 0, number as u64);
                batches.next().map(|batch| steps.step(batch, sides, knobs, seed)).transpose()
            };
            let step = match next.take() {
                Some(step) => Some(step),
                None => draw(number)?,
            };
            let Some(step) = step else { break };
            let (step_loss, drawn) = engine.step(device, &step, knobs, rate, || draw(number + 1))?;
            next = drawn?;
            loss += step_loss;
            examples += step.examples();
            tick(number as u64 + 1, total as u64)?;
        }
        drop(batches);
        self.shuffled = shuffled;
        let mean = loss / examples.max(1) as f64;
        if !mean.is_finite() {
            let what = format!("the mean loss is {mean}");
            return Err(FitError::Diverged { epoch, what, hint: "lower `lr` and `tower_lr`, or raise `tau`" });
        }
        Ok(Some(mean))
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        let [users, items] = self.engine.embeddings(self.inputs.each_ref())?;
        Ok(Learned::Embeddings { users, items })
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        let sides = self.engine.sides()?;
        Ok(SIDES.iter().zip(&sides).flat_map(|(name, side)| side.tensors(name)).collect())
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        let failed = |error: DeviceError| error.to_string();
        let mut sides = self.engine.sides().map_err(failed)?;
        for (name, side) in SIDES.iter().zip(&mut sides) {
            side.restore(name, &mut state)?;
        }
        self.engine = Engine::open(self.device, sides).map_err(failed)?;
        Ok(())
    }

    fn weights(&mut self) -> Result<Tensors, FitError> {
        Ok(self.engine.sides()?.iter().flat_map(|side| side.layers.weights()).collect())
    }
}

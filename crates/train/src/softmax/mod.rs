//! Matrix factorization with cosine scores and a softmax loss.

mod average;
mod engine;
mod gpu;
mod host;
mod rows;
mod step;
#[cfg(test)]
mod tests;

use lookalike_bundle::{Data, ItemRow, Learned, Matrix, Tensor, Tensors, UserRow};
use lookalike_dataset::{Csr, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::device::Device;
use crate::fit::{FitError, Model};
use crate::preset::{Optimizer, SoftmaxMf as Knobs};
use average::Average;
use engine::Engine;
use rows::{Pace, Rows};
use step::Steps;

/// Standard deviation of a number at the start, in step sizes: the first steps then turn an embedding by about as much
/// as it is long, and each later step by less, since steps at right angles to an embedding make it longer.
const START: [f32; 2] = [5.0, 1.0];
/// A user is learned from once an epoch, an item in many steps, so users take longer steps and remember fewer.
const USER_LR: f32 = 10.0;
const USER_BETA: [f32; 2] = [0.5, 0.99];
const ITEM_BETA: [f32; 2] = [0.9, 0.999];

/// Softmax matrix factorization in training.
pub(crate) struct SoftmaxModel<'a> {
    knobs: Knobs,
    train: &'a Csr<UserRow, ItemRow>,
    dim: usize,
    device: &'a Device,
    steps: Steps<'a>,
    engine: Engine,
    average: Average,
}

impl<'a> SoftmaxModel<'a> {
    pub(crate) fn new(
        train: &'a Csr<UserRow, ItemRow>,
        dim: usize,
        knobs: &Knobs,
        device: &'a Device,
        seed: u64,
    ) -> Result<Self, FitError> {
        let longest = train.rows().map(|user| train.cols(user).len()).max().unwrap_or(0);
        step::countable(knobs.batch, longest)?;
        let spread = knobs.lr * START[usize::from(knobs.optimizer == Optimizer::Adagrad)];
        let start = |rows: usize, stream| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, stream, 0));
            let bound = spread * 3.0f32.sqrt();
            let mut matrix = Matrix::zeros(rows, dim);
            matrix.data_mut().fill_with(|| (rng.random::<f32>() * 2.0 - 1.0) * bound);
            Rows::new(matrix, knobs.optimizer)
        };
        let (users, items) = (start(train.n_rows(), 1), start(train.n_cols(), 2));
        let steps = Steps::new(train, dim, knobs, seed);
        let engine = Engine::open(device, users, items, &steps.largest())?;
        let average = Average::new(train.n_rows(), train.n_cols(), dim);
        Ok(Self { knobs: knobs.clone(), train, dim, device, steps, engine, average })
    }

    fn paces(&self) -> [Pace; 2] {
        let Knobs { optimizer, lr, l2, .. } = self.knobs;
        let user_lr = if optimizer == Optimizer::Adam { lr * USER_LR } else { lr };
        [Pace { optimizer, lr: user_lr, l2, beta: USER_BETA }, Pace { optimizer, lr, l2, beta: ITEM_BETA }]
    }
}

impl Model for SoftmaxModel<'_> {
    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError> {
        let batches = self.steps.epoch(epoch);
        let (total, first) = (batches.len() as u64, u64::from(epoch) << 32);
        let paces = self.paces();
        let (mut loss, mut weight) = (0.0, 0.0);
        let mut next = None;
        let mut batches = batches.into_iter();
        for number in 0..total {
            let step = next.take().or_else(|| batches.next().map(|users| self.steps.step(users, first + number)));
            let Some(step) = step else { break };
            let steps = &mut self.steps;
            let draw = || batches.next().map(|users| steps.step(users, first + number + 1));
            let (step_loss, drawn) = self.engine.step(&step, &self.knobs, paces, draw)?;
            next = drawn;
            loss += step_loss;
            weight += step.total();
            if !loss.is_finite() {
                let what = format!("the loss of step {} is {step_loss}", number + 1);
                return Err(FitError::Diverged { epoch, what, hint: "lower `lr`, or raise `tau`" });
            }
            tick(number + 1, total)?;
        }
        let units = self.engine.rows(&self.knobs)?.map(|rows| rows.units());
        self.average.add(epoch, units);
        Ok((weight > 0.0).then(|| loss / weight))
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        let [users, items] = self.average.units();
        Ok(Learned::Embeddings { users, items })
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        let mut state = Tensors::new();
        for (name, rows) in ["user", "item"].into_iter().zip(self.engine.rows(&self.knobs)?) {
            let (data, memory) = rows.parts();
            state.insert(name.into(), Tensor::f32s(data.to_vec()));
            state.insert(format!("{name}.memory"), Tensor::f32s(memory.to_vec()));
        }
        for (name, average) in ["user", "item"].into_iter().zip(self.average.parts()) {
            state.insert(format!("{name}.average"), Tensor::f32s(average.to_vec()));
        }
        Ok(state)
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        let mut take = |name: &str| match state.remove(name).map(|tensor| tensor.data) {
            Some(Data::F32(data)) => Ok(data),
            _ => Err(name.to_owned()),
        };
        let mut restore = |name: &str, rows: usize| {
            let (data, memory) = (take(name)?, take(&format!("{name}.memory"))?);
            let matrix = Matrix::from_vec(rows, self.dim, data);
            let rows = matrix.and_then(|matrix| Rows::with_memory(matrix, self.knobs.optimizer, memory));
            rows.ok_or(name.to_owned())
        };
        let (users, items) = (restore("user", self.train.n_rows())?, restore("item", self.train.n_cols())?);
        let averages = [take("user.average")?, take("item.average")?];
        self.average = self.average.with_parts(averages).ok_or("user.average")?;
        let engine = Engine::open(self.device, users, items, &self.steps.largest());
        self.engine = engine.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn weights(&mut self) -> Result<Tensors, FitError> {
        Ok(Tensors::new())
    }
}

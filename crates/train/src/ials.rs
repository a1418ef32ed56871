//! The implicit ALS model in training: the same half-steps on the CPU or on a GPU.

use lookalike_bundle::{ItemRow, Learned, Matrix, Row, Tensor, Tensors, UserRow};
use lookalike_dataset::{Csr, stream_seed};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::als::{Side, half_step, ridges};
use crate::dense::NotPositive;
use crate::device::{Device, DeviceError};
use crate::fit::{FitError, Model};
use crate::gpu::{GpuIals, Rows};
use crate::preset::Ials as Knobs;

/// Standard deviation of a starting embedding's length (Rendle et al. 2022 start at 0.1 / √d per number).
const START: f32 = 0.1;

/// One side's interactions and how strongly each of its rows is held to zero.
struct Interactions<R: Row, C: Row> {
    matrix: Csr<R, C>,
    ridges: Vec<f32>,
}

impl<R: Row, C: Row> Interactions<R, C> {
    fn new(matrix: Csr<R, C>, others: usize, knobs: &Knobs) -> Self {
        Self { ridges: ridges(&matrix, others, (knobs.alpha0, knobs.reg, knobs.nu)), matrix }
    }

    fn rows(&self) -> Rows<'_> {
        let (offsets, cols) = (self.matrix.offsets(), self.matrix.all_cols());
        Rows { offsets, cols, weights: self.matrix.all_weights(), lambda: &self.ridges }
    }
}

enum Engine {
    Host { users: Side, items: Side },
    Gpu(Box<GpuIals>),
}

/// Implicit ALS in training.
pub(crate) struct IalsModel<'a> {
    device: &'a Device,
    knobs: Knobs,
    by_user: Interactions<UserRow, ItemRow>,
    by_item: Interactions<ItemRow, UserRow>,
    engine: Engine,
}

impl<'a> IalsModel<'a> {
    pub(crate) fn new(
        train: &Csr<UserRow, ItemRow>,
        dim: usize,
        knobs: &Knobs,
        device: &'a Device,
        seed: u64,
    ) -> Result<Self, FitError> {
        let weighed = train.map_weights(|_, n| knobs.confidence.weigh(n));
        let turned = weighed.transpose();
        let start = |rows: usize, stream| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream_seed(seed, stream, 0));
            let bound = START * (3.0 / dim as f32).sqrt();
            let mut matrix = Matrix::zeros(rows, dim);
            matrix.data_mut().fill_with(|| (rng.random::<f32>() * 2.0 - 1.0) * bound);
            matrix
        };
        let (users, items) = (start(weighed.n_rows(), 1), start(weighed.n_cols(), 2));
        // Users without a history have vectors of zeros, which nothing is fitted to: they do not count.
        let (with_history, all) = (weighed.rows_in_use(), weighed.n_cols());
        let (by_user, by_item) =
            (Interactions::new(weighed, all, knobs), Interactions::new(turned, with_history, knobs));
        let engine = open(device, knobs, &by_user, &by_item, &users, &items)?;
        Ok(Self { device, knobs: knobs.clone(), by_user, by_item, engine })
    }

    fn embeddings(&self) -> Result<(Matrix, Matrix), DeviceError> {
        Ok(match &self.engine {
            Engine::Gpu(ials) => ials.read()?,
            Engine::Host { users, items } => (users.matrix(), items.matrix()),
        })
    }
}

fn open(
    device: &Device,
    knobs: &Knobs,
    by_user: &Interactions<UserRow, ItemRow>,
    by_item: &Interactions<ItemRow, UserRow>,
    users: &Matrix,
    items: &Matrix,
) -> Result<Engine, DeviceError> {
    if device.is_gpu() {
        let (alpha0, block) = (knobs.alpha0, knobs.block);
        let gpu = GpuIals::new(device, by_user.rows(), by_item.rows(), alpha0, block, (users, items))?;
        return Ok(Engine::Gpu(Box::new(gpu)));
    }
    let block = knobs.host_block(users.cols());
    Ok(Engine::Host { users: Side::new(users, block), items: Side::new(items, block) })
}

impl Model for IalsModel<'_> {
    fn epoch(
        &mut self,
        epoch: u32,
        tick: &mut dyn FnMut(u64, u64) -> Result<(), FitError>,
    ) -> Result<Option<f64>, FitError> {
        let diverged = |NotPositive| FitError::Diverged {
            epoch,
            what: "a row's equations cannot be solved in single precision".into(),
            hint: "raise `reg` or `alpha0`",
        };
        match &mut self.engine {
            Engine::Gpu(ials) => {
                ials.user_step()?;
                ials.sync()?;
                tick(1, 2)?;
                ials.item_step()?;
                ials.sync()?;
            }
            Engine::Host { users, items } => {
                let alpha0 = self.knobs.alpha0;
                half_step(users, items, &self.by_user.matrix, &self.by_user.ridges, alpha0).map_err(diverged)?;
                tick(1, 2)?;
                half_step(items, users, &self.by_item.matrix, &self.by_item.ridges, alpha0).map_err(diverged)?;
            }
        }
        tick(2, 2)?;
        Ok(None)
    }

    fn learned(&mut self) -> Result<Learned, FitError> {
        let (users, items) = self.embeddings()?;
        Ok(Learned::Embeddings { users, items })
    }

    fn state(&mut self) -> Result<Tensors, FitError> {
        let (users, items) = self.embeddings()?;
        Ok(Tensors::from([("user".into(), users.into()), ("item".into(), items.into())]))
    }

    fn restore(&mut self, mut state: Tensors) -> Result<(), String> {
        let (now_users, now_items) = self.embeddings().map_err(|error| error.to_string())?;
        let mut take = |name: &str, now: Matrix| {
            let matrix = state.remove(name).and_then(Tensor::into_matrix);
            let fits = |matrix: &Matrix| (matrix.rows(), matrix.cols()) == (now.rows(), now.cols());
            matrix.filter(fits).ok_or(name.to_owned())
        };
        let (users, items) = (take("user", now_users)?, take("item", now_items)?);
        let engine = open(self.device, &self.knobs, &self.by_user, &self.by_item, &users, &items);
        self.engine = engine.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn weights(&mut self) -> Result<Tensors, FitError> {
        Ok(Tensors::new())
    }
}

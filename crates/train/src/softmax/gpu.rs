//! A step of softmax matrix factorization on a GPU: what `host.rs` computes, by burn's tensors where work is dense and
//! by kernels of `crate::gpu` where it follows the pairs. Nothing but the step goes to the device, and its loss back.

use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use lookalike_bundle::Matrix;

use crate::bags::Bags;
use crate::device::{Device, DeviceError};
use crate::gpu::{GpuPairs, GpuTable};
use crate::preset::{Loss, Optimizer, SoftmaxMf as Knobs};

use super::host::SCORES;
use super::rows::{Pace, Rows, TINY};
use super::step::{Largest, Step};

/// The score of a user's own item among the negatives: its exponential is the least there is, and no margin is below it.
const MASKED: f32 = -1e30;
/// Exponents below count as this one, as on the CPU.
const LEAST: f32 = -87.0;

/// Both sides on a GPU.
pub(super) struct OnGpu {
    device: Device,
    users: GpuTable,
    items: GpuTable,
}

/// Rows in use: as they are `[rows, dim]`, their lengths `[rows, 1]`, and at length 1 `[rows, dim]`.
struct Gathered {
    raw: Tensor<2>,
    lengths: Tensor<2>,
    units: Tensor<2>,
}

impl OnGpu {
    /// Uploads both sides to a GPU; nothing on the CPU. Fails if the device cannot hold the largest step.
    pub(super) fn open(
        device: &Device,
        users: &Rows,
        items: &Rows,
        largest: &Largest,
    ) -> Result<Option<Self>, DeviceError> {
        let Some(gpu) = device.gpu() else { return Ok(None) };
        gpu.bytes("scores of one user", largest.pool)?;
        gpu.bytes("pairs of a step", largest.pairs)?;
        // Beside its embedding a row has two more numbers: where its pairs start and end, or how Adam's moments are
        // corrected.
        let width = users.dim().max(2);
        gpu.bytes("users of a step", largest.users.saturating_mul(width))?;
        gpu.bytes("items of a step", largest.items.saturating_mul(width))?;
        let upload = |rows: &Rows| {
            let (data, memory) = rows.parts();
            let count = data.len() / rows.dim();
            let matrix = Matrix::from_vec(count, rows.dim(), data.to_vec());
            GpuTable::new(gpu, &matrix.unwrap_or_else(|| Matrix::zeros(0, rows.dim())), memory, rows.width())
        };
        Ok(Some(Self { device: device.clone(), users: upload(users)?, items: upload(items)? }))
    }

    /// Both sides as they are now.
    pub(super) fn read(&self, optimizer: Optimizer) -> Result<[Rows; 2], DeviceError> {
        let read = |table: &GpuTable| -> Result<Rows, DeviceError> {
            let (matrix, memory) = (table.read()?, table.read_memory()?);
            Rows::with_memory(matrix, optimizer, memory).ok_or_else(|| DeviceError::Failed {
                reason: "the memory of the embeddings came back with another size".to_owned(),
            })
        };
        Ok([read(&self.users)?, read(&self.items)?])
    }

    /// Launches one step; its loss, summed over the pairs' weights, is known once the device is done.
    pub(super) fn step(
        &mut self,
        step: &Step,
        knobs: &Knobs,
        [user_pace, item_pace]: [Pace; 2],
    ) -> Result<Tensor<1>, DeviceError> {
        let lost = || DeviceError::Failed { reason: "a GPU was closed".to_owned() };
        let device = self.device.clone();
        let gpu = device.gpu().ok_or_else(lost)?;
        let dim = self.users.dim();
        let users = gather(&self.users, &step.users)?;
        let items = gather(&self.items, &step.items)?;
        let keep = (!step.keep.is_empty()).then(|| self.upload(&step.keep, [step.users.len(), dim]));
        let dropped = match &keep {
            Some(keep) => users.units.clone() * keep.clone(),
            None => users.units.clone(),
        };
        let pool = match step.pool.len() < step.items.len() {
            true => {
                let pool: Vec<u32> = step.pool.iter().map(|&slot| step.items[slot as usize]).collect();
                gather(&self.items, &pool)?.units
            }
            false => items.units.clone(),
        };

        let by_slot = (&*step.by_slot, &*step.slot_offsets);
        let pairs = GpuPairs::new(gpu, step.rows(), step.slots(), &step.offsets, by_slot)?;
        let cosines = pairs.dots(&dropped, &items.units)?;
        let (pulls, mut loss) = self.own(step, knobs, &pairs, cosines)?;

        let totals = self.upload(&totals(step, knobs), [step.users.len(), 1]);
        let log_weights = (!step.log_weights.is_empty()).then(|| self.upload(&step.log_weights, [1, step.pool.len()]));
        let most = SCORES.min((gpu.limits.binding / 4) as usize);
        let block = (most / step.pool.len().max(1)).max(1);
        let mut user_gradients = Vec::new();
        let mut pool_gradient: Option<Tensor<2>> = None;
        for first in (0..step.users.len()).step_by(block) {
            let rows = block.min(step.users.len() - first);
            let block_users = dropped.clone().narrow(0, first, rows);
            let scores = block_users.clone().matmul(pool.clone().transpose());
            let scores = gpu.fill(scores, &own_places(step, first..first + rows), MASKED)?;
            let (gradient, part) = negatives(knobs, scores, totals.clone().narrow(0, first, rows), &log_weights);
            loss = loss + part;
            user_gradients.push(gradient.clone().matmul(pool.clone()));
            let part = gradient.transpose().matmul(block_users);
            pool_gradient = Some(match pool_gradient {
                Some(sum) => sum + part,
                None => part,
            });
        }

        let scale = (1.0 / step.total().max(f64::MIN_POSITIVE)) as f32;
        let mut user_gradient = pairs.pull_left(Tensor::cat(user_gradients, 0), &pulls, &items.units)? * scale;
        if let Some(keep) = keep {
            user_gradient = user_gradient * keep;
        }
        let mut item_gradient = Tensor::zeros([step.items.len(), dim], device.burn());
        if let Some(pool_gradient) = pool_gradient {
            item_gradient = gpu.add_rows(item_gradient, pool_gradient, &step.pool)?;
        }
        let item_gradient = pairs.pull_right(item_gradient, &pulls, &dropped)? * scale;
        update(&mut self.users, &step.users, users.tangent(user_gradient, user_pace.l2), user_pace)?;
        update(&mut self.items, &step.items, items.tangent(item_gradient, item_pace.l2), item_pace)?;
        Ok(loss)
    }

    /// How strongly each pair pulls its user and item together, `[pairs]`, and the loss of the pairs.
    fn own(
        &self,
        step: &Step,
        knobs: &Knobs,
        pairs: &GpuPairs,
        cosines: Tensor<1>,
    ) -> Result<(Tensor<1>, Tensor<1>), DeviceError> {
        let weights = || self.upload(step.weights(), [step.weights().len()]);
        Ok(match knobs.loss {
            Loss::Sl => {
                let pulls = weights() / knobs.tau;
                (pulls.clone(), (cosines * pulls).sum().neg())
            }
            Loss::Ccl => (weights(), (cosines.neg() + 1.0).mul(weights()).sum()),
            Loss::Bsl => {
                let sharp = 1.0 / (knobs.tau * knobs.negative_weight);
                let (pulls, losses) = pairs.softmax(cosines, step.weights(), step.users.len(), sharp)?;
                (pulls, losses.sum())
            }
        })
    }

    fn upload<const D: usize>(&self, numbers: &[f32], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(numbers.to_vec(), shape), self.device.burn())
    }
}

/// What the negatives of each user count, `[users]`: nothing where the user has every one of them.
fn totals(step: &Step, knobs: &Knobs) -> Vec<f32> {
    let share = if knobs.loss == Loss::Bsl { 1.0 } else { knobs.negative_weight };
    let total = |row: usize| {
        let pairs = step.pairs_of(row);
        let own = step.slots()[pairs.clone()].iter().filter(|&&slot| step.place(slot as usize).is_some());
        if own.count() == step.pool.len() { 0.0 } else { step.weights()[pairs].iter().sum::<f32>() * share }
    };
    (0..step.users.len()).map(total).collect()
}

/// Where the scores `[rows, pool]` of these users against the pool are about items of their own.
fn own_places(step: &Step, rows: std::ops::Range<usize>) -> Vec<u32> {
    let first = rows.start;
    let places = rows.flat_map(|row| {
        let own = step.slots()[step.pairs_of(row)].iter().filter_map(|&slot| step.place(slot as usize));
        own.map(move |place| ((row - first) * step.pool.len() + place) as u32)
    });
    places.collect()
}

/// The gradient of the loss by each of `scores` `[rows, pool]`, and the loss. `totals` `[rows, 1]`.
fn negatives(
    knobs: &Knobs,
    scores: Tensor<2>,
    totals: Tensor<2>,
    log_weights: &Option<Tensor<2>>,
) -> (Tensor<2>, Tensor<1>) {
    let pool = scores.dims()[1];
    if knobs.loss == Loss::Ccl {
        let push = totals / pool as f32;
        let above = scores - knobs.margin;
        let loss = (relu(above.clone()).sum_dim(1) * push.clone()).sum();
        return (above.greater_elem(0.0).float() * push, loss);
    }
    let sharp = 1.0 / knobs.tau;
    let mut exponents = (scores - 1.0) * sharp;
    if let Some(log_weights) = log_weights {
        exponents = exponents + log_weights.clone();
    }
    let exponentials = exponents.clamp_min(LEAST).exp();
    let sums = exponentials.clone().sum_dim(1); // [rows, 1]
    let loss = ((sums.clone().log() + sharp) * totals.clone()).sum();
    (exponentials / sums * (totals * sharp), loss)
}

impl Gathered {
    /// From the gradient of the unit vectors to that of the rows: what lies along a row changes nothing.
    fn tangent(self, gradient: Tensor<2>, l2: f32) -> Tensor<2> {
        let along = (gradient.clone() * self.units.clone()).sum_dim(1);
        (gradient - self.units * along) / self.lengths + self.raw * l2
    }
}

fn gather(table: &GpuTable, rows: &[u32]) -> Result<Gathered, DeviceError> {
    let raw = table.gather(&Bags::single(rows.to_vec())?)?;
    let lengths = (raw.clone() * raw.clone()).sum_dim(1).sqrt() + TINY;
    Ok(Gathered { units: raw.clone() / lengths.clone(), raw, lengths })
}

fn update(table: &mut GpuTable, rows: &[u32], gradient: Tensor<2>, pace: Pace) -> Result<(), DeviceError> {
    match pace.optimizer {
        Optimizer::Adagrad => table.adagrad(rows, gradient, pace.lr, TINY),
        Optimizer::Adam => table.adam(rows, gradient, pace.lr, pace.beta, TINY),
    }
}

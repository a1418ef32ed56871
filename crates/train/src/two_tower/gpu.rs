//! A step of the two-tower model on a GPU: what `host.rs` computes. Towers are burn's tensors, differentiated by it; tables
//! are rows in buffers; scores are made for as many examples as fit, never as a whole matrix.

use burn::tensor::activation::relu;
use burn::tensor::{FloatDType, Gradients, Tensor, TensorData};
use lookalike_bundle::Matrix;

use super::attention::Attention;
use super::base::Scale;
use super::host::{EPS, READ_BLOCK};
use super::inputs::Inputs;
use super::layers::{self, BETA, Layers, TINY};
use super::step::{Compared, Lists, Step};
use crate::device::{Device, DeviceError};
use crate::gpu::{Gpu, GpuTable};
use crate::preset::{Precision, TwoTower as Knobs};
use crate::read::read;

/// The most scores kept at a time: 64 MB.
const SCORES: usize = 1 << 24;
/// The score of a known item: its exponential is 0.
const MASKED: f32 = -1e30;

/// One side on a GPU.
pub(super) struct GpuSide {
    pub(super) table: GpuTable,
    tower: Tower,
}

/// The layers of a tower: of each parameter its value and Adam's moments.
struct Tower {
    layers: Layers,
    values: Vec<[Tensor<2>; 3]>,
    steps: u32,
}

impl GpuSide {
    pub(super) fn new(device: &Device, table: GpuTable, layers: &Layers) -> Self {
        Self { table, tower: Tower::new(layers, device) }
    }

    /// The layers as they are now.
    pub(super) fn layers(&self) -> Result<Layers, DeviceError> {
        self.tower.read()
    }

    pub(super) fn embeddings(&self, inputs: &Inputs<'_>, attention: Option<&Attention>) -> Result<Matrix, DeviceError> {
        let dim = self.table.dim();
        let mut matrix = Matrix::zeros(inputs.rows(), dim);
        let values: Vec<_> = self.tower.values.iter().map(|[value, ..]| value.clone()).collect();
        for (block, target) in matrix.data_mut().chunks_mut((READ_BLOCK * dim).max(1)).enumerate() {
            let first = block * READ_BLOCK;
            let bags = inputs.whole(first..first + target.len() / dim, attention)?;
            let out = forward(&values, self.table.gather(&bags)?, self.tower.layers.unit);
            target.copy_from_slice(&read(out)?);
        }
        Ok(matrix)
    }
}

/// Launches one step. Once the device is done, its loss is known, summed over the examples; behind it the gradient by
/// the logarithm of the scale of a base, if there is one; and behind that, where there is attention, the gradient by the
/// weight of each entry of the users' bags.
pub(super) fn learn(
    device: &Device,
    [users, items]: [&mut GpuSide; 2],
    scale: &Scale,
    step: &Step,
    knobs: &Knobs,
    rate: f32,
) -> Result<Tensor<1>, DeviceError> {
    let lost = || DeviceError::Failed { reason: "a GPU was closed".to_owned() };
    let gpu = device.gpu().ok_or_else(lost)?;
    let leaves =
        [users.table.gather(&step.users)?, items.table.gather(&step.items)?].map(|leaf| leaf.autodiff().require_grad());
    let recorded = [users.tower.record(), items.tower.record()];
    let u = forward(&recorded[0], leaves[0].clone(), users.tower.layers.unit); // [examples, dim]
    let v = forward(&recorded[1], leaves[1].clone(), items.tower.layers.unit); // [columns, dim]
    let [inner_u, inner_v] = [u.clone().inner(), v.clone().inner()];
    let (mut told, [by_user, by_item]) = match &step.base {
        None => softmax(device, gpu, step, knobs, inner_u, inner_v)?,
        Some(known) => {
            let tensor = |numbers: Vec<f32>| {
                let rows = numbers.len() / known.dim.max(1);
                Tensor::<2>::from_data(TensorData::new(numbers, [rows, known.dim]), device.burn()) // [rows, base dim]
            };
            let dim = users.table.dim();
            let [base_u, base_v] = [tensor(scale.of_users(known)), tensor(known.rows[1].clone())];
            let both = [Tensor::cat(vec![base_u.clone(), inner_u], 1), Tensor::cat(vec![base_v, inner_v], 1)];
            let [both_u, both_v] = both; // [rows, base dim + dim]
            let (loss, gradients) = softmax(device, gpu, step, knobs, both_u, both_v)?;
            let along = (gradients[0].clone().narrow(1, 0, known.dim) * base_u).sum();
            (Tensor::cat(vec![loss, along], 0), gradients.map(|gradient| gradient.narrow(1, known.dim, dim)))
        }
    };
    // The gradient of this sum by the vectors is what the softmax says it is.
    let sum = (u * by_user.autodiff()).sum() + (v * by_item.autodiff()).sum();
    let mut gradients = sum.backward();
    for (nth, (side, bags)) in [(users, &step.users), (items, &step.items)].into_iter().enumerate() {
        if let Some(gradient) = leaves[nth].grad_remove(&mut gradients) {
            let gradient = gradient.inner();
            if knobs.attention && nth == 0 {
                told = Tensor::cat(vec![told, side.table.by_weight(bags, gradient.clone())?], 0);
            }
            side.table.update(&bags.segments(), gradient, knobs.lr * rate, EPS)?;
        }
        side.tower.step(&recorded[nth], &mut gradients, knobs.tower_lr * rate, knobs.decay);
    }
    Ok(told)
}

/// The loss summed over the examples, and the gradients of its mean by the vectors of examples and of columns.
fn softmax(
    device: &Device,
    gpu: &Gpu,
    step: &Step,
    knobs: &Knobs,
    u: Tensor<2>,
    v: Tensor<2>,
) -> Result<(Tensor<1>, [Tensor<2>; 2]), DeviceError> {
    let (examples, columns) = (step.examples(), step.columns());
    let log_q = Tensor::<2>::from_data(TensorData::new(step.log_q.clone(), [1, columns]), device.burn());
    let block = (SCORES.min((gpu.limits.binding / 4) as usize) / columns.max(1)).max(1);
    let half = gpu.half && knobs.precision == Precision::Mixed;
    let lower = |numbers: Tensor<2>| if half { numbers.cast(FloatDType::F16) } else { numbers };
    let product = |a: Tensor<2>, b: Tensor<2>| if half { a.matmul(b).cast(FloatDType::F32) } else { a.matmul(b) };
    let v = lower(v);
    let mut by_user = Vec::new();
    let mut by_item = Tensor::<2>::zeros(v.dims(), device.burn());
    let mut loss = Tensor::<1>::zeros([1], device.burn());
    for first in (0..examples).step_by(block) {
        let rows = block.min(examples - first);
        let column = |numbers: Vec<f32>| Tensor::<2>::from_data(TensorData::new(numbers, [rows, 1]), device.burn());
        let places = |lists: &Lists| -> Vec<u32> {
            let of = |row| lists.of(first + row).iter().map(move |&column| (row * columns) as u32 + column);
            (0..rows).flat_map(of).collect()
        };
        let weights: Vec<f32> = step.weights[first..first + rows].to_vec();
        let counts = (first..first + rows).map(|example| step.own.of(example).len() as f32).collect();
        let (weights, counts) = (column(weights), column(counts)); // [rows, 1]
        let users = lower(u.clone().narrow(0, first, rows));
        let zeros = || Tensor::<2>::zeros([rows, columns], device.burn());
        let ones = gpu.fill(zeros(), &places(&step.own), 1.0)?; // [rows, columns]
        let log_q = log_q.clone() * (ones.clone().neg() + 1.0); // [rows, columns]
        let scores = product(users.clone(), v.clone().transpose()) / knobs.tau - log_q; // [rows, columns]
        let own = (scores.clone() * ones.clone()).sum_dim(1); // [rows, 1]
        let scores = match &step.compared {
            Compared::AllBut(known) => gpu.fill(scores, &places(known), MASKED)?,
            Compared::Only(listed) => scores + gpu.fill(zeros() + MASKED, &places(listed), 0.0)?,
        };
        // With each row's largest score taken out, no exponential overflows.
        let top = scores.clone().max_dim(1); // [rows, 1]
        let exponentials = (scores - top.clone()).exp(); // [rows, columns]
        let sums = exponentials.clone().sum_dim(1); // [rows, 1]
        // Between -1 and 1 for a pair: of the mean over the examples 16 bits would leave little.
        let pulls = lower((exponentials / sums.clone() * counts.clone() - ones) * weights.clone()); // [rows, columns]
        loss = loss + ((sums.log() + top) * counts - own).mul(weights).sum();
        by_user.push(product(pulls.clone(), v.clone()));
        by_item = by_item + product(pulls.transpose(), users);
    }
    let scale = 1.0 / (knobs.tau * step.weight().max(f32::MIN_POSITIVE));
    Ok((loss, [Tensor::cat(by_user, 0) * scale, by_item * scale]))
}

impl Tower {
    fn new(layers: &Layers, device: &Device) -> Self {
        let tensor = |p: &layers::Parameter, numbers: &[f32]| {
            Tensor::from_data(TensorData::new(numbers.to_vec(), p.shape), device.burn())
        };
        let values = layers.parameters.iter().map(|p| [&p.value, &p.mean, &p.square].map(|numbers| tensor(p, numbers)));
        Self { values: values.collect(), steps: layers.steps, layers: layers.clone() }
    }

    fn read(&self) -> Result<Layers, DeviceError> {
        let mut layers = Layers { steps: self.steps, ..self.layers.clone() };
        for (p, [value, mean, square]) in layers.parameters.iter_mut().zip(&self.values) {
            (p.value, p.mean, p.square) = (read(value.clone())?, read(mean.clone())?, read(square.clone())?);
        }
        Ok(layers)
    }

    /// The weights as leaves of a new gradient record.
    fn record(&self) -> Vec<Tensor<2>> {
        self.values.iter().map(|[value, ..]| value.clone().autodiff().require_grad()).collect()
    }

    /// One AdamW step of a gradient that is cut where it is too long, as [`Layers::step`] does it.
    fn step(&mut self, recorded: &[Tensor<2>], gradients: &mut Gradients, lr: f32, decay: f32) {
        self.steps += 1;
        let correct = BETA.map(|beta| 1.0 - beta.powi(self.steps as i32));
        let gradients: Vec<_> = recorded.iter().map(|leaf| leaf.grad_remove(gradients)).collect();
        let squares = gradients.iter().flatten().map(|gradient| gradient.clone().square().sum());
        let Some(square) = squares.reduce(|sum, square| sum + square) else { return };
        let share = (square.sqrt() + layers::EPS).recip().mul_scalar(layers::LONGEST).clamp_max(1.0).unsqueeze::<2>(); // [1, 1]
        for (nth, ([value, mean, square], gradient)) in self.values.iter_mut().zip(gradients).enumerate() {
            let Some(gradient) = gradient else { continue };
            let gradient = gradient * share.clone();
            *mean = mean.clone() * BETA[0] + gradient.clone() * (1.0 - BETA[0]);
            *square = square.clone() * BETA[1] + gradient.square() * (1.0 - BETA[1]);
            let scale = (square.clone() / correct[1]).sqrt() + layers::EPS;
            let kept = if layers::weighs(nth) { 1.0 - lr * decay } else { 1.0 };
            *value = value.clone() * kept - mean.clone() / scale * (lr / correct[0]);
        }
    }
}

fn forward(weights: &[Tensor<2>], input: Tensor<2>, unit: bool) -> Tensor<2> {
    let mut hidden = input.clone(); // [batch, dim]
    for (layer, pair) in weights.chunks_exact(2).enumerate() {
        if layer > 0 {
            hidden = relu(hidden);
        }
        hidden = hidden.matmul(pair[0].clone()) + pair[1].clone(); // [batch, width]
    }
    let output = input + hidden; // [batch, dim]
    match unit {
        true => {
            let length = (output.clone().square().sum_dim(1) + TINY).sqrt(); // [batch, 1]
            output / length
        }
        false => output,
    }
}

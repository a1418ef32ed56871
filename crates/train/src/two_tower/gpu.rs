//! A tower: the dense layers that turn the summed embeddings of a bag into one vector of length 1, and the Adam
//! steps of their weights.

use burn::tensor::activation::relu;
use burn::tensor::{Gradients, Tensor, TensorData};
use lookalike_bundle::{Data, Tensor as Stored, Tensors};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::device::{Device, DeviceError};
use crate::read::read;

/// Adam's decay rates and the number that keeps its denominator from zero (Kingma and Ba 2015).
const BETA: [f32; 2] = [0.9, 0.999];
const EPS: f32 = 1e-8;

/// One dense parameter with Adam's moments, as `[rows, cols]`; a bias has one row.
struct Parameter {
    name: String,
    value: Tensor<2>,
    mean: Tensor<2>,
    square: Tensor<2>,
}

/// Dense layers `dim → widths… → dim` with ReLU between them; their output is added to their input (He et al. 2016),
/// so that an untrained tower passes the embeddings through.
pub(crate) struct Tower {
    parameters: Vec<Parameter>,
    steps: i32,
}

/// A tower's weights while gradients are recorded.
pub(crate) struct Recorded(Vec<Tensor<2>>);

impl Tower {
    /// Hidden layers get He's uniform weights; the last layer starts at zero.
    pub(crate) fn new(name: &str, dim: usize, widths: &[usize], device: &Device, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let sizes: Vec<usize> = [&[dim], widths, &[dim]].concat();
        let mut parameters = Vec::new();
        for (layer, size) in sizes.windows(2).enumerate() {
            let (rows, cols) = (size[0], size[1]);
            let last = layer + 2 == sizes.len();
            let bound = if last { 0.0 } else { (6.0 / rows as f32).sqrt() };
            let weights = (0..rows * cols).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
            parameters.push(Parameter::new(format!("{name}.{layer}.weight"), [rows, cols], weights, device));
            parameters.push(Parameter::new(format!("{name}.{layer}.bias"), [1, cols], vec![0.0; cols], device));
        }
        Self { parameters, steps: 0 }
    }

    /// The weights as leaves of a new gradient record.
    pub(crate) fn record(&self) -> Recorded {
        Recorded(self.parameters.iter().map(|p| p.value.clone().autodiff().require_grad()).collect())
    }

    /// Output without a gradient record: `[batch, dim]` to `[batch, dim]`, every row of length 1.
    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let values: Vec<_> = self.parameters.iter().map(|p| p.value.clone()).collect();
        forward(&values, input)
    }

    /// One Adam step.
    pub(crate) fn step(&mut self, recorded: &Recorded, gradients: &mut Gradients, lr: f32) {
        self.steps += 1;
        let correct = BETA.map(|beta| 1.0 - beta.powi(self.steps));
        for (parameter, leaf) in self.parameters.iter_mut().zip(&recorded.0) {
            let Some(gradient) = leaf.grad_remove(gradients) else { continue };
            let mean = parameter.mean.clone() * BETA[0] + gradient.clone() * (1.0 - BETA[0]);
            let square = parameter.square.clone() * BETA[1] + gradient.square() * (1.0 - BETA[1]);
            let scale = (square.clone() / correct[1]).sqrt() + EPS;
            parameter.value = parameter.value.clone() - mean.clone() / scale * (lr / correct[0]);
            (parameter.mean, parameter.square) = (mean, square);
        }
    }

    /// The weights by name.
    pub(crate) fn weights(&self) -> Result<Tensors, DeviceError> {
        self.parameters.iter().map(|p| Ok((p.name.clone(), stored(&p.value)?))).collect()
    }

    /// The weights, Adam's moments and the number of steps, by name.
    pub(crate) fn state(&self) -> Result<Tensors, DeviceError> {
        let mut state = self.weights()?;
        for parameter in &self.parameters {
            state.insert(format!("{}.mean", parameter.name), stored(&parameter.mean)?);
            state.insert(format!("{}.square", parameter.name), stored(&parameter.square)?);
        }
        if let Some(first) = self.parameters.first() {
            state.insert(format!("{}.steps", first.name), Stored::u32s(vec![self.steps as u32]));
        }
        Ok(state)
    }

    /// Takes a state back; the name of what is missing or has the wrong shape, if anything is.
    pub(crate) fn restore(&mut self, state: &mut Tensors, device: &Device) -> Result<(), String> {
        if let Some(first) = self.parameters.first() {
            let name = format!("{}.steps", first.name);
            match state.remove(&name).map(|steps| steps.data) {
                Some(Data::U32(steps)) if steps.len() == 1 => self.steps = steps[0] as i32,
                _ => return Err(name),
            }
        }
        for parameter in &mut self.parameters {
            for (suffix, target) in
                [("", &mut parameter.value), (".mean", &mut parameter.mean), (".square", &mut parameter.square)]
            {
                let name = format!("{}{suffix}", parameter.name);
                let shape = target.dims();
                match state.remove(&name).map(|stored| (stored.shape, stored.data)) {
                    Some((stored, Data::F32(data))) if stored == shape => *target = tensor(shape, data, device),
                    _ => return Err(name),
                }
            }
        }
        Ok(())
    }
}

impl Recorded {
    /// Output with a gradient record.
    pub(crate) fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        forward(&self.0, input)
    }
}

impl Parameter {
    fn new(name: String, shape: [usize; 2], value: Vec<f32>, device: &Device) -> Self {
        let zeros = || tensor(shape, vec![0.0; shape[0] * shape[1]], device);
        Self { name, value: tensor(shape, value, device), mean: zeros(), square: zeros() }
    }
}

fn forward(weights: &[Tensor<2>], input: Tensor<2>) -> Tensor<2> {
    let mut hidden = input.clone(); // [batch, dim]
    for (layer, pair) in weights.chunks_exact(2).enumerate() {
        if layer > 0 {
            hidden = relu(hidden);
        }
        hidden = hidden.matmul(pair[0].clone()) + pair[1].clone(); // [batch, width]
    }
    let output = input + hidden; // [batch, dim]
    let length = (output.clone().square().sum_dim(1) + 1e-12).sqrt(); // [batch, 1]
    output / length
}

fn tensor(shape: [usize; 2], data: Vec<f32>, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(data, shape), device.burn())
}

fn stored(tensor: &Tensor<2>) -> Result<Stored, DeviceError> {
    Ok(Stored { shape: tensor.dims().to_vec(), data: Data::F32(read(tensor.clone())?) })
}

//! The dense layers of a tower on the CPU, and the AdamW steps of their weights.

use lookalike_bundle::{Data, Tensor as Stored, Tensors};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use crate::gemm::{View, ViewMut, product};

/// Adam's decay rates and the number that keeps its denominator from zero (Kingma and Ba 2015).
pub(super) const BETA: [f32; 2] = [0.9, 0.999];
pub(super) const EPS: f32 = 1e-8;
/// A longer gradient of all dense parameters of a tower is cut to this length (Pascanu et al. 2013). Gradients are those of a
/// mean over a step, and mostly shorter than 1: only what would throw a tower off its way is cut.
pub(super) const LONGEST: f32 = 10.0;
/// What is added to a squared length before its root.
pub(super) const TINY: f32 = 1e-12;
/// Work is cut into so many parts, whatever the number of threads, so that sums over rows keep their order.
pub(super) const PARTS: usize = 8;

/// One dense parameter with Adam's moments, as `[rows, cols]`; a bias has one row.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) shape: [usize; 2],
    pub(super) value: Vec<f32>,
    pub(super) mean: Vec<f32>,
    pub(super) square: Vec<f32>,
}

/// Dense layers `dim → widths… → dim` with ReLU between them; their output is added to their input (He et al. 2016),
/// so that an untrained tower passes the embeddings through. With `unit`, what comes out is brought to length 1.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    /// Weight and bias of each layer, in turn.
    pub(super) parameters: Vec<Parameter>,
    pub(super) steps: u32,
    pub(super) unit: bool,
    pub(super) dim: usize,
}

/// What one part of a batch left on its way through, for the way back.
pub(super) struct Passed {
    /// What entered each layer, `[rows, width]`.
    entered: Vec<Vec<f32>>,
    /// What came out, `[rows, dim]`.
    pub(super) out: Vec<f32>,
    /// What it was divided by, `[rows]`; nothing without `unit`.
    lengths: Vec<f32>,
}

impl Layers {
    /// Hidden layers get He's uniform weights; the last layer starts at zero.
    pub(super) fn new(name: &str, dim: usize, widths: &[usize], unit: bool, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let sizes: Vec<usize> = [&[dim], widths, &[dim]].concat();
        let mut parameters = Vec::new();
        for (layer, size) in sizes.windows(2).enumerate() {
            let (rows, cols) = (size[0], size[1]);
            let last = layer + 2 == sizes.len();
            let bound = if last { 0.0 } else { (6.0 / rows as f32).sqrt() };
            let weights = (0..rows * cols).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
            parameters.push(Parameter::new(format!("{name}.{layer}.weight"), [rows, cols], weights));
            parameters.push(Parameter::new(format!("{name}.{layer}.bias"), [1, cols], vec![0.0; cols]));
        }
        Self { parameters, steps: 0, unit, dim }
    }

    /// Sends rows `[rows, dim]` through, part by part.
    pub(super) fn forward(&self, input: &[f32]) -> Vec<Passed> {
        input.par_chunks(self.part(input.len())).map(|input| self.pass(input)).collect()
    }

    /// The length of a part of so many numbers.
    fn part(&self, numbers: usize) -> usize {
        (numbers / self.dim.max(1)).div_ceil(PARTS).max(1) * self.dim.max(1)
    }

    fn pass(&self, input: &[f32]) -> Passed {
        let rows = input.len() / self.dim.max(1);
        let mut entered = vec![input.to_vec()];
        for (layer, pair) in self.parameters.chunks_exact(2).enumerate() {
            let [before, width] = pair[0].shape;
            let mut next: Vec<f32> = Vec::with_capacity(rows * width);
            (0..rows).for_each(|_| next.extend_from_slice(&pair[1].value));
            let into = ViewMut::new(&mut next, rows, width);
            product(into, View::new(&entered[layer], rows, before), View::new(&pair[0].value, before, width), 1.0, 1.0);
            if 2 * (layer + 1) < self.parameters.len() {
                next.iter_mut().for_each(|number| *number = number.max(0.0));
            }
            entered.push(next);
        }
        let mut out = entered.pop().unwrap_or_default();
        out.iter_mut().zip(input).for_each(|(out, input)| *out += input);
        let mut lengths = Vec::new();
        if self.unit {
            for row in out.chunks_exact_mut(self.dim.max(1)) {
                let length = (row.iter().map(|number| number * number).sum::<f32>() + TINY).sqrt();
                row.iter_mut().for_each(|number| *number /= length);
                lengths.push(length);
            }
        }
        Passed { entered, out, lengths }
    }

    /// The way back: `gradient` `[rows, dim]` by what came out becomes that by what went in; returns the gradients of the
    /// parameters.
    pub(super) fn backward(&self, passed: &[Passed], gradient: &mut [f32]) -> Vec<Vec<f32>> {
        let part = self.part(gradient.len());
        let parts: Vec<Vec<Vec<f32>>> =
            gradient.par_chunks_mut(part).zip(passed).map(|(gradient, passed)| self.back(passed, gradient)).collect();
        let mut parts = parts.into_iter();
        let Some(mut sums) = parts.next() else { return Vec::new() };
        for part in parts {
            for (sum, part) in sums.iter_mut().zip(part) {
                sum.iter_mut().zip(part).for_each(|(sum, number)| *sum += number);
            }
        }
        sums
    }

    fn back(&self, passed: &Passed, gradient: &mut [f32]) -> Vec<Vec<f32>> {
        let dim = self.dim.max(1);
        let rows = gradient.len() / dim;
        if self.unit {
            for ((gradient, out), length) in
                gradient.chunks_exact_mut(dim).zip(passed.out.chunks_exact(dim)).zip(&passed.lengths)
            {
                // What lies along a unit vector changes nothing.
                let along: f32 = gradient.iter().zip(out).map(|(g, out)| g * out).sum();
                gradient.iter_mut().zip(out).for_each(|(g, out)| *g = (*g - along * out) / length);
            }
        }
        let mut sums: Vec<Vec<f32>> = self.parameters.iter().map(|p| vec![0.0; p.value.len()]).collect();
        let mut above = gradient.to_vec();
        for layer in (0..passed.entered.len()).rev() {
            let entered = &passed.entered[layer];
            let [before, width] = self.parameters[2 * layer].shape;
            let into = ViewMut::new(&mut sums[2 * layer], before, width);
            let above_view = View::new(&above, rows, width);
            product(into, View::new(entered, rows, before).transposed(), above_view, 0.0, 1.0);
            for row in above.chunks_exact(width) {
                sums[2 * layer + 1].iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
            }
            let mut below = vec![0.0; rows * before];
            let weight = View::new(&self.parameters[2 * layer].value, before, width).transposed();
            product(ViewMut::new(&mut below, rows, before), above_view, weight, 0.0, 1.0);
            if layer > 0 {
                // What ReLU held back has no part in the loss.
                below.iter_mut().zip(entered).for_each(|(g, entered)| *g = if *entered > 0.0 { *g } else { 0.0 });
            }
            above = below;
        }
        // What went in is added to what comes out of the layers.
        gradient.iter_mut().zip(above).for_each(|(gradient, above)| *gradient += above);
        sums
    }

    /// One AdamW step (Loshchilov and Hutter 2019): weights, but not biases, lose the share `lr * decay` as well.
    pub(super) fn step(&mut self, gradients: &mut [Vec<f32>], lr: f32, decay: f32) {
        self.steps += 1;
        let square: f32 = gradients.iter().flatten().map(|number| number * number).sum();
        if square > LONGEST * LONGEST {
            let share = LONGEST / square.sqrt();
            gradients.iter_mut().flatten().for_each(|number| *number *= share);
        }
        for (nth, (parameter, gradient)) in self.parameters.iter_mut().zip(gradients).enumerate() {
            let kept = if weighs(nth) { 1.0 - lr * decay } else { 1.0 };
            parameter.value.iter_mut().for_each(|value| *value *= kept);
            parameter.step(gradient, lr, self.steps);
        }
    }

    /// The weights by name.
    pub(super) fn weights(&self) -> Tensors {
        self.parameters.iter().map(|p| (p.name.clone(), p.stored(&p.value))).collect()
    }

    /// The weights, Adam's moments and the number of steps, by name.
    pub(super) fn state(&self) -> Tensors {
        let mut state = self.weights();
        for p in &self.parameters {
            state.insert(format!("{}.mean", p.name), p.stored(&p.mean));
            state.insert(format!("{}.square", p.name), p.stored(&p.square));
        }
        if let Some(first) = self.parameters.first() {
            state.insert(format!("{}.steps", first.name), Stored::u32s(vec![self.steps]));
        }
        state
    }

    /// Takes a state back; the name of what is missing or has the wrong shape, if anything is.
    pub(super) fn restore(&mut self, state: &mut Tensors) -> Result<(), String> {
        if let Some(first) = self.parameters.first() {
            let name = format!("{}.steps", first.name);
            match state.remove(&name).map(|steps| steps.data) {
                Some(Data::U32(steps)) if steps.len() == 1 => self.steps = steps[0],
                _ => return Err(name),
            }
        }
        for p in &mut self.parameters {
            for (suffix, target) in [("", &mut p.value), (".mean", &mut p.mean), (".square", &mut p.square)] {
                let name = format!("{}{suffix}", p.name);
                match state.remove(&name).map(|stored| (stored.shape, stored.data)) {
                    Some((stored, Data::F32(data))) if stored == p.shape => *target = data,
                    _ => return Err(name),
                }
            }
        }
        Ok(())
    }
}

/// Whether the parameter of this number is a weight; the others are biases.
pub(super) fn weighs(parameter: usize) -> bool {
    parameter.is_multiple_of(2)
}

impl Parameter {
    pub(super) fn new(name: String, shape: [usize; 2], value: Vec<f32>) -> Self {
        let zeros = || vec![0.0; value.len()];
        let (mean, square) = (zeros(), zeros());
        Self { name, shape, value, mean, square }
    }

    /// The Adam step of this number, counted from 1.
    pub(super) fn step(&mut self, gradient: &[f32], lr: f32, steps: u32) {
        let correct = BETA.map(|beta| 1.0 - beta.powi(steps as i32));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((value, (mean, square)), g) in self.value.iter_mut().zip(moments).zip(gradient) {
            *mean = BETA[0] * *mean + (1.0 - BETA[0]) * g;
            *square = BETA[1] * *square + (1.0 - BETA[1]) * g * g;
            *value -= lr / correct[0] * *mean / ((*square / correct[1]).sqrt() + EPS);
        }
    }

    fn stored(&self, numbers: &[f32]) -> Stored {
        Stored { shape: self.shape.to_vec(), data: Data::F32(numbers.to_vec()) }
    }
}

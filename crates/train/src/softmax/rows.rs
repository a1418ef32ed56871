//! Embeddings of one side with what the optimizer remembers of each row. Only rows in use are read or written.

use lookalike_bundle::Matrix;
use pulp::Arch;
use rayon::prelude::*;

use crate::preset::Optimizer;

/// Rows that one thread updates in a row.
const LEAF: usize = 64;
/// Keeps lengths and step sizes from a division by zero.
pub(super) const TINY: f32 = 1e-8;

/// How fast one side learns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) optimizer: Optimizer,
    pub(super) lr: f32,
    pub(super) l2: f32,
    /// Decay rates of Adam's two moments.
    pub(super) beta: [f32; 2],
}

/// Embeddings `[rows, dim]`, and for each row `memory`: Adagrad's accumulator, or Adam's moments and number of steps.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    dim: usize,
    width: usize,
    data: Vec<f32>,
    memory: Vec<f32>,
}

impl Rows {
    /// Rows that start here, with nothing to remember.
    pub(super) fn new(start: Matrix, optimizer: Optimizer) -> Self {
        let width = memory_width(optimizer, start.cols());
        let memory = vec![0.0; start.rows() * width];
        Self { dim: start.cols(), width, data: start.into_vec(), memory }
    }

    /// Rows that go on from here; nothing if what is remembered has another size.
    pub(super) fn with_memory(rows: Matrix, optimizer: Optimizer, memory: Vec<f32>) -> Option<Self> {
        let width = memory_width(optimizer, rows.cols());
        let fits = memory.len() == rows.rows() * width;
        fits.then(|| Self { dim: rows.cols(), width, data: rows.into_vec(), memory })
    }

    /// Numbers of an embedding.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Numbers that the optimizer remembers of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The embeddings as they are, and what the optimizer remembers.
    pub(super) fn parts(&self) -> (&[f32], &[f32]) {
        (&self.data, &self.memory)
    }

    /// The embeddings at length 1; a row of zeros stays one.
    pub(super) fn units(&self) -> Matrix {
        let rows: Vec<u32> = (0..(self.data.len() / self.dim.max(1)) as u32).collect();
        let mut units = Matrix::zeros(rows.len(), self.dim);
        units.data_mut().copy_from_slice(&self.gather(Arch::new(), &rows).0);
        units
    }

    /// These rows at length 1, one after the other, and their lengths.
    pub(super) fn gather(&self, arch: Arch, rows: &[u32]) -> (Vec<f32>, Vec<f32>) {
        let mut units = vec![0.0; rows.len() * self.dim];
        let mut lengths = vec![0.0; rows.len()];
        let chunks = units.par_chunks_mut(LEAF * self.dim).zip(lengths.par_chunks_mut(LEAF)).zip(rows.par_chunks(LEAF));
        chunks.for_each(|((units, lengths), rows)| {
            arch.dispatch(
                #[inline(always)]
                || {
                    for ((unit, length), &row) in units.chunks_exact_mut(self.dim).zip(lengths).zip(rows) {
                        let row = &self.data[row as usize * self.dim..][..self.dim];
                        *length = sum_of_squares(row).sqrt() + TINY;
                        let shrink = 1.0 / *length;
                        unit.iter_mut().zip(row).for_each(|(unit, number)| *unit = number * shrink);
                    }
                },
            );
        });
        (units, lengths)
    }

    /// One optimizer step of `rows` (ascending, all different), whose gathered `units` and `lengths` are given.
    /// `gradient(nth, out)` adds the gradient of the n-th unit vector to zeros.
    pub(super) fn update(
        &mut self,
        arch: Arch,
        rows: &[u32],
        (units, lengths): (&[f32], &[f32]),
        pace: Pace,
        gradient: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let part = Part { first: 0, nth: 0, rows, data: &mut self.data, memory: &mut self.memory };
        let work = Work { arch, dim: self.dim, width: self.width, units, lengths, pace, gradient: &gradient };
        work.part(part);
    }
}

fn memory_width(optimizer: Optimizer, dim: usize) -> usize {
    match optimizer {
        Optimizer::Adagrad => 1,
        Optimizer::Adam => 2 * dim + 1,
    }
}

/// A run of the table, from row `first`, and the rows in use that lie in it; `nth` is the number of the first of them.
struct Part<'a> {
    first: usize,
    nth: usize,
    rows: &'a [u32],
    data: &'a mut [f32],
    memory: &'a mut [f32],
}

struct Work<'a, G> {
    arch: Arch,
    dim: usize,
    width: usize,
    units: &'a [f32],
    lengths: &'a [f32],
    pace: Pace,
    gradient: &'a G,
}

impl<G: Fn(usize, &mut [f32]) + Sync> Work<'_, G> {
    /// Splits the table between two rows in use until few are left, so that threads share it safely.
    fn part(&self, part: Part<'_>) {
        if part.rows.len() <= LEAF {
            let arch = self.arch;
            return arch.dispatch(
                #[inline(always)]
                || self.leaf(part),
            );
        }
        let half = part.rows.len() / 2;
        let (low, high) = part.rows.split_at(half);
        let border = high[0] as usize - part.first;
        let (low_data, high_data) = part.data.split_at_mut(border * self.dim);
        let (low_memory, high_memory) = part.memory.split_at_mut(border * self.width);
        let low = Part { rows: low, data: low_data, memory: low_memory, ..part };
        let (first, nth) = (part.first + border, part.nth + half);
        let high = Part { first, nth, rows: high, data: high_data, memory: high_memory };
        rayon::join(|| self.part(low), || self.part(high));
    }

    #[inline(always)]
    fn leaf(&self, part: Part<'_>) {
        let mut gradient = vec![0.0f32; self.dim];
        for (nth, &row) in (part.nth..).zip(part.rows) {
            let at = row as usize - part.first;
            let row = &mut part.data[at * self.dim..][..self.dim];
            let memory = &mut part.memory[at * self.width..][..self.width];
            gradient.fill(0.0);
            (self.gradient)(nth, &mut gradient);
            // From the unit vector to the row: what lies along it changes nothing.
            let unit = &self.units[nth * self.dim..][..self.dim];
            let along = dot(&gradient, unit);
            let shrink = 1.0 / self.lengths[nth];
            for ((g, unit), number) in gradient.iter_mut().zip(unit).zip(&*row) {
                *g = (*g - along * unit) * shrink + self.pace.l2 * number;
            }
            self.pace.step(row, memory, &gradient);
        }
    }
}

impl Pace {
    #[inline(always)]
    fn step(&self, row: &mut [f32], memory: &mut [f32], gradient: &[f32]) {
        match self.optimizer {
            // Duchi et al. 2011, one accumulator a row.
            Optimizer::Adagrad => {
                memory[0] += sum_of_squares(gradient) / gradient.len() as f32;
                let rate = self.lr / (memory[0].sqrt() + TINY);
                row.iter_mut().zip(gradient).for_each(|(number, g)| *number -= rate * g);
            }
            // Kingma and Ba 2015; moments stand still while a row is not in use.
            Optimizer::Adam => {
                let (moments, steps) = memory.split_at_mut(2 * row.len());
                let (mean, square) = moments.split_at_mut(row.len());
                steps[0] += 1.0;
                let [keep_mean, keep_square] = self.beta;
                let correct = self.beta.map(|beta| 1.0 / (1.0 - beta.powi(steps[0] as i32)));
                let rate = self.lr * correct[0];
                for (((number, g), mean), square) in row.iter_mut().zip(gradient).zip(mean).zip(square) {
                    *mean = keep_mean * *mean + (1.0 - keep_mean) * g;
                    *square = keep_square * *square + (1.0 - keep_square) * g * g;
                    *number -= rate * *mean / ((*square * correct[1]).sqrt() + TINY);
                }
            }
        }
    }
}

#[inline(always)]
fn sum_of_squares(numbers: &[f32]) -> f32 {
    dot(numbers, numbers)
}

/// The inner product, by sixteen running sums: the order of additions is fixed and still fits vector registers.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

//! The embedding table in host memory: what the CPU trains with, and what judges the GPU's.

use burn::Tensor;
use burn::tensor::TensorData;
use lookalike_bundle::Matrix;
use rayon::prelude::*;

use crate::bags::{Bags, Segments};
use crate::device::{DeviceError, one_line};
use crate::pages::Numbers;

/// Examples or rows handed to a thread at once: enough work to be worth the handing.
const GRAIN: usize = 64;

/// A table in host memory; see [`crate::Table`] for what it does.
#[derive(Debug)]
pub struct HostTable {
    dim: usize,
    /// Row after row.
    table: Numbers,
    /// One for each row.
    accumulator: Numbers,
}

impl HostTable {
    /// Takes rows `[rows, dim]` and an accumulator `[rows]`.
    pub(crate) fn new(table: &Matrix, accumulator: &[f32]) -> Self {
        Self { dim: table.cols(), table: Numbers::new(table.data()), accumulator: Numbers::new(accumulator) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.accumulator.all().len()
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn read(&self) -> Matrix {
        let mut matrix = Matrix::zeros(self.rows(), self.dim);
        matrix.data_mut().copy_from_slice(self.table.all());
        matrix
    }

    pub(crate) fn read_accumulator(&self) -> Vec<f32> {
        self.accumulator.all().to_vec()
    }

    /// The sum of each bag's rows. The rows must exist.
    pub(crate) fn gather(&self, bags: &Bags) -> Tensor<2> {
        let data = TensorData::new(self.gathered(bags), [bags.batch(), self.dim()]);
        Tensor::from_data(data, &burn::tensor::Device::flex())
    }

    /// The same as numbers, `[batch, dim]`.
    pub(crate) fn gathered(&self, bags: &Bags) -> Vec<f32> {
        let dim = self.dim();
        let mut out = vec![0.0f32; bags.batch() * dim];
        let table = self.table.all();
        if dim > 0 {
            out.par_chunks_mut(dim).with_min_len(GRAIN).enumerate().for_each(|(example, sum)| {
                for (row, weight) in bags.weighed(example) {
                    add(sum, &table[row as usize * dim..][..dim], weight);
                }
            });
        }
        out
    }

    /// The gradient by the weight of each entry of the bags: the inner product of its row and `grad`, `[batch, dim]`, of
    /// its example. The rows must exist.
    pub(crate) fn by_weight(&self, bags: &Bags, grad: &[f32]) -> Vec<f32> {
        let (dim, table) = (self.dim(), self.table.all());
        let entries = (0..bags.batch()).into_par_iter().with_min_len(GRAIN).flat_map_iter(|example| {
            let grad = &grad[example * dim..][..dim];
            bags.bag(example).iter().map(move |&row| dot(&table[row as usize * dim..][..dim], grad))
        });
        entries.collect()
    }

    /// One step of row-wise Adagrad; `grad` has shape `[batch, dim]`, the rows must exist.
    pub(crate) fn update(
        &mut self,
        segments: &Segments,
        grad: Tensor<2>,
        lr: f32,
        eps: f32,
    ) -> Result<(), DeviceError> {
        let failed = |error: &dyn std::fmt::Display| DeviceError::Failed { reason: one_line(error) };
        let grad = grad.try_into_data().map_err(|error| failed(&error))?;
        self.learn(segments, grad.as_slice::<f32>().map_err(|error| failed(&error))?, lr, eps);
        Ok(())
    }

    /// The same by numbers, `[batch, dim]`.
    pub(crate) fn learn(&mut self, segments: &Segments, grad: &[f32], lr: f32, eps: f32) {
        let dim = self.dim();
        if dim == 0 {
            return;
        }
        self.rows_of(segments).into_par_iter().with_min_len(GRAIN).enumerate().for_each_init(
            || vec![0.0f32; dim],
            |sum, (segment, (row, accumulator))| {
                sum.fill(0.0);
                for (example, weight) in segments.weighed(segment) {
                    add(sum, &grad[example as usize * dim..][..dim], weight);
                }
                *accumulator += dot(sum, sum) / dim as f32;
                let scale = lr / (accumulator.sqrt() + eps);
                for (weight, g) in row.iter_mut().zip(&*sum) {
                    *weight -= scale * g;
                }
            },
        );
    }

    /// The rows that the segments name, each with its accumulator, as disjoint borrows: since the
    /// rows ascend, one walk splits the table without a lock.
    fn rows_of(&mut self, segments: &Segments) -> Vec<(&mut [f32], &mut f32)> {
        let dim = self.dim();
        let (mut table, mut accumulator) = (self.table.all_mut(), self.accumulator.all_mut());
        let (mut next, mut rows) = (0, Vec::with_capacity(segments.rows().len()));
        for &row in segments.rows() {
            let skip = row as usize - next;
            let (found, rest) = std::mem::take(&mut table)[skip * dim..].split_at_mut(dim);
            let (sum, sums) = std::mem::take(&mut accumulator)[skip..].split_at_mut(1);
            rows.push((found, &mut sum[0]));
            (table, accumulator, next) = (rest, sums, row as usize + 1);
        }
        rows
    }
}

fn add(sum: &mut [f32], row: &[f32], weight: f32) {
    for (s, r) in sum.iter_mut().zip(row) {
        *s += weight * r;
    }
}

/// In eight running sums, so that the loop becomes vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (a, b) in a.chunks(lanes.len()).zip(b.chunks(lanes.len())) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table() -> HostTable {
        HostTable::new(&Matrix::from_vec(3, 2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap(), &[0.0, 1.0, 0.0])
    }

    #[test]
    fn a_bag_is_the_sum_of_its_rows() {
        let bags = Bags::new(vec![0, 3, 3, 4], vec![0, 2, 2, 1]).unwrap();
        let gathered = table().gather(&bags).into_data();
        assert_eq!(gathered.as_slice::<f32>().unwrap(), [11.0, 14.0, 0.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn rows_count_by_their_weights_both_ways() {
        let mut table = table();
        let bags = Bags::new(vec![0, 2], vec![0, 1]).unwrap().weighted(vec![0.5, 2.0]).unwrap();
        assert_eq!(table.gathered(&bags), [6.5, 9.0]);
        table.learn(&bags.segments(), &[1.0, 1.0], 0.5, 0.0);
        // g = (0.5, 0.5) with an accumulator of 0.25, and (2, 2) with one of 5: both move by 0.5 · g / √accumulator.
        let far = 0.5 * 2.0 / 5f32.sqrt();
        assert_eq!(table.read().data(), [0.5, 1.5, 3.0 - far, 4.0 - far, 5.0, 6.0]);
    }

    #[test]
    fn an_update_follows_the_formula_and_touches_its_rows_alone() {
        let mut table = table();
        let segments = Bags::new(vec![0, 1, 2], vec![1, 1]).unwrap().segments();
        let grad = Tensor::from_data([[1.0f32, 2.0], [2.0, 2.0]], &burn::tensor::Device::flex());
        table.update(&segments, grad, 0.5, 0.0).unwrap();
        // g = (3, 4), mean of squares 12.5, accumulator 13.5.
        let scale = 0.5 / 13.5f32.sqrt();
        assert_eq!(table.read().data(), [1.0, 2.0, 3.0 - scale * 3.0, 4.0 - scale * 4.0, 5.0, 6.0]);
        assert_eq!(table.read_accumulator(), [0.0, 13.5, 0.0]);
    }

    #[test]
    fn products_are_summed_for_any_length() {
        for length in 0..20 {
            let numbers: Vec<f32> = (0..length).map(|x| x as f32).collect();
            let others: Vec<f32> = numbers.iter().map(|x| x - 5.0).collect();
            assert_eq!(dot(&numbers, &others), numbers.iter().map(|x| x * (x - 5.0)).sum::<f32>());
        }
    }

    #[test]
    fn a_weight_pulls_by_its_row_and_the_gradient_of_its_example() {
        let bags = Bags::new(vec![0, 2, 2, 3], vec![0, 2, 1]).unwrap();
        assert_eq!(table().by_weight(&bags, &[1.0, 0.5, 9.0, 9.0, 0.0, 2.0]), [2.0, 8.0, 8.0]);
    }
}

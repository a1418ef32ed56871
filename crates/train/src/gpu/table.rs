//! The embedding table in GPU buffers, split by rows where one buffer would be too large.

use std::ops::Range;

use burn::Tensor;
use burn_cubecl::tensor::CubeTensor;
use lookalike_bundle::Matrix;

use crate::bags::{Bags, Segments};
use crate::device::DeviceError;
use crate::gpu::{Gpu, kernels, optimizer};

/// The longest run of gradients that one unit sums. A row used by thousands of examples is summed
/// in pieces side by side, and the pieces in a second pass, both in a fixed order.
const PIECE: usize = 64;

/// A table in buffers of a GPU; see [`crate::Table`] for what it does.
#[derive(Debug)]
pub struct GpuTable {
    gpu: Gpu,
    rows: usize,
    dim: usize,
    shards: Vec<Shard>,
}

/// The table's rows `rows` in one buffer `[rows, dim]` and what the optimizer remembers of them in another,
/// `[rows, width]`.
#[derive(Debug)]
struct Shard {
    rows: Range<usize>,
    table: CubeTensor,
    memory: CubeTensor,
}

impl GpuTable {
    /// Uploads rows `[rows, dim]` and what the optimizer remembers of them, `[rows, width]`: Adagrad's accumulator with
    /// a width of 1, or Adam's moments and number of steps with 2 · dim + 1. Fails if a single row is larger than what
    /// one buffer holds, or if the device has no room.
    pub(crate) fn new(gpu: &Gpu, table: &Matrix, memory: &[f32], width: usize) -> Result<Self, DeviceError> {
        let (rows, dim) = (table.rows(), table.cols());
        if u32::try_from(rows).is_err() {
            let problem = format!("has {rows} rows, more than a 32-bit row number can count");
            return Err(DeviceError::Input { what: "embedding table", problem });
        }
        gpu.bytes("embedding row", dim.max(width))?;
        let per_shard = (gpu.limits.binding / 4) as usize / dim.max(width);
        let mut shards = Vec::new();
        // A table without rows is one empty shard, so that gathering from it still yields zeros.
        for first in (0..rows.max(1)).step_by(per_shard) {
            let range = first..rows.min(first + per_shard);
            let table = gpu.upload_f32("embedding table", &table.data()[range.start * dim..range.end * dim])?;
            let memory = &memory[range.start * width..range.end * width];
            let memory = gpu.upload_f32("memory of the embeddings", memory)?;
            shards.push(Shard { rows: range, table, memory });
        }
        let buffers: Vec<&CubeTensor> = shards.iter().flat_map(|shard| [&shard.table, &shard.memory]).collect();
        gpu.sync(&buffers)?;
        Ok(Self { gpu: gpu.clone(), rows, dim, shards })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// How many buffers the table is split into.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The sum of each bag's rows, shard after shard. The rows must exist.
    pub(crate) fn gather(&self, bags: &Bags) -> Result<Tensor<2>, DeviceError> {
        let numbers = bags.batch() * self.dim;
        let out = self.gpu.empty("batch of embeddings", numbers)?;
        if numbers > 0 {
            let offsets = self.gpu.upload_u32("offsets of the bags", bags.offsets())?;
            let rows = self.gpu.upload_u32("rows of the bags", bags.rows())?;
            let weighted = !bags.weights().is_empty();
            // Without weights the kernel does not read them, and gets any buffer of numbers.
            let weights = match weighted {
                true => self.gpu.upload_f32("weights of the bags", bags.weights())?,
                false => self.gpu.empty("weights of the bags", 1)?,
            };
            let (cubes, units) = self.gpu.units(numbers);
            for (nth, shard) in self.shards.iter().enumerate() {
                kernels::gather_bags::launch(
                    &self.gpu.client,
                    cubes.clone(),
                    units,
                    shard.table.clone().into_buffer_arg(),
                    offsets.clone().into_buffer_arg(),
                    rows.clone().into_buffer_arg(),
                    weights.clone().into_buffer_arg(),
                    out.clone().into_buffer_arg(),
                    shard.rows.start as u32,
                    shard.rows.len() as u32,
                    self.dim,
                    nth > 0,
                    weighted,
                );
            }
        }
        Ok(self.gpu.tensor_of(out, [bags.batch(), self.dim]))
    }

    /// The inner product of each of the bags' rows and the gradient of its example, `[batch, dim]`; the rows must exist.
    pub(crate) fn by_weight(&self, bags: &Bags, grad: Tensor<2>) -> Result<Tensor<1>, DeviceError> {
        let grad = self.gpu.buffer_of("gradient", grad)?;
        let entries = bags.rows().len();
        let out = self.gpu.empty("gradient of the weights", entries)?;
        if entries > 0 {
            let rows = self.gpu.upload_u32("rows of the bags", bags.rows())?;
            let examples: Vec<u32> =
                (0..bags.batch()).flat_map(|example| bags.bag(example).iter().map(move |_| example as u32)).collect();
            let examples = self.gpu.upload_u32("examples of the batch", &examples)?;
            let (cubes, units) = self.gpu.units(entries);
            for shard in &self.shards {
                kernels::dot_entries::launch(
                    &self.gpu.client,
                    cubes.clone(),
                    units,
                    shard.table.clone().into_buffer_arg(),
                    grad.clone().into_buffer_arg(),
                    rows.clone().into_buffer_arg(),
                    examples.clone().into_buffer_arg(),
                    out.clone().into_buffer_arg(),
                    shard.rows.start as u32,
                    shard.rows.len() as u32,
                    self.dim,
                );
            }
        }
        Ok(self.gpu.tensor_of(out, [entries]))
    }

    /// One step of row-wise Adagrad; `grad` has shape `[batch, dim]`, the rows must exist.
    pub(crate) fn update(
        &mut self,
        segments: &Segments,
        grad: Tensor<2>,
        lr: f32,
        eps: f32,
    ) -> Result<(), DeviceError> {
        let grad = self.gpu.buffer_of("gradient", grad)?;
        if segments.rows().is_empty() || self.dim == 0 {
            return Ok(());
        }
        let pieces = segments.pieces(PIECE);
        let examples = self.gpu.upload_u32("examples of the batch", segments.examples())?;
        let sums = self.sum_runs(&grad, Some((&examples, segments.weights())), &pieces.offsets)?;
        let sums = self.sum_runs(&sums, None, &pieces.of_segment)?;
        self.apply_adagrad(segments.rows(), &sums, lr, eps)
    }

    /// One step of row-wise Adagrad of `rows`, ascending and all different, by their gradients `[rows, dim]`.
    pub(crate) fn adagrad(&mut self, rows: &[u32], grad: Tensor<2>, lr: f32, eps: f32) -> Result<(), DeviceError> {
        self.apply_adagrad(rows, &self.gpu.buffer_of("gradient", grad)?, lr, eps)
    }

    fn apply_adagrad(&self, rows: &[u32], grads: &CubeTensor, lr: f32, eps: f32) -> Result<(), DeviceError> {
        let ids = self.gpu.upload_u32("rows of the batch", rows)?;
        let scale = self.gpu.empty("rows of the batch", rows.len())?;
        for (shard, used) in self.used(rows) {
            let (cubes, units) = self.gpu.units(used.len());
            optimizer::adagrad_scale::launch(
                &self.gpu.client,
                cubes,
                units,
                shard.memory.clone().into_buffer_arg(),
                grads.clone().into_buffer_arg(),
                ids.clone().into_buffer_arg(),
                scale.clone().into_buffer_arg(),
                shard.rows.start as u32,
                used.start as u32,
                used.end as u32,
                lr,
                eps,
                self.dim,
            );
            let (cubes, units) = self.gpu.units(used.len() * self.dim);
            optimizer::adagrad_apply::launch(
                &self.gpu.client,
                cubes,
                units,
                shard.table.clone().into_buffer_arg(),
                grads.clone().into_buffer_arg(),
                ids.clone().into_buffer_arg(),
                scale.clone().into_buffer_arg(),
                shard.rows.start as u32,
                used.start as u32,
                used.end as u32,
                self.dim,
            );
        }
        Ok(())
    }

    /// One step of Adam of `rows`, ascending and all different, by their gradients `[rows, dim]`. The moments of other
    /// rows stand still. `beta` are the decay rates of mean and square.
    pub(crate) fn adam(
        &mut self,
        rows: &[u32],
        grad: Tensor<2>,
        lr: f32,
        beta: [f32; 2],
        eps: f32,
    ) -> Result<(), DeviceError> {
        let grads = self.gpu.buffer_of("gradient", grad)?;
        let ids = self.gpu.upload_u32("rows of the batch", rows)?;
        let corrections = self.gpu.empty("rows of the batch", 2 * rows.len())?;
        for (shard, used) in self.used(rows) {
            let (cubes, units) = self.gpu.units(used.len());
            optimizer::adam_count::launch(
                &self.gpu.client,
                cubes,
                units,
                shard.memory.clone().into_buffer_arg(),
                ids.clone().into_buffer_arg(),
                corrections.clone().into_buffer_arg(),
                shard.rows.start as u32,
                used.start as u32,
                used.end as u32,
                beta[0],
                beta[1],
                self.dim,
            );
            let (cubes, units) = self.gpu.units(used.len() * self.dim);
            optimizer::adam_apply::launch(
                &self.gpu.client,
                cubes,
                units,
                shard.table.clone().into_buffer_arg(),
                shard.memory.clone().into_buffer_arg(),
                grads.clone().into_buffer_arg(),
                ids.clone().into_buffer_arg(),
                corrections.clone().into_buffer_arg(),
                shard.rows.start as u32,
                used.start as u32,
                used.end as u32,
                lr,
                beta[0],
                beta[1],
                eps,
                self.dim,
            );
        }
        Ok(())
    }

    /// The shards that some of `rows` (ascending) lie in, each with the places of these rows.
    fn used(&self, rows: &[u32]) -> impl Iterator<Item = (&Shard, Range<usize>)> {
        let below = |end: usize| rows.partition_point(|&row| (row as usize) < end);
        let places = move |shard: &Shard| below(shard.rows.start)..below(shard.rows.end);
        self.shards.iter().map(move |shard| (shard, places(shard))).filter(|(_, places)| !places.is_empty())
    }

    /// Sums of consecutive rows of `values`, or of those that `index` names, with weights if it has any; one sum per run
    /// of `offsets`.
    fn sum_runs(
        &self,
        values: &CubeTensor,
        index: Option<(&CubeTensor, &[f32])>,
        offsets: &[u32],
    ) -> Result<CubeTensor, DeviceError> {
        let numbers = (offsets.len() - 1) * self.dim;
        let out = self.gpu.empty("summed gradients", numbers)?;
        let offsets = self.gpu.upload_u32("rows of the batch", offsets)?;
        let weights = index.map(|(_, weights)| weights).filter(|weights| !weights.is_empty());
        let weighted = weights.is_some();
        let weights = match weights {
            Some(weights) => self.gpu.upload_f32("weights of the batch", weights)?,
            None => self.gpu.empty("weights of the batch", 1)?,
        };
        let (cubes, units) = self.gpu.units(numbers);
        kernels::sum_runs::launch(
            &self.gpu.client,
            cubes,
            units,
            values.clone().into_buffer_arg(),
            index.map_or(&offsets, |(index, _)| index).clone().into_buffer_arg(),
            weights.into_buffer_arg(),
            offsets.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            self.dim,
            index.is_some(),
            weighted,
        );
        Ok(out)
    }

    pub(crate) fn read(&self) -> Result<Matrix, DeviceError> {
        let mut numbers = Vec::with_capacity(self.rows * self.dim);
        for shard in &self.shards {
            numbers.extend(self.gpu.download(&shard.table)?);
        }
        let found = numbers.len();
        Matrix::from_vec(self.rows, self.dim, numbers)
            .ok_or_else(|| DeviceError::Failed { reason: format!("{found} numbers came back from the table") })
    }

    /// What the optimizer remembers of the rows, `[rows, width]`.
    pub(crate) fn read_memory(&self) -> Result<Vec<f32>, DeviceError> {
        let mut numbers = Vec::new();
        for shard in &self.shards {
            numbers.extend(self.gpu.download(&shard.memory)?);
        }
        Ok(numbers)
    }
}

//! The embedding table in GPU buffers, split by rows where one buffer would be too large.

use std::ops::Range;

use burn::Tensor;
use burn_cubecl::tensor::CubeTensor;
use lookalike_bundle::Matrix;

use crate::bags::{Bags, Segments};
use crate::device::DeviceError;
use crate::gpu::{Gpu, kernels};

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

/// The table's rows `rows` in one buffer `[rows, dim]` and their accumulator `[rows]` in another.
#[derive(Debug)]
struct Shard {
    rows: Range<usize>,
    table: CubeTensor,
    accumulator: CubeTensor,
}

impl GpuTable {
    /// Uploads rows `[rows, dim]` and an accumulator `[rows]`. Fails if a single row is larger than
    /// what one buffer holds, or if the device has no room.
    pub(crate) fn new(gpu: &Gpu, table: &Matrix, accumulator: &[f32]) -> Result<Self, DeviceError> {
        let (rows, dim) = (table.rows(), table.cols());
        if u32::try_from(rows).is_err() {
            let problem = format!("has {rows} rows, more than a 32-bit row number can count");
            return Err(DeviceError::Input { what: "embedding table", problem });
        }
        gpu.bytes("embedding row", dim.max(1))?;
        let per_shard = (gpu.limits.binding / 4) as usize / dim.max(1);
        let mut shards = Vec::new();
        // A table without rows is one empty shard, so that gathering from it still yields zeros.
        for first in (0..rows.max(1)).step_by(per_shard) {
            let range = first..rows.min(first + per_shard);
            let table = gpu.upload_f32("embedding table", &table.data()[range.start * dim..range.end * dim])?;
            let accumulator = gpu.upload_f32("embedding accumulator", &accumulator[range.clone()])?;
            shards.push(Shard { rows: range, table, accumulator });
        }
        let buffers: Vec<&CubeTensor> = shards.iter().flat_map(|shard| [&shard.table, &shard.accumulator]).collect();
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
            let (cubes, units) = self.gpu.units(numbers);
            for (nth, shard) in self.shards.iter().enumerate() {
                kernels::gather_bags::launch(
                    &self.gpu.client,
                    cubes.clone(),
                    units,
                    shard.table.clone().into_buffer_arg(),
                    offsets.clone().into_buffer_arg(),
                    rows.clone().into_buffer_arg(),
                    out.clone().into_buffer_arg(),
                    shard.rows.start as u32,
                    shard.rows.len() as u32,
                    self.dim,
                    nth > 0,
                );
            }
        }
        Ok(self.gpu.tensor_of(out, [bags.batch(), self.dim]))
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
        let rows = self.gpu.upload_u32("rows of the batch", segments.rows())?;
        let sums = self.sum_runs(&grad, Some(&examples), &pieces.offsets)?;
        let sums = self.sum_runs(&sums, None, &pieces.of_segment)?;
        let scale = self.gpu.empty("rows of the batch", segments.rows().len())?;
        for shard in &self.shards {
            let from = segments.rows().partition_point(|&row| (row as usize) < shard.rows.start);
            let until = segments.rows().partition_point(|&row| (row as usize) < shard.rows.end);
            if from == until {
                continue;
            }
            let (cubes, units) = self.gpu.units(until - from);
            kernels::adagrad_scale::launch(
                &self.gpu.client,
                cubes,
                units,
                shard.accumulator.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                rows.clone().into_buffer_arg(),
                scale.clone().into_buffer_arg(),
                shard.rows.start as u32,
                from as u32,
                until as u32,
                lr,
                eps,
                self.dim,
            );
            let (cubes, units) = self.gpu.units((until - from) * self.dim);
            kernels::adagrad_apply::launch(
                &self.gpu.client,
                cubes,
                units,
                shard.table.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                rows.clone().into_buffer_arg(),
                scale.clone().into_buffer_arg(),
                shard.rows.start as u32,
                from as u32,
                until as u32,
                self.dim,
            );
        }
        Ok(())
    }

    /// Sums of consecutive rows of `values`, or of those that `index` names; one sum per run of `offsets`.
    fn sum_runs(
        &self,
        values: &CubeTensor,
        index: Option<&CubeTensor>,
        offsets: &[u32],
    ) -> Result<CubeTensor, DeviceError> {
        let numbers = (offsets.len() - 1) * self.dim;
        let out = self.gpu.empty("summed gradients", numbers)?;
        let offsets = self.gpu.upload_u32("rows of the batch", offsets)?;
        let (cubes, units) = self.gpu.units(numbers);
        kernels::sum_runs::launch(
            &self.gpu.client,
            cubes,
            units,
            values.clone().into_buffer_arg(),
            index.unwrap_or(&offsets).clone().into_buffer_arg(),
            offsets.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            self.dim,
            index.is_some(),
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

    pub(crate) fn read_accumulator(&self) -> Result<Vec<f32>, DeviceError> {
        let mut numbers = Vec::with_capacity(self.rows);
        for shard in &self.shards {
            numbers.extend(self.gpu.download(&shard.accumulator)?);
        }
        Ok(numbers)
    }
}

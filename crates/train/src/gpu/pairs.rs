//! What pairs of rows contribute: each pair joins a row of one tensor, left, with a row of another, right. Sums run
//! over sorted runs in a fixed order, one unit each, so that they repeat bit for bit.
// The launch functions take one argument per buffer and scalar, and their documentation is generated.
#![allow(clippy::too_many_arguments, missing_docs)]

use burn::Tensor;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::device::DeviceError;
use crate::gpu::Gpu;

/// `out[p] = left[rows[p]] · right[slots[p]]`. One unit per pair.
#[cube(launch)]
pub fn pair_dots(left: &[f32], right: &[f32], rows: &[u32], slots: &[u32], out: &mut [f32], #[comptime] dim: usize) {
    if ABSOLUTE_POS < out.len() {
        let row = rows[ABSOLUTE_POS] as usize * dim;
        let slot = slots[ABSOLUTE_POS] as usize * dim;
        let mut sum = 0.0f32;
        for j in 0..dim {
            sum += left[row + j] * right[slot + j];
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// Over the pairs `p` of a row, with total `W = Σ weights[p]` and `e_p = weights[p] · exp((cosines[p] - 1) · sharp)`:
/// `out[p] = e_p · W · sharp / Σ e` and `losses[row] = -W · (log(Σ e / W) + sharp)`. One unit per row.
#[cube(launch)]
pub fn pair_softmax(
    cosines: &[f32],
    weights: &[f32],
    offsets: &[u32],
    out: &mut [f32],
    losses: &mut [f32],
    sharp: f32,
) {
    if ABSOLUTE_POS < losses.len() {
        let start = offsets[ABSOLUTE_POS];
        let end = offsets[ABSOLUTE_POS + 1];
        let mut total = 0.0f32;
        let mut sum = 0.0f32;
        for pair in start..end {
            let weight = weights[pair as usize];
            // As on the CPU, nothing is below e⁻⁸⁷, so that the sum is not zero.
            let e = weight * max((cosines[pair as usize] - 1.0) * sharp, -87.0).exp();
            out[pair as usize] = e;
            total += weight;
            sum += e;
        }
        let scale = total * sharp / sum;
        for pair in start..end {
            out[pair as usize] *= scale;
        }
        losses[ABSOLUTE_POS] = -total * ((sum / total).ln() + sharp);
    }
}

/// `out[r, j] -= Σ pulls[p] · values[others[p], j]` over run `r`, the places `offsets[r]..offsets[r + 1]` in order, where
/// place `q` stands for pair `p = order[q]`, or for pair `q` itself unless `ordered`. One unit per number.
#[cube(launch)]
pub fn pull_runs(
    values: &[f32],
    pulls: &[f32],
    others: &[u32],
    order: &[u32],
    offsets: &[u32],
    out: &mut [f32],
    #[comptime] dim: usize,
    #[comptime] ordered: bool,
) {
    if ABSOLUTE_POS < out.len() {
        let run = ABSOLUTE_POS / dim;
        let j = ABSOLUTE_POS % dim;
        let mut sum = 0.0f32;
        for place in offsets[run]..offsets[run + 1] {
            let mut pair = place;
            if ordered {
                pair = order[place as usize];
            }
            sum += pulls[pair as usize] * values[others[pair as usize] as usize * dim + j];
        }
        out[ABSOLUTE_POS] -= sum;
    }
}

/// `out[rows[n], j] += values[n, j]` for rows that are all different. One unit per number.
#[cube(launch)]
pub fn add_rows(out: &mut [f32], values: &[f32], rows: &[u32], #[comptime] dim: usize) {
    if ABSOLUTE_POS < values.len() {
        let row = rows[ABSOLUTE_POS / dim] as usize;
        out[row * dim + ABSOLUTE_POS % dim] += values[ABSOLUTE_POS];
    }
}

/// `out[places[n]] = value`. One unit per place.
#[cube(launch)]
pub fn fill_places(out: &mut [f32], places: &[u32], value: f32) {
    if ABSOLUTE_POS < places.len() {
        out[places[ABSOLUTE_POS] as usize] = value;
    }
}

/// Pairs on the device, in the order of their rows.
pub(crate) struct GpuPairs {
    gpu: Gpu,
    count: usize,
    rows: CubeTensor,
    slots: CubeTensor,
    offsets: CubeTensor,
    by_slot: CubeTensor,
    slot_offsets: CubeTensor,
}

impl GpuPairs {
    /// Pair `p` joins row `rows[p]` of the left with row `slots[p]` of the right. The pairs of left row `r` are
    /// `offsets[r]..offsets[r + 1]`, those of right row `s` are these places of `by_slot.0`: `by_slot.1[s]..by_slot.1[s + 1]`.
    pub(crate) fn new(
        gpu: &Gpu,
        rows: &[u32],
        slots: &[u32],
        offsets: &[u32],
        by_slot: (&[u32], &[u32]),
    ) -> Result<Self, DeviceError> {
        let upload = |numbers| gpu.upload_u32("pairs of the step", numbers);
        Ok(Self {
            gpu: gpu.clone(),
            count: rows.len(),
            rows: upload(rows)?,
            slots: upload(slots)?,
            offsets: upload(offsets)?,
            by_slot: upload(by_slot.0)?,
            slot_offsets: upload(by_slot.1)?,
        })
    }

    /// The inner product of each pair, `[pairs]`, from `[left, dim]` and `[right, dim]`.
    pub(crate) fn dots(&self, left: &Tensor<2>, right: &Tensor<2>) -> Result<Tensor<1>, DeviceError> {
        let dim = left.dims()[1];
        let out = self.gpu.empty("scores of the pairs", self.count)?;
        let (cubes, units) = self.gpu.units(self.count);
        pair_dots::launch(
            &self.gpu.client,
            cubes,
            units,
            self.gpu.buffer_of("left rows", left.clone())?.into_buffer_arg(),
            self.gpu.buffer_of("right rows", right.clone())?.into_buffer_arg(),
            self.rows.clone().into_buffer_arg(),
            self.slots.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            dim,
        );
        Ok(self.gpu.tensor_of(out, [self.count]))
    }

    /// A weighted softmax over the pairs of each of `left` rows: each pair's share `[pairs]` and each row's loss
    /// `[left]`, as [`pair_softmax`] says.
    pub(crate) fn softmax(
        &self,
        cosines: Tensor<1>,
        weights: &[f32],
        left: usize,
        sharp: f32,
    ) -> Result<(Tensor<1>, Tensor<1>), DeviceError> {
        let shares = self.gpu.empty("scores of the pairs", self.count)?;
        let losses = self.gpu.empty("losses of the rows", left)?;
        let (cubes, units) = self.gpu.units(left);
        pair_softmax::launch(
            &self.gpu.client,
            cubes,
            units,
            self.gpu.buffer_of("scores of the pairs", cosines)?.into_buffer_arg(),
            self.gpu.upload_f32("weights of the pairs", weights)?.into_buffer_arg(),
            self.offsets.clone().into_buffer_arg(),
            shares.clone().into_buffer_arg(),
            losses.clone().into_buffer_arg(),
            sharp,
        );
        Ok((self.gpu.tensor_of(shares, [self.count]), self.gpu.tensor_of(losses, [left])))
    }

    /// Takes each pair's right row, times its pull `[pairs]`, from the pair's row of `gradient` `[left, dim]`.
    pub(crate) fn pull_left(
        &self,
        gradient: Tensor<2>,
        pulls: &Tensor<1>,
        right: &Tensor<2>,
    ) -> Result<Tensor<2>, DeviceError> {
        self.pull(gradient, pulls, right, (&self.slots, &self.offsets), false)
    }

    /// Takes each pair's left row, times its pull `[pairs]`, from the pair's row of `gradient` `[right, dim]`.
    pub(crate) fn pull_right(
        &self,
        gradient: Tensor<2>,
        pulls: &Tensor<1>,
        left: &Tensor<2>,
    ) -> Result<Tensor<2>, DeviceError> {
        self.pull(gradient, pulls, left, (&self.rows, &self.slot_offsets), true)
    }

    fn pull(
        &self,
        gradient: Tensor<2>,
        pulls: &Tensor<1>,
        values: &Tensor<2>,
        (others, offsets): (&CubeTensor, &CubeTensor),
        ordered: bool,
    ) -> Result<Tensor<2>, DeviceError> {
        let shape = gradient.dims();
        let out = self.gpu.buffer_of("gradient", gradient)?;
        let (cubes, units) = self.gpu.units(shape[0] * shape[1]);
        pull_runs::launch(
            &self.gpu.client,
            cubes,
            units,
            self.gpu.buffer_of("rows of the pairs", values.clone())?.into_buffer_arg(),
            self.gpu.buffer_of("pulls of the pairs", pulls.clone())?.into_buffer_arg(),
            others.clone().into_buffer_arg(),
            self.by_slot.clone().into_buffer_arg(),
            offsets.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            shape[1],
            ordered,
        );
        Ok(self.gpu.tensor_of(out, shape))
    }
}

impl Gpu {
    /// Adds `values` `[rows, dim]` to these rows of `out`, all different.
    pub(crate) fn add_rows(&self, out: Tensor<2>, values: Tensor<2>, rows: &[u32]) -> Result<Tensor<2>, DeviceError> {
        let shape = out.dims();
        let out = self.buffer_of("gradient", out)?;
        let (cubes, units) = self.units(rows.len() * shape[1]);
        add_rows::launch(
            &self.client,
            cubes,
            units,
            out.clone().into_buffer_arg(),
            self.buffer_of("gradient", values)?.into_buffer_arg(),
            self.upload_u32("rows of the gradient", rows)?.into_buffer_arg(),
            shape[1],
        );
        Ok(self.tensor_of(out, shape))
    }

    /// Sets these numbers of a tensor, counted row-major.
    pub(crate) fn fill(&self, tensor: Tensor<2>, places: &[u32], value: f32) -> Result<Tensor<2>, DeviceError> {
        if places.is_empty() {
            return Ok(tensor);
        }
        let shape = tensor.dims();
        let out = self.buffer_of("scores", tensor)?;
        let (cubes, units) = self.units(places.len());
        fill_places::launch(
            &self.client,
            cubes,
            units,
            out.clone().into_buffer_arg(),
            self.upload_u32("own items among the negatives", places)?.into_buffer_arg(),
            value,
        );
        Ok(self.tensor_of(out, shape))
    }
}

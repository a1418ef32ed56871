//! Implicit alternating least squares with everything on the GPU between two half-steps.
//!
//! A half-step solves, for every row `r` of one side with entries `(c, w)`,
//! `(Σ w v_c v_cᵀ + alpha0 · G + λ_r I) x_r = Σ w v_c`, where the `v` are the rows of the other side and
//! `G` is the sum of `v vᵀ` over all of them (Hu, Koren and Volinsky 2008; weights and regularisation
//! as in Rendle et al. 2022, "Revisiting the Performance of iALS on Item Recommendation Benchmarks").
//! A row's numbers are solved block after block, each block exactly with the others held (iALS++, Rendle et al. 2021,
//! "iALS++: Speeding up Matrix Factorization with Subspace Optimization"); with one block the row is solved exactly.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::CubeDim;
use lookalike_bundle::Matrix;

use crate::device::{Device, DeviceError};
use crate::gpu::{Gpu, UNITS, kernels};

/// Rows that go through a cube's shared memory at a time.
const TILE: usize = 16;
/// Pieces that a Gram matrix is summed in, side by side, and how many numbers all of them may take together.
const GRAM_PIECES: usize = 256;
const GRAM_NUMBERS: usize = 1 << 24;
/// Numbers solved together where the device cannot take all of them at once and nobody asked for a number.
const BLOCK: usize = 64;
/// Entries that one launch takes at most: a driver's watchdog ends a launch that runs for seconds.
const MAX_ENTRIES: usize = 1 << 22;

/// One side's interactions, row after row, and what regularises each row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Where each row starts within `cols`; one more entry than there are rows.
    pub offsets: &'a [u64],
    /// The row of the other side that an entry is about.
    pub cols: &'a [u32],
    /// The weight of each entry, beside `cols`.
    pub weights: &'a [f32],
    /// λ of each row: `reg · (entries of the row + alpha0 · rows of the other side)^nu`.
    pub lambda: &'a [f32],
}

/// Implicit ALS on a GPU.
#[derive(Debug)]
pub struct GpuIals {
    gpu: Gpu,
    dim: usize,
    block: usize,
    alpha0: f32,
    users: Side,
    items: Side,
}

/// The factors of one side, `[rows, dim]`, and its interactions cut into launches.
#[derive(Debug)]
struct Side {
    what: &'static str,
    rows: usize,
    factors: CubeTensor,
    launches: Vec<Launch>,
}

/// Consecutive rows that one launch solves; see [`kernels::ials_rows`] for the buffers.
#[derive(Debug)]
struct Launch {
    first: usize,
    rows: usize,
    offsets: CubeTensor,
    cols: CubeTensor,
    scalars: CubeTensor,
}

impl GpuIals {
    /// Uploads both sides and the factors they start from, users `[users, dim]` and items `[items, dim]`.
    /// `block` numbers are solved together; left out, all of them where shared memory takes the system, and 64 elsewhere.
    /// Fails on the CPU, on inputs that contradict each other, and if `block` exceeds [`Self::largest_block`].
    pub fn new(
        device: &Device,
        users: Rows<'_>,
        items: Rows<'_>,
        alpha0: f32,
        block: Option<usize>,
        init: (&Matrix, &Matrix),
    ) -> Result<Self, DeviceError> {
        let problem = |what, problem: &str| DeviceError::Input { what, problem: problem.to_owned() };
        let gpu = device.gpu().ok_or_else(|| problem("device", "is the CPU where a GPU is due"))?;
        let dim = init.0.cols();
        if dim != init.1.cols() || dim == 0 {
            return Err(problem("initial factors", "have dimensions that differ or are zero"));
        }
        let largest = largest_block(gpu.limits.shared, dim);
        let block = block.unwrap_or(if largest < dim { largest.min(BLOCK) } else { dim });
        if block > largest || block == 0 {
            return Err(DeviceError::Block { block, largest });
        }
        if !alpha0.is_finite() || alpha0 < 0.0 {
            return Err(problem("alpha0", "is negative or not finite"));
        }
        check("user interactions", users, init.0.rows(), init.1.rows())?;
        check("item interactions", items, init.1.rows(), init.0.rows())?;
        let ials = Self {
            gpu: gpu.clone(),
            dim,
            block,
            alpha0,
            users: Side::new(gpu, "user factors", users, init.0)?,
            items: Side::new(gpu, "item factors", items, init.1)?,
        };
        ials.sync()?;
        Ok(ials)
    }

    /// How many of `dim` numbers the device has the shared memory to solve together; `None` on the CPU.
    pub fn largest_block(device: &Device, dim: usize) -> Option<usize> {
        device.limits().map(|limits| largest_block(limits.shared, dim))
    }

    /// Solves every user against the items.
    pub fn user_step(&mut self) -> Result<(), DeviceError> {
        self.step(&self.users, &self.items)
    }

    /// Solves every item against the users.
    pub fn item_step(&mut self) -> Result<(), DeviceError> {
        self.step(&self.items, &self.users)
    }

    /// Waits for the steps so far and reports what went wrong on the way.
    pub fn sync(&self) -> Result<(), DeviceError> {
        self.gpu.sync(&[&self.users.factors, &self.items.factors])
    }

    /// The factors of users `[users, dim]` and items `[items, dim]`; fails if one is not finite.
    pub fn read(&self) -> Result<(Matrix, Matrix), DeviceError> {
        Ok((self.factors(&self.users)?, self.factors(&self.items)?))
    }

    fn factors(&self, side: &Side) -> Result<Matrix, DeviceError> {
        let numbers = self.gpu.download(&side.factors)?;
        if !numbers.iter().all(|x| x.is_finite()) {
            return Err(DeviceError::NotFinite { what: side.what });
        }
        let found = numbers.len();
        Matrix::from_vec(side.rows, self.dim, numbers)
            .ok_or_else(|| DeviceError::Failed { reason: format!("{found} numbers came back from the {}", side.what) })
    }

    fn step(&self, solved: &Side, other: &Side) -> Result<(), DeviceError> {
        let gram = self.gram(other)?;
        for launch in &solved.launches {
            for from in (0..self.dim).step_by(self.block) {
                kernels::ials_rows::launch(
                    &self.gpu.client,
                    self.gpu.grid(launch.rows),
                    CubeDim::new_1d(UNITS as u32),
                    other.factors.clone().into_buffer_arg(),
                    gram.clone().into_buffer_arg(),
                    launch.offsets.clone().into_buffer_arg(),
                    launch.cols.clone().into_buffer_arg(),
                    launch.scalars.clone().into_buffer_arg(),
                    solved.factors.clone().into_buffer_arg(),
                    launch.first as u32,
                    launch.rows as u32,
                    self.alpha0,
                    from as u32,
                    self.dim,
                    self.block.min(self.dim - from),
                    self.block == self.dim,
                    UNITS,
                    TILE,
                );
            }
        }
        Ok(())
    }

    /// The sum of `v vᵀ` over all rows of a side, a square: pieces side by side, then the pieces in order, so that the sum
    /// repeats bit for bit.
    fn gram(&self, side: &Side) -> Result<CubeTensor, DeviceError> {
        let size = self.dim * self.dim;
        let most = (GRAM_NUMBERS.min((self.gpu.limits.binding / 4) as usize) / size).clamp(1, GRAM_PIECES);
        let per_piece = side.rows.div_ceil(most).next_multiple_of(TILE);
        let count = if side.rows == 0 { 0 } else { side.rows.div_ceil(per_piece) };
        let pieces = self.gpu.empty("Gram matrix", count * size)?;
        let total = self.gpu.empty("Gram matrix", size)?;
        if count > 0 {
            let squares = self.dim.div_ceil(kernels::GRAM_SQUARE).pow(2);
            kernels::gram_pieces::launch(
                &self.gpu.client,
                self.gpu.grid(count * squares),
                CubeDim::new_1d(UNITS as u32),
                side.factors.clone().into_buffer_arg(),
                pieces.clone().into_buffer_arg(),
                side.rows as u32,
                per_piece as u32,
                count as u32,
                self.dim,
                TILE,
            );
        }
        let (cubes, units) = self.gpu.units(size);
        kernels::gram_total::launch(
            &self.gpu.client,
            cubes,
            units,
            pieces.into_buffer_arg(),
            total.clone().into_buffer_arg(),
            count as u32,
        );
        Ok(total)
    }
}

impl Side {
    fn new(gpu: &Gpu, what: &'static str, rows: Rows<'_>, init: &Matrix) -> Result<Self, DeviceError> {
        let factors = gpu.upload_f32(what, init.data())?;
        let most = MAX_ENTRIES.min((gpu.limits.binding / 4) as usize);
        let launches = launches(rows.offsets, most).into_iter();
        let launches = launches.map(|(first, end)| Launch::new(gpu, rows, first, end)).collect::<Result<_, _>>()?;
        Ok(Self { what, rows: init.rows(), factors, launches })
    }
}

impl Launch {
    fn new(gpu: &Gpu, rows: Rows<'_>, first: usize, end: usize) -> Result<Self, DeviceError> {
        let (from, until) = (rows.offsets[first], rows.offsets[end]);
        let offsets: Vec<u32> = rows.offsets[first..=end].iter().map(|&offset| (offset - from) as u32).collect();
        let entries = from as usize..until as usize;
        let scalars = [&rows.lambda[first..end], &rows.weights[entries.clone()]].concat();
        Ok(Self {
            first,
            rows: end - first,
            offsets: gpu.upload_u32("offsets of the interactions", &offsets)?,
            cols: gpu.upload_u32("interactions", &rows.cols[entries])?,
            scalars: gpu.upload_f32("weights of the interactions", &scalars)?,
        })
    }
}

/// Cuts rows into runs whose entries and rows together number at most `most`, or which are one row.
fn launches(offsets: &[u64], most: usize) -> Vec<(usize, usize)> {
    let (mut launches, mut first) = (Vec::new(), 0);
    for end in 1..offsets.len() {
        let size = (offsets[end] - offsets[first]) as usize + (end - first) + 1;
        if size > most && end - first > 1 {
            launches.push((first, end - 1));
            first = end - 1;
        }
    }
    if first + 1 < offsets.len() {
        launches.push((first, offsets.len() - 1));
    }
    launches
}

/// How many of `dim` numbers `kernels::ials_rows` solves together in so many bytes of shared memory.
fn largest_block(shared: usize, dim: usize) -> usize {
    let scores = |block| if block == dim { 1 } else { UNITS };
    let bytes = |block: usize| 4 * (block * (block + 1) / 2 + block + TILE * block + 2 * TILE + scores(block));
    (1..=dim.min(UNITS)).rev().find(|&block| bytes(block) <= shared).unwrap_or(0)
}

/// Fails unless the parts of `rows` agree with each other and with the sizes of both sides.
fn check(what: &'static str, rows: Rows<'_>, own: usize, other: usize) -> Result<(), DeviceError> {
    let bad = |problem: String| Err(DeviceError::Input { what, problem });
    let entries = rows.cols.len();
    if u32::try_from(own.max(other)).is_err() {
        return bad(format!("have {} rows, more than a 32-bit row number can count", own.max(other)));
    }
    if rows.offsets.len() != own + 1 || rows.lambda.len() != own {
        let (offsets, lambdas) = (rows.offsets.len(), rows.lambda.len());
        return bad(format!("have {offsets} offsets and {lambdas} lambdas for {own} rows"));
    }
    if rows.offsets[0] != 0 || rows.offsets[own] != entries as u64 || !rows.offsets.is_sorted() {
        return bad(format!("have offsets that do not rise from 0 to the {entries} entries"));
    }
    if rows.weights.len() != entries {
        return bad(format!("have {} weights for {entries} entries", rows.weights.len()));
    }
    if let Some(col) = rows.cols.iter().find(|&&col| col as usize >= other) {
        return bad(format!("name row {col} of a side of {other} rows"));
    }
    if !rows.weights.iter().chain(rows.lambda).all(|x| x.is_finite()) {
        return bad("have a weight or lambda that is not finite".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_block_follows_shared_memory() {
        let largest = |shared| [1000, 74, 3].map(|dim| largest_block(shared, dim));
        assert_eq!([largest(16 << 10), largest(32 << 10), largest(0)], [[71, 74, 3], [109, 74, 3], [0, 0, 0]]);
    }

    #[test]
    fn launches_cover_all_rows_and_respect_the_limit() {
        assert_eq!(launches(&[0, 3, 3, 9, 10], 8), [(0, 2), (2, 3), (3, 4)]);
        assert_eq!(launches(&[0, 3, 3, 9, 10], 100), [(0, 4)]);
    }

    #[test]
    fn no_rows_make_no_launch() {
        assert!(launches(&[0], 8).is_empty());
    }
}

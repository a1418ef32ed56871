//! The best scores of blocks of items, for many users at a time: from them the CPU knows which items it has to look at
//! for exact lists. Items lie on the device, in pieces of whole blocks whose scores fit into one buffer.

use burn::Tensor;
use burn_cubecl::tensor::CubeTensor;
use lookalike_bundle::Matrix;

use crate::device::{Device, DeviceError};
use crate::gpu::{Gpu, kernels};

/// Users at a time, at most.
const USERS: usize = 1024;
/// Scores at a time, at most: 128 MiB, even where a buffer may be larger.
const SCORES: usize = 1 << 25;

/// A table of items on a GPU that tells how good the best item of each block is.
#[derive(Debug)]
pub struct BlockMaxima {
    gpu: Gpu,
    dim: usize,
    blocks: usize,
    /// Users at a time.
    users: usize,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Row of the first item.
    first: u32,
    rows: usize,
    items: CubeTensor,
    /// Where each block begins in the piece, and where the last one ends.
    starts: CubeTensor,
    blocks: usize,
}

impl BlockMaxima {
    /// Uploads items. Block `b` is the rows `starts[b]..starts[b + 1]`; all rows are in blocks.
    pub fn new(device: &Device, items: &Matrix, starts: &[u32]) -> Result<Self, DeviceError> {
        let input = |what, problem: &str| DeviceError::Input { what, problem: problem.to_owned() };
        let gpu = device.gpu().ok_or_else(|| input("device", "is the CPU, and a GPU is due"))?;
        let (rows, dim) = (items.rows(), items.cols());
        let covers = starts.first() == Some(&0) && starts.last().is_some_and(|&end| end as usize == rows);
        if !covers || !starts.is_sorted_by(|a, b| a < b) {
            return Err(input("blocks", "do not rise from the first item to the last"));
        }
        if dim == 0 {
            return Err(input("items", "have no numbers"));
        }
        let held = (gpu.limits.binding / 4) as usize;
        let widest = starts.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(1) as usize;
        let users = (held / widest.max(dim)).clamp(1, USERS);
        let most = held.min(SCORES) / users.max(dim);
        let (mut pieces, mut rest) = (Vec::new(), starts);
        while let [first, after @ ..] = rest
            && !after.is_empty()
        {
            // At least one block, be it too large: then the upload says so.
            let blocks = after.partition_point(|&end| (end - first) as usize <= most).max(1);
            let rows = *first as usize..after[blocks - 1] as usize;
            let starts: Vec<u32> = rest[..=blocks].iter().map(|start| start - first).collect();
            pieces.push(Piece {
                first: *first,
                rows: rows.len(),
                items: gpu.upload_f32("items", &items.data()[rows.start * dim..rows.end * dim])?,
                starts: gpu.upload_u32("blocks", &starts)?,
                blocks,
            });
            rest = &rest[blocks..];
        }
        let buffers: Vec<&CubeTensor> = pieces.iter().map(|piece| &piece.items).collect();
        gpu.sync(&buffers)?;
        Ok(Self { gpu: gpu.clone(), dim, blocks: starts.len() - 1, users, pieces })
    }

    /// For every user, a row of `users`, the greatest inner product with an item of each block; items that `left_out` names
    /// for it (ascending) do not count, save the last ones where one buffer cannot hold them all. A block of which none
    /// counts has negative infinity.
    pub fn maxima(&self, users: &Matrix, left_out: &[&[u32]]) -> Result<Matrix, DeviceError> {
        if users.cols() != self.dim || left_out.len() != users.rows() {
            let problem = format!("are {} x {} for {} lists of items", users.rows(), users.cols(), left_out.len());
            return Err(DeviceError::Input { what: "users", problem });
        }
        let mut maxima = Matrix::zeros(users.rows(), self.blocks);
        for first in (0..users.rows()).step_by(self.users) {
            let rows = first..(first + self.users).min(users.rows());
            let (count, mut done) = (rows.len(), 0);
            let numbers = &users.data()[rows.start * self.dim..rows.end * self.dim];
            let table = self.gpu.tensor_of(self.gpu.upload_f32("users", numbers)?, [count, self.dim]);
            let seen = self.seen(&left_out[rows])?;
            for piece in &self.pieces {
                let best = self.of_piece(piece, &table, count, &seen)?;
                for (user, best) in best.chunks_exact(piece.blocks).enumerate() {
                    maxima.row_mut(first + user)[done..done + piece.blocks].copy_from_slice(best);
                }
                done += piece.blocks;
            }
        }
        // Shaders need not know infinity; the least number stands for it there.
        maxima.data_mut().iter_mut().filter(|most| **most == f32::MIN).for_each(|most| *most = f32::NEG_INFINITY);
        Ok(maxima)
    }

    /// Which items are left out, user after user: where the rows of each begin, and the rows.
    fn seen(&self, left_out: &[&[u32]]) -> Result<[CubeTensor; 2], DeviceError> {
        let held = (self.gpu.limits.binding / 4) as usize;
        let (mut offsets, mut seen) = (vec![0], Vec::new());
        for rows in left_out {
            seen.extend_from_slice(&rows[..rows.len().min(held - seen.len())]);
            offsets.push(seen.len() as u32);
        }
        Ok([self.gpu.upload_u32("items left out", &offsets)?, self.gpu.upload_u32("items left out", &seen)?])
    }

    /// The maxima of a piece, user after user.
    fn of_piece(
        &self,
        piece: &Piece,
        users: &Tensor<2>,
        count: usize,
        [offsets, seen]: &[CubeTensor; 2],
    ) -> Result<Vec<f32>, DeviceError> {
        let items: Tensor<2> = self.gpu.tensor_of(piece.items.clone(), [piece.rows, self.dim]);
        // Items are the rows, so that units side by side, which have users side by side, read side by side.
        let scores = self.gpu.buffer_of("scores", items.matmul(users.clone().transpose()))?;
        let out = self.gpu.empty("best scores", piece.blocks * count)?;
        let (cubes, units) = self.gpu.units(piece.blocks * count);
        kernels::block_maxima::launch(
            &self.gpu.client,
            cubes,
            units,
            scores.into_buffer_arg(),
            piece.starts.clone().into_buffer_arg(),
            offsets.clone().into_buffer_arg(),
            seen.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            piece.first,
            count as u32,
            f32::MIN,
        );
        self.gpu.download(&out)
    }
}

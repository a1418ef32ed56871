//! The kernels that change the rows of a table: row-wise Adagrad and lazy Adam. Each handles the segments
//! `from..until`, whose rows lie in one shard from table row `first` on; no two segments name the same row.
// The launch functions take one argument per buffer and scalar, and their documentation is generated.
#![allow(clippy::too_many_arguments, missing_docs)]

use cubecl::prelude::*;

/// The first half of row-wise Adagrad: `accumulator[row] += mean_j g_j²`, and
/// `scale[segment] = lr / (√accumulator[row] + eps)`.
/// One unit per segment, as a row is short and a barrier costs more than reading it.
#[cube(launch)]
pub fn adagrad_scale(
    accumulator: &mut [f32],
    grads: &[f32],
    rows: &[u32],
    scale: &mut [f32],
    first: u32,
    from: u32,
    until: u32,
    lr: f32,
    eps: f32,
    #[comptime] dim: usize,
) {
    let segment = from as usize + ABSOLUTE_POS;
    if segment < until as usize {
        let mut squares = 0.0f32;
        for j in 0..dim {
            let g = grads[segment * dim + j];
            squares += g * g;
        }
        let row = (rows[segment] - first) as usize;
        let sum = accumulator[row] + squares / (dim as f32);
        accumulator[row] = sum;
        scale[segment] = lr / (sum.sqrt() + eps);
    }
}

/// The second half: `table[row, j] -= scale[segment] · grads[segment, j]`. One unit per number.
#[cube(launch)]
pub fn adagrad_apply(
    table: &mut [f32],
    grads: &[f32],
    rows: &[u32],
    scale: &[f32],
    first: u32,
    from: u32,
    until: u32,
    #[comptime] dim: usize,
) {
    let segment = from as usize + ABSOLUTE_POS / dim;
    if segment < until as usize {
        let j = ABSOLUTE_POS % dim;
        let row = (rows[segment] - first) as usize;
        table[row * dim + j] -= scale[segment] * grads[segment * dim + j];
    }
}

/// `base` to a whole power, by squaring: a device's own power function is too coarse near 1.
#[cube]
fn power(base: f32, exponent: u32) -> f32 {
    let mut result = 1.0f32;
    let mut square = base;
    let mut left = exponent;
    while left > 0 {
        if left % 2 == 1 {
            result *= square;
        }
        square *= square;
        left /= 2;
    }
    result
}

/// The first half of Adam (Kingma and Ba 2015) on rows whose memory is their moments `[mean, square]` and number of
/// steps: counts a step, and writes the corrections `1 / (1 - βᵗ)` of both moments. One unit per segment.
#[cube(launch)]
pub fn adam_count(
    memory: &mut [f32],
    rows: &[u32],
    corrections: &mut [f32],
    first: u32,
    from: u32,
    until: u32,
    mean_beta: f32,
    square_beta: f32,
    #[comptime] dim: usize,
) {
    let segment = from as usize + ABSOLUTE_POS;
    if segment < until as usize {
        let row = (rows[segment] - first) as usize;
        let at = row * (2 * dim + 1) + 2 * dim;
        let steps = memory[at] + 1.0;
        memory[at] = steps;
        corrections[2 * segment] = 1.0 / (1.0 - power(mean_beta, steps as u32));
        corrections[2 * segment + 1] = 1.0 / (1.0 - power(square_beta, steps as u32));
    }
}

/// The second half: moves the moments, and the row along them. One unit per number.
#[cube(launch)]
pub fn adam_apply(
    table: &mut [f32],
    memory: &mut [f32],
    grads: &[f32],
    rows: &[u32],
    corrections: &[f32],
    first: u32,
    from: u32,
    until: u32,
    lr: f32,
    mean_beta: f32,
    square_beta: f32,
    eps: f32,
    #[comptime] dim: usize,
) {
    let segment = from as usize + ABSOLUTE_POS / dim;
    if segment < until as usize {
        let j = ABSOLUTE_POS % dim;
        let row = (rows[segment] - first) as usize;
        let at = row * (2 * dim + 1) + j;
        let g = grads[segment * dim + j];
        let mean = mean_beta * memory[at] + (1.0 - mean_beta) * g;
        let square = square_beta * memory[at + dim] + (1.0 - square_beta) * g * g;
        memory[at] = mean;
        memory[at + dim] = square;
        let root = (square * corrections[2 * segment + 1]).sqrt() + eps;
        table[row * dim + j] -= lr * corrections[2 * segment] * mean / root;
    }
}

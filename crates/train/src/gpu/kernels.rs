//! The kernels. Each has a plain Rust twin that judges it; none uses atomics, so runs repeat bit for bit.
//!
//! Two rules run through them: a unit past the end of the work stays in step with the others up to
//! the last barrier and skips only its writes, and long loops with barriers are not unrolled, as
//! software Vulkan would need minutes to compile them.
// The launch functions take one argument per buffer and scalar, and their documentation is generated.
#![allow(clippy::too_many_arguments, missing_docs)]

use cubecl::prelude::*;

/// `out[e, j] (+)= Σ table[row, j]` over the rows of bag `e` that lie in this shard, which holds the
/// table's rows from `first` on. One unit per number. `add` continues the sum of the shards before.
#[cube(launch)]
pub fn gather_bags(
    table: &[f32],
    offsets: &[u32],
    rows: &[u32],
    out: &mut [f32],
    first: u32,
    shard_rows: u32,
    #[comptime] dim: usize,
    #[comptime] add: bool,
) {
    if ABSOLUTE_POS < out.len() {
        let example = ABSOLUTE_POS / dim;
        let j = ABSOLUTE_POS % dim;
        let mut sum = 0.0f32;
        if add {
            sum = out[ABSOLUTE_POS];
        }
        for entry in offsets[example]..offsets[example + 1] {
            let row = rows[entry as usize];
            if row >= first && row - first < shard_rows {
                sum += table[(row - first) as usize * dim + j];
            }
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// `out[r, j] = Σ values[v, j]` over run `r`, the places `offsets[r]..offsets[r + 1]` in order, where place `p`
/// stands for row `v = index[p]`, or for row `p` itself unless `indexed`. One unit per number.
#[cube(launch)]
pub fn sum_runs(
    values: &[f32],
    index: &[u32],
    offsets: &[u32],
    out: &mut [f32],
    #[comptime] dim: usize,
    #[comptime] indexed: bool,
) {
    if ABSOLUTE_POS < out.len() {
        let run = ABSOLUTE_POS / dim;
        let j = ABSOLUTE_POS % dim;
        let mut sum = 0.0f32;
        for place in offsets[run]..offsets[run + 1] {
            let mut row = place;
            if indexed {
                row = index[place as usize];
            }
            sum += values[row as usize * dim + j];
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// The first half of row-wise Adagrad on the segments `from..until`, whose rows lie in this shard from table
/// row `first` on: `accumulator[row] += mean_j g_j²`, and `scale[segment] = lr / (√accumulator[row] + eps)`.
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

/// The row `i` of element `p` of a lower triangle stored row by row: the largest `i` with `i(i+1)/2 <= p`.
#[cube]
fn triangle_row(p: usize) -> usize {
    let mut i = 0usize;
    while (i + 1) * (i + 2) / 2 <= p {
        i += 1;
    }
    i
}

/// The lower triangle of `Σ v vᵀ` over the rows `cube · per_cube ..` of `factors`, one cube per piece.
/// Row `x` of a piece's `tile` goes through shared memory so that each unit adds its own elements.
#[cube(launch)]
pub fn gram_pieces(
    factors: &[f32],
    out: &mut [f32],
    n_rows: u32,
    per_cube: u32,
    #[comptime] dim: usize,
    #[comptime] units: usize,
    #[comptime] tile: usize,
) {
    let size = comptime!(dim * (dim + 1) / 2);
    let per_unit = comptime!((dim * (dim + 1) / 2).div_ceil(units));
    let mut vs = Shared::<[f32]>::new_slice(comptime!(tile * dim));
    let unit = UNIT_POS as usize;
    let mut at_i = Array::<u32>::new(per_unit);
    let mut at_j = Array::<u32>::new(per_unit);
    let mut sums = Array::<f32>::new(per_unit);
    #[unroll]
    for e in 0..per_unit {
        let p = unit + e * units;
        let i = triangle_row(p);
        at_i[e] = i as u32;
        at_j[e] = (p - i * (i + 1) / 2) as u32;
        sums[e] = 0.0;
    }
    let start = CUBE_POS * per_cube as usize;
    let mut end = start + per_cube as usize;
    if end > n_rows as usize {
        end = n_rows as usize;
    }
    let tiles = (per_cube as usize).div_ceil(tile);
    for t in 0..tiles {
        let mut x = unit;
        while x < tile * dim {
            let row = start + t * tile + x / dim;
            let mut v = 0.0f32;
            if row < end {
                v = factors[row * dim + x % dim];
            }
            vs[x] = v;
            x += units;
        }
        sync_cube();
        for q in 0..tile {
            #[unroll]
            for e in 0..per_unit {
                if unit + e * units < size {
                    sums[e] += vs[q * dim + at_i[e] as usize] * vs[q * dim + at_j[e] as usize];
                }
            }
        }
        sync_cube();
    }
    #[unroll]
    for e in 0..per_unit {
        let p = unit + e * units;
        if p < size {
            out[CUBE_POS * size + p] = sums[e];
        }
    }
}

/// `out[p] = Σ pieces[c, p]` over all `pieces` in order. One unit per number.
#[cube(launch)]
pub fn gram_total(pieces: &[f32], out: &mut [f32], count: u32) {
    if ABSOLUTE_POS < out.len() {
        let mut sum = 0.0f32;
        for c in 0..count {
            sum += pieces[c as usize * out.len() + ABSOLUTE_POS];
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// One row of implicit ALS per cube: solves `(Σ w v vᵀ + alpha0 · gram + λ I) x = Σ w v` and writes `x` to
/// row `first + cube` of `out`; zero for a row without entries.
///
/// `scalars` holds the λ of the `n_rows` rows, then the weights of their entries. The lower triangle
/// is factored into `L D Lᵀ`, the Cholesky factorisation without square roots (Golub and Van Loan,
/// Matrix Computations, §4.1): column `c` of `a` keeps `L[·, c] · D[c]`, so a step needs one barrier.
/// The forward substitution runs along, as if the right-hand side were one more row.
#[cube(launch)]
pub fn ials_rows(
    factors: &[f32],
    gram: &[f32],
    offsets: &[u32],
    cols: &[u32],
    scalars: &[f32],
    out: &mut [f32],
    first: u32,
    n_rows: u32,
    alpha0: f32,
    #[comptime] dim: usize,
    #[comptime] units: usize,
    #[comptime] tile: usize,
) {
    let size = comptime!(dim * (dim + 1) / 2);
    let per_unit = comptime!((dim * (dim + 1) / 2).div_ceil(units));
    let mut a = Shared::<[f32]>::new_slice(size);
    let mut b = Shared::<[f32]>::new_slice(dim);
    let mut vs = Shared::<[f32]>::new_slice(comptime!(tile * dim));
    let mut ws = Shared::<[f32]>::new_slice(tile);
    let unit = UNIT_POS as usize;
    // Cubes past the end solve row 0 again and write nothing, so that barriers stay uniform.
    let live = CUBE_POS < n_rows as usize;
    let mut row = 0usize;
    if live {
        row = CUBE_POS;
    }
    let lambda = scalars[row];
    let mut at_i = Array::<u32>::new(per_unit);
    let mut at_j = Array::<u32>::new(per_unit);
    let mut sums = Array::<f32>::new(per_unit);
    #[unroll]
    for e in 0..per_unit {
        let p = unit + e * units;
        let i = triangle_row(p);
        let j = p - i * (i + 1) / 2;
        at_i[e] = i as u32;
        at_j[e] = j as u32;
        sums[e] = 0.0;
        if p < size {
            let mut start = alpha0 * gram[p];
            if i == j {
                start += lambda;
            }
            sums[e] = start;
        }
    }
    let mut rhs = 0.0f32;
    let start = offsets[row] as usize;
    let end = offsets[row + 1] as usize;
    let tiles = (end - start).div_ceil(tile);
    for t in 0..tiles {
        let mut x = unit;
        while x < tile * dim {
            let entry = start + t * tile + x / dim;
            let mut v = 0.0f32;
            if entry < end {
                v = factors[cols[entry] as usize * dim + x % dim];
            }
            vs[x] = v;
            x += units;
        }
        if unit < tile {
            let entry = start + t * tile + unit;
            let mut w = 0.0f32;
            if entry < end {
                w = scalars[n_rows as usize + entry];
            }
            ws[unit] = w;
        }
        sync_cube();
        for q in 0..tile {
            let w = ws[q];
            #[unroll]
            for e in 0..per_unit {
                if unit + e * units < size {
                    sums[e] += w * vs[q * dim + at_i[e] as usize] * vs[q * dim + at_j[e] as usize];
                }
            }
            if unit < dim {
                rhs += w * vs[q * dim + unit];
            }
        }
        sync_cube();
    }
    #[unroll]
    for e in 0..per_unit {
        if unit + e * units < size && at_j[e] == 0 {
            a[unit + e * units] = sums[e];
        }
    }
    if unit < dim {
        b[unit] = rhs;
    }
    sync_cube();
    for c in 0..dim {
        let inverse = 1.0f32 / a[c * (c + 1) / 2 + c];
        #[unroll]
        for e in 0..per_unit {
            if unit + e * units < size {
                let i = at_i[e] as usize;
                let j = at_j[e] as usize;
                if j > c {
                    sums[e] -= a[i * (i + 1) / 2 + c] * a[j * (j + 1) / 2 + c] * inverse;
                    // Column c + 1 is final now and is what the next step reads.
                    if j == c + 1 {
                        a[unit + e * units] = sums[e];
                    }
                }
            }
        }
        if unit < dim && unit > c {
            b[unit] -= a[unit * (unit + 1) / 2 + c] * inverse * b[c];
        }
        sync_cube();
    }
    // Back substitution with Lᵀ on b / D: a[c, i] / D[i] is L[c, i].
    let mut inverse = 0.0f32;
    if unit < dim {
        inverse = 1.0f32 / a[unit * (unit + 1) / 2 + unit];
        b[unit] *= inverse;
    }
    sync_cube();
    for back in 0..dim {
        let c = dim - 1 - back;
        if unit < c {
            b[unit] -= a[c * (c + 1) / 2 + unit] * inverse * b[c];
        }
        sync_cube();
    }
    if live && unit < dim {
        let mut x = b[unit];
        if start == end {
            x = 0.0;
        }
        out[(first as usize + row) * dim + unit] = x;
    }
}

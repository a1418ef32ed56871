//! The kernels. Each has a plain Rust twin that judges it; none uses atomics, so runs repeat bit for bit.
//!
//! Two rules run through them: a unit past the end of the work stays in step with the others up to
//! the last barrier and skips only its writes, and long loops with barriers are not unrolled, as
//! software Vulkan would need minutes to compile them.
// The launch functions take one argument per buffer and scalar, and their documentation is generated.
#![allow(clippy::too_many_arguments, missing_docs)]

use cubecl::prelude::*;

/// Sides of the squares that [`gram_pieces`] cuts a Gram matrix into.
pub const GRAM_SQUARE: usize = 64;

/// `out[e, j] (+)= Σ weight · table[row, j]` over the rows of bag `e` that lie in this shard, which holds the
/// table's rows from `first` on; every weight is 1 unless `weighted`. One unit per number. `add` continues the sum of the
/// shards before.
#[cube(launch)]
pub fn gather_bags(
    table: &[f32],
    offsets: &[u32],
    rows: &[u32],
    weights: &[f32],
    out: &mut [f32],
    first: u32,
    shard_rows: u32,
    #[comptime] dim: usize,
    #[comptime] add: bool,
    #[comptime] weighted: bool,
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
                let mut number = table[(row - first) as usize * dim + j];
                if weighted {
                    number *= weights[entry as usize];
                }
                sum += number;
            }
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// `out[e] = table[row, ·] · grad[examples[e], ·]` where the row of entry `e` lies in this shard, which holds the
/// table's rows from `first` on. One unit per entry.
#[cube(launch)]
pub fn dot_entries(
    table: &[f32],
    grad: &[f32],
    rows: &[u32],
    examples: &[u32],
    out: &mut [f32],
    first: u32,
    shard_rows: u32,
    #[comptime] dim: usize,
) {
    if ABSOLUTE_POS < out.len() {
        let row = rows[ABSOLUTE_POS];
        if row >= first && row - first < shard_rows {
            let number = (row - first) as usize * dim;
            let gradient = examples[ABSOLUTE_POS] as usize * dim;
            let mut sum = 0.0f32;
            for j in 0..dim {
                sum += table[number + j] * grad[gradient + j];
            }
            out[ABSOLUTE_POS] = sum;
        }
    }
}

/// `out[r, j] = Σ weights[p] · values[v, j]` over run `r`, the places `offsets[r]..offsets[r + 1]` in order, where place
/// `p` stands for row `v = index[p]`, or for row `p` itself unless `indexed`; every weight is 1 unless `weighted`. One unit
/// per number.
#[cube(launch)]
pub fn sum_runs(
    values: &[f32],
    index: &[u32],
    weights: &[f32],
    offsets: &[u32],
    out: &mut [f32],
    #[comptime] dim: usize,
    #[comptime] indexed: bool,
    #[comptime] weighted: bool,
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
            let mut number = values[row as usize * dim + j];
            if weighted {
                number *= weights[place as usize];
            }
            sum += number;
        }
        out[ABSOLUTE_POS] = sum;
    }
}

/// `out[u, b]` = the greatest of `scores[i, u]` over the items `i` of block `b`, `starts[b]..starts[b + 1]`, that `seen` does
/// not name for user `u` in the ascending places `offsets[u]..offsets[u + 1]`, as row `first + i`; `least` if it names all.
/// One unit per number; units side by side have users side by side, and so read side by side.
#[cube(launch)]
pub fn block_maxima(
    scores: &[f32],
    starts: &[u32],
    offsets: &[u32],
    seen: &[u32],
    out: &mut [f32],
    first: u32,
    users: u32,
    least: f32,
) {
    if ABSOLUTE_POS < out.len() {
        let blocks = out.len() / users as usize;
        let block = ABSOLUTE_POS / users as usize;
        let user = ABSOLUTE_POS % users as usize;
        let start = starts[block];
        // The first place whose row is not before the block.
        let end = offsets[user + 1];
        let mut next = offsets[user];
        let mut after = end;
        while next < after {
            let middle = next + (after - next) / 2;
            if seen[middle as usize] < first + start {
                next = middle + 1;
            } else {
                after = middle;
            }
        }
        let mut best = least;
        for item in start..starts[block + 1] {
            let mut counts = true;
            // Both sides may be computed; the launch keeps a read past the last place inside.
            if next < end && seen[next as usize] == first + item {
                counts = false;
                next += 1;
            }
            if counts {
                best = max(best, scores[item as usize * users as usize + user]);
            }
        }
        out[user * blocks + block] = best;
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

/// `Σ v vᵀ` over the rows `piece · per_piece ..` of `factors`, as a square. A cube makes 64 × 64 numbers of one piece,
/// a unit 4 × 4 of them; cubes count the squares of a piece first. `tile` rows at a time go through shared memory.
#[cube(launch)]
pub fn gram_pieces(
    factors: &[f32],
    out: &mut [f32],
    n_rows: u32,
    per_piece: u32,
    n_pieces: u32,
    #[comptime] dim: usize,
    #[comptime] tile: usize,
) {
    let squares = comptime!(dim.div_ceil(64));
    let mut left = Shared::<[f32]>::new_slice(comptime!(tile * 64));
    let mut right = Shared::<[f32]>::new_slice(comptime!(tile * 64));
    let unit = UNIT_POS as usize;
    let piece = CUBE_POS / (squares * squares);
    let square = CUBE_POS % (squares * squares);
    let first_i = square / squares * 64;
    let first_j = square % squares * 64;
    let unit_i = unit / 16;
    let unit_j = unit % 16;
    let mut sums = Array::<f32>::new(16usize);
    #[unroll]
    for e in 0..16 {
        sums[e] = 0.0;
    }
    let start = piece * per_piece as usize;
    let mut end = start + per_piece as usize;
    if end > n_rows as usize {
        end = n_rows as usize;
    }
    let tiles = (per_piece as usize).div_ceil(tile);
    for t in 0..tiles {
        let mut x = unit;
        while x < tile * 64 {
            let row = start + t * tile + x / 64;
            let i = first_i + x % 64;
            let j = first_j + x % 64;
            let mut at_i = 0.0f32;
            let mut at_j = 0.0f32;
            if row < end && i < dim {
                at_i = factors[row * dim + i];
            }
            if row < end && j < dim {
                at_j = factors[row * dim + j];
            }
            left[x] = at_i;
            right[x] = at_j;
            x += 256;
        }
        sync_cube();
        for q in 0..tile {
            #[unroll]
            for e in 0..16 {
                sums[e] += left[q * 64 + unit_i + e / 4 * 16] * right[q * 64 + unit_j + e % 4 * 16];
            }
        }
        sync_cube();
    }
    #[unroll]
    for e in 0..16 {
        let i = first_i + unit_i + e / 4 * 16;
        let j = first_j + unit_j + e % 4 * 16;
        if piece < n_pieces as usize && i < dim && j < dim {
            out[(piece * dim + i) * dim + j] = sums[e];
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

/// One row of implicit ALS per cube: changes its numbers `from..from + width` by the solution of
/// `(Σ w v vᵀ + alpha0 · gram + λ I) δ = Σ w (1 - x·v) v - alpha0 · gram · x - λ x`, where the left side and the first v
/// are cut to these numbers. `x` is row `first + cube` of `out` and becomes zero for a row without entries.
/// With `whole`, `width` is `dim` and x counts as zero.
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
    from: u32,
    #[comptime] dim: usize,
    #[comptime] width: usize,
    #[comptime] whole: bool,
    #[comptime] units: usize,
    #[comptime] tile: usize,
) {
    let size = comptime!(width * (width + 1) / 2);
    let per_unit = comptime!((width * (width + 1) / 2).div_ceil(units));
    let parts = comptime!(units / tile);
    let mut a = Shared::<[f32]>::new_slice(size);
    let mut b = Shared::<[f32]>::new_slice(width);
    let mut vs = Shared::<[f32]>::new_slice(comptime!(tile * width));
    let mut ws = Shared::<[f32]>::new_slice(tile);
    let mut rs = Shared::<[f32]>::new_slice(tile);
    let mut scores = Shared::<[f32]>::new_slice(comptime!(if whole { 1 } else { units }));
    let unit = UNIT_POS as usize;
    let from = from as usize;
    // Cubes past the end solve row 0 again and write nothing, so that barriers stay uniform.
    let live = CUBE_POS < n_rows as usize;
    let mut row = 0usize;
    if live {
        row = CUBE_POS;
    }
    let x = (first as usize + row) * dim;
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
            let mut start = alpha0 * gram[(from + i) * dim + from + j];
            if i == j {
                start += lambda;
            }
            sums[e] = start;
        }
    }
    let mut rhs = 0.0f32;
    if !whole && unit < width {
        for k in 0..dim {
            rhs -= gram[k * dim + from + unit] * out[x + k];
        }
        rhs = alpha0 * rhs - lambda * out[x + from + unit];
    }
    let start = offsets[row] as usize;
    let end = offsets[row + 1] as usize;
    let tiles = (end - start).div_ceil(tile);
    for t in 0..tiles {
        let mut n = unit;
        while n < tile * width {
            let entry = start + t * tile + n / width;
            let mut v = 0.0f32;
            if entry < end {
                v = factors[cols[entry] as usize * dim + from + n % width];
            }
            vs[n] = v;
            n += units;
        }
        if !whole {
            let entry = start + t * tile + unit / parts;
            let mut score = 0.0f32;
            if entry < end {
                let v = cols[entry] as usize * dim;
                let mut k = unit % parts;
                while k < dim {
                    score += factors[v + k] * out[x + k];
                    k += parts;
                }
            }
            scores[unit] = score;
            sync_cube();
        }
        if unit < tile {
            let entry = start + t * tile + unit;
            let mut w = 0.0f32;
            if entry < end {
                w = scalars[n_rows as usize + entry];
            }
            let mut residual = 1.0f32;
            if !whole {
                for part in 0..parts {
                    residual -= scores[unit * parts + part];
                }
            }
            ws[unit] = w;
            rs[unit] = w * residual;
        }
        sync_cube();
        for q in 0..tile {
            let w = ws[q];
            #[unroll]
            for e in 0..per_unit {
                if unit + e * units < size {
                    sums[e] += w * vs[q * width + at_i[e] as usize] * vs[q * width + at_j[e] as usize];
                }
            }
            if unit < width {
                rhs += rs[q] * vs[q * width + unit];
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
    if unit < width {
        b[unit] = rhs;
    }
    sync_cube();
    for c in 0..width {
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
        if unit < width && unit > c {
            b[unit] -= a[unit * (unit + 1) / 2 + c] * inverse * b[c];
        }
        sync_cube();
    }
    // Back substitution with Lᵀ on b / D: a[c, i] / D[i] is L[c, i].
    let mut inverse = 0.0f32;
    if unit < width {
        inverse = 1.0f32 / a[unit * (unit + 1) / 2 + unit];
        b[unit] *= inverse;
    }
    sync_cube();
    for back in 0..width {
        let c = width - 1 - back;
        if unit < c {
            b[unit] -= a[c * (c + 1) / 2 + unit] * inverse * b[c];
        }
        sync_cube();
    }
    if live && unit < width {
        let mut solved = b[unit];
        if !whole {
            solved += out[x + from + unit];
        }
        if start == end {
            solved = 0.0;
        }
        out[x + from + unit] = solved;
    }
}

//! A large symmetric matrix in tiles, inverted where it stands.
//!
//! Only tiles on and below the diagonal are kept, which halves the memory. The inverse is made by block sweeps
//! (Goodnight, "A Tutorial on the SWEEP Operator", The American Statistician 1979): for each diagonal tile P in turn,
//! with C the tiles of its rows and columns, every other tile becomes `A_ij - C_i P⁻¹ C_jᵀ`, those of C become `C P⁻¹`,
//! and P becomes `-P⁻¹`. When all are swept the matrix holds the negative of its inverse. That takes n³ operations,
//! all but a small part of them products of tiles, which threads share; no sum depends on how many threads there are.

use rayon::prelude::*;

use crate::dense::NotPositive;
use crate::gemm::{View, ViewMut, product};

/// Rows and columns of a tile: large enough for the speed of a matrix product, small enough for a cache.
const TILE: usize = 256;

type Tile = Vec<f32>;

/// `n x n` numbers, of which those below and on the diagonal are kept.
pub(crate) struct Symmetric {
    n: usize,
    /// `rows[i][j]`, `j <= i`: a tile row after row.
    rows: Vec<Vec<Tile>>,
}

impl Symmetric {
    /// Bytes that a matrix of so many rows takes, and its inversion with it.
    pub(crate) fn bytes(n: usize) -> u64 {
        let (n, tile) = (n as u64, TILE as u64);
        let tiles = n.div_ceil(tile);
        (tiles * (tiles + 1) / 2 * tile * tile + 2 * n * tile).saturating_mul(4)
    }

    /// Fills the matrix row by row, on all threads: `fill(i, row)` adds to `row`, zeros as long as the matrix is wide,
    /// what row `i` holds; of that all up to the diagonal tile is kept.
    pub(crate) fn from_rows(n: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let tile_row = |tile_row: usize| {
            let first = tile_row * TILE;
            let height = TILE.min(n - first);
            let mut tiles: Vec<Tile> = (0..=tile_row).map(|col| vec![0.0; height * TILE.min(n - col * TILE)]).collect();
            let mut row = vec![0.0; n];
            for at in 0..height {
                row.fill(0.0);
                fill(first + at, &mut row);
                for (tile, numbers) in tiles.iter_mut().zip(row.chunks(TILE)) {
                    tile[at * numbers.len()..][..numbers.len()].copy_from_slice(numbers);
                }
            }
            tiles
        };
        Self { n, rows: (0..n.div_ceil(TILE)).into_par_iter().map(tile_row).collect() }
    }

    /// How many tiles the diagonal has: so many sweeps put the negative of the inverse in the matrix's place.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.len()
    }

    /// Rows of tile row `tile`.
    fn height(&self, tile: usize) -> usize {
        TILE.min(self.n - tile * TILE)
    }

    /// Sweeps one tile of the diagonal, on all threads; each must be swept once. Fails where the matrix is not positive
    /// definite.
    pub(crate) fn sweep(&mut self, pivot: usize) -> Result<(), NotPositive> {
        let width = self.height(pivot);
        let heights: Vec<usize> = (0..self.rows.len()).map(|tile| self.height(tile)).collect();
        let inverse = inverted(&self.rows[pivot][pivot], width)?;
        // The pivot's tiles as they are stored: to the left of it transposed.
        let mut panel: Vec<Tile> = self.rows[pivot].iter_mut().map(std::mem::take).collect();
        panel.extend(self.rows[pivot + 1..].iter_mut().map(|row| std::mem::take(&mut row[pivot])));
        let upright = |tiles, at| upright(tiles, at, pivot, [heights[at], width]);
        let factor = View::new(&inverse, width, width);
        let scale = |at: usize| {
            let mut scaled = vec![0.0; heights[at] * width];
            let target = match at < pivot {
                true => ViewMut::strided(&mut scaled, [heights[at], width], [1, heights[at]]),
                false => ViewMut::new(&mut scaled, heights[at], width),
            };
            product(target, upright(&panel, at), factor, 0.0, 1.0);
            scaled
        };
        let mut scaled: Vec<Tile> = (0..panel.len()).into_par_iter().map(scale).collect();
        let others = self.rows.par_iter_mut().enumerate().filter(|(row, _)| *row != pivot);
        others.for_each(|(i, row)| {
            row.par_iter_mut().enumerate().filter(|(j, _)| *j != pivot).for_each(|(j, tile)| {
                let target = ViewMut::new(tile, heights[i], heights[j]);
                product(target, upright(&scaled, i), upright(&panel, j).transposed(), 1.0, -1.0);
            });
        });
        scaled[pivot] = inverse.into_iter().map(|number| -number).collect();
        for (at, tile) in scaled.into_iter().enumerate() {
            self.rows[at.max(pivot)][at.min(pivot)] = tile;
        }
        Ok(())
    }

    /// The diagonal.
    pub(crate) fn diagonal(&self) -> Vec<f32> {
        let of_tile =
            |tile: usize| (0..self.height(tile)).map(move |at| self.rows[tile][tile][at * (self.height(tile) + 1)]);
        (0..self.rows.len()).flat_map(of_tile).collect()
    }

    /// `work(i, row)` for every row, whole, in order; on all threads.
    pub(crate) fn map_rows<T: Send>(&self, work: impl Fn(usize, &[f32]) -> T + Sync) -> Vec<T> {
        let of_tile_row = |tile: usize| {
            let mut row = vec![0.0; self.n];
            let work = &work;
            (0..self.height(tile)).map(move |at| {
                for (other, numbers) in row.chunks_mut(TILE).enumerate() {
                    match other <= tile {
                        true => numbers.copy_from_slice(&self.rows[tile][other][at * numbers.len()..][..numbers.len()]),
                        false => {
                            let column = self.rows[other][tile][at..].iter().step_by(self.height(tile));
                            numbers.iter_mut().zip(column).for_each(|(number, &below)| *number = below);
                        }
                    }
                }
                work(tile * TILE + at, &row)
            })
        };
        (0..self.rows.len()).into_par_iter().flat_map_iter(of_tile_row).collect()
    }
}

/// Tile `at` of a panel with its columns those of the pivot; tiles before the pivot are stored the other way.
fn upright(tiles: &[Tile], at: usize, pivot: usize, [height, width]: [usize; 2]) -> View<'_> {
    match at < pivot {
        true => View::new(&tiles[at], width, height).transposed(),
        false => View::new(&tiles[at], height, width),
    }
}

/// The inverse of one tile, which must be positive definite: in double precision, by sweeps of one row each.
fn inverted(tile: &[f32], n: usize) -> Result<Vec<f32>, NotPositive> {
    let mut a: Vec<f64> = tile.iter().map(|&number| f64::from(number)).collect();
    let mut column = vec![0.0; n];
    for pivot in 0..n {
        let p = a[pivot * n + pivot];
        if !(p > 0.0 && p.is_finite()) {
            return Err(NotPositive);
        }
        column.iter_mut().zip(a.chunks_exact(n)).for_each(|(number, row)| *number = row[pivot]);
        for (row, &c) in a.chunks_exact_mut(n).zip(&column) {
            let factor = -c / p;
            row.iter_mut().zip(&column).for_each(|(number, c)| *number += factor * c);
        }
        for (at, &c) in column.iter().enumerate() {
            (a[at * n + pivot], a[pivot * n + at]) = (c / p, c / p);
        }
        a[pivot * n + pivot] = -1.0 / p;
    }
    Ok(a.into_iter().map(|number| -number as f32).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A positive definite matrix: sums of a few outer products and a ridge.
    fn number(i: usize, j: usize) -> f32 {
        let vector = |row: usize, term: usize| ((row * 31 + term * 17) * 7919 % 1009) as f64 / 1009.0 - 0.5;
        let sum: f64 = (0..7).map(|term| vector(i, term) * vector(j, term)).sum();
        (sum + if i == j { 2.0 } else { 0.0 }) as f32
    }

    fn made(n: usize) -> Symmetric {
        Symmetric::from_rows(n, |i, row| row.iter_mut().enumerate().for_each(|(j, place)| *place += number(i, j)))
    }

    fn inverse(n: usize) -> Vec<Vec<f32>> {
        let mut matrix = made(n);
        (0..matrix.tiles()).for_each(|tile| matrix.sweep(tile).unwrap());
        matrix.map_rows(|_, row| row.to_vec())
    }

    #[test]
    fn the_inverse_times_the_matrix_is_one() {
        for n in [1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE + 77] {
            let inverse = inverse(n);
            for i in (0..n).step_by(n / 13 + 1) {
                for j in 0..n {
                    let sum: f64 = (0..n).map(|k| f64::from(inverse[i][k]) * f64::from(number(k, j))).sum();
                    let want = if i == j { -1.0 } else { 0.0 };
                    assert!((sum - want).abs() < 1e-4, "{n}: {i}, {j}: {sum}");
                }
            }
        }
    }

    #[test]
    fn rows_and_diagonal_are_those_it_was_made_of() {
        let n = TILE + 9;
        let matrix = made(n);
        let rows = matrix.map_rows(|i, row| (i, row.to_vec()));
        assert!(rows.iter().all(|(i, row)| row.iter().enumerate().all(|(j, &found)| found == number(*i, j))));
        assert!(rows.iter().map(|(i, _)| *i).eq(0..n));
        assert_eq!(matrix.diagonal(), (0..n).map(|i| number(i, i)).collect::<Vec<_>>());
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| inverse(3 * TILE - 50))
        };
        assert!(run(1) == run(3));
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite() {
        let mut matrix = Symmetric::from_rows(TILE + 1, |i, row| row[i] = if i == TILE { -1.0 } else { 1.0 });
        assert!(matrix.sweep(0).is_ok() && matrix.sweep(1).is_err());
    }
}

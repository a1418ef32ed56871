//! The items with the longest vectors, which every search through the graph scans before it walks.
//!
//! An inner product is a direction times a length. The graph knows directions; the longest vectors score high for
//! queries that point nearly anywhere, and would be missed by a walk that follows direction alone.

use lookalike_bundle::Matrix;

use crate::product::Products;

/// One item in this many is scanned: few enough to cost less than the walk.
const SHARE: usize = 64;
const FEWEST: usize = 64;
const MOST: usize = 4096;

/// The rows of the longest vectors and, side by side, the vectors.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) rows: Vec<u32>,
    pub(crate) vectors: Matrix,
}

impl Head {
    pub(crate) fn new(items: &Matrix) -> Self {
        let products = Products::default();
        let length = |row: u32| products.of(items.row(row as usize), items.row(row as usize));
        let mut longest: Vec<(f32, u32)> = (0..items.rows() as u32).map(|row| (length(row), row)).collect();
        longest.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        longest.truncate((items.rows() / SHARE).clamp(FEWEST, MOST));
        let rows: Vec<u32> = longest.into_iter().map(|(_, row)| row).collect();
        let mut vectors = Matrix::zeros(rows.len(), items.cols());
        for (at, &row) in rows.iter().enumerate() {
            vectors.row_mut(at).copy_from_slice(items.row(row as usize));
        }
        Self { rows, vectors }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_longest_come_first_and_there_are_enough() {
        let items = Matrix::from_vec(130, 1, (0..130).map(|row| row as f32 - 100.0).collect()).unwrap();
        let head = Head::new(&items);
        assert_eq!((head.rows.len(), &head.rows[..3]), (64, &[0, 1, 2][..]));
        assert_eq!(head.vectors.row(1), [-99.0]);
        assert_eq!(Head::new(&Matrix::zeros(3, 2)).rows, [0, 1, 2]);
    }
}

//! Sparse rows: for every row its columns in ascending order, each once, with a weight.

use std::marker::PhantomData;

use lookalike_bundle::Row;

/// A compressed sparse matrix whose rows and columns are of declared kinds. Offsets are `u64`: the number of
/// entries may exceed what `u32` counts, rows and columns may not.
#[derive(Clone, Debug, PartialEq)]
pub struct Csr<R: Row, C: Row> {
    offsets: Vec<u64>,
    cols: Vec<u32>,
    weights: Vec<f32>,
    n_cols: usize,
    kind: PhantomData<(R, C)>,
}

/// One entry of a [`Csr`] before it is sorted.
#[derive(Clone, Copy, Debug)]
pub struct Pair<R: Row, C: Row> {
    /// The row.
    pub row: R,
    /// The column.
    pub col: C,
    /// The weight; weights of equal pairs are added up.
    pub weight: f32,
}

impl<R: Row, C: Row> Csr<R, C> {
    /// Sorts pairs into rows. Equal pairs become one entry; their weights are added in the order given, so that
    /// the same input gives the same bits. Rows and columns must be below the given counts.
    pub fn from_pairs(n_rows: usize, n_cols: usize, pairs: &[Pair<R, C>]) -> Self {
        let mut starts = vec![0u64; n_rows + 1];
        for pair in pairs {
            starts[pair.row.index() + 1] += 1;
        }
        for row in 0..n_rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0u32, 0f32); pairs.len()];
        for pair in pairs {
            debug_assert!(pair.col.index() < n_cols);
            let at = &mut next[pair.row.index()];
            entries[*at as usize] = (pair.col.get(), pair.weight);
            *at += 1;
        }
        let mut made = Self {
            offsets: Vec::with_capacity(n_rows + 1),
            cols: Vec::with_capacity(pairs.len()),
            weights: Vec::with_capacity(pairs.len()),
            n_cols,
            kind: PhantomData,
        };
        made.offsets.push(0);
        for row in 0..n_rows {
            let entries = &mut entries[starts[row] as usize..starts[row + 1] as usize];
            entries.sort_by_key(|entry| entry.0); // stable: equal columns keep the order given
            let first = made.cols.len();
            for &(col, weight) in entries.iter() {
                match made.cols.last() {
                    Some(&last) if made.cols.len() > first && last == col => {
                        if let Some(sum) = made.weights.last_mut() {
                            *sum += weight;
                        }
                    }
                    _ => {
                        made.cols.push(col);
                        made.weights.push(weight);
                    }
                }
            }
            made.offsets.push(made.cols.len() as u64);
        }
        made
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.cols.len()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.cols.is_empty()
    }

    /// The columns of a row, ascending.
    pub fn cols(&self, row: R) -> &[u32] {
        &self.cols[self.range(row)]
    }

    /// The weights of a row, in the order of [`Csr::cols`].
    pub fn weights(&self, row: R) -> &[f32] {
        &self.weights[self.range(row)]
    }

    fn range(&self, row: R) -> std::ops::Range<usize> {
        self.offsets[row.index()] as usize..self.offsets[row.index() + 1] as usize
    }

    /// Where each row begins and the last one ends: `n_rows + 1` numbers.
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// The columns of all rows, one row after the other.
    pub fn all_cols(&self) -> &[u32] {
        &self.cols
    }

    /// The weights of all rows, one row after the other.
    pub fn all_weights(&self) -> &[f32] {
        &self.weights
    }

    /// Every row number.
    pub fn rows(&self) -> impl Iterator<Item = R> + use<R, C> {
        (0..self.n_rows() as u32).map(R::new)
    }

    /// Every entry, row after row.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<R, C>> + '_ {
        self.rows().flat_map(move |row| {
            let entries = self.cols(row).iter().zip(self.weights(row));
            entries.map(move |(&col, &weight)| Pair { row, col: C::new(col), weight })
        })
    }

    /// The same entries with every weight mapped.
    pub fn map_weights(&self, map: impl Fn(f32) -> f32) -> Self {
        Self { weights: self.weights.iter().map(|&weight| map(weight)).collect(), ..self.clone() }
    }

    /// Rows and columns exchanged.
    pub fn transpose(&self) -> Csr<C, R> {
        let mut offsets = vec![0u64; self.n_cols + 1];
        for &col in &self.cols {
            offsets[col as usize + 1] += 1;
        }
        for col in 0..self.n_cols {
            offsets[col + 1] += offsets[col];
        }
        let mut next = offsets.clone();
        let (mut cols, mut weights) = (vec![0; self.len()], vec![0.0; self.len()]);
        for pair in self.pairs() {
            let at = &mut next[pair.col.index()];
            cols[*at as usize] = pair.row.get();
            weights[*at as usize] = pair.weight;
            *at += 1;
        }
        Csr { offsets, cols, weights, n_cols: self.n_rows(), kind: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use lookalike_bundle::{ItemRow, UserRow};
    use proptest::prelude::*;

    use super::*;

    fn csr(pairs: &[(u32, u32, f32)]) -> Csr<UserRow, ItemRow> {
        let pair = |&(row, col, weight)| Pair { row: UserRow::new(row), col: ItemRow::new(col), weight };
        Csr::from_pairs(7, 11, &pairs.iter().map(pair).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn rows_hold_what_a_map_holds(pairs in proptest::collection::vec((0u32..7, 0u32..11, 1u8..9), 0..60)) {
            let pairs: Vec<_> = pairs.into_iter().map(|(r, c, w)| (r, c, f32::from(w))).collect();
            let mut map = BTreeMap::new();
            for &(row, col, weight) in &pairs {
                *map.entry((row, col)).or_insert(0.0) += weight;
            }
            let made = csr(&pairs);
            let flat: Vec<_> = made.pairs().map(|p| ((p.row.get(), p.col.get()), p.weight)).collect();
            prop_assert_eq!(flat, map.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(made.transpose().transpose(), made);
        }
    }

    #[test]
    fn a_row_without_entries_is_empty() {
        let made = csr(&[(2, 3, 1.0)]);
        assert!(made.cols(UserRow::new(0)).is_empty());
        assert_eq!(made.cols(UserRow::new(2)), [3]);
        assert_eq!(made.transpose().cols(ItemRow::new(3)), [2]);
    }
}

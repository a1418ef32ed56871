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
        Self::collect(n_rows, n_cols, || pairs.iter().copied())
    }

    /// The same for pairs that `pairs` gives twice, so that nobody has to keep a list of them: beside the matrix, no more
    /// than a row is held.
    pub fn collect<I: Iterator<Item = Pair<R, C>>>(n_rows: usize, n_cols: usize, pairs: impl Fn() -> I) -> Self {
        let starts = starts(n_rows, pairs().map(|pair| pair.row.index()));
        let mut next = starts.clone();
        let len = starts[n_rows] as usize;
        let (mut cols, mut weights) = (vec![0u32; len], vec![0f32; len]);
        for pair in pairs() {
            debug_assert!(pair.col.index() < n_cols);
            let at = &mut next[pair.row.index()];
            cols[*at as usize] = pair.col.get();
            weights[*at as usize] = pair.weight;
            *at += 1;
        }
        // Every row is sorted and moved to the front, over what rows before it had twice.
        let (mut offsets, mut entries, mut end) = (vec![0u64], Vec::new(), 0);
        for row in 0..n_rows {
            let range = starts[row] as usize..starts[row + 1] as usize;
            entries.clear();
            entries.extend(cols[range.clone()].iter().copied().zip(weights[range].iter().copied()));
            entries.sort_by_key(|entry| entry.0); // stable: equal columns keep the order given
            let first = end;
            for &(col, weight) in &entries {
                if end > first && cols[end - 1] == col {
                    weights[end - 1] += weight;
                } else {
                    (cols[end], weights[end]) = (col, weight);
                    end += 1;
                }
            }
            offsets.push(end as u64);
        }
        cols.truncate(end);
        weights.truncate(end);
        cols.shrink_to_fit();
        weights.shrink_to_fit();
        Self { offsets, cols, weights, n_cols, kind: PhantomData }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of rows up to the last one with an entry: where users without a history stand behind all others, how many
    /// there are of the others.
    pub fn rows_in_use(&self) -> usize {
        self.offsets.partition_point(|&offset| offset < self.cols.len() as u64)
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

    /// The same entries; `weigh` maps column and weight of each to another weight.
    pub fn map_weights(&self, weigh: impl Fn(C, f32) -> f32) -> Self {
        let weights = self.cols.iter().zip(&self.weights).map(|(&col, &weight)| weigh(C::new(col), weight)).collect();
        let (offsets, cols) = (self.offsets.clone(), self.cols.clone());
        Self { offsets, cols, weights, n_cols: self.n_cols, kind: PhantomData }
    }

    /// Rows and columns exchanged.
    pub fn transpose(&self) -> Csr<C, R> {
        let offsets = starts(self.n_cols, self.cols.iter().map(|&col| col as usize));
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

/// Where each of `count` rows starts when entries, given by their rows, are sorted by row; then how many entries there are.
/// 64 bits: more entries than 32 bits count are no error.
fn starts(count: usize, rows: impl Iterator<Item = usize>) -> Vec<u64> {
    let mut starts = vec![0u64; count + 1];
    rows.for_each(|row| starts[row + 1] += 1);
    accumulate(&mut starts);
    starts
}

/// Every number with all before it.
fn accumulate(numbers: &mut [u64]) {
    for at in 1..numbers.len() {
        numbers[at] += numbers[at - 1];
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
    fn entries_beyond_what_32_bits_count_have_a_place() {
        // Lengths of rows in the place of rows, so that nothing has to be that long.
        let long = u64::from(u32::MAX);
        let mut lengths = vec![0, long, 3, long];
        accumulate(&mut lengths);
        assert_eq!(lengths, [0, long, long + 3, 2 * long + 3]);
        assert_eq!(starts(3, [2, 0, 2].into_iter()), [0, 1, 1, 3]);
    }

    #[test]
    fn a_row_without_entries_is_empty() {
        let made = csr(&[(2, 3, 1.0)]);
        assert!(made.cols(UserRow::new(0)).is_empty());
        assert_eq!(made.cols(UserRow::new(2)), [3]);
        assert_eq!(made.transpose().cols(ItemRow::new(3)), [2]);
        assert_eq!((made.rows_in_use(), csr(&[]).rows_in_use(), csr(&[(6, 1, 1.0)]).rows_in_use()), (3, 0, 7));
    }
}

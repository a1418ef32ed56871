//! Exact search: every item is scored. Queries stream in blocks, so memory does not grow with their number.
//!
//! Lists are made from tiles of queries × items that stay in a core's cache: what a tile's product leaves is masked and
//! compared with the worst score that still counts, and only the few scores above it go further. That costs little more
//! than the product alone. Whole rows of scores ([`Exact::map_scores`]) are for work that needs them all.

use std::borrow::Cow;
use std::ops::Range;

use lookalike_bundle::{ItemRow, Matrix};
use pulp::Arch;
use rayon::prelude::*;
use roaring::RoaringBitmap;

use crate::product;
use crate::topk::{Best, Hit, Ties};

/// Queries and items of a tile: 512 KiB of scores.
const QUERIES: usize = 128;
const ITEMS: usize = 1024;

/// Scores held at once by one thread: 4 Mi numbers, 16 MiB. More items than that still get blocks of [`FEWEST`].
const BLOCK: usize = 1 << 22;
const FEWEST: usize = 8;
const MOST: usize = 64;
/// Products of no more numbers than this are computed in another way by `gemm`.
const SMALL: usize = 16 * 16;
/// Vectors of more numbers than this are summed in pieces by `gemm`, and in other pieces where neither side has more than
/// [`NARROW`] vectors.
const LONG: usize = 512;
const NARROW: usize = 64;

/// Answers which items have the largest inner product with a vector.
pub trait Search: Sync {
    /// The `k` best items for one query (as long as an item's vector), best first; rows in `exclude` (ascending) are
    /// left out. Scores are inner products. A query that is not finite finds nothing.
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>>;

    /// The same for every row of `queries`, on all threads; `exclude` gives the rows to leave out for a query.
    fn search_all<'e>(
        &self,
        queries: &Matrix,
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
    ) -> Vec<Vec<Hit<ItemRow>>> {
        (0..queries.rows()).into_par_iter().map(|query| self.search(queries.row(query), k, exclude(query))).collect()
    }
}

/// Search that looks at every item.
#[derive(Clone, Copy, Debug)]
pub struct Exact<'a> {
    pub(crate) items: &'a Matrix,
    pub(crate) ties: Ties,
    /// The rows to answer with in the place of those of the table (ascending), if they are others.
    pub(crate) names: Option<&'a [u32]>,
}

/// Some rows of a table of items, side by side, for searches that may answer with these alone.
#[derive(Clone, Debug)]
pub struct Among {
    items: Matrix,
    rows: Vec<u32>,
}

impl Among {
    /// Takes the rows of `items` that `only` holds; others in it are passed over.
    pub fn new(items: &Matrix, only: &RoaringBitmap) -> Self {
        let rows: Vec<u32> = only.iter().take_while(|&row| (row as usize) < items.rows()).collect();
        let mut table = Matrix::zeros(rows.len(), items.cols());
        rows.iter().enumerate().for_each(|(at, &row)| table.row_mut(at).copy_from_slice(items.row(row as usize)));
        Self { items: table, rows }
    }

    /// The rows, side by side.
    pub fn items(&self) -> &Matrix {
        &self.items
    }

    /// Search that looks at every one of them.
    pub fn exact(&self) -> Exact<'_> {
        Exact { items: &self.items, ties: Ties::default(), names: Some(&self.rows) }
    }
}

impl<'a> Exact<'a> {
    /// Search over a table of items, one per row.
    pub fn new(items: &'a Matrix) -> Self {
        Self { items, ties: Ties::default(), names: None }
    }

    /// The same with another rule for ties.
    pub fn with_ties(self, ties: Ties) -> Self {
        Self { ties, ..self }
    }

    /// Calls `work(query, scores)` for every row of `queries` with its scores of all items, which `work` may change,
    /// and returns what it returns, in the order of the queries. Runs on all threads; the result depends neither on
    /// their number nor on which queries are asked together.
    pub fn map_scores<T: Send>(&self, queries: &Matrix, work: impl Fn(usize, &mut [f32]) -> T + Sync) -> Vec<T> {
        let (items, dim) = (self.items.rows(), self.items.cols());
        assert_eq!(queries.cols(), dim, "queries and items must be of equal length");
        let block = (BLOCK / items.max(1)).clamp(FEWEST, MOST);
        let blocks: Vec<Vec<T>> = (0..queries.rows().div_ceil(block))
            .into_par_iter()
            .map_init(Vec::new, |scores, at| {
                let rows = at * block..((at + 1) * block).min(queries.rows());
                score(&queries.data()[rows.start * dim..rows.end * dim], rows.len(), self.items, 0..items, scores);
                let of_query = |query: usize| (query - rows.start) * items..(query - rows.start + 1) * items;
                rows.clone().map(|query| work(query, &mut scores[of_query(query)])).collect()
            })
            .collect();
        blocks.into_iter().flatten().collect()
    }
}

/// Scores of `rows` queries for a range of items. Products with a single row or column, or of at most 16 x 16 numbers,
/// take other paths through the matrix code and round differently, so a few queries are accompanied by zeros, and ranges
/// are either of 64 items or more, or all there are: a score then is the same, to the bit, whether its query is asked
/// alone or among others, and whether its item is in a block, in a tile or in the whole.
pub(crate) fn score(queries: &[f32], rows: usize, items: &Matrix, range: Range<usize>, scores: &mut Vec<f32>) {
    let (dim, cols) = (items.cols(), range.len());
    let items = &items.data()[range.start * dim..range.end * dim];
    let mut padded = rows.max(2).max(SMALL / cols.max(1) + 1);
    if dim > LONG && cols <= NARROW {
        padded = padded.max(NARROW + 1);
    }
    scores.resize(padded * cols, 0.0);
    if padded == rows {
        product::of_blocks(dim, (queries, rows), (items, cols), scores);
    } else {
        let mut queries = queries.to_vec();
        queries.resize(padded * dim, 0.0);
        product::of_blocks(dim, (&queries, padded), (items, cols), scores);
    }
}

impl Exact<'_> {
    /// Where those rows that there are stand in the table.
    pub(crate) fn here<'e>(&self, exclude: &'e [u32]) -> Cow<'e, [u32]> {
        match self.names {
            None => Cow::Borrowed(exclude),
            Some(names) => exclude.iter().filter_map(|row| names.binary_search(row).ok()).map(|at| at as u32).collect(),
        }
    }

    /// The lists of a block of `rows` queries.
    fn lists<'e>(
        &self,
        (queries, rows): (&[f32], usize),
        k: usize,
        exclude: impl Fn(usize) -> &'e [u32],
        scores: &mut Vec<f32>,
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let (arch, items) = (Arch::new(), self.items.rows());
        let new = |query| (Best::named(k.min(items), self.ties, self.names), self.here(exclude(query)));
        let mut streams: Vec<(Best<'_>, Cow<'_, [u32]>)> = (0..rows).map(new).collect();
        // Tiles of nearly equal width, so that none is too narrow for `score`.
        let tiles = items.div_ceil(ITEMS);
        for tile in 0..tiles {
            let range = tile * items / tiles..(tile + 1) * items / tiles;
            score(queries, rows, self.items, range.clone(), scores);
            for ((best, exclude), scores) in streams.iter_mut().zip(scores.chunks_exact_mut(range.len())) {
                let begin = exclude.partition_point(|&row| (row as usize) < range.start);
                let here = exclude[begin..].iter().take_while(|&&row| (row as usize) < range.end);
                here.for_each(|&row| scores[row as usize - range.start] = f32::NEG_INFINITY);
                best.offer_all(arch, range.start as u32, scores);
            }
        }
        streams.into_iter().map(|(best, _)| best.finish()).collect()
    }
}

impl Search for Exact<'_> {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        self.lists((query, 1), k, |_| exclude, &mut Vec::new()).pop().unwrap_or_default()
    }

    fn search_all<'e>(
        &self,
        queries: &Matrix,
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let dim = self.items.cols();
        assert_eq!(queries.cols(), dim, "queries and items must be of equal length");
        let blocks: Vec<Vec<_>> = (0..queries.rows().div_ceil(QUERIES))
            .into_par_iter()
            .map_init(Vec::new, |scores, at| {
                let rows = at * QUERIES..((at + 1) * QUERIES).min(queries.rows());
                let block = &queries.data()[rows.start * dim..rows.end * dim];
                self.lists((block, rows.len()), k, |at| exclude(rows.start + at), scores)
            })
            .collect();
        blocks.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::Row;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::random;
    use crate::topk::{mask, select};

    /// The plain twin: every product by itself, in double precision, everything sorted.
    fn twin(query: &[f32], items: &Matrix, k: usize, exclude: &[u32]) -> Vec<f64> {
        let rows = (0..items.rows()).filter(|row| !exclude.contains(&(*row as u32)));
        let product = |row| query.iter().zip(items.row(row)).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let mut scores: Vec<f64> = rows.map(product).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(k);
        scores
    }

    proptest! {
        #[test]
        fn finds_what_sorting_everything_finds(
            (users, items, dim, k) in (0usize..70, 0usize..90, 0usize..20, 0usize..100), seed: u64, step in 1usize..9,
        ) {
            let (queries, table) = (random(users, dim, seed), random(items, dim, seed + 1));
            let seen: Vec<u32> = (0..items as u32).step_by(step).collect();
            let found = Exact::new(&table).search_all(&queries, k, &|_| &seen);
            prop_assert_eq!(found.len(), users);
            for (user, hits) in found.iter().enumerate() {
                let expected = twin(queries.row(user), &table, k, &seen);
                prop_assert_eq!(hits.len(), expected.len());
                prop_assert!(hits.iter().zip(&expected).all(|(hit, score)| (f64::from(hit.score) - score).abs() < 1e-4));
                prop_assert!(hits.iter().all(|hit| !seen.contains(&hit.row.get())));
                prop_assert_eq!(hits, &Exact::new(&table).search(queries.row(user), k, &seen));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        /// The slow twin of the tiles: whole rows of scores, masked and selected from. Not a bit may differ, and many
        /// scores tie.
        #[test]
        fn tiles_find_what_whole_rows_find(
            (users, items, dim, k) in (0usize..300, 0usize..3500, 0usize..20, 0usize..50), seed: u64, step in 1usize..400,
        ) {
            let mut table = random(items, dim, seed);
            table.data_mut().iter_mut().for_each(|number| *number = (*number * 2.0).round());
            for row in (0..items).step_by(97).filter(|_| dim > 0) {
                table.row_mut(row)[0] = [f32::NAN, f32::INFINITY, 0.5][row % 3];
            }
            let queries = random(users, dim, seed + 1);
            let all: Vec<u32> = (0..items as u32).collect();
            let seen = |user: usize| all.get(user % 300 * 4..).unwrap_or(&[]).chunks(step).next().unwrap_or(&[]);
            let exact = Exact::new(&table);
            let whole = exact.map_scores(&queries, |user, scores| {
                mask(scores, seen(user));
                select(scores, k, Ties::Shuffled)
            });
            prop_assert_eq!(exact.search_all(&queries, k, &seen), whole);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (queries, table) = (random(203, 17, 1), random(1501, 17, 2));
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Exact::new(&table).search_all(&queries, 20, &|_| &[]))
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn ties_follow_the_rule_asked_for() {
        let table = Matrix::from_vec(5, 1, vec![1.0; 5]).unwrap();
        let rows =
            |ties| Exact::new(&table).with_ties(ties).search(&[2.0], 5, &[1]).iter().map(|h| h.row.get()).collect();
        let (by_row, mut shuffled): (Vec<u32>, Vec<u32>) = (rows(Ties::ByRow), rows(Ties::Shuffled));
        assert_eq!(by_row, [0, 2, 3, 4]);
        assert_ne!(shuffled, by_row);
        shuffled.sort_unstable();
        assert_eq!(shuffled, by_row);
    }

    #[test]
    fn a_query_that_is_not_finite_finds_nothing() {
        let table = random(9, 3, 1);
        assert!(Exact::new(&table).search(&[f32::NAN, 0.0, 0.0], 5, &[]).is_empty());
    }
}

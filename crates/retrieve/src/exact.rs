//! Exact search: every item is scored. Queries stream in blocks, so memory does not grow with their number.

use lookalike_bundle::{ItemRow, Matrix};
use rayon::prelude::*;

use crate::product;
use crate::topk::{Hit, Ties, mask, select};

/// Scores held at once by one thread: 4 Mi numbers, 16 MiB. More items than that still get blocks of [`FEWEST`].
const BLOCK: usize = 1 << 22;
const FEWEST: usize = 8;
const MOST: usize = 64;
/// Products of no more numbers than this are computed in another way by `gemm`.
const SMALL: usize = 16 * 16;

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
    items: &'a Matrix,
    ties: Ties,
}

impl<'a> Exact<'a> {
    /// Search over a table of items, one per row.
    pub fn new(items: &'a Matrix) -> Self {
        Self { items, ties: Ties::default() }
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
                score_block(&queries.data()[rows.start * dim..rows.end * dim], rows.len(), self.items, scores);
                let of_query = |query: usize| (query - rows.start) * items..(query - rows.start + 1) * items;
                rows.clone().map(|query| work(query, &mut scores[of_query(query)])).collect()
            })
            .collect();
        blocks.into_iter().flatten().collect()
    }
}

/// Scores of `rows` queries. Products with a single row, or of at most 16 x 16 numbers, take other paths through the
/// matrix code and round differently, so a few queries are accompanied by zeros: a score then is the same, to the bit,
/// whether its query is asked alone or among others.
fn score_block(queries: &[f32], rows: usize, items: &Matrix, scores: &mut Vec<f32>) {
    let padded = rows.max(2).max(SMALL / items.rows().max(1) + 1);
    scores.resize(padded * items.rows(), 0.0);
    if padded == rows {
        product::of_blocks(queries, rows, items, scores);
    } else {
        let mut queries = queries.to_vec();
        queries.resize(padded * items.cols(), 0.0);
        product::of_blocks(&queries, padded, items, scores);
    }
}

impl Search for Exact<'_> {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        let mut scores = Vec::new();
        score_block(query, 1, self.items, &mut scores);
        scores.truncate(self.items.rows());
        mask(&mut scores, exclude);
        select(&scores, k, self.ties)
    }

    fn search_all<'e>(
        &self,
        queries: &Matrix,
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
    ) -> Vec<Vec<Hit<ItemRow>>> {
        self.map_scores(queries, |query, scores| {
            mask(scores, exclude(query));
            select(scores, k, self.ties)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::Row;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::random;

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

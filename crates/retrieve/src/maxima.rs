//! Exact lists for many queries with the help of a device that multiplies faster than the CPU. It tells for every query
//! how good the best item of each block of items is, and only blocks that may hold one of the best are scored here. The
//! lists are those of [`Exact`] to the bit, ties included: every score in them was computed here, by the same code.
//!
//! # Why nothing is missed
//!
//! A device adds in another order, so it is off by rounding. Whatever the order, the computed inner product of vectors of
//! `d` numbers is within `γ |u|ᵀ|v|` of the true one, `γ = dε / (1 - dε)` (Higham 2002, "Accuracy and Stability of Numerical
//! Algorithms", section 3.1), and `|u|ᵀ|v|` is at most the product of their lengths (Cauchy-Schwarz). Here `ε` is 2⁻²³: the CPU
//! rounds to the nearest number, which halves it, but a shader may round to either side. Both together are off by at most
//! `1.5 γ |u| |v|`, which `2 d ε |u| |v|` covers while `d ε` is at most a quarter. A shader may also take numbers below 2⁻¹²⁶
//! for zero; of two factors, a product and a sum, `d` times, that makes at most `3 d (1 + |u| + |v|)` such numbers.
//! Together this is the [`slack`] of a block, with the length of its longest item.
//!
//! A block's maximum less its slack is reached by an item of that block, so the k-th greatest of these differences, the
//! *bar*, is reached by k items: blocks whose maximum plus slack is below the bar hold nothing for the list. That k items
//! reach the bar is seen in the end; where they do not (a device need not know of all items that are left out), the query
//! is answered by [`Exact`]. So are queries for which the bar leaves most blocks, or sums could overflow.

use std::borrow::Cow;
use std::error::Error;
use std::sync::{Mutex, PoisonError};

use lookalike_bundle::{ItemRow, Matrix};
use rayon::prelude::*;

use crate::exact::{Exact, Search, score};
use crate::metric::length;
use crate::topk::{Best, Hit};

/// Items of a block. The last block has the rest as well: up to twice as many, less one.
const BLOCK: usize = 64;
/// Queries a device is asked for at a time. The more there are, the more of them look at the same block.
const TILE: usize = 4096;

/// Tells the best scores of blocks of items. The items are known to it, and cut into blocks by [`block_starts`].
pub trait BlockMaxima: Sync {
    /// For every row of `queries`, the greatest inner product with an item of each block, as a row: in single precision,
    /// summed in any order. The rows that `left_out` names for a query (ascending) should not count; negative infinity
    /// stands for a block of which none counts. Maxima that are too great cost time, and ones that are too small lists.
    fn maxima(&self, queries: &Matrix, left_out: &[&[u32]]) -> Result<Matrix, Box<dyn Error + Send + Sync>>;
}

/// Where the blocks of so many items begin, and in the end where the last one ends.
pub fn block_starts(items: usize) -> Vec<u32> {
    let blocks = (items / BLOCK).max(1);
    (0..blocks).map(|block| block * BLOCK).chain([items]).map(|start| start as u32).collect()
}

/// How far a device's maximum of a block may be from that of the scores computed here.
fn slack(dim: usize, query: f64, item: f64) -> f64 {
    let dim = dim as f64;
    2.0 * dim * f64::from(f32::EPSILON) * query * item + 3.0 * dim * f64::from(f32::MIN_POSITIVE) * (1.0 + query + item)
}

/// Exact search that looks only at blocks that may hold one of the best. It answers always: if the device fails, by itself.
pub struct Aided<'a> {
    exact: Exact<'a>,
    by: &'a dyn BlockMaxima,
    starts: Vec<u32>,
    /// Length of the longest item of each block.
    lengths: Vec<f64>,
    /// What the device failed of. It is not asked again.
    failure: Mutex<Option<String>>,
}

/// What a query is looked for.
struct Plan {
    length: f64,
    bar: f64,
    blocks: Vec<u32>,
}

/// A score that reaches the bar of its query.
struct Found {
    query: u32,
    row: u32,
    score: f32,
}

impl<'a> Aided<'a> {
    /// `by` tells the maxima of the table that `exact` searches.
    pub fn new(exact: Exact<'a>, by: &'a dyn BlockMaxima) -> Self {
        let starts = block_starts(exact.items.rows());
        let longest = |block: &[u32]| {
            let lengths = (block[0] as usize..block[1] as usize).map(|row| length(exact.items.row(row)));
            // A length that is no number stays, so that nothing is planned with it.
            lengths.fold(0.0, |most: f64, length| if length <= most { most } else { length })
        };
        let lengths = starts.windows(2).map(longest).collect();
        Self { exact, by, starts, lengths, failure: Mutex::default() }
    }

    /// Why the device is not asked any more, if it failed.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn blocks(&self) -> usize {
        self.starts.len() - 1
    }

    /// The lists of some queries.
    fn tile<'e>(
        &self,
        queries: &Matrix,
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let left_out: Vec<Cow<'_, [u32]>> = (0..queries.rows()).map(|at| self.exact.here(exclude(at))).collect();
        let left_out: Vec<&[u32]> = left_out.iter().map(|rows| &**rows).collect();
        let mut lists = self.planned(queries, k, &left_out).unwrap_or_else(|why| {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            vec![None; queries.rows()]
        });
        let rest: Vec<usize> = (0..lists.len()).filter(|&at| lists[at].is_none()).collect();
        let found = self.exact.search_all(&rows(queries, &rest), k, &|at| exclude(rest[at]));
        rest.into_iter().zip(found).for_each(|(at, list)| lists[at] = Some(list));
        lists.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The lists of those queries for which most blocks need no look.
    fn planned(
        &self,
        queries: &Matrix,
        k: usize,
        left_out: &[&[u32]],
    ) -> Result<Vec<Option<Vec<Hit<ItemRow>>>>, String> {
        let maxima = self.by.maxima(queries, left_out).map_err(|error| error.to_string())?;
        if (maxima.rows(), maxima.cols()) != (queries.rows(), self.blocks()) {
            let (rows, cols, blocks) = (maxima.rows(), maxima.cols(), self.blocks());
            return Err(format!("it told {rows} x {cols} maxima where {} x {blocks} are due", queries.rows()));
        }
        let plan = |at: usize| self.plan(queries.row(at), maxima.row(at), k);
        let plans: Vec<Option<Plan>> = (0..queries.rows()).into_par_iter().map(plan).collect();
        let mut asking: Vec<Vec<u32>> = vec![Vec::new(); self.blocks()];
        for (query, plan) in plans.iter().enumerate() {
            plan.iter().flat_map(|plan| &plan.blocks).for_each(|&block| asking[block as usize].push(query as u32));
        }
        let look = |buffers: &mut (Vec<f32>, Vec<f32>), (block, asking): (usize, &Vec<u32>)| {
            let asking = asking.iter().filter_map(|&query| Some((query, plans[query as usize].as_ref()?))).collect();
            self.look(queries, &maxima, left_out, block, asking, buffers)
        };
        let found: Option<Vec<Vec<Found>>> = asking.par_iter().enumerate().map_init(Default::default, look).collect();
        let found = found.ok_or("its products are further from those of the CPU than rounding allows")?;
        let mut scores: Vec<Vec<(u32, f32)>> = vec![Vec::new(); queries.rows()];
        for Found { query, row, score } in found.into_iter().flatten() {
            scores[query as usize].push((row, score));
        }
        let list = |(plan, scores): (&Option<Plan>, &Vec<(u32, f32)>)| {
            let bar = plan.as_ref()?.bar;
            let mut best = Best::named(k, self.exact.ties, self.exact.names);
            scores.iter().for_each(|&(row, score)| best.offer(row, score));
            let list: Vec<Hit<ItemRow>> = best.finish();
            (list.len() == k && list.last().is_some_and(|last| f64::from(last.score) >= bar)).then_some(list)
        };
        Ok(plans.par_iter().zip(&scores).map(list).collect())
    }

    /// The bar of a query and the blocks that may reach it; `None` if that would leave most of them.
    fn plan(&self, query: &[f32], maxima: &[f32], k: usize) -> Option<Plan> {
        let own = length(query);
        let longest = self.lengths.iter().fold(0.0, |most: f64, &length| if length <= most { most } else { length });
        // No sum overflows below, on either side; lengths that are no numbers do not pass.
        let fits = own * longest < f64::from(f32::MAX) / 2.0;
        if !fits || maxima.iter().any(|maximum| maximum.is_nan()) {
            return None;
        }
        let slack = |block: usize| slack(query.len(), own, self.lengths[block]);
        let mut least: Vec<f64> = (0..).zip(maxima).map(|(block, &most)| f64::from(most) - slack(block)).collect();
        let (_, bar, _) = least.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let bar = *bar;
        let reaches = |&block: &u32| f64::from(maxima[block as usize]) + slack(block as usize) >= bar;
        let blocks: Vec<u32> = (0..maxima.len() as u32).filter(reaches).collect();
        (2 * blocks.len() <= maxima.len()).then_some(Plan { length: own, bar, blocks })
    }

    /// The scores of a block that reach the bars of the queries that ask; `None` if one is greater than it can be.
    fn look(
        &self,
        queries: &Matrix,
        maxima: &Matrix,
        left_out: &[&[u32]],
        block: usize,
        asking: Vec<(u32, &Plan)>,
        (gathered, scores): &mut (Vec<f32>, Vec<f32>),
    ) -> Option<Vec<Found>> {
        let mut found = Vec::new();
        if asking.is_empty() {
            return Some(found);
        }
        let (start, end) = (self.starts[block], self.starts[block + 1]);
        gathered.clear();
        asking.iter().for_each(|&(query, _)| gathered.extend_from_slice(queries.row(query as usize)));
        score(gathered, asking.len(), self.exact.items, start as usize..end as usize, scores);
        for ((query, plan), scores) in asking.into_iter().zip(scores.chunks_exact_mut((end - start) as usize)) {
            let left_out = left_out[query as usize];
            let first = left_out.partition_point(|&row| row < start);
            let here = left_out[first..].iter().take_while(|&&row| row < end);
            here.for_each(|&row| scores[(row - start) as usize] = f32::NEG_INFINITY);
            let most = f64::from(scores.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score)));
            let told = f64::from(maxima.row(query as usize)[block]);
            if most > told + slack(queries.cols(), plan.length, self.lengths[block]) {
                return None;
            }
            if most >= plan.bar {
                let reach = (start..).zip(&*scores).filter(|&(_, &score)| f64::from(score) >= plan.bar);
                found.extend(reach.map(|(row, &score)| Found { query, row, score }));
            }
        }
        Some(found)
    }
}

/// Some rows of a table.
fn rows(table: &Matrix, rows: &[usize]) -> Matrix {
    let mut taken = Matrix::zeros(rows.len(), table.cols());
    rows.iter().enumerate().for_each(|(at, &row)| taken.row_mut(at).copy_from_slice(table.row(row)));
    taken
}

impl Search for Aided<'_> {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        self.exact.search(query, k, exclude)
    }

    fn search_all<'e>(
        &self,
        queries: &Matrix,
        k: usize,
        exclude: &(dyn Fn(usize) -> &'e [u32] + Sync),
    ) -> Vec<Vec<Hit<ItemRow>>> {
        let mut lists = Vec::with_capacity(queries.rows());
        for first in (0..queries.rows()).step_by(TILE) {
            let tile: Vec<usize> = (first..(first + TILE).min(queries.rows())).collect();
            let (queries, exclude) = (rows(queries, &tile), |at: usize| exclude(first + at));
            // At least k blocks need a look, so there is nothing to win where that is most of them.
            lists.extend(match k == 0 || 2 * k > self.blocks() || self.failure().is_some() {
                true => self.exact.search_all(&queries, k, &exclude),
                false => self.tile(&queries, k, &exclude),
            });
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use roaring::RoaringBitmap;

    use super::*;
    use crate::exact::Among;
    use crate::testing::random;

    /// What a device might do. All but the last two keep to what is asked of it.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Way {
        Honest,
        /// Does not know what is left out.
        Unaware,
        /// Is off by half of what is allowed, up or down.
        Off,
        TooLow,
        Failing,
    }

    /// The plain twin of a device: sums from the last number to the first, so that they round differently.
    struct Plain<'a>(&'a Matrix, Way);

    impl BlockMaxima for Plain<'_> {
        fn maxima(&self, queries: &Matrix, left_out: &[&[u32]]) -> Result<Matrix, Box<dyn Error + Send + Sync>> {
            let Self(items, way) = *self;
            if way == Way::Failing {
                return Err("it broke".into());
            }
            let starts = block_starts(items.rows());
            let mut maxima = Matrix::zeros(queries.rows(), starts.len() - 1);
            for (query, left_out) in left_out.iter().enumerate() {
                for (block, ends) in starts.windows(2).enumerate() {
                    let counts = |row: &u32| way == Way::Unaware || left_out.binary_search(row).is_err();
                    let product = |row: u32| {
                        let pairs = queries.row(query).iter().zip(items.row(row as usize)).rev();
                        pairs.fold(0.0, |sum: f32, (a, b)| sum + a * b)
                    };
                    let most = (ends[0]..ends[1]).filter(counts).map(product).fold(f32::NEG_INFINITY, f32::max);
                    let longest = (ends[0]..ends[1]).map(|row| length(items.row(row as usize))).fold(0.0, f64::max);
                    let half = 0.5 * slack(queries.cols(), length(queries.row(query)), longest) as f32;
                    maxima.row_mut(query)[block] = match way {
                        Way::Off if block % 2 == 0 => most + half,
                        Way::Off => most - half,
                        Way::TooLow => most - 0.1,
                        _ => most,
                    };
                }
            }
            Ok(maxima)
        }
    }

    fn ways() -> impl Strategy<Value = Way> {
        prop::sample::select(vec![Way::Honest, Way::Unaware, Way::Off, Way::Failing])
    }

    /// Rows of a table that may be answered, if not all.
    fn some(items: usize, step: usize) -> Option<RoaringBitmap> {
        (step > 1).then(|| (0..items as u32).step_by(step).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn lists_are_those_of_exact_search_to_the_bit(
            (users, items, dim) in (0usize..40, 0usize..2500, 1usize..40), k in 0usize..25, seed: u64,
            way in ways(), grid: bool, step in 1usize..4, seen in 1usize..300,
        ) {
            let (mut queries, mut table) = (random(users, dim, seed), random(items, dim, seed ^ 1));
            if grid {
                // Few numbers, so that many scores are equal, and vectors of zeros.
                let round = |number: &mut f32| *number = (*number * 1.4).round();
                queries.data_mut().iter_mut().for_each(round);
                table.data_mut().iter_mut().for_each(round);
            }
            let all: Vec<u32> = (0..items as u32).collect();
            let exclude = |user: usize| all.get(user * 37 % 400..).unwrap_or(&[]).chunks(seen).next().unwrap_or(&[]);
            let only = some(items, step);
            let among = only.as_ref().map(|only| Among::new(&table, only));
            let exact = among.as_ref().map_or(Exact::new(&table), Among::exact);
            let by = Plain(exact.items, way);
            let aided = Aided::new(exact, &by);
            prop_assert_eq!(aided.search_all(&queries, k, &exclude), exact.search_all(&queries, k, &exclude));
            prop_assert!(aided.failure().is_none() || way == Way::Failing);
        }
    }

    /// Clusters with a few long items, so that few blocks need a look.
    fn skewed(rows: usize, dim: usize, seed: u64) -> Matrix {
        let mut table = random(rows, dim, seed);
        for row in 0..rows {
            let scale = 1.0 / (1.0 + row as f32 / 100.0);
            table.row_mut(row).iter_mut().for_each(|number| *number *= scale);
        }
        table
    }

    fn same(queries: &Matrix, table: &Matrix, k: usize, exclude: &(dyn Fn(usize) -> &'static [u32] + Sync)) {
        let exact = Exact::new(table);
        for way in [Way::Honest, Way::Unaware, Way::Off] {
            let by = Plain(table, way);
            let aided = Aided::new(exact, &by);
            assert_eq!(aided.search_all(queries, k, exclude), exact.search_all(queries, k, exclude), "{way:?}");
            assert_eq!(aided.failure(), None, "{way:?}");
        }
    }

    #[test]
    fn few_blocks_are_looked_at_and_nothing_is_missed() {
        let (queries, table) = (random(200, 24, 1), skewed(6400, 24, 2));
        let by = Plain(&table, Way::Honest);
        let aided = Aided::new(Exact::new(&table), &by);
        let maxima = by.maxima(&queries, &vec![&[][..]; 200]).unwrap();
        let looked = |at: usize| aided.plan(queries.row(at), maxima.row(at), 10).map_or(100, |plan| plan.blocks.len());
        let looked: Vec<usize> = (0..200).map(looked).collect();
        assert!(looked.iter().all(|&blocks| (10..=50).contains(&blocks)), "{looked:?}");
        assert!(looked.iter().sum::<usize>() < 200 * 15, "{looked:?}");
        same(&queries, &table, 10, &|_| &[]);
    }

    #[test]
    fn vectors_of_many_numbers_and_uneven_ends() {
        for (items, dim) in [(1301, 511), (1301, 600), (1343, 1100), (64 * 21, 1100)] {
            same(&random(70, dim, 1), &skewed(items, dim, 2), 3, &|_| &[5, 70, 700]);
        }
    }

    #[test]
    fn zeros_huge_numbers_and_numbers_that_are_none() {
        let (mut queries, mut table) = (random(9, 3, 1), skewed(3000, 3, 2));
        queries.row_mut(0).fill(0.0);
        queries.row_mut(1).fill(f32::NAN);
        queries.row_mut(2).fill(f32::INFINITY);
        queries.row_mut(3).fill(1e38);
        queries.row_mut(4).fill(1e-40);
        same(&queries, &table, 5, &|_| &[1]);
        table.row_mut(700).fill(1e30);
        same(&queries, &table, 5, &|_| &[]);
        table.row_mut(2000)[1] = f32::NAN;
        same(&queries, &table, 5, &|_| &[]);
        same(&queries, &Matrix::zeros(3000, 3), 5, &|_| &[2]);
        same(&queries, &random(1, 3, 1), 5, &|_| &[]);
        same(&queries, &Matrix::zeros(0, 3), 5, &|_| &[]);
    }

    #[test]
    fn a_device_that_is_too_far_off_or_fails_is_not_asked_again() {
        let (queries, table) = (random(TILE + 3, 4, 1), skewed(3000, 4, 2));
        let exact = Exact::new(&table);
        for (way, why) in [(Way::TooLow, "further from those of the CPU"), (Way::Failing, "it broke")] {
            let by = Plain(&table, way);
            let aided = Aided::new(exact, &by);
            assert_eq!(aided.search_all(&queries, 5, &|_| &[]), exact.search_all(&queries, 5, &|_| &[]), "{way:?}");
            assert!(aided.failure().unwrap().contains(why), "{way:?}");
        }
    }

    #[test]
    fn blocks_cover_all_items_and_none_is_narrow() {
        for items in [1, 63, 64, 65, 127, 128, 129, 1000] {
            let starts = block_starts(items);
            assert!(starts[0] == 0 && starts.last() == Some(&(items as u32)));
            let wide = |ends: &[u32]| (BLOCK..2 * BLOCK).contains(&((ends[1] - ends[0]) as usize));
            assert!(starts.len() == 2 || starts.windows(2).all(wide), "{items}");
        }
        assert_eq!(block_starts(0), [0, 0]);
    }
}

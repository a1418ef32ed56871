//! Search through a graph of items: built, audited against exact search, and asked. How it is stored is in `file`.
//!
//! # Inner products
//!
//! A graph links what is near, and there is no nearness by inner product: a long vector is nearest to most. There are two
//! known ways around. One lifts vectors into a further dimension so that all have the same length (Bachrach et al. 2014;
//! Neyshabur & Srebro 2015); the other uses the inner product as if it were a distance (Morozov & Babenko 2018). Both
//! fail where lengths differ much, as they do where popularity is learned: in the first, short vectors crowd around the
//! origin and become everyone's neighbours; in the second, long ones do, and the others cannot be reached. On embeddings
//! of real purchases they found 89 and 70 of 100 nearest items.
//!
//! So the graph links items by *direction*, where there is no crowding (Liu et al. 2020 use such links beside those of
//! Morozov & Babenko), and is searched by inner product. The longest vectors score high for queries that point nearly
//! anywhere, and a walk that follows direction alone would miss them; where the audit finds that it pays, every search
//! looks at them first (the *head*).

use std::sync::{Mutex, PoisonError};

use lookalike_bundle::{ItemRow, Matrix};
use pulp::{Arch, Simd, WithSimd};
use rand::seq::index;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::beam::{Beam, Field, MOST};
use crate::block::Block;
use crate::build::{self, Plan};
use crate::error::RetrieveError;
use crate::exact::Search;
use crate::graph::Graph;
use crate::metric::{Metric, length, lengths, normalise, unit};
use crate::topk::{Best, Hit, Ties};
use crate::vectors::{Query, Vectors};

/// How many nearest items the audit asks for.
const NEAREST: usize = 10;
/// Recall the search width is chosen for, and recall below which there is no index.
const AIM: f64 = 0.99;
const NEEDED: f64 = 0.95;
/// Widths tried, ascending.
const WIDTHS: [usize; 11] = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// The head, where there is one: one item in so many, but not fewer or more than these.
const SHARE: usize = 64;
const HEAD: std::ops::RangeInclusive<usize> = 64..=4096;
/// Rows that exact search passes in the time in which a walk scores one, which it has to fetch from anywhere.
const SCATTERED: usize = 2;
/// Scores of so many rows are held at once by exact search.
const SCAN: usize = 1024;

/// How an index is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSettings {
    /// By what items are compared with queries.
    pub metric: Metric,
    /// Half the links that an item has room for; 2 to 128.
    pub m: usize,
    /// Candidates followed while building; `m` to 4096.
    pub ef_construction: usize,
    /// Seed of the order of insertion and of the sample of the audit.
    pub seed: u64,
    /// Queries in the audit, at least 1.
    pub sample: usize,
}

impl Default for IndexSettings {
    fn default() -> Self {
        Self { metric: Metric::Ip, m: 16, ef_construction: 100, seed: 0, sample: 1000 }
    }
}

impl IndexSettings {
    /// What is out of range is named.
    pub(crate) fn check(self) -> Result<(), RetrieveError> {
        let allowed = [
            ("m", self.m, 2, 128),
            ("ef_construction", self.ef_construction, self.m, 4096),
            ("sample", self.sample, 1, usize::MAX),
        ];
        match allowed.into_iter().find(|&(_, value, min, max)| !(min..=max).contains(&value)) {
            Some((name, value, min, max)) => Err(RetrieveError::Setting { name, value, min, max }),
            None => Ok(()),
        }
    }
}

/// What an index is worth, measured against exact search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Share of the 10 nearest items that are found, averaged over the sample. An item counts as found if its score
    /// reaches that of the tenth.
    pub recall_at_10: f64,
    /// Queries asked.
    pub sample: usize,
    /// Items that no walk from the entry point reaches.
    pub unreachable: usize,
    /// Items that none reached before they were linked once more.
    pub repaired: usize,
    /// Half the links that an item has room for.
    pub m: usize,
    /// Candidates followed while building.
    pub ef_construction: usize,
    /// Candidates followed by a search: of what finds 99 of 100, what looks at the fewest items; or what finds most.
    pub ef_search: usize,
    /// Longest vectors that every search looks at.
    pub head: usize,
    /// Items that a search looked at, on average.
    pub scored: f64,
}

/// Approximate search through a graph.
pub struct Index {
    pub(crate) metric: Metric,
    pub(crate) vectors: Vectors,
    pub(crate) graph: Graph,
    /// Half the squared lengths, for distances.
    pub(crate) off: Option<Block>,
    /// Rows of the longest vectors.
    pub(crate) head: Vec<u32>,
    /// BLAKE3 of the table that it was built for.
    pub(crate) made_for: String,
    pub(crate) audit: Audit,
    pub(crate) beams: Mutex<Vec<(Beam, Query)>>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("items", &self.items()).field("audit", &self.audit).finish_non_exhaustive()
    }
}

impl Index {
    /// Builds an index over a table of items and audits it with a sample of `queries` (of the items themselves if there
    /// are none). The same input gives the same index, on any number of threads. One that finds less than 95 of 100 is
    /// an error.
    pub fn build(items: &Matrix, queries: &Matrix, settings: IndexSettings) -> Result<Self, RetrieveError> {
        let mut index = Self::unaudited(items, settings, &|_| ())?;
        let queries = if queries.rows() == 0 { items } else { queries };
        index.judge(items, queries, settings)?;
        Ok(index)
    }

    /// The same without an audit; a search follows `ef_construction` candidates. `progress` is told how many more items
    /// have been linked.
    pub fn unaudited(
        items: &Matrix,
        settings: IndexSettings,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, RetrieveError> {
        settings.check()?;
        let IndexSettings { metric, m, ef_construction, seed, .. } = settings;
        let (rows, cols) = (items.rows(), items.cols());
        if rows == 0 || cols == 0 {
            return Err(RetrieveError::Empty { rows, cols });
        }
        if rows > MOST {
            return Err(RetrieveError::TooMany { rows });
        }
        let lengths = lengths(items, "item")?;
        let plan = Plan { m, ef_construction, seed, progress };
        let (mut head, mut off) = (Vec::new(), None);
        let (vectors, (graph, repaired)) = match metric {
            Metric::L2 => {
                let halves: Vec<u32> =
                    lengths.iter().map(|length| (0.5 * length * length) as f32).map(f32::to_bits).collect();
                let (block, vectors) = (Block::from_words(&halves), Vectors::new(items));
                let graph = build::build(&vectors, Some(bytemuck::cast_slice(block.lines())), plan)?;
                off = Some(block);
                (vectors, graph)
            }
            Metric::Ip | Metric::Cosine => {
                let directions = Vectors::new(&directions(items, &lengths, seed));
                let graph = build::build(&directions, None, plan)?;
                match metric {
                    Metric::Cosine => (Vectors::new(&unit(items, &lengths)), graph),
                    _ => {
                        head = longest(&lengths);
                        (Vectors::new(items), graph)
                    }
                }
            }
        };
        let unreachable = graph.reached().iter().filter(|reached| !**reached).count();
        let (sample, ef_search) = (0, ef_construction);
        let audit = Audit {
            recall_at_10: 0.0,
            sample,
            unreachable,
            repaired,
            m,
            ef_construction,
            ef_search,
            head: head.len(),
            scored: 0.0,
        };
        Ok(Self { metric, vectors, graph, off, head, made_for: fingerprint(items), audit, beams: Mutex::default() })
    }

    /// Chooses how wide to search, and keeps what that finds.
    fn judge(&mut self, items: &Matrix, queries: &Matrix, settings: IndexSettings) -> Result<(), RetrieveError> {
        if queries.cols() != items.cols() {
            return Err(RetrieveError::Dim { found: queries.cols(), expected: items.cols() });
        }
        let queries = take_sample(queries, settings.sample, settings.seed)?;
        let bars = self.tenth_best(items, &queries);
        self.audit.sample = queries.rows();
        let head = std::mem::take(&mut self.head);
        let heads = if head.is_empty() { vec![vec![]] } else { vec![vec![], head] };
        let mut best: Option<(Vec<u32>, Audit)> = None;
        for head in heads {
            for width in WIDTHS {
                self.head.clone_from(&head);
                (self.audit.ef_search, self.audit.head) = (width, head.len());
                (self.audit.recall_at_10, self.audit.scored) = self.recall(&queries, &bars);
                let reached = self.audit.recall_at_10 >= AIM;
                let better = best.as_ref().is_none_or(|(_, best)| match (reached, best.recall_at_10 >= AIM) {
                    (true, true) => self.audit.scored < best.scored,
                    (false, false) => self.audit.recall_at_10 > best.recall_at_10,
                    (reached, _) => reached,
                });
                if better {
                    best = Some((head.clone(), self.audit.clone()));
                }
                if reached {
                    break;
                }
            }
        }
        if let Some(best) = best {
            (self.head, self.audit) = best;
        }
        let found = self.audit.recall_at_10;
        if found < NEEDED { Err(RetrieveError::Recall { found, needed: NEEDED }) } else { Ok(()) }
    }

    /// What the index is worth.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// By what items are compared.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// How many items there are.
    pub fn items(&self) -> usize {
        self.vectors.rows
    }

    /// Numbers of a vector.
    pub fn dim(&self) -> usize {
        self.vectors.dim
    }

    /// Fails if the index was built for another table.
    pub fn check_made_for(&self, items: &Matrix) -> Result<(), RetrieveError> {
        if self.made_for == fingerprint(items) { Ok(()) } else { Err(RetrieveError::Stale) }
    }

    /// The `k` best items for a query, found by following `width` candidates (at least `k`), best first.
    pub fn search_with(&self, query: &[f32], k: usize, width: usize) -> Vec<Hit<ItemRow>> {
        self.with_beam(query, |beam, query| self.walk(beam, query, (k, width.max(k)), &|_| true))
    }

    /// The same for every row of `queries`, on all threads.
    pub fn search_all_with(&self, queries: &Matrix, k: usize, width: usize) -> Vec<Vec<Hit<ItemRow>>> {
        (0..queries.rows()).into_par_iter().map(|at| self.search_with(queries.row(at), k, width)).collect()
    }

    /// The best of every item, best first.
    pub fn scan(&self, query: &[f32], k: usize) -> Vec<Hit<ItemRow>> {
        self.with_beam(query, |_, query| self.look(query, k, 0..self.items() as u32, &|_| true))
    }

    /// The same index, which answers with these rows alone.
    pub fn within<'a>(&'a self, only: &'a RoaringBitmap) -> Within<'a> {
        Within { index: self, only }
    }

    /// Share of the nearest items found, given the scores they must reach, and how many were looked at for it.
    fn recall(&self, queries: &Matrix, bars: &[f32]) -> (f64, f64) {
        let nearest = NEAREST.min(self.items());
        let scored = || self.pool().iter().map(|(beam, _)| beam.scored).sum::<usize>();
        let before = scored();
        let lists = self.search_all_with(queries, nearest, self.audit.ef_search);
        let found = |(hits, bar): (&Vec<Hit<ItemRow>>, &f32)| hits.iter().filter(|hit| hit.score >= *bar).count();
        let found = lists.iter().zip(bars).map(found).sum::<usize>() as f64;
        (found / (nearest * queries.rows()) as f64, (scored() - before) as f64 / queries.rows() as f64)
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<(Beam, Query)>> {
        self.beams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Per query the score of its tenth nearest item, less what rounding may differ by.
    fn tenth_best(&self, items: &Matrix, queries: &Matrix) -> Vec<f32> {
        let tenth = |row: usize| {
            let hits = self.scan(queries.row(row), NEAREST.min(items.rows()));
            match (hits.first(), hits.last()) {
                (Some(first), Some(last)) => last.score - 1e-5 * first.score.abs().max(last.score.abs()),
                _ => f32::INFINITY,
            }
        };
        (0..queries.rows()).into_par_iter().map(tenth).collect()
    }

    /// Calls `work` with the memory of a search and the query as it is compared; a query that is not finite, or has no
    /// direction where that counts, finds nothing.
    fn with_beam(&self, query: &[f32], work: impl FnOnce(&mut Beam, &Query) -> Vec<Hit<ItemRow>>) -> Vec<Hit<ItemRow>> {
        assert_eq!(query.len(), self.dim(), "queries and items must be of equal length");
        let own = length(query);
        if !own.is_finite() || own >= f64::from(f32::MAX).sqrt() || (self.metric == Metric::Cosine && own == 0.0) {
            return Vec::new();
        }
        let (mut beam, mut prepared) = self.pool().pop().unwrap_or_default();
        match self.metric {
            Metric::Cosine => {
                let mut unit = query.to_vec();
                normalise(&mut unit, own);
                prepared.set(&unit);
            }
            Metric::Ip | Metric::L2 => prepared.set(query),
        }
        let hits = work(&mut beam, &prepared);
        self.pool().push((beam, prepared));
        hits
    }

    /// The best of what a walk finds and `allowed` lets pass. Rough scores choose; of twice as many as asked for and more
    /// the exact ones are computed.
    fn walk(
        &self,
        beam: &mut Beam,
        query: &Query,
        (k, width): (usize, usize),
        allowed: &dyn Fn(u32) -> bool,
    ) -> Vec<Hit<ItemRow>> {
        let off = self.off.as_ref().map(|off| bytemuck::cast_slice(off.lines()));
        let field = Field { graph: &self.graph, planes: self.vectors.planes(), off };
        beam.walk(field, query, &self.head, width.clamp(1, self.items()));
        let mut best = Best::new(k.min(self.items()), Ties::Shuffled);
        let found: Vec<u32> = beam.found().filter(|&row| allowed(row)).take(k.saturating_mul(2) + 16).collect();
        let mut scores = Vec::new();
        self.score(query, &found, &mut scores);
        found.iter().zip(&scores).for_each(|(&row, &score)| best.offer(row, score));
        best.finish()
    }

    /// The best of some rows.
    fn look(
        &self,
        query: &Query,
        k: usize,
        rows: impl Iterator<Item = u32>,
        allowed: &dyn Fn(u32) -> bool,
    ) -> Vec<Hit<ItemRow>> {
        let mut best = Best::new(k.min(self.items()), Ties::Shuffled);
        let (mut block, mut scores, mut rows) = (Vec::new(), Vec::new(), rows.filter(|&row| allowed(row)));
        loop {
            block.clear();
            block.extend(rows.by_ref().take(SCAN));
            if block.is_empty() {
                return best.finish();
            }
            self.score(query, &block, &mut scores);
            block.iter().zip(&scores).for_each(|(&row, &score)| best.offer(row, score));
        }
    }

    /// `scores[i]` becomes the score of `rows[i]`.
    fn score(&self, query: &Query, rows: &[u32], scores: &mut Vec<f32>) {
        Arch::new().dispatch(Score { vectors: &self.vectors, metric: self.metric, query, rows, scores });
    }

    /// Answers by a walk, or by a look at all `candidates` where that is no slower. A walk follows the wider the fewer of
    /// the items it meets may be answered.
    fn answer(
        &self,
        query: &[f32],
        k: usize,
        candidates: usize,
        every: impl Iterator<Item = u32>,
        (left_out, allowed): (usize, &dyn Fn(u32) -> bool),
    ) -> Vec<Hit<ItemRow>> {
        // The audit speaks of 10 items and none left out.
        let wanted = self.audit.ef_search.max(k.saturating_mul(2)).saturating_add(left_out);
        let width = wanted as f64 * self.items() as f64 / candidates.max(1) as f64;
        let steps = (self.audit.scored - self.audit.head as f64).max(self.audit.ef_search as f64);
        let scored = self.audit.head as f64 + steps * width / self.audit.ef_search.max(1) as f64;
        self.with_beam(query, |beam, query| match scored * SCATTERED as f64 >= candidates as f64 {
            true => self.look(query, k, every, allowed),
            false => self.walk(beam, query, (k, width as usize), allowed),
        })
    }
}

struct Score<'a> {
    vectors: &'a Vectors,
    metric: Metric,
    query: &'a Query,
    rows: &'a [u32],
    scores: &'a mut Vec<f32>,
}

impl WithSimd for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let planes = self.vectors.planes();
        self.scores.clear();
        self.scores.resize(self.rows.len(), 0.0);
        if self.metric == Metric::L2 {
            for (score, &row) in self.scores.iter_mut().zip(self.rows) {
                *score = -planes.squared_distance(simd, self.query, row);
            }
        } else {
            for (score, &row) in self.scores.iter_mut().zip(self.rows) {
                *score = planes.product(simd, self.query, row);
            }
        }
    }
}

impl Search for Index {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        let allowed = |row| exclude.binary_search(&row).is_err();
        self.answer(query, k, self.items(), 0..self.items() as u32, (exclude.len(), &allowed))
    }
}

/// An index that answers with some rows alone.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    index: &'a Index,
    only: &'a RoaringBitmap,
}

impl Search for Within<'_> {
    fn search(&self, query: &[f32], k: usize, exclude: &[u32]) -> Vec<Hit<ItemRow>> {
        let items = self.index.items() as u32;
        let allowed = |row| self.only.contains(row) && exclude.binary_search(&row).is_err();
        let every = self.only.iter().take_while(|&row| row < items);
        self.index.answer(query, k, self.only.len() as usize, every, (exclude.len(), &allowed))
    }
}

fn take_sample(queries: &Matrix, sample: usize, seed: u64) -> Result<Matrix, RetrieveError> {
    if let Some(at) = queries.data().iter().position(|number| !number.is_finite()) {
        return Err(RetrieveError::NotFinite { table: "query", row: at / queries.cols() });
    }
    let sample = sample.min(queries.rows());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut rows = index::sample(&mut rng, queries.rows(), sample).into_vec();
    rows.sort_unstable();
    let mut taken = Matrix::zeros(sample, queries.cols());
    for (at, row) in rows.into_iter().enumerate() {
        taken.row_mut(at).copy_from_slice(queries.row(row));
    }
    Ok(taken)
}

/// The rows scaled to length 1. A vector of zeros, which scores the same for every query, gets a random direction, so that many of
/// them do not crowd in one place.
fn directions(items: &Matrix, lengths: &[f64], seed: u64) -> Matrix {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut directions = unit(items, lengths);
    for (row, _) in lengths.iter().enumerate().filter(|(_, length)| **length == 0.0) {
        let direction = directions.row_mut(row);
        direction.fill_with(|| rng.random_range(-1.0..1.0));
        let own = length(direction);
        normalise(direction, own);
    }
    directions
}

/// Rows of the longest vectors, the longest first; none if all are about as long.
fn longest(lengths: &[f64]) -> Vec<u32> {
    let (least, most) = lengths.iter().fold((f64::INFINITY, 0.0f64), |(a, b), &length| (a.min(length), b.max(length)));
    if most - least <= 1e-3 * most {
        return Vec::new();
    }
    let mut rows: Vec<u32> = (0..lengths.len() as u32).collect();
    rows.sort_by(|&a, &b| lengths[b as usize].total_cmp(&lengths[a as usize]));
    rows.truncate((lengths.len() / SHARE).clamp(*HEAD.start(), *HEAD.end()));
    rows
}

/// BLAKE3 of a table's shape and numbers.
fn fingerprint(table: &Matrix) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(table.rows() as u64).to_le_bytes()).update(&(table.cols() as u64).to_le_bytes());
    let mut bytes = Vec::new();
    for row in 0..table.rows() {
        bytes.clear();
        table.row(row).iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

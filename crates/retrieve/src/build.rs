//! Building the graph, in parallel and yet always the same.
//!
//! A few items are linked by `hnsw_rs` (`seeds`). All others come in batches: every item of a batch searches the graph as
//! it stood before the batch and takes links to what it found; then the links back are sorted by the item they leave
//! and merged into its own, each item by itself (Manohar et al. 2024, "ParlayANN"). There is no lock and no race: the
//! result depends on the seed alone, not on threads. Items of one batch do not find each other, so batches stay small
//! beside what is there.
//!
//! Which neighbours become links is decided as in Malkov & Yashunin 2018, algorithm 4, with the slack α of Subramanya et
//! al. 2019 ("DiskANN"): a candidate is passed over if it is nearer, by α, to a neighbour chosen before than to the item.

use pulp::{Arch, Simd, WithSimd};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use crate::beam::{Beam, Field};
use crate::error::RetrieveError;
use crate::graph::Graph;
use crate::seeds::sow;
use crate::vectors::{Planes, Query, Vectors};

/// Every so manieth item is a seed, and at least so many are.
const SEEDS: usize = 64;
const FEWEST: usize = 256;
/// Candidates followed for a seed at most: they are few, and link among themselves only to be found.
const SEED_WIDTH: usize = 64;
/// A batch is at most this share of the items that are linked, and this share of all. On 100,000 word vectors larger ones
/// are faster by a few hundredths, for fewer merges, and find less by less than a thousandth.
const OF_LINKED: f64 = 0.4;
const OF_ALL: f64 = 0.1;
/// Links that an item takes when it comes in, of `2 m` it has room for, in quarters of `m`.
const QUARTERS: usize = 6;
/// The slack, on squared distances. 1.0 links less and finds less (0.9731 of 10 in the place of 0.9759 at width 80); 1.2
/// with fewer links is no better at equal speed.
const ALPHA: f32 = 1.1;
/// Rounds of repair.
const ROUNDS: usize = 8;

/// A neighbour: squared distance, then row, which sort.
type Near = (f32, u32);

fn by_distance(a: &Near, b: &Near) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// How a graph is built.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) m: usize,
    pub(crate) ef_construction: usize,
    pub(crate) seed: u64,
    /// Told how many items have been linked since it was last told.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

/// A graph that grows.
struct Draft<'a> {
    vectors: &'a Vectors,
    off: Option<&'a [f32]>,
    degree: usize,
    graph: Graph,
    /// Neighbours of every item, nearest first or in the order they came.
    near: Vec<Vec<Near>>,
}

/// Links every row to rows near it by Euclidean distance; `off` is half the squared length of each, or nothing where all
/// have length 1. Also says how many rows had to be linked by hand to be reachable.
pub(crate) fn build(vectors: &Vectors, off: Option<&[f32]>, plan: Plan<'_>) -> Result<(Graph, usize), RetrieveError> {
    let items = vectors.rows;
    let mut order: Vec<u32> = (0..items as u32).collect();
    order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(plan.seed));
    let (first, rest) = order.split_at((items / SEEDS).max(FEWEST).min(items));
    let seeds = sow(vectors, first, plan.m, plan.ef_construction.min(SEED_WIDTH.max(plan.m)))?;
    let degree = 2 * plan.m;
    let mut draft =
        Draft { vectors, off, degree, graph: Graph::unlinked(items, degree), near: vec![Vec::new(); items] };
    draft.graph.entry = seeds.entry;
    draft.graph.layers = seeds.layers;
    let linked = first.par_iter().zip(seeds.links).map(|(&row, links)| (row, draft.measure(row, &links))).collect();
    draft.link(linked);
    (plan.progress)(first.len() as u64);
    let mut done = first.len();
    let mut rest = rest;
    while !rest.is_empty() {
        let size = (done as f64 * OF_LINKED).min(items as f64 * OF_ALL) as usize;
        let (batch, later) = rest.split_at(size.max(FEWEST).min(rest.len()));
        let linked = batch.par_iter().with_min_len(16).map_init(Beam::default, |beam, &row| {
            (row, draft.neighbours(beam, row, plan.ef_construction, plan.m * QUARTERS / 4))
        });
        let linked = linked.collect();
        draft.link(linked);
        (plan.progress)(batch.len() as u64);
        (done, rest) = (done + batch.len(), later);
    }
    let repaired = draft.repair(plan.ef_construction);
    Ok((draft.graph, repaired))
}

impl<'a> Draft<'a> {
    fn planes(&self) -> Planes<'a> {
        self.vectors.planes()
    }

    fn field(&self) -> Field<'_> {
        Field { graph: &self.graph, planes: self.planes(), off: self.off }
    }

    fn query(&self, row: u32) -> Query {
        Arch::new().dispatch(AsQuery { planes: self.planes(), row })
    }

    /// Some rows with their distances from one, nearest first.
    fn measure(&self, row: u32, others: &[u32]) -> Vec<Near> {
        let mut near = Arch::new().dispatch(Measure { planes: self.planes(), row, others });
        near.sort_unstable_by(by_distance);
        near
    }

    /// At most `most` links for a row that has none, found from the entry point.
    fn neighbours(&self, beam: &mut Beam, row: u32, width: usize, most: usize) -> Vec<Near> {
        beam.walk(self.field(), &self.query(row), &[], width);
        let found: Vec<u32> = beam.found().collect();
        self.select(&self.measure(row, &found), most)
    }

    fn select(&self, candidates: &[Near], most: usize) -> Vec<Near> {
        Arch::new().dispatch(Select { planes: self.planes(), candidates, most })
    }

    /// Gives rows their links and every one linked to a link back.
    fn link(&mut self, linked: Vec<(u32, Vec<Near>)>) {
        let back = linked.iter().flat_map(|(row, near)| near.iter().map(|&(distance, end)| (end, (distance, *row))));
        let mut back: Vec<(u32, Near)> = back.collect();
        back.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then(by_distance(&a.1, &b.1)));
        for (row, near) in linked {
            self.set(row, near);
        }
        let ends: Vec<&[(u32, Near)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let merged: Vec<Vec<Near>> = ends.par_iter().map(|new| self.merge(new)).collect();
        for (new, near) in ends.iter().zip(merged) {
            self.set(new[0].0, near);
        }
    }

    fn merge(&self, new: &[(u32, Near)]) -> Vec<Near> {
        let mut near = self.near[new[0].0 as usize].clone();
        let had = near.len();
        for &(_, one) in new {
            if near[..had].iter().all(|other| other.1 != one.1) {
                near.push(one);
            }
        }
        if near.len() <= self.degree {
            return near;
        }
        near.sort_unstable_by(by_distance);
        self.select(&near, self.degree)
    }

    fn set(&mut self, row: u32, near: Vec<Near>) {
        self.graph.set(row, near.iter().map(|near| near.1));
        self.near[row as usize] = near;
    }

    /// Links what no walk from the entry point reaches (such as the last of many copies of one vector) to the nearest
    /// that has room, and says how many there were.
    fn repair(&mut self, width: usize) -> usize {
        let (slots, mut repaired) = (self.graph.links().slots(), 0);
        let mut beam = Beam::default();
        for _ in 0..ROUNDS {
            let mut reached = self.graph.reached();
            let mut last = None;
            let mut changed = false;
            for row in 0..self.vectors.rows as u32 {
                if reached[row as usize] {
                    continue;
                }
                beam.walk(self.field(), &self.query(row), &[], width);
                let found: Vec<u32> = beam.found().chain(last).filter(|&other| other != row).collect();
                let mut hosts = self.measure(row, &found);
                // Of many copies each continues the chain.
                hosts.sort_by_key(|host| (host.0.to_bits(), Some(host.1) != last));
                let free = |host: &&Near| self.near[host.1 as usize].len() < slots;
                let Some(&(distance, host)) = hosts.iter().find(free).or(hosts.first()) else { continue };
                let mut near = self.near[host as usize].clone();
                near.truncate(slots - 1);
                near.push((distance, row));
                self.set(host, near);
                (last, changed, repaired) = (Some(row), true, repaired + 1);
                let mut ahead = vec![row];
                while let Some(row) = ahead.pop() {
                    if !std::mem::replace(&mut reached[row as usize], true) {
                        ahead.extend(self.graph.links().of(row));
                    }
                }
            }
            if !changed {
                break;
            }
        }
        repaired
    }
}

struct AsQuery<'a> {
    planes: Planes<'a>,
    row: u32,
}

impl WithSimd for AsQuery<'_> {
    type Output = Query;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Query {
        let mut query = Query::default();
        self.planes.query(simd, self.row, &mut query);
        query
    }
}

struct Measure<'a> {
    planes: Planes<'a>,
    row: u32,
    others: &'a [u32],
}

impl WithSimd for Measure<'_> {
    type Output = Vec<Near>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Near> {
        let mut query = Query::default();
        self.planes.query(simd, self.row, &mut query);
        let mut near = Vec::with_capacity(self.others.len());
        for &other in self.others {
            near.push((self.planes.squared_distance(simd, &query, other), other));
        }
        near
    }
}

struct Select<'a> {
    planes: Planes<'a>,
    /// Nearest first.
    candidates: &'a [Near],
    most: usize,
}

impl WithSimd for Select<'_> {
    type Output = Vec<Near>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Near> {
        let Self { planes, candidates, most } = self;
        let mut chosen: Vec<Near> = Vec::with_capacity(most);
        let mut query = Query::default();
        let mut copies = 0;
        for &(distance, row) in candidates {
            if chosen.len() == most {
                break;
            }
            if distance == 0.0 {
                // Copies of the item itself take half the room, or nothing else would be linked.
                if copies < most / 2 {
                    copies += 1;
                    chosen.push((distance, row));
                }
                continue;
            }
            planes.query(simd, row, &mut query);
            let mut apart = true;
            for &(_, other) in &chosen[copies..] {
                if planes.squared_distance(simd, &query, other) * ALPHA < distance {
                    apart = false;
                    break;
                }
            }
            if apart {
                chosen.push((distance, row));
            }
        }
        chosen
    }
}

//! Building the graph: the only place that knows `hnsw_rs`.
//!
//! `hnsw_rs` builds by distance and knows no inner product, for which there are two known ways around. One lifts
//! vectors into a further dimension so that all have the same length (Bachrach et al. 2014; Neyshabur & Srebro 2015);
//! the other uses the inner product as if it were a distance (Morozov & Babenko 2018). Both fail where lengths differ
//! much, as they do where popularity is learned: in the first, short vectors crowd around the origin and become
//! everyone's neighbours; in the second, long ones do, and the others cannot be reached. On embeddings of real
//! purchases they found 89 and 70 of 100 nearest items.
//!
//! So the graph links items by *direction*, where there is no crowding (Liu et al. 2020 use such links beside those of
//! Morozov & Babenko), and is searched by inner product; the few longest vectors, which direction says least about,
//! are scanned by every search (`head`). That found 99 of 100.
//!
//! Points go in one after the other on one thread: `hnsw_rs` draws levels from a fixed seed, and parallel insertion
//! would let thread timing decide on links. Points of similar direction go in together, which is faster by a third:
//! what one insertion reads is still in the cache for the next.

use std::collections::BTreeMap;

use hnsw_rs::prelude::{Distance, Hnsw};
use lookalike_bundle::Matrix;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::error::RetrieveError;
use crate::graph::{Graph, Layer};
use crate::product::Products;

/// More layers than any number of rows needs.
const LAYERS: usize = 16;
/// Hyperplanes that sort directions: up to 4096 groups.
const PLANES: usize = 12;

struct SquaredDistance(Products);

impl Distance<f32> for SquaredDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        self.0.squared_distance(a, b)
    }
}

/// Builds the graph over a table that has rows and columns, with settings in range. The same input gives the same graph.
pub(crate) fn build(items: &Matrix, m: usize, ef_construction: usize, seed: u64) -> Result<Graph, RetrieveError> {
    let directions = directions(items, seed)?;
    let hnsw = Hnsw::new(m, items.rows(), LAYERS, ef_construction, SquaredDistance(Products::default()));
    for row in order(&directions, seed) {
        hnsw.insert((directions.row(row), row));
    }
    let mut graph = freeze(&hnsw, items.rows());
    symmetrise(&mut graph.base);
    join_islands(&mut graph);
    graph.into_layers().ok_or(RetrieveError::TooMany { rows: items.rows() })
}

/// The rows scaled to length 1 and filled with zeros to a multiple of the vector width. A vector of zeros, which scores
/// the same for every query, gets a random direction, so that many of them do not crowd in one place.
fn directions(items: &Matrix, seed: u64) -> Result<Matrix, RetrieveError> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut directions = Matrix::zeros(items.rows(), items.cols().next_multiple_of(16));
    for row in 0..items.rows() {
        let direction = &mut directions.row_mut(row)[..items.cols()];
        direction.copy_from_slice(items.row(row));
        if direction.iter().all(|&number| number == 0.0) {
            direction.fill_with(|| rng.random_range(-1.0..1.0));
        }
        let length = direction.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>().sqrt();
        // The square must be finite in `f32` too, or scores would not be.
        if length.is_nan() || length >= f64::from(f32::MAX).sqrt() {
            return Err(RetrieveError::NotFinite { table: "item", row });
        }
        direction.iter_mut().for_each(|number| *number = (f64::from(*number) / length.max(f64::MIN_POSITIVE)) as f32);
    }
    Ok(directions)
}

/// All rows, those on the same side of every one of a few random hyperplanes together, else shuffled.
fn order(directions: &Matrix, seed: u64) -> Vec<usize> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut planes = Matrix::zeros(PLANES, directions.cols());
    planes.data_mut().fill_with(|| rng.random_range(-1.0..1.0));
    let (products, mut sides) = (Products::default(), Vec::new());
    let mut side_of = |row: usize| {
        products.of_all(directions.row(row), &planes, &mut sides);
        sides.iter().fold(0u32, |bits, &side| bits << 1 | u32::from(side > 0.0))
    };
    let mut order: Vec<usize> = (0..directions.rows()).collect();
    order.shuffle(&mut rng);
    order.sort_by_cached_key(|&row| side_of(row)); // stable
    order
}

/// A graph whose lowest layer can still be changed.
struct Draft {
    entry: u32,
    /// Upper layers from the top down: rows and links of their nodes.
    upper: Vec<BTreeMap<u32, Vec<u32>>>,
    /// Links of every item.
    base: Vec<Vec<u32>>,
}

/// Copies the links out of `hnsw_rs`, layer by layer.
fn freeze(hnsw: &Hnsw<'_, f32, SquaredDistance>, items: usize) -> Draft {
    let points = hnsw.get_point_indexation();
    let top = usize::from(hnsw.get_max_level_observed());
    // The entry point is the first that came to the top layer.
    let entry = points.get_layer_iterator(top).next().map_or(0, |point| point.get_origin_id() as u32);
    let mut links: Vec<Vec<Vec<u32>>> = vec![Vec::new(); items];
    for point in (0..=top).flat_map(|level| points.get_layer_iterator(level)) {
        let neighbours = point.get_neighborhood_id();
        let rows = neighbours[..=top].iter().map(|layer| layer.iter().map(|near| near.d_id as u32).collect());
        links[point.get_origin_id()] = rows.collect();
    }
    let mut take = |row: u32, level: usize| std::mem::take(&mut links[row as usize][level]);
    let mut upper: Vec<BTreeMap<u32, Vec<u32>>> = Vec::new();
    for level in (1..=top).rev() {
        // What a descent can meet in a layer: what it met in the layer above, and from there along the links.
        let mut ahead: Vec<u32> = upper.last().map_or(vec![entry], |above| above.keys().copied().collect());
        let mut nodes = BTreeMap::new();
        while let Some(row) = ahead.pop() {
            nodes.entry(row).or_insert_with(|| {
                let links = take(row, level);
                ahead.extend(&links);
                links
            });
        }
        upper.push(nodes);
    }
    let base = (0..items as u32).map(|row| take(row, 0)).collect();
    Draft { entry, upper, base }
}

/// Lets every link be walked both ways. `hnsw_rs` drops the farthest link of a full node without regard to whether the
/// other end can still be reached.
fn symmetrise(links: &mut [Vec<u32>]) {
    links.iter_mut().for_each(|links| links.sort_unstable());
    let mut back: Vec<Vec<u32>> = vec![Vec::new(); links.len()];
    for (row, ends) in (0u32..).zip(links.iter()) {
        for &end in ends {
            if links[end as usize].binary_search(&row).is_err() {
                back[end as usize].push(row);
            }
        }
    }
    for (links, back) in links.iter_mut().zip(back) {
        links.extend(back);
    }
}

/// Links the parts of the lowest layer that have no link between them (such as many copies of one vector) in a chain.
fn join_islands(graph: &mut Draft) {
    let mut reached = vec![false; graph.base.len()];
    let mut last = graph.entry;
    let rows = std::iter::once(graph.entry).chain(0..graph.base.len() as u32);
    for start in rows {
        if reached[start as usize] {
            continue;
        }
        if start != graph.entry {
            graph.base[last as usize].push(start);
            graph.base[start as usize].push(last);
            last = start;
        }
        let mut ahead = vec![start];
        while let Some(row) = ahead.pop() {
            if !std::mem::replace(&mut reached[row as usize], true) {
                ahead.extend(&graph.base[row as usize]);
            }
        }
    }
}

impl Draft {
    /// `None` if there are more links than can be counted.
    fn into_layers(self) -> Option<Graph> {
        let mut layers = vec![Layer::new(None, &self.base)?];
        for nodes in self.upper.into_iter().rev() {
            let (rows, links_of): (Vec<u32>, Vec<Vec<u32>>) = nodes.into_iter().unzip();
            layers.push(Layer::new(Some(rows), &links_of)?);
        }
        Some(Graph { entry: self.entry, layers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::random;

    #[test]
    fn links_are_walked_both_ways_and_islands_are_joined() {
        let mut base = vec![vec![2], vec![], vec![0], vec![4], vec![], vec![]];
        symmetrise(&mut base);
        assert_eq!(base, [vec![2], vec![], vec![0], vec![4], vec![3], vec![]]);
        let mut graph = Draft { entry: 2, upper: Vec::new(), base };
        join_islands(&mut graph);
        assert_eq!(graph.base[1], [2, 3]);
        assert!(graph.into_layers().unwrap().reached().iter().all(|&reached| reached));
    }

    #[test]
    fn every_row_goes_in_once_and_the_seed_decides_when() {
        let directions = directions(&random(500, 7, 1), 3).unwrap();
        let mut rows = order(&directions, 3);
        assert!(rows == order(&directions, 3) && rows != order(&directions, 4));
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..500));
    }

    #[test]
    fn directions_have_length_one_also_those_of_zeros() {
        let mut items = random(20, 5, 1);
        items.row_mut(3).fill(0.0);
        items.row_mut(4).fill(1e-30);
        let directions = directions(&items, 3).unwrap();
        let length = |row| directions.row(row).iter().map(|&number| number * number).sum::<f32>();
        assert!((0..20).all(|row| (length(row) - 1.0).abs() < 1e-5));
    }
}

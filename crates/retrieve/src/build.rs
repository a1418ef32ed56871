//! Building the graph: the only place that knows `hnsw_rs`.
//!
//! `hnsw_rs` builds by distance and knows no inner product. So vectors are lifted into one more dimension,
//! `x' = (x, sqrt(M² - |x|²))` with `M` the greatest length, and queries become `q' = (q, 0)`. Then
//! `|q' - x'|² = |q|² + M² - 2 q·x`: the nearest is the one with the largest inner product (Bachrach et al. 2014,
//! "Speeding up the Xbox recommender system", section 3; Neyshabur & Srebro 2015).
//!
//! Points go in one after the other on one thread, in an order that the seed shuffles: `hnsw_rs` draws levels from a
//! fixed seed, and parallel insertion would let thread timing decide on links.

use std::collections::BTreeMap;

use hnsw_rs::prelude::{Distance, Hnsw};
use lookalike_bundle::Matrix;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::error::RetrieveError;
use crate::graph::{Graph, Layer};
use crate::product::Products;

/// More layers than any number of rows needs.
const LAYERS: usize = 16;

struct SquaredDistance(Products);

impl Distance<f32> for SquaredDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        self.0.squared_distance(a, b)
    }
}

/// Builds the graph over a table that has rows and columns and whose lengths are finite, with settings in range.
/// The same input gives the same graph.
pub(crate) fn build(items: &Matrix, m: usize, ef_construction: usize, seed: u64) -> Result<Graph, RetrieveError> {
    let lift = Lift::new(items)?;
    let mut order: Vec<usize> = (0..items.rows()).collect();
    order.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    let hnsw = Hnsw::new(m, items.rows(), LAYERS, ef_construction, SquaredDistance(Products::default()));
    let mut lifted = Vec::new();
    for row in order {
        lift.apply(items.row(row), &mut lifted);
        hnsw.insert((&lifted, row));
    }
    freeze(&hnsw, items.rows())
}

struct Lift {
    /// `M²`.
    longest: f64,
    /// Lifted vectors are filled with zeros up to a multiple of the vector width.
    dim: usize,
}

impl Lift {
    fn new(items: &Matrix) -> Result<Self, RetrieveError> {
        let mut longest = 0.0f64;
        for row in 0..items.rows() {
            let length = squared_length(items.row(row));
            if !(length * 4.0 < f64::from(f32::MAX)) {
                return Err(RetrieveError::NotFinite { table: "item", row });
            }
            longest = longest.max(length);
        }
        Ok(Self { longest, dim: (items.cols() + 1).next_multiple_of(16) })
    }

    fn apply(&self, vector: &[f32], lifted: &mut Vec<f32>) {
        lifted.clear();
        lifted.extend(vector);
        lifted.push((self.longest - squared_length(vector)).max(0.0).sqrt() as f32);
        lifted.resize(self.dim, 0.0);
    }
}

fn squared_length(vector: &[f32]) -> f64 {
    vector.iter().map(|&number| f64::from(number).powi(2)).sum()
}

/// Copies the links out of `hnsw_rs`, layer by layer.
fn freeze(hnsw: &Hnsw<'_, f32, SquaredDistance>, items: usize) -> Result<Graph, RetrieveError> {
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
    let too_many = || RetrieveError::TooMany { rows: items };
    let mut take = |row: u32, level: usize| std::mem::take(&mut links[row as usize][level]);
    let mut layers = Vec::new();
    // What a descent can meet in a layer: what it met in the layer above, and from there along the links.
    let mut met = vec![entry];
    for level in (1..=top).rev() {
        let mut links_of = BTreeMap::new();
        while let Some(row) = met.pop() {
            if !links_of.contains_key(&row) {
                let links = take(row, level);
                met.extend(&links);
                links_of.insert(row, links);
            }
        }
        let (rows, links_of): (Vec<u32>, Vec<Vec<u32>>) = links_of.into_iter().unzip();
        layers.push(Layer::new(Some(rows.clone()), &links_of).ok_or_else(too_many)?);
        met = rows;
    }
    let links_of: Vec<_> = (0..items as u32).map(|row| take(row, 0)).collect();
    layers.push(Layer::new(None, &links_of).ok_or_else(too_many)?);
    layers.reverse();
    Ok(Graph { entry, layers })
}

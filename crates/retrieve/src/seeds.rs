//! The first points of a graph and the sparse layers above it: the only place that knows `hnsw_rs`.
//!
//! `hnsw_rs` builds a graph of a few of the items, one after the other on one thread: it draws levels from a fixed seed,
//! and parallel insertion would let thread timing decide on links.

use std::collections::BTreeMap;

use hnsw_rs::prelude::{Distance, Hnsw};

use crate::error::RetrieveError;
use crate::graph::Layer;
use crate::product::Products;
use crate::vectors::Vectors;

/// More layers than any number of rows needs.
const LAYERS: usize = 16;

struct SquaredDistance(Products);

impl Distance<f32> for SquaredDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        self.0.squared_distance(a, b)
    }
}

/// What `hnsw_rs` made of some rows.
pub(crate) struct Seeds {
    /// Where a search begins.
    pub(crate) entry: u32,
    /// From the layer that holds all of the rows up to the sparsest.
    pub(crate) layers: Vec<Layer>,
    /// For each of the rows, in their order, the rows it links to.
    pub(crate) links: Vec<Vec<u32>>,
}

/// Builds a graph over some rows of a table, with settings in range: `hnsw_rs` exits or panics on others.
pub(crate) fn sow(vectors: &Vectors, rows: &[u32], m: usize, ef_construction: usize) -> Result<Seeds, RetrieveError> {
    let hnsw = Hnsw::new(m, rows.len(), LAYERS, ef_construction, SquaredDistance(Products::default()));
    for (at, &row) in rows.iter().enumerate() {
        let mut vector = vectors.row(row);
        // What `hnsw_rs` compares most is filled with zeros to the width of vector instructions.
        vector.resize(vector.len().next_multiple_of(16), 0.0);
        hnsw.insert((&vector, at));
    }
    let points = hnsw.get_point_indexation();
    let top = usize::from(hnsw.get_max_level_observed());
    // The entry point is the first that came to the top layer.
    let entry = points.get_layer_iterator(top).next().map_or(0, |point| rows[point.get_origin_id()]);
    let mut links: Vec<BTreeMap<u32, Vec<u32>>> = vec![BTreeMap::new(); top + 1];
    for point in (0..=top).flat_map(|level| points.get_layer_iterator(level)) {
        for (near, links) in point.get_neighborhood_id()[..=top].iter().zip(&mut links) {
            links.insert(rows[point.get_origin_id()], near.iter().map(|near| rows[near.d_id]).collect());
        }
    }
    let of_all = rows.iter().map(|row| links[0].get(row).cloned().unwrap_or_default()).collect();
    // What a descent can meet in a layer: what it met in the layer above, and from there along the links.
    let mut layers = Vec::new();
    let mut above = vec![entry];
    for of_layer in links.iter_mut().rev() {
        let mut nodes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut ahead = above;
        while let Some(row) = ahead.pop() {
            nodes.entry(row).or_insert_with(|| {
                let links = of_layer.remove(&row).unwrap_or_default();
                ahead.extend(&links);
                links
            });
        }
        above = nodes.keys().copied().collect();
        layers.push(Layer::new(nodes.into_iter().collect()).ok_or(RetrieveError::TooMany { rows: rows.len() })?);
    }
    layers.reverse();
    Ok(Seeds { entry, layers, links: of_all })
}

//! A frozen graph of items: for every layer the links of every node, end to end. What is stored, checked and searched.
//!
//! # The file, format version 1
//!
//! A sealed tensor file. Texts: `format`, `entry` (row of the entry point), `layers`, `items`, `dim`, `vectors` (BLAKE3
//! of the item embeddings), and the settings and the audit of the build. Tensors, all `u32`, per layer `l` from 0:
//! `layer.l.offsets [nodes + 1]` and `layer.l.links [offsets.last]`, where node `i` links to
//! `links[offsets[i]..offsets[i + 1]]`; and for `l > 0` `layer.l.rows [nodes]`, the item row of each node, ascending.
//! In layer 0 every item is a node and its row is its position. The vectors are those of the bundle's model file and
//! are not stored twice.

use lookalike_bundle::{Data, Tensor, Tensors};

use crate::error::RetrieveError;

/// Nodes and links of one layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    /// Item rows of the nodes, ascending; `None` if every item is a node.
    rows: Option<Vec<u32>>,
    offsets: Vec<u32>,
    links: Vec<u32>,
}

impl Layer {
    /// Takes the links of each node. `None` if there are more than an offset can count.
    pub(crate) fn new(rows: Option<Vec<u32>>, links_of: &[Vec<u32>]) -> Option<Self> {
        let mut layer = Self { rows, offsets: vec![0], links: Vec::new() };
        for links in links_of {
            layer.links.extend(links);
            layer.offsets.push(u32::try_from(layer.links.len()).ok()?);
        }
        Some(layer)
    }

    /// Rows that a row links to; none if it is no node of this layer.
    pub(crate) fn links(&self, row: u32) -> &[u32] {
        match self.node(row) {
            Some(node) => &self.links[self.offsets[node] as usize..self.offsets[node + 1] as usize],
            None => &[],
        }
    }

    fn node(&self, row: u32) -> Option<usize> {
        match &self.rows {
            Some(rows) => rows.binary_search(&row).ok(),
            None => Some(row as usize),
        }
    }

    /// Whether positions, offsets and links are all in range, so that a search can trust them.
    fn holds(&self, items: usize) -> bool {
        let ascending =
            |rows: &Vec<u32>| rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|&row| (row as usize) < items);
        let nodes = self.rows.as_ref().map_or(items, Vec::len);
        self.rows.as_ref().is_none_or(ascending)
            && self.offsets.len() == nodes + 1
            && self.offsets[0] == 0
            && self.offsets.is_sorted()
            && self.offsets[nodes] as usize == self.links.len()
            && self.links.iter().all(|&row| (row as usize) < items && self.node(row).is_some())
    }
}

/// Layers from the one that holds every item up to the sparsest, and where a search begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Graph {
    pub(crate) entry: u32,
    pub(crate) layers: Vec<Layer>,
}

impl Graph {
    pub(crate) fn to_tensors(&self) -> Tensors {
        let mut tensors = Tensors::new();
        for (level, layer) in self.layers.iter().enumerate() {
            let parts =
                [("offsets", Some(&layer.offsets)), ("links", Some(&layer.links)), ("rows", layer.rows.as_ref())];
            for (part, numbers) in parts {
                if let Some(numbers) = numbers {
                    tensors.insert(format!("layer.{level}.{part}"), Tensor::u32s(numbers.clone()));
                }
            }
        }
        tensors
    }

    /// Takes a graph over `items` items apart from a file, and checks every number of it.
    pub(crate) fn from_tensors(
        mut tensors: Tensors,
        entry: u32,
        layers: usize,
        items: usize,
    ) -> Result<Self, RetrieveError> {
        let mut graph = Self { entry, layers: Vec::new() };
        for level in 0..layers {
            let mut take = |part: &str| {
                let part = format!("layer.{level}.{part}");
                match tensors.remove(&part).map(|tensor| tensor.data) {
                    Some(Data::U32(numbers)) => Ok(numbers),
                    _ => Err(RetrieveError::Part { part }),
                }
            };
            let rows = if level == 0 { None } else { Some(take("rows")?) };
            let layer = Layer { rows, offsets: take("offsets")?, links: take("links")? };
            if !layer.holds(items) {
                return Err(RetrieveError::Part { part: format!("layer.{level}") });
            }
            graph.layers.push(layer);
        }
        if layers == 0 || entry as usize >= items {
            return Err(RetrieveError::Part { part: "entry".into() });
        }
        Ok(graph)
    }

    /// Which items a walk along the links of layer 0 can reach from where a search may enter it.
    pub(crate) fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.layers[0].offsets.len() - 1];
        reached[self.entry as usize] = true;
        let mut ahead = vec![self.entry];
        while let Some(row) = ahead.pop() {
            for &link in self.layers[0].links(row) {
                if !std::mem::replace(&mut reached[link as usize], true) {
                    ahead.push(link);
                }
            }
        }
        reached
    }
}

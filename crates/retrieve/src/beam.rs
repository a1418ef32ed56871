//! Beam search over a frozen graph: Malkov & Yashunin 2018, algorithms 2 and 5, by inner product.
//!
//! The graph links items of similar direction (see `build`). A walk begins with the best of the head and the end of a
//! descent through the sparse layers, and follows links from the best item known to better ones.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use lookalike_bundle::{ItemRow, Matrix};

use crate::graph::Graph;
use crate::head::Head;
use crate::product::Products;
use crate::topk::{Best, Hit, Ties};

/// A scored row; the greater is the better. Rows break ties, so that equal searches take equal steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scored {
    score: f32,
    row: u32,
}

impl Eq for Scored {}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.partial_cmp(&other.score).unwrap_or(Ordering::Equal).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The memory of a search, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Beam {
    products: Products,
    /// Per row the number of the search that last met it.
    met: Vec<u32>,
    search: u32,
    ahead: BinaryHeap<Scored>,
    kept: BinaryHeap<Reverse<Scored>>,
    rows: Vec<u32>,
    scores: Vec<f32>,
}

impl Beam {
    /// The `k` best rows found while the best `width` that are not in `exclude` (ascending) are followed.
    /// Excluded rows are walked through but never kept, so they cost time and no recall.
    pub(crate) fn search(
        &mut self,
        (graph, head): (&Graph, &Head),
        items: &Matrix,
        query: &[f32],
        (k, width): (usize, usize),
        exclude: &[u32],
    ) -> Vec<Hit<ItemRow>> {
        self.begin(items.rows());
        let start = self.descend(graph, items, query);
        self.meet(start, width, exclude);
        self.products.of_all(query, &head.vectors, &mut self.scores);
        for (at, &row) in head.rows.iter().enumerate() {
            if std::mem::replace(&mut self.met[row as usize], self.search) != self.search {
                self.meet(Scored { score: self.scores[at], row }, width, exclude);
            }
        }
        while let Some(next) = self.ahead.pop() {
            if self.kept.len() >= width && self.kept.peek().is_some_and(|worst| next < worst.0) {
                break;
            }
            self.rows.clear();
            for &row in graph.layers[0].links(next.row) {
                if std::mem::replace(&mut self.met[row as usize], self.search) != self.search {
                    self.rows.push(row);
                }
            }
            self.products.of_rows(query, items, &self.rows, &mut self.scores);
            for at in 0..self.rows.len() {
                self.meet(Scored { score: self.scores[at], row: self.rows[at] }, width, exclude);
            }
        }
        let mut best = Best::new(k.min(self.kept.len()), Ties::Shuffled);
        self.kept.iter().for_each(|Reverse(scored)| best.offer(scored.row, scored.score));
        best.finish()
    }

    fn begin(&mut self, items: usize) {
        self.met.resize(items, 0);
        self.search = self.search.checked_add(1).unwrap_or_else(|| {
            self.met.fill(0);
            1
        });
        self.ahead.clear();
        self.kept.clear();
    }

    /// From the entry point down the sparse layers, each time to the best neighbour until there is no better one.
    fn descend(&mut self, graph: &Graph, items: &Matrix, query: &[f32]) -> Scored {
        let entry = graph.entry;
        let mut best = Scored { score: self.products.of(query, items.row(entry as usize)), row: entry };
        for layer in graph.layers[1..].iter().rev() {
            loop {
                let links = layer.links(best.row);
                self.products.of_rows(query, items, links, &mut self.scores);
                let scored = links.iter().zip(&self.scores).map(|(&row, &score)| Scored { score, row });
                match scored.filter(|scored| scored.score > best.score).max() {
                    Some(better) => best = better,
                    None => break,
                }
            }
        }
        self.met[best.row as usize] = self.search;
        best
    }

    fn meet(&mut self, scored: Scored, width: usize, exclude: &[u32]) {
        if !scored.score.is_finite() || (self.kept.len() >= width && self.kept.peek().is_some_and(|w| scored < w.0)) {
            return;
        }
        self.ahead.push(scored);
        if exclude.binary_search(&scored.row).is_err() {
            self.kept.push(Reverse(scored));
            if self.kept.len() > width {
                self.kept.pop();
            }
        }
    }
}

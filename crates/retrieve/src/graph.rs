//! A frozen graph of items: a fixed number of links for every item, end to end, and above them a few sparse layers that
//! lead a search to its neighbourhood. What is stored, checked and searched.

use pulp::{Arch, Simd, WithSimd};

use crate::block::Block;
use crate::vectors::{LINE, Line};

/// A sparse layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    /// Item rows of the nodes, ascending.
    rows: Vec<u32>,
    offsets: Vec<u32>,
    links: Vec<u32>,
}

impl Layer {
    /// Takes rows (ascending) and the links of each. `None` if there are more than an offset can count.
    pub(crate) fn new(nodes: Vec<(u32, Vec<u32>)>) -> Option<Self> {
        let mut layer = Self { offsets: vec![0], ..Self::default() };
        for (row, links) in nodes {
            layer.rows.push(row);
            layer.links.extend(links);
            layer.offsets.push(u32::try_from(layer.links.len()).ok()?);
        }
        Some(layer)
    }

    /// Rows that a row links to; none if it is no node of this layer.
    pub(crate) fn links(&self, row: u32) -> &[u32] {
        match self.rows.binary_search(&row) {
            Ok(node) => &self.links[self.offsets[node] as usize..self.offsets[node + 1] as usize],
            Err(_) => &[],
        }
    }

    /// Whether all numbers are in range, so that a search can trust them.
    fn holds(&self, items: usize) -> bool {
        let sound = self.rows.is_sorted_by(|a, b| a < b)
            && self.rows.last().is_none_or(|&row| (row as usize) < items)
            && self.offsets.first() == Some(&0)
            && self.offsets.is_sorted()
            && self.offsets.last().is_some_and(|&end| end as usize == self.links.len());
        if !sound {
            return false;
        }
        // A mark per item: to look every link up among the rows took half the time of opening.
        let mut here = vec![false; items];
        self.rows.iter().for_each(|&row| here[row as usize] = true);
        self.links.iter().all(|&row| here.get(row as usize) == Some(&true))
    }
}

/// Links of all items, the layers above from the densest up, and where a search begins.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) entry: u32,
    pub(crate) layers: Vec<Layer>,
    /// Per item its links and then, up to whole lines, its own row.
    links: Block,
    lines: usize,
}

impl Graph {
    /// A graph with room for `degree` links an item and none yet.
    pub(crate) fn unlinked(items: usize, degree: usize) -> Self {
        let lines = degree.div_ceil(LINE);
        let links = (0..items as u32).flat_map(|row| std::iter::repeat_n(Line([row; LINE]), lines)).collect();
        Self { entry: 0, layers: Vec::new(), links: Block::Owned(links), lines }
    }

    /// Takes a graph from a file apart, and checks every number of it but the links, which [`all_below`] is for; otherwise
    /// the name of the part that is wrong.
    pub(crate) fn from_parts(
        items: usize,
        entry: u32,
        degree: usize,
        links: Block,
        layers: &[u32],
    ) -> Result<Self, &'static str> {
        let lines = degree.div_ceil(LINE);
        let mut layers = layers;
        let mut take = |count: u32| {
            let (taken, rest) = layers.split_at_checked(count as usize).ok_or("layers")?;
            layers = rest;
            Ok::<_, &'static str>(taken.to_vec())
        };
        let count = take(1)?[0];
        let mut above = Vec::new();
        for _ in 0..count {
            let sizes = take(2)?;
            let offsets = sizes[0].checked_add(1).ok_or("layers")?;
            let layer = Layer { rows: take(sizes[0])?, offsets: take(offsets)?, links: take(sizes[1])? };
            if !layer.holds(items) {
                return Err("layers");
            }
            above.push(layer);
        }
        if entry as usize >= items {
            return Err("entry");
        }
        let all = links.lines();
        if Some(all.len()) != items.checked_mul(lines) {
            return Err("links");
        }
        Ok(Self { entry, layers: above, links, lines })
    }

    /// The layers above as one list, for [`Graph::from_parts`].
    pub(crate) fn layers_as_words(&self) -> Vec<u32> {
        let mut words = vec![self.layers.len() as u32];
        for Layer { rows, offsets, links } in &self.layers {
            words.extend([rows.len() as u32, links.len() as u32]);
            words.extend(rows.iter().chain(offsets).chain(links));
        }
        words
    }

    /// How many items there are.
    pub(crate) fn reach(&self) -> usize {
        self.links.lines().len() / self.lines.max(1)
    }

    pub(crate) fn links(&self) -> Links<'_> {
        Links { all: self.links.words(), slots: self.lines * LINE }
    }

    pub(crate) fn block(&self) -> &Block {
        &self.links
    }

    /// Replaces the links of a row; there is room for them.
    pub(crate) fn set(&mut self, row: u32, links: impl Iterator<Item = u32>) {
        let slots = self.lines * LINE;
        if let Block::Owned(lines) = &mut self.links {
            let mine = &mut bytemuck::cast_slice_mut::<Line, u32>(lines)[row as usize * slots..][..slots];
            mine.fill(row);
            mine.iter_mut().zip(links).for_each(|(slot, link)| *slot = link);
        }
    }

    /// Which items a walk along the links can reach from where a search may enter it: from the end of any descent.
    pub(crate) fn reached(&self) -> Vec<bool> {
        let links = self.links();
        let mut reached = vec![false; links.all.len() / links.slots.max(1)];
        let mut ahead = vec![self.entry];
        reached[self.entry as usize] = true;
        while let Some(row) = ahead.pop() {
            for &link in links.of(row) {
                if !std::mem::replace(&mut reached[link as usize], true) {
                    ahead.push(link);
                }
            }
        }
        reached
    }
}

/// Whether all rows are below a number.
pub(crate) fn all_below(rows: &[u32], items: usize) -> bool {
    rows.is_empty() || (Arch::new().dispatch(Greatest(rows)) as usize) < items
}

struct Greatest<'a>(&'a [u32]);

impl WithSimd for Greatest<'_> {
    type Output = u32;

    /// A loop without a way out, which becomes vector instructions.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u32 {
        let mut greatest = 0;
        for &row in self.0 {
            greatest = row.max(greatest);
        }
        greatest
    }
}

/// The links of all items.
#[derive(Clone, Copy)]
pub(crate) struct Links<'a> {
    all: &'a [u32],
    slots: usize,
}

impl<'a> Links<'a> {
    /// What a row links to, its own row where nothing is.
    #[inline(always)]
    pub(crate) fn of(self, row: u32) -> &'a [u32] {
        &self.all[row as usize * self.slots..(row as usize + 1) * self.slots]
    }

    /// How many links a row can have.
    pub(crate) fn slots(self) -> usize {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn layers() -> Vec<Layer> {
        let dense = vec![(1, vec![4, 7]), (4, vec![1]), (7, vec![])];
        vec![Layer::new(dense).unwrap(), Layer::new(vec![(4, vec![])]).unwrap()]
    }

    #[test]
    fn layers_come_back_from_their_words() {
        let mut graph = Graph::unlinked(9, 4);
        (graph.layers, graph.entry) = (layers(), 4);
        let read = Graph::from_parts(9, 4, 4, graph.block().clone(), &graph.layers_as_words()).unwrap();
        assert_eq!(read.layers, graph.layers);
        assert_eq!((read.layers[0].links(1), read.layers[0].links(2)), (&[4, 7][..], &[][..]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut graph = Graph::unlinked(9, 4);
        graph.layers = layers();
        let words = graph.layers_as_words();
        let read = |items, entry, degree, words: &[u32]| {
            Graph::from_parts(items, entry, degree, graph.block().clone(), words).map(|_| ()).unwrap_err()
        };
        assert_eq!(
            (read(9, 9, 4, &words), read(10, 0, 4, &words), read(9, 0, 40, &words)),
            ("entry", "links", "links")
        );
        assert_eq!(
            (read(7, 0, 4, &words), read(9, 0, 4, &[]), read(9, 0, 4, &words[..9])),
            ("layers", "layers", "layers")
        );
        assert!(all_below(&[3, 8], 9) && !all_below(&[9, 3], 9) && all_below(&[], 0));
    }

    proptest! {
        /// Whatever words there are, they end in an error or in layers whose links lead to nodes.
        #[test]
        fn no_words_break_the_reader(words in prop::collection::vec(prop_oneof![0u32..6, any::<u32>()], 0..60)) {
            if let Ok(graph) = Graph::from_parts(6, 0, 2, Graph::unlinked(6, 2).block().clone(), &words) {
                for layer in &graph.layers {
                    for row in 0..6 {
                        prop_assert!(layer.links(row).iter().all(|&link| link < 6));
                    }
                }
            }
        }

        #[test]
        fn one_changed_word_breaks_nothing(at in 0usize..99, word: u32) {
            let mut graph = Graph::unlinked(9, 4);
            graph.layers = layers();
            let mut words = graph.layers_as_words();
            let length = words.len();
            words[at % length] = word;
            if let Ok(graph) = Graph::from_parts(9, 4, 4, graph.block().clone(), &words) {
                prop_assert!(graph.layers.iter().all(|layer| (0..9).all(|row| layer.links(row).iter().all(|&link| link < 9))));
            }
        }
    }
}

//! Beam search over a frozen graph: Malkov & Yashunin 2018, algorithms 2 and 5, with one sorted list in the place of two
//! heaps (as Fu et al. 2019, "NSG", do).
//!
//! The graph links items that are near each other (see `build`). A walk begins at the end of a descent through the sparse
//! layers and at rows that the caller names, and follows links from the best item known to better ones. It reads rough
//! scores only. What costs time here is waiting: for memory, so rows are asked for before they are needed; and for
//! branches that were guessed wrong, so scores are computed for all neighbours of an item before any is looked at.

use pulp::{Arch, Simd, WithSimd};

use crate::graph::{Graph, Links};
use crate::vectors::{Line, Planes, Query};

/// Rows asked for ahead of the one that is scored.
const AHEAD: usize = 4;

/// What a walk goes by.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) planes: Planes<'a>,
    /// What is taken off the product with each row, if anything: half its squared length where the nearest is sought.
    pub(crate) off: Option<&'a [f32]>,
}

impl Field<'_> {
    #[inline(always)]
    fn rough<S: Simd>(&self, simd: S, query: &Query, row: u32) -> f32 {
        let product = self.planes.rough(simd, query, row);
        match self.off {
            Some(off) => product - off[row as usize],
            None => product,
        }
    }
}

/// An item on the list, in one number that sorts: the score turned so that the best comes first, then the row, then
/// whether its links were followed. Equal searches take equal steps, since no two numbers are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed(u64);

impl Listed {
    #[inline(always)]
    fn new(score: f32, row: u32) -> Self {
        // Adding zero makes of -0.0, which is equal to 0.0, a 0.0.
        let bits = (score + 0.0).to_bits();
        let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Self(u64::from(!ascending) << 32 | u64::from(row) << 1)
    }

    #[inline(always)]
    fn row(self) -> u32 {
        self.0 as u32 >> 1
    }

    #[inline(always)]
    fn score(self) -> f32 {
        let ascending = !((self.0 >> 32) as u32);
        f32::from_bits(if ascending >> 31 == 1 { ascending & !(1 << 31) } else { !ascending })
    }
}

/// The greatest number of items: what a row leaves of 32 bits.
pub(crate) const MOST: usize = 1 << 31;

/// The memory of a search, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Beam {
    /// Per row the number of the search that last met it. Numbers come round after 255 searches, and only then is it
    /// cleared.
    met: Vec<u8>,
    search: u8,
    list: Vec<Listed>,
    fresh: Vec<u32>,
    scores: Vec<f32>,
    /// Rows scored since the beam was made.
    pub(crate) scored: usize,
}

impl Beam {
    /// Follows the best `width` rows known until none of them leads to a better one. What was found is listed by
    /// [`Beam::found`].
    pub(crate) fn walk(&mut self, field: Field<'_>, query: &Query, starts: &[u32], width: usize) {
        Arch::new().dispatch(Walk { beam: self, field, query, starts, width });
    }

    /// What the last walk found, the best first by rough score.
    pub(crate) fn found(&self) -> impl Iterator<Item = u32> {
        self.list.iter().map(|listed| listed.row())
    }

    fn begin(&mut self, items: usize) {
        self.met.resize(items, 0);
        self.search = self.search.checked_add(1).unwrap_or_else(|| {
            self.met.fill(0);
            1
        });
        self.list.clear();
    }

    /// Takes a row in if it is among the best `width`, and says where.
    #[inline(always)]
    fn list(&mut self, listed: Listed, width: usize) -> Option<usize> {
        if self.list.len() == width {
            if self.list.last().is_none_or(|last| listed > *last) {
                return None;
            }
            self.list.pop();
        }
        let at = self.list.partition_point(|other| *other < listed);
        self.list.insert(at, listed);
        Some(at)
    }
}

struct Walk<'a, 'b> {
    beam: &'a mut Beam,
    field: Field<'b>,
    query: &'a Query,
    starts: &'a [u32],
    width: usize,
}

impl WithSimd for Walk<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { beam, field, query, starts, width } = self;
        let (links, touch) = (field.graph.links(), Touch::new());
        let entry = descend(simd, field, query, &mut beam.scored);
        beam.begin(field.graph.reach());
        for &row in std::iter::once(&entry).chain(starts) {
            if std::mem::replace(&mut beam.met[row as usize], beam.search) != beam.search {
                beam.scored += 1;
                let score = field.rough(simd, query, row);
                if score.is_finite() {
                    beam.list(Listed::new(score, row), width);
                }
            }
        }
        let mut next = 0;
        while next < beam.list.len() {
            if beam.list[next].0 & 1 == 1 {
                next += 1;
                continue;
            }
            beam.list[next].0 |= 1;
            let row = beam.list[next].row();
            let count = beam.meet(links.of(row));
            let fresh = &beam.fresh[..count];
            fresh.iter().take(AHEAD).for_each(|&row| touch.lines(field.planes.ahead(row)));
            if let Some(listed) = beam.list.get(next + 1) {
                touch.words(links, listed.row());
            }
            beam.scored += count;
            let scores = &mut beam.scores[..count];
            for at in 0..count {
                if let Some(&row) = fresh.get(at + AHEAD) {
                    touch.lines(field.planes.ahead(row));
                }
                scores[at] = field.rough(simd, query, fresh[at]);
            }
            let mut first = next + 1;
            for at in 0..count {
                let (score, row) = (beam.scores[at], beam.fresh[at]);
                // Nearly all that is too bad is told so by one comparison; NaN passes none.
                let bar = if beam.list.len() == width { beam.list[width - 1].score() } else { f32::MIN };
                if score >= bar
                    && let Some(at) = beam.list(Listed::new(score, row), width)
                {
                    first = first.min(at);
                }
            }
            next = first;
        }
    }
}

impl Beam {
    /// Writes those of `links` that this search has not met to `fresh`, marks them as met, and says how many. There is
    /// no branch in the loop, since none could be guessed.
    #[inline(always)]
    fn meet(&mut self, links: &[u32]) -> usize {
        self.fresh.resize(links.len(), 0);
        self.scores.resize(links.len(), 0.0);
        let (met, fresh, search) = (&mut self.met[..], &mut self.fresh[..], self.search);
        let mut count = 0;
        for &row in links {
            let mark = &mut met[row as usize];
            fresh[count] = row;
            count += usize::from(*mark != search);
            *mark = search;
        }
        count
    }
}

/// From the entry point down the sparse layers, each time to the best neighbour until there is no better one.
#[inline(always)]
fn descend<S: Simd>(simd: S, field: Field<'_>, query: &Query, scored: &mut usize) -> u32 {
    let mut best = (field.rough(simd, query, field.graph.entry), field.graph.entry);
    for layer in field.graph.layers.iter().rev() {
        loop {
            let before = best;
            for &row in layer.links(before.1) {
                let score = field.rough(simd, query, row);
                if score > best.0 {
                    best = (score, row);
                }
                *scored += 1;
            }
            if best == before || !best.0.is_finite() {
                break;
            }
        }
    }
    best.1
}

/// Asks the memory for what will be read soon, on processors for which that can be said here.
#[derive(Clone, Copy)]
struct Touch {
    #[cfg(target_arch = "x86_64")]
    sse: Option<pulp::core_arch::x86::Sse>,
}

impl Touch {
    #[inline(always)]
    fn new() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            sse: pulp::core_arch::x86::Sse::try_new(),
        }
    }

    #[inline(always)]
    fn lines(self, lines: &[Line]) {
        for _line in lines {
            #[cfg(target_arch = "x86_64")]
            if let Some(sse) = self.sse {
                sse._mm_prefetch::<3>(std::ptr::from_ref(_line).cast());
            }
        }
    }

    #[inline(always)]
    fn words(self, links: Links<'_>, row: u32) {
        self.lines(bytemuck::try_cast_slice(links.of(row)).unwrap_or(&[]));
    }
}

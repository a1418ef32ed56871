//! The one order of all lists: score descending, ties by a fixed shuffle, and the selection of the first k.

use std::cmp::Ordering;

use lookalike_bundle::Row;
use pulp::{Arch, Simd, WithSimd};

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit<R> {
    /// What was found.
    pub row: R,
    /// Its score.
    pub score: f32,
}

/// Which of two equal scores comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ties {
    /// By a fixed shuffle of the row numbers, the same for all. Row numbers often tell something (they follow
    /// popularity or time), and a scorer that cannot tell items apart must not profit: it gets what chance gives.
    #[default]
    Shuffled,
    /// Smaller row first, as most reference implementations do.
    ByRow,
}

impl Ties {
    fn key(self, row: u32) -> u32 {
        match self {
            Self::Shuffled => shuffle(row),
            Self::ByRow => row,
        }
    }
}

/// A bijection of the 32-bit numbers: the finalizer of MurmurHash3 (Appleby 2011). Zero, its one fixed point that
/// would show, is moved away first.
fn shuffle(row: u32) -> u32 {
    let mut bits = row ^ 0x9e37_79b9;
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}

/// Takes the given rows out of the running: their score becomes negative infinity, which never ranks.
pub fn mask(scores: &mut [f32], rows: &[u32]) {
    for &row in rows {
        scores[row as usize] = f32::NEG_INFINITY;
    }
}

/// The `k` best rows of a table of scores, best first. Scores that are not finite never rank, so there may be fewer.
pub fn select<R: Row>(scores: &[f32], k: usize, ties: Ties) -> Vec<Hit<R>> {
    let mut best = Best::new(k.min(scores.len()), ties);
    best.offer_all(Arch::new(), 0, scores);
    best.finish()
}

/// As [`select`], among the given rows alone.
pub fn select_among<R: Row>(scores: &[f32], rows: &[u32], k: usize, ties: Ties) -> Vec<Hit<R>> {
    let mut best = Best::new(k.min(rows.len()), ties);
    rows.iter().for_each(|&row| best.offer(row, scores[row as usize]));
    best.finish()
}

/// The best of a stream of scores, in space for twice as many as asked for.
pub(crate) struct Best<'a> {
    k: usize,
    ties: Ties,
    /// What the rows offered are called, if not by themselves.
    names: Option<&'a [u32]>,
    /// Lower scores cannot be among the best any more.
    bar: f32,
    kept: Vec<Ranked>,
}

#[derive(Clone, Copy)]
struct Ranked {
    score: f32,
    key: u32,
    row: u32,
}

impl Ranked {
    /// Scores are finite here, so they always compare; `-0.0` and `0.0` tie.
    fn order(&self, other: &Self) -> Ordering {
        other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal).then(self.key.cmp(&other.key))
    }
}

impl<'a> Best<'a> {
    pub(crate) fn new(k: usize, ties: Ties) -> Self {
        Self::named(k, ties, None)
    }

    /// For rows that are listed, and tie, under other names.
    pub(crate) fn named(k: usize, ties: Ties, names: Option<&'a [u32]>) -> Self {
        let bar = if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Self { k, ties, names, bar, kept: Vec::with_capacity(2 * k) }
    }

    pub(crate) fn offer(&mut self, row: u32, score: f32) {
        if !score.is_finite() || score < self.bar {
            return;
        }
        let row = self.names.map_or(row, |names| names[row as usize]);
        self.kept.push(Ranked { score, key: self.ties.key(row), row });
        if self.kept.len() == 2 * self.k {
            let (_, last, _) = self.kept.select_nth_unstable_by(self.k - 1, Ranked::order);
            self.bar = last.score;
            self.kept.truncate(self.k);
        }
    }

    /// Offers the scores of the rows `first`, `first + 1`, …. Once there are enough to compare with, nearly all scores
    /// are below the bar, so a handful of registers is compared with it at a time.
    pub(crate) fn offer_all(&mut self, arch: Arch, first: u32, scores: &[f32]) {
        arch.dispatch(OfferAll { best: self, first, scores });
    }

    fn offer_each(&mut self, first: u32, scores: &[f32]) {
        for (row, &score) in (first..).zip(scores) {
            if score >= self.bar {
                self.offer(row, score);
            }
        }
    }

    pub(crate) fn finish<R: Row>(mut self) -> Vec<Hit<R>> {
        self.kept.sort_unstable_by(Ranked::order);
        self.kept.truncate(self.k);
        self.kept.iter().map(|ranked| Hit { row: R::new(ranked.row), score: ranked.score }).collect()
    }
}

struct OfferAll<'a, 'b> {
    best: &'a mut Best<'b>,
    first: u32,
    scores: &'a [f32],
}

impl WithSimd for OfferAll<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { best, mut first, scores } = self;
        let step = 4 * S::F32_LANES;
        let steps = scores.chunks_exact(step);
        let rest = steps.remainder();
        for scores in steps {
            let bar = simd.splat_f32s(best.bar);
            let (lanes, _) = S::as_simd_f32s(scores);
            let mut any = simd.greater_than_or_equal_f32s(lanes[0], bar);
            for &lanes in &lanes[1..] {
                any = simd.or_m32s(any, simd.greater_than_or_equal_f32s(lanes, bar));
            }
            if simd.first_true_m32s(any) < S::F32_LANES {
                best.offer_each(first, scores);
            }
            first += step as u32;
        }
        best.offer_each(first, rest);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use lookalike_bundle::ItemRow;
    use proptest::prelude::*;

    use super::*;

    /// The plain twin: sort everything.
    fn sorted(scores: &[f32], rows: &[u32], k: usize, ties: Ties) -> Vec<Hit<ItemRow>> {
        let finite = rows.iter().filter(|&&row| scores[row as usize].is_finite());
        let mut hits: Vec<_> = finite.map(|&row| Hit { row: ItemRow::new(row), score: scores[row as usize] }).collect();
        hits.sort_by(|a, b| {
            b.score
                .partial_cmp(&a.score)
                .unwrap_or(Ordering::Equal)
                .then(ties.key(a.row.get()).cmp(&ties.key(b.row.get())))
        });
        hits.truncate(k);
        hits
    }

    fn any_score() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => (-3i8..3).prop_map(f32::from), // few values, many ties
            4 => -1.0f32..1.0,
            1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]),
        ]
    }

    proptest! {
        #[test]
        fn selecting_equals_sorting(scores in prop::collection::vec(any_score(), 0..300), k in 0usize..330, by_row: bool) {
            let ties = if by_row { Ties::ByRow } else { Ties::Shuffled };
            let rows: Vec<u32> = (0..scores.len() as u32).collect();
            prop_assert_eq!(select::<ItemRow>(&scores, k, ties), sorted(&scores, &rows, k, ties));
        }

        #[test]
        fn selecting_among_rows_equals_masking_the_others(
            scores in prop::collection::vec(any_score(), 1..200), some: Vec<bool>, k in 0usize..50,
        ) {
            let mine = |row: u32| some.get(row as usize).copied().unwrap_or(false);
            let (inside, outside): (Vec<u32>, Vec<u32>) = (0..scores.len() as u32).partition(|&row| mine(row));
            let mut masked = scores.clone();
            mask(&mut masked, &outside);
            let among = select_among::<ItemRow>(&scores, &inside, k, Ties::Shuffled);
            prop_assert_eq!(&among, &sorted(&scores, &inside, k, Ties::Shuffled));
            prop_assert_eq!(among, select(&masked, k, Ties::Shuffled));
        }
    }

    #[test]
    fn all_masked_or_nothing_at_all() {
        let mut scores = vec![1.0; 9];
        mask(&mut scores, &(0..9).collect::<Vec<_>>());
        assert!(select::<ItemRow>(&scores, 5, Ties::Shuffled).is_empty());
        assert!(select::<ItemRow>(&[], 5, Ties::Shuffled).is_empty());
        assert!(select_among::<ItemRow>(&[], &[], 5, Ties::Shuffled).is_empty());
    }

    #[test]
    fn a_constant_scorer_gets_what_chance_gives() {
        let hits = select::<ItemRow>(&vec![0.5; 100_000], 10_000, Ties::Shuffled);
        let popular = hits.iter().filter(|hit| hit.row.get() < 20_000).count();
        assert!((1_900..2_100).contains(&popular), "{popular} of 10000 from the first fifth");
    }

    #[test]
    fn the_shuffle_gives_each_row_a_place_of_its_own() {
        assert_eq!((0..100_000).map(shuffle).collect::<HashSet<_>>().len(), 100_000);
    }
}

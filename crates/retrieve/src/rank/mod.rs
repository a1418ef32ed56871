//! The last step of a recommendation: the candidates that the model puts first, ranked once more by what else is known.
//!
//! New items and items that a user had before are ranked by weights of their own, each over the [`Signal`]s that say
//! something of it; a list of both puts their two scores side by side by three more weights. All are learned by a conditional logit
//! ([`Choices`]). What the signals need lies in the bundle (`ranker.safetensors`), so that a bundle still answers alone.

mod choice;
mod file;
mod signals;
#[cfg(test)]
mod tests;
mod why;

use std::sync::Arc;

use lookalike_bundle::{ItemRow, Row, UserRow};
use roaring::RoaringBitmap;

pub use choice::{Choices, Linear};
pub use file::RANKER;
pub use signals::{AGAIN, Had, NEW, Signal, Signals};
pub use why::{Reason, Why};

use crate::topk::{Best, Hit, Ties, mask, select};

/// New items that are ranked once more: those that the model puts first. Whatever stands behind them keeps its place.
pub const CANDIDATES: usize = 200;

/// The weights of a ranker, and for which lists it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Over [`NEW`].
    pub new: Linear,
    /// Where people have the same thing again.
    pub again: Option<Again>,
    /// Whether lists of new items are ranked by it.
    pub ranks_new: bool,
}

/// How items that a user had are ranked.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// Over [`AGAIN`].
    pub again: Linear,
    /// For having had the item, for its score among what the user had, and for its score among new items.
    pub both: [f32; 3],
    /// Whether lists of all items are ranked by it.
    pub ranks_all: bool,
}

impl Again {
    /// The score of an item that the user had in a list of all items.
    pub fn had(&self, score: f64) -> f64 {
        f64::from(self.both[0]) + f64::from(self.both[1]) * score
    }

    /// The same of a new item.
    pub fn new_item(&self, score: f64) -> f64 {
        f64::from(self.both[2]) * score
    }
}

/// Ranks candidates.
pub struct Ranker<'a> {
    signals: Arc<Signals<'a>>,
    weights: Weights,
}

impl<'a> Ranker<'a> {
    /// Takes weights that were learned over such signals.
    pub fn new(signals: Arc<Signals<'a>>, weights: Weights) -> Self {
        Self { signals, weights }
    }

    /// Whether it ranks lists of new items.
    pub fn ranks_new(&self) -> bool {
        self.weights.ranks_new
    }

    /// Whether it ranks lists of all items.
    pub fn ranks_all(&self) -> bool {
        self.weights.again.as_ref().is_some_and(|again| again.ranks_all)
    }

    /// The `k` best of the new items that a model put first for a user who had something, best first. Items behind the first
    /// [`CANDIDATES`] stay behind them in the model's order, each as far below the last as the model has it.
    pub fn new_items(&self, had: Had<'_>, mut hits: Vec<Hit<ItemRow>>, k: usize) -> Vec<Hit<ItemRow>> {
        let behind = hits.split_off(hits.len().min(CANDIDATES));
        let last = hits.last().map_or(0.0, |hit| hit.score);
        let mut ranked = best(hits.len(), self.scored_new(had, &hits));
        let lowest = ranked.last().map_or(0.0, |hit| hit.score);
        ranked.extend(behind.into_iter().map(|hit| Hit { score: lowest - (last - hit.score), ..hit }));
        ranked.truncate(k);
        ranked
    }

    /// What a user of the history had, best first; `scores` are the model's, of the same items.
    pub fn again(&self, user: UserRow, scores: &[f32], k: usize) -> Vec<Hit<ItemRow>> {
        best(k, self.scored_again(user, scores))
    }

    /// The `k` best of all items that may be recommended (`only`), for a user of the history. `scores` are the model's, of
    /// every item. Uses them up.
    pub fn all_items(
        &self,
        user: UserRow,
        scores: &mut [f32],
        only: Option<&RoaringBitmap>,
        k: usize,
    ) -> Vec<Hit<ItemRow>> {
        let (mine, hits) = self.apart(user, scores, only, k);
        self.both(user, &mine, hits, only, k)
    }

    /// The same from the model's scores of what the user had, and the new items that it puts first.
    pub fn both(
        &self,
        user: UserRow,
        mine: &[f32],
        hits: Vec<Hit<ItemRow>>,
        only: Option<&RoaringBitmap>,
        k: usize,
    ) -> Vec<Hit<ItemRow>> {
        let Some(again) = &self.weights.again else { return Vec::new() };
        let had = self.scored_again(user, mine).filter(|(row, _)| only.is_none_or(|only| only.contains(row.get())));
        let had: Vec<_> = had.map(|(row, score)| (row, again.had(score))).collect();
        let new = self.new_items(self.signals.had(user), hits, usize::MAX);
        let new = new.into_iter().map(|hit| (hit.row, again.new_item(f64::from(hit.score))));
        best(k, had.into_iter().chain(new))
    }

    /// The model's scores of what a user had, and the new items that it puts first.
    fn apart(
        &self,
        user: UserRow,
        scores: &mut [f32],
        only: Option<&RoaringBitmap>,
        k: usize,
    ) -> (Vec<f32>, Vec<Hit<ItemRow>>) {
        let had = self.signals.had(user).items;
        let mine = had.iter().map(|&item| scores[item as usize]).collect();
        mask(scores, had);
        if let Some(only) = only {
            let out = (0..).zip(scores.iter_mut()).filter(|(row, _)| !only.contains(*row));
            out.for_each(|(_, score)| *score = f32::NEG_INFINITY);
        }
        (mine, select(scores, CANDIDATES.max(k), Ties::Shuffled))
    }

    fn scored_new(&self, had: Had<'_>, hits: &[Hit<ItemRow>]) -> impl Iterator<Item = (ItemRow, f64)> {
        let signals = self.signals.of_new(had, hits);
        let scores: Vec<f64> = signals.chunks_exact(NEW.len()).map(|one| self.weights.new.score(one)).collect();
        hits.iter().map(|hit| hit.row).collect::<Vec<_>>().into_iter().zip(scores)
    }

    fn scored_again(&self, user: UserRow, scores: &[f32]) -> impl Iterator<Item = (ItemRow, f64)> {
        let weights = self.weights.again.as_ref().map(|again| &again.again);
        let signals = self.signals.of_again(user, scores);
        let score = |one: &[f32]| weights.map_or(0.0, |weights| weights.score(one));
        let scores: Vec<f64> = signals.chunks_exact(AGAIN.len()).map(score).collect();
        self.signals.had(user).items.iter().map(|&item| ItemRow::new(item)).zip(scores)
    }
}

/// The `k` best by score, in the one order of all lists.
fn best(k: usize, scored: impl Iterator<Item = (ItemRow, f64)>) -> Vec<Hit<ItemRow>> {
    let scored: Vec<_> = scored.collect();
    let mut best = Best::new(k.min(scored.len()), Ties::Shuffled);
    scored.into_iter().for_each(|(row, score)| best.offer(row.get(), score as f32));
    best.finish()
}

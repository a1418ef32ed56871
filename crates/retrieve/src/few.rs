//! Users with few items: the model's score, blended with what is known without it.
//!
//! Of a user with n items the model's score counts n / (n + k), and what users like them had counts the rest: what users of
//! the same segments had, else what everybody had. Both are standardised, the latter as logarithms of how many users it
//! stands for. How much k is says the manifest; without it nothing is blended.

use std::borrow::Cow;
use std::sync::OnceLock;

use lookalike_bundle::{Row, UserRow};

use crate::recommend::standardise;
use crate::segments::{ItemsHad, Segments, Shares};

/// Users with at most so many different items have few.
pub const FEW: usize = 20;

/// What is known of a user's taste without a model.
pub struct Prior<'a> {
    /// How many users had each item.
    pub(crate) popularity: Vec<f32>,
    pub(crate) shares: Option<Shares<'a>>,
    users: f32,
    /// What is blended for users whose segments say nothing: the same for all of them.
    everybody: OnceLock<Vec<f32>>,
}

/// What the blended scores of a user are made of, both standardised.
pub struct Blend<'p> {
    model: Vec<f32>,
    known: Cow<'p, [f32]>,
}

impl Blend<'_> {
    /// The scores of all items for a user who had so many.
    pub fn scores(&self, items: usize, k: f64) -> impl Iterator<Item = f32> {
        let own = items as f64 / (items as f64 + k);
        let both = self.model.iter().zip(&*self.known);
        both.map(move |(&score, &known)| (own * f64::from(score) + (1.0 - own) * f64::from(known)) as f32)
    }
}

impl<'a> Prior<'a> {
    /// Counts who had what: `had` tells the items of each of so many users, ascending, out of so many items. Those without any
    /// stand behind all others.
    pub fn new(had: ItemsHad<'a>, (users, items): (usize, usize), segments: Option<Segments>) -> Self {
        let mut popularity = vec![0.0; items];
        let all = (0..users as u32).map(|user| had.of(UserRow::new(user)));
        let mut in_use = 0;
        for (nth, items) in (1..).zip(all).filter(|(_, items)| !items.is_empty()) {
            in_use = nth;
            items.iter().for_each(|&item| popularity[item as usize] += 1.0);
        }
        let shares = segments.map(|segments| Shares::new(had, items, segments));
        Self { popularity, shares, users: in_use as f32, everybody: OnceLock::new() }
    }

    /// Whether the segments of a user say anything.
    pub(crate) fn by_segment(&self, user: UserRow) -> Option<&Shares<'a>> {
        self.shares.as_ref().filter(|shares| shares.know(user))
    }

    /// The share of users like this one that had each item.
    pub(crate) fn shares(&self, user: UserRow, scores: &mut [f32]) {
        match self.by_segment(user) {
            Some(shares) => shares.score(user, &self.popularity, self.users, scores),
            None => {
                let users = self.users.max(1.0);
                scores.iter_mut().zip(&self.popularity).for_each(|(score, count)| *score = count / users);
            }
        }
    }

    /// The model's scores of all items for a user, ready to be blended.
    pub fn blend(&self, user: UserRow, scores: &[f32]) -> Blend<'_> {
        let mut model = scores.to_vec();
        standardise(&mut model);
        let known = match self.by_segment(user) {
            Some(_) => self.known(user).into(),
            None => self.everybody.get_or_init(|| self.known(user)).into(),
        };
        Blend { model, known }
    }

    /// The logarithms of how many users like this one had each item, standardised.
    fn known(&self, user: UserRow) -> Vec<f32> {
        let mut known = vec![0.0; self.popularity.len()];
        self.shares(user, &mut known);
        known.iter_mut().for_each(|share| *share = (*share * self.users).ln_1p());
        standardise(&mut known);
        known
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lookalike_bundle::{History, ItemRow};

    use super::*;

    #[test]
    fn who_had_much_keeps_the_models_order_and_who_had_little_gets_what_is_popular() {
        let pairs = [(0, 2), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)];
        let entries = pairs.map(|(user, item)| (UserRow::new(user), ItemRow::new(item), 1.0));
        let history = History::new(3, 4, entries).unwrap();
        let prior = Prior::new(ItemsHad::History(&history), (3, 4), None);
        let order = |items: usize, k: f64| {
            let blend = prior.blend(UserRow::new(0), &[4.0, 3.0, 2.0, 1.0]);
            let scores: Vec<f32> = blend.scores(items, k).collect();
            let mut rows = [0, 1, 2, 3];
            rows.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            (rows, scores)
        };
        assert_eq!(order(1, 0.0).0, [0, 1, 2, 3]);
        assert_eq!(order(1, 1e9).0, [2, 1, 0, 3]);
        // Half and half, by hand: mean and deviation of 4, 3, 2, 1 and of the logarithms of 2, 3, 4, 1.
        let z = |numbers: [f64; 4]| {
            let mean = numbers.iter().sum::<f64>() / 4.0;
            let deviation = (numbers.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 4.0).sqrt();
            numbers.map(|n| (n - mean) / deviation)
        };
        let (model, known) = (z([4.0, 3.0, 2.0, 1.0]), z([2f64.ln(), 3f64.ln(), 4f64.ln(), 0.0]));
        for (nth, score) in order(5, 5.0).1.into_iter().enumerate() {
            assert!((f64::from(score) - (model[nth] + known[nth]) / 2.0).abs() < 1e-6);
        }
    }
}

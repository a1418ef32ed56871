//! The signals that candidates are ranked by: numbers that say how well an item fits a user, each a function of what the
//! bundle holds and of nothing that came later.
//!
//! | signal | of an item i and a user |
//! |---|---|
//! | model | the model's score, standardised over the user's candidates |
//! | popularity | ln of how many users had i |
//! | demand | ln (1 + users who had it within the last window) |
//! | category | ln of the share of the user's history in the deepest category of i, over the share of all histories in it; 20 events as all have them are added to the user's |
//! | variety | ln (1 + what the user had of that category) |
//! | brand | as category, of the brand |
//! | together | ln (1 + Σ ln lift) over the partners of i that the user had ([`Pairs`](lookalike_bundle::Pairs)) |
//! | price | how far the price of i is from those of what the user had, in standard deviations of the logarithm, below 0 |
//! | often | ln (1 + weight of i in the user's history) |
//! | since | ln (1 + days since the user had i) |
//! | lately | ln (1 + days on which the user had i within the last three windows) |
//! | due | ln of the chance to have i within a window, if days with it come by a Poisson process with the rate (days + ½) / (days since the first + usual gap of i) |
//! | kept | ln of the share of those who had i who had it on a second day, 1 in 5 added |
//! | trend | ln of users who had i within the last window (1 added) over those within the last three (3 added) |

use std::collections::HashMap;

use lookalike_bundle::{History, ItemInfo, ItemRow, Moments, Row, UserRow};
use roaring::RoaringBitmap;

use crate::topk::Hit;

/// Signals that new items are ranked by, in the order of their weights.
pub const NEW: [Signal; 8] = [
    Signal::Model,
    Signal::Popularity,
    Signal::Demand,
    Signal::Category,
    Signal::Variety,
    Signal::Brand,
    Signal::Together,
    Signal::Price,
];
/// Signals that items the user had are ranked by, in the order of their weights.
pub const AGAIN: [Signal; 7] =
    [Signal::Model, Signal::Often, Signal::Since, Signal::Lately, Signal::Due, Signal::Kept, Signal::Trend];

/// Events as all have them that are added to a user's before shares are compared.
const PRIOR: f64 = 20.0;
/// How many times the usual gap over all items is added to the gaps of an item.
const GAPS: f64 = 3.0;
/// What a price whose distance is not known counts as: the mean distance of a normal number from its mean.
const UNKNOWN: f32 = -0.8;

/// A signal; the module's text says what each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Signal {
    Model,
    Popularity,
    Demand,
    Category,
    Variety,
    Brand,
    Together,
    Price,
    Often,
    Since,
    Lately,
    Due,
    Kept,
    Trend,
}

impl Signal {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Popularity => "popularity",
            Self::Demand => "demand",
            Self::Category => "category",
            Self::Variety => "variety",
            Self::Brand => "brand",
            Self::Together => "together",
            Self::Price => "price",
            Self::Often => "often",
            Self::Since => "since",
            Self::Lately => "lately",
            Self::Due => "due",
            Self::Kept => "kept",
            Self::Trend => "trend",
        }
    }
}

/// What a user had: rows of items, ascending, and their weights.
#[derive(Clone, Copy)]
pub struct Had<'h> {
    /// Rows of items, ascending.
    pub items: &'h [u32],
    /// The weight of each.
    pub weights: &'h [f32],
}

/// What signals are made of.
pub struct Signals<'a> {
    pub(super) history: &'a History,
    pub(super) moments: Moments,
    /// Of every item how many users had it, within the last window, and within the last three.
    pub(super) users: Vec<u32>,
    pub(super) window: Vec<u32>,
    pub(super) season: Vec<u32>,
    /// Of every item the days from one day with it to the next, usually, and how many of its users had it again.
    pub(super) gaps: Vec<f64>,
    pub(super) again: Vec<u32>,
    pub(super) categories: Labels,
    pub(super) brands: Labels,
}

/// One label of every item, as far as there is one.
pub(super) struct Labels {
    of: Vec<Option<u32>>,
    pub(super) names: Vec<String>,
    /// The share of all histories that each has.
    shares: Vec<f64>,
}

impl Labels {
    fn new(names: impl Iterator<Item = Option<String>>, history: &History) -> Self {
        let (mut rows, mut known) = (HashMap::new(), Vec::new());
        let mut number = |name: String| {
            *rows.entry(name).or_insert_with_key(|name| {
                known.push(name.clone());
                known.len() as u32 - 1
            })
        };
        let of: Vec<Option<u32>> = names.map(|name| name.map(&mut number)).collect();
        let (mut shares, mut all) = (vec![0.0; known.len()], 0.0);
        for (_, item, weight) in history.entries() {
            all += f64::from(weight);
            if let Some(label) = of[item.index()] {
                shares[label as usize] += f64::from(weight);
            }
        }
        shares.iter_mut().for_each(|share| *share /= f64::max(all, f64::MIN_POSITIVE));
        Self { of, names: known, shares }
    }

    /// What a user had of each label.
    fn had(&self, had: Had<'_>) -> HashMap<u32, f64> {
        let mut sums = HashMap::new();
        for (&item, &weight) in had.items.iter().zip(had.weights) {
            if let Some(label) = self.of[item as usize] {
                *sums.entry(label).or_insert(0.0) += f64::from(weight);
            }
        }
        sums
    }

    /// Label of an item, what a user had of it, and the share of all histories that it has.
    fn fit(&self, item: ItemRow, sums: &HashMap<u32, f64>) -> Option<(u32, f64, f64)> {
        let label = self.of[item.index()]?;
        let share = self.shares[label as usize];
        (share > 0.0).then(|| (label, sums.get(&label).copied().unwrap_or(0.0), share))
    }
}

/// What a user had, in the way in which signals ask for it.
pub(super) struct Taste {
    pub(super) all: f64,
    items: RoaringBitmap,
    categories: HashMap<u32, f64>,
    brands: HashMap<u32, f64>,
    /// Mean and deviation of the logarithm of prices, if there are any.
    pub(super) price: Option<(f64, f64)>,
}

impl<'a> Signals<'a> {
    /// Counts what is needed. The moments must be those of the history ([`Moments::problem`]).
    pub fn new(history: &'a History, info: &[ItemInfo], moments: Moments) -> Self {
        let items = info.len();
        let [mut users, mut window, mut season, mut again] = [(); 4].map(|()| vec![0u32; items]);
        let (mut spans, mut steps) = (vec![0.0; items], vec![0.0; items]);
        for (entry, (_, item, _)) in history.entries().enumerate() {
            let at = item.index();
            users[at] += 1;
            window[at] += u32::from(moments.last[entry] <= moments.window);
            season[at] += u32::from(moments.last[entry] <= 3.0 * moments.window);
            if moments.days[entry] > 1 {
                again[at] += 1;
                spans[at] += f64::from(moments.first[entry]) - f64::from(moments.last[entry]);
                steps[at] += f64::from(moments.days[entry] - 1);
            }
        }
        let all = steps.iter().sum::<f64>();
        // Where nobody ever had anything again, three windows are as good as any gap.
        let usual = if all > 0.0 { spans.iter().sum::<f64>() / all } else { 3.0 * f64::from(moments.window) };
        let gap = |(span, steps): (&f64, &f64)| ((span + GAPS * usual) / (steps + GAPS)).max(1e-3);
        let category = |info: &ItemInfo| (!info.category.is_empty()).then(|| info.category.join(" > "));
        Self {
            gaps: spans.iter().zip(&steps).map(gap).collect(),
            categories: Labels::new(info.iter().map(category), history),
            brands: Labels::new(info.iter().map(|info| info.brand.clone()), history),
            history,
            moments,
            users,
            window,
            season,
            again,
        }
    }

    /// Signals that the data say nothing for: no item has a category or a brand, a price, or a partner.
    pub fn missing(&self) -> Vec<Signal> {
        let absent = [
            (Signal::Category, self.categories.names.is_empty()),
            (Signal::Variety, self.categories.names.is_empty()),
            (Signal::Brand, self.brands.names.is_empty()),
            (Signal::Together, self.moments.pairs.partners.is_empty()),
            (Signal::Price, self.moments.prices.is_empty()),
        ];
        absent.into_iter().filter(|(_, absent)| *absent).map(|(signal, _)| signal).collect()
    }

    /// What a user of the history had.
    pub fn had(&self, user: UserRow) -> Had<'a> {
        Had { items: self.history.items(user), weights: self.history.weights(user) }
    }

    pub(super) fn taste(&self, had: Had<'_>) -> Taste {
        let (mut weight, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for (&item, &n) in had.items.iter().zip(had.weights) {
            if let Some(price) = self.ln_price(ItemRow::new(item)) {
                let n = f64::from(n);
                (weight, sum, squares) = (weight + n, sum + n * price, squares + n * price * price);
            }
        }
        let price = (weight > 0.0).then(|| {
            let mean = sum / weight;
            (mean, (squares / weight - mean * mean).max(0.01).sqrt())
        });
        Taste {
            all: had.weights.iter().map(|&weight| f64::from(weight)).sum(),
            items: had.items.iter().copied().collect(),
            categories: self.categories.had(had),
            brands: self.brands.had(had),
            price,
        }
    }

    pub(super) fn ln_price(&self, item: ItemRow) -> Option<f64> {
        self.moments.prices.get(item.index()).filter(|price| **price > 0.0).map(|&price| f64::from(price).ln())
    }

    /// Partners of an item that a user had, with their lifts.
    pub(super) fn partners<'s>(&'s self, item: ItemRow, taste: &'s Taste) -> impl Iterator<Item = (u32, f32)> + 's {
        self.moments.pairs.of(item.index()).filter(|(partner, _)| taste.items.contains(*partner))
    }

    /// Category of an item: its label, what the user had of it, the share of all histories.
    pub(super) fn category(&self, item: ItemRow, taste: &Taste) -> Option<(u32, f64, f64)> {
        self.categories.fit(item, &taste.categories)
    }

    /// The same of its brand.
    pub(super) fn brand(&self, item: ItemRow, taste: &Taste) -> Option<(u32, f64, f64)> {
        self.brands.fit(item, &taste.brands)
    }

    /// Signals [`NEW`] of candidates that a user did not have, candidate after candidate. The score of a candidate is the
    /// model's.
    pub fn of_new(&self, had: Had<'_>, candidates: &[Hit<ItemRow>]) -> Vec<f32> {
        let taste = self.taste(had);
        let scores: Vec<f32> = candidates.iter().map(|hit| hit.score).collect();
        let fit = |fit: Option<(u32, f64, f64)>| {
            let over = |(_, mine, share): (u32, f64, f64)| (mine + PRIOR * share) / ((taste.all + PRIOR) * share);
            fit.map_or(0.0, |fit| over(fit).ln())
        };
        let of = |(hit, model): (&Hit<ItemRow>, f32)| {
            let at = hit.row.index();
            let category = self.category(hit.row, &taste);
            let lift = self.partners(hit.row, &taste).map(|(_, lift)| f64::from(lift).ln()).sum::<f64>();
            [
                model,
                f64::from(self.users[at].max(1)).ln() as f32,
                f64::from(self.window[at]).ln_1p() as f32,
                fit(category) as f32,
                category.map_or(0.0, |(_, mine, _)| mine.ln_1p()) as f32,
                fit(self.brand(hit.row, &taste)) as f32,
                lift.ln_1p() as f32,
                self.price_distance(hit.row, &taste).map_or(UNKNOWN, |apart| -apart as f32),
            ]
        };
        candidates.iter().zip(standardised(&scores)).flat_map(of).collect()
    }

    /// How far the price of an item is from what the user pays, in standard deviations.
    fn price_distance(&self, item: ItemRow, taste: &Taste) -> Option<f64> {
        let (mean, deviation) = taste.price?;
        Some((self.ln_price(item)? - mean).abs() / deviation)
    }

    /// Signals [`AGAIN`] of what a user of the history had, item after item; `scores` are the model's.
    pub fn of_again(&self, user: UserRow, scores: &[f32]) -> Vec<f32> {
        let (had, first) = (self.had(user), self.history.start(user));
        let of = |((nth, &item), model): ((usize, &u32), f32)| {
            let (at, entry) = (item as usize, first + nth);
            let days = f64::from(self.moments.days[entry]);
            let rate = (days + 0.5) / (f64::from(self.moments.first[entry]) + self.gaps[at]);
            let kept = (f64::from(self.again[at]) + 1.0) / (f64::from(self.users[at]) + 5.0);
            let trend = (f64::from(self.window[at]) + 1.0) / (f64::from(self.season[at]) + 3.0);
            [
                model,
                had.weights[nth].ln_1p(),
                self.moments.last[entry].ln_1p(),
                (self.moments.lately[entry] as f32).ln_1p(),
                (-(-rate * f64::from(self.moments.window)).exp_m1()).max(1e-12).ln() as f32,
                kept.ln() as f32,
                trend.ln() as f32,
            ]
        };
        had.items.iter().enumerate().zip(standardised(scores)).flat_map(of).collect()
    }
}

/// Scores less their mean, in standard deviations; all 0 where they are equal.
fn standardised(scores: &[f32]) -> Vec<f32> {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count;
    let variance = scores.iter().map(|&score| (f64::from(score) - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    scores.iter().map(|&score| ((f64::from(score) - mean) * scale) as f32).collect()
}

//! Why an item stands where it stands: what each signal adds to its score, with the figures behind it.

use std::collections::BTreeMap;

use lookalike_bundle::{ItemRow, Row, UserRow};
use roaring::RoaringBitmap;

use super::signals::{AGAIN, Had, NEW, Signal, Taste};
use super::{CANDIDATES, Ranker};
use crate::topk::Hit;

/// What a signal adds to the score of an item, compared with an average candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The signal.
    pub signal: Signal,
    /// What it adds; below 0 where it speaks against the item.
    pub adds: f64,
    /// Its share of what speaks for the item; 0 where it does not.
    pub share: f64,
    /// The figures behind it; none where there are none for this item, so that it counts as an average one.
    pub why: Option<Why>,
}

/// The figures behind a signal.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Why {
    /// The model's place for the item among the candidates, from 1.
    Model { place: usize },
    /// How many users had it; ever, or within so many days.
    Users { users: u32, days: Option<f32> },
    /// The share of the user's history, and of all histories, in the category or the brand of this name.
    Share { name: String, own: f64, all: f64 },
    /// How much the user had of its category.
    Had { name: String, weight: f64 },
    /// Of the items that the user had, the one that it is most bound to, and how many others there are.
    Partner { item: ItemRow, lift: f32, others: usize },
    /// Its price, and the geometric mean of those that the user pays.
    Price { price: f64, usual: f64 },
    /// How much the user had of it, on how many days.
    Often { weight: f32, days: u32 },
    /// Days since the user had it last.
    Since { days: f32 },
    /// Days with it within so many days.
    Lately { days: u32, of: f32 },
    /// The gap between two days with it, the user's own where there are two, and days since the last.
    Due { gap: f64, own: bool, since: f32 },
    /// How many of its users had it on a second day.
    Kept { again: u32, users: u32 },
    /// How many users had it within so many days, and within three times as many.
    Trend { window: u32, season: u32, days: f32 },
}

impl Ranker<'_> {
    /// The reasons of a list of new items, by item; `hits` are what the model put first.
    pub fn why_new(&self, had: Had<'_>, hits: &[Hit<ItemRow>]) -> BTreeMap<u32, Vec<Reason>> {
        let hits = &hits[..hits.len().min(CANDIDATES)];
        let (signals, taste) = (self.signals.of_new(had, hits), self.signals.taste(had));
        let of = |(nth, (hit, signals)): (usize, (&Hit<ItemRow>, &[f32]))| {
            let terms = NEW.into_iter().zip(self.weights.new.terms(signals));
            let why = |signal| self.of_new_item(signal, hit.row, &taste, nth + 1);
            (hit.row.get(), reasons(terms, 1.0, why))
        };
        hits.iter().zip(signals.chunks_exact(NEW.len())).enumerate().map(of).collect()
    }

    /// The reasons of a list of all items, by item; as [`Ranker::all_items`] otherwise.
    pub fn why_all(
        &self,
        user: UserRow,
        scores: &mut [f32],
        only: Option<&RoaringBitmap>,
        k: usize,
    ) -> BTreeMap<u32, Vec<Reason>> {
        let Some(weights) = &self.weights.again else { return BTreeMap::new() };
        let (mine, hits) = self.apart(user, scores, only, k);
        let had = self.signals.had(user);
        let mut why = self.why_new(had, &hits);
        why.values_mut().flatten().for_each(|reason| reason.adds *= f64::from(weights.both[2]));
        let mut places: Vec<usize> = (0..mine.len()).collect();
        places.sort_by(|&a, &b| mine[b].total_cmp(&mine[a]));
        let mut place = vec![0; mine.len()];
        places.iter().enumerate().for_each(|(nth, &at)| place[at] = nth + 1);
        let signals = self.signals.of_again(user, &mine);
        for (nth, (&item, signals)) in had.items.iter().zip(signals.chunks_exact(AGAIN.len())).enumerate() {
            let terms = AGAIN.into_iter().zip(weights.again.terms(signals));
            let of = |signal| self.of_again_item(signal, user, nth, place[nth]);
            why.insert(item, reasons(terms, f64::from(weights.both[1]), of));
        }
        why
    }

    fn of_new_item(&self, signal: Signal, item: ItemRow, taste: &Taste, place: usize) -> Option<Why> {
        let (signals, at) = (&self.signals, item.index());
        let share = |name: &str, mine: f64, all: f64| {
            let own = if taste.all > 0.0 { mine / taste.all } else { 0.0 };
            Some(Why::Share { name: name.to_owned(), own, all })
        };
        let category = signals.category(item, taste);
        match signal {
            Signal::Popularity => Some(Why::Users { users: signals.users[at], days: None }),
            Signal::Demand => Some(Why::Users { users: signals.window[at], days: Some(signals.moments.window) }),
            Signal::Category => {
                category.and_then(|(label, mine, all)| share(&signals.categories.names[label as usize], mine, all))
            }
            Signal::Variety => category.map(|(label, weight, _)| {
                let name = signals.categories.names[label as usize].clone();
                Why::Had { name, weight }
            }),
            Signal::Brand => {
                let brand = signals.brand(item, taste);
                brand.and_then(|(label, mine, all)| share(&signals.brands.names[label as usize], mine, all))
            }
            Signal::Together => {
                let strongest = signals.partners(item, taste).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
                let others = signals.partners(item, taste).count().saturating_sub(1);
                strongest.map(|(partner, lift)| Why::Partner { item: ItemRow::new(partner), lift, others })
            }
            Signal::Price => {
                let price = signals.ln_price(item)?.exp();
                taste.price.map(|(mean, _)| Why::Price { price, usual: mean.exp() })
            }
            _ => Some(Why::Model { place }),
        }
    }

    fn of_again_item(&self, signal: Signal, user: UserRow, nth: usize, place: usize) -> Option<Why> {
        let (signals, moments) = (&self.signals, &self.signals.moments);
        let entry = signals.history.start(user) + nth;
        let at = signals.history.items(user)[nth] as usize;
        let (last, days) = (moments.last[entry], moments.days[entry]);
        Some(match signal {
            Signal::Often => Why::Often { weight: signals.history.weights(user)[nth], days },
            Signal::Since => Why::Since { days: last },
            Signal::Lately => Why::Lately { days: moments.lately[entry], of: 3.0 * moments.window },
            Signal::Due => {
                let own = f64::from(moments.first[entry] - last) / f64::from(days.saturating_sub(1).max(1));
                let gap = if days > 1 { own } else { signals.gaps[at] };
                Why::Due { gap, own: days > 1, since: last }
            }
            Signal::Kept => Why::Kept { again: signals.again[at], users: signals.users[at] },
            Signal::Trend => {
                Why::Trend { window: signals.window[at], season: signals.season[at], days: moments.window }
            }
            _ => Why::Model { place },
        })
    }
}

/// What speaks for an item most first, what speaks against it most last.
fn reasons(terms: impl Iterator<Item = (Signal, f64)>, scale: f64, why: impl Fn(Signal) -> Option<Why>) -> Vec<Reason> {
    let terms: Vec<_> = terms.map(|(signal, adds)| (signal, adds * scale)).filter(|(_, adds)| *adds != 0.0).collect();
    let all: f64 = terms.iter().map(|(_, adds)| adds.max(0.0)).sum();
    let share = |adds: f64| if adds > 0.0 { adds / all } else { 0.0 };
    let reason = |(signal, adds)| Reason { signal, adds, share: share(adds), why: why(signal) };
    let mut reasons: Vec<Reason> = terms.into_iter().map(reason).collect();
    reasons.sort_by(|a, b| b.adds.total_cmp(&a.adds));
    reasons
}

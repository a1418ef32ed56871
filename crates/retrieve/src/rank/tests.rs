//! Signals beside plain loops, lists beside their scores, and the file beside what went in.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lookalike_bundle::{Bundle, Extra, History, ItemInfo, ItemRow, Moments, Pairs, Row, UserRow};
use proptest::prelude::*;

use super::*;
use crate::recommend::Recommender;
use crate::testing::{bundle, random};

const USERS: usize = 4;
const ITEMS: usize = 9;

/// A history of items with a weight, and the moments of each entry.
#[derive(Clone, Debug)]
struct World {
    entries: Vec<(u32, u32, f32, f32, f32, u32, u32)>,
    info: Vec<ItemInfo>,
    prices: Vec<f32>,
    pairs: Vec<(u32, u32, f32)>,
}

impl World {
    fn history(&self) -> History {
        let entry = |e: &(u32, u32, f32, f32, f32, u32, u32)| (UserRow::new(e.0), ItemRow::new(e.1), e.2);
        History::new(USERS, ITEMS, self.entries.iter().map(entry)).unwrap()
    }

    fn moments(&self) -> Moments {
        let mut pairs = Pairs { offsets: vec![0], ..Pairs::default() };
        for item in 0..ITEMS as u32 {
            for &(_, partner, lift) in self.pairs.iter().filter(|pair| pair.0 == item) {
                pairs.partners.push(partner);
                pairs.lifts.push(lift);
            }
            pairs.offsets.push(pairs.partners.len() as u64);
        }
        Moments {
            window: 28.0,
            last: self.entries.iter().map(|e| e.3).collect(),
            first: self.entries.iter().map(|e| e.4).collect(),
            days: self.entries.iter().map(|e| e.5).collect(),
            lately: self.entries.iter().map(|e| e.6).collect(),
            prices: self.prices.clone(),
            pairs,
        }
    }

    fn of(&self, user: u32) -> Vec<(u32, f64)> {
        self.entries.iter().filter(|e| e.0 == user).map(|e| (e.1, f64::from(e.2))).collect()
    }

    fn users(&self, item: u32, within: f32) -> f64 {
        self.entries.iter().filter(|e| e.1 == item && e.3 <= within).count() as f64
    }

    /// ln of a label's share with the user over that with all, and what the user had of it.
    fn fit<T: PartialEq>(&self, user: u32, item: u32, label: impl Fn(&ItemInfo) -> Option<T>) -> (f64, f64) {
        let Some(mine) = label(&self.info[item as usize]) else { return (0.0, 0.0) };
        let same = |item: u32| label(&self.info[item as usize]).as_ref() == Some(&mine);
        let all: f64 = self.entries.iter().map(|e| f64::from(e.2)).sum();
        let share = self.entries.iter().filter(|e| same(e.1)).map(|e| f64::from(e.2)).sum::<f64>() / all;
        let own: f64 = self.of(user).iter().filter(|(item, _)| same(*item)).map(|(_, n)| n).sum();
        let total: f64 = self.of(user).iter().map(|(_, n)| n).sum();
        if share > 0.0 { (((own + 20.0 * share) / ((total + 20.0) * share)).ln(), own) } else { (0.0, 0.0) }
    }
}

/// As slowly as the table of the module reads.
fn slow_new(world: &World, user: u32, hits: &[Hit<ItemRow>]) -> Vec<[f64; 8]> {
    let mean = hits.iter().map(|hit| f64::from(hit.score)).sum::<f64>() / hits.len() as f64;
    let variance = hits.iter().map(|hit| (f64::from(hit.score) - mean).powi(2)).sum::<f64>() / hits.len() as f64;
    let had = world.of(user);
    let of = |hit: &Hit<ItemRow>| {
        let item = hit.row.get();
        let (category, variety) =
            world.fit(user, item, |info| (!info.category.is_empty()).then(|| info.category.clone()));
        let brand = world.fit(user, item, |info| info.brand.clone()).0;
        let has = |partner: u32| had.iter().any(|(item, _)| *item == partner);
        let lift: f64 = world.pairs.iter().filter(|p| p.0 == item && has(p.1)).map(|p| f64::from(p.2).ln()).sum();
        let price = |item: u32| world.prices.get(item as usize).filter(|p| **p > 0.0).map(|p| f64::from(*p).ln());
        let paid: Vec<(f64, f64)> = had.iter().filter_map(|&(item, n)| Some((price(item)?, n))).collect();
        let count: f64 = paid.iter().map(|(_, n)| n).sum();
        let usual = paid.iter().map(|(p, n)| p * n).sum::<f64>() / count;
        let spread = (paid.iter().map(|(p, n)| (p - usual).powi(2) * n).sum::<f64>() / count).max(0.01).sqrt();
        let apart = price(item).filter(|_| count > 0.0).map_or(-0.8, |price| -(price - usual).abs() / spread);
        [
            if variance > 0.0 { (f64::from(hit.score) - mean) / variance.sqrt() } else { 0.0 },
            world.users(item, f32::MAX).max(1.0).ln(),
            (1.0 + world.users(item, 28.0)).ln(),
            category,
            (1.0 + variety).ln(),
            brand,
            (1.0 + lift).ln(),
            apart,
        ]
    };
    hits.iter().map(of).collect()
}

fn slow_again(world: &World, user: u32) -> Vec<[f64; 6]> {
    let again = |e: &&(u32, u32, f32, f32, f32, u32, u32)| e.5 > 1;
    let gaps = |item: Option<u32>| {
        let mine = world.entries.iter().filter(again).filter(|e| item.is_none_or(|item| e.1 == item));
        mine.fold((0.0, 0.0), |(span, steps), e| (span + f64::from(e.4) - f64::from(e.3), steps + f64::from(e.5 - 1)))
    };
    let (span, steps) = gaps(None);
    let usual = if steps > 0.0 { span / steps } else { 84.0 };
    let of = |e: &(u32, u32, f32, f32, f32, u32, u32)| {
        let (span, steps) = gaps(Some(e.1));
        let gap = ((span + 3.0 * usual) / (steps + 3.0)).max(1e-3);
        let rate = (f64::from(e.5) + 0.5) / (f64::from(e.4) + gap);
        let kept = world.entries.iter().filter(again).filter(|other| other.1 == e.1).count() as f64;
        [
            (1.0 + f64::from(e.2)).ln(),
            (1.0 + f64::from(e.3)).ln(),
            (1.0 + f64::from(e.6)).ln(),
            (1.0 - (-28.0 * rate).exp()).max(1e-12).ln(),
            ((kept + 1.0) / (world.users(e.1, f32::MAX) + 5.0)).ln(),
            ((world.users(e.1, 28.0) + 1.0) / (world.users(e.1, 84.0) + 3.0)).ln(),
        ]
    };
    world.entries.iter().filter(|e| e.0 == user).map(of).collect()
}

fn worlds() -> impl Strategy<Value = World> {
    let entry = (1u8..9, 0u16..300, 0u16..300, 1u32..9, 0u32..9);
    let entries = prop::collection::vec(prop::option::of(entry), USERS * ITEMS);
    let info = (prop::sample::select(vec!["", "a", "b", "a b"]), prop::option::of(0u8..2));
    let pair = prop::option::weighted(0.2, 1.01f32..9.0);
    (
        entries,
        prop::collection::vec(info, ITEMS),
        prop::option::of(prop::collection::vec(prop::sample::select(vec![0.0, 1.0, 2.5, 99.0]), ITEMS)),
        prop::collection::vec(pair, ITEMS * ITEMS),
    )
        .prop_map(|(entries, info, prices, pairs)| World {
            entries: (0..)
                .zip(entries)
                .filter_map(|(at, entry): (u32, _)| {
                    let (n, last, more, days, lately) = entry?;
                    let (last, first) = (f32::from(last) / 2.0, f32::from(last + more) / 2.0);
                    let (user, item) = (at / ITEMS as u32, at % ITEMS as u32);
                    Some((user, item, f32::from(n), last, first, days, lately.min(days)))
                })
                .collect(),
            info: info
                .into_iter()
                .map(|(category, brand)| ItemInfo {
                    title: None,
                    category: category.split_whitespace().map(str::to_owned).collect(),
                    brand: brand.map(|brand| brand.to_string()),
                })
                .collect(),
            prices: prices.unwrap_or_default(),
            pairs: (0..)
                .zip(pairs)
                .filter_map(|(at, lift): (u32, _)| Some((at / ITEMS as u32, at % ITEMS as u32, lift?)))
                .filter(|(item, partner, _)| item != partner)
                .collect(),
        })
}

proptest! {
    #[test]
    fn signals_are_what_plain_loops_find(world in worlds(), scores in prop::collection::vec(-2.0f32..2.0, ITEMS)) {
        let (history, moments) = (world.history(), world.moments());
        prop_assert_eq!(moments.problem(history.len(), ITEMS), None);
        let signals = Signals::new(&history, &world.info, moments);
        let close = |found: &[f32], slow: &[f64]| {
            found.iter().zip(slow).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4 * (1.0 + b.abs()))
        };
        for user in 0..USERS as u32 {
            let had = signals.had(UserRow::new(user));
            let new = (0..ITEMS as u32).filter(|item| !had.items.contains(item));
            let hits: Vec<_> = new.map(|item| Hit { row: ItemRow::new(item), score: scores[item as usize] }).collect();
            let found = signals.of_new(had, &hits);
            for (found, slow) in found.chunks_exact(NEW.len()).zip(slow_new(&world, user, &hits)) {
                prop_assert!(close(found, &slow), "{:?} {:?}", found, slow);
            }
            let mine: Vec<f32> = had.items.iter().map(|&item| scores[item as usize]).collect();
            let found = signals.of_again(UserRow::new(user), &mine);
            prop_assert_eq!(found.len(), AGAIN.len() * mine.len());
            for (found, slow) in found.chunks_exact(AGAIN.len()).zip(slow_again(&world, user)) {
                prop_assert!(close(&found[1..], &slow), "{:?} {:?}", found, slow);
            }
        }
    }
}

/// A bundle with a ranker whose weights are drawn.
fn with_ranker(users: usize, items: usize, weights: Weights) -> Bundle {
    let mut bundle = bundle(users, items);
    for (at, info) in bundle.item_info.iter_mut().enumerate() {
        info.category = vec![format!("c{}", at % 3)];
    }
    let (entries, numbers) = (bundle.history.len(), random(1, bundle.history.len(), 3));
    let last: Vec<f32> = numbers.data().iter().map(|number| 40.0 * (1.0 + number)).collect();
    let moments = Moments {
        window: 28.0,
        first: last.iter().map(|last| last + 30.0).collect(),
        last,
        days: vec![2; entries],
        lately: vec![1; entries],
        prices: (0..items).map(|item| 1.0 + (item % 5) as f32).collect(),
        pairs: Pairs {
            offsets: (0..=items as u64).collect(),
            partners: (0..items as u32).map(|item| (item + 1) % items as u32).collect(),
            lifts: vec![2.0; items],
        },
    };
    let signals = Signals::new(&bundle.history, &bundle.item_info, moments);
    let bytes = Ranker::new(Arc::new(signals), weights).to_bytes().unwrap();
    bundle.extra.insert(RANKER.to_owned(), Extra::Bytes(bytes));
    bundle
}

fn weights() -> Weights {
    let linear = |width: usize| Linear {
        weights: (0..width).map(|at| (0.5 - 0.2 * at as f64) as f32).collect(),
        centres: vec![0.25; width],
    };
    let again = Again { again: linear(AGAIN.len()), both: [1.0, 0.5, 0.75], ranks_all: true };
    Weights { new: linear(NEW.len()), again: Some(again), ranks_new: true }
}

#[test]
fn it_comes_back_from_a_bundle_as_it_went_in() {
    assert!(Ranker::of_bundle(&bundle(3, 9)).unwrap().is_none());
    let bundle = with_ranker(3, 30, weights());
    let ranker = Ranker::of_bundle(&bundle).unwrap().unwrap();
    assert_eq!(ranker.weights, weights());
    let Some(Extra::Bytes(bytes)) = bundle.extra.get(RANKER) else { unreachable!() };
    assert_eq!(&ranker.to_bytes().unwrap(), bytes);
    let plain = Weights { again: None, ranks_new: false, ..weights() };
    let again = with_ranker(3, 30, plain.clone());
    assert_eq!(Ranker::of_bundle(&again).unwrap().unwrap().weights, plain);
}

#[test]
fn one_that_was_changed_cut_or_made_for_others_is_refused() {
    let mut bundle = with_ranker(3, 30, weights());
    let Some(Extra::Bytes(bytes)) = bundle.extra.get(RANKER).cloned() else { unreachable!() };
    for place in (0..bytes.len()).step_by(97) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        for damaged in [flipped, bytes[..place].to_vec()] {
            bundle.extra.insert(RANKER.to_owned(), Extra::Bytes(damaged));
            assert!(Ranker::of_bundle(&bundle).is_err(), "{place}");
        }
    }
    let mut other = crate::testing::bundle(4, 30);
    other.extra.insert(RANKER.to_owned(), Extra::Bytes(bytes));
    let error = Ranker::of_bundle(&other).err().unwrap();
    assert!(error.to_string().contains("not those of the history") && error.hint().is_some());
}

#[test]
fn version_1_is_read_as_long_as_there_are_such_files() {
    let mut bundle = bundle(3, 30);
    let golden = include_bytes!("../../tests/golden/ranker-v1.safetensors");
    bundle.extra.insert(RANKER.to_owned(), Extra::Bytes(golden.to_vec()));
    let ranker = Ranker::of_bundle(&bundle).unwrap().unwrap();
    assert_eq!(ranker.weights, weights());
    assert_eq!((ranker.signals.moments.window, ranker.signals.moments.days[0]), (28.0, 2));
    assert_eq!(ranker.signals.moments.pairs.of(4).collect::<Vec<_>>(), [(5, 2.0)]);
}

#[test]
fn lists_are_ordered_by_the_sum_of_their_reasons() {
    let bundle = with_ranker(5, 700, weights());
    let ranker = Ranker::of_bundle(&bundle).unwrap().unwrap();
    let plain = Recommender::new(&bundle);
    let recommender = Recommender::new(&bundle).ranked(&ranker);
    let user = UserRow::new(2);
    let list = recommender.for_users(&[user], 300).remove(0);
    let why = recommender.why(user, 300);
    assert_eq!(why.len(), CANDIDATES);
    for hit in &list[..CANDIDATES] {
        let reasons = &why[&hit.row.get()];
        let sum: f64 = reasons.iter().map(|reason| reason.adds).sum();
        assert!((sum - f64::from(hit.score)).abs() < 1e-5, "{sum} {hit:?}");
        let shares: f64 = reasons.iter().map(|reason| reason.share).sum();
        assert!((shares - 1.0).abs() < 1e-9 && reasons.is_sorted_by(|a, b| a.adds >= b.adds));
    }
    assert!(list.is_sorted_by(|a, b| a.score >= b.score) && list.len() == 300);
    // What is ranked is what the model puts first; the rest stays behind it in the model's order, however long the list is.
    let by_model = plain.for_users(&[user], 300).remove(0);
    let rows = |hits: &[Hit<ItemRow>]| hits.iter().map(|hit| hit.row).collect::<Vec<_>>();
    let sorted = |hits: &[Hit<ItemRow>]| rows(hits).into_iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sorted(&list[..CANDIDATES]), sorted(&by_model[..CANDIDATES]));
    assert!(rows(&list)[..CANDIDATES] != rows(&by_model)[..CANDIDATES]);
    assert_eq!(rows(&list[CANDIDATES..]), rows(&by_model[CANDIDATES..]));
    assert_eq!(recommender.for_users(&[user], 7)[0], list[..7]);
}

#[test]
fn lists_of_all_items_put_both_kinds_side_by_side() {
    let bundle = with_ranker(5, 90, weights());
    let ranker = Ranker::of_bundle(&bundle).unwrap().unwrap();
    let recommender = Recommender::with_repeats(&bundle).unwrap().ranked(&ranker);
    let user = UserRow::new(3);
    let list = recommender.for_users(&[user], 90).remove(0);
    assert_eq!(list.len(), 90);
    assert_eq!(recommender.for_users(&[user], 1 << 60)[0], list);
    let (why, had) = (recommender.why(user, 90), bundle.history.items(user));
    for hit in &list {
        let bonus = if had.contains(&hit.row.get()) { 1.0 } else { 0.0 };
        let sum: f64 = why[&hit.row.get()].iter().map(|reason| reason.adds).sum();
        assert!((sum + bonus - f64::from(hit.score)).abs() < 1e-5, "{sum} {hit:?}");
    }
    // Of some items alone, the order is the same as far as what the user had goes.
    let only: RoaringBitmap = (0..90).step_by(4).collect();
    let some =
        Recommender::with_repeats(&bundle).unwrap().among(&only).ranked(&ranker).for_users(&[user], 90).remove(0);
    assert!(some.len() == 23 && some.iter().all(|hit| only.contains(hit.row.get())));
    let mine = |hits: &[Hit<ItemRow>]| {
        hits.iter().map(|hit| hit.row.get()).filter(|row| had.contains(row) && only.contains(*row)).collect::<Vec<_>>()
    };
    assert_eq!(mine(&some), mine(&list));
}

#[test]
fn what_a_ranker_is_not_used_for_and_users_without_a_history_stay_as_the_model_has_them() {
    let mut unused = weights();
    unused.ranks_new = false;
    let mut bundle = with_ranker(5, 90, unused);
    let ranker = Ranker::of_bundle(&bundle).unwrap().unwrap();
    let users: Vec<_> = (0..5).map(UserRow::new).collect();
    let recommender = Recommender::new(&bundle).ranked(&ranker);
    assert_eq!(recommender.for_users(&users, 9), Recommender::new(&bundle).for_users(&users, 9));
    assert!(recommender.why(users[0], 9).is_empty());
    drop(ranker);
    bundle = with_ranker(5, 90, weights());
    let ranker = Ranker::of_bundle(&bundle).unwrap().unwrap();
    let recommender = Recommender::new(&bundle).ranked(&ranker);
    let vectors = random(1, 5, 9);
    let nothing = |_: usize| (&[][..], &[][..]);
    assert_eq!(
        recommender.for_vectors(&vectors, &nothing, 9),
        Recommender::new(&bundle).for_vectors(&vectors, &nothing, 9)
    );
    // Somebody from outside who had the same is ranked in the same way.
    let Some(table) = bundle.learned.users() else { unreachable!() };
    let same = crate::scores::queries(table, &users[1..2]);
    let had = |_: usize| (bundle.history.items(users[1]), bundle.history.weights(users[1]));
    assert_eq!(recommender.for_vectors(&same, &had, 9), recommender.for_users(&users[1..2], 9));
}

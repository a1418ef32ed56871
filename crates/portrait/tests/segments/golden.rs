//! The figures of the bundled project.

use jiff::civil::date;
use lookalike_measure::{adjusted_rand, auc, quantile, silhouette, split_half};
use lookalike_portrait::segment::cluster::{Scaling, Search, choose, kmeans, place};
use lookalike_portrait::segment::lifecycle::periods;
use lookalike_portrait::segment::rfm::Cuts;
use lookalike_portrait::segment::tree::{Limits, grow};

use crate::journey::{END, Half, day, golden, households, rfm, tolerance};

#[track_caller]
fn within(found: f64, expected: &serde_json::Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

fn features(raw: &[f64]) -> Vec<f64> {
    Scaling::of(raw, 3).unwrap().apply(raw).unwrap()
}

#[test]
fn quantiles_of_recency_frequency_and_money() {
    let (expected, table) = (golden("cj.rfm_quantiles"), rfm());
    for (column, name) in ["days_since", "trips", "spend"].into_iter().enumerate() {
        let values: Vec<f64> = table.iter().skip(column).step_by(3).copied().collect();
        assert_eq!(values.len(), 2469);
        let found = quantile(&values, &[0.2, 0.4, 0.5, 0.6, 0.8]).unwrap().unwrap();
        found.iter().enumerate().for_each(|(at, found)| within(*found, &expected[name][at], 0.01));
        let cuts = Cuts::of(&values, 5).unwrap();
        assert_eq!(cuts.points(), [found[0], found[1], found[3], found[4]].map(|quantile| quantile + 1.0));
    }
}

#[test]
fn quantiles_of_the_gaps_between_shopping_days() {
    let expected = golden("cj.trip_gaps");
    let mut gaps: Vec<f64> = Vec::new();
    for home in households() {
        let mut days = home.days.clone();
        days.dedup();
        gaps.extend(days.windows(2).map(|pair| f64::from(pair[1] - pair[0])));
    }
    assert_eq!(Some(gaps.len() as u64), expected["gaps"].as_u64());
    within(gaps.iter().sum::<f64>() / gaps.len() as f64, &expected["mean"], 0.0005);
    let found = quantile(&gaps, &[0.5, 0.75, 0.9, 0.95, 0.99]).unwrap().unwrap();
    found
        .iter()
        .zip(["median", "p75", "p90", "p95", "p99"])
        .for_each(|(found, name)| within(*found, &expected[name], 0.0005));
}

#[test]
fn months_of_the_lifecycle() {
    let expected = golden("cj.lifecycle");
    let bounds: Vec<i32> = (1..=12).map(|month| day(date(2017, month, 1))).chain([END]).collect();
    let bought: Vec<&[i32]> = households().iter().map(|home| home.days.as_slice()).collect();
    let found = periods(&bought, &bounds).unwrap();
    for (month, found) in found.iter().enumerate() {
        let expected = &expected[format!("2017-{:02}", month + 1)];
        let numbers = [("new", found.new), ("retained", found.retained), ("returned", found.returned)];
        for (name, found) in numbers.into_iter().chain([("absent", found.absent)]) {
            assert_eq!(expected[name].as_u64(), Some(found), "{name} of month {}", month + 1);
        }
    }
    // What the text of the systems says of October and December.
    assert_eq!((found[9].new, found[9].retained, found[11].new, found[11].retained), (6, 1852, 6, 1869));
}

#[test]
fn clusters_and_the_tree_that_explains_them() {
    let (expected, tolerance) = (golden("cj.rfm_clusters"), tolerance("cj.rfm_clusters"));
    let within_all = tolerance["absolute"].as_f64().unwrap();
    let by_key = |k: usize, name: &str| tolerance["by_key"][format!("k{k}.{name}")].as_f64().unwrap();
    let raw = rfm();
    let features = features(&raw);
    let some: Vec<f64> =
        features.chunks(3).enumerate().filter(|(at, _)| at % 5 != 0).flat_map(|(_, row)| row).copied().collect();
    for k in 2..=6 {
        let expected = &expected[format!("k{k}")];
        let found = kmeans(&features, 3, k, 20, 1).unwrap();
        within(found.inertia, &expected["inertia"], by_key(k, "inertia"));
        let mean = silhouette(&features, 3, &found.labels).unwrap().unwrap();
        within(mean, &expected["silhouette"], within_all);
        for (at, size) in found.sizes.iter().enumerate() {
            within(*size as f64, &expected["sizes"][at], by_key(k, "sizes"));
        }
        let part = kmeans(&some, 3, k, 20, 2).unwrap();
        let again = place(&features, 3, &part.centres).unwrap();
        let agreement = adjusted_rand(&found.labels, &again).unwrap().unwrap();
        within(agreement, &expected["subsample_adjusted_rand"], by_key(k, "subsample_adjusted_rand"));
        if k == 4 {
            let tree = grow(&raw, 3, &found.labels, Limits { depth: 3, least: 1 }).unwrap();
            let fidelity = tree.fidelity(&raw, &found.labels).unwrap();
            within(fidelity, &golden("cj.rfm_clusters")["depth3_tree_fidelity_to_k4"], within_all);
            assert!(tree.rules().len() <= 8);
            let people: usize = tree.rules().iter().map(|rule| rule.people).sum();
            assert_eq!(people, 2469);
        }
    }
}

#[test]
fn two_clusters_are_the_most_stable_and_more_hold() {
    let features = features(&rfm());
    let search = Search { clusters: 2..=6, parts: 6, starts: 6, ..Search::default() };
    let found = choose(&features, 3, &search).unwrap();
    let stability: Vec<f64> = found.tried.iter().map(|tried| tried.stability).collect();
    let silhouettes: Vec<f64> = found.tried.iter().map(|tried| tried.silhouette.unwrap()).collect();
    assert!(stability[1..].iter().all(|other| *other < stability[0]), "{stability:?}");
    // Six are above the floor again, though three and four are less stable; the silhouettes fall from two on.
    assert!(found.holds && found.chosen == 4 && stability[4] >= 0.9, "{stability:?}");
    assert!(silhouettes.is_sorted_by(|a, b| a > b), "{silhouettes:?}");
    assert_eq!(found, choose(&features, 3, &search).unwrap());
}

#[test]
fn recency_forecasts_who_comes_back() {
    let expected = golden("cj.activity_baseline");
    let cut = day(date(2017, 9, 30));
    let (mut recency, mut trips, mut came) = (Vec::new(), Vec::new(), Vec::new());
    for home in households() {
        let mut days = home.days.clone();
        days.dedup();
        let known = days.partition_point(|day| *day <= cut);
        let Some(last) = days[..known].last() else { continue };
        recency.push(-f64::from(cut - last));
        trips.push(known as f64);
        came.push(known < days.len());
    }
    assert_eq!(Some(came.len() as u64), expected["households"].as_u64());
    assert_eq!(Some(came.iter().filter(|came| **came).count() as u64), expected["active"].as_u64());
    within(auc(&recency, &came).unwrap().unwrap(), &expected["auc_recency"], 0.002);
    within(auc(&trips, &came).unwrap().unwrap(), &expected["auc_trip_days"], 0.002);
}

#[test]
fn halves_of_the_year_agree_as_far_as_they_do() {
    let expected = golden("cj.split_half_reliability");
    let homes: Vec<&[Half; 2]> = households()
        .iter()
        .map(|home| &home.halves)
        .filter(|halves| halves.iter().all(|half| half.sales > 0.0))
        .collect();
    assert_eq!(Some(homes.len() as u64), expected["households"].as_u64());
    type Figure = fn(&Half) -> f64;
    let figures: [(&str, Figure); 7] = [
        ("private_label_share", |half| half.private / half.sales),
        ("discount_share", |half| half.discount / half.gross),
        ("coupon_line_share", |half| half.with_coupon / half.lines),
        ("trips", |half| half.baskets.len() as f64),
        ("spend", |half| half.sales),
        ("basket_value", |half| half.sales / half.baskets.len() as f64),
        ("weekend_line_share", |half| half.on_weekend / half.lines),
    ];
    for (name, figure) in figures {
        let [first, second] = [0, 1].map(|half| homes.iter().map(|halves| figure(&halves[half])).collect::<Vec<_>>());
        let found = split_half(&first, &second).unwrap().unwrap();
        within(found.halves, &expected[name], 0.0005);
        assert!(found.whole > found.halves && found.whole < 1.0);
    }
}

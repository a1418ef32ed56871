//! Tags over the bundled purchases say what the golden figures say; `golden/tags.json` has each with its definition.
//!
//! The definitions count raw lines, so that the project here sets no line aside. What a definition needs of a line and
//! the table of events has no column for goes into columns that are free: the week into `campaign`, the two coupon
//! columns into `text` and `quantity`.
#![allow(clippy::unwrap_used)]

mod cdnow;
mod forecasts;
#[path = "../kit/mod.rs"]
mod kit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use arrow::array::{Array, AsArray};
use jiff::civil::date;
use lookalike_measure::{quantile, spearman};
use lookalike_portrait::Profile;
use lookalike_store::{Store, Table};
use serde_json::Value;

use kit::Folder;

const TOML: &str = include_str!("lookalike.toml");

/// Tags over all lines.
const WHOLE: &str = include_str!("whole.toml");

/// Tags over a half of the year; `FROM` and `TO` are its first and its last week, `N` is its number.
const HALF: &str = include_str!("half.toml");

/// Segments by what households did in either half.
const BEHAVIOUR: &str = include_str!("behaviour.toml");

/// What households said of themselves.
const DECLARED: &str = include_str!("declared.toml");

/// When baskets were bought: early ones, and later ones to try the tag on.
const TIMES: &str = include_str!("times.toml");

/// At what hours and on which days of the week baskets were bought.
const CLOCK: &str = include_str!("clock.toml");

/// A profile at the end of the year, with its store.
struct Journey {
    folder: Folder,
    store: Store,
    profile: Profile,
}

/// A project with golden tags alone.
fn made(toml: &str, tags: &str) -> Folder {
    let folder = Folder::new(toml);
    // What ships with the program is switched off.
    let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
    for group in std::fs::read_dir(&catalogue).unwrap() {
        for file in std::fs::read_dir(group.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let sections = text.lines().filter(|line| line.starts_with('[') && !line.contains('.'));
            let off: String = sections.map(|section| format!("{section}\nkind = \"off\"\n")).collect();
            folder.write(Path::new("tags").join(path.strip_prefix(&catalogue).unwrap()), &off);
        }
    }
    folder.write("tags/golden.toml", tags);
    folder
}

/// The project file of the bundled purchases, no line of them set aside.
fn raw_lines(key: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/complete-journey").canonicalize().unwrap();
    TOML.replace("DATA", data.to_str().unwrap()).replace("KEY", key)
}

impl Journey {
    fn new(key: &str, tags: &str) -> Journey {
        let folder = made(&raw_lines(key), tags);
        let store = folder.store();
        let profile = folder.build(date(2018, 1, 1)).unwrap();
        Journey { folder, store, profile }
    }

    fn column(&self, tag: &str) -> &lookalike_portrait::Values {
        &self.profile.columns[self.profile.tag(&format!("golden/{tag}")).unwrap()].values
    }

    /// The numbers of a tag, a row a household.
    fn numbers(&self, tag: &str) -> Vec<Option<f64>> {
        (0..self.profile.users.len()).map(|row| self.column(tag).number(row)).collect()
    }

    fn sum(&self, tag: &str) -> f64 {
        self.numbers(tag).into_iter().flatten().sum()
    }
}

fn journey() -> &'static Journey {
    static LINES: OnceLock<Journey> = OnceLock::new();
    let half = |n: &str, from: &str, to: &str| HALF.replace("_N", n).replace("FROM", from).replace("TO", to);
    let tags = [WHOLE, &half("_1", "1", "26"), &half("_2", "27", "52"), DECLARED, BEHAVIOUR].concat();
    LINES.get_or_init(|| Journey::new("", &tags))
}

fn golden(id: &str) -> (Value, f64) {
    let all: Value = serde_json::from_str(include_str!("tags.json")).unwrap();
    (all[id]["expected"].clone(), all[id]["tolerance"]["absolute"].as_f64().unwrap())
}

#[track_caller]
fn within(found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

/// The same of a figure of which seven digits were written down.
#[track_caller]
fn within_digits(found: f64, expected: &Value) {
    within(found, expected, 0.51 * 10_f64.powf(expected.as_f64().unwrap().log10().floor() - 6.0));
}

/// Quantiles of the households with a value.
fn quantiles(tag: &str, shares: &[f64]) -> Vec<f64> {
    let values: Vec<f64> = journey().numbers(tag).into_iter().flatten().collect();
    assert_eq!(values.len(), 2469);
    quantile(&values, shares).unwrap().unwrap()
}

#[test]
fn sizes() {
    let (expected, tolerance) = golden("cj.sizes");
    let journey = journey();
    for (tag, name) in
        [("lines", "lines"), ("trips", "baskets"), ("products", "household_product_pairs"), ("redeemed", "redemptions")]
    {
        within(journey.sum(tag), &expected[name], tolerance);
    }
    within_digits(journey.sum("spend"), &expected["sales_value"]);
    let (mut items, mut stores) = (BTreeSet::new(), BTreeSet::new());
    for batch in journey.store.scan(Table::Events, &["item", "channel"]).unwrap() {
        let batch = batch.unwrap();
        let texts = |column: usize| batch.column(column).as_string::<i32>().iter().flatten().map(str::to_owned);
        items.extend(texts(0));
        stores.extend(texts(1));
    }
    let (mut campaigns, mut kinds) = (BTreeSet::new(), BTreeMap::new());
    for batch in journey.store.scan(Table::Edges, &["kind", "from"]).unwrap() {
        let batch = batch.unwrap();
        for (kind, from) in batch.column(0).as_string::<i32>().iter().zip(batch.column(1).as_string::<i32>()) {
            *kinds.entry(kind.unwrap().to_owned()).or_insert(0) += 1;
            if kind == Some("targeted") {
                campaigns.insert(from.unwrap().to_owned());
            }
        }
    }
    for (found, name) in [
        (journey.profile.users.len() as u64, "households"),
        (items.len() as u64, "products_bought"),
        (stores.len() as u64, "stores"),
        (journey.store.rows(Table::Items), "products"),
        (journey.store.rows(Table::Users), "demographics"),
        (kinds["targeted"], "campaign_targets"),
        (kinds["coupon-for"], "coupon_rows"),
        (campaigns.len() as u64, "campaigns"),
    ] {
        assert_eq!(Some(found), expected[name].as_u64(), "{name}");
    }
}

#[test]
fn quality_of_the_raw_lines() {
    let expected = golden("cj.quality").0;
    let journey = journey();
    for (tag, name) in [
        ("unknown_product", "lines_without_product_record"),
        ("free", "sales_value_zero"),
        ("negative", "sales_value_negative"),
        ("reduced", "lines_with_retail_discount"),
        ("with_coupon", "lines_with_coupon"),
        ("matched", "lines_with_coupon_match"),
    ] {
        within(journey.sum(tag), &expected[name], 0.0);
    }
    let silent = |tag: &str, among: &str| {
        let (column, among) = (journey.column(tag), journey.column(among));
        Some((0..column.len()).filter(|row| among.has(*row) && !column.has(*row)).count() as u64)
    };
    assert_eq!(silent("age_said", "lines"), expected["households_without_demographics"].as_u64());
    for name in ["home_ownership", "marital_status"] {
        assert_eq!(silent(name, "age_said"), expected[format!("demographics_without_{name}")].as_u64(), "{name}");
    }
    let goods = journey.store.scan(Table::Items, &["goods"]).unwrap();
    let without: usize = goods.map(|batch| batch.unwrap().column(0).null_count()).sum();
    assert_eq!(Some(without as u64), expected["products_without_category"].as_u64());
}

#[test]
fn spend_by_department() {
    let expected = golden("cj.departments").0;
    let journey = journey();
    let mut departments: HashMap<&str, f64> = HashMap::new();
    for (row, spend) in journey.numbers("joined").into_iter().enumerate() {
        for (name, share) in journey.column("departments").list(row) {
            *departments.entry(name).or_default() += share * spend.unwrap();
        }
    }
    let mut largest: Vec<(&str, f64)> = departments.into_iter().collect();
    largest.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (name, spend) in &largest[..5] {
        within_digits(*spend, &expected["top5"][name]);
    }
    within_digits(journey.sum("joined"), &expected["joined_sales"]);
}

#[test]
fn baskets_by_the_clock_of_the_shops() {
    let expected = golden("cj.clock").0;
    let journey = baskets();
    let count = journey.numbers("baskets");
    for (tag, name) in [("hours", "baskets_by_local_hour"), ("weekdays", "baskets_by_local_weekday_monday_first")] {
        let expected = expected[name].as_array().unwrap();
        let mut found = vec![0.0; expected.len()];
        for (row, count) in count.iter().enumerate().filter_map(|(row, count)| Some((row, (*count)?))) {
            for (value, share) in journey.column(tag).list(row) {
                found[value.parse::<usize>().unwrap()] += share * count;
            }
        }
        found.iter().zip(expected).for_each(|(found, expected)| within(found.round(), expected, 0.0));
    }
}

#[test]
fn quantiles_of_recency_trips_and_spend() {
    let (expected, tolerance) = golden("cj.rfm_quantiles");
    for (tag, name) in [("recency", "days_since"), ("trips", "trips"), ("spend", "spend")] {
        for (found, expected) in
            quantiles(tag, &[0.2, 0.4, 0.5, 0.6, 0.8]).iter().zip(expected[name].as_array().unwrap())
        {
            within(*found, expected, tolerance);
        }
    }
    within(journey().sum("trips") / 2469.0, &expected["trips_mean"], tolerance);
    within(journey().sum("spend") / 2469.0, &expected["spend_mean"], tolerance);
}

#[test]
fn fifths_of_spend() {
    let (expected, tolerance) = golden("cj.spend_quintiles");
    let mut spend: Vec<f64> = journey().numbers("spend").into_iter().flatten().collect();
    spend.sort_by(f64::total_cmp);
    let total: f64 = spend.iter().sum();
    let mut from = 0;
    for (size, share) in
        expected["sizes"].as_array().unwrap().iter().zip(expected["share_low_to_high"].as_array().unwrap())
    {
        let size = size.as_u64().unwrap() as usize;
        within(spend[from..from + size].iter().sum::<f64>() / total, share, tolerance);
        from += size;
    }
    assert_eq!(from, spend.len());
}

/// A tag says a number a household: how many gaps there are and how long they are together, not each gap.
#[test]
fn days_between_shopping_days() {
    let (expected, tolerance) = golden("cj.trip_gaps");
    let journey = journey();
    let gaps = journey.sum("days") - 2469.0;
    assert_eq!(Some(gaps as u64), expected["gaps"].as_u64());
    within((journey.sum("age") - journey.sum("recency")) / gaps, &expected["mean"], tolerance);
}

#[test]
fn shares_of_the_own_brand_and_of_discounts() {
    let (expected, tolerance) = golden("cj.private_label_and_discount");
    for (tag, name) in [("private", "private_label_share"), ("discount", "discount_share")] {
        for (found, expected) in
            quantiles(tag, &[0.1, 0.25, 0.5, 0.75, 0.9]).iter().zip(expected[name].as_array().unwrap())
        {
            within(*found, expected, tolerance);
        }
    }
}

#[test]
fn halves_of_the_year_agree_as_far_as_they_do() {
    let (expected, tolerance) = golden("cj.split_half_reliability");
    let journey = journey();
    let [first, second] = ["spend_1", "spend_2"].map(|tag| journey.numbers(tag));
    let both: Vec<usize> = (0..first.len())
        .filter(|row| first[*row].is_some_and(|spend| spend > 0.0) && second[*row].is_some_and(|spend| spend > 0.0))
        .collect();
    assert_eq!(Some(both.len() as u64), expected["households"].as_u64());
    for (tag, name) in [
        ("private", "private_label_share"),
        ("discount", "discount_share"),
        ("coupons", "coupon_line_share"),
        ("trips", "trips"),
        ("spend", "spend"),
        ("basket", "basket_value"),
        ("weekend", "weekend_line_share"),
    ] {
        let [first, second] = ["_1", "_2"].map(|half| {
            let all = journey.numbers(&format!("{tag}{half}"));
            both.iter().map(|row| all[*row].unwrap()).collect::<Vec<f64>>()
        });
        within(spearman(&first, &second).unwrap().unwrap(), &expected[name], tolerance);
    }
}

#[test]
fn preferred_categories_are_kept() {
    let (expected, tolerance) = golden("cj.category_preference");
    let journey = journey();
    let [first, second] = ["goods_spend_1", "goods_spend_2"].map(|tag| journey.numbers(tag));
    // The population's share of each category in the first half, of all households.
    let mut population: HashMap<&str, f64> = HashMap::new();
    for (row, spend) in first.iter().enumerate().filter_map(|(row, spend)| Some((row, (*spend)?))) {
        for (name, share) in journey.column("goods_1").list(row) {
            *population.entry(name).or_default() += share * spend;
        }
    }
    let total: f64 = population.values().sum();
    let mut largest: Vec<(&str, f64)> = population.iter().map(|(name, spend)| (*name, *spend)).collect();
    largest.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top: Vec<&str> = largest[..3].iter().map(|(name, _)| *name).collect();
    assert_eq!(serde_json::json!(top), expected["global_top3"]);
    let enough = |spend: Option<f64>| spend.is_some_and(|spend| spend > 50.0);
    let (mut households, mut own, mut global, mut affinities) = (0, 0.0, 0.0, Vec::new());
    for row in (0..first.len()).filter(|row| enough(first[*row]) && enough(second[*row])) {
        households += 1;
        let later: HashMap<&str, f64> = journey.column("goods_2").list(row).collect();
        let share = |name: &str| later.get(name).copied().unwrap_or(0.0);
        own += journey.column("own_1").list(row).map(|(name, _)| share(name)).sum::<f64>();
        global += top.iter().map(|name| share(name)).sum::<f64>();
        let special = journey.column("special_1").list(row);
        affinities.extend(special.map(|(name, _)| (share(name) / (population[name] / total)).min(200.0)));
    }
    assert_eq!(Some(households), expected["households"].as_u64());
    within(own / households as f64, &expected["second_half_share_of_own_top3"], tolerance);
    within(global / households as f64, &expected["second_half_share_of_global_top3"], tolerance);
    let mean = affinities.iter().sum::<f64>() / affinities.len() as f64;
    within(mean, &expected["mean_second_half_affinity_of_top3_by_affinity"], tolerance);
}

/// A basket is one event here: lines of a basket have one time, so that the first of them says it.
fn baskets() -> &'static Journey {
    static BASKETS: OnceLock<Journey> = OnceLock::new();
    let times = [
        TIMES.replace("NAME", "three_hour_part").replace("BY", "cast(hour / 3 as varchar)"),
        TIMES.replace("NAME", "weekday").replace("BY", "cast(weekday - 1 as varchar)"),
    ];
    let early =
        "[early]\nkind = \"metric\"\nof = \"count\"\nevents = \"purchase\"\nwhere = \"cast(campaign as int) <= 39\"\n";
    let later =
        "[later]\nkind = \"metric\"\nof = \"count\"\nevents = \"purchase\"\nwhere = \"cast(campaign as int) > 39\"\n";
    let tags = [&times.concat(), early, later, CLOCK].concat();
    BASKETS.get_or_init(|| Journey::new("key = [\"basket_id\"]", &tags))
}

#[test]
fn the_usual_time_of_a_household_comes_again() {
    let (expected, tolerance) = golden("cj.send_time");
    let journey = baskets();
    let [early, later] = ["early", "later"].map(|tag| journey.numbers(tag));
    for name in ["three_hour_part", "weekday"] {
        let expected = &expected[name];
        // The population's most frequent value, from what each household has of each.
        let mut all: BTreeMap<&str, f64> = BTreeMap::new();
        let usual = format!("{name}_all");
        for (row, count) in early.iter().enumerate().filter_map(|(row, count)| Some((row, (*count)?))) {
            for (value, share) in journey.column(&usual).list(row) {
                *all.entry(value).or_default() += share * count;
            }
        }
        let mode = all.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(value, _)| *value).unwrap();
        assert_eq!(mode.parse().ok(), expected["global_mode"].as_u64());
        let (mut baskets, mut own, mut global) = (0.0, 0.0, 0.0);
        for row in (0..early.len()).filter(|row| early[*row].is_some()) {
            let Some(count) = later[row] else { continue };
            let found: HashMap<&str, f64> = journey.column(&format!("{name}_later")).list(row).collect();
            let hits = |value: &str| found.get(value).map_or(0.0, |share| share * count);
            baskets += count;
            own += hits(journey.column(name).text(row).unwrap());
            global += hits(mode);
        }
        within(baskets, &expected["baskets"], 0.0);
        within(own / baskets, &expected["hit_personal"], tolerance);
        within(global / baskets, &expected["hit_global"], tolerance);
    }
}

#[test]
fn cells_of_what_households_said() {
    let expected = golden("cj.privacy_cells").0;
    let journey = journey();
    let seven =
        ["age_said", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count"];
    for (name, tags) in
        [("all_seven_columns", &seven[..]), ("age_income_size", &["age_said", "income", "household_size"])]
    {
        let mut cells: HashMap<Vec<Option<&str>>, u64> = HashMap::new();
        // Everybody who said anything said their age.
        for row in (0..journey.profile.users.len()).filter(|row| journey.column("age_said").has(*row)) {
            *cells.entry(tags.iter().map(|tag| journey.column(tag).text(row)).collect()).or_default() += 1;
        }
        let found = serde_json::json!({
            "cells": cells.len(),
            "unique": cells.values().filter(|count| **count == 1).count(),
            "households_in_cells_below_5": cells.values().filter(|count| **count < 5).sum::<u64>(),
        });
        assert_eq!(found, expected[name]);
    }
}

#[test]
fn contradictions() {
    let expected = golden("cj.contradictions").0;
    let count = |tag: &str| {
        let column = journey().column(tag);
        Some((0..column.len()).filter(|row| column.has(*row)).count() as u64)
    };
    assert_eq!(count("contradiction"), expected["married_with_one_adult"].as_u64());
    assert_eq!(count("children"), expected["kids_against_composition"].as_u64());
}

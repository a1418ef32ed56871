//! The ranker: learned where it helps, refused where there is nothing to learn, and `recommend --explain`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use common::{Said, Shop, TOML, USERS, drifting, parquet_rows};
use serde_json::Value;

fn shop(lines: String) -> Shop {
    let shop = Shop::new();
    shop.write("lines.csv", lines);
    shop.train(&["--epochs", "4", "--quiet"]).ok();
    shop
}

fn recommend(shop: &Shop, args: &[&str]) -> Said {
    shop.run(&[&["recommend", "--run", "runs/ials"], args].concat())
}

fn manifest(shop: &Shop) -> Value {
    serde_json::from_slice(&std::fs::read(shop.path("runs/ials/bundle/manifest.json")).unwrap()).unwrap()
}

#[test]
fn where_it_helps_lists_are_ranked_and_explained() {
    let shop = shop(drifting());
    let found = &manifest(&shop)["ranker"];
    assert_eq!(found["new"]["used"], true, "{found}");
    assert!(found["new"]["ranked"].as_f64() > found["new"]["model"].as_f64());
    // Baskets of one item have no pairs.
    assert_eq!(found["left_out"], serde_json::json!(["together"]));

    // The evaluation has a line with it and one without.
    let result = shop.run(&["evaluate", "--run", "runs/ials", "--json"]).json();
    assert_eq!(&result["ranker"], found);
    let line = |name: &str| {
        let models = result["models"].as_array().unwrap();
        models.iter().find(|model| model["name"] == name).unwrap()["ndcg@10"].as_f64().unwrap()
    };
    assert!(line("ials + ranker") > line("ials"));
    shop.run(&["evaluate", "--run", "runs/ials"]).says(&["ials + ranker", "new items: ndcg@10", "ranked by it"]);

    // What it says of an item is made of figures, and its shares are shares.
    let list = recommend(&shop, &["--user", "u03", "--explain", "--json"]).json();
    assert_eq!(list["ranked"], true);
    for item in list["items"].as_array().unwrap() {
        let why = item["why"].as_array().unwrap();
        assert!(!why.is_empty() && why.len() <= 4, "{item}");
        let shares: f64 = why.iter().map(|reason| reason["share"].as_f64().unwrap()).sum();
        assert!(shares > 0.0 && shares < 1.0 + 1e-9, "{item}");
        assert!(why.iter().all(|reason| !reason["text"].as_str().unwrap().is_empty()));
    }
    recommend(&shop, &["--user", "u03", "--explain"]).says(&[
        "and ranked",
        "as of 2024-06-01",
        " %  ",
        "within the last 28 days",
    ]);
    let again = recommend(&shop, &["--user", "u03", "--explain", "--repeat"]);
    again.says(&["as of 2024-06-01", " %  "]);

    // All users, one user and somebody with the same history get the same list, and twice the same bytes.
    for out in ["a.parquet", "b.parquet"] {
        recommend(&shop, &["--all", "--out", out, "--k", "5"]).ok();
    }
    assert!(std::fs::read(shop.path("a.parquet")).unwrap() == std::fs::read(shop.path("b.parquet")).unwrap());
    let items = |list: &Value| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["item"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let one = items(&recommend(&shop, &["--user", "u07", "--k", "5", "--exact", "--json"]).json());
    let rows = parquet_rows(&shop.path("a.parquet"));
    let mine = rows.iter().filter(|row| row.starts_with("u07|")).map(|row| row.split('|').nth(2).unwrap().to_owned());
    assert_eq!(mine.collect::<Vec<_>>(), one);
    assert_eq!(items(&recommend(&shop, &["--user", "u07", "--k", "9", "--exact", "--json"]).json())[..5], one);
}

#[test]
fn what_is_recommended_to_all_is_what_the_evaluation_judges() {
    let shop = shop(drifting());
    recommend(&shop, &["--all", "--exact", "--out", "all.parquet"])
        .says(&["ranked: the lists of users with a history"]);
    let text = drifting();
    let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    // The test part begins at midnight in Berlin.
    let (before, after): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line[2] < "2024-05-31 22");
    let known: BTreeSet<&str> = before.iter().map(|line| line[1]).collect();
    let had: BTreeSet<(&str, &str)> = before.iter().map(|line| (line[0], line[1])).collect();
    let mut truth: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in after.iter().filter(|line| known.contains(line[1]) && !had.contains(&(line[0], line[1]))) {
        truth.entry(line[0]).or_default().insert(line[1]);
    }
    let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
    let rows = parquet_rows(&shop.path("all.parquet"));
    for row in &rows {
        let cells: Vec<&str> = row.split('|').collect();
        let hit = truth.get(cells[0]).is_some_and(|truth| truth.contains(cells[2]));
        *hits.entry(cells[0]).or_default() += usize::from(hit);
    }
    let recall = |(user, truth): (&&str, &BTreeSet<&str>)| hits[user] as f64 / truth.len() as f64;
    let mean = truth.iter().map(recall).sum::<f64>() / truth.len() as f64;
    let result = shop.run(&["evaluate", "--run", "runs/ials", "--json"]).json();
    let ranked = &result["models"][1];
    assert_eq!(ranked["name"], "ials + ranker");
    assert!((ranked["recall@10"].as_f64().unwrap() - mean).abs() < 1e-9, "{ranked} {mean}");
}

#[test]
fn two_runs_leave_the_same_bytes() {
    let shop = shop(drifting());
    let first = shop.files("runs/ials/bundle");
    shop.train(&["--epochs", "4", "--quiet"]).ok();
    assert!(first == shop.files("runs/ials/bundle"));
}

#[test]
fn where_there_is_nothing_to_learn_it_is_not_used() {
    let (mut text, mut state) = ("who,what,at,paid\n".to_owned(), 3u64);
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for user in 0..USERS {
        for _ in 0..20 {
            let (month, day) = (1 + below(6), 1 + below(28));
            writeln!(text, "u{user:02},i{:03},2024-{month:02}-{day:02} 10:30:00,1.00", below(400)).unwrap();
        }
    }
    let shop = shop(text);
    let found = manifest(&shop)["ranker"].clone();
    assert_eq!(found["new"]["used"], false, "{found}");
    let result = recommend(&shop, &["--user", "u03", "--explain", "--json"]).json();
    assert_eq!(result["ranked"], false);
    let why = &result["items"][0]["why"];
    assert!(why.as_array().unwrap().len() == 1 && why[0]["signal"] == "model", "{why}");
}

#[test]
fn without_times_there_is_no_ranker_and_only_what_is_known_is_said() {
    let shop = Shop::with(r#"{ kind = "time", test_from = "2024-06-01", validation_days = 28 }"#, r#""leave-last""#);
    shop.train(&["--epochs", "2", "--quiet"]).ok();
    assert!(manifest(&shop).get("ranker").is_none() && !shop.path("runs/ials/bundle/ranker.safetensors").exists());
    recommend(&shop, &["--user", "u03", "--explain"]).says(&["100 %  what similar users had, by the score of `ials`"]);
    recommend(&shop, &["--user", "u03", "--explain", "--repeat"]).says(&["in the user's history"]);
}

#[test]
fn signals_without_data_are_left_out_and_said() {
    let shop = Shop::new();
    let plain = TOML.replace(", value = \"paid\"", "");
    let start = plain.find("[sources.shelf]").unwrap();
    let end = plain.find("[sources.people]").unwrap();
    shop.write("lookalike.toml", format!("{}{}", &plain[..start], &plain[end..])).write("lines.csv", drifting());
    shop.train(&["--epochs", "4"]).says(&["nothing is known for: category, variety, brand, together, price"]);
    recommend(&shop, &["--user", "u03", "--explain"]).says(&["and ranked"]);
}

#[test]
fn users_without_a_history_get_what_is_popular_with_how_many_had_it() {
    let shop = Shop::new();
    shop.write("lines.csv", drifting()).write("people.csv", "who,age\nu00,old\nnobody,young\n");
    shop.train(&["--epochs", "2", "--quiet"]).ok();
    let result = recommend(&shop, &["--user", "nobody", "--explain", "--json"]).json();
    assert_eq!((result["by"].as_str().unwrap(), &result["ranked"]), ("popular", &Value::Bool(false)));
    assert!(result["items"][0]["why"][0]["text"].as_str().unwrap().ends_with("users had it"));
    recommend(&shop, &["--user", "somebody", "--explain"]).hints(1, &["user `somebody` does not occur"]);
    recommend(&shop, &["--all", "--out", "x.parquet", "--explain"]).fails(2, &["--explain"]);
}

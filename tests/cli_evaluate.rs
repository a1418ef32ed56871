//! `evaluate`: the figures of `train` again, and what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use common::Shop;

const EVALUATE: [&str; 3] = ["evaluate", "--run", "runs/ials"];

#[test]
fn it_repeats_the_figures_of_train() {
    let shop = Shop::new();
    let trained = shop.train(&["--epochs", "4", "--json"]).json();
    assert_eq!(shop.run(&[&EVALUATE[..], &["--json"]].concat()).json(), trained["metrics"]);
}

#[test]
fn json_names_protocol_split_and_every_baseline() {
    let result = Shop::trained().run(&[&EVALUATE[..], &["--json"]].concat()).json();
    assert!(result["protocol"].as_str().unwrap().contains("full ranking"));
    assert!(result["split"].as_str().unwrap().contains("test from 2024-06-01 (Europe/Berlin)"));
    assert!((1..=100).contains(&result["users"].as_i64().unwrap()));
    let names: Vec<_> = result["models"].as_array().unwrap().iter().map(|model| model["name"].clone()).collect();
    assert_eq!(names, ["ials", "item-kNN", "personal frequency", "popularity", "random"]);
}

#[test]
fn people_get_a_table() {
    Shop::trained().run(&EVALUATE).says(&["novel recall@10", "personal frequency", "ials: repeat and all rank by"]);
}

#[test]
fn quiet_leaves_stderr_empty() {
    assert_eq!(Shop::trained().run(&[&EVALUATE[..], &["--quiet"]].concat()).ok().err, "");
}

#[test]
fn data_that_changed_is_met_by_ids() {
    let shop = Shop::trained();
    let before = shop.run(&[&EVALUATE[..], &["--json"]].concat()).json();
    // What the run learned from is in its bundle: an event that comes late changes nothing of it.
    shop.write("lines.csv", common::lines() + "u00,i000,2024-01-01 10:00:00,1\n");
    let late = shop.run(&[&EVALUATE[..], &["--json"]].concat()).json();
    assert_eq!(late, before);
    // A user and an item that the run does not know, ids that come first in the order of the text, and one user who left.
    let kept: String =
        common::lines().lines().filter(|line| !line.starts_with("u07")).map(|l| l.to_owned() + "\n").collect();
    let new = "a00,i000,2024-01-01 10:00:00,1\na00,i004,2024-06-09 10:00:00,1\nu00,a001,2024-01-01 10:00:00,1\n";
    shop.write("lines.csv", kept + new);
    let people: String = std::fs::read_to_string(shop.path("people.csv")).unwrap().replace("u07,middle\n", "");
    shop.write("people.csv", people);
    shop.run(&EVALUATE).says(&[
        "1 users (cold to the run) and 1 items (left out) are new, 1 users and 0 items are gone",
        "users without a history, of whom something else is known: 1 with 1 held-out pairs",
    ]);
    let after = shop.run(&[&EVALUATE[..], &["--json"]].concat()).json();
    assert_eq!(after["users"].as_u64().unwrap() + 1, before["users"].as_u64().unwrap());
    assert_eq!(after["cold"]["links"][0]["answers"], 0);
}

#[test]
fn other_data_than_the_run_was_trained_on_is_refused() {
    let shop = Shop::trained();
    let refused = |from: &str, to: &str, why: &str| {
        shop.write("lookalike.toml", common::TOML.replacen(from, to, 1));
        shop.run(&[&EVALUATE[..], &["--quiet"]].concat()).hints(1, &["not what this run was trained on", why]);
    };
    refused("2024-06-01", "2024-05-20", "the project is now split by time: test from 2024-05-20");
    shop.write("lines.csv", common::lines() + "u00,i000,2024-01-01 10:00:00,1\n");
    refused("corner-shop", "other-shop", "the run is of `corner-shop`");
    let last = Shop::with(r#"{ kind = "time", test_from = "2024-06-01", validation_days = 28 }"#, r#""leave-last""#);
    last.train(&["--epochs", "2", "--quiet"]).ok();
    last.write("lines.csv", common::lines() + "u00,i000,2024-06-30 10:00:00,1\n");
    last.run(&[&EVALUATE[..], &["--quiet"]].concat()).hints(1, &["may be the last event"]);
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    Shop::new().run(&["evaluate", "--run", "nowhere"]).hints(1, &["`nowhere/bundle` is not a bundle"]);
}

#[test]
fn a_run_must_be_named() {
    Shop::new().run(&["evaluate"]).fails(2, &["--run"]);
}

#[test]
fn a_flipped_byte_in_any_file_of_the_bundle_is_found() {
    let shop = Shop::trained();
    let files = shop.files("runs/ials/bundle");
    assert!(files.len() >= 6);
    for (name, bytes) in files {
        let name = format!("runs/ials/bundle/{}", name.display());
        for place in [8, bytes.len() / 2, bytes.len() - 2] {
            shop.damage(&name, |bytes| bytes[place] ^= 1);
            shop.run(&EVALUATE).fails(1, &[&name]);
            shop.write(&name, &bytes);
        }
    }
    shop.run(&EVALUATE).ok();
}

#[test]
fn a_truncated_file_of_the_bundle_is_found() {
    let shop = Shop::trained();
    for (name, bytes) in shop.files("runs/ials/bundle") {
        let name = format!("runs/ials/bundle/{}", name.display());
        shop.write(&name, &bytes[..bytes.len() / 2]);
        shop.run(&EVALUATE).fails(1, &[&name]);
        shop.write(&name, &bytes);
    }
}

#[test]
fn a_missing_file_of_the_bundle_is_named() {
    let shop = Shop::trained();
    std::fs::remove_file(shop.path("runs/ials/bundle/items.parquet")).unwrap();
    shop.run(&EVALUATE).fails(1, &["runs/ials/bundle/items.parquet"]);
}

#[test]
fn a_bundle_of_a_newer_version_is_refused() {
    let shop = Shop::trained();
    let newer =
        |text: &mut Vec<u8>| *text = String::from_utf8_lossy(text).replacen("\"format\": 2", "\"format\": 3", 1).into();
    shop.damage("runs/ials/bundle/manifest.json", newer);
    shop.run(&EVALUATE).hints(1, &["manifest.json` has format version 3", "update lookalike"]);
}

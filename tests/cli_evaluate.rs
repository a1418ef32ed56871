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
fn other_data_than_the_run_was_trained_on_is_refused() {
    let shop = Shop::trained();
    shop.write("lines.csv", common::lines() + "u00,i000,2024-01-01 10:00:00,1\n");
    shop.run(&[&EVALUATE[..], &["--quiet"]].concat()).hints(1, &["not what this run was trained on"]);
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

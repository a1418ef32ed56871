//! `index`: built again, audited, and put into the bundle in one step.
#![allow(clippy::unwrap_used)]

mod common;

use common::Shop;

const INDEX: [&str; 3] = ["index", "--run", "runs/ials"];

#[test]
fn the_same_settings_give_the_same_bundle() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run(&INDEX).ok();
    assert!(before == shop.files("runs/ials/bundle"));
}

#[test]
fn other_settings_change_the_index_and_nothing_that_was_learned() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run(&[&INDEX[..], &["--m", "5", "--ef-construction", "60"]].concat()).ok();
    let after = shop.files("runs/ials/bundle");
    let changed = before.iter().filter(|(name, bytes)| after[*name] != **bytes).map(|(name, _)| name.to_str().unwrap());
    assert_eq!(changed.collect::<Vec<_>>(), ["index.safetensors", "manifest.json"]);
}

#[test]
fn the_audit_is_told_and_kept() {
    let shop = Shop::trained();
    let audit = shop.run(&[&INDEX[..], &["--json"]].concat()).json();
    assert!((0.95..=1.0).contains(&audit["recall_at_10"].as_f64().unwrap()));
    let model = shop.run(&["show", "model", "runs/ials", "--json"]).json();
    assert_eq!(model["manifest"]["index"], audit);
}

#[test]
fn people_read_what_the_index_finds() {
    Shop::trained().run(&INDEX).says(&["index: finds ", "exact search finds all"]);
}

#[test]
fn the_evaluation_does_not_depend_on_the_index() {
    let shop = Shop::trained();
    let before = shop.run(&["evaluate", "--run", "runs/ials", "--json"]).ok().out;
    shop.run(&[&INDEX[..], &["--m", "4"]].concat()).ok();
    assert_eq!(before, shop.run(&["evaluate", "--run", "runs/ials", "--json"]).ok().out);
}

#[test]
fn a_setting_out_of_range_is_named() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run(&[&INDEX[..], &["--m", "0"]].concat()).fails(1, &["`m` is 0", "must be from"]);
    assert!(before == shop.files("runs/ials/bundle"));
}

#[test]
fn a_full_disk_leaves_the_old_bundle() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run_with_small_files(4, &INDEX).fails(1, &["could not write `", "File too large"]);
    assert!(before == shop.files("runs/ials/bundle"));
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    Shop::new().run(&["index", "--run", "nowhere"]).hints(1, &["`nowhere/bundle` is not a bundle"]);
}

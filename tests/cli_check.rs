//! `check data`: a table and a document of checks, and an exit code that a script can act on.
#![allow(clippy::unwrap_used)]

mod common;

use common::Shop;

#[test]
fn promises_that_are_kept() {
    let shop = Shop::with("[interactions]", "[sources.lines.freshness]\nmax_age = \"1w\"\n[interactions]");
    shop.run(&["ingest"]).ok();
    let checks = shop.run(&["check", "data", "--as-of", "2024-07-01", "--json"]).json();
    let checks = checks["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    let fresh = checks.iter().find(|check| check["name"] == "lines: fresh").unwrap();
    assert!(fresh["figure"].as_f64().unwrap() > 1.5 && fresh["note"].as_str().unwrap().contains("allowed are 7.00"));
    shop.run(&["check", "data", "--as-of", "2024-07-01"]).says(&["lines: fresh", "ok", "items: item is unique"]);
}

#[test]
fn a_promise_that_is_broken() {
    let shop = Shop::with("[interactions]", "[sources.lines.freshness]\nmax_age = \"1w\"\n[interactions]");
    shop.run(&["ingest"]).ok();
    let said = shop.run(&["check", "data", "--as-of", "2024-08-01", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(document["checks"].as_array().unwrap().iter().any(|check| check["ok"] == false));
    said.fails(1, &["1 of 10 checks failed: `lines: fresh`"]);
    // Without a day it is today, which is long after 2024.
    shop.run(&["check", "data"]).fails(1, &["`lines: fresh`"]);
}

#[test]
fn drift_against_another_project() {
    let drift = "[sources.lines.drift]\nmax_psi = 0.25\n[interactions]";
    let (shop, other) = (Shop::with("[interactions]", drift), Shop::with("[interactions]", drift));
    other.write("lines.csv", common::lines().replace(",1.", ",900."));
    for shop in [&shop, &other] {
        shop.run(&["ingest"]).ok();
    }
    shop.run(&["check", "data"]).says(&["lines: drift of value"]);
    shop.run(&["check", "data", "--against", &other.text("")]).fails(1, &["`lines: drift of value`"]);
}

#[test]
fn what_cannot_be_checked() {
    let shop = Shop::new();
    shop.run(&["check", "data"]).hints(1, &["there is no store", "lookalike ingest"]);
    shop.run(&["ingest"]).ok();
    shop.run(&["check", "data", "--as-of", "soon"]).hints(2, &["`soon` is no date"]);
    shop.run(&["check", "data", "--against", "nowhere"]).hints(1, &["`nowhere` has no `lookalike.toml`"]);
}

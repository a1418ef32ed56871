//! The customers of a record shop of 1997 (Fader and Hardie), beside published parameters and what came.
//!
//! The data may not be copied into a repository: they are read where `LOOKALIKE_DATA` names their folder.

use std::path::Path;

use jiff::civil::date;
use lookalike_portrait::model::buyer::{BgNbd, History, Nbd};
use lookalike_portrait::model::spend::{GammaGamma, Spent};

use crate::forecasts::{auc_of, foretold, mean_error, numbers};
use crate::kit::elsewhere;
use crate::{golden, made, within};

const TOML: &str = r#"[project]
name = "cdnow"
timezone = "UTC"

[sources.log]
path = "DATA/sample.parquet"
table = "events"
kind = "purchase"
at = { column = "date", stored_as = "UTC" }
map = { user = "sample_id", value = "dollar_value", quantity = "number_of_cds" }

[interactions]
kinds = { purchase = 1.0 }
split = { kind = "time", test_from = "1998-01-01", validation_days = 28 }
"#;

const TAGS: &str = r#"
[alive]
kind = "model"
model = "bg-nbd"
value = "alive"
[next]
kind = "model"
model = "bg-nbd"
value = "purchases"
horizon = "273d"
[next_if_nobody_leaves]
kind = "model"
model = "nbd"
horizon = "273d"
[worth]
kind = "model"
model = "gamma-gamma"
weight = "value"
[later]
kind = "metric"
of = "distinct(day)"
window = "273d"
"#;

/// Rows of numbers of a csv file, without its header.
fn rows(path: &Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| line.split(',').map(|cell| cell.trim_matches('"').parse().unwrap()).collect();
    text.lines().skip(1).filter(|line| !line.is_empty()).map(row).collect()
}

#[test]
fn parameters_are_those_in_print() {
    let Some(folder) = elsewhere("cdnow") else { return };
    let history = |row: Vec<f64>| History { repeats: row[1] as u32, last: row[2], age: row[3] };
    let histories: Vec<History> = rows(&folder.join("cdnow_customers_summary.csv")).into_iter().map(history).collect();
    let (expected, tolerance) = golden("cdnow.bgnbd");
    let fitted = BgNbd::fit(&histories).unwrap();
    assert_eq!(Some(fitted.customers as u64), expected["customers"].as_u64());
    let model = fitted.model;
    for (found, name) in [(model.r, "r"), (model.alpha, "alpha"), (model.a, "a"), (model.b, "b")] {
        within(found, &expected[name], tolerance);
    }
    within(fitted.log_likelihood, &expected["log_likelihood"], 0.01);
    assert_eq!(fitted.log_likelihood, model.log_likelihood(&histories).unwrap());

    let (expected, tolerance) = golden("cdnow.bgnbd_quantities");
    for weeks in ["1_week", "31.86_weeks", "78_weeks"] {
        let length: f64 = weeks.split('_').next().unwrap().parse().unwrap();
        within(model.expected_of_new(length), &expected[format!("expected_by_{weeks}")], tolerance);
    }
    let printed = BgNbd { r: 0.243, alpha: 4.414, a: 0.793, b: 2.426 };
    let customer = History { repeats: 2, last: 30.43, age: 38.86 };
    within(printed.expected(&customer, 39.0), &expected["expected_next_39_weeks_for_x2_tx30.43_T38.86"], tolerance);
    within(printed.alive(&customer), &expected["alive_x2_tx30.43_T38.86"], tolerance);
    let nobody_leaves = Nbd { r: printed.r, alpha: printed.alpha };
    within(nobody_leaves.nothing_of_new(39.0), &expected["probability_no_purchase_by_39_weeks"], tolerance);

    let (expected, tolerance) = golden("cdnow.gamma_gamma");
    let spent = |row: Vec<f64>| Spent { repeats: row[1] as u32, mean: row[4] };
    let spent: Vec<Spent> =
        rows(&folder.join("cdnow_customers_summary_with_transactions.csv")).into_iter().map(spent).collect();
    let (fitted, _) = GammaGamma::fit(&spent).unwrap();
    assert_eq!(Some(fitted.customers as u64), expected["customers"].as_u64());
    for (found, name) in [(fitted.model.p, "p"), (fitted.model.q, "q"), (fitted.model.v, "v")] {
        within(found, &expected[name], tolerance);
    }
    within(fitted.log_likelihood, &expected["log_likelihood"], tolerance);
}

#[test]
fn the_raw_log_gives_the_same_and_foretells_what_came() {
    let Some(folder) = elsewhere("cdnow") else { return };
    let (expected, tolerance) = golden("cdnow.raw_log");
    let project = made(&TOML.replace("DATA", folder.to_str().unwrap()), TAGS);
    let before = project.build(date(1997, 10, 1)).unwrap();
    let after = project.build(date(1998, 7, 1)).unwrap();
    let fit = |tag: &str| before.about.tags[before.tag(&format!("golden/{tag}")).unwrap()].fit.clone().unwrap();

    let found = fit("next");
    assert_eq!((Some(found.fitted_on), &found), (expected["customers"].as_u64(), &fit("alive")));
    for name in ["r", "alpha", "a", "b"] {
        within(found.parameters[name], &expected["bgnbd"][name], tolerance);
    }
    within(found.log_likelihood.unwrap(), &expected["bgnbd"]["log_likelihood"], 0.01);
    let (said, came) = foretold((&before, "next"), (&after, "later"));
    within(came.iter().sum(), &expected["actual_purchase_days"], 0.0);
    within(said.iter().sum(), &expected["bgnbd"]["forecast"], 0.5);
    within(mean_error(&said, &came), &expected["bgnbd"]["mae"], tolerance);
    within(auc_of(&said, &came), &expected["bgnbd"]["auc_expected"], tolerance);
    let (alive, came) = foretold((&before, "alive"), (&after, "later"));
    within(auc_of(&alive, &came), &expected["bgnbd"]["auc_alive"], tolerance);

    let found = fit("next_if_nobody_leaves");
    within(found.parameters["r"], &expected["nbd"]["r"], tolerance);
    within(found.parameters["alpha"], &expected["nbd"]["alpha"], 0.01);
    within(found.log_likelihood.unwrap(), &expected["nbd"]["log_likelihood"], 0.01);
    let (said, came) = foretold((&before, "next_if_nobody_leaves"), (&after, "later"));
    within(said.iter().sum(), &expected["nbd"]["forecast"], 0.5);
    within(mean_error(&said, &came), &expected["nbd"]["mae"], tolerance);
    within(auc_of(&said, &came), &expected["nbd"]["auc"], tolerance);

    let ((print, tolerance), found) = (golden("cdnow.gamma_gamma"), fit("worth"));
    assert_eq!(Some(found.fitted_on), print["customers"].as_u64());
    for name in ["p", "q", "v"] {
        within(found.parameters[name], &print[name], tolerance);
    }
    within(found.log_likelihood.unwrap(), &print["log_likelihood"], tolerance);
    let worth = numbers(&before, "worth");
    assert!(worth.iter().all(|worth| worth.is_some_and(|worth| worth > 0.0)));
}

//! `show model`: a trained run and a preset.
#![allow(clippy::unwrap_used)]

mod common;

use common::Shop;

fn show(name: &str) -> [&str; 3] {
    ["show", "model", name]
}

#[test]
fn a_run_says_what_it_was_made_from() {
    let said = Shop::trained().run(&show("runs/ials"));
    said.says(&[
        "ials, trained on corner-shop",
        "100 users, 120 items",
        "seed 42",
        "alpha0",
        "novel items: recall@10",
        "index: ",
    ]);
}

#[test]
fn a_run_as_json_is_its_manifest() {
    let shop = Shop::trained();
    let result = shop.run(&[&show("runs/ials")[..], &["--json"]].concat()).json();
    let text = std::fs::read_to_string(shop.path("runs/ials/bundle/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["model", "preset", "seed", "device", "data", "split", "protocol", "best_epoch", "metrics", "index"] {
        assert!(!manifest[key].is_null() && result["manifest"][key] == manifest[key], "{key}");
    }
    assert_eq!(result["dim"], result["manifest"]["preset"]["dim"]);
    assert_eq!((&result["users"], &result["items"]), (&100.into(), &120.into()));
}

#[test]
fn a_preset_says_when_to_use_it() {
    let text = preset("ials");
    let when = text.lines().find_map(|line| line.strip_prefix("when = ")).unwrap().trim_matches('"');
    Shop::new().run(&show("ials")).says(&["ials: ", when]);
}

/// The text of a preset as it lies in the repository.
fn preset(name: &str) -> String {
    let path = format!("{}/../../models/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn knobs_read_as_they_are_written_in_the_preset() {
    for name in ["ials", "two-tower", "ease", "bpr", "item-knn"] {
        let (text, said) = (preset(name), Shop::new().run(&show(name)).ok());
        let knobs: Vec<_> = text.lines().filter(|line| line.contains(" = ") && !line.starts_with("when")).collect();
        assert!(knobs.len() >= 2);
        knobs
            .iter()
            .for_each(|knob| assert!(said.out.lines().any(|line| line.trim() == *knob), "{knob} in {}", said.out));
    }
}

#[test]
fn a_preset_from_a_file_is_shown_too() {
    Shop::new().run(&show("slow.toml")).says(&["slow: A test interrupts it.", "dim = 160"]);
}

#[test]
fn a_preset_as_json_holds_every_knob() {
    let result = Shop::new().run(&["show", "model", "two-tower", "--json"]).json();
    for key in ["kind", "name", "when", "dim", "epochs", "patience", "towers", "batch", "lr", "tau", "logq"] {
        assert!(!result[key].is_null(), "{key}");
    }
}

#[test]
fn an_unknown_name_lists_those_there_are() {
    Shop::new()
        .run(&show("deepfm"))
        .hints(2, &["`deepfm`", "`ials`, `softmax-mf`, `two-tower`, `ease`, `bpr`, `item-knn`", "folder of a run"]);
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    Shop::new().run(&show(".")).hints(1, &["bundle` is not a bundle"]);
}

#[test]
fn quiet_leaves_stderr_empty() {
    assert_eq!(Shop::trained().run(&[&show("runs/ials")[..], &["--quiet"]].concat()).ok().err, "");
}

#[test]
fn every_verb_has_help() {
    let shop = Shop::new();
    for verb in ["ingest", "train", "evaluate", "index", "recommend", "similar", "show"] {
        shop.run(&[verb, "--help"]).says(&["Usage: lookalike", "--json"]);
    }
}

//! Models that have weights from item to item and no embeddings, through every verb.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GROUPS, Said, Shop, USERS, parquet_rows};

const MODELS: [&str; 2] = ["ease", "item-knn"];

/// A preset whose solution is found among few neighbours.
const SPARSE: &str = "kind = \"ease\"\nwhen = \"A test.\"\nreg = 20.0\nneighbours = 9\nkeep = 40\nmemory_gib = 0.0\n";

fn trained(model: &str) -> (Shop, Said) {
    let shop = Shop::new();
    shop.write("sparse.toml", SPARSE);
    let said = shop.run(&["train", "--model", model, "--run", "run"]).ok();
    (shop, said)
}

fn of_run(shop: &Shop, verb: &str, args: &[&str]) -> Said {
    shop.run(&[&[verb, "--run", "run"], args].concat())
}

fn group(id: &str) -> usize {
    id[1..].parse::<usize>().unwrap() % GROUPS
}

#[test]
fn planted_groups_are_found_without_embeddings_or_an_index() {
    for model in ["ease", "item-knn", "sparse.toml"] {
        let (shop, said) = trained(model);
        let name = model.trim_end_matches(".toml");
        assert!(said.out.contains("weights from item to item") && said.out.contains("index: none"), "{}", said.out);
        assert!(!shop.path("run/bundle/index.safetensors").exists());
        let result = of_run(&shop, "evaluate", &["--json"]).json();
        let models = result["models"].as_array().unwrap();
        let figure = |name: &str| {
            models.iter().find(|model| model["name"] == name).unwrap()["novel"]["recall@10"].as_f64().unwrap()
        };
        assert!(figure(name) > 1.5 * figure("popularity"), "{model}: {}", figure(name));
    }
}

#[test]
fn the_item_knn_model_is_the_item_knn_baseline() {
    let (shop, _) = trained("item-knn");
    let result = of_run(&shop, "evaluate", &["--json"]).json();
    let figures = |name: &str| {
        let models = result["models"].as_array().unwrap();
        let model = models.iter().find(|model| model["name"] == name).unwrap();
        ["recall@10", "ndcg@10", "coverage@10"].map(|figure| model["novel"][figure].as_f64().unwrap())
    };
    let apart = figures("item-knn").into_iter().zip(figures("item-kNN")).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f64::max) < 1e-9, "{:?} {:?}", figures("item-knn"), figures("item-kNN"));
}

#[test]
fn every_answer_comes_from_the_weights() {
    for model in MODELS {
        let (shop, _) = trained(model);
        let list = of_run(&shop, "recommend", &["--user", "u07", "--k", "5", "--json"]).json();
        let items: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap()).collect();
        assert!(items.iter().filter(|item| group(item) == 3).count() >= 3, "{items:?}");
        of_run(&shop, "recommend", &["--user", "u07", "--repeat"]).says(&["every item compared"]);
        of_run(&shop, "recommend", &["--all", "--out", "all.parquet", "--k", "5"]).ok();
        let rows = parquet_rows(&shop.path("all.parquet"));
        let own = rows.iter().filter(|row| row.starts_with("u07|")).map(|row| row.split('|').nth(2).unwrap());
        assert!(rows.len() == USERS * 5 && own.eq(items), "{model}");
    }
}

#[test]
fn similar_items_are_those_with_the_largest_weights() {
    for model in MODELS {
        let (shop, _) = trained(model);
        let result = of_run(&shop, "similar", &["--item", "i042", "--json"]).json();
        let hits = result["similar"].as_array().unwrap();
        let weights: Vec<_> = hits.iter().map(|hit| hit["weight"].as_f64().unwrap()).collect();
        assert!(weights.is_sorted_by(|a, b| a >= b) && weights.iter().all(|&weight| weight > 0.0));
        let same = hits.iter().filter(|hit| group(hit["item"].as_str().unwrap()) == 2).count();
        assert!(same >= 6 && hits.iter().all(|hit| hit["item"] != "i042"), "{model}: {result}");
        of_run(&shop, "similar", &["--item", "i042"]).says(&["items like Product 42 (i042)", "weight"]);
    }
}

#[test]
fn what_needs_embeddings_is_refused() {
    let (shop, _) = trained("ease");
    of_run(&shop, "index", &[]).fails(1, &["`ease` has weights from item to item, and no embeddings to index"]);
    of_run(&shop, "similar", &["--user", "u00"]).hints(1, &["`ease` knows items and no embeddings of users"]);
    shop.run(&["train", "--model", "ease", "--device", "gpu"]).hints(2, &["`ease` is solved on the CPU"]);
}

#[test]
fn the_run_says_what_it_holds() {
    let (shop, _) = trained("ease");
    shop.run(&["show", "model", "run"]).says(&["ease, trained on corner-shop", "weights from item to item", "reg = "]);
    let result = shop.run(&["show", "model", "run", "--json"]).json();
    assert!(result["dim"].is_null() && result["item_weights"].as_u64().unwrap() > 1000);
}

#[test]
fn one_run_leaves_the_bytes_of_another() {
    for model in ["ease", "item-knn", "sparse.toml"] {
        let [a, b] = [(); 2].map(|()| trained(model).0.files("run/bundle"));
        assert!(a.len() == 6 && a == b, "{model}");
    }
}

#[test]
fn more_than_fits_is_refused_before_it_begins() {
    let shop = Shop::new();
    let tight = |text: &str| shop.write("tight.toml", text.replace("memory_gib = 0.0", "memory_gib = 0.00001"));
    tight(SPARSE);
    let train = || shop.run(&["train", "--model", "tight.toml"]);
    train().hints(1, &["what 120 items have in common takes ", " bytes, and 10737 are available"]);
    tight(&SPARSE.replace("neighbours = 9", "neighbours = 0"));
    train().hints(1, &["the item × item matrix of 120 items takes ", "hint: set `neighbours`"]);
}

#[test]
fn knobs_that_make_no_sense_are_named() {
    let shop = Shop::new();
    for (change, said) in [
        (("reg = 20.0", "reg = 0.0"), "`reg` is 0, it must be a finite number above 0"),
        (("reg = 20.0", "reg = -1.0"), "`reg` is -1"),
        (("keep = 40", "keep = 0"), "`keep` is 0, it must be at least 1"),
        (("neighbours = 9", "neighbours = -9"), "integer `-9`"),
        (("memory_gib = 0.0", "memory_gib = inf"), "`memory_gib` is inf"),
        (("keep = 40", "keep = 40\nepochs = 3"), "unknown key `epochs`"),
    ] {
        shop.write("mine.toml", SPARSE.replace(change.0, change.1));
        shop.run(&["train", "--model", "mine.toml"]).fails(1, &["mine.toml", said]);
    }
}

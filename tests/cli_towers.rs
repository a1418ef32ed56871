//! Portraits and models: tags in towers, and what a model learned as tags of users.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Said, Shop};
use lookalike_bundle::{Bundle, Learned};

/// Tags of the shop: one that may enter a model, one that may not, one that everybody has alike.
const TAGS: &str = r#"
[age]
kind = "declared"
class = "sensitive"
[taste]
kind = "preference"
by = "category_1"
top = 2
[orders]
kind = "metric"
of = "count"
[always]
kind = "sql"
expression = "'yes'"
from = { n = "own/orders" }
[last_word]
kind = "first-last"
of = "last(item)"
"#;

/// The built-in preset, small, with some of its lines replaced.
fn preset(changes: &[(&str, &str)]) -> String {
    let path = format!("{}/../../models/two-tower.toml", env!("CARGO_MANIFEST_DIR"));
    let small = [("dim", "8"), ("epochs", "3"), ("batch", "64"), ("towers", "[16]"), ("history", "5")];
    let line = |line: &str| {
        let key = line.split(" =").next().unwrap_or_default();
        let new = changes.iter().chain(&small).find(|(changed, _)| *changed == key);
        new.map_or(line.to_owned(), |(key, value)| format!("{key} = {value}"))
    };
    std::fs::read_to_string(path).unwrap().lines().map(|text| line(text) + "\n").collect()
}

fn shop(tags: &str) -> Shop {
    let shop = Shop::new();
    std::fs::create_dir(shop.path("tags")).unwrap();
    shop.write("tags/own.toml", TAGS).write("towers.toml", preset(&[("tags", tags)]));
    shop
}

fn train(shop: &Shop) -> Said {
    shop.train(&["--model", "towers.toml", "--run", "runs/towers"])
}

fn learned(folder: &Path) -> (Vec<f32>, Vec<f32>) {
    match Bundle::read(&folder.join("bundle")).unwrap().learned {
        Learned::Embeddings { users, items } => (users.into_vec(), items.into_vec()),
        Learned::ItemWeights(_) => panic!("towers make embeddings"),
    }
}

#[test]
fn tags_enter_but_sensitive_ones_and_those_without_use() {
    let shop = shop(r#"["own/"]"#);
    let said = train(&shop).ok();
    said.says(&[
        "tags that enter",
        "left out, as they are sensitive: own/age",
        "all users have the same value: own/always",
    ]);
    // By its own name a sensitive tag enters, and so does the attribute that it reads.
    shop.write("towers.toml", preset(&[("tags", r#"["own/age"]"#)]));
    let said = train(&shop).ok();
    assert!(said.out.contains("1 tags that enter") && !said.out.contains("sensitive"), "{}", said.out);
}

#[test]
fn how_each_attribute_enters_is_said() {
    let shop = shop("[]");
    let toml = common::TOML
        .replace(r#"brand = "brand" }"#, "brand = \"brand\", price = \"price\", weight = \"weight\", sku = \"sku\", about = \"about\" }\nas = { weight = \"number\" }");
    // An item that is sold and stands in no table, one without anything but its title, and numbers that are none.
    let item = |n: usize| {
        let (weight, price) = match n {
            3 => ("inf".to_owned(), "1000000".to_owned()),
            4 => ("NaN".to_owned(), String::new()),
            n => ((n % 50).to_string(), format!("{}.5", 1 + n % 40)),
        };
        match n {
            1 => format!("i{n:03},Bare thing,,,,,,,\n"),
            n => format!(
                "i{n:03},Tea number {n},aisle {},sort {},brand {},{price},{weight},S{n},Story {n} of a fine tea\n",
                n % 4,
                n % 12,
                n % 7
            ),
        }
    };
    let shelf: String = (0..common::ITEMS).filter(|&n| n != 2).map(item).collect();
    shop.write("lookalike.toml", toml)
        .write("shelf.csv", "what,name,aisle,sort,brand,price,weight,sku,about\n".to_owned() + &shelf);
    shop.write("towers.toml", preset(&[("features", r#"["*", "title"]"#)]));
    let said = train(&shop).ok();
    for part in [
        "attributes of users left out, as a tag guards them: age; one enters if `features` names it",
        "brand (7)",
        "price (a number, in 10 parts; 1 far out, taken for the outermost tenth)",
        "weight (a number, in 10 parts; 1 far out, taken for the outermost tenth; 1 undefined, left out)",
        "about (a text, hashed into",
        "title (a text, hashed into",
        "attributes of items left out, as hardly two share a value: sku",
    ] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    let (users, items) = learned(&shop.path("runs/towers"));
    assert!(users.iter().chain(&items).all(|number| number.is_finite()));
    let list = shop.run(&["recommend", "--run", "runs/towers", "--user", "u02", "--json"]).json();
    assert_eq!(list["items"].as_array().unwrap().len(), 10);
    // Without its name the title is not read.
    shop.write("towers.toml", preset(&[]));
    assert!(!train(&shop).ok().out.contains("title ("));
    shop.write("towers.toml", preset(&[("features", r#"["colour"]"#)]));
    train(&shop).hints(1, &["`colour`", "no user or item has it"]);
}

#[test]
fn an_attribute_is_read_as_it_is_said_or_refused() {
    let refused = |read_as: &str, parts: &[&str]| {
        let shop = Shop::with(
            r#"map = { user = "who", age = "age" }"#,
            &format!("map = {{ user = \"who\", age = \"age\" }}\nas = {{ {read_as} }}"),
        );
        shop.run(&["ingest"]).hints(1, parts);
    };
    refused(r#"height = "number""#, &["lookalike.toml` line", "attribute `height`"]);
    refused(r#"age = "numbr""#, &["`numbr`"]);
}

#[test]
fn values_far_out_are_counted() {
    // One user who buys a hundred times as often as others.
    let shop = shop(r#"["own/orders"]"#);
    let many: String = (0..4000)
        .map(|n| format!("u00,i{:03},2024-02-{:02} 12:{:02}:00,9.99\n", n % 120, 1 + n % 28, n % 60))
        .collect();
    shop.write("lines.csv", common::lines() + &many);
    train(&shop).says(&["values far out, taken for the outermost tenth: own/orders ("]);
}

#[test]
fn a_tag_that_knows_the_future_knows_nothing_of_it() {
    // What is bought from June on, the test part, is another item for everybody: the last item says so.
    let before = shop(r#"["own/last_word", "own/orders"]"#);
    train(&before).ok();
    let after = shop(r#"["own/last_word", "own/orders"]"#);
    let later: String = (0..common::USERS).map(|user| format!("u{user:02},i000,2024-06-30 23:00:00,9.99\n")).collect();
    after.write("lines.csv", common::lines() + &later);
    train(&after).ok();
    assert_eq!(learned(&before.path("runs/towers")), learned(&after.path("runs/towers")));
    // The same tags do know it on a later day.
    let says = |shop: &Shop| shop.run(&["profile", "--json"]).json()["hash"].clone();
    assert_ne!(says(&before), says(&after));
}

#[test]
fn tags_that_are_not_there_and_splits_that_have_no_day() {
    let nowhere = shop(r#"["own/nowhere"]"#);
    train(&nowhere).hints(1, &["`own/nowhere`"]);
    let last = shop(r#"["own/orders"]"#);
    let toml = common::TOML
        .replace(r#"kind = "time", test_from = "2024-06-01", validation_days = 28"#, r#"kind = "leave-last""#);
    last.write("lookalike.toml", toml);
    train(&last).hints(1, &["not by time"]);
}

#[test]
fn what_a_model_learned_becomes_a_segment() {
    let shop = shop("[]");
    train(&shop).ok();
    shop.run(&["profile"]).ok();
    let fit = ["segment", "fit", "model/circle", "--run", "runs/towers", "--k", "4"];
    let said = shop.run(&fit).says(&["cluster 1, ", "these rules tell", "next: lookalike profile"]);
    // The planted groups, each called by what its users alone buy: four times as common as among all.
    assert_eq!((said.out.matches("25 users: ").count(), said.out.matches(" (400)").count()), (4, 4), "{}", said.out);
    let profile = shop.run(&["profile", "--json"]).json();
    let tag = profile["tags"].as_array().unwrap().iter().find(|tag| tag["name"] == "model/circle").unwrap().clone();
    assert_eq!((tag["kind"].as_str(), tag["users"].as_u64()), (Some("embedding"), Some(100)));
    shop.run(&["segment", "describe", "model/circle"]).says(&["own/taste"]);
    // The run learned from May; in April a profile leaves the tag out.
    let early = shop.run(&["profile", "--as-of", "2024-05-01", "--json"]).json();
    assert!(early["left_out"]["model/circle"].as_str().unwrap().contains("2024-06-01"), "{early}");
    // A model does not read what a model made.
    shop.write("towers.toml", preset(&[("tags", r#"["model/circle"]"#)]));
    train(&shop).hints(1, &["`model/circle`", "what a model learned"]);
    shop.write("towers.toml", preset(&[("tags", r#"["*"]"#)]));
    train(&shop).says(&["left out, as a model made them: model/circle"]);
    // Now the run has other vectors.
    shop.run(&["profile", "--anew"]).hints(1, &["model/circle", "other vectors"]);
}

#[test]
fn a_loop_through_a_run_breaks_the_levels() {
    let shop = shop(r#"["own/orders"]"#);
    train(&shop).ok();
    shop.run(&["profile"]).ok();
    shop.run(&["segment", "fit", "model/circle", "--run", "runs/towers", "--k", "4"]).ok();
    shop.run(&["profile"]).ok();
    let levels = |shop: &Shop| -> serde_json::Value {
        let said = shop.run(&["check", "tags", "--json"]);
        let checks: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "levels").unwrap().clone()
    };
    // Events, then a tag of them, then the run that reads it, then what the run learned.
    let said = shop.run(&["check", "tags"]);
    for part in ["level 1: ", "run runs/towers", "level 2: model/circle"] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    assert_eq!((levels(&shop)["ok"].as_bool(), levels(&shop)["figure"].as_f64()), (Some(true), Some(0.0)));
    // Now what the run reads is made from what it learned. No tag file tells of that.
    let round = TAGS.replace(
        "[orders]\nkind = \"metric\"\nof = \"count\"\n",
        "[orders]\nkind = \"rules\"\nfrom = { circle = \"model/circle\" }\notherwise = \"other\"\n[orders.values]\none = { when = \"circle = 'cluster 1'\" }\n",
    ).replace("from = { n = \"own/orders\" }", "from = { n = \"own/taste\" }");
    assert!(round != TAGS);
    shop.write("tags/own.toml", round);
    shop.run(&["profile"]).ok();
    let broken = levels(&shop);
    assert_eq!(broken["ok"], false);
    assert!(
        broken["note"].as_str().unwrap().contains("run runs/towers reads own/orders and is read by it"),
        "{broken}"
    );
    shop.run(&["check", "tags"]).fails(1, &["`levels`"]);
}

#[test]
fn how_near_users_are_to_items_is_a_tag() {
    let shop = shop("[]");
    train(&shop).ok();
    shop.run(&["profile"]).ok();
    let fit = ["segment", "fit", "model/aisle", "--run", "runs/towers", "--items", "category LIKE 'aisle 1%'"];
    shop.run(&fit).says(&["30 items", "next: lookalike profile"]);
    shop.run(&fit).hints(1, &["is there already"]);
    let profile = shop.run(&["profile", "--json"]).json();
    let tag = profile["tags"].as_array().unwrap().iter().find(|tag| tag["name"] == "model/aisle").unwrap().clone();
    assert_eq!((tag["kind"].as_str(), tag["users"].as_u64()), (Some("nearness"), Some(100)));
    // Those of the planted group are nearer than all others, and the mean of all is 0.
    let near: Vec<f64> = (0..common::USERS)
        .map(|user| {
            let said = shop.run(&["show", "user", &format!("u{user:02}"), "--json"]).json();
            let tag = said["tags"].as_array().unwrap().iter().find(|tag| tag["name"] == "model/aisle").unwrap().clone();
            tag["value"].as_f64().unwrap()
        })
        .collect();
    let (own, others): (Vec<_>, Vec<_>) = near.iter().enumerate().partition(|(user, _)| user % common::GROUPS == 1);
    let least = own.iter().map(|(_, near)| **near).fold(f64::INFINITY, f64::min);
    assert!(others.iter().all(|(_, near)| **near < least), "{near:?}");
    assert!(near.iter().sum::<f64>().abs() < 1e-9 && (near.iter().map(|n| n * n).sum::<f64>() - 100.0).abs() < 1e-6);
    // Before the run's last day it is left out; a model does not read it; other vectors are an error.
    let early = shop.run(&["profile", "--as-of", "2024-05-01", "--json"]).json();
    assert!(early["left_out"]["model/aisle"].as_str().unwrap().contains("2024-06-01"), "{early}");
    shop.write("towers.toml", preset(&[("tags", r#"["model/aisle"]"#)]));
    train(&shop).hints(1, &["`model/aisle`", "what a model learned"]);
    shop.write(
        "tags/own.toml",
        "[odd]\nkind = \"nearness\"\nrun = \"runs/towers\"\nvectors = \"0\"\nitems = \"true\"\n",
    );
    shop.run(&["profile"]).hints(1, &["own/odd", "other vectors"]);
    shop.run(&["segment", "fit", "other/none", "--run", "runs/towers", "--items", "brand = 'nowhere'"])
        .hints(1, &["brand = 'nowhere'"]);
}

#[test]
fn a_run_without_vectors_or_no_run_at_all() {
    let shop = shop("[]");
    shop.run(&["profile"]).ok();
    shop.run(&["segment", "fit", "model/circle", "--run", "runs/nothing"]).fails(1, &["runs/nothing"]);
    shop.train(&["--model", "ease", "--run", "runs/ease"]).ok();
    shop.run(&["segment", "fit", "model/circle", "--run", "runs/ease"]).hints(1, &["no vectors of users"]);
    shop.write(
        "tags/model.toml",
        "[circle]\nkind = \"embedding\"\nrun = \"runs/ease\"\nvectors = \"0\"\n[circle.values]\na = { centre = [1, 2] }\nb = { centre = [1] }\n",
    );
    shop.run(&["profile"]).fails(1, &["model.toml", "different lengths"]);
}

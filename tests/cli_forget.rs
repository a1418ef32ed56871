//! `forget`: what is said before anything is erased, what is erased, and what proves it.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Shop, cells};

#[test]
fn nothing_is_erased_without_yes() {
    let shop = Shop::trained();
    let before = shop.files(".");
    let said = shop.run(&["forget", "u07"]);
    assert!(said.out.contains("store/events.parquet: 40 rows name the person"), "{}", said.out);
    assert!(said.out.contains("runs/ials: was trained with the person"), "{}", said.out);
    assert!(said.out.contains("lines.csv: still holds the person in 40 lines"), "{}", said.out);
    said.hints(1, &["nothing was erased", "add `--yes`"]);
    assert!(before == shop.files("."));
}

#[test]
fn a_person_is_erased_and_does_not_come_back() {
    let shop = Shop::trained();
    assert!(cells(&shop.path("store"), "u07") > 40 && cells(&shop.path("runs"), "u07") > 0);
    let said = shop.run(&["forget", "u07", "--yes", "--json"]).json();
    assert_eq!((&said["erased"], &said["store"]["events.parquet"]), (&true.into(), &40.into()));
    assert_eq!(said["scan"]["people"], serde_json::json!({}));
    assert!(said["scan"]["cells"].as_u64().unwrap() > 10_000);
    let sources: Vec<_> =
        said["sources"].as_array().unwrap().iter().map(|source| source["file"].as_str().unwrap()).collect();
    assert_eq!(sources, ["lines.csv", "people.csv"]);
    // `people.csv` has a header and one line a person.
    assert_eq!(said["sources"][1]["lines"], serde_json::json!([9]));
    assert_eq!(cells(&shop.path("store"), "u07"), 0);
    assert!(!shop.path("runs/ials/bundle").exists());
    shop.run(&["recommend", "--run", "runs/ials", "--user", "u07"]).fails(1, &["bundle"]);
    shop.train(&["--epochs", "1", "--quiet"]).ok();
    assert_eq!(cells(&shop.path("store"), "u07") + cells(&shop.path("runs"), "u07"), 0);
    shop.run(&["recommend", "--run", "runs/ials", "--user", "u07"]).fails(1, &["user `u07` does not occur"]);
    // Once more: there is nothing left to do, and it says so.
    shop.run(&["forget", "u07", "--yes"]).says(&["0 name the person", "lines.csv: still holds the person"]);
}

#[test]
fn killed_after_the_list_was_written() {
    let (done, half) = (Shop::new(), Shop::new());
    for shop in [&done, &half] {
        shop.run(&["ingest"]).ok();
    }
    done.run(&["forget", "u07", "--yes"]).ok();
    half.write("forgotten.json", std::fs::read(done.path("forgotten.json")).unwrap());
    // The same command goes on where it was.
    half.run(&["forget", "u07", "--yes"]).says(&["erased: 41 rows of the store", "0 name the person"]);
    assert_eq!(cells(&half.path("store"), "u07"), 0);
    assert!(done.files("store")[Path::new("events.parquet")] == half.files("store")[Path::new("events.parquet")]);
}

#[test]
fn what_was_written_elsewhere_in_the_project_is_found() {
    let shop = Shop::trained();
    shop.run(&["recommend", "--run", "runs/ials", "--all", "--out", "everyone.parquet"]).ok();
    shop.run(&["forget", "u07", "--yes"]).hints(1, &["everyone.parquet", "still names the person"]);
    std::fs::remove_file(shop.path("everyone.parquet")).unwrap();
    shop.run(&["forget", "u07", "--yes"]).says(&["0 name the person"]);
}

#[test]
fn profiles_that_describe_the_person_go() {
    let shop = Shop::new();
    shop.run(&["ingest"]).ok();
    for (day, file) in [("2024-05-01", "events.parquet"), ("2024-06-01", "items.parquet")] {
        std::fs::create_dir_all(shop.path("profiles").join(day)).unwrap();
        std::fs::copy(shop.path("store").join(file), shop.path("profiles").join(day).join("long.parquet")).unwrap();
    }
    shop.run(&["forget", "u07", "--yes"]).says(&["profiles/2024-05-01: describes the person", "0 name the person"]);
    assert!(!shop.path("profiles/2024-05-01").exists() && shop.path("profiles/2024-06-01").exists());
}

#[test]
fn somebody_whom_nobody_knows() {
    let shop = Shop::new();
    shop.run(&["ingest"]).ok();
    shop.run(&["forget", "u7", "--yes"]).hints(1, &["nobody in project `corner-shop` is called `u7`"]);
    assert!(!shop.path("forgotten.json").exists());
}

#[test]
fn pairs_that_are_given_are_left_out_too() {
    let shop = Shop::new();
    let pairs: String = (0..60).map(|n| format!("u{},i{}\n", n % 12, n % 20)).collect();
    shop.write("train.csv", format!("user,item\n{pairs}")).write("test.csv", "user,item\nu1,i2\nu2,i3\nu3,i5\n");
    shop.write(
        "lookalike.toml",
        "[interactions]\nsplit = { kind = \"given\", train = \"train.csv\", test = \"test.csv\" }\n",
    );
    shop.train(&["--model", "item-knn", "--quiet"]).ok();
    assert_eq!(cells(&shop.path("runs"), "u3"), 1);
    let said = shop.run(&["forget", "u3", "--yes", "--json"]).json();
    assert_eq!(said["sources"].as_array().unwrap().len(), 2);
    shop.train(&["--model", "item-knn", "--quiet"]).ok();
    assert_eq!(cells(&shop.path("runs"), "u3"), 0);
}

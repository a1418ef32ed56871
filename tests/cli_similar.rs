//! `similar`: neighbours of an item and of a user.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GROUPS, Said, Shop, USERS};
use serde_json::Value;

fn similar(shop: &Shop, args: &[&str]) -> Said {
    shop.run(&[&["similar", "--run", "runs/ials"], args].concat())
}

/// The ids and cosines of the neighbours of `id`, an item or a user.
fn neighbours(shop: &Shop, noun: &str, id: &str) -> Vec<(String, f64)> {
    let result = similar(shop, &[&format!("--{noun}"), id, "--json"]).json();
    assert_eq!(result[noun], id);
    let hits = result["similar"].as_array().unwrap();
    hits.iter().map(|hit| (hit[noun].as_str().unwrap().to_owned(), hit["cosine"].as_f64().unwrap())).collect()
}

#[test]
fn neighbours_are_of_the_same_group_the_nearest_first() {
    let shop = Shop::trained();
    for (noun, id) in [("item", "i042"), ("item", "i119"), ("user", "u00"), ("user", "u33")] {
        let found = neighbours(&shop, noun, id);
        let group = |id: &str| id[1..].parse::<usize>().unwrap() % GROUPS;
        assert!(found.len() == 10 && found.iter().all(|(other, cosine)| other != id && cosine.abs() <= 1.0001));
        assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        assert!(found.iter().filter(|(other, _)| group(other) == group(id)).count() >= 6, "{noun} {id}: {found:?}");
    }
}

#[test]
fn people_read_titles() {
    similar(&Shop::trained(), &["--item", "i042"]).says(&["items like Product 42 (i042)", "1. Product ", "cosine"]);
}

#[test]
fn people_read_user_ids() {
    similar(&Shop::trained(), &["--user", "u00", "--k", "3"]).says(&["users like u00", "3. u"]);
}

#[test]
fn quiet_leaves_stderr_empty() {
    assert_eq!(similar(&Shop::trained(), &["--item", "i042", "--quiet"]).ok().err, "");
}

#[test]
fn an_unknown_item_is_named() {
    similar(&Shop::trained(), &["--item", "i999"]).hints(1, &["item `i999` does not occur", "items look like `i000`"]);
}

#[test]
fn an_unknown_user_is_named() {
    similar(&Shop::trained(), &["--user", "i000"]).hints(1, &["user `i000` does not occur"]);
}

#[test]
fn one_of_both_is_due() {
    let shop = Shop::new();
    similar(&shop, &[]).fails(2, &["--item"]);
    similar(&shop, &["--item", "i000", "--user", "u00"]).fails(2, &["--user"]);
}

#[test]
fn an_item_known_by_its_users_alone_is_like_items_of_their_group() {
    let shop = Shop::trained();
    let users: String = (0..USERS).filter(|user| user % GROUPS == 2).map(|user| format!("u{user:02}\n")).collect();
    shop.write("new.csv", format!("user\n{users}")).write("named.csv", "user,item\nu02,new\nu06,new\nnobody,new\n");
    let group = |hit: &Value| hit["item"].as_str().unwrap()[1..].parse::<usize>().unwrap() % GROUPS;
    let found = similar(&shop, &["--history", "new.csv", "--json"]).json();
    let hits = found["items"][0]["similar"].as_array().unwrap();
    assert!(hits.len() == 10 && hits.iter().filter(|hit| group(hit) == 2).count() >= 8, "{found}");
    similar(&shop, &["--history", "named.csv", "--k", "3"]).says(&[
        "items like new, from 2 users",
        "3. Product ",
        "left out: 1 events that name unknown users: `nobody`",
    ]);
}

#[test]
fn a_history_of_nobody_known_is_an_error() {
    let shop = Shop::trained();
    shop.write("new.csv", "user\nnobody\n");
    similar(&shop, &["--history", "new.csv"]).hints(1, &["`new.csv` names no user", "users look like `u00`"]);
    similar(&shop, &["--history", "new.csv", "--item", "i000"]).fails(2, &["--history"]);
}

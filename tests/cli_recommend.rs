//! `recommend`: lists for one user and for all of them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GROUPS, ITEMS, Said, Shop, USERS, parquet_rows};
use serde_json::Value;

fn recommend(shop: &Shop, args: &[&str]) -> Said {
    shop.run(&[&["recommend", "--run", "runs/ials"], args].concat())
}

fn items(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
}

/// What a user bought before the test part.
fn history(user: &str) -> Vec<String> {
    let lines = common::lines();
    let lines = lines.lines().map(|line| line.split(',').collect::<Vec<_>>());
    lines.filter(|line| line[0] == user && line[2] < "2024-05-31 22").map(|line| line[1].to_owned()).collect()
}

#[test]
fn lists_hold_new_items_mostly_of_the_users_own_group() {
    let shop = Shop::trained();
    recommend(&shop, &["--all", "--out", "all.parquet"]).ok();
    let rows = parquet_rows(&shop.path("all.parquet"));
    let group = |id: &str| id[1..].parse::<usize>().unwrap() % GROUPS;
    let pairs: Vec<_> =
        rows.iter().map(|row| (row.split('|').next().unwrap(), row.split('|').nth(2).unwrap())).collect();
    let own = pairs.iter().filter(|(user, item)| group(user) == group(item)).count();
    assert!(own * 2 > pairs.len(), "{own} of {}", pairs.len());
    let had: Vec<_> = ["u01", "u50", "u99"].map(|user| (user, history(user))).into();
    assert!(
        had.iter().all(|(user, had)| pairs.iter().all(|(u, item)| u != user || !had.contains(&(*item).to_owned())))
    );
}

#[test]
fn people_read_titles() {
    recommend(&Shop::trained(), &["--user", "u00"]).says(&["user u00: ", "1. Product ", "score", "through the index"]);
}

#[test]
fn k_is_how_many() {
    let shop = Shop::trained();
    for k in ["1", "7", "60"] {
        assert_eq!(items(&recommend(&shop, &["--user", "u00", "--k", k, "--json"]).json()).len().to_string(), k);
    }
}

#[test]
fn no_more_than_all_new_items_come_back() {
    let mut had = history("u00");
    had.sort();
    had.dedup();
    let list = items(&recommend(&Shop::trained(), &["--user", "u00", "--k", "10000", "--exact", "--json"]).json());
    assert!(list.len() <= ITEMS - had.len() && !list.iter().any(|item| had.contains(item)));
}

#[test]
fn the_index_agrees_with_exact_search() {
    let shop = Shop::trained();
    for user in ["u03", "u30", "u57"] {
        let [found, exact] = [&[][..], &["--exact"]]
            .map(|how| items(&recommend(&shop, &[&["--user", user, "--json"], how].concat()).json()));
        assert!(found.iter().filter(|item| exact.contains(item)).count() >= 9, "{found:?} {exact:?}");
    }
}

#[test]
fn repeats_come_back_when_asked_for() {
    let list = items(&recommend(&Shop::trained(), &["--user", "u00", "--repeat", "--json"]).json());
    assert!(list.len() == 10 && list.iter().any(|item| history("u00").contains(item)));
}

#[test]
fn all_users_go_to_a_parquet_file_that_agrees_with_one() {
    let shop = Shop::trained();
    recommend(&shop, &["--all", "--out", "all.parquet", "--k", "5"]).says(&["500 rows for 100 users"]);
    let rows = parquet_rows(&shop.path("all.parquet"));
    assert_eq!(rows.len(), USERS * 5);
    let list = recommend(&shop, &["--user", "u07", "--k", "5", "--exact", "--json"]).json();
    let own = rows.iter().filter(|row| row.starts_with("u07|")).map(|row| row.split('|').nth(2).unwrap().to_owned());
    assert_eq!(own.collect::<Vec<_>>(), items(&list));
}

#[test]
fn all_users_twice_give_the_same_bytes() {
    let shop = Shop::trained();
    let [a, b] = ["a.parquet", "b.parquet"].map(|out| {
        recommend(&shop, &["--all", "--out", out, "--repeat"]).ok();
        std::fs::read(shop.path(out)).unwrap()
    });
    assert!(a == b);
}

#[test]
fn quiet_leaves_stderr_empty_and_stdout_is_the_list() {
    let said = recommend(&Shop::trained(), &["--user", "u00", "--quiet", "--json"]).ok();
    assert!(said.err.is_empty() && said.out.starts_with('{') && said.out.ends_with("}\n"));
}

#[test]
fn an_unknown_user_is_named() {
    recommend(&Shop::trained(), &["--user", "u100"]).hints(1, &["user `u100` does not occur", "users look like `u00`"]);
}

#[test]
fn neither_one_nor_all_is_wrong_use() {
    let shop = Shop::new();
    for args in [&[][..], &["--all"], &["--user", "u00", "--all", "--out", "x"], &["--user", "u00", "--k", "0"]] {
        recommend(&shop, args).fails(2, &["--"]);
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() {
    let shop = Shop::trained();
    shop.write("all.parquet", "old");
    let args = ["recommend", "--run", "runs/ials", "--all", "--out", "all.parquet"];
    shop.run_with_small_files(1, &args).fails(1, &["`all.parquet` cannot be written", "File too large"]);
    assert_eq!(std::fs::read(shop.path("all.parquet")).unwrap(), b"old");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    recommend(&Shop::trained(), &["--all", "--out", "no/all.parquet"])
        .fails(1, &["`no/all.parquet` cannot be written"]);
}

#[test]
fn an_index_for_other_embeddings_is_refused() {
    let shop = Shop::trained();
    shop.damage("runs/ials/bundle/index.safetensors", |bytes| bytes.truncate(10));
    recommend(&shop, &["--user", "u00"]).hints(1, &["index.safetensors"]);
}

/// The history of a user under another name, as a file for `--history`.
fn as_file(user: &str, name: &str) -> String {
    "user,item\n".to_owned() + &history(user).iter().map(|item| format!("{name},{item}\n")).collect::<String>()
}

#[test]
fn someone_new_with_a_known_history_gets_nearly_the_known_list() {
    let shop = Shop::new();
    shop.train(&["--epochs", "8", "--quiet"]).ok();
    for user in ["u03", "u42", "u90"] {
        shop.write("new.csv", as_file(user, "someone"));
        let new = recommend(&shop, &["--history", "new.csv", "--exact", "--json"]).json();
        assert_eq!(new["users"][0]["user"], "someone");
        let known = items(&recommend(&shop, &["--user", user, "--exact", "--json"]).json());
        let new = items(&new["users"][0]);
        assert!(!new.iter().any(|item| history(user).contains(item)));
        assert!(new.iter().filter(|item| known.contains(item)).count() >= 8, "{new:?} {known:?}");
    }
}

#[test]
fn a_two_tower_takes_in_a_history_too() {
    let shop = Shop::new();
    shop.train(&["--model", "two-tower", "--epochs", "4", "--quiet"]).ok();
    shop.write("new.csv", as_file("u05", "someone"));
    let list = shop.run(&["recommend", "--run", "runs/two-tower", "--history", "new.csv", "--json"]).json();
    let group = |id: &String| id[1..].parse::<usize>().unwrap() % GROUPS;
    let own = items(&list["users"][0]).iter().filter(|item| group(item) == 5 % GROUPS).count();
    assert!(own >= 6, "{list}");
}

#[test]
fn without_a_user_column_all_lines_are_about_one() {
    let shop = Shop::trained();
    shop.write("new.jsonl", "{\"item\": \"i004\"}\n{\"item\": \"i008\", \"weight\": 3}\n");
    recommend(&shop, &["--history", "new.jsonl"]).says(&["user without a name: 2 items in the history", "1. Product "]);
    let list = recommend(&shop, &["--history", "new.jsonl", "--repeat", "--json"]).json();
    assert!(list["users"][0]["user"].is_null() && items(&list["users"][0]).contains(&"i008".to_owned()));
}

#[test]
fn what_a_file_says_of_a_known_user_is_added_to_what_was_known() {
    let shop = Shop::trained();
    let had = history("u00");
    let new = (0..ITEMS).map(|n| format!("i{n:03}")).find(|item| !had.contains(item)).unwrap();
    shop.write("more.csv", format!("user,item\nu00,{new}\n"));
    let list = recommend(&shop, &["--history", "more.csv", "--k", "200", "--exact", "--json"]).json();
    let list = items(&list["users"][0]);
    assert!(list.len() > 10 && !list.iter().any(|item| had.contains(item) || *item == new));
}

#[test]
fn unknown_items_are_named_counted_and_left_out() {
    let shop = Shop::trained();
    shop.write("new.csv", "user,item\na,i001\na,soap\na,soap\nb,rope\n");
    recommend(&shop, &["--history", "new.csv"]).says(&[
        "user a: 1 items in the history",
        "left out: 3 events that name unknown items: `rope`, `soap`",
        "left out: 1 users with no known item: `b`",
    ]);
    let left_out = &recommend(&shop, &["--history", "new.csv", "--json"]).json()["left_out"];
    assert_eq!(*left_out, serde_json::json!({ "unknown": { "rope": 1, "soap": 2 }, "nothing_known": ["b"] }));
}

#[test]
fn histories_that_cannot_be_used() {
    let shop = Shop::trained();
    let told = |name: &str, text: &str, error: &str| {
        shop.write(name, text);
        recommend(&shop, &["--history", name]).fails(1, &[name, error]);
    };
    told("a.csv", "user,item\na,soap\n", "names no item that this run was trained on");
    told("b.csv", "user,product\na,soap\n", "has no column `item`");
    told("c.csv", "", "is empty");
    told("d.csv", "user,item,weight\na,i001,-2\n", "line 2: `weight` is not above 0");
    told("e.txt", "item\ni001\n", "extension");
    told("f.parquet", "PAR1", "not a whole Parquet file");
    recommend(&shop, &["--history", "absent.csv"]).fails(1, &["absent.csv"]);
    shop.write("g.csv", "item,weight\ni001,1e300\n");
    recommend(&shop, &["--history", "g.csv"]).fails(1, &["user without a name", "do not make a vector"]);
    recommend(&shop, &["--history", "a.csv", "--user", "u00"]).fails(2, &["--history"]);
}

#[test]
fn a_condition_keeps_to_the_items_for_which_it_is_true() {
    let shop = Shop::trained();
    let aisle = |item: &String| item[1..].parse::<usize>().unwrap() % GROUPS;
    for more in [&[][..], &["--exact"], &["--repeat"]] {
        let said = recommend(
            &shop,
            &[&["--user", "u00", "--where", "brand = 'brand 3'", "--k", "60", "--json"], more].concat(),
        );
        let found = items(&said.json());
        assert!(!found.is_empty() && found.iter().all(|item| item[1..].parse::<usize>().unwrap() % 7 == 3), "{more:?}");
    }
    let said = recommend(&shop, &["--user", "u00", "--where", "category LIKE 'aisle 2 > sort%'", "--json"]);
    let found = items(&said.json());
    assert!(!found.is_empty() && found.iter().all(|item| aisle(item) == 2));
    recommend(&shop, &["--all", "--out", "some.parquet", "--where", "brand = 'brand 3'"]).says(&["items fit"]);
    let rows = parquet_rows(&shop.path("some.parquet"));
    assert!(
        rows.len() > USERS
            && rows.iter().all(|row| row.split('|').nth(2).unwrap()[1..].parse::<usize>().unwrap() % 7 == 3)
    );
}

#[test]
fn a_bad_condition_is_named_with_the_columns_there_are() {
    let shop = Shop::trained();
    recommend(&shop, &["--user", "u00", "--where", "colour = 'red'"]).fails(1, &["colour = 'red'", "brand"]);
    recommend(&shop, &["--user", "u00", "--where", "brand ="]).fails(1, &["`brand =`", "hint"]);
    recommend(&shop, &["--user", "u00", "--where", "brand = 'none'"]).fails(1, &["no item", "hint"]);
}

#[test]
fn a_run_for_all_goes_on_with_what_one_that_failed_left_if_it_is_of_the_same() {
    let shop = Shop::trained();
    let all = |k: &str| recommend(&shop, &["--all", "--out", "all.parquet", "--exact", "--json", "--k", k]);
    all("5").ok();
    let (out, parts) = (shop.path("all.parquet"), shop.path("all.parquet.parts"));
    let whole = std::fs::read(&out).unwrap();
    assert!(!parts.exists());
    // A folder in the place of the result: the parts are made, and joining them fails.
    let interrupt = || {
        std::fs::remove_file(&out).unwrap();
        std::fs::create_dir_all(out.join("in the way")).unwrap();
        all("5").fails(1, &["all.parquet"]);
        std::fs::remove_dir_all(&out).unwrap();
        assert!(parts.exists());
    };
    interrupt();
    assert_eq!(all("5").json()["kept_users"], USERS);
    assert!(std::fs::read(&out).unwrap() == whole && !parts.exists());
    interrupt();
    assert_eq!(all("4").json()["kept_users"], 0);
    assert!(std::fs::read(&out).unwrap() != whole && !parts.exists());
}

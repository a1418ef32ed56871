//! Users without a history: who they are, who answers for them, and what that is worth.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GROUPS, Said, Shop, TOML, parquet_rows};
use lookalike_bundle::{Bundle, Learned};
use serde_json::{Value, json};

/// Cold users with friends in the group that their number is of.
const COLD: usize = 8;

const EDGES: &str = r#"
[sources.circle]
path = "circle.csv"
table = "edges"
kind = "friend"
at = { column = "since", stored_as = "UTC" }
map = { from = "one", to = "other" }

[sources.sent]
path = "sent.csv"
table = "edges"
kind = "targeted"
map = { from = "campaign", to = "who" }

[interactions]
"#;

/// The shop with people who bought nothing before June: `c0` … have friends who did, `late` has one since June alone,
/// `lone` has none, of `alike` no more is known than an age, and `edge` stands at the end of a friendship and nowhere else. `guest` is known by June alone.
fn shop() -> Shop {
    let shop = Shop::new();
    shop.write("lookalike.toml", TOML.replacen("[interactions]\n", EDGES.trim_start(), 1));
    let mut people = std::fs::read_to_string(shop.path("people.csv")).unwrap();
    let (mut circle, mut june) = ("one,other,since\n".to_owned(), String::new());
    for n in 0..COLD {
        people += &format!("c{n},young\n");
        for nth in 0..5 {
            circle += &format!("c{n},u{:02},2023-05-01 10:00:00\n", n % GROUPS + nth * GROUPS);
        }
        for nth in 0..6 {
            june += &format!("c{n},i{:03},2024-06-20 10:00:00,5.00\n", n % GROUPS + nth * 2 * GROUPS);
        }
    }
    people += "lone,\nlate,\nalike,old\n";
    circle += "u01,late,2024-06-02 10:00:00\nedge,u02,\n";
    for who in ["lone", "late", "guest"] {
        june += &format!("{who},i003,2024-06-21 10:00:00,5.00\n");
    }
    shop.write("people.csv", people).write("circle.csv", circle).write("lines.csv", common::lines() + &june);
    shop.write("sent.csv", "campaign,who\nspring,u03\nspring,lone\n");
    shop
}

fn trained(shop: Shop) -> Shop {
    shop.train(&["--epochs", "4", "--quiet"]).ok();
    shop
}

fn recommend(shop: &Shop, args: &[&str]) -> Said {
    shop.run(&[&["recommend", "--run", "runs/ials"], args].concat())
}

fn own(list: &Value, group: usize) -> usize {
    let items = list["items"].as_array().unwrap().iter();
    items.filter(|item| item["item"].as_str().unwrap()[1..].parse::<usize>().unwrap() % GROUPS == group).count()
}

#[test]
fn figures_of_the_others_stay_and_cold_users_have_their_own() {
    let train = ["--epochs", "4", "--json", "--quiet"];
    let (with, without) = (shop(), Shop::new());
    let (with, without) = (with.train(&train).json(), without.train(&train).json());
    assert_eq!((&with["index"], &with["best_epoch"]), (&without["index"], &without["best_epoch"]));
    let (with, without) = (&with["metrics"], &without["metrics"]);
    assert_eq!(with["users"], without["users"]);
    assert!(without["cold"].is_null());
    let mut models = with["models"].as_array().unwrap().clone();
    let names: Vec<_> = models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["ials", "item-kNN", "personal frequency", "popularity", "friends", "random"]);
    for model in &mut models {
        let cold = model["buckets"].as_array_mut().unwrap().remove(0);
        assert_eq!((&cold["name"], &cold["users"]), (&json!("cold"), &json!(COLD + 2)));
    }
    models.remove(4);
    assert_eq!(json!(models), without["models"]);

    let cold = &with["cold"];
    assert_eq!((&cold["users"], &cold["held_out_pairs"]), (&json!(COLD + 2), &json!(COLD * 6 + 2)));
    let links = cold["links"].as_array().unwrap();
    let counts = |key: &str| links.iter().map(|link| link[key].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(counts("answers"), [0, COLD as u64, COLD as u64, COLD as u64 + 2]);
    assert_eq!(counts("answers_in_chain"), [0, COLD as u64, 0, 2]);
    let figure = |of: &Value| of["ndcg@10"].as_f64().unwrap();
    assert_eq!(figure(&links[0]), 0.0);
    assert!(figure(&links[1]) > 2.0 * figure(&links[3]) && figure(&cold["chain"]) >= figure(&links[1]), "{cold:#}");
    // The chain's lists are those of a baseline that was written apart.
    let friends = with["models"][4]["buckets"][0].clone();
    assert_eq!(friends["precision@10"], cold["chain"]["precision@10"]);
}

#[test]
fn each_user_is_answered_by_the_first_link_that_knows_them() {
    let shop = trained(shop());
    for (user, by) in [
        ("u00", "model"),
        ("c1", "friends"),
        ("edge", "friends"),
        ("alike", "segment"),
        ("lone", "popular"),
        ("late", "popular"),
    ] {
        for how in [&["--json"][..], &["--json", "--exact"], &["--json", "--repeat"]] {
            let list = recommend(&shop, &[&["--user", user], how].concat()).json();
            assert_eq!((&list["by"], list["items"].as_array().unwrap().len()), (&json!(by), 10), "{user} {how:?}");
        }
    }
    let list = recommend(&shop, &["--user", "c1", "--json"]).json();
    assert!(own(&list, 1) >= 9, "{list:#}");
    let list = recommend(&shop, &["--user", "c1", "--json", "--where", "brand = 'brand 3'"]).json();
    let brand = |item: &Value| item["item"].as_str().unwrap()[1..].parse::<usize>().unwrap() % 7;
    assert!(list["items"].as_array().unwrap().iter().all(|item| brand(item) == 3));
    recommend(&shop, &["--user", "c1"]).says(&["user c1: 0 items in the history; answered by what friends had"]);
    recommend(&shop, &["--user", "alike"]).says(&["answered by what users of the same attributes had"]);
    recommend(&shop, &["--user", "lone"]).says(&["answered by what is popular"]);
    recommend(&shop, &["--user", "u00"]).says(&["answered by the model, found through the index"]);
    shop.run(&["similar", "--run", "runs/ials", "--user", "c1"]).hints(1, &["knows nothing of user `c1`"]);
    // Whoever nothing is known of is no user, and neither is what addressed users.
    for nobody in ["guest", "spring"] {
        recommend(&shop, &["--user", nobody]).hints(1, &[nobody, "does not occur"]);
    }
}

#[test]
fn all_lists_say_who_answered() {
    let shop = trained(shop());
    let said = recommend(&shop, &["--all", "--out", "all.parquet", "--json"]).json();
    assert_eq!(said["by"], json!({ "blend": 0, "model": 100, "friends": COLD + 1, "segment": 1, "popular": 2 }));
    recommend(&shop, &["--all", "--out", "all.parquet"])
        .says(&["answered by: friends 9, model 100, popular 2, segment 1"]);
    let rows = parquet_rows(&shop.path("all.parquet"));
    let by = |user: &str| {
        let mine = rows.iter().filter(|row| row.split('|').next() == Some(user));
        mine.map(|row| row.split('|').next_back().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((by("u00"), by("c7"), by("lone")), (vec!["model"; 10], vec!["friends"; 10], vec!["popular"; 10]));
    assert_eq!(by("alike"), ["segment"; 10]);
    assert_eq!(rows.len(), (100 + COLD + 4) * 10);
}

#[test]
fn weights_from_item_to_item_know_nobody_without_a_history() {
    let shop = shop();
    shop.train(&["--model", "ease", "--quiet"]).says(&["model, else friends, else segment, else popular"]);
    let list = shop.run(&["recommend", "--run", "runs/ease", "--user", "c2", "--json"]).json();
    assert!(list["by"] == "friends" && own(&list, 2) >= 9);
}

#[test]
fn segments_are_made_of_nothing_sensitive_unless_it_was_asked_for() {
    let shop = shop();
    std::fs::create_dir(shop.path("tags")).unwrap();
    shop.write("tags/own.toml", "[age]\nkind = \"declared\"\nclass = \"sensitive\"\n");
    let shop = trained(shop);
    let file = |run: &str| shop.path(&format!("runs/{run}/bundle/segments.safetensors")).exists();
    assert!(!file("ials"));
    let list = recommend(&shop, &["--user", "alike", "--json"]).json();
    assert_eq!(list["by"], "popular");
    let path = format!("{}/../../models/two-tower.toml", env!("CARGO_MANIFEST_DIR"));
    let towers = std::fs::read_to_string(path).unwrap().replace("dim = 64", "dim = 8").replace("dim = 128", "dim = 8");
    for (name, features, has) in [("all", r#"["*"]"#, false), ("named", r#"["age"]"#, true)] {
        shop.write("towers.toml", towers.replace(r#"features = ["*"]"#, &format!("features = {features}")));
        shop.train(&["--model", "towers.toml", "--run", &format!("runs/{name}"), "--quiet"]).ok();
        assert_eq!(file(name), has, "{name}");
    }
}

#[test]
fn a_user_who_is_new_to_a_run_is_answered_by_what_is_declared() {
    let shop = trained(shop());
    let people = std::fs::read_to_string(shop.path("people.csv")).unwrap() + "fresh,old\nnobody,\n";
    let lines = std::fs::read_to_string(shop.path("lines.csv")).unwrap();
    let june = ["fresh", "nobody"].map(|who| format!("{who},i003,2024-06-21 10:00:00,5.00\n")).concat();
    shop.write("people.csv", people).write("lines.csv", lines + &june);
    let result = shop.run(&["evaluate", "--run", "runs/ials", "--json"]).json();
    let answers = |nth: usize| result["cold"]["links"][nth]["answers_in_chain"].as_u64().unwrap();
    assert_eq!((0..4).map(answers).collect::<Vec<_>>(), [0, COLD as u64, 1, 3]);
}

#[test]
fn a_vector_that_no_step_touched_is_none() {
    let shop = shop();
    shop.train(&["--model", "softmax-mf", "--epochs", "2", "--quiet"]).ok();
    let Learned::Embeddings { users, .. } = Bundle::read(&shop.path("runs/softmax-mf/bundle")).unwrap().learned else {
        panic!("a factorization has embeddings")
    };
    let zeros = (0..users.rows()).filter(|&row| users.row(row).iter().all(|&number| number == 0.0));
    assert!(zeros.eq(100..users.rows()) && users.rows() == 100 + COLD + 4);
}

#[test]
fn towers_know_users_by_what_they_are() {
    let shop = shop();
    let path = format!("{}/../../scripts/lastfm/friends.toml", env!("CARGO_MANIFEST_DIR"));
    let by_friends = std::fs::read_to_string(path).unwrap();
    let by_attributes =
        by_friends.replace("friends = true", "friends = false").replace("features = []", "features = [\"*\"]");
    assert!(by_attributes != by_friends);
    shop.write("towers.toml", by_attributes);
    shop.train(&["--model", "towers.toml", "--run", "runs/towers", "--quiet"]).ok();
    let by = |run: &str, user: &str| {
        let list = shop.run(&["recommend", "--run", run, "--user", user, "--json"]).json();
        (list["by"].clone(), list["items"].as_array().unwrap().len())
    };
    assert_eq!(by("runs/towers", "c1"), (json!("model"), 10));
    // Of this one no value is known.
    assert_eq!(by("runs/towers", "edge"), (json!("friends"), 10));
    let result = shop.run(&["evaluate", "--run", "runs/towers", "--json"]).json();
    assert_eq!(result["cold"]["links"][0]["answers_in_chain"], json!(COLD));
    // Towers that add to a factorization say nothing where it says nothing.
    shop.train(&["--model", "two-tower", "--epochs", "2", "--quiet"]).ok();
    assert_eq!(by("runs/two-tower", "c1"), (json!("friends"), 10));
}

#[test]
fn people_read_a_table_by_activity_and_one_by_link() {
    let shop = trained(shop());
    shop.run(&["evaluate", "--run", "runs/ials"]).says(&[
        "items had",
        "cold          10  ials",
        "more ",
        "users without a history, of whom something else is known: 10 with 50 held-out pairs",
        "model, else friends, else segment, else popular",
    ]);
}

#[test]
fn a_split_given_by_files_has_cold_users_from_its_sources() {
    let shop = shop();
    let (mut train, mut test) = ("user,item\n".to_owned(), "user,item\n".to_owned());
    for line in common::lines().lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        train += &format!("{},{}\n", fields[0], fields[1]);
    }
    for n in 0..COLD {
        test += &format!("c{n},i{:03}\n", n % GROUPS);
    }
    let toml = TOML.replacen("[interactions]\n", EDGES.trim_start(), 1);
    let split = r#"split = { kind = "time", test_from = "2024-06-01", validation_days = 28 }"#;
    assert!(toml.contains(split));
    let toml = toml.replace(split, r#"split = { kind = "given", train = "train.csv", test = "test.csv" }"#);
    shop.write("lookalike.toml", toml).write("train.csv", train).write("test.csv", test);
    let said =
        shop.train(&["--epochs", "4"]).says(&["nothing is held out of users with a history", "cold           8"]);
    assert!(said.out.contains("100 users, ") && said.out.contains("12 more users have no history"), "{}", said.out);
}

/// A shop in which everybody buys by chance what is popular, a few items each: a model has nothing to find.
fn by_chance() -> Shop {
    let shop = Shop::new();
    let mut state = 7u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut lines = "who,what,at,paid\n".to_owned();
    for user in 0..400 {
        for month in [1, 2, 3, 5, 5, 6, 6] {
            // The product of three chances: the first items are by far the most common.
            let item = below(120) * below(120) * below(120) / (120 * 120);
            lines += &format!("u{user:03},i{item:03},2024-{month:02}-{:02} 10:00:00,1\n", 1 + below(28));
        }
    }
    // Without a day of the split there is no ranker, which would answer in the place of a blend.
    let split = r#"split = { kind = "time", test_from = "2024-06-01", validation_days = 28 }"#;
    assert!(TOML.contains(split));
    shop.write("lookalike.toml", TOML.replace(split, r#"split = { kind = "leave-last" }"#));
    shop.write("lines.csv", lines);
    shop
}

#[test]
fn users_with_few_items_get_a_blend_where_it_helps() {
    let shop = by_chance();
    let said = shop.train(&["--epochs", "4", "--json"]).json();
    let few = &said["metrics"]["few"];
    assert!([1.0, 2.0, 5.0, 10.0, 20.0].contains(&few["k"].as_f64().unwrap()), "{few}");
    let figure = |of: &str| few[of][0]["ndcg@10"].as_f64().unwrap();
    assert!(figure("blend") > figure("model") && few["blend"][0]["name"] == "1-5", "{few:#}");
    // The figures of the model are its own, whether or not there is a blend beside them.
    assert_eq!(few["model"][0]["ndcg@10"], said["metrics"]["models"][0]["buckets"][0]["ndcg@10"]);
    assert_eq!(shop.run(&["evaluate", "--run", "runs/ials", "--json"]).json()["few"], *few);
    shop.run(&["evaluate", "--run", "runs/ials"]).says(&["new items for users with 1 to 20 items: the model alone"]);
    for how in [&[][..], &["--exact"], &["--repeat"]] {
        let list = recommend(&shop, &[&["--user", "u000", "--json"], how].concat()).json();
        assert_eq!((&list["by"], list["items"].as_array().unwrap().len()), (&json!("blend"), 10));
    }
    recommend(&shop, &["--user", "u000"]).says(&["blended with what users like this one had"]);
    let all = recommend(&shop, &["--all", "--out", "all.parquet", "--json"]).json();
    assert_eq!((&all["by"]["blend"], &all["by"]["model"]), (&json!(400), &json!(0)));
    // Where tastes are there to be found, nothing is blended.
    let shop = trained(Shop::new());
    let manifest = std::fs::read_to_string(shop.path("runs/ials/bundle/manifest.json")).unwrap();
    assert!(!manifest.contains("\"few\""));
}

//! `profile`, `show user` and its like, `segment` and `check tags`: portraits through the binary.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Shop, cells, parquet_rows};

/// A shop with a profile of two days.
fn profiled() -> Shop {
    let shop = Shop::new();
    shop.run(&["profile", "--as-of", "2024-05-01", "--quiet"]).ok();
    shop.run(&["profile", "--quiet"]).ok();
    shop
}

#[test]
fn a_profile_is_of_a_day_and_repeats() {
    let shop = Shop::new();
    let said = shop.run(&["profile", "--as-of", "2024-05-01", "--json"]).json();
    assert_eq!((&said["as_of"], &said["users"], &said["kept"]), (&"2024-05-01".into(), &100.into(), &0.into()));
    let tags = said["tags"].as_array().unwrap();
    assert!(tags.len() > 60 && tags.iter().all(|tag| tag["version"].as_str().unwrap().len() == 16));
    let first = shop.files("profiles");
    assert_eq!(first.len(), 3);
    let again = shop.run(&["profile", "--as-of", "2024-05-01", "--json"]).json();
    assert_eq!((&again["hash"], &again["kept"]), (&said["hash"], &tags.len().into()));
    let anew = shop.run(&["profile", "--as-of", "2024-05-01", "--anew", "--json"]).json();
    assert_eq!((&anew["hash"], &anew["kept"]), (&said["hash"], &0.into()));
    assert!(first == shop.files("profiles"));
    // Nothing is seen of what came later: no user has an order of May.
    let orders = |day: &str| -> u32 {
        let rows = parquet_rows(&shop.path(&format!("profiles/{day}/long.parquet")));
        let rows = rows.iter().filter(|row| {
            row.starts_with("consumption/activity/items|") || row.starts_with("consumption/activity/orders|")
        });
        rows.map(|row| row.split('|').nth(4).unwrap().parse::<f64>().unwrap() as u32).sum()
    };
    shop.run(&["profile", "--as-of", "2024-07-01", "--quiet"]).ok();
    assert!(orders("2024-05-01") < orders("2024-07-01"));
}

#[test]
fn a_portrait_fits_on_a_screen_and_is_explained() {
    let shop = profiled();
    let said = shop.run(&["show", "user", "u07"]).says(&[
        "user u07",
        "who ",
        "what ",
        "prefers ",
        "when ",
        "stage ",
        "reliable ",
    ]);
    assert!(said.out.lines().count() < 40, "{}", said.out);
    shop.run(&["show", "user", "u07", "--lang", "zh"]).says(&["累计消费额"]);
    shop.run(&["show", "user", "u07", "--why", "consumption/value/spend"]).says(&[
        "u07, Spend:",
        "sum",
        "version ",
        "catalogue:consumption/value.toml",
        "the last 8 of 40 events:",
        "kind purchase",
    ]);
    let why = shop.run(&["show", "user", "u07", "--why", "consumption/value/tier", "--json"]).json();
    assert_eq!(why["parents"][0]["name"], "consumption/value/spend");
    assert!(why["confidence"].as_f64().unwrap() > 0.8);
    let held = |grounds: &serde_json::Value| -> Vec<serde_json::Value> {
        grounds.as_array().unwrap().iter().filter(|ground| ground["holds"] == true).cloned().collect()
    };
    let grounds = held(&why["grounds"]);
    assert_eq!((grounds.len(), &grounds[0]["value"]), (1, &why["value"]));
    let compared = &grounds[0]["comparisons"][0];
    let (own, at) = (compared["threshold"]["own"].as_f64().unwrap(), compared["threshold"]["at"].as_f64().unwrap());
    assert_eq!(compared["threshold"]["tag"], "consumption/value/spend");
    // The figure at which the value changes is one of a user, and on its right side.
    assert_eq!(own >= at, compared["text"].as_str().unwrap().contains('>'), "{compared}");
    shop.run(&["show", "user", "u07", "--why", "consumption/value/tier"]).says(&[
        "because spend_pct",
        "that is consumption/value/spend from",
        "and here",
    ]);
    let scores = shop.run(&["show", "user", "u07", "--why", "consumption/stage/rfm"]);
    scores.says(&["because consumption/activity/recency is", "score", "because consumption/value/spend is"]);
    shop.run(&["show", "user", "nobody"]).hints(1, &["no user `nobody`"]);
    shop.run(&["show", "tag", "spend"]).hints(1, &["no tag `spend`", "consumption/value/spend"]);
    shop.run(&["show", "tag", "consumption/value/spend"]).says(&["quantiles:", "100 users have a value (100.0 %)"]);
    shop.run(&["show", "segment", "consumption/value/tier"]).says(&["high", "middle", "low", "early access"]);
    shop.run(&["show", "segment", "consumption/value/spend"]).hints(1, &["is no segment"]);
    shop.run(&["show", "tags"]).says(&["consumption/stage/lifecycle"]);
}

#[test]
fn without_a_profile_it_is_said_what_to_do() {
    let shop = Shop::new();
    for args in
        [&["show", "user", "u07"][..], &["check", "tags"], &["profile", "validate"], &["segment", "describe", "x"]]
    {
        shop.run(args).hints(1, &["there is no profile"]);
    }
    shop.run(&["profile", "diff", "2024-01-01", "2024-02-01"]).hints(1, &["no profile in", "2024-01-01"]);
    shop.run(&["profile", "--as-of", "1999-01-01"]).hints(1, &["no event before 1999-01-01"]);
    shop.run(&["profile", "--as-of", "soon"]).fails(2, &["soon"]);
}

/// The days there are profiles of, as text, the earliest first.
fn days(shop: &Shop) -> Vec<String> {
    let folders = std::fs::read_dir(shop.path("profiles")).unwrap();
    let mut days: Vec<String> = folders.map(|day| day.unwrap().file_name().into_string().unwrap()).collect();
    days.sort();
    days
}

#[test]
fn who_moved_is_told_but_not_of_a_few() {
    let shop = profiled();
    let days = days(&shop);
    let said = shop.run(&["profile", "diff", &days[0], &days[1], "--json"]).json();
    assert_eq!((&said["stayed"], &said["came"], &said["went"]), (&100.into(), &0.into(), &0.into()));
    let cells = said["flows"].as_array().unwrap().iter().flat_map(|flow| flow["counts"].as_array().unwrap());
    let cells: Vec<_> = cells.flat_map(|row| row.as_array().unwrap().iter().filter_map(|cell| cell.as_u64())).collect();
    assert!(cells.iter().all(|cell| *cell == 0 || *cell >= 5), "{cells:?}");
    shop.run(&["profile", "diff", &days[0], &days[1]]).says(&["users changed", "PSI", "from (row) to (column)"]);
}

#[test]
fn tags_are_held_against_what_came_after() {
    let shop = profiled();
    let said = shop.run(&["profile", "validate", "--as-of", "2024-05-01", "--until", "2024-06-15", "--json"]).json();
    let tag = |name: &str| {
        let tags = said["tags"].as_array().unwrap();
        tags.iter().find(|tag| tag["tag"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
    };
    // Nine in ten purchases of a user are of one group, and a group has its own aisle.
    let preference = tag("consumption/preference/department");
    let (figure, chance) =
        (preference["hindsight"]["figure"].as_f64().unwrap(), preference["hindsight"]["chance"].as_f64().unwrap());
    assert!(figure > chance, "{preference}");
    shop.run(&["profile", "validate", "--as-of", "2024-05-01", "--until", "2024-04-01"]).fails(2, &["is not after"]);
}

#[test]
fn models_are_shown_with_their_fit_and_what_users_said_is_told_from_what_they_do() {
    let shop = profiled();
    shop.run(&["show", "tag", "consumption/future/due"]).says(&["fitted on ", "pairs of a user", "mean error blend"]);
    let said = shop.run(&["show", "tag", "consumption/future/due", "--json"]).json();
    let errors = &said["fit"]["figures"];
    assert!(said["fit"]["fitted_on"].as_u64().unwrap() > 100, "{said}");
    assert!(errors["mean_error_blend"].as_f64().unwrap() < errors["mean_error_own"].as_f64().unwrap(), "{errors}");
    // Everybody of this shop buys equally often: that is no model of who leaves, and is said.
    let said = shop.run(&["profile", "--json"]).json();
    let reason = said["left_out"]["consumption/future/alive"].as_str().unwrap().to_owned();
    assert!(reason.contains("runs away"), "{reason}");
    assert_eq!(said["left_out"]["consumption/future/spend_next_90d"], "what it is made from was left out");
    shop.run(&["show", "tag", "consumption/future/alive"]).hints(1, &["no tag `consumption/future/alive`"]);

    // How old somebody is has nothing to do with the aisles they buy from.
    let by = |tag: &str| ["profile", "validate", "--behaviour", tag].map(str::to_owned);
    let run = |tag: &str, more: &[&str]| {
        let args = by(tag);
        shop.run(&args.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let said = run("consumption/preference/department", &["--json"]).json();
    assert_eq!(said["declared"]["columns"], 4);
    let told = said["declared"]["told"].as_array().unwrap();
    assert_eq!(told.len(), 3, "young, middle and old");
    assert!(told.iter().all(|told| (0.3..0.7).contains(&told["auc"].as_f64().unwrap())), "{told:?}");
    run("consumption/preference/department", &[]).says(&["what users said, told from 4 values", "AUC", "middle"]);
    run("consumption/value/spend", &[]).fails(1, &["is of kind `metric`"]);
    run("consumption/value/spent", &[]).hints(1, &["no tag `consumption/value/spent`"]);
}

#[test]
fn clusters_become_a_tag_with_fixed_centres() {
    let shop = profiled();
    let on = "consumption/value/spend,consumption/activity/recency";
    let said = shop.run(&["segment", "fit", "segment/behaviour", "--on", on, "--k", "3", "--json"]).json();
    assert_eq!((&said["clusters"], &said["users"]), (&3.into(), &100.into()));
    assert!(said["fidelity"].as_f64().unwrap() > 0.6);
    shop.run(&["segment", "fit", "segment/behaviour", "--on", on]).hints(1, &["there already"]);
    shop.run(&["segment", "fit", "behaviour", "--on", on]).hints(2, &["no name of a tag"]);
    shop.run(&["profile", "--quiet"]).ok();
    shop.run(&["segment", "describe", "segment/behaviour"]).says(&["cluster 1", "index", "p is adjusted"]);
    shop.run(&["segment", "describe", "segment/behaviour", "--value", "x"]).hints(1, &["nobody has the value `x`"]);
    shop.run(&["segment", "compare", "segment/behaviour", "consumption/value/tier"]).says(&["Jaccard", "lift"]);
    // It was left without a treatment, which is a fault of its own.
    let checks = shop.run(&["check", "tags"]);
    assert!(checks.out.contains("segments without a treatment: segment/behaviour"), "{}", checks.out);
    checks.fails(1, &["purpose"]);
}

#[test]
fn nine_principles_are_checked() {
    let shop = profiled();
    let said = shop.run(&["check", "tags", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let names: Vec<&str> =
        checks["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    let expected = [
        "purpose",
        "coverage",
        "hierarchy",
        "dynamic",
        "ease of use",
        "data-driven",
        "privacy",
        "cross-validation",
        "extensibility",
        "levels",
    ];
    assert_eq!(names, expected);
    // Whatever is read is of a lower level, and every tag has one.
    assert_eq!((&checks["checks"][9]["ok"], checks["checks"][9]["figure"].as_f64()), (&true.into(), Some(0.0)));
    let levels = checks["levels"].as_array().unwrap();
    let level = |name: &str| levels.iter().find(|one| one["name"] == name).unwrap()["level"].as_u64().unwrap();
    assert!(levels.iter().all(|one| one["level"].is_u64() && one["as_of"].is_string()));
    assert!(level("consumption/stage/rfm") > level("consumption/value/spend"));
    // The shop has no views, reviews or coupons: tags about them have no value, and that is said.
    assert_eq!(checks["checks"][1]["ok"], false);
    std::fs::create_dir_all(shop.path("tags/basic")).unwrap();
    shop.write("tags/basic/own.toml", "[named]\nkind = \"metric\"\nof = \"count\"\nwhere = \"user = 'u07'\"\n");
    shop.run(&["profile", "--quiet"]).ok();
    let said = shop.run(&["check", "tags"]);
    assert!(said.out.contains("naming a user: basic/own/named"), "{}", said.out);
}

#[test]
fn who_does_not_allow_it_is_in_no_portrait() {
    let ledger = "[sources.ledger]\npath = \"ledger.csv\"\ntable = \"events\"\nkind = \"consent\"\nat = \"at\"\nmap = { user = \"who\", text = \"word\", campaign = \"purpose\" }\n[consent]\nkind = \"consent\"\naction = \"text\"\npurpose = \"campaign\"\ndefault = \"granted\"\n[interactions]";
    let shop = Shop::with("[interactions]", ledger);
    shop.write("ledger.csv", "who,at,word,purpose\nu11,2024-03-01,grant,profile\n");
    shop.run(&["profile", "--as-of", "2024-05-01", "--quiet"]).ok();
    assert!(cells(&shop.path("profiles"), "u07") > 40);
    // A word of today counts for a profile of any day.
    shop.write("ledger.csv", "who,at,word,purpose\nu07,2024-06-20,revoke,profile\n");
    let said = shop.run(&["profile", "--as-of", "2024-05-01", "--json"]).json();
    assert_eq!((&said["users"], &said["kept"]), (&99.into(), &0.into()));
    assert_eq!(cells(&shop.path("profiles"), "u07"), 0);
    shop.run(&["show", "user", "u07"]).hints(1, &["no user `u07`"]);
}

#[test]
fn an_interrupted_or_failed_profile_leaves_the_old_one() {
    let shop = profiled();
    let before = shop.files("profiles");
    std::fs::create_dir_all(shop.path("tags")).unwrap();
    shop.write("tags/own.toml", "[bad]\nkind = \"metric\"\nof = \"sum(nothing)\"\n");
    shop.run(&["profile"]).fails(1, &["tags/own.toml` line 1", "`own/bad`", "nothing"]);
    assert!(before == shop.files("profiles"));
    std::fs::remove_file(shop.path("tags/own.toml")).unwrap();
    shop.run_with_small_files(4, &["profile", "--anew"]).hints(1, &["cannot write", "long.parquet"]);
    let kept = |(path, _): &(&std::path::PathBuf, &Vec<u8>)| !path.to_string_lossy().contains(".next");
    let after = shop.files("profiles");
    assert!(before.iter().filter(kept).eq(after.iter().filter(kept)));
    shop.run(&["profile", "--anew", "--quiet"]).ok();
    assert!(before == shop.files("profiles"));
}

#[test]
fn who_moved_since_a_day_is_what_the_diff_of_profiles_says() {
    let shop = profiled();
    let days = days(&shop);
    let difference = shop.run(&["profile", "diff", &days[0], &days[1], "--json"]).json();
    for name in ["consumption/stage/rfm", "consumption/value/tier"] {
        let said = shop.run(&["segment", "compare", name, "--since", &days[0], "--json"]).json();
        let flow = difference["flows"].as_array().unwrap().iter().find(|flow| flow["tag"] == name).unwrap().clone();
        assert_eq!((&said["values"], &said["counts"]), (&flow["values"], &flow["counts"]));
        assert_eq!((&said["after"], &said["same_definition"]), (&days[1].as_str().into(), &true.into()));
    }
    let rfm = "consumption/stage/rfm";
    shop.run(&["segment", "compare", rfm, "--since", &days[0]]).says(&["from (row) to (column)", "champions"]);
    shop.run(&["segment", "compare", rfm, "--since", &days[1]]).hints(2, &["is not before", "earlier profile"]);
    shop.run(&["segment", "compare", rfm, "--since", "2024-02-02"]).hints(1, &["no profile in", "2024-02-02"]);
    let number = ["segment", "compare", "consumption/value/spend", "--since", &days[0]];
    shop.run(&number).hints(1, &["no values that users could move between"]);
    shop.run(&["segment", "compare", rfm]).fails(2, &["SECOND"]);
}

#[test]
fn rules_that_tell_a_tag_become_a_tag() {
    let shop = profiled();
    let (name, target) = ("segment/told", "consumption/value/tier");
    let on = "consumption/value/spend,consumption/activity/recency";
    let said = shop.run(&["segment", "fit", name, "--target", target, "--on", on, "--json"]).json();
    // Tiers are cuts of spend, so that two comparisons tell them all.
    assert_eq!((&said["users"], &said["fidelity"]), (&100.into(), &1.0.into()));
    assert!(said["held_out_fidelity"].as_f64().unwrap() >= 0.8, "{said}");
    assert!(said["commonest"].as_f64().unwrap() < 0.5);
    shop.run(&["profile", "--quiet"]).ok();
    let said = shop.run(&["segment", "compare", name, target, "--json"]).json();
    let overlaps = said["overlaps"].as_array().unwrap();
    assert_eq!(overlaps.len(), 3);
    assert!(overlaps.iter().all(|overlap| overlap["first"] == overlap["second"] && overlap["jaccard"] == 1.0));
    shop.run(&["show", "user", "u07", "--why", name]).says(&["because x", "kind"]);
    let refused = |target: &str, on: &str| shop.run(&["segment", "fit", "more/told", "--target", target, "--on", on]);
    refused("consumption/value/spend", on).hints(1, &["no values that divide the users"]);
    refused(target, target).fails(2, &["cannot be told by itself"]);
    refused("consumption/value/teir", on).hints(1, &["no tag", "did you mean"]);
    let both = ["segment", "fit", "more/told", "--target", target, "--on", on, "--k", "3"];
    shop.run(&both).fails(2, &["cannot be used with"]);
}

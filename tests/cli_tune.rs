//! `train --tune`: the search for knobs, its table, the preset it leaves, and how it ends early.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};

use common::{Said, Shop, wait_until};
use serde_json::Value;

/// The lines of a run's table.
fn table(shop: &Shop, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(shop.path(run).join("tune.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same without how long it took.
fn timeless(mut table: Vec<Value>) -> Vec<Value> {
    table.iter_mut().for_each(|trial| drop(trial.as_object_mut().unwrap().remove("seconds").unwrap()));
    table
}

/// Searches for few epochs into the folder `run`.
fn tune(shop: &Shop, run: &str, args: &[&str]) -> Said {
    shop.train(&[&["--epochs", "4", "--run", run], args].concat())
}

#[test]
fn the_better_settings_go_on_larger_and_the_best_is_trained() {
    let shop = Shop::new();
    let result = tune(&shop, "run", &["--tune", "6", "--json"]).json();
    let table = table(&shop, "run");
    let sizes = |rung: u64| {
        let own: Vec<_> = table.iter().filter(|trial| trial["rung"] == rung).collect();
        assert!(own.iter().all(|trial| (&trial["dim"], &trial["epochs"]) == (&own[0]["dim"], &own[0]["epochs"])));
        assert_eq!(own.iter().filter(|trial| trial["setting"] == 1).count(), 1);
        (own.len(), own[0]["dim"].as_u64().unwrap(), own[0]["epochs"].as_u64().unwrap())
    };
    let [first, second, third] = [1, 2, 3].map(sizes);
    assert_eq!([first, (0, second.1, second.2), (0, third.1, third.2)], [(6, 32, 1), (0, 64, 2), (0, 128, 4)]);
    assert!((3..=4).contains(&second.0) && (2..=3).contains(&third.0), "{table:?}");
    assert_eq!(result["trials"].as_array().unwrap().len(), table.len());

    // The second setting is what follows from the data.
    let second = table.iter().find(|trial| trial["setting"] == 2).unwrap();
    assert_eq!(second["knobs"]["nu"], 1.0);
    assert!(second["knobs"]["alpha0"].as_f64().unwrap() < 1.0, "{second}");

    let last = table.iter().filter(|trial| trial["rung"] == 3);
    let best = last.max_by(|a, b| a["figure"].as_f64().unwrap().total_cmp(&b["figure"].as_f64().unwrap())).unwrap();
    let trained = shop.run(&["show", "model", "run", "--json"]).json()["manifest"]["preset"].clone();
    for (knob, value) in best["knobs"].as_object().unwrap() {
        assert_eq!(value, &trained[knob], "{knob}");
    }
    // What the search saw is what the training then sees.
    let log = std::fs::read_to_string(shop.path("run/log.jsonl")).unwrap();
    let epochs = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let best_epoch = epochs.filter_map(|epoch| epoch["validation"]["figure"].as_f64()).fold(0.0, f64::max);
    assert_eq!(best["figure"].as_f64(), Some(best_epoch));
}

#[test]
fn ials_has_a_look_in_small_and_towers_at_their_base_at_full_size() {
    let shop = Shop::new();
    let said = shop.train(&["--epochs", "8", "--run", "run"]).says(&["dim 32 × 2", " (the preset)", " (by the data)"]);
    assert_eq!(said.out.matches("dim ").count(), 1, "{}", said.out);
    let table = table(&shop, "run");
    let figures: Vec<_> = table.iter().map(|trial| (trial["dim"].as_u64(), trial["figure"].as_f64())).collect();
    assert!(figures.len() == 2 && figures.iter().all(|(dim, _)| *dim == Some(32)), "{table:?}");
    // The better one is trained at the preset's own size.
    let best = &table[usize::from(figures[1].1 > figures[0].1)]["knobs"];
    let trained = shop.run(&["show", "model", "run", "--json"]).json()["manifest"]["preset"].clone();
    assert!(trained["dim"] == 128 && trained["epochs"] == 8 && trained["alpha0"] == best["alpha0"], "{trained}");
    // What it found looks no further.
    shop.train(&["--model", "run/preset.toml", "--run", "again"]).ok();
    assert!(!shop.path("again/tune.jsonl").exists() && shop.files("run/bundle") == shop.files("again/bundle"));
    // Towers look at their base, as large as it is trained.
    shop.train(&["--epochs", "1", "--model", "two-tower", "--run", "towers"]).says(&["dim 128 × 12", " (by the data)"]);
    let trained = shop.run(&["show", "model", "towers", "--json"]).json()["manifest"]["preset"].clone();
    let figures: Vec<_> = self::table(&shop, "towers").iter().map(|trial| trial["figure"].as_f64()).collect();
    let best = &self::table(&shop, "towers")[usize::from(figures[1] > figures[0])]["knobs"];
    assert!(trained["base"]["alpha0"] == best["alpha0"] && trained["base"]["dim"] == 128, "{trained}");
    shop.train(&["--epochs", "1", "--model", "bpr", "--run", "bpr"]).ok();
    assert!(!shop.path("bpr/tune.jsonl").exists());
}

#[test]
fn people_read_a_line_for_every_setting() {
    let said = tune(&Shop::new(), "run", &["--tune", "4"]).says(&["dim 64 × 2", "dim 128 × 4", "run/preset.toml"]);
    for part in ["\n1: ", "\n2: ", "\n3: ", "\n4: ", " (the preset)", "alpha0 ", "novel recall@10"] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    assert!(said.err.contains("rung 1, setting 4, 64 numbers, 2 epochs: validation ndcg@10 0."), "{}", said.err);
}

#[test]
fn one_seed_gives_one_table_and_another_seed_another() {
    let shop = Shop::new();
    for (run, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
        tune(&shop, run, &["--tune", "4", "--seed", seed]).ok();
    }
    let [a, b, c] = ["a", "b", "c"].map(|run| timeless(table(&shop, run)));
    assert!(a == b && a != c);
    assert!(shop.files("a/bundle") == shop.files("b/bundle"));
}

#[test]
fn the_preset_it_leaves_trains_the_same_model() {
    let shop = Shop::new();
    for (model, tune_so_many) in [("ials", "4"), ("ease", "3"), ("item-knn", "3"), ("bpr", "2")] {
        let (run, again) = (format!("{model}-tuned"), format!("{model}-again"));
        tune(&shop, &run, &["--model", model, "--tune", tune_so_many]).ok();
        let preset = format!("{run}/preset.toml");
        shop.train(&["--model", &preset, "--run", &again]).ok();
        assert!(shop.files(&format!("{run}/bundle")) == shop.files(&format!("{again}/bundle")), "{model}");
        shop.run(&["show", "model", &preset]).says(&[&format!("{model}: ")]);
    }
}

#[test]
fn a_model_without_epochs_has_one_rung() {
    let shop = Shop::new();
    tune(&shop, "run", &["--model", "ease", "--tune", "5"]).says(&["ndcg@10", "reg "]);
    let table = table(&shop, "run");
    assert!(table.len() == 5 && table.iter().all(|trial| trial["rung"] == 1 && trial["figure"].is_f64()));
}

#[test]
fn the_test_part_has_no_say() {
    let shop = Shop::new();
    tune(&shop, "a", &["--tune", "4"]).ok();
    // Only what was bought in June, the test part, changes.
    let change = |line: &str| match line.split(',').collect::<Vec<_>>()[..] {
        [who, _, at, paid] if at.starts_with("2024-06-0") => format!("{who},i000,{at},{paid}\n"),
        _ => format!("{line}\n"),
    };
    shop.write("lines.csv", common::lines().lines().map(change).collect::<String>());
    tune(&shop, "b", &["--tune", "4"]).ok();
    assert!(timeless(table(&shop, "a")) == timeless(table(&shop, "b")));
}

/// Adds a preset whose every setting fails.
fn greedy(shop: &Shop) -> &Shop {
    shop.write("greedy.toml", "kind = \"ease\"\nwhen = \"A test.\"\nreg = 80.0\nmemory_gib = 1e-6\n")
}

#[test]
fn where_every_setting_fails_it_says_why_and_keeps_the_table() {
    let shop = Shop::new();
    let said = greedy(&shop).train(&["--model", "greedy.toml", "--run", "run", "--tune", "3", "--quiet"]);
    said.hints(1, &["no setting could be trained in rung 1: the item × item matrix", "are available"]);
    let table = table(&shop, "run");
    assert!(table.len() == 3 && table.iter().all(|trial| trial["figure"].is_null() && trial["failure"].is_string()));
    assert!(!shop.path("run/preset.toml").exists());
}

#[test]
fn a_setting_that_diverges_is_told_and_loses() {
    let shop = Shop::new();
    // Steps of this size overflow at once; settings that are drawn take smaller ones.
    shop.write(
        "wild.toml",
        "kind = \"bpr\"\nwhen = \"A test.\"\ndim = 16\nepochs = 2\npatience = 2\ndraw = \"uniform\"\ntries = 8\nbatch = 256\nlr = 1e38\nreg = 0.01\n",
    );
    let said = shop.train(&["--model", "wild.toml", "--run", "run", "--tune", "3"]).says(&["(the preset)  ", "failed"]);
    assert!(said.err.contains("training diverged"), "{}", said.err);
    let table = table(&shop, "run");
    let preset: Vec<_> = table.iter().filter(|trial| trial["setting"] == 1).collect();
    assert!(preset.len() == 1 && preset[0]["figure"].is_null());
    assert!(preset[0]["failure"].as_str().unwrap().contains("diverged"));
}

#[test]
fn ctrl_c_keeps_the_table_so_far() {
    let shop = Shop::new();
    let mut child = shop.start_slow(&["--tune", "4", "--quiet"]);
    let lines = || std::fs::read_to_string(shop.path("runs/slow/tune.jsonl")).map_or(0, |text| text.lines().count());
    assert!(wait_until(&mut child, || lines() >= 2));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = Said::from(child.wait_with_output().unwrap());
    assert!(table(&shop, "runs/slow").len() >= 2);
    assert!(!shop.path("runs/slow/preset.toml").exists() && !shop.path("runs/slow/checkpoint.safetensors").exists());
    said.hints(1, &["runs/slow/tune.jsonl` holds every trial", "the search was stopped after "]);
}

#[test]
fn training_stopped_after_the_search_goes_on_from_its_preset() {
    let shop = Shop::new();
    shop.write("slower.toml", std::fs::read_to_string(shop.path("slow.toml")).unwrap().replace("160", "256"));
    let args = ["train", "--device", "cpu", "--model", "slower.toml", "--tune", "2", "--run", "run"];
    let mut child = shop.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let epochs = || std::fs::read_to_string(shop.path("run/log.jsonl")).map_or(0, |log| log.lines().count());
    assert!(wait_until(&mut child, || epochs() >= 2));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("`--model run/preset.toml --resume` instead of `--tune`"), "{}", said.err);
    shop.train(&["--model", "run/preset.toml", "--resume", "--run", "run"]).ok();
    shop.train(&["--model", "run/preset.toml", "--run", "calm"]).ok();
    assert!(shop.files("run/bundle") == shop.files("calm/bundle"));
}

#[test]
fn wrong_use_ends_with_2() {
    let shop = Shop::new();
    shop.train(&["--tune", "0"]).fails(2, &["--tune", "--help"]);
    shop.train(&["--tune", "3", "--resume"]).hints(2, &["`--tune`", "`--resume`"]);
    assert!(!shop.path("runs").exists());
}

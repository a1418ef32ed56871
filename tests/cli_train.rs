//! `train`: from files to a bundle, what it says, that it repeats, and what it refuses.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Said, Shop};

/// Trains a few epochs into the folder `run`.
fn train(shop: &Shop, run: &str, args: &[&str]) -> Said {
    shop.train(&[&["--epochs", "3", "--run", run], args].concat())
}

#[test]
fn people_read_device_table_examples_and_what_is_next() {
    let said = Shop::new().train(&["--epochs", "4"]).says(&["device: CPU, ", "(asked for)", "novel recall@10"]);
    for part in ["ials", "item-kNN", "personal frequency", "popularity", "random", "run: ", "Product ", "✓ ="] {
        assert!(said.out.contains(part), "`{part}` is not in:\n{}", said.out);
    }
    assert_eq!(said.out.matches("had most often: ").count(), 3);
    assert!(said.out.contains("next: lookalike recommend --run ") && said.out.contains("lookalike similar --run "));
}

#[test]
fn the_commands_it_proposes_work() {
    let shop = Shop::new();
    let said = shop.train(&["--epochs", "2"]).ok();
    let next = said.out.lines().skip_while(|line| !line.starts_with("next: "));
    let proposed: Vec<_> = next.filter_map(|line| line.split_once("lookalike ")).collect();
    assert_eq!(proposed.len(), 2);
    proposed.iter().for_each(|(_, args)| drop(shop.run(&args.split(' ').collect::<Vec<_>>()).ok()));
}

#[test]
fn json_is_one_document_with_all_figures() {
    let said = Shop::new().train(&["--epochs", "4", "--json"]);
    let result = said.json();
    for key in ["run", "device", "epochs", "best_epoch", "peak_rss_bytes", "metrics"] {
        assert!(!result[key].is_null(), "{key}");
    }
    for key in ["ingest", "fit", "evaluate", "index", "total"] {
        assert!(result["seconds"][key].as_f64().unwrap() >= 0.0, "{key}");
    }
    for model in result["metrics"]["models"].as_array().unwrap() {
        for key in ["recall@10", "recall@20", "ndcg@10", "ndcg@20", "map@10", "coverage@10"] {
            let views = [&model[key], &model["all"][key], &model["repeat"][key], &model["novel"][key]];
            assert!(views.iter().all(|figure| (0.0..=1.0).contains(&figure.as_f64().unwrap())), "{key} of {model}");
        }
    }
}

#[test]
fn planted_groups_are_found() {
    for model in ["ials", "two-tower", "bpr"] {
        let result = Shop::new().train(&["--model", model, "--json"]).json();
        let figure = |name: &str| {
            let models = result["metrics"]["models"].as_array().unwrap();
            models.iter().find(|model| model["name"] == name).unwrap()["novel"]["recall@10"].as_f64().unwrap()
        };
        assert!(figure(model) > 1.5 * figure("popularity"), "{model}: {} {}", figure(model), figure("popularity"));
    }
}

#[test]
fn one_seed_gives_one_bundle_and_another_seed_another() {
    for model in ["ials", "two-tower", "bpr"] {
        let shop = Shop::new();
        for (run, seed) in [("a", "7"), ("b", "7"), ("c", "8")] {
            train(&shop, run, &["--model", model, "--seed", seed]).ok();
        }
        let [a, b, c] = ["a/bundle", "b/bundle", "c/bundle"].map(|run| shop.files(run));
        assert!(a.len() >= 6 && a == b && a != c, "{model}");
    }
}

#[test]
fn a_second_run_replaces_the_first_and_leaves_nothing_else() {
    let shop = Shop::new();
    train(&shop, "run", &[]).ok();
    train(&shop, "run", &["--seed", "8"]).ok();
    let mut names: Vec<_> = shop.path("run").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bundle", "log.jsonl", "preset.toml", "tune.jsonl"]);
}

#[test]
fn the_log_has_a_line_for_every_epoch() {
    let shop = Shop::new();
    let result = train(&shop, "run", &["--json"]).json();
    let log = std::fs::read_to_string(shop.path("run/log.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, result["epochs"].as_u64().unwrap());
    assert!(lines.iter().all(|line| line["epoch"].as_u64() >= Some(1) && line["seconds"].is_f64()));
}

#[test]
fn changed_sources_are_ingested_again() {
    let shop = Shop::new();
    train(&shop, "run", &[]).says(&["store: "]);
    assert!(!train(&shop, "run", &[]).ok().out.contains("store: "));
    shop.write("lines.csv", common::lines() + "u00,i000,2024-01-01 10:00:00,1\n");
    train(&shop, "run", &[]).says(&["4,001"]);
}

#[test]
fn a_preset_may_come_from_a_file() {
    let shop = Shop::new();
    shop.train(&["--model", "slow.toml", "--epochs", "1"]).says(&["model: slow, 160 numbers"]);
    assert!(shop.path("runs/slow/bundle/manifest.json").exists());
}

#[test]
fn quiet_leaves_stderr_empty() {
    assert_eq!(train(&Shop::new(), "run", &["--quiet"]).ok().err, "");
}

#[test]
fn auto_says_which_device_and_why() {
    let out = Shop::new().run(&["train", "--epochs", "1"]).ok().out;
    let line = out.lines().find(|line| line.starts_with("device: ")).unwrap();
    assert!(line.ends_with(')') && line.contains(" ("), "{line}");
}

#[test]
fn a_given_split_needs_no_store() {
    let shop = Shop::new();
    let pairs = |skip: usize, step: usize| {
        let lines = common::lines();
        let pairs: Vec<_> = lines.lines().skip(skip).step_by(step).map(|line| line.split(',').take(2)).collect();
        "user,item\n".to_owned()
            + &pairs.into_iter().map(|pair| pair.collect::<Vec<_>>().join(",") + "\n").collect::<String>()
    };
    shop.write("train.csv", pairs(1, 2)).write("test.csv", pairs(2, 2));
    shop.write(
        "lookalike.toml",
        "[interactions]\nsplit = { kind = \"given\", train = \"train.csv\", test = \"test.csv\" }\n",
    );
    train(&shop, "run", &[]).says(&["train and test given", "item i0"]);
}

#[test]
fn an_unknown_model_lists_those_there_are() {
    Shop::new()
        .train(&["--model", "deepfm"])
        .hints(2, &["there is no model `deepfm`", "`ials`, `softmax-mf`, `two-tower`, `ease`, `bpr`, `item-knn`"]);
}

#[test]
fn an_unknown_key_of_a_preset_comes_with_the_nearest() {
    let shop = Shop::new();
    shop.damage("slow.toml", |text| text.extend(b"patiense = 3\n"));
    shop.train(&["--model", "slow.toml"]).hints(1, &["`slow.toml`, line 11", "unknown key `patiense`", "`patience`"]);
}

#[test]
fn a_knob_out_of_range_is_named() {
    let shop = Shop::new();
    shop.damage("slow.toml", |text| *text = String::from_utf8_lossy(text).replace("0.003", "inf").into_bytes());
    shop.train(&["--model", "slow.toml"]).fails(1, &["`slow.toml`: `reg` is inf", "a finite number above 0"]);
}

#[test]
fn a_missing_preset_is_named() {
    Shop::new().train(&["--model", "mine.toml"]).fails(1, &["`mine.toml` cannot be read"]);
}

#[test]
fn a_weight_that_is_no_number_is_named_with_its_line() {
    for weight in ["nan", "inf", "-1.0"] {
        let shop = Shop::with("purchase = 1.0", &format!("purchase = {weight}"));
        shop.train(&[]).fails(1, &["lookalike.toml` line 23", "`interactions.kinds.purchase`", "finite weight"]);
    }
}

#[test]
fn a_given_weight_that_is_no_number_is_named_with_its_line() {
    for weight in ["NaN", "inf", "x"] {
        let shop = Shop::new();
        shop.write("train.csv", format!("user,item,weight\na,x,1\na,y,{weight}\n"))
            .write("test.csv", "user,item\na,x\n");
        let split = "[interactions]\nsplit = { kind = \"given\", train = \"train.csv\", test = \"test.csv\" }\n";
        shop.write("lookalike.toml", split);
        shop.train(&[]).fails(1, &["train.csv` line 3", "`weight`", weight]);
    }
}

#[test]
fn an_unknown_kind_comes_with_the_nearest() {
    Shop::with("{ purchase =", "{ purchace =")
        .train(&[])
        .hints(1, &["lookalike.toml` line 23", "unknown kind `purchace`", "`purchase`"]);
}

#[test]
fn a_user_without_any_item_is_counted_and_left_out() {
    let shop = Shop::new();
    shop.write("lines.csv", common::lines() + "ghost,,2024-02-01,1\nghost,,2024-06-20,1\n");
    train(&shop, "runs/ials", &[]).says(&["100 users", "2 events name no item"]);
    shop.run(&["recommend", "--run", "runs/ials", "--user", "ghost"]).hints(1, &["user `ghost`"]);
}

#[test]
fn a_history_without_any_item_is_an_error() {
    let shop = Shop::new();
    shop.write("lines.csv", "who,what,at,paid\nu1,,2024-02-01,1\nu2,,2024-06-20,1\n");
    shop.train(&[]).hints(1, &["`purchase`", "nothing to train on"]);
}

#[test]
fn a_split_that_leaves_no_test_is_an_error() {
    Shop::with("2024-06-01", "2034-06-01").train(&[]).hints(1, &["no test interactions"]);
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    let shop = Shop::new();
    let mut command = shop.command(&["train", "--device", "gpu"]);
    command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
    Said::from(command.output().unwrap()).hints(1, &["no GPU was found", "--device cpu"]);
}

#[test]
fn an_adapter_that_is_not_there_is_named() {
    Shop::new().run(&["train", "--device", "gpu:abacus"]).hints(1, &["`abacus`"]);
}

#[test]
fn wrong_use_ends_with_2() {
    let shop = Shop::new();
    for args in [&["--device", "abacus"][..], &["--epochs", "0"], &["--seed", "x"], &["--modle", "ials"]] {
        shop.run(&[&["train"], args].concat()).fails(2, &[args[0], "--help"]);
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_old_bundle_stays() {
    let shop = Shop::wordy();
    shop.train(&["--epochs", "2"]).ok();
    let before = shop.files("runs/ials/bundle");
    let again = ["train", "--device", "cpu", "--epochs", "2", "--seed", "9", "--quiet"];
    for (kib, file) in [(8, "runs/ials/checkpoint.safetensors"), (250, "runs/ials/.bundle.next/items.parquet")] {
        shop.run_with_small_files(kib, &again).fails(1, &["could not write `", file, "File too large"]);
        assert!(before == shop.files("runs/ials/bundle"), "{kib} KiB");
    }
    // With space again, the training that was finished needs no repetition.
    shop.run(&[&again[..], &["--resume"]].concat()).ok();
    shop.run(&["show", "model", "runs/ials"]).says(&["seed 9"]);
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let shop = Shop::trained();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = shop.command(&["show", "model", "runs/ials"]).stdout(full).output().unwrap();
    Said::from(output).fails(1, &["stdout", "No space left"]);
}

#[test]
fn a_run_folder_that_is_a_file_is_named() {
    let shop = Shop::new();
    shop.write("taken", "");
    train(&shop, "taken", &[]).fails(1, &["`taken` cannot be created"]);
}

#[test]
fn a_bundle_folder_with_other_files_is_left_alone() {
    let shop = Shop::new();
    std::fs::create_dir_all(shop.path("run/bundle")).unwrap();
    shop.write("run/bundle/diary.txt", "mine");
    train(&shop, "run", &["--quiet"]).hints(1, &["holds other files"]);
    assert_eq!(shop.files("run/bundle").len(), 1);
}

#[test]
fn whoever_says_no_is_in_nothing_that_training_leaves() {
    let consent = r#"[sources.words]
path = "words.csv"
table = "events"
kind = "consent"
at = { column = "at", stored_as = "UTC" }
map = { user = "who", text = "word", session = "until" }
[consent]
kind = "consent"
action = "text"
expires = "session"
default = "granted"
[interactions]"#;
    let shop = Shop::with("[interactions]", consent);
    let trained_on = |words: &str| {
        shop.write("words.csv", format!("who,at,word,until\n{words}"));
        shop.train(&["--epochs", "1", "--quiet"]).ok();
        (1..4).map(|n| common::cells(&shop.path("runs"), &format!("u{n:02}")) > 0).collect::<Vec<_>>()
    };
    assert_eq!(trained_on("u01,2024-01-05,grant,\n"), [true, true, true]);
    let words = "u01,2024-01-05,grant,\nu01,2024-02-05,revoke,\nu02,2024-02-05,deny,\nu02,2024-02-06,grant,\nu03,2024-02-05,grant,2024-12-31\n";
    assert_eq!(trained_on(words), [false, true, false]);
    shop.run(&["recommend", "--run", "runs/ials", "--user", "u01"]).fails(1, &["user `u01` does not occur"]);
    // The store itself keeps what it was told, the ledger included.
    assert!(common::cells(&shop.path("store"), "u01") > 0);
}

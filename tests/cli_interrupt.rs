//! `train` interrupted: Ctrl-C and `kill -9` at several moments lose nothing, and `--resume` ends with the same bytes
//! as a run that nobody disturbed.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Command};

use common::{Said, Shop, wait_until};

/// What an undisturbed run of the slow preset leaves.
fn undisturbed(shop: &Shop) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    shop.train(&["--model", "slow.toml", "--run", "calm"]).ok();
    shop.files("calm/bundle")
}

fn resume(shop: &Shop) -> Said {
    shop.train(&["--model", "slow.toml", "--resume"])
}

/// How many epochs the log of the slow run holds.
fn epochs(shop: &Shop) -> usize {
    std::fs::read_to_string(shop.path("runs/slow/log.jsonl")).map_or(0, |log| log.lines().count())
}

/// Sends a signal that lets the program end in good order.
fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Interrupts a slow training whenever it has come so many epochs further, and resumes it each time.
fn disturbed(shop: &Shop, moments: &[usize], stop: impl Fn(&mut Child)) {
    for (nth, &moment) in moments.iter().enumerate() {
        let mut child = shop.start_slow(if nth == 0 { &[] } else { &["--resume"] });
        assert!(wait_until(&mut child, || epochs(shop) >= moment), "it ended before epoch {moment}");
        stop(&mut child);
        let said = Said::from(child.wait_with_output().unwrap());
        assert_ne!(said.code, Some(0), "it ended before it was stopped in epoch {moment}");
        assert!(shop.path("runs/slow/checkpoint.safetensors").exists());
    }
    resume(shop).ok();
}

#[test]
fn killed_again_and_again_it_ends_with_the_same_bytes() {
    let shop = Shop::new();
    disturbed(&shop, &[1, 2, 5, 11, 25], |child| child.kill().unwrap());
    assert!(undisturbed(&shop) == shop.files("runs/slow/bundle"));
}

#[test]
fn interrupted_again_and_again_it_ends_with_the_same_bytes() {
    let shop = Shop::new();
    disturbed(&shop, &[1, 3, 8, 25], |child| interrupt(child));
    assert!(undisturbed(&shop) == shop.files("runs/slow/bundle"));
}

#[test]
fn ctrl_c_says_what_is_kept_and_how_to_go_on() {
    let shop = Shop::new();
    let mut child = shop.start_slow(&["--quiet"]);
    assert!(wait_until(&mut child, || epochs(&shop) >= 1));
    interrupt(&child);
    Said::from(child.wait_with_output().unwrap()).hints(1, &["stopped", "`--resume`"]);
}

#[test]
fn the_old_bundle_answers_while_and_after_another_training_dies() {
    let shop = Shop::new();
    shop.train(&["--model", "slow.toml", "--epochs", "1"]).ok();
    let old = shop.files("runs/slow/bundle");
    let mut child = shop.start_slow(&["--seed", "8"]);
    assert!(wait_until(&mut child, || epochs(&shop) >= 3));
    shop.run(&["show", "model", "runs/slow"]).says(&["seed 42"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(old == shop.files("runs/slow/bundle"));
    shop.run(&["recommend", "--run", "runs/slow", "--user", "u00"]).says(&["Product"]);
}

#[test]
fn killed_while_the_bundle_is_written_the_old_or_the_new_one_answers() {
    let shop = Shop::new();
    shop.train(&["--model", "slow.toml", "--epochs", "1"]).ok();
    let new = || {
        let names = shop.path("runs/slow").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().any(|name| name == ".bundle.next" || name == ".bundle.last")
    };
    for _ in 0..3 {
        let mut child = shop.start_slow(&["--seed", "8", "--epochs", "1"]);
        if wait_until(&mut child, new) {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        let manifest = shop.run(&["show", "model", "runs/slow", "--json"]).json();
        assert!([42, 8].contains(&manifest["manifest"]["seed"].as_i64().unwrap()));
    }
}

#[test]
fn killed_while_it_ingests_the_next_run_starts_clean() {
    let shop = Shop::new();
    let mut child = shop.command(&["ingest"]).spawn().unwrap();
    wait_until(&mut child, || shop.path("store.tmp").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let report = shop.run(&["ingest", "--json"]).json();
    assert_eq!((&report["tables"]["events"], shop.path("store.tmp").exists()), (&4000.into(), false));
}

#[test]
fn there_must_be_something_to_resume_from() {
    let shop = Shop::new();
    resume(&shop).hints(1, &["there is no checkpoint `", "runs/slow/checkpoint.safetensors"]);
}

/// A shop with a checkpoint of the slow preset after at least one epoch.
fn with_checkpoint() -> Shop {
    let shop = Shop::new();
    let mut child = shop.start_slow(&[]);
    assert!(wait_until(&mut child, || epochs(&shop) >= 1));
    child.kill().unwrap();
    child.wait().unwrap();
    shop
}

#[test]
fn a_checkpoint_of_another_seed_is_refused() {
    let shop = with_checkpoint();
    shop.train(&["--model", "slow.toml", "--resume", "--seed", "8"]).hints(1, &["another seed"]);
}

#[test]
fn a_checkpoint_of_other_data_is_refused() {
    let shop = with_checkpoint();
    shop.write("lines.csv", common::lines() + "u00,i000,2024-01-01 10:00:00,1\n");
    resume(&shop).hints(1, &["another data"]);
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let shop = with_checkpoint();
    shop.damage("runs/slow/checkpoint.safetensors", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    resume(&shop).hints(1, &["checkpoint.safetensors` is damaged"]);
}

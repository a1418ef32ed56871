//! `recommend --all`: the ways to the lists, on the GPU among them, and runs that are killed on their way.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{Said, Shop, wait_until};
use lookalike_bundle::{Bundle, History, ItemInfo, ItemRow, Learned, Manifest, Matrix, Row, UserRow, Vocab};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;

/// A run of made-up vectors in `runs/big`: a few long items, as popularity makes them, and a history for each user.
fn big(users: usize, items: usize, dim: usize) -> Shop {
    let shop = Shop::new();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let mut table = |rows: usize, fall: f32| {
        let mut table = Matrix::zeros(rows, dim);
        for row in 0..rows {
            let scale = 1.0 / (1.0 + row as f32 * fall);
            table.row_mut(row).fill_with(|| scale * rng.random_range(-1.0..1.0f32));
        }
        table
    };
    let learned = Learned::Embeddings { users: table(users, 0.0), items: table(items, 0.01) };
    let mut had: Vec<_> =
        (0..users).flat_map(|user| (0..5).map(move |nth| (user, (user * 7 + nth * 31) % items))).collect();
    had.sort_unstable();
    had.dedup();
    let entries = had.into_iter().map(|(user, item)| (UserRow::new(user as u32), ItemRow::new(item as u32), 1.0));
    let ids = |letter: char, count: usize| (0..count).map(|n| format!("{letter}{n}")).collect();
    let bundle = Bundle {
        manifest: Manifest {
            product: String::new(),
            project: String::new(),
            model: "ials".to_owned(),
            preset: Value::Null,
            seed: 1,
            device: String::new(),
            data: String::new(),
            split: String::new(),
            learned_before: None,
            protocol: String::new(),
            epochs: 1,
            best_epoch: 1,
            repeat: None,
            few: None,
            ranker: None,
            metrics: Value::Null,
            index: None,
        },
        users: Vocab::new(ids('u', users)).unwrap(),
        items: Vocab::new(ids('i', items)).unwrap(),
        item_info: vec![ItemInfo::default(); items],
        learned,
        tensors: Default::default(),
        history: History::new(users, items, entries).unwrap(),
        extra: Default::default(),
    };
    bundle.write(&shop.path("runs/big/bundle")).unwrap();
    shop
}

fn all(out: &str) -> [&str; 6] {
    ["recommend", "--run", "runs/big", "--all", "--out", out]
}

fn bytes(shop: &Shop, name: &str) -> Vec<u8> {
    std::fs::read(shop.path(name)).unwrap()
}

/// Files in a folder whose name ends in this text; none if there is no folder.
fn count(folder: &Path, ending: &str) -> usize {
    let names = folder.read_dir().into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.ends_with(ending)).count()
}

#[test]
fn killed_again_and_again_it_goes_on_to_the_same_bytes() {
    let shop = big(5 * (1 << 16) / 2, 300, 8);
    shop.run(&[&all("calm.pq")[..], &["--device", "cpu"]].concat()).says(&["1,638,400 rows for 163,840 users"]);
    shop.write("out.pq", "old");
    let folder = shop.path("out.pq.parts");
    let mut killed = 0;
    // As soon as there is a folder, its note, one part, two parts; and while the parts are made one file.
    let moments: [&dyn Fn() -> bool; 6] = [
        &|| folder.exists(),
        &|| folder.join("made-of.json").exists(),
        &|| count(&folder, ".parquet") == 1,
        &|| count(&folder, ".parquet") == 1,
        &|| count(&folder, ".parquet") == 2,
        &|| count(&folder, ".parquet") == 3,
    ];
    for (nth, moment) in moments.into_iter().enumerate() {
        let args = [&all("out.pq")[..], &["--device", "cpu"]].concat();
        let mut child = shop.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        if wait_until(&mut child, moment) {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        let now = bytes(&shop, "out.pq");
        assert!(now == b"old" || (nth == 5 && now == bytes(&shop, "calm.pq")), "moment {nth}");
    }
    assert!(killed >= 5, "killed {killed} times");
    shop.run(&[&all("out.pq")[..], &["--device", "cpu"]].concat()).ok();
    assert!(bytes(&shop, "out.pq") == bytes(&shop, "calm.pq"));
    let left: Vec<_> = shop.path("").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".tmp") || name == "out.pq.parts"), "{left:?}");
}

#[test]
fn what_a_run_before_left_is_used_and_other_parts_are_not() {
    let shop = big(70_000, 100, 4);
    let folder = shop.path("out.pq.parts");
    let args = [&all("out.pq")[..], &["--device", "cpu"]].concat();
    let mut child = shop.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(&mut child, || count(&folder, ".parquet") == 1));
    child.kill().unwrap();
    child.wait().unwrap();
    let other = shop.run(&[&all("out.pq")[..], &["--device", "cpu", "--k", "3", "--json"]].concat()).json();
    assert_eq!((other["kept_users"].as_u64(), other["rows"].as_u64()), (Some(0), Some(210_000)));
    // What a kill leaves while a folder is made, or goes.
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("0000065536.parquet"), "no note tells what this is").unwrap();
    std::fs::write(folder.join(".tmpAbC"), "half a no").unwrap();
    assert_eq!(shop.run(&[&args[..], &["--json"]].concat()).json()["kept_users"], 0);
    // A folder of someone else's is left alone.
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("thesis.txt"), "years of work").unwrap();
    shop.run(&args).fails(1, &["`out.pq` cannot be written"]);
    assert!(folder.join("thesis.txt").exists());
}

#[test]
fn the_way_is_measured_and_told() {
    let shop = Shop::trained();
    let all = ["recommend", "--run", "runs/ials", "--all", "--out", "a.pq", "--device", "cpu"];
    shop.run(&all).says(&[
        "users a second: ",
        "with every item compared; ",
        "through the index, which finds",
        "taken: ",
    ]);
    let said = shop.run(&[&all[..], &["--json"]].concat()).json();
    let [exact, index] = &said["measured"].as_array().unwrap()[..] else { panic!("{said}") };
    let rate = |way: &Value| way["users_per_second"].as_f64().unwrap();
    assert_eq!(said["through_index"], rate(index) >= 3.0 * rate(exact));
    assert!(exact["recall_at_10"].is_null() && index["recall_at_10"].as_f64().unwrap() >= 0.95);
    let said = shop.run(&[&all[..], &["--exact", "--json"]].concat()).json();
    assert_eq!((&said["through_index"], said["measured"].as_array().unwrap().len()), (&Value::Bool(false), 0));
}

/// The adapter that stands for a GPU in tests; as in those of the kernels.
fn adapter() -> Option<String> {
    Some(format!("gpu:{}", std::env::var("LOOKALIKE_TEST_ADAPTER").ok()?))
}

fn on(shop: &Shop, out: &str, device: &str, more: &[&str]) -> Said {
    shop.run(&[&all(out)[..], &["--device", device], more].concat())
}

#[test]
fn a_gpu_makes_the_lists_of_the_cpu_to_the_byte() {
    let Some(device) = adapter() else { return };
    // With the histories a user has, some blocks hold nothing new.
    let shop = big(1500, 4001, 24);
    for (k, more) in [("10", &[][..]), ("1", &[]), ("30", &[]), ("200", &[])] {
        let more = [&["--k", k], more].concat();
        on(&shop, "cpu.pq", "cpu", &more).ok();
        let said = on(&shop, "gpu.pq", &device, &more).ok();
        assert!(bytes(&shop, "cpu.pq") == bytes(&shop, "gpu.pq"), "k {k}");
        assert!(!said.err.contains("failed"), "{}", said.err);
        let said = on(&shop, "gpu.pq", &device, &[&more[..], &["--json"]].concat()).json();
        assert!(said["way"].as_str().unwrap().contains("llvmpipe") || !device.contains("llvmpipe"), "{said}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    let shop = big(3, 70, 2);
    on(&shop, "gpu.pq", "gpu:no such adapter", &[]).hints(1, &["no such adapter"]);
    assert!(!shop.path("gpu.pq").exists() && !shop.path("gpu.pq.parts").exists());
}

//! `index`: built again, audited, and put into the bundle in one step.
#![allow(clippy::unwrap_used)]

mod common;

use common::Shop;

const INDEX: [&str; 3] = ["index", "--run", "runs/ials"];

#[test]
fn the_same_settings_give_the_same_bundle() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run(&INDEX).ok();
    assert!(before == shop.files("runs/ials/bundle"));
}

#[test]
fn other_settings_change_the_index_and_nothing_that_was_learned() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run(&[&INDEX[..], &["--m", "5", "--ef-construction", "60"]].concat()).ok();
    let after = shop.files("runs/ials/bundle");
    let changed = before.iter().filter(|(name, bytes)| after[*name] != **bytes).map(|(name, _)| name.to_str().unwrap());
    assert_eq!(changed.collect::<Vec<_>>(), ["index.safetensors", "manifest.json"]);
}

#[test]
fn the_audit_is_told_and_kept() {
    let shop = Shop::trained();
    let audit = shop.run(&[&INDEX[..], &["--json"]].concat()).json();
    assert!((0.95..=1.0).contains(&audit["recall_at_10"].as_f64().unwrap()));
    let model = shop.run(&["show", "model", "runs/ials", "--json"]).json();
    assert_eq!(model["manifest"]["index"], audit);
}

#[test]
fn people_read_what_the_index_finds() {
    Shop::trained().run(&INDEX).says(&["index: finds ", "exact search finds all"]);
}

#[test]
fn the_evaluation_does_not_depend_on_the_index() {
    let shop = Shop::trained();
    let before = shop.run(&["evaluate", "--run", "runs/ials", "--json"]).ok().out;
    shop.run(&[&INDEX[..], &["--m", "4"]].concat()).ok();
    assert_eq!(before, shop.run(&["evaluate", "--run", "runs/ials", "--json"]).ok().out);
}

#[test]
fn a_setting_out_of_range_is_named() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run(&[&INDEX[..], &["--m", "0"]].concat()).fails(1, &["`m` is 0", "must be from"]);
    assert!(before == shop.files("runs/ials/bundle"));
}

#[test]
fn a_full_disk_leaves_the_old_bundle() {
    let shop = Shop::trained();
    let before = shop.files("runs/ials/bundle");
    shop.run_with_small_files(4, &INDEX).fails(1, &["could not write `", "File too large"]);
    assert!(before == shop.files("runs/ials/bundle"));
}

#[test]
fn a_folder_that_is_no_run_is_named() {
    Shop::new().run(&["index", "--run", "nowhere"]).hints(1, &["`nowhere/bundle` is not a bundle"]);
}

/// Vectors in numpy's format: 400 of 5 numbers on a few rays, and some queries.
fn npy(rows: usize, cols: usize, number: impl Fn(usize) -> f32) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    header += &" ".repeat(64 - (10 + header.len() + 1) % 64);
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    (0..rows * cols).for_each(|at| bytes.extend(number(at).to_le_bytes()));
    bytes
}

fn wave(at: usize) -> f32 {
    (at as f32 * 0.7 + (at * at % 101) as f32).sin()
}

fn fvecs(rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in 0..rows {
        bytes.extend((cols as u32).to_le_bytes());
        (0..cols).for_each(|col| bytes.extend(wave(row * cols + col).to_le_bytes()));
    }
    bytes
}

#[test]
fn vectors_from_elsewhere_give_an_index_whatever_the_file() {
    let shop = Shop::new();
    shop.write("v.npy", npy(400, 5, wave)).write("v.fvecs", fvecs(400, 5));
    let index = |file: &str, metric: &str| {
        let args = ["index", "--vectors", file, "--out", "out.safetensors", "--metric", metric];
        shop.run(&args).says(&["400 vectors of 5 numbers", metric, "index: finds "]);
        std::fs::read(shop.path("out.safetensors")).unwrap()
    };
    for metric in ["ip", "cosine", "l2"] {
        assert!(index("v.npy", metric) == index("v.fvecs", metric), "{metric}");
    }
}

#[test]
fn the_bench_tells_recall_and_speed_and_ends_with_exact_search() {
    let shop = Shop::new();
    shop.write("v.npy", npy(400, 5, wave)).write("q.npy", npy(30, 5, |at| wave(at + 7)));
    let args =
        ["index", "bench", "--vectors", "v.npy", "--queries", "q.npy", "--metric", "l2", "--threads", "2", "--json"];
    let result = shop.run(&args).json();
    assert!(result["build_seconds"].as_f64().unwrap() > 0.0);
    let rows = result["rows"].as_array().unwrap();
    let (last, rows) = rows.split_last().unwrap();
    assert!(last.get("ef").is_none() && last["recall@10"] == 1.0 && last["qps"].as_f64().unwrap() > 0.0);
    assert!(rows.len() > 5 && rows.iter().all(|row| row["ef"].is_u64() && row["qps"].is_f64()));
    assert!(rows.last().unwrap()["recall@10"].as_f64().unwrap() > 0.99);
}

#[test]
fn bad_vectors_are_named() {
    let shop = Shop::new();
    let mut ragged = fvecs(3, 4);
    ragged.extend(fvecs(1, 5));
    shop.write("nan.npy", npy(9, 3, |at| if at == 7 { f32::NAN } else { 1.0 })).write("ragged.fvecs", ragged);
    shop.write("cut.fvecs", &fvecs(3, 4)[..44])
        .write("cut.npy", &npy(9, 3, wave)[..150])
        .write("none.npy", npy(0, 3, wave));
    shop.write("text.npy", "hello")
        .write("text.safetensors", "hello")
        .write("text.parquet", "hello")
        .write("v.txt", "1 2");
    shop.write("v.npy", npy(9, 3, wave)).write("q.npy", npy(9, 4, wave)).write("short.ivecs", fvecs(2, 3));
    let index = |file: &str| shop.run(&["index", "--vectors", file, "--out", "out.safetensors"]);
    index("nan.npy").fails(1, &["nan.npy", "row 2", "not finite"]);
    index("ragged.fvecs").fails(1, &["ragged.fvecs", "row 3 has 5 numbers"]);
    index("cut.fvecs").fails(1, &["cut.fvecs", "row 2", "ends before"]);
    index("cut.npy").fails(1, &["cut.npy", "9 x 3"]);
    index("none.npy").fails(1, &["none.npy", "no vectors"]);
    for file in ["text.npy", "text.safetensors", "text.parquet"] {
        index(file).fails(1, &[file, "cannot be used"]);
    }
    index("v.txt").fails(2, &["v.txt", "hint"]);
    index("absent.npy").fails(1, &["absent.npy"]);
    let bench = |more: &[&str]| shop.run(&[&["index", "bench", "--vectors", "v.npy", "--queries"], more].concat());
    bench(&["q.npy"]).fails(1, &["q.npy", "4", "v.npy", "3"]);
    bench(&["v.npy", "--truth", "short.ivecs"]).fails(1, &["short.ivecs", "2 lists"]);
    bench(&["v.npy", "--metric", "nearness"]).fails(2, &["ip, cosine or l2"]);
    bench(&["v.npy", "--threads", "0"]).fails(2, &["1 to 1024"]);
    assert!(!shop.path("out.safetensors").exists());
}

#[test]
fn one_vector_and_many_copies_are_indexed() {
    let shop = Shop::new();
    shop.write("one.npy", npy(1, 3, wave)).write("copies.npy", npy(3000, 3, |at| (at % 3) as f32));
    for file in ["one.npy", "copies.npy"] {
        let said = shop.run(&["index", "--vectors", file, "--out", "out.safetensors", "--json"]).json();
        assert_eq!((&said["audit"]["unreachable"], said["audit"]["recall_at_10"].as_f64().unwrap()), (&0.into(), 1.0));
    }
}

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

/// Lists that a search printed as JSON: rows and scores.
fn printed(said: &serde_json::Value) -> Vec<Vec<(u64, f64)>> {
    let hit = |hit: &serde_json::Value| (hit["row"].as_u64().unwrap(), hit["score"].as_f64().unwrap());
    let list = |list: &serde_json::Value| list.as_array().unwrap().iter().map(hit).collect();
    said["lists"].as_array().unwrap().iter().map(list).collect()
}

#[test]
fn an_index_that_stands_alone_is_asked() {
    let shop = Shop::new();
    shop.write("v.npy", npy(400, 5, wave)).write("q.fvecs", fvecs(7, 5));
    shop.run(&["index", "--vectors", "v.npy", "--out", "v.index", "--metric", "cosine"]).ok();
    let search =
        |more: &[&str]| shop.run(&[&["index", "search", "--index", "v.index", "--queries", "q.fvecs"], more].concat());
    search(&["--k", "2"]).says(&["7 queries among 400 vectors, compared by cosine", "query 0", "1.0000", "4 more"]);
    let lists = printed(&search(&["--k", "5", "--json"]).json());
    // The queries are the first vectors, so each finds itself.
    for (query, list) in lists.iter().enumerate() {
        assert!(list.len() == 5 && list[0].1 > 0.9999 && list.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(list.iter().any(|&(row, score)| row == query as u64 && score > 0.9999));
    }
    for out in ["lists.ivecs", "lists.npy", "lists.parquet"] {
        assert_eq!(printed(&search(&["--k", "5", "--json", "--out", out]).json()), lists, "{out}");
    }
    let rows: Vec<u64> = lists.iter().flatten().map(|hit| hit.0).collect();
    let ivecs = std::fs::read(shop.path("lists.ivecs")).unwrap();
    let ivecs: Vec<u64> = ivecs.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word).into()).collect();
    assert!(ivecs.chunks(6).all(|list| list[0] == 5));
    assert_eq!(ivecs.chunks(6).flat_map(|list| &list[1..]).copied().collect::<Vec<_>>(), rows);
    let npy = std::fs::read(shop.path("lists.npy")).unwrap();
    let start = npy.len() - 7 * 5 * 8;
    assert!(start.is_multiple_of(64) && npy[start - 1] == b'\n' && npy.starts_with(b"\x93NUMPY\x01\x00"));
    assert_eq!(npy[start..].as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect::<Vec<_>>(), rows);
    let table = common::parquet_rows(&shop.path("lists.parquet"));
    let cells: Vec<Vec<&str>> = table.iter().map(|row| row.split('|').collect()).collect();
    assert_eq!(cells.iter().map(|row| row[2].parse::<u64>().unwrap()).collect::<Vec<_>>(), rows);
    assert!(cells[6][..2] == ["1", "2"] && (cells[6][3].parse::<f64>().unwrap() - lists[1][1].1).abs() < 1e-6);
    // What it writes is what the bench reads.
    let bench = ["index", "bench", "--vectors", "v.npy", "--queries", "q.fvecs", "--metric", "cosine", "--truth"];
    search(&["--out", "truth.npy"]).ok();
    shop.run(&[&bench[..], &["truth.npy"]].concat()).says(&["every item     1.0000"]);
}

#[test]
fn lists_shorter_than_asked_for() {
    let shop = Shop::new();
    shop.write("v.npy", npy(3, 2, wave)).write("q.npy", npy(2, 2, |at| if at < 2 { 0.0 } else { 1.0 }));
    shop.run(&["index", "--vectors", "v.npy", "--out", "v.index", "--metric", "cosine"]).ok();
    let search = ["index", "search", "--index", "v.index", "--queries", "q.npy", "--out", "lists.npy", "--json"];
    let lists = printed(&shop.run(&search).json());
    // A vector of zeros has no direction, and is near to none.
    assert_eq!((lists[0].len(), lists[1].len()), (0, 3));
    let npy = std::fs::read(shop.path("lists.npy")).unwrap();
    let rows: Vec<i64> = npy[npy.len() - 48..].as_chunks().0.iter().map(|word| i64::from_le_bytes(*word)).collect();
    assert!(rows[..3] == [-1; 3] && rows[3..].iter().all(|row| (0..3).contains(row)));
}

#[test]
fn a_search_that_cannot_be_made_says_why() {
    let shop = Shop::new();
    shop.write("v.npy", npy(400, 5, wave)).write("q.npy", npy(4, 5, wave)).write("wide.npy", npy(4, 6, wave));
    shop.run(&["index", "--vectors", "v.npy", "--out", "v.index"]).ok();
    let search = |index: &str, queries: &str, more: &[&str]| {
        shop.run(&[&["index", "search", "--index", index, "--queries", queries], more].concat())
    };
    search("v.index", "wide.npy", &[]).fails(1, &["wide.npy", "6 numbers", "v.index", "of 5"]);
    search("absent.index", "q.npy", &[]).fails(1, &["absent.index"]);
    search("v.npy", "q.npy", &[]).hints(1, &["`v.npy` cannot be used", "damaged, or is none"]);
    search("v.index", "absent.npy", &[]).fails(1, &["absent.npy"]);
    search("v.index", "q.npy", &["--out", "lists.txt"]).hints(2, &["lists.txt"]);
    search("v.index", "q.npy", &["--out", "no/lists.npy"]).fails(1, &["`no/lists.npy` cannot be written"]);
    search("v.index", "q.npy", &["--k", "0"]).fails(2, &["--k"]);
    shop.damage("v.index", |bytes| *bytes.last_mut().unwrap() ^= 1);
    search("v.index", "q.npy", &[]).hints(1, &["`v.index` cannot be used", "damaged"]);
}

//! The rules of the house that no compiler checks; `ARCHITECTURE.md` says why each of them is there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The only modules with unsafe code: a matrix product takes pointers, and a mapped file can change under its reader.
const UNSAFE: [&str; 3] =
    ["crates/retrieve/src/block.rs", "crates/retrieve/src/product.rs", "crates/train/src/gemm.rs"];
/// What each crate may use of the others. `train` and `retrieve` never meet but in the binary.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("store", &[]),
    ("measure", &[]),
    ("bundle", &[]),
    ("portrait", &["store", "measure", "bundle"]),
    ("dataset", &["store", "bundle"]),
    ("train", &["dataset", "bundle", "measure"]),
    ("retrieve", &["bundle", "measure"]),
    ("lookalike", &["store", "measure", "portrait", "bundle", "dataset", "train", "retrieve"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every text file of the repository by its path; what git ignores does not belong to it.
fn files() -> BTreeMap<String, String> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let listed = Command::new("git").args(list).current_dir(root()).output();
    let names = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
        }
        _ => walk(&root()),
    };
    let read = |name: String| Some((name.clone(), std::fs::read_to_string(root().join(name)).ok()?));
    let files: BTreeMap<_, _> = names.into_iter().filter_map(read).collect();
    assert!(files.len() > 60 && files.contains_key("Cargo.toml"), "{} files", files.len());
    files
}

/// The same for a copy of the repository without its history.
fn walk(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name == "target" || name == ".git" => {}
            true => names.extend(walk(&path)),
            false => names.push(path.strip_prefix(root()).unwrap().display().to_string()),
        }
    }
    names
}

/// The Rust files whose path begins with `folder`.
fn rust(folder: &str) -> Vec<(String, String)> {
    files().into_iter().filter(|(name, _)| name.starts_with(folder) && name.ends_with(".rs")).collect()
}

/// The code of a file without its comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

#[track_caller]
fn none(offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

/// Lines of code in `crates/` that hold one of these words, except in files that `allowed` names.
fn lines_with(words: &[&str], allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in rust("crates/").into_iter().filter(|(name, _)| !allowed(name)) {
        let holds = |line: &&str| words.iter().any(|word| line.contains(word));
        found.extend(code(&text).filter(holds).map(|line| format!("{name}: {}", line.trim())));
    }
    found
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    none(rust("").into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect());
}

#[test]
fn no_file_is_longer_than_600_lines() {
    none(rust("").into_iter().filter(|(_, text)| text.lines().count() > 600).map(|(name, _)| name).collect());
}

#[test]
fn only_train_knows_burn() {
    let words = ["burn::", "burn_", "cubecl", "use burn", "wgpu"];
    none(lines_with(&words, |name| name.starts_with("crates/train/")));
}

#[test]
fn only_retrieve_knows_hnsw_rs() {
    none(lines_with(&["hnsw_rs"], |name| name.starts_with("crates/retrieve/")));
}

#[test]
fn only_the_printer_prints() {
    let allowed = |name: &str| name == "crates/lookalike/src/say.rs" || !name.contains("/src/");
    none(lines_with(&["print!(", "println!(", "dbg!(", "io::stdout", "io::stderr"], allowed));
}

#[test]
fn only_ctrl_c_exits() {
    none(lines_with(&["process::exit", "process::abort"], |name| name == "crates/lookalike/src/stop.rs"));
}

#[test]
fn unsafe_code_stays_where_it_was_declared() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern", "allow(unsafe_code)"];
    none(lines_with(&words, |name| UNSAFE.contains(&name)));
    let text = |name| std::fs::read_to_string(root().join(name)).unwrap();
    none(UNSAFE.into_iter().filter(|name| !text(*name).contains("unsafe {")).map(str::to_owned).collect());
}

#[test]
fn crates_use_only_what_is_below_them() {
    for (name, text) in
        files().into_iter().filter(|(name, _)| name.starts_with("crates/") && name.ends_with("Cargo.toml"))
    {
        // A fuzz target stands outside of the product and uses what it fuzzes.
        if name.contains("/fuzz/") {
            continue;
        }
        let own = name.split('/').nth(1).unwrap();
        let (_, may_use) = MAY_USE.iter().find(|(name, _)| *name == own).unwrap_or_else(|| panic!("{own} has no rule"));
        for line in text.lines().filter_map(|line| line.strip_prefix("lookalike-")) {
            let used = line.split('.').next().unwrap();
            assert!(may_use.contains(&used), "{own} uses {used}");
        }
        for (only, room) in [("burn", "train"), ("cubecl", "train"), ("hnsw_rs", "retrieve")] {
            assert!(own == room || !text.lines().any(|line| line.starts_with(only)), "{own} uses {only}");
        }
    }
}

#[test]
fn no_path_of_one_computer_is_left_in_a_file() {
    let folders = ["work", "home", "root", "Users"].map(|folder| format!("/{folder}/"));
    let offends = |line: &&str| folders.iter().any(|folder| line.contains(folder));
    let mut found = Vec::new();
    for (name, text) in files().iter().filter(|(name, _)| *name != "Cargo.lock") {
        found.extend(text.lines().filter(offends).map(|line| format!("{name}: {}", line.trim())));
    }
    none(found);
}

#[test]
fn no_work_is_left_open() {
    let words = ["TODO", "FIXME", "XXX", "HACK"].map(|word| format!("// {word}"));
    let offends = |text: &str| words.iter().any(|word| text.contains(word));
    none(rust("").into_iter().filter(|(_, text)| offends(text)).map(|(name, _)| name).collect());
}

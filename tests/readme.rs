//! Every path, command and flag that `README.md` and `ARCHITECTURE.md` mention exists.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Shop;

const PAGES: [&str; 2] = ["README.md", "ARCHITECTURE.md"];
const VERBS: [&str; 11] =
    ["ingest", "profile", "segment", "train", "evaluate", "index", "recommend", "similar", "show", "check", "forget"];
/// What cargo is told besides the names that are looked up below.
const CARGO: [&str; 9] = ["run", "test", "build", "fmt", "clippy", "install", "--release", "--all-targets", "--all"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The code of a page: `spans` between backticks, and the command lines of its fenced blocks.
struct Code {
    spans: Vec<String>,
    commands: Vec<String>,
}

fn code(page: &str) -> Code {
    let (mut spans, mut commands, mut fenced) = (Vec::new(), Vec::new(), false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let line = line.trim().trim_start_matches("$ ").split(" #").next().unwrap_or_default();
            if ["cargo ", "lookalike ", "python3 ", "scripts/", ".ci/"].iter().any(|start| line.starts_with(start)) {
                commands.push(line.to_owned());
            }
        } else {
            spans.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert!(!fenced, "a fenced block does not end");
    commands.extend(spans.iter().filter(|span| span.starts_with("cargo ") || span.starts_with("lookalike ")).cloned());
    Code { spans, commands }
}

fn help(verb: &str) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_lookalike")).args([verb, "--help"]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Whether a help text explains exactly this flag.
fn explains(help: &str, flag: &str) -> bool {
    help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == flag)
}

fn flags(command: &str) -> impl Iterator<Item = &str> {
    command
        .split_whitespace()
        .map(|word| word.split('=').next().unwrap_or_default())
        .filter(|word| word.starts_with("--"))
}

fn check_lookalike(command: &str) {
    let verb = command.split_whitespace().next().unwrap_or_default();
    if verb.starts_with("--") {
        return;
    }
    let mut help = help(verb).unwrap_or_else(|| panic!("`lookalike {command}`: there is no verb `{verb}`"));
    let verbs = [
        "bench", "search", "data", "tags", "privacy", "user", "tag", "segment", "model", "diff", "validate", "fit",
        "describe", "compare",
    ];
    if let Some(of) = command.split_whitespace().nth(1).filter(|word| verbs.contains(word)) {
        let output = Command::new(env!("CARGO_BIN_EXE_lookalike")).args([verb, of, "--help"]).output().unwrap();
        help += &String::from_utf8(output.stdout).unwrap();
    }
    for flag in flags(command) {
        assert!(explains(&help, flag), "`lookalike {command}`: `{verb}` has no flag `{flag}`");
    }
}

fn check_cargo(command: &str) {
    let command = command.trim_end_matches(" --");
    let (own, ours) = command.split_once(" -- ").map_or((command, None), |(own, ours)| (own, Some(ours)));
    let mut words = own.split_whitespace();
    let known = |kind: &str, name: &str| match kind {
        "-p" => root().join("crates").join(name.trim_start_matches("lookalike-")).exists(),
        "--path" => root().join(name).exists(),
        "--test" => [format!("tests/{name}.rs"), format!("crates/train/tests/{name}.rs")]
            .iter()
            .any(|at| root().join(at).exists()),
        "--example" => root().join(format!("crates/retrieve/examples/{name}.rs")).exists(),
        _ => false,
    };
    while let Some(word) = words.next() {
        let fine = CARGO.contains(&word) || known(word, words.next().unwrap_or_default());
        assert!(fine, "`cargo {command}`: `{word}` is not known to this test");
    }
    match own.starts_with("run") {
        true => check_lookalike(ours.unwrap_or("--help")),
        false => assert!(ours.is_none() || own.starts_with("clippy") || own.starts_with("test"), "`cargo {command}`"),
    }
}

/// Whether a word is written like a path: parts divided by slashes, or a file name with a usual extension.
fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._/*-".contains(c));
    let file = [".rs", ".toml", ".md", ".py", ".sh", ".parquet", ".safetensors", ".json", ".jsonl", ".yml"];
    let divided = word.contains('/') && !word.starts_with('/') && !word.starts_with('-');
    plain && word.len() > 3 && (divided || file.iter().any(|end| word.ends_with(end)))
}

/// Whether the path exists below `folder`; `*` stands for anything within one part.
fn exists(folder: &Path, path: &str) -> bool {
    let pattern = folder.join(path.trim_end_matches('/'));
    if !path.contains('*') {
        return pattern.exists();
    }
    let (parent, name) = (pattern.parent().unwrap(), pattern.file_name().unwrap().to_string_lossy().into_owned());
    let (start, end) = name.split_once('*').unwrap_or((&name, ""));
    let fits = |name: &str| name.starts_with(start) && name.ends_with(end);
    parent.read_dir().is_ok_and(|mut names| names.any(|entry| fits(&entry.unwrap().file_name().to_string_lossy())))
}

/// Whether a word is the name of a tag that ships with the program, or of the shop.
fn is_tag(shop: &Shop, word: &str) -> bool {
    let Some((path, section)) = word.rsplit_once('/') else { return false };
    let folders = [root().join("crates/portrait/catalogue"), shop.path("tags")];
    let texts = folders.iter().filter_map(|folder| std::fs::read_to_string(folder.join(format!("{path}.toml"))).ok());
    texts.into_iter().any(|text| text.lines().any(|line| line == format!("[{section}]")))
}

/// Folders that pages speak of: the repository and its parts, a project, its run and that run's bundle.
fn places(shop: &Shop) -> Vec<PathBuf> {
    let made = ["", "store", "runs/ials", "runs/ials/bundle", "profiles/2024-07-01"].map(|name| shop.path(name));
    let mut places: Vec<PathBuf> = [root()].into_iter().chain(made).collect();
    for folder in ["models", "scripts", "tests", "datasets/complete-journey", "crates"] {
        places.push(root().join(folder));
    }
    let crates = root().join("crates").read_dir().unwrap().map(|entry| entry.unwrap().path());
    places.extend(crates.flat_map(|path| [path.join("src"), path.join("tests"), path]));
    places.push(root().join("crates/lookalike/src/verbs"));
    // What not every project has.
    let fixture = root().join("crates/store/tests/fixtures/format-2");
    places.extend([fixture.join("store"), fixture]);
    places
}

#[test]
fn every_command_and_flag_exists() {
    for name in PAGES {
        for command in code(&page(name)).commands {
            match command.split_once(' ') {
                Some(("lookalike", rest)) => check_lookalike(rest),
                Some(("cargo", rest)) => check_cargo(rest),
                _ => {}
            }
        }
    }
}

#[test]
fn every_flag_on_its_own_exists() {
    let all: String = VERBS.iter().filter_map(|verb| help(verb)).chain(help("show").map(|_| String::new())).collect();
    for name in PAGES {
        for span in code(&page(name)).spans.iter().filter(|span| span.starts_with("--")) {
            for flag in flags(span) {
                assert!(explains(&all, flag) || CARGO.contains(&flag), "{name}: `{span}`");
            }
        }
    }
}

#[test]
fn every_path_exists() {
    // Where nobody has friends, a bundle has no file of them.
    let circle = "[sources.circle]\npath = \"circle.csv\"\ntable = \"edges\"\nkind = \"friend\"\nmap = { from = \"a\", to = \"b\" }\n";
    let shop = Shop::with("[interactions]\n", &format!("{circle}[interactions]\n"));
    shop.write("lines.csv", common::drifting()); // else no list would be ranked, and there would be no file of that
    shop.write("circle.csv", "a,b\nu00,u01\n").train(&["--epochs", "4", "--quiet"]).ok();
    shop.train(&["--epochs", "1", "--tune", "2", "--quiet"]).ok();
    shop.run(&["profile", "--as-of", "2024-07-01", "--quiet"]).ok();
    let fit = ["segment", "fit", "segment/behaviour", "--on", "consumption/value/spend", "--k", "2", "--quiet"];
    shop.run(&fit).ok();
    let near = ["--run", "runs/ials", "--items", "category LIKE 'aisle 1%'", "--quiet"];
    shop.run(&[&["segment", "fit", "preference/deli"][..], &near].concat()).ok();
    let tier = ["--target", "consumption/value/tier", "--on", "consumption/value/spend", "--quiet"];
    shop.run(&[&["segment", "fit", "told/tier"][..], &tier].concat()).ok();
    let places = places(&shop);
    for name in PAGES {
        let Code { spans, commands } = code(&page(name));
        for word in spans.iter().chain(&commands).flat_map(|text| text.split_whitespace()).filter(|word| is_path(word))
        {
            // The bundled project is not trained here; what training leaves in a project is looked up in another one.
            let there = word.strip_prefix("datasets/complete-journey/").map_or(word, |rest| rest);
            let found = places.iter().any(|place| exists(place, word) || exists(place, there)) || is_tag(&shop, word);
            assert!(found, "{name} mentions `{word}`, which is in none of the places it could be in");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for name in PAGES {
        for link in page(name).split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
            let local = link.split('#').next().unwrap_or_default();
            assert!(
                link.contains("://") || local.is_empty() || root().join(local).exists(),
                "{name} links to `{link}`"
            );
        }
    }
}

#[test]
fn the_first_page_names_every_verb_and_both_commands() {
    let readme = page("README.md");
    assert!(!readme.contains("@@"), "a placeholder is left");
    for verb in VERBS {
        assert!(readme.contains(verb), "{verb}");
    }
    for command in ["cargo run --release -- train --project datasets/complete-journey", "cargo test --release"] {
        assert!(readme.contains(command), "{command}");
    }
}

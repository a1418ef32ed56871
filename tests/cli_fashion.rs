//! The fashion shop from its generator to its four segments: what was planted in it is what comes out.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Said, Shop, parquet_rows};

const SEGMENT: &str = "consumption/segment/shopper";
/// The share of each planted group that must be found as such, a few hundredths under what was measured.
const FOUND: [(&str, f64); 4] =
    [("trend-seeker", 0.91), ("value-first", 0.89), ("brand-loyalist", 0.92), ("potential", 1.0)];

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fashion")
}

/// A folder with the shop in `fashion`, made and ingested.
fn fashion() -> (Shop, Said) {
    let shop = Shop::new();
    match Command::new("python3").arg(script()).arg(shop.path("fashion")).output() {
        Ok(output) => drop(Said::from(output).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("there is no `python3` on the path; the fashion shop is made by {}", script().display())
        }
        Err(error) => panic!("{}: {error}", script().display()),
    }
    let said = run(&shop, &["ingest", "--json"]).ok();
    (shop, said)
}

fn run(shop: &Shop, args: &[&str]) -> Said {
    shop.run(&[args, &["--project", "fashion"]].concat())
}

/// The lines after the header of a file of the shop, by comma.
fn lines(shop: &Shop, name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(shop.path("fashion").join(name)).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

/// The values of a tag by user, best first, in the profile of a day.
fn values(shop: &Shop, day: &str, tag: &str) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in parquet_rows(&shop.path(&format!("fashion/profiles/{day}/long.parquet"))) {
        let mut fields = row.split('|').map(str::to_owned);
        if fields.next().unwrap() == tag {
            let (user, value) = (fields.next().unwrap(), fields.nth(1).unwrap());
            values.entry(user).or_default().push(value);
        }
    }
    values
}

#[test]
fn what_was_planted_is_refused_and_nothing_else() {
    let (shop, said) = fashion();
    let report = said.json();
    let mut planted: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines(&shop, "bad_lines.csv") {
        *planted.entry(line[0].clone()).or_default() += line[1].parse::<u64>().unwrap();
    }
    assert!(planted.len() == 3, "{planted:?}");
    for (source, said) in report["sources"].as_object().unwrap() {
        let refused = planted.remove(source).unwrap_or_default();
        assert_eq!((&said["quarantined"], &said["fixed"]), (&refused.into(), &0.into()), "{source}: {said}");
    }
    assert!(planted.is_empty(), "no source refused {planted:?}");
}

#[test]
fn planted_groups_and_tastes_are_found() {
    let (shop, _) = fashion();
    run(&shop, &["profile", "--as-of", "2024-07-01"]).ok();
    let planted: BTreeMap<String, Vec<String>> =
        lines(&shop, "planted.csv").into_iter().map(|line| (line[0].clone(), line)).collect();

    // Everyone is in one segment, and something is done for every segment.
    let segments = values(&shop, "2024-07-01", SEGMENT);
    assert!(segments.keys().eq(planted.keys()), "{} of {} users", segments.len(), planted.len());
    assert!(segments.values().all(|values| values.len() == 1));
    let document = run(&shop, &["show", "segment", SEGMENT, "--json"]).json();
    let shown = document["values"].as_array().unwrap();
    assert_eq!(shown.iter().map(|value| value["users"].as_u64().unwrap()).sum::<u64>(), planted.len() as u64);
    for value in shown {
        assert!(FOUND.iter().any(|(group, _)| value["value"] == *group), "{value}");
        let texts = [&value["title"]["zh"], &value["title"]["en"], &value["treatment"]];
        assert!(texts.iter().all(|text| text.as_str().is_some_and(|text| !text.is_empty())), "{value}");
    }

    for (group, least) in FOUND {
        let members: Vec<&String> = planted.iter().filter(|(_, line)| line[1] == group).map(|(user, _)| user).collect();
        let found = members.iter().filter(|user| segments[**user][0] == group).count() as f64;
        let share = found / members.len() as f64;
        assert!(share >= least, "{group}: {share:.3} of {} found, {least} expected", members.len());
    }

    // Trend seekers look for a style of their own, and value-first customers for none.
    let styles = values(&shop, "2024-07-01", "consumption/taste/style");
    let known = |group: &str| {
        let members: Vec<_> = planted.iter().filter(|(_, line)| line[1] == group).collect();
        let right = |user: &String, line: &[String]| styles.get(user).is_some_and(|found| found.contains(&line[3]));
        members.iter().filter(|(user, line)| right(user, line)).count() as f64 / members.len() as f64
    };
    let (taste, none) = (known("trend-seeker"), known("value-first"));
    assert!(taste >= 0.75 && none <= 0.4, "planted styles found: {taste:.3}, by chance {none:.3}");
}

#[test]
fn an_earlier_day_puts_those_who_were_there_into_a_segment() {
    let (shop, _) = fashion();
    for day in ["2023-12-01", "2024-03-01"] {
        run(&shop, &["profile", "--as-of", day]).ok();
    }
    let segments = values(&shop, "2023-12-01", SEGMENT);
    let mut there: Vec<String> = lines(&shop, "users.csv")
        .into_iter()
        .filter(|line| line[1].as_str() < "2023-12-01")
        .map(|line| line[0].clone())
        .collect();
    let clicks = lines(&shop, "clicks.csv");
    let seen = clicks.iter().filter(|line| line[0].as_str() < "2023-12-01" && line[2].starts_with('g'));
    there.extend(seen.map(|line| line[2].clone()));
    there.sort_unstable();
    there.dedup();
    assert!(there.len() > 1000 && segments.keys().eq(&there), "{} of {} users", segments.len(), there.len());
    run(&shop, &["profile", "diff", "2023-12-01", "2024-03-01"]).says(&[SEGMENT, "trend-seeker", "potential"]);
}

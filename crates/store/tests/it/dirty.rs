//! Random dirt: whatever a csv holds, every line is accounted for, and the store is what a plain model says.

use std::collections::BTreeSet;

use lookalike_store::Table;
use proptest::prelude::*;

use crate::kit::{EVENTS, Folder};

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", " a", "", "x y", "\"q\nr\"", "é"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["2017-01-01", "2017-03-12 02:30:00", "1066-10-14", "soon"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["1", "-2.5", "NaN", "inf", "1e400", " 3", "0x1"]).prop_map(str::to_owned),
        1 => "[ -~&&[^\",]]{0,6}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let good = ("[ab]", "[xyz]", 1..29_u32).prop_map(|(u, i, day)| format!("{u},{i},2017-01-{day:02},1"));
    prop_oneof![2 => good, 3 => prop::collection::vec(field(), 1..6).prop_map(|fields| fields.join(","))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_accounted_for(lines in prop::collection::vec(line(), 0..40)) {
        let toml = EVENTS.replace("kind =", "key = [\"u\", \"i\", \"t\"]\nkind =");
        let folder = Folder::new(&toml).write("log.csv", format!("u,i,t,v\nz,x,2017-01-01,1\n{}\n", lines.join("\n")));
        let report = folder.ingest().unwrap();
        let log = &report.sources["log"];
        prop_assert_eq!(log.lines, log.kept + log.fixed + log.quarantined);
        prop_assert_eq!(log.reasons.values().sum::<u64>(), log.fixed + log.quarantined);
        prop_assert_eq!(report.tables["events"], log.kept + log.fixed);
        prop_assert_eq!(folder.quarantined().len() as u64, log.quarantined);
    }
}

#[test]
fn sorting_and_repeats_agree_with_a_plain_model() {
    // More rows than a batch and a row group hold, in an order that a multiplier of a prime modulus scatters.
    let rows: Vec<(u64, u64, u64)> =
        (0..150_001_u64).map(|i| i * 48_271 % 2_147_483_647).map(|x| (x % 997, x % 89, x % 27 + 1)).collect();
    let line = |(user, item, day): &(u64, u64, u64)| format!("u{user:03},i{item},2017-01-{day:02},1\n");
    let toml = EVENTS.replace("kind =", "key = [\"u\", \"i\"]\nkind =");
    let text: String = rows.iter().map(line).collect();
    let folder = Folder::new(&toml).write("log.csv", format!("u,i,t,v\n{text}"));

    let mut seen = BTreeSet::new();
    let mut model: Vec<_> = rows.iter().filter(|(user, item, _)| seen.insert((*user, *item))).collect();
    model.sort_by_key(|(user, _, day)| (*user, *day));
    let model: Vec<String> = model.iter().map(|(user, item, _)| format!("u{user:03}|i{item}")).collect();
    assert!(folder.rows(Table::Events, &["user", "item"]) == model);
}

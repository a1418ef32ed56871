//! The consent ledger: whose data may be read for what, on which day.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lookalike_store::{Project, Store, Table};
use proptest::prelude::*;

use crate::kit::{Folder, lines, says, told};

const TOML: &str = r#"
[sources.log]
path = "log.csv"
table = "events"
kind = "buy"
at = { column = "t", stored_as = "UTC" }
map = { user = "u", item = "i" }
[sources.words]
path = "words.csv"
table = "events"
kind = "consent"
at = { column = "t", stored_as = "UTC" }
map = { user = "u", text = "what", campaign = "for", session = "until" }
[sources.friends]
path = "friends.csv"
table = "edges"
kind = "friend"
map = { from = "a", to = "b" }
[sources.targets]
path = "friends.csv"
table = "edges"
kind = "targeted"
people = ["to"]
map = { from = "a", to = "b" }
[sources.people]
path = "people.csv"
table = "users"
map = { user = "u", age = "age" }
[consent]
kind = "consent"
action = "text"
purpose = "campaign"
expires = "session"
default = "granted"
[interactions]
kinds = { buy = 1.0 }
split = "leave-last"
"#;

fn folder(toml: &str, words: &str) -> Folder {
    Folder::new(toml)
        .write("log.csv", "u,i,t\nann,x,2020-01-01\nbob,x,2020-01-01\ncat,x,2020-01-01\n")
        .write("words.csv", format!("u,t,what,for,until\nzoe,2020-01-01,grant,,\n{words}"))
        .write("friends.csv", "a,b\nann,bob\nbob,cat\ncat,ann\n")
        .write("people.csv", "u,age\nann,30\nbob,40\ndan,50\n")
}

fn at(folder: &Folder, day: &str) -> jiff::Timestamp {
    folder.project().instant(day).unwrap()
}

fn withheld(folder: &Folder, purpose: &str, day: &str) -> Vec<String> {
    let mut people: Vec<String> = folder.store().withheld(purpose, at(folder, day)).unwrap().into_iter().collect();
    people.sort();
    people
}

#[test]
fn coded_text_is_withheld_as_text_is() {
    let folder = folder(TOML, "bob,2020-02-01,revoke,all,\n");
    let day = at(&folder, "2020-06-01");
    let store = folder.store().for_purpose("training", day);
    let (mut coded, mut plain) = (Vec::new(), Vec::new());
    // Whatever column is asked for: the one that names people is read beside it.
    for batch in store.scan_coded(&["kind", "user"], 0..1).unwrap() {
        let batch = cast(batch.unwrap().column(1), &DataType::Utf8).unwrap();
        coded.extend(batch.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    for batch in store.scan(Table::Events, &["user"]).unwrap() {
        plain.extend(batch.unwrap().column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    assert_eq!(coded, plain);
    assert!(coded.contains(&"ann".to_owned()) && !coded.contains(&"bob".to_owned()), "{coded:?}");
    let rows: usize = store.scan_coded(&["item"], 0..1).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, plain.len());
    assert_eq!(store.span().unwrap(), Some((day_of("2020-01-01"), day_of("2020-01-01"))));
}

fn day_of(day: &str) -> i64 {
    format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

#[test]
fn later_rows_win_and_of_rows_at_one_instant_the_strictest() {
    let words = "ann,2020-02-01,revoke,training,\nann,2020-03-01,grant,training,\n\
                 bob,2020-02-01,grant,,\nbob,2020-02-01,Deny,marketing,\ncat,2020-05-01,revoke,all,\n";
    let folder = folder(TOML, words);
    assert_eq!(withheld(&folder, "training", "2020-02-15"), ["ann"]);
    assert_eq!(withheld(&folder, "training", "2020-03-01"), Vec::<String>::new());
    assert_eq!(withheld(&folder, "marketing", "2020-03-01"), ["bob"]);
    assert_eq!(withheld(&folder, "profile", "2020-06-01"), ["cat"]);
    // A purpose that nobody was asked about is held to all those that they were asked about.
    assert_eq!(withheld(&folder, "resale", "2020-06-01"), ["bob", "cat"]);
}

#[test]
fn a_grant_ends() {
    let folder =
        folder(TOML, "ann,2020-02-01,grant,training,2020-03-01\nbob,2020-02-01,grant,training,2020-03-01T12:00:00Z\n");
    assert_eq!(withheld(&folder, "training", "2020-02-29"), Vec::<String>::new());
    assert_eq!(withheld(&folder, "training", "2020-03-01"), ["ann"]);
    assert_eq!(withheld(&folder, "training", "2020-03-02"), ["ann", "bob"]);
}

#[test]
fn where_nothing_said_is_no() {
    let folder = folder(&TOML.replace("\"granted\"", "\"denied\""), "ann,2020-02-01,grant,training,\n");
    assert_eq!(withheld(&folder, "training", "2020-03-01"), ["bob", "cat", "dan"]);
    assert_eq!(withheld(&folder, "training", "2020-01-15"), ["ann", "bob", "cat", "dan"]);
    assert_eq!(withheld(&folder, "profile", "2020-03-01"), ["ann", "bob", "cat", "dan"]);
}

#[test]
fn nobody_is_withheld_where_nobody_is_asked() {
    let start = TOML.find("[consent]").unwrap();
    let end = TOML.find("[interactions]").unwrap();
    let folder = folder(&format!("{}{}", &TOML[..start], &TOML[end..]), "ann,2020-02-01,revoke,,\n");
    assert!(folder.store().withheld("training", at(&folder, "2021-01-01")).unwrap().is_empty());
    assert!(folder.ingest().unwrap().consent.is_none());
}

#[test]
fn every_table_is_read_without_those_withheld() {
    let folder = folder(TOML, "ann,2020-02-01,revoke,training,\n");
    let store = folder.store().for_purpose("training", at(&folder, "2020-03-01"));
    assert_eq!(lines(store.scan(Table::Events, &["item", "user"]).unwrap()), ["x|bob", "x|cat", "-|zoe"]);
    assert_eq!(lines(store.scan(Table::Users, &["age"]).unwrap()), ["40", "50"]);
    // `ann` as a friend is a person at both ends; as a campaign that targets somebody she is none.
    let edges = lines(store.scan(Table::Edges, &["kind", "from", "to"]).unwrap());
    assert_eq!(edges, ["targeted|ann|bob", "friend|bob|cat", "targeted|bob|cat"]);
    assert_eq!(store.scan(Table::Items, &["item"]).unwrap().count(), 0);
    let store = folder.store().for_purpose("profile", at(&folder, "2020-03-01"));
    assert_eq!(lines(store.scan(Table::Users, &["user"]).unwrap()), ["ann", "bob", "dan"]);
    // Who is read is part of what a store is told apart by, so that nothing that was made with `ann` is taken for current.
    assert_ne!(store.hash(), folder.store().for_purpose("training", at(&folder, "2020-03-01")).hash());
    // Read for no purpose in particular, a store gives only those who allow every purpose today.
    assert_eq!(lines(folder.store().scan(Table::Users, &["user"]).unwrap()), ["bob", "dan"]);
}

#[test]
fn words_that_are_not_understood_are_set_aside_and_told() {
    let folder = folder(
        TOML,
        "ann,2020-02-01,yes,training,\nann,2020-02-01,deny,trainnig,\nann,2020-02-01,grant,training,soon\n",
    );
    let report = folder.ingest().unwrap();
    assert_eq!(
        folder.quarantined(),
        [
            "3 `text` says neither `grant` nor `deny` nor `revoke`: `yes`",
            "4 `campaign` names no purpose of the project: `trainnig`",
            "5 `session` is no end of a consent: `soon`"
        ]
    );
    // Of `zoe` nothing but her word is known.
    let consent = report.consent.unwrap();
    assert_eq!((consent.lines, consent.people, consent.unknown), (1, 1, 1));
    let findings = lookalike_store::check(&folder.project(), &folder.store(), at(&folder, "2020-03-01"), None).unwrap();
    let found = findings.iter().find(|finding| finding.name == "consent: every row is understood").unwrap();
    assert_eq!((found.ok, found.figure), (false, 3.0));
    let found = findings.iter().find(|finding| finding.name == "consent: people are known").unwrap();
    assert_eq!((found.ok, found.figure), (true, 1.0));
}

#[test]
fn consent_that_cannot_be_declared_so() {
    let error = |from: &str, to: &str| {
        assert!(TOML.contains(from), "{from}");
        told(&Project::open(Folder::new(&TOML.replacen(from, to, 1)).path()).unwrap_err())
    };
    says(&error("action = \"text\"", "action = \"txt\""), &["line 31: unknown column `txt`", "did you mean `text`?"]);
    says(&error("action = \"text\"", "action = \"value\""), &["unknown column `value`"]);
    says(
        &error("kind = \"consent\"\naction", "kind = \"consnet\"\naction"),
        &["unknown kind `consnet`", "did you mean `consent`?"],
    );
    says(&error("\"granted\"", "\"grated\""), &["unknown default `grated`", "did you mean `granted`?"]);
    says(&error("default = ", "defalt = "), &["unknown key `consent.defalt`", "did you mean `default`?"]);
    says(&error("people = [\"to\"]", "people = [\"two\"]"), &["line 23: unknown end `two`", "did you mean `to`?"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever's latest word is no is in nothing that is read afterwards, whatever column it would stand in; everybody else
    /// is.
    #[test]
    fn a_revoked_person_is_in_nothing_that_is_read(
        words in prop::collection::vec((0..12_usize, 1..28_u32, 0..3_usize, 0..3_usize), 0..30),
    ) {
        let name = |n: usize| format!("person-{n:02}");
        let events: String = (0..12).map(|n| format!("{},thing,2020-01-01\n", name(n))).collect();
        let rows: String = words.iter()
            .map(|(who, day, what, purpose)| {
                let (what, purpose) = (["grant", "deny", "revoke"][*what], ["training", "profile", ""][*purpose]);
                format!("{},2020-02-{day:02},{what},{purpose},\n", name(*who))
            })
            .collect();
        let friends: String = (0..12).map(|n| format!("{},{}\n", name(n), name((n * 5 + 1) % 12))).collect();
        let ages: String = (0..12).map(|n| format!("{},{n}\n", name(n))).collect();
        let folder = Folder::new(TOML)
            .write("log.csv", format!("u,i,t\n{events}"))
            .write("words.csv", format!("u,t,what,for,until\nzoe,2020-01-01,grant,,\n{rows}"))
            .write("friends.csv", format!("a,b\n{friends}"))
            .write("people.csv", format!("u,age\n{ages}"));
        // The model: of the rows about training the latest, and no among those of one day.
        let mut latest: BTreeMap<usize, (u32, bool)> = BTreeMap::new();
        for (who, day, what, purpose) in words.iter().filter(|(.., purpose)| *purpose != 1) {
            let _ = purpose;
            let no = *what > 0;
            let word = latest.entry(*who).or_insert((*day, no));
            *word = match word.0.cmp(day) {
                std::cmp::Ordering::Less => (*day, no),
                std::cmp::Ordering::Equal => (*day, word.1 || no),
                std::cmp::Ordering::Greater => *word,
            };
        }
        let out: BTreeSet<String> = latest.iter().filter(|(_, (_, no))| *no).map(|(who, _)| name(*who)).collect();
        folder.ingest().unwrap();
        let project = folder.project();
        let store = Store::open(&project).unwrap().for_purpose("training", at(&folder, "2020-03-01"));
        let mut read = String::new();
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Edges) {
            let columns = store.columns(table).unwrap();
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            read += &lines(store.scan(table, &names).unwrap()).join("\n");
            read += "\n";
        }
        for line in lines(store.scan(Table::Edges, &["kind", "from", "to"]).unwrap()) {
            // The other end of `targeted` is a campaign that happens to be called like a person.
            read += line.strip_prefix("targeted|").map_or(line.as_str(), |ends| ends.split('|').nth(1).unwrap());
            read += "\n";
        }
        for who in (0..12).map(name) {
            prop_assert_eq!(read.contains(&who), !out.contains(&who), "{}", who);
        }
    }
}

//! Profiles of small made-up shops, judged by plain loops over the same events.
#![allow(clippy::unwrap_used)]

#[path = "../kit/mod.rs"]
mod kit;
mod models;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;

use jiff::civil::{Date, date};
use lookalike_portrait::{Catalogue, Profile, Values, snapshot, why};
use lookalike_store::{Project, Store};
use proptest::prelude::*;

use kit::Folder;

const TOML: &str = r#"[project]
name = "test"
timezone = "America/New_York"

[sources.log]
path = "log.csv"
table = "events"
kind = { column = "kind" }
at = { column = "at", stored_as = "UTC" }
map = { user = "user", item = "item", value = "value", quantity = "quantity", discount = "discount", session = "session", channel = "channel" }

[sources.shelf]
path = "shelf.csv"
table = "items"
map = { item = "item", category = ["wide", "narrow"], brand = "brand" }

[sources.people]
path = "people.csv"
table = "users"
map = { user = "user", age = "age" }

[interactions]
kinds = { purchase = 1.0 }
split = { kind = "time", test_from = "2024-06-01", validation_days = 28 }
"#;

/// An event as the tests know it; `at` is in minutes from 2024-01-01T00:00Z.
#[derive(Debug, Clone)]
struct Event {
    user: u8,
    at: u32,
    kind: &'static str,
    item: u8,
    value: f64,
    channel: u8,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(vec!["purchase", "view", "cart"]);
    (0u8..12, 0u32..200_000, kind, 0u8..9, 1u32..2000, 0u8..3).prop_map(|(user, at, kind, item, cents, channel)| {
        Event { user, at, kind, item, value: f64::from(cents) / 4.0, channel }
    })
}

fn stamp(minutes: u32) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_704_067_200 + i64::from(minutes) * 60).unwrap()
}

/// The local day of an event, by the time zone library.
fn local(event: &Event) -> jiff::civil::DateTime {
    stamp(event.at).to_zoned_datetime(jiff::tz::TimeZone::get("America/New_York").unwrap()).datetime()
}

struct Shop(Folder);

impl Deref for Shop {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.0
    }
}

impl Shop {
    fn new(events: &[Event], tags: &[(&str, &str)]) -> Shop {
        let shop = Shop(Folder::new(TOML));
        shop.write("people.csv", "user,age\nu00,30\nu01,41\nregistered,22\n");
        let shelf: String = (0..8).map(|item| format!("i{item},W{},N{},B{}\n", item % 2, item % 4, item % 3)).collect();
        shop.write("shelf.csv", &format!("item,wide,narrow,brand\n{shelf}"));
        shop.log(events);
        for (name, text) in tags {
            shop.write(format!("tags/{name}.toml"), text);
        }
        shop
    }

    fn log(&self, events: &[Event]) {
        let mut text = "user,at,kind,item,value,quantity,discount,session,channel\n".to_owned();
        for (line, event) in events.iter().enumerate() {
            let Event { user, kind, item, value, channel, .. } = event;
            let at = stamp(event.at);
            text += &format!("u{user:02},{at},{kind},i{item},{value},1,{},s{},c{channel}\n", value / 2.0, line / 2);
        }
        self.write("log.csv", &text);
    }
}

/// The bytes of a snapshot's tables.
fn bytes(project: &Project, day: Date) -> [Vec<u8>; 2] {
    ["long.parquet", "wide.parquet"].map(|name| std::fs::read(snapshot::folder(project, day).join(name)).unwrap())
}

const DAY: Date = date(2024, 4, 1);

const TAGS: &str = r#"
[orders]
kind = "metric"
of = "count"
events = "purchase"
[spend]
kind = "metric"
of = "sum(value)"
events = ["purchase", "cart"]
where = "brand = 'B1' or item is null"
[mean]
kind = "metric"
of = "mean(value)"
window = "30d"
[least]
kind = "metric"
of = "min(value)"
[most]
kind = "metric"
of = "max(value)"
window = "60d..30d"
[items]
kind = "metric"
of = "distinct(item)"
[days]
kind = "metric"
of = "distinct(day)"
[recency]
kind = "metric"
of = "recency"
events = "purchase"
[age]
kind = "metric"
of = "age"
[interval]
kind = "metric"
of = "interval"
[ratio]
kind = "metric"
of = "ratio(discount, value)"
[late]
kind = "metric"
of = "share(hour >= 18)"
[first]
kind = "first-last"
of = "first(channel)"
[last]
kind = "first-last"
of = "last(value)"
events = "view"
[brand]
kind = "preference"
by = "brand"
weight = "value"
top = 2
prior = 2
[way]
kind = "sequence"
within = "7d"
[way.steps]
view = "kind = 'view'"
cart = "kind = 'cart'"
purchase = "kind = 'purchase'"
"#;

/// What a plain loop says of the events of one user that are before the day, in the order of time.
fn plainly(name: &str, events: &[Event]) -> Option<f64> {
    let before = |event: &Event| (DAY - local(event).date()).get_days();
    let of = |kinds: &[&str]| -> Vec<Event> { events.iter().filter(|e| kinds.contains(&e.kind)).cloned().collect() };
    let brand = |event: &Event| (event.item < 8).then_some(event.item % 3);
    let values = |events: &[Event]| events.iter().map(|event| event.value).collect::<Vec<_>>();
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let days: BTreeSet<i32> = events.iter().map(before).collect();
    match name {
        "orders" => Some(of(&["purchase"]).len() as f64).filter(|n| *n > 0.0),
        "spend" => {
            let own: Vec<Event> = of(&["purchase", "cart"]).into_iter().filter(|e| brand(e) == Some(1)).collect();
            (!own.is_empty()).then(|| own.iter().map(|event| event.value).sum())
        }
        "mean" => mean(values(&events.iter().filter(|e| before(e) <= 30).cloned().collect::<Vec<_>>())),
        "least" => values(events).into_iter().reduce(f64::min),
        "most" => {
            let own: Vec<Event> = events.iter().filter(|e| before(e) <= 60 && before(e) > 30).cloned().collect();
            values(&own).into_iter().reduce(f64::max)
        }
        "items" => Some(events.iter().map(|e| e.item).collect::<BTreeSet<_>>().len() as f64),
        "days" => Some(days.len() as f64),
        "recency" => of(&["purchase"]).iter().map(before).min().map(f64::from),
        "age" => days.last().map(|days| f64::from(*days)),
        "interval" => {
            let days: Vec<i32> = days.into_iter().collect();
            let mut gaps: Vec<f64> = days.windows(2).map(|pair| f64::from(pair[1] - pair[0])).collect();
            gaps.sort_by(f64::total_cmp);
            let n = gaps.len();
            (n > 0).then(|| if n % 2 == 1 { gaps[n / 2] } else { (gaps[n / 2 - 1] + gaps[n / 2]) / 2.0 })
        }
        "ratio" => Some(0.5),
        "late" => mean(events.iter().map(|e| f64::from(u8::from(local(e).hour() >= 18))).collect()),
        "last" => of(&["view"]).last().map(|event| event.value),
        _ => unreachable!(),
    }
}

/// How far a user came: every start is tried, and the steps after it in the order of time.
fn furthest(events: &[Event]) -> Option<&'static str> {
    const STEPS: [&str; 3] = ["view", "cart", "purchase"];
    let mut best = 0;
    for (start, first) in events.iter().enumerate().filter(|(_, event)| event.kind == "view") {
        let (mut step, mut reached) = (1, first.at);
        for event in &events[start + 1..] {
            if step < 3 && event.kind == STEPS[step] && event.at - first.at <= 7 * 24 * 60 && event.at >= reached {
                (step, reached) = (step + 1, event.at);
            }
        }
        best = best.max(step);
    }
    (best > 0).then(|| STEPS[best - 1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tags_say_what_plain_loops_say(mut events in prop::collection::vec(event(), 1..300)) {
        // Ties in time keep the order of the source.
        events.sort_by_key(|event| (event.user, event.at));
        events.dedup_by_key(|event| (event.user, event.at));
        let shop = Shop::new(&events, &[("t/all", TAGS)]);
        let seen: Vec<&Event> = events.iter().filter(|event| local(event).date() < DAY).collect();
        prop_assume!(!seen.is_empty());
        let profile = shop.build(DAY).unwrap();
        let mut by_user: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        for user in ["u00", "u01", "registered"] {
            by_user.insert(user.to_owned(), Vec::new());
        }
        seen.iter().for_each(|event| by_user.entry(format!("u{:02}", event.user)).or_default().push((*event).clone()));
        prop_assert_eq!(&profile.users, &by_user.keys().cloned().collect::<Vec<_>>());
        let column = |name: &str| &profile.columns[profile.tag(&format!("t/all/{name}")).unwrap()];
        let numbers = ["orders", "spend", "mean", "least", "most", "items", "days", "recency", "age", "interval", "ratio", "late", "last"];
        let weight = |events: &[&Event], brand: u8| -> f64 {
            events.iter().filter(|e| e.item < 8 && e.item % 3 == brand).map(|e| e.value).sum()
        };
        let branded: Vec<&Event> = seen.iter().copied().filter(|event| event.item < 8).collect();
        let total: f64 = branded.iter().map(|event| event.value).sum();
        for (row, (user, events)) in by_user.iter().enumerate() {
            for name in numbers {
                let expected = if events.is_empty() { None } else { plainly(name, events) };
                let found = column(name).values.number(row);
                let near = match (found, expected) {
                    (Some(found), Some(expected)) => (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                    (found, expected) => found == expected,
                };
                prop_assert!(near, "{user} {name}: {found:?} for {expected:?}");
            }
            let first = events.first().map(|event| format!("c{}", event.channel));
            prop_assert_eq!(column("first").values.text(row), first.as_deref());
            prop_assert_eq!(column("way").values.text(row), furthest(events));
            // Preferences, by their formula.
            let own: Vec<&Event> = events.iter().filter(|event| event.item < 8).collect();
            let mine: f64 = own.iter().map(|event| event.value).sum();
            let k = 2.0 * total / branded.len().max(1) as f64;
            let mut expected: Vec<(String, f64)> = (0..3)
                .filter(|brand| weight(&own, *brand) > 0.0)
                .map(|brand| {
                    let p = weight(&branded, brand) / total;
                    (format!("B{brand}"), (weight(&own, brand) + k * p) / (mine + k) / p)
                })
                .collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            expected.truncate(2);
            let found: Vec<(String, f64)> =
                column("brand").values.list(row).map(|(name, figure)| (name.to_owned(), figure)).collect();
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found.1 - expected.1).abs() < 1e-9, "{user}: {found:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn later_events_change_no_byte(events in prop::collection::vec(event(), 1..120), more in prop::collection::vec(event(), 1..60)) {
        prop_assume!(events.iter().any(|event| local(event).date() < DAY));
        let later: Vec<Event> = more.into_iter().map(|mut event| {
            // 2024-04-01T04:00Z is the midnight in New York that is looked from.
            event.at = 91 * 24 * 60 + 4 * 60 + event.at % 50_000;
            event
        }).collect();
        let shop = Shop::new(&events, &[("t/all", TAGS)]);
        let profile = shop.build(DAY).unwrap();
        let first = snapshot::write(&shop.project(), &profile).unwrap();
        let before = bytes(&shop.project(), DAY);
        shop.log(&[events, later].concat());
        let second = snapshot::write(&shop.project(), &shop.build(DAY).unwrap()).unwrap();
        prop_assert!(before == bytes(&shop.project(), DAY));
        prop_assert_eq!(first, second);
    }
}

fn some_events() -> Vec<Event> {
    let event = |n: u32| Event {
        user: (n % 10) as u8,
        at: n * 397 % 120_000,
        kind: ["purchase", "view", "cart"][(n % 3) as usize],
        item: (n * 7 % 9) as u8,
        value: f64::from(n % 50) + 0.5,
        channel: (n % 3) as u8,
    };
    (0..400).map(event).collect()
}

#[test]
fn what_was_written_is_read() {
    let shop = Shop::new(&some_events(), &[("t/all", TAGS)]);
    let profile = shop.build(DAY).unwrap();
    let hash = snapshot::write(&shop.project(), &profile).unwrap();
    let (read, same) = snapshot::read(&shop.project(), DAY).unwrap();
    assert_eq!(
        (read.about.clone(), read.users.clone(), same),
        (profile.about.clone(), profile.users.clone(), hash.clone())
    );
    assert_eq!(read.columns, profile.columns);
    assert_eq!(snapshot::days(&shop.project()).unwrap(), [DAY]);
    // Writing it again gives the same bytes, although its names now have other places.
    let before = bytes(&shop.project(), DAY);
    assert_eq!(snapshot::write(&shop.project(), &read).unwrap(), hash);
    assert!(before == bytes(&shop.project(), DAY));
}

#[test]
fn a_changed_tag_alone_is_computed_and_the_bytes_are_those_of_all() {
    let shop = Shop::new(&some_events(), &[("t/all", TAGS)]);
    let (project, store) = (shop.project(), shop.store());
    let first = Profile::build(&project, &store, &Catalogue::open(&project).unwrap(), DAY, None).unwrap();
    snapshot::write(&project, &first).unwrap();
    shop.write("tags/t/all.toml", &TAGS.replace("window = \"30d\"", "window = \"20d\""));
    let catalogue = Catalogue::open(&project).unwrap();
    let (before, _) = snapshot::read(&project, DAY).unwrap();
    let continued = Profile::build(&project, &store, &catalogue, DAY, Some(&before)).unwrap();
    snapshot::write(&project, &continued).unwrap();
    let bytes_continued = bytes(&project, DAY);
    let anew = Profile::build(&project, &store, &catalogue, DAY, None).unwrap();
    snapshot::write(&project, &anew).unwrap();
    assert!(bytes_continued == bytes(&project, DAY));
    assert_ne!(first.columns, anew.columns);
    let versions = |profile: &Profile| profile.about.tags.iter().map(|tag| tag.version.clone()).collect::<Vec<_>>();
    let changed = versions(&first).iter().zip(versions(&anew)).filter(|(a, b)| **a != *b).count();
    assert_eq!(changed, 1);
}

#[test]
fn the_events_behind_a_value_are_told() {
    let events = some_events();
    let shop = Shop::new(&events, &[("t/all", TAGS)]);
    let profile = shop.build(DAY).unwrap();
    let (project, store) = (shop.project(), Store::open(&shop.project()).unwrap());
    let catalogue = Catalogue::open(&project).unwrap();
    let tag = catalogue.get("t/all/orders").unwrap();
    for user in ["u00", "u03", "u09", "registered"] {
        let (found, count) = why::events(&project, &store, tag, DAY, user, 3).unwrap();
        let column = &profile.columns[profile.tag("t/all/orders").unwrap()];
        assert_eq!(count as u32, column.evidence[profile.user(user).unwrap()]);
        assert_eq!(found.len(), count.min(3));
        assert!(found.iter().all(|event| event.columns.contains(&("kind".to_owned(), "purchase".to_owned()))));
    }
}

/// The error of a shop with this tag file.
#[track_caller]
fn refused(name: &str, text: &str) -> String {
    let shop = Shop::new(&some_events(), &[(name, text)]);
    let error = shop.build(DAY).map(drop).unwrap_err();
    format!("{error} | {}", error.hint().unwrap_or_default())
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(error.contains(part), "{error} does not say {part}"));
}

#[test]
fn bad_tags_are_named() {
    let metric = |key: &str| format!("[a]\nkind = \"metric\"\n{key}\n");
    says(&refused("t", &metric("of = \"sum(valeu)\"")), &["t.toml` line 1", "`t/a`", "valeu", "did you mean `value`?"]);
    says(&refused("t", &metric("of = \"sum(value\"")), &["line 3", "a.of", "sum(value)"]);
    says(&refused("t", &metric("of = \"summ(value)\"")), &["summ", "did you mean `sum`?"]);
    says(&refused("t", &metric("of = \"count\"\nwindow = 90")), &["a.window", "with a unit"]);
    says(&refused("t", &metric("of = \"count\"\nwindow = \"90\"")), &["a.window", "with a unit"]);
    says(&refused("t", &metric("of = \"count\"\nwindow = \"10d..20d\"")), &["a.window"]);
    says(&refused("t", &metric("of = \"count\"\nwhere = \"value\"")), &["Float64", "not true or false"]);
    says(&refused("t", &metric("of = \"sum(channel)\"")), &["not a number", "try_cast"]);
    says(&refused("t", &metric("of = \"count\"\nwhere = \"day < now()\"")), &["now()", "days_ago"]);
    says(&refused("t", &metric("of = \"count\"\nwhere = \"value >\"")), &["`t/a`", "value >"]);
    says(&refused("t", &metric("of = \"count\"\nkidn = 1")), &["a.kidn", "did you mean"]);
    says(&refused("t", "[a]\nkind = \"metrik\"\nof = \"count\""), &["metrik", "did you mean `metric`?"]);
    says(&refused("t", "[a]\nkind = \"declared\"\ncolumn = \"aeg\""), &["`aeg`", "did you mean `age`?"]);
    let sql = |from: &str| format!("[a]\nkind = \"sql\"\nexpression = \"x + 1\"\nfrom = {{ x = \"{from}\" }}\n");
    says(
        &refused("t", &sql("consumption/value/spent")),
        &["no tag `consumption/value/spent`", "consumption/value/spend"],
    );
    says(&refused("t", &sql("t/a")), &["t/a → t/a"]);
    let both = format!("{}[b]\nkind = \"sql\"\nexpression = \"x\"\nfrom = {{ x = \"t/a\" }}\n", sql("t/b"));
    says(&refused("t", &both), &["t/a → t/b → t/a"]);
    let twice = "[\"b/c\"]\nkind = \"metric\"\nof = \"count\"\n";
    let shop = Shop::new(&some_events(), &[("t/a", twice), ("t/a/b", "[c]\nkind = \"metric\"\nof = \"count\"\n")]);
    says(&shop.build(DAY).map(drop).unwrap_err().to_string(), &["`t/a/b/c`", "already", "t/a.toml"]);
    let rules = "[a]\nkind = \"rules\"\nfrom = { x = \"consumption/value/spend\" }\n[a.values]\nlow = { when = \"x < 1000\" }\nhigh = { when = \"x > 50\" }\n";
    says(&refused("t", rules), &["`low` and `high` overlap in", "users, such as"]);
}

#[test]
fn a_day_before_the_data_is_named() {
    let shop = Shop::new(&some_events(), &[]);
    let error = shop.build(date(2023, 12, 1)).map(drop).unwrap_err();
    says(&error.to_string(), &["no event before 2023-12-01", "2023-12-31"]);
}

#[test]
fn a_tag_can_be_switched_off_and_replaced() {
    let off = "[spend]\nkind = \"off\"\n[spend_30d]\nkind = \"metric\"\nof = \"count\"\n";
    let shop = Shop::new(&some_events(), &[("consumption/value", off)]);
    let error = shop.build(DAY).map(drop).unwrap_err().to_string();
    says(&error, &["no tag `consumption/value/spend`"]);
    shop.write("tags/consumption/value.toml", "[growth]\nkind = \"off\"\n[line]\nkind = \"metric\"\nof = \"count\"\n");
    let profile = shop.build(DAY).unwrap();
    assert!(profile.tag("consumption/value/growth").is_err());
    let line = &profile.columns[profile.tag("consumption/value/line").unwrap()];
    let Values::Number(counts) = &line.values else { panic!("a count is a number") };
    assert!(counts.iter().filter(|count| !count.is_nan()).all(|count| count.fract() == 0.0));
}

#[test]
fn a_profile_left_under_its_second_name_is_read_and_not_lost() {
    let shop = Shop::new(&some_events(), &[]);
    let (project, profile) = (shop.project(), shop.build(DAY).unwrap());
    let hash = snapshot::write(&project, &profile).unwrap();
    let own = snapshot::folder(&project, DAY);
    let second = own.parent().unwrap().join(format!(".{DAY}.last"));
    std::fs::rename(&own, &second).unwrap();
    assert_eq!(snapshot::read(&project, DAY).unwrap().1, hash);
    // The next one cannot be written: the old one is under its own name again.
    let next = own.parent().unwrap().join(format!(".{DAY}.next"));
    std::fs::write(&next, "a file where a folder has to be").unwrap();
    snapshot::write(&project, &profile).map(drop).unwrap_err();
    assert!(own.is_dir() && !second.exists());
    std::fs::remove_file(&next).unwrap();
    assert_eq!(snapshot::write(&project, &profile).unwrap(), hash);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let shop = Shop::new(&some_events(), &[]);
    let project = shop.project();
    snapshot::write(&project, &shop.build(DAY).unwrap()).unwrap();
    let path = snapshot::folder(&project, DAY).join("long.parquet");
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    flip(&path);
    says(&snapshot::read(&project, DAY).map(drop).unwrap_err().to_string(), &["long.parquet", "hash"]);
    flip(&path);
    let manifest = snapshot::folder(&project, DAY).join("profile.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    says(&snapshot::read(&project, DAY).map(drop).unwrap_err().to_string(), &["format 9"]);
}

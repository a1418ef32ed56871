//! What models say of a small made-up shop, beside plain counts.

use std::collections::BTreeSet;

use lookalike_portrait::model::buyer::{BgNbd, History};
use lookalike_portrait::model::spend::{GammaGamma, Spent};
use lookalike_portrait::{Catalogue, Profile, snapshot};
use lookalike_store::Store;

use crate::{DAY, Event, Shop, bytes, local, says};

/// Tags of all models, for a shop whose customers differ and leave.
const MODELS: &str = r#"
[alive]
kind = "model"
model = "bg-nbd"
value = "alive"
[purchases]
kind = "model"
model = "bg-nbd"
value = "purchases"
horizon = "30d"
[stays]
kind = "model"
model = "nbd"
horizon = "4w"
events = ["purchase", "view", "cart"]
[worth]
kind = "model"
model = "gamma-gamma"
weight = "value"
[due]
kind = "model"
model = "repurchase"
by = "category_2"
least = 3
horizon = "30d"
prior = 3
[opening]
kind = "metric"
of = "opening(value)"
"#;

/// Purchases of 90 users at rates between one in two days and one a month, a third of whom stop at some time.
fn customers() -> Vec<Event> {
    customers_until(|user| if user % 3 == 0 { 20 + user * 7 % 60 } else { 90 })
}

/// The same where each stops on a day of their own.
fn customers_until(stop: impl Fn(u32) -> u32) -> Vec<Event> {
    let mut events = Vec::new();
    for user in 0..90_u32 {
        let (step, stop) = (2 + user * user % 31, stop(user));
        let mut day = user % 9;
        while day < stop {
            let value = f64::from(5 + user * 13 % 40) * (1.0 + f64::from(day * 7 % 5) / 4.0);
            let [item, channel] = [(day * 3 + user) % 9, day % 3].map(|number| number as u8);
            events.push(Event {
                user: user as u8,
                at: (day * 24 + 12) * 60 + user,
                kind: "purchase",
                item,
                value,
                channel,
            });
            day += 1 + (step + day * 5) % (2 * step);
        }
    }
    events
}

#[test]
fn later_events_change_no_byte_of_what_models_say() {
    let shop = Shop::new(&customers(), &[("t/all", MODELS)]);
    let profile = shop.build(DAY).unwrap();
    let first = snapshot::write(&shop.project(), &profile).unwrap();
    let manifest = |shop: &Shop| {
        let path = snapshot::folder(&shop.project(), DAY).join("profile.json");
        let mut about: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        about["store"] = serde_json::Value::Null;
        about
    };
    let (before, about) = (bytes(&shop.project(), DAY), manifest(&shop));
    for name in ["alive", "purchases", "stays", "worth", "due"] {
        let tag = about["tags"].as_array().unwrap().iter().find(|tag| tag["name"] == format!("t/all/{name}")).unwrap();
        assert!(tag["fit"]["fitted_on"].as_u64().unwrap() > 50 && tag["count"].as_u64().unwrap() > 20, "{tag}");
    }
    let later = (0..500_u32).map(|n| Event {
        user: (n * 11 % 120) as u8,
        at: 91 * 24 * 60 + 4 * 60 + n * 97 % 50_000,
        kind: "purchase",
        item: (n % 9) as u8,
        value: f64::from(n),
        channel: 0,
    });
    shop.log(&customers().into_iter().chain(later).collect::<Vec<_>>());
    let second = snapshot::write(&shop.project(), &shop.build(DAY).unwrap()).unwrap();
    assert!(before == bytes(&shop.project(), DAY));
    assert_eq!((first, about), (second, manifest(&shop)));

    // What was read again is kept as it is, fits and all, and is the same as computed anew.
    let (project, store) = (shop.project(), Store::open(&shop.project()).unwrap());
    let (read, _) = snapshot::read(&project, DAY).unwrap();
    let catalogue = Catalogue::open(&project).unwrap();
    let continued = Profile::build(&project, &store, &catalogue, DAY, Some(&read)).unwrap();
    let anew = Profile::build(&project, &store, &catalogue, DAY, None).unwrap();
    assert_eq!((&continued.about, &continued.columns), (&anew.about, &anew.columns));
}

#[test]
fn models_say_what_their_formulas_say_of_plain_counts() {
    let events = customers();
    let shop = Shop::new(&events, &[("t/all", MODELS)]);
    let profile = shop.build(DAY).unwrap();
    let column = |name: &str| &profile.columns[profile.tag(&format!("t/all/{name}")).unwrap()];
    let parameter = |tag: &str, name: &str| {
        profile.about.tags[profile.tag(&format!("t/all/{tag}")).unwrap()].fit.as_ref().unwrap().parameters[name]
    };
    let model = BgNbd {
        r: parameter("alive", "r"),
        alpha: parameter("alive", "alpha"),
        a: parameter("alive", "a"),
        b: parameter("alive", "b"),
    };
    let money = GammaGamma { p: parameter("worth", "p"), q: parameter("worth", "q"), v: parameter("worth", "v") };
    for (row, user) in profile.users.iter().enumerate() {
        let own: Vec<&Event> =
            events.iter().filter(|e| format!("u{:02}", e.user) == *user && local(e).date() < DAY).collect();
        let days: BTreeSet<i32> = own.iter().map(|event| (DAY - local(event).date()).get_days()).collect();
        let (Some(first), Some(last)) = (days.last(), days.first()) else {
            assert!(!column("alive").values.has(row) && !column("worth").values.has(row));
            continue;
        };
        let repeats = days.len() as u32 - 1;
        let history = History { repeats, last: f64::from(first - last) / 7.0, age: f64::from(first - 1) / 7.0 };
        let near = |tag: &str, expected: f64| {
            let found = column(tag).values.number(row).unwrap();
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{user} {tag}: {found} is not {expected}");
            assert_eq!(column(tag).evidence[row], days.len() as u32);
        };
        near("alive", model.alive(&history));
        near("purchases", model.expected(&history, 30.0 / 7.0));
        let of_first = |event: &&&Event| (DAY - local(event).date()).get_days() == *first;
        let opening: f64 = own.iter().filter(of_first).map(|event| event.value).sum();
        assert_eq!(column("opening").values.number(row), Some(opening));
        let total: f64 = own.iter().map(|event| event.value).sum();
        let mean = if repeats == 0 { 0.0 } else { (total - opening) / f64::from(repeats) };
        near("worth", money.expected(&Spent { repeats, mean }).unwrap());
    }
}

#[test]
fn a_model_that_cannot_be_fitted_is_named() {
    let model = |keys: &str| format!("[a]\nkind = \"model\"\n{keys}\n");
    let alive = "model = \"bg-nbd\"\nvalue = \"alive\"";
    let worth = "model = \"gamma-gamma\"\nweight = \"WEIGHT\"";
    let refused = |events: &[Event], keys: &str| {
        let shop = Shop::new(events, &[("t", &model(keys))]);
        let error = shop.build(DAY).map(drop).unwrap_err();
        format!("{error} | {}", error.hint().unwrap_or_default())
    };
    let all = customers();
    let one: Vec<Event> = all.iter().filter(|event| event.user == 5).cloned().collect();
    says(&refused(&one, alive), &["t.toml` line 1", "`t/a`", "only 1 customers bought on a second day", "a later day"]);
    let mut once: Vec<Event> = all.clone();
    once.dedup_by_key(|event| event.user);
    says(&refused(&once, alive), &["only 0 customers bought on a second day, and 30 are needed"]);
    let nobody_leaves = customers_until(|_| 90);
    says(&refused(&nobody_leaves, alive), &["does not settle", "runs away", "who has left", "model = \"nbd\""]);
    let mut alike = Vec::new();
    for user in 0..60 {
        alike.extend((0..10).map(|n| Event { user, at: n * 8 * 24 * 60 + 900, ..all[0].clone() }));
    }
    says(
        &refused(&alike, "model = \"nbd\"\nhorizon = \"30d\""),
        &["`r` runs away", "do not differ in how often they buy"],
    );
    for weight in ["value * 0", "-value"] {
        says(
            &refused(&all, &worth.replace("WEIGHT", weight)),
            &["only 0 customers have repeat purchases that are worth more than 0"],
        );
    }
    says(&refused(&all, &worth.replace("WEIGHT", "valeu")), &["valeu", "did you mean `value`?"]);
    says(&refused(&all, &worth.replace("WEIGHT", "channel")), &["not a number"]);
    says(&refused(&all, "model = \"bgnbd\"\nvalue = \"alive\""), &["bgnbd", "did you mean `bg-nbd`?"]);
    says(&refused(&all, "model = \"bg-nbd\"\nvalue = \"alife\""), &["alife", "did you mean `alive`?"]);
    says(&refused(&all, "model = \"bg-nbd\"\nvalue = \"purchases\""), &["horizon"]);
    says(&refused(&all, "model = \"nbd\"\nhorizon = 30"), &["a.horizon", "with a unit"]);
    says(&refused(&all, &format!("{alive}\nwindow = \"90d\"")), &["a.window"]);
    says(&refused(&all, "model = \"repurchase\"\nby = \"item\"\nleast = 1\nhorizon = \"9d\""), &["a.least", "from 2"]);
    // A shipped tag whose model does not fit a shop is left out with what is made from it, and both are said.
    let profile = Shop::new(&once, &[]).build(DAY).unwrap();
    let reason = |tag: &str| profile.about.left_out[&format!("consumption/future/{tag}")].clone();
    says(&reason("alive"), &["only 0 customers bought on a second day"]);
    says(&reason("spend_next_90d"), &["what it is made from was left out"]);
    assert!(profile.tag("consumption/future/alive").is_err() && profile.tag("consumption/future/due").is_ok());
}

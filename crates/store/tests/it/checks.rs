//! `check data`: every promise of a project file, kept and broken.

use jiff::Timestamp;
use lookalike_store::{Finding, Project, Store, check};

use crate::kit::{Folder, says, told};

const TOML: &str = r#"
[sources.log]
path = "log.csv"
table = "events"
kind = "buy"
at = { column = "t", stored_as = "UTC" }
map = { user = "u", item = "i", value = "v", channel = "c" }
[sources.log.contract]
not_null = ["item"]
unknown_items = 0.25
max_quarantined = 0.2
range = { value = { min = 0, max = 10 } }
[sources.log.freshness]
max_age = "2d"
[sources.log.drift]
max_psi = 0.25
[sources.goods]
path = "goods.csv"
table = "items"
map = { item = "i" }
[interactions]
kinds = { buy = 1.0 }
split = "leave-last"
"#;

/// Four months of events; `late` is what they are worth in the second half.
fn folder(late: &str, more: &str) -> Folder {
    let day = |n: u32| format!("2020-{:02}-{:02}", 1 + n / 28, 1 + n % 28);
    let value = |n: u32| if n < 56 { format!("{}", n % 7) } else { late.replace('?', &(n % 7).to_string()) };
    let line = |n: u32| format!("u{},i{},{},{},web\n", n % 9, n % 4, day(n), value(n));
    let lines: String = (0..112).map(line).collect();
    Folder::new(TOML).write("log.csv", format!("u,i,t,v,c\n{lines}{more}")).write("goods.csv", "i\ni0\ni1\ni2\ni3\n")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn findings(folder: &Folder, as_of: &str) -> Vec<Finding> {
    check(&folder.project(), &folder.store(), at(as_of), None).unwrap()
}

#[track_caller]
fn found(findings: &[Finding], name: &str) -> (bool, f64) {
    let finding = findings.iter().find(|finding| finding.name == name);
    let finding = finding.unwrap_or_else(|| panic!("{name} is not among {findings:?}"));
    (finding.ok, finding.figure)
}

#[test]
fn a_store_that_keeps_its_promises() {
    let findings = findings(&folder("?", ""), "2020-04-29T00:00:00Z");
    assert!(findings.iter().all(|finding| finding.ok), "{findings:?}");
    let names: Vec<&str> = findings.iter().map(|finding| finding.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "store: up to date",
            "items: item is unique",
            "log: set aside",
            "log: at is there",
            "log: item is there",
            "log: kind is there",
            "log: user is there",
            "log: value in range",
            "log: items are known",
            "log: fresh",
            "log: drift of item",
            "log: drift of value",
            "log: drift of channel",
            "goods: item is there",
        ]
    );
    assert_eq!(found(&findings, "log: fresh"), (true, 1.0));
}

#[test]
fn broken_promises_have_figures() {
    let more = "a,new,2020-04-28,11,web\n".repeat(38) + &"a,i1,soon,1,web\n".repeat(50);
    let findings = findings(&folder("?", &more), "2020-05-01T12:00:00Z");
    assert_eq!(found(&findings, "log: value in range"), (false, 38.0));
    assert_eq!(found(&findings, "log: items are known"), (false, 38.0 / 150.0));
    assert_eq!(found(&findings, "log: set aside"), (false, 0.25));
    assert_eq!(found(&findings, "log: fresh"), (false, 3.5));
}

#[test]
fn drift_between_halves_and_between_stores() {
    let moved = folder("9", "");
    let figures = findings(&moved, "2020-04-29T00:00:00Z");
    assert!(!found(&figures, "log: drift of value").0 && found(&figures, "log: drift of value").1 > 1.0);
    assert!(found(&figures, "log: drift of item").0);
    let (still, same) = (folder("?", ""), folder("?", ""));
    let against = |folder: &Folder, other: &Folder| {
        check(&folder.project(), &folder.store(), at("2020-04-29T00:00:00Z"), Some(&other.store())).unwrap()
    };
    assert_eq!(found(&against(&still, &same), "log: drift of value"), (true, 0.0));
    assert!(!found(&against(&moved, &still), "log: drift of value").0);
}

#[test]
fn a_store_that_is_old_says_so() {
    let folder = folder("?", "");
    folder.ingest().unwrap();
    let folder = folder.write("goods.csv", "i\ni0\n");
    let store = Store::open(&folder.project()).unwrap();
    let findings = check(&folder.project(), &store, at("2020-04-29T00:00:00Z"), None).unwrap();
    assert_eq!(found(&findings, "store: up to date"), (false, 1.0));
}

#[test]
fn promises_that_cannot_be_made() {
    let error = |from: &str, to: &str| {
        assert!(TOML.contains(from), "{from}");
        told(&Project::open(Folder::new(&TOML.replacen(from, to, 1)).path()).unwrap_err())
    };
    says(
        &error("\"2d\"", "\"2\""),
        &["line 14: `sources.log.freshness.max_age` is `2`, not a length of time such as `12h`"],
    );
    says(&error("\"2d\"", "\"é\""), &["not a length of time"]);
    says(&error("min = 0", "mni = 0"), &["line 12: unknown key", "did you mean `min`?"]);
    says(&error("min = 0", "min = 11"), &["holds nothing: 11 is above 10"]);
    says(&error("{ min = 0, max = 10 }", "{ }"), &["lacks both `min` and `max`"]);
    says(&error("value = { min", "vlaue = { min"), &["unknown column of numbers `vlaue`", "did you mean `value`?"]);
    says(&error("0.25\nmax_q", "25\nmax_q"), &["`sources.log.contract.unknown_items` is 25, not a share"]);
    says(&error("max_psi = 0.25", "max_psi = -1"), &["is below 0"]);
    says(&error("[sources.log.drift]", "[sources.goods.drift]"), &["needs a source whose lines have a time"]);
}

/// Keys of lines are compared when they are read; the check looks at what the store has. One that was filled under another
/// declaration holds what the new one forbids.
#[test]
fn repeated_keys_are_found_again() {
    let declared = |key: &str, more: &str| {
        let toml = TOML.replace("kind = \"buy\"\nat", &format!("kind = \"buy\"\n{key}\nat"));
        format!("{toml}{more}")
    };
    let shop = folder("?", "u1,i1,2020-04-28,3,web\nu1,i1,2020-04-28,4,web\n");
    let store = shop.store();
    let of = |toml: String| {
        let shop = folder("?", "").write("lookalike.toml", toml).write("links.csv", "a,b\nu1,u2\n");
        check(&shop.project(), &store, at("2020-04-29T00:00:00Z"), None).unwrap()
    };
    // Nine users buy four items in turn: after 36 of 112 lines every pair repeats, and so do the two lines more.
    assert_eq!(found(&of(declared("key = [\"u\", \"i\"]", "")), "log: key is unique"), (false, 78.0));
    // A number may be written in several ways, so that the store cannot tell.
    let numbers = of(declared("key = [\"u\", \"v\"]", ""));
    assert_eq!(found(&numbers, "log: key is unique"), (true, 0.0));
    assert!(numbers.iter().any(|finding| finding.note.contains("`v` of the key is not in the store")));
    let stitched = declared(
        "key = [\"u\", \"i\"]",
        "[identity]\n[sources.links]\npath = \"links.csv\"\ntable = \"edges\"\nkind = \"same-person\"\nmap = { from = \"a\", to = \"b\" }\n",
    );
    assert_eq!(found(&of(stitched), "log: key is unique"), (true, 0.0));
    // Where the key was declared when the lines were read, nothing repeats it.
    let kept = folder("?", "").write("lookalike.toml", declared("key = [\"u\", \"i\"]", ""));
    let findings = findings(&kept, "2020-04-29T00:00:00Z");
    assert_eq!(found(&findings, "log: key is unique"), (true, 0.0));
}

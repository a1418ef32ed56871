//! The project file: what it may say, and what it is told when it says something else.

use lookalike_store::{Project, Split};

use crate::kit::{EVENTS, Folder, says, told};

/// The error of the project file [`EVENTS`] with `from` replaced by `to`.
fn error(from: &str, to: &str) -> String {
    assert!(EVENTS.contains(from), "{from}");
    let folder = Folder::new(&EVENTS.replacen(from, to, 1));
    told(&Project::open(folder.path()).unwrap_err())
}

#[test]
fn no_project_file() {
    says(&told(&Project::open("/nowhere").unwrap_err()), &["`/nowhere` has no `lookalike.toml`"]);
}

#[test]
fn not_toml() {
    says(&error("table = \"events\"", "table = "), &["lookalike.toml` line 4: "]);
}

#[test]
fn unknown_key_at_the_top() {
    says(
        &error("[interactions]", "[interaction]\n[interactions]"),
        &["line 8: unknown key `interaction`", "`interactions`?"],
    );
}

#[test]
fn unknown_nested_key() {
    says(
        &error("stored_as", "storedas"),
        &["line 6: unknown key `sources.log.at.storedas`", "did you mean `stored_as`?"],
    );
    says(
        &error("kind = \"buy\"", "kind = \"buy\"\nkye = 1"),
        &["line 6: unknown key `sources.log.kye`", "did you mean `key`?"],
    );
}

#[test]
fn unknown_column() {
    says(&error("value =", "vlaue ="), &["line 7: unknown column `vlaue`", "did you mean `value`?"]);
}

#[test]
fn missing_key() {
    says(&error("kind = \"buy\"\n", ""), &["line 2: the key `sources.log.kind` is missing"]);
    says(&error("user = \"u\", ", ""), &["line 7: `sources.log.map` lacks `user`"]);
}

#[test]
fn wrong_type() {
    says(&error("\"events\"", "7"), &["line 4: `sources.log.table` is an integer, not a text"]);
    says(
        &error("\"leave-last\"", "{ kind = \"time\", test_from = \"2017-11-27\", validation_days = -1 }"),
        &["`interactions.split.validation_days` is -1"],
    );
}

#[test]
fn unknown_table() {
    says(
        &error("\"events\"", "\"event\""),
        &["line 4: unknown table `event` in `sources.log.table`", "did you mean `events`?"],
    );
}

#[test]
fn unknown_zone() {
    says(
        &error("America/New_York", "America/NewYork"),
        &["unknown time zone `America/NewYork`", "did you mean `America/New_York`?"],
    );
}

#[test]
fn unknown_extension() {
    says(&error("log.csv", "log.xls"), &["line 3: `sources.log.path` has an extension"]);
}

#[test]
fn weights_that_are_none() {
    for (weight, shown) in [("nan", "NaN"), ("inf", "inf"), ("-1", "-1")] {
        says(&error("1.0", weight), &["line 9: `interactions.kinds.buy` is", shown, "not a finite weight"]);
    }
    says(&error("1.0", "0"), &["gives no kind a weight above 0"]);
}

#[test]
fn unknown_kind() {
    says(&error("{ buy", "{ buys"), &["line 9: unknown kind `buys`", "did you mean `buy`?"]);
}

#[test]
fn unknown_split() {
    says(&error("leave-last", "leave-lst"), &["unknown split `leave-lst`", "did you mean `leave-last`?"]);
}

#[test]
fn no_date() {
    let split = "{ kind = \"time\", test_from = \"27.11.2017\", validation_days = 28 }";
    says(&error("\"leave-last\"", split), &["line 10: `interactions.split.test_from` is `27.11.2017`, not a date"]);
}

#[test]
fn missing_given_file() {
    let split = "{ kind = \"given\", train = \"train.csv\", test = \"test.csv\" }";
    says(&error("\"leave-last\"", split), &["line 10: `interactions.split.train` names the missing file"]);
}

#[test]
fn bad_time_pattern() {
    says(&error("stored_as", "format = \"%Y-%\", stored_as"), &["line 6: `sources.log.at.format` is no time pattern"]);
}

#[test]
fn key_of_users_is_their_id() {
    let people =
        "[sources.p]\npath = \"p.csv\"\ntable = \"users\"\nkey = \"name\"\nmap = { user = \"id\" }\n[interactions]";
    says(&error("[interactions]", people), &["`sources.p.key` of the table `users` can only be the column of its id"]);
}

#[test]
fn the_test_part_begins_at_midnight_of_the_shop() {
    let split = "{ kind = \"time\", test_from = 2017-11-27, validation_days = 28 }";
    let toml = format!("[project]\ntimezone = \"America/New_York\"\n{}", EVENTS.replace("\"leave-last\"", split));
    let Split::Time { test_from, validation_days } = Folder::new(&toml).project().interactions.split else { panic!() };
    assert_eq!((test_from.to_string().as_str(), validation_days), ("2017-11-27T05:00:00Z", 28));
}

#[test]
fn a_given_split_needs_nothing_else() {
    let toml = "[interactions]\nsplit = { kind = \"given\", train = \"a.csv\", test = \"b.csv\" }\n";
    let project = Folder::new(toml).write("a.csv", "").write("b.csv", "").project();
    assert!(project.sources.is_empty() && project.interactions.kinds.is_empty());
    assert_eq!(project.name, project.root.file_name().unwrap().to_string_lossy());
}

#[test]
fn the_bundled_project_is_right() {
    let project = Project::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/complete-journey")).unwrap();
    let sources: Vec<&str> = project.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(sources, ["lines", "redemptions", "products", "households", "targets", "coupons"]);
}

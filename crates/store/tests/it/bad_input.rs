//! One test per bad input: an error that names the place, or a line in quarantine that names the reason.

use arrow::array::{Int64Array, StringArray};
use lookalike_store::Table;

use crate::kit::{EVENTS, Folder, array, says};

/// A good line that keeps the source from being quarantined as a whole.
const GOOD: &str = "a,x,2017-01-01,1\n";

/// The reason for which the second line after the header is quarantined.
fn reason(line: &str) -> String {
    let reasons = Folder::events(&format!("{GOOD}{line}\n")).quarantined();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons[0].clone()
}

#[test]
fn missing_file() {
    says(&Folder::new(EVENTS).error(), &["`log`", "lookalike.toml` line 3", "no file matches `log.csv`"]);
}

#[test]
fn empty_glob() {
    says(&Folder::new(&EVENTS.replace("log.csv", "logs/*.csv")).error(), &["no file matches `logs/*.csv`"]);
}

#[test]
fn wrong_column() {
    let folder = Folder::new(&EVENTS.replace("\"v\"", "\"valeu\"")).write("log.csv", "u,i,t,value\na,x,2017-01-01,1\n");
    says(&folder.error(), &["log.csv` has no column `valeu`", "did you mean `value`?"]);
}

#[test]
fn wrong_column_of_json_lines() {
    let toml = EVENTS.replace("log.csv", "log.jsonl").replace("\"v\"", "\"valeu\"");
    let folder = Folder::new(&toml).write("log.jsonl", "{\"u\": 1, \"i\": 2, \"t\": \"2017-01-01\", \"value\": 3}\n");
    says(&folder.error(), &["log.jsonl` has no column `valeu`", "did you mean `value`?"]);
}

#[test]
fn column_named_twice() {
    says(&Folder::new(EVENTS).write("log.csv", "u,i,t,v,u\n").error(), &["names column `u` twice"]);
}

#[test]
fn empty_file() {
    says(&Folder::new(EVENTS).write("log.csv", "").error(), &["log.csv` is empty"]);
}

#[test]
fn header_alone() {
    says(&Folder::events("").error(), &["log.csv` is empty"]);
}

#[test]
fn truncated_parquet() {
    let folder = Folder::new(&EVENTS.replace("log.csv", "log.parquet"))
        .parquet("log.parquet", vec![("u", array(StringArray::from(vec!["a"; 100])))]);
    let bytes = std::fs::read(folder.path().join("log.parquet")).unwrap();
    let folder = folder.write("log.parquet", &bytes[..bytes.len() / 2]);
    says(&folder.error(), &["log.parquet` is not a whole Parquet file"]);
}

#[test]
fn flipped_bytes_in_parquet_never_panic() {
    let day = array(StringArray::from_iter_values((0..100).map(|i| format!("2017-01-{:02}", i % 28 + 1))));
    let id = || array(Int64Array::from_iter_values(0..100));
    let folder = Folder::new(&EVENTS.replace("log.csv", "log.parquet"))
        .parquet("log.parquet", vec![("u", id()), ("i", id()), ("t", day), ("v", id())]);
    let bytes = std::fs::read(folder.path().join("log.parquet")).unwrap();
    let mut folder = folder;
    for place in (4..bytes.len()).step_by(37) {
        let mut bad = bytes.clone();
        bad[place] ^= 0x55;
        folder = folder.write("log.parquet", bad);
        drop(folder.ingest());
    }
}

#[test]
fn number_in_place_of_a_time() {
    let folder = Folder::new(&EVENTS.replace("log.csv", "log.parquet")).parquet(
        "log.parquet",
        ["u", "i", "t", "v"].map(|name| (name, array(Int64Array::from(vec![1_483_228_800])))).to_vec(),
    );
    says(&folder.error(), &["column `t`", "Int64", "no timestamp", "unit = \"s\""]);
}

#[test]
fn everything_quarantined() {
    let folder = Folder::events("a,x,soon,1\nb,x,later,1\nc,x,2017-01-01,much\n");
    says(&folder.error(), &["every one of the 3 lines of source `log`", "most often because `t` is not a time"]);
}

#[test]
fn bad_condition() {
    let folder = Folder::new(&format!("{EVENTS}[sources.log.contract]\nquarantine = [\"valeu < 0\"]\n"));
    says(
        &folder.write("log.csv", "u,i,t,v\na,x,2017-01-01,1\n").error(),
        &["line 12: `valeu < 0` in `sources.log.contract.quarantine`", "did you mean `value`?"],
    );
}

#[test]
fn condition_that_is_no_condition() {
    let folder = Folder::new(&format!("{EVENTS}[sources.log.contract]\nquarantine = [\"value + 1\"]\n"));
    says(&folder.write("log.csv", "u,i,t,v\na,x,2017-01-01,1\n").error(), &["`value + 1`", "not true or false"]);
}

#[test]
fn wrong_type_in_line_n() {
    assert_eq!(reason("b,x,2017-01-01,much"), "3 `v` is not a number: `much`");
    assert_eq!(reason("b,x,soon,1"), "3 `t` is not a time: `soon`");
}

#[test]
fn time_out_of_range() {
    assert_eq!(reason("b,x,1217-01-01,1"), "3 `t` is outside the years 1900 to 2199: `1217-01-01`");
}

#[test]
fn not_a_number_and_infinite() {
    assert_eq!(reason("b,x,2017-01-01,NaN"), "3 `v` is not a finite number: `NaN`");
    assert_eq!(reason("b,x,2017-01-01,-inf"), "3 `v` is not a finite number: `-inf`");
}

#[test]
fn null_user() {
    assert_eq!(reason(",x,2017-01-01,1"), "3 `u` is empty");
    assert_eq!(reason("  ,x,2017-01-01,1"), "3 `u` is empty");
}

#[test]
fn ragged_line() {
    assert_eq!(reason("b,x,2017-01-01"), "3 wrong number of fields: 3 instead of 4");
    assert_eq!(reason("b,x,2017-01-01,1,"), "3 wrong number of fields: 5 instead of 4");
}

#[test]
fn invalid_utf8() {
    let lines = [b"u,i,t,v\n".as_slice(), GOOD.as_bytes(), b"b\xFF,x,2017-01-01,1\n"].concat();
    assert_eq!(Folder::new(EVENTS).write("log.csv", lines).quarantined(), ["3 invalid UTF-8: byte 1"]);
}

#[test]
fn broken_json_lines() {
    let good = "{\"u\": 1, \"i\": 2, \"t\": \"2017-01-01\", \"v\": 3}\n";
    let bad = "{\"u\": 1\n[1]\n\n{\"u\": [1], \"i\": 2, \"t\": \"2017-01-01\", \"v\": 3}\n";
    let folder = Folder::new(&EVENTS.replace("log.csv", "log.jsonl")).write("log.jsonl", format!("{good}{bad}"));
    let reasons = folder.quarantined();
    says(&reasons[0], &["2 invalid JSON"]);
    assert_eq!(reasons[1..], ["3 not a JSON object: [1]", "5 `u` is not a single value: [1]"]);
}

#[test]
fn repeated_key() {
    let toml = EVENTS.replace("kind =", "key = [\"u\", \"i\"]\nkind =");
    let lines = "u,i,t,v\na,x,2017-01-02,1\na,y,2017-01-01,1\na, x,2017-01-01,2\na,x,2017-01-01,3\n";
    let folder = Folder::new(&toml).write("log.csv", lines);
    let repeated = |line| format!("{line} repeats the key `u`, `i`: `log.csv` line 2 stays");
    assert_eq!(folder.quarantined(), [repeated(4), repeated(5)]);
    assert_eq!(folder.rows(Table::Events, &["user", "item", "value"]), ["a|y|1.0", "a|x|1.0"]);
}

#[test]
fn user_listed_twice() {
    let toml = format!(
        "{EVENTS}[sources.people]\npath = \"people*.tsv\"\ntable = \"users\"\nmap = {{ user = \"id\", age = \"age\" }}\n"
    );
    let folder = Folder::new(&toml)
        .write("log.csv", format!("u,i,t,v\n{GOOD}"))
        .write("people1.tsv", "id\tage\nb\t30\na\t40\n")
        .write("people2.tsv", "id\tage\na\t50\n");
    assert_eq!(folder.quarantined(), ["2 repeats the key `id`: `people1.tsv` line 3 stays"]);
    assert_eq!(folder.rows(Table::Users, &["user", "age"]), ["a|40", "b|30"]);
}

#[test]
fn gap_and_fold_are_fixed() {
    let folder = Folder::events("a,x,2017-03-12 02:30:00,1\na,x,2017-11-05 01:30:00,1\n");
    let report = folder.ingest().unwrap();
    assert_eq!((report.sources["log"].fixed, report.sources["log"].reasons.len()), (2, 2));
    assert_eq!(folder.rows(Table::Events, &["at"]), ["2017-03-12T07:30:00Z", "2017-11-05T05:30:00Z"]);
}

#[test]
fn white_space_is_fixed_once_per_line() {
    let report = Folder::events(" a , x,2017-01-01, 1\n").ingest().unwrap();
    let log = &report.sources["log"];
    assert_eq!((log.kept, log.fixed, log.reasons["white space around `u`"], log.reasons.len()), (0, 1, 1, 1));
}

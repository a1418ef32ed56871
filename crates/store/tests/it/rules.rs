//! What a source declares beyond its columns: corrections, gaps and returns.

use lookalike_store::{Project, Table};

use crate::kit::{Folder, says, told};

const HEAD: &str = r#"
[sources.log]
path = "log.csv"
table = "events"
kind = "buy"
at = { column = "t", stored_as = "UTC" }
map = { user = "u", item = "i", value = "v", quantity = "q" }
"#;
const TAIL: &str = "[interactions]\nkinds = { buy = 1.0 }\nsplit = \"leave-last\"\n";

fn project(rules: &str) -> Folder {
    Folder::new(&format!("{HEAD}{rules}\n{TAIL}"))
}

fn log(rules: &str, lines: &str) -> Folder {
    project(rules).write("log.csv", format!("u,i,t,v,q,n\n{lines}"))
}

fn error(rules: &str) -> String {
    told(&Project::open(project(rules).path()).unwrap_err())
}

#[test]
fn corrections_are_counted_where_they_change_something() {
    let set = "[sources.log.set]\nitem = \"upper(item)\"\ndiscount = \"0.1 * value\"\nvalue = \"value * try_cast(q as double)\"";
    let folder = log(set, "a,x,2020-01-01,2,3,\nb,X,2020-01-01,2,1,\nc,X,2020-01-01,2,2,\n");
    let report = folder.ingest().unwrap();
    let counts = &report.sources["log"];
    assert_eq!((counts.kept, counts.fixed), (1, 2));
    assert_eq!(counts.reasons["`item` set by `upper(item)`"], 1);
    assert_eq!(counts.reasons["`value` set by `value * try_cast(q as double)`"], 1);
    // All see the line as it was; a column that the source does not have repairs nothing.
    let rows = folder.rows(Table::Events, &["item", "value", "discount"]);
    assert_eq!(rows, ["X|6.0|0.2", "X|2.0|0.2", "X|4.0|0.2"]);
}

#[test]
fn a_correction_is_judged_by_what_it_gives() {
    let set = "[sources.log.set]\nvalue = \"nullif(v, 'n/a')\"\nuser = \"nullif(trim(u), 'NaN')\"";
    let folder =
        log(set, "a,x,2020-01-01,n/a,1,\nb,x,2020-01-01,dear,1,\nNaN,x,2020-01-01,1,1,\nd,x,2020-01-01,1,1,\n");
    assert_eq!(folder.quarantined(), ["3 `value` is not a number: `dear`", "4 `u` is empty"]);
    assert_eq!(folder.rows(Table::Events, &["user", "value"]), ["a|-", "d|1.0"]);
}

#[test]
fn the_kind_may_be_computed() {
    let set = "[sources.log.set]\nkind = \"case when q = '0' then 'view' else 'buy' end\"";
    let rows = |toml: &str| {
        let folder = Folder::new(toml).write("log.csv", "u,i,t,v,q\na,x,2020-01-01,1,0\na,x,2020-01-02,1,1\n");
        (folder.rows(Table::Events, &["kind"]), folder.ingest().unwrap().sources["log"].fixed)
    };
    let with = format!("{HEAD}{set}\n{TAIL}");
    assert_eq!(rows(&with), (vec!["view".to_owned(), "buy".to_owned()], 1));
    // Where nothing else says the kind, saying it repairs nothing.
    assert_eq!(rows(&with.replace("kind = \"buy\"\n", "")), (vec!["view".to_owned(), "buy".to_owned()], 0));
}

#[test]
fn items_and_users_may_get_attributes_by_expression() {
    let goods = "[sources.goods]\npath = \"goods.csv\"\ntable = \"items\"\nmap = { title = \"name\" }\n\
                 [sources.goods.set]\nitem = \"upper(code)\"\nsize = \"split_part(name, ' ', 2)\"\ncategory = \"make_array(upper(code), 'all')\"";
    let folder = log(goods, "a,x,2020-01-01,1,1,\n").write("goods.csv", "code,name\na1,Mug L\nA1,Cup S\nb2,Jug\n");
    assert_eq!(
        folder.rows(Table::Items, &["item", "title", "size", "category"]),
        ["A1|Mug L|L|[A1, all]", "B2|Jug||[B2, all]"]
    );
    assert_eq!(folder.quarantined(), ["3 repeats the key `item`: `goods.csv` line 2 stays"]);
}

#[test]
fn a_key_that_the_first_line_of_json_lacks_can_be_used() {
    let toml =
        format!("{HEAD}[sources.log.set]\nitem = \"coalesce(variant, item)\"\n{TAIL}").replace("log.csv", "log.jsonl");
    let line = |more: &str| format!("{{\"u\":\"a\",\"i\":\"x\",\"t\":\"2020-01-01\",\"v\":1,\"q\":1{more}}}\n");
    let folder = Folder::new(&toml).write("log.jsonl", line("") + &line(",\"variant\":\"x-red\""));
    assert_eq!(folder.rows(Table::Events, &["item"]), ["x", "x-red"]);
}

#[test]
fn gaps_are_dropped_kept_or_filled() {
    let missing = "[sources.log.missing]\nitem = \"drop\"\nvalue = \"keep\"\nquantity = { value = 1 }\nuser = { value = \"nobody\" }";
    let folder = log(missing, "a,x,2020-01-01,,1,\na,,2020-01-02,1,1,\na,x,2020-01-03,1,,\n,x,2020-01-04,,1,\n");
    let report = folder.ingest().unwrap();
    let counts = &report.sources["log"];
    assert_eq!((counts.lines, counts.kept, counts.fixed, counts.quarantined), (4, 1, 2, 1));
    assert_eq!(counts.reasons["`q` is empty: set to 1"], 1);
    assert_eq!(counts.reasons["`u` is empty: set to `nobody`"], 1);
    assert_eq!(counts.reasons["`i` is empty"], 1);
    assert_eq!(counts.gaps["value"], 2);
    let rows = folder.rows(Table::Events, &["user", "value", "quantity"]);
    assert_eq!(rows, ["a|-|1.0", "a|1.0|1.0", "nobody|-|1.0"]);
}

#[test]
fn missing_rules_that_make_no_sense() {
    says(&error("[sources.log.missing]\nvalu = \"keep\""), &["line 9: unknown column `valu`", "did you mean `value`?"]);
    says(&error("[sources.log.missing]\nvalue = \"kep\""), &["line 9: unknown rule `kep`", "did you mean `keep`?"]);
    says(
        &error("[sources.log.missing]\nuser = \"keep\""),
        &["line 9: `sources.log.missing.user` cannot be kept empty"],
    );
    says(&error("[sources.log.missing]\nat = { value = \"2020-01-01\" }"), &["line 9", "cannot be filled"]);
    says(&error("[sources.log.missing]\nvalue = { value = \"much\" }"), &["line 9", "not a number"]);
    says(&error("[sources.log.missing]\nvalue = { valeu = 1 }"), &["line 9: unknown key", "did you mean `value`?"]);
}

#[test]
fn corrections_that_cannot_be_made() {
    says(&error("[sources.log.set]\nitme = \"upper(i)\""), &["line 9: unknown column `itme`", "did you mean `item`?"]);
    says(&error("[sources.log.set]\nat = \"t\""), &["line 9: unknown column `at`"]);
    says(&error("[sources.log.set]\nitem = 1"), &["line 9: `sources.log.set.item` is an integer, not a text"]);
    let set = |sql: &str| log(&format!("[sources.log.set]\nitem = \"{sql}\""), "a,x,2020-01-01,1,1,\n").error();
    says(&set("uper(i)"), &["line 9: `uper(i)` in `sources.log.set.item` cannot be evaluated", "uper"]);
    says(&set("upper(itme)"), &["line 9: `upper(itme)`", "did you mean `item`?"]);
    says(&set("upper(i"), &["line 9: `upper(i`"]);
}

const RETURNS: &str = "[sources.log.returns]\nwhen = \"n = 'C'\"";

fn kept(lines: &str) -> (Vec<String>, lookalike_store::SourceReport) {
    let folder = log(RETURNS, lines);
    (
        folder.rows(Table::Events, &["user", "kind", "quantity", "value"]),
        folder.ingest().unwrap().sources["log"].clone(),
    )
}

#[test]
fn a_return_takes_back_the_latest_earlier_line_of_its_quantity() {
    let lines =
        "a,x,2020-01-01,2,2,\na,x,2020-01-02,5,5,\na,x,2020-01-03,2,2,\na,x,2020-01-04,-2,-2,C\na,x,2020-01-05,2,2,\n";
    let (rows, report) = kept(lines);
    assert_eq!(rows, ["a|buy|2.0|2.0", "a|buy|5.0|5.0", "a|return|-2.0|-2.0", "a|buy|2.0|2.0"]);
    assert_eq!((report.kept, report.fixed, report.quarantined), (3, 1, 1));
    assert_eq!(report.reasons["`n = 'C'` makes it a return"], 1);
    assert_eq!(report.reasons["taken back by a return"], 1);
    let returns = report.returns.unwrap();
    assert_eq!((returns.lines, returns.matched, returns.withdrawn, returns.reduced), (1, 1, 1, 0));
    assert_eq!(log(RETURNS, lines).quarantined(), ["4 taken back by a return: `log.csv` line 5"]);
}

#[test]
fn a_return_takes_back_several_lines_and_parts_of_lines() {
    let (rows, report) = kept("a,x,2020-01-01,8,4,\na,x,2020-01-02,2,1,\na,x,2020-01-03,-4,-2,C\n");
    assert_eq!(rows, ["a|buy|3.0|6.0", "a|return|-2.0|-4.0"]);
    let returns = report.returns.unwrap();
    assert_eq!((returns.matched, returns.withdrawn, returns.reduced), (1, 1, 1));
    assert_eq!(report.reasons["taken back in part by a return"], 1);
    assert_eq!((report.lines, report.kept, report.fixed, report.quarantined), (3, 0, 2, 1));
}

#[test]
fn returns_without_a_purchase_stay() {
    let lines = "a,x,2020-01-01,-1,-1,C\na,x,2020-01-02,1,1,\nb,x,2020-01-03,-1,-1,C\na,y,2020-01-03,-1,-1,C\n\
                 a,,2020-01-04,-1,-1,C\na,x,2020-01-05,-9,-9,C\n";
    let (rows, report) = kept(lines);
    assert_eq!(rows.len(), 5);
    let returns = report.returns.unwrap();
    assert_eq!((returns.lines, returns.matched, returns.partly, returns.unmatched, returns.withdrawn), (5, 0, 1, 4, 1));
}

#[test]
fn without_quantities_a_return_takes_back_a_line() {
    let toml = format!("{HEAD}{RETURNS}\n{TAIL}").replace(", quantity = \"q\"", "");
    let lines = "u,i,t,v,q,n\na,x,2020-01-01,1,1,\na,x,2020-01-02,2,1,\na,x,2020-01-03,1,1,C\n";
    let folder = Folder::new(&toml).write("log.csv", lines);
    assert_eq!(folder.rows(Table::Events, &["kind", "value"]), ["buy|1.0", "return|1.0"]);
}

#[test]
fn repeated_lines_are_taken_back_once() {
    let rules = format!("key = [\"u\", \"i\", \"t\", \"n\"]\n{RETURNS}");
    let lines = "a,x,2020-01-01,1,1,A\na,x,2020-01-01,1,1,A\na,x,2020-01-03,-2,-2,C\n";
    let folder = log(&rules, lines);
    let returns = folder.ingest().unwrap().sources["log"].returns.unwrap();
    assert_eq!((returns.partly, returns.withdrawn), (1, 1));
}

#[test]
fn returns_that_cannot_be() {
    says(&error("[sources.log.returns]\nwehn = \"n = 'C'\""), &["line 9: unknown key", "did you mean `when`?"]);
    says(
        &error(&format!("{RETURNS}\nkey = [\"user\", \"itm\"]")),
        &["line 10: unknown column `itm`", "did you mean `item`?"],
    );
    says(&error(&format!("{RETURNS}\nkind = \"buy\"")), &["the kind `buy` of what they take back"]);
    says(&error(&format!("{RETURNS}\n[sources.log.set]\nkind = \"'buy'\"")), &["`sources.log.returns` lacks `of`"]);
    says(&log("[sources.log.returns]\nwhen = \"m = 'C'\"", "a,x,2020-01-01,1,1,\n").error(), &["line 9: `m = 'C'`"]);
    let goods =
        "[sources.g]\npath = \"g.csv\"\ntable = \"items\"\nmap = { item = \"i\" }\nreturns = { when = \"true\" }";
    says(&error(goods), &["line 12: `sources.g.returns` is for events"]);
}

#[test]
fn a_condition_on_the_wrong_column_names_the_nearest() {
    let rules = "[sources.log.contract]\nquarantine = [\"value > 0\", \"valu < 0\"]";
    says(
        &log(rules, "a,x,2020-01-01,1,1,\n").error(),
        &["line 9: `valu < 0` in `sources.log.contract.quarantine`", "did you mean `value`?"],
    );
}

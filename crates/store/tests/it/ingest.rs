//! What good input becomes: formats, types, order, attributes, and a report that adds up.

use arrow::array::{Date32Array, Float64Array, Int32Array, StringArray, TimestampMillisecondArray};
use lookalike_store::Table;

use crate::kit::{EVENTS, Folder, array};

const ALL: &[&str] = &["user", "at", "kind", "item", "value", "source"];
const ROW: &str = "7|2017-07-01T12:00:00Z|buy|x|1.5|log";

fn events(name: &str, content: &str) -> Vec<String> {
    Folder::new(&EVENTS.replace("log.csv", name)).write(name, content).rows(Table::Events, ALL)
}

#[test]
fn csv_tsv_and_json_lines_say_the_same() {
    assert_eq!(events("log.csv", "t,u,i,v,w\n2017-07-01 08:00:00,7,x,1.5,\n"), [ROW]);
    assert_eq!(events("log.tsv", "u\ti\tt\tv\n7\tx\t2017-07-01T12:00:00Z\t1.5\n"), [ROW]);
    assert_eq!(events("log.jsonl", "{\"u\":7,\"i\":\"x\",\"t\":\"2017-07-01T12:00:00Z\",\"v\":1.5}\n"), [ROW]);
}

#[test]
fn parquet_says_the_same() {
    let columns = vec![
        ("u", array(Int32Array::from(vec![7]))),
        ("i", array(StringArray::from(vec!["x"]))),
        ("t", array(TimestampMillisecondArray::from(vec![1_498_896_000_000]))),
        ("v", array(Float64Array::from(vec![1.5]))),
    ];
    let folder = Folder::new(&EVENTS.replace("log.csv", "log.parquet")).parquet("log.parquet", columns);
    assert_eq!(folder.rows(Table::Events, ALL), [ROW]);
}

#[test]
fn dates_of_parquet_begin_at_local_midnight() {
    let day = || array(Date32Array::from(vec![17_348]));
    let folder = Folder::new(&EVENTS.replace("log.csv", "log.parquet")).parquet(
        "log.parquet",
        vec![("u", day()), ("i", day()), ("t", day()), ("v", array(Int32Array::from(vec![1])))],
    );
    assert_eq!(folder.rows(Table::Events, &["at", "item"]), ["2017-07-01T04:00:00Z|2017-07-01"]);
}

#[test]
fn byte_order_mark_and_carriage_returns() {
    assert_eq!(events("log.csv", "\u{feff}u,i,t,v\r\n7,x,2017-07-01T12:00:00Z,1.5\r\n"), [ROW]);
    assert_eq!(events("log.csv", "u,i,t,v\r\n7,x,2017-07-01T12:00:00Z,\"1.5\"\r\n\r\n"), [ROW]);
}

#[test]
fn line_numbers_are_exact() {
    let lines = "\"a\nb\",x,2017-01-01,1\n\n\nb,x,soon,1\n\"c\n\n\",x,soon,1\nd,x,soon,1";
    for (lines, end) in [(lines.to_owned(), "lf"), (lines.replace('\n', "\r\n"), "crlf")] {
        let numbers: Vec<String> =
            Folder::events(&lines).quarantined().iter().map(|row| row[..2].trim().to_owned()).collect();
        assert_eq!(numbers, ["6", "7", "10"], "{end}");
    }
}

#[test]
fn globs_are_read_in_the_order_of_their_names() {
    let folder = Folder::new(&EVENTS.replace("log.csv", "log-*.csv"))
        .write("log-2.csv", "i,u,t,v\nsecond,a,2017-01-01,1\n")
        .write("log-1.csv", "u,i,t,v\na,first,2017-01-01,1\n");
    assert_eq!(folder.rows(Table::Events, &["item"]), ["first", "second"]);
}

#[test]
fn events_are_sorted_by_user_time_and_place() {
    let folder = Folder::events("b,1,2017-01-02,1\nb,2,2017-01-01,1\na,3,2017-01-03,1\nb,4,2017-01-02,1\n");
    assert_eq!(folder.rows(Table::Events, &["item"]), ["3", "2", "1", "4"]);
}

#[test]
fn kinds_may_come_from_a_column() {
    let toml = EVENTS.replace("kind = \"buy\"", "kind = { column = \"k\" }");
    let folder = Folder::new(&toml).write("log.csv", "u,i,t,v,k\na,x,2017-01-01,1,view\na,x,2017-01-02,1,\n");
    assert_eq!(folder.rows(Table::Events, &["kind"]), ["view"]);
}

#[test]
fn items_have_titles_paths_and_attributes() {
    let toml = format!(
        "{EVENTS}[sources.goods]\npath = \"goods.csv\"\ntable = \"items\"\n\
         map = {{ item = \"id\", title = [\"type\", \"size\"], category = [\"dept\", \"type\"], price = \"usd\", maker = \"m\" }}\n"
    );
    let folder = Folder::events("a,x,2017-01-01,1\n")
        .write("lookalike.toml", toml)
        .write("goods.csv", "id,dept,type,size,usd,m\n2,FOOD,MILK,1 L,0.99,7\n1,FOOD,,2 L,,\n3,,,,,\n");
    let rows = folder.rows(Table::Items, &["item", "title", "category", "brand", "price", "maker"]);
    assert_eq!(rows, ["1|2 L|[FOOD]|-|-|-", "2|MILK, 1 L|[FOOD, MILK]|-|0.99|7", "3|-|-|-|-|-"]);
    let names = ["item", "title", "category", "brand", "price", "maker"];
    assert_eq!(folder.store().columns(Table::Items).unwrap(), names);
}

#[test]
fn edges_may_lack_a_time() {
    let toml = format!(
        "{EVENTS}[sources.e]\npath = \"e.csv\"\ntable = \"edges\"\nkind = \"knows\"\nmap = {{ from = \"a\", to = \"b\" }}\n"
    );
    let folder =
        Folder::events("a,x,2017-01-01,1\n").write("lookalike.toml", toml).write("e.csv", "a,b\n2,1\n1,2\n1,\n");
    assert_eq!(folder.rows(Table::Edges, &["from", "to", "kind", "at", "source"]), ["1|2|knows|-|e", "2|1|knows|-|e"]);
}

#[test]
fn conditions_see_canonical_and_source_columns() {
    let toml = format!(
        "{EVENTS}[sources.log.contract]\nquarantine = [\"value <= 0\", \"T_est = 'yes'\", \"try_cast(w as int) > 9\"]\n"
    );
    let folder = Folder::new(&toml).write(
        "log.csv",
        "u,i,t,v,T_est,w\na,x,2017-01-01,0,,\na,x,2017-01-01,1,yes,\na,x,2017-01-01,2,no,10\na,x,2017-01-01,,,text\n",
    );
    assert_eq!(folder.quarantined(), ["2 `value <= 0`", "3 `T_est = 'yes'`", "4 `try_cast(w as int) > 9`"]);
}

#[test]
fn the_report_has_the_shape_that_is_printed() {
    let report = Folder::events("a,x,2017-01-01,1\nb ,x,2017-01-01,1\nc,x,soon,1\n").ingest().unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let log = serde_json::json!({ "in": 3, "kept": 1, "fixed": 1, "quarantined": 1,
        "reasons": { "`t` is not a time": 1, "white space around `u`": 1 } });
    let tables = serde_json::json!({ "users": 0, "items": 0, "events": 2, "edges": 0 });
    assert_eq!(json, serde_json::json!({ "sources": { "log": log }, "tables": tables }));
}

#[test]
fn raw_records_of_the_quarantine_can_be_repaired() {
    let folder = Folder::events("a,x,2017-01-01,1\nb,\"x \"\"y\"\"\",soon,\nc,x\n");
    let rows = crate::kit::lines(folder.store().quarantine().unwrap());
    let raws: Vec<_> = rows.iter().map(|row| row.split('|').next_back().unwrap()).collect();
    assert_eq!(raws, ["[\"c\",\"x\"]", r#"{"u": "b", "i": "x \"y\"", "t": "soon", "v": null}"#]);
}

#[test]
fn progress_ends_at_the_total() {
    let folder = Folder::events("a,x,2017-01-01,1\n");
    let mut last = Vec::new();
    lookalike_store::ingest(&folder.project(), &mut |at| last.push((at.name.to_owned(), at.done, at.total))).unwrap();
    assert_eq!(last, [("log".to_owned(), 25, 25), ("events".to_owned(), 1, 1)]);
}

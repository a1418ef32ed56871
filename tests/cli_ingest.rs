//! `ingest`: what becomes of good lines and bad ones, and of sources that cannot be read at all.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Said, Shop, lines, parquet_rows};

const LINES: u64 = 100 * 40;

/// A shop whose purchases have these lines after the good ones.
fn with_lines(bad: &str) -> Shop {
    let shop = Shop::new();
    shop.write("lines.csv", lines() + bad);
    shop
}

fn ingest(shop: &Shop) -> Said {
    shop.run(&["ingest"])
}

/// The reason for which a line is quarantined when it follows the good ones: `source|file|line|reason|raw`.
#[track_caller]
fn quarantined(bad: &str) -> String {
    let shop = with_lines(&format!("{bad}\n"));
    let report = shop.run(&["ingest", "--json"]).json();
    assert_eq!(report["sources"]["lines"]["quarantined"], 1, "{report}");
    let rows = parquet_rows(&shop.path("store/quarantine.parquet"));
    assert_eq!(rows.len(), 1);
    rows[0].clone()
}

/// The place of the first line after the good ones and the header.
fn place() -> String {
    format!("lines|lines.csv|{}|", LINES + 2)
}

#[test]
fn every_line_is_accounted_for() {
    let shop = with_lines(" u00 ,i000,2024-01-01,1\nu00,i000,soon,1\n,i000,2024-01-01,1\n");
    let report = shop.run(&["ingest", "--json"]).json();
    let lines = &report["sources"]["lines"];
    assert_eq!((&lines["in"], &lines["kept"]), (&(LINES + 3).into(), &LINES.into()));
    assert_eq!((&lines["fixed"], &lines["quarantined"]), (&1.into(), &2.into()));
    assert_eq!(lines["reasons"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 3);
    assert_eq!(report["tables"], serde_json::json!({ "users": 100, "items": 120, "events": LINES + 1, "edges": 0 }));
}

#[test]
fn people_get_a_table() {
    ingest(&Shop::new()).says(&["quarantined", "lines", "4,000", "store: ", "users 100"]);
}

#[test]
fn people_are_told_what_was_put_right() {
    let rules = "[sources.lines.missing]\nvalue = \"keep\"\n[sources.lines.returns]\nwhen = \"paid LIKE '-%'\"\n\
                 [sources.words]\npath = \"words.csv\"\ntable = \"events\"\nkind = \"consent\"\nat = \"at\"\n\
                 map = { user = \"who\", text = \"word\" }\n[consent]\nkind = \"consent\"\naction = \"text\"\n\
                 default = \"granted\"\n[sources.same]\npath = \"same.csv\"\ntable = \"edges\"\nkind = \"same-person\"\n\
                 map = { from = \"a\", to = \"b\" }\n[identity]\nreject = [\"none\"]\n[interactions]";
    let shop = Shop::with("[interactions]", rules);
    let more = "u00,i777,2024-01-01,1\nu00,i777,2024-01-02,-1\nu00,i778,2024-01-02,-1\nu00,i001,2024-01-01,\n";
    shop.write("lines.csv", lines() + more).write("words.csv", "who,at,word\nnew,2024-01-01,grant\n");
    shop.write("same.csv", "a,b\nu01,u02\nu01,none\n");
    ingest(&shop).says(&[
        "lines: 1 × `value` is empty, and kept so",
        "lines: 2 returns, of which 1 found all they take back, 0 a part of it, 1 nothing; 1 lines were taken back whole, 0 in part",
        "identity: 2 ids are 1 people; 1 edges name nobody; 0 ids in 0 groups",
        "consent: 1 rows about 1 people, 1 of them otherwise unknown",
    ]);
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let shop = Shop::new();
    ingest(&shop).ok();
    let first = shop.files("store");
    std::fs::remove_dir_all(shop.path("store")).unwrap();
    ingest(&shop).ok();
    assert!(first.len() >= 5 && first == shop.files("store"));
}

#[test]
fn quiet_leaves_stderr_empty() {
    assert_eq!(Shop::new().run(&["ingest", "--quiet", "--json"]).ok().err, "");
}

#[test]
fn a_missing_source_is_named() {
    let shop = Shop::with("\"lines.csv\"", "\"lnies.csv\"");
    ingest(&shop).hints(1, &["`lines`", "lookalike.toml` line 6", "no file matches `lnies.csv`"]);
}

#[test]
fn a_wrong_column_comes_with_the_nearest() {
    let shop = Shop::with("value = \"paid\"", "value = \"piad\"");
    ingest(&shop).hints(1, &["lines.csv` has no column `piad`", "did you mean `paid`?"]);
}

#[test]
fn a_wrong_type_is_quarantined_with_its_line_and_reason() {
    assert_eq!(
        quarantined("u00,i000,2024-01-01,dear").rsplit_once('|').unwrap().0,
        place() + "`paid` is not a number: `dear`"
    );
}

#[test]
fn a_time_out_of_range_is_quarantined() {
    assert!(quarantined("u00,i000,1024-01-01,1").starts_with(&(place() + "`at` is outside the years 1900 to 2199")));
}

#[test]
fn not_a_number_is_quarantined() {
    assert!(quarantined("u00,i000,2024-01-01,NaN").starts_with(&(place() + "`paid` is not a finite number: `NaN`")));
}

#[test]
fn an_infinite_number_is_quarantined() {
    assert!(quarantined("u00,i000,2024-01-01,-inf").starts_with(&(place() + "`paid` is not a finite number: `-inf`")));
}

#[test]
fn a_line_without_a_user_is_quarantined() {
    assert!(quarantined(",i000,2024-01-01,1").starts_with(&(place() + "`who` is empty")));
}

#[test]
fn a_source_of_bad_lines_alone_is_an_error() {
    let shop = Shop::new();
    shop.write("lines.csv", "who,what,at,paid\nu00,i000,soon,1\n");
    ingest(&shop).fails(1, &["source `lines` was quarantined", "`at` is not a time"]);
}

#[test]
fn an_empty_file_is_named() {
    let shop = Shop::new();
    shop.write("lines.csv", "");
    ingest(&shop).fails(1, &["lines.csv` is empty"]);
}

#[test]
fn a_truncated_parquet_is_named() {
    let whole = Shop::new();
    ingest(&whole).ok();
    let bytes = std::fs::read(whole.path("store/events.parquet")).unwrap();
    let shop = Shop::with("\"lines.csv\"", "\"lines.parquet\"");
    shop.write("lines.parquet", &bytes[..bytes.len() / 2]);
    ingest(&shop).fails(1, &["lines.parquet` is not a whole Parquet file"]);
}

#[test]
fn an_unknown_key_comes_with_the_nearest() {
    let shop = Shop::with("timezone", "timezoen");
    ingest(&shop).hints(1, &["lookalike.toml` line 3", "unknown key `project.timezoen`", "`timezone`"]);
}

#[test]
fn an_unknown_key_of_a_source_comes_with_the_nearest() {
    let shop = Shop::with("kind = \"purchase\"", "kind = \"purchase\"\nkeys = [\"who\"]");
    ingest(&shop).hints(1, &["lookalike.toml` line 9", "unknown key `sources.lines.keys`", "`key`"]);
}

#[test]
fn a_misspelt_key_that_must_be_there_comes_with_the_nearest() {
    let shop = Shop::with("table = ", "tabel = ");
    ingest(&shop).hints(1, &["unknown key `sources.lines.tabel`", "`table`"]);
}

#[test]
fn text_that_is_no_toml_has_a_line() {
    let shop = Shop::with("[interactions]", "[interactions");
    ingest(&shop).fails(1, &["lookalike.toml` line "]);
}

#[test]
fn a_folder_without_a_project_file_is_named() {
    Shop::new().run(&["ingest", "--project", "nowhere"]).hints(1, &["`nowhere` has no `lookalike.toml`"]);
}

#[test]
fn a_full_disk_is_an_error_and_the_old_store_stays() {
    let shop = Shop::new();
    ingest(&shop).ok();
    let before = shop.files("store");
    shop.write("lines.csv", lines() + "u00,i000,2024-01-01,1\n");
    shop.run_with_small_files(1, &["ingest"]).hints(1, &["cannot write `", "store.tmp"]);
    assert!(before == shop.files("store") && !shop.path("store.tmp").exists());
}

#[test]
fn nothing_is_lost_when_a_source_breaks_later() {
    let shop = Shop::new();
    ingest(&shop).ok();
    let before = shop.files("store");
    shop.write("lines.csv", "");
    ingest(&shop).fails(1, &["is empty"]);
    assert!(before == shop.files("store"));
}

#[test]
fn nothing_is_read_again_where_nothing_changed() {
    let shop = Shop::new();
    let first = ingest(&shop);
    let made = std::fs::metadata(shop.path("store")).unwrap().modified().unwrap();
    let again = ingest(&shop);
    assert_eq!(std::fs::metadata(shop.path("store")).unwrap().modified().unwrap(), made);
    assert_eq!(first.out, again.out);
    assert!(again.err.contains("nothing has changed"), "{}", again.err);
    // What is damaged is built anew, though its sources are the same.
    shop.damage("store/events.parquet", |bytes| bytes[100] ^= 1);
    assert!(!ingest(&shop).ok().err.contains("nothing has changed"));
    assert!(ingest(&shop).ok().err.contains("nothing has changed"));
}

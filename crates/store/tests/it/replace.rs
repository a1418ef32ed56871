//! The store is replaced as a whole, is known to be old when it is, and is never read when it is damaged.

use std::fs;

use lookalike_store::{Project, Store, Table};

use crate::kit::{EVENTS, Folder, lines, told};

const LINE: &str = "a,x,2017-01-01,1\n";

fn opened(folder: &Folder) -> Vec<String> {
    let store = Store::open(&folder.project()).unwrap();
    lines(store.scan(Table::Events, &["user", "item"]).unwrap())
}

fn error(folder: &Folder) -> String {
    let opened = Store::open(&folder.project());
    told(&opened.and_then(|store| store.scan(Table::Events, &["user"]).map(drop)).unwrap_err())
}

fn stale(folder: &Folder, store: &Store) -> Option<String> {
    store.is_stale(&folder.project()).unwrap()
}

#[test]
fn same_sources_same_bytes() {
    let folder = Folder::events(LINE);
    let read = |folder: &Folder| {
        folder.ingest().unwrap();
        ["events.parquet", "quarantine.parquet", "store.json"]
            .map(|name| fs::read(folder.path().join("store").join(name)).unwrap())
    };
    assert!(read(&folder) == read(&folder));
}

#[test]
fn no_store_yet() {
    assert!(error(&Folder::events(LINE)).contains("run `lookalike ingest` first"));
}

#[test]
fn killed_while_building() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    fs::create_dir(folder.path().join("store.tmp")).unwrap();
    let folder = folder.write("store.tmp/events.parquet", "half a file");
    assert_eq!(opened(&folder), ["a|x"]);
    folder.ingest().unwrap();
    assert!(!folder.path().join("store.tmp").exists());
}

#[test]
fn killed_between_taking_away_the_old_and_putting_the_new() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    fs::rename(folder.path().join("store"), folder.path().join("store.old")).unwrap();
    fs::create_dir(folder.path().join("store.tmp")).unwrap();
    assert_eq!(opened(&folder), ["a|x"]);
    assert!(!folder.path().join("store.old").exists());
}

#[test]
fn killed_before_removing_the_old() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    fs::create_dir(folder.path().join("store.old")).unwrap();
    assert_eq!(opened(&folder), ["a|x"]);
    folder.ingest().unwrap();
    assert!(!folder.path().join("store.old").exists());
}

#[test]
fn a_failed_ingest_leaves_the_old_store() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    let folder = folder.write("log.csv", "u,i,t,v\na,x,soon,1\n");
    folder.ingest().unwrap_err();
    assert_eq!(opened(&folder), ["a|x"]);
    assert!(!folder.path().join("store.tmp").exists());
}

#[test]
fn two_at_a_time() {
    let folder = Folder::events(LINE);
    let lock = fs::File::create(folder.path().join("store.lock")).unwrap();
    lock.lock().unwrap();
    assert!(folder.error().contains("another process is ingesting"));
}

#[test]
fn nowhere_to_write() {
    // Even root cannot create a folder where a file is in the way of the lock.
    let folder = Folder::events(LINE);
    fs::create_dir(folder.path().join("store.lock")).unwrap();
    assert!(folder.error().contains("cannot write") && folder.error().contains("store.lock"));
}

#[test]
fn flipped_byte() {
    let folder = Folder::events(&LINE.repeat(50));
    folder.ingest().unwrap();
    let path = folder.path().join("store/events.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(error(&folder).contains("store/events.parquet` is damaged: its bytes"));
}

#[test]
fn truncated_table() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    let folder = folder.write("store/events.parquet", "PAR1");
    assert!(error(&folder).contains("store/events.parquet` is damaged: it has 4 bytes"));
}

#[test]
fn missing_table() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    fs::remove_file(folder.path().join("store/edges.parquet")).unwrap();
    assert!(error(&folder).contains("cannot read") && error(&folder).contains("store/edges.parquet"));
}

#[test]
fn newer_format_and_unreadable_manifest() {
    let folder = Folder::events(LINE);
    folder.ingest().unwrap();
    let folder = folder.write("store/store.json", "{ \"format\": 99, \"new\": 1 }");
    assert!(error(&folder).contains("has format 99, and this version reads formats up to 2"));
    assert!(error(&folder.write("store/store.json", "{")).contains("store.json` is damaged"));
}

#[test]
fn unknown_column_of_a_table() {
    let folder = Folder::events(LINE);
    let error = folder.store().scan(Table::Events, &["useer"]).map(drop).unwrap_err();
    assert!(told(&error).contains("has no column `useer` | did you mean `user`?"));
}

#[test]
fn fresh_until_something_changes() {
    let folder = Folder::events(LINE);
    let store = folder.store();
    assert_eq!(stale(&folder, &store), None);
    let folder = folder.write("log.csv", format!("u,i,t,v\n{LINE}"));
    assert_eq!(stale(&folder, &store), None, "the same bytes at another time");
    let folder = folder.write("log.csv", format!("u,i,t,v\n{}", LINE.replace('a', "b")));
    assert_eq!(stale(&folder, &store).unwrap(), "`log.csv` was changed");
    fs::remove_file(folder.path().join("log.csv")).unwrap();
    assert_eq!(stale(&folder, &store).unwrap(), "`log.csv` is missing");
}

#[test]
fn stale_when_the_sources_are_declared_otherwise() {
    let folder = Folder::events(LINE);
    let store = folder.store();
    let folder = folder.write("lookalike.toml", EVENTS.replace("buy = 1.0", "buy = 2.0"));
    assert_eq!(stale(&folder, &store), None, "weights are none of the store's business");
    let folder = folder.write("lookalike.toml", EVENTS.replace("New_York", "Chicago"));
    assert_eq!(stale(&folder, &store).unwrap(), "the sources in `lookalike.toml` were changed");
}

#[test]
fn stale_when_a_glob_finds_more() {
    let folder = Folder::new(&EVENTS.replace("log.csv", "log*.csv")).write("log1.csv", format!("u,i,t,v\n{LINE}"));
    let store = folder.store();
    let folder = folder.write("log0.csv", format!("u,i,t,v\n{LINE}"));
    assert_eq!(stale(&folder, &store).unwrap(), "`log0.csv` is new, or a file before it is gone");
}

#[test]
fn a_new_file_gives_what_all_files_would_have_given() {
    let toml = EVENTS.replace("log.csv", "log*.csv").replace("kind =", "key = [\"u\", \"i\"]\nkind =");
    let first = |folder: Folder| folder.write("log1.csv", format!("u,i,t,v\n{LINE}b,y,2017-01-03,1\n"));
    let second = |folder: Folder| folder.write("log2.csv", format!("u,i,t,v\n{LINE}a,y,2017-01-02,1\n"));
    let later = first(Folder::new(&toml));
    later.ingest().unwrap();
    let later = second(later);
    assert_eq!(later.store().hash(), second(first(Folder::new(&toml))).store().hash());
    assert_eq!(opened(&later), ["a|x", "a|y", "b|y"]);
}

#[test]
fn the_hash_is_of_the_tables() {
    let hash = |lines: &str| Folder::events(lines).store().hash();
    assert_eq!(hash(LINE), hash(&format!("{LINE}b,x,soon,1\n")));
    assert_ne!(hash(LINE), hash(&LINE.replace('a', "b")));
}

#[test]
fn stores_of_format_2_stay_readable() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-2");
    let project = Project::open(root).unwrap();
    let store = Store::open(&project).unwrap();
    let rows = lines(store.scan(Table::Events, &["user", "kind", "item", "value", "quantity"]).unwrap());
    assert_eq!(rows, ["a1|return|x|1.5|-2.0", "c|buy|x|1.5|1.0"], "`b` said no, and `d` is forgotten");
    assert_eq!(store.ids_of("a2").unwrap(), ["a1", "a2"]);
    assert!(project.has_forgotten("d") && !project.has_forgotten("c"));
    let report = store.report();
    assert_eq!((report.identity.unwrap().rejected, report.consent.unwrap().people), (1, 1));
    assert_eq!((report.sources["log"].gaps["value"], report.sources["log"].returns.unwrap().withdrawn), (1, 1));
}

#[test]
fn stores_of_format_1_stay_readable() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1");
    let store = Store::open(&Project::open(root).unwrap()).unwrap();
    let rows = lines(store.scan(Table::Events, &["at", "user", "kind", "item", "value", "source"]).unwrap());
    assert_eq!(rows, ["2017-01-01T05:00:00Z|a|buy|x|1.5|log", "2017-07-01T04:00:00Z|b|buy|y|-|log"]);
    assert_eq!(lines(store.scan(Table::Items, &["item", "category", "colour"]).unwrap()), ["x|[FOOD, MILK]|white"]);
    assert_eq!(store.report().sources["log"].quarantined, 1);
}

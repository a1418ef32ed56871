//! What is known of real data, found again: gaps, repeats, people and lines without a product. Figures were counted by
//! scripts outside this repository.
//!
//! Data that may not be copied into a repository is read where `LOOKALIKE_DATA` names its folder; without it these tests
//! say that they saw nothing.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use lookalike_store::{Store, Table, check};

use crate::kit::{Folder, lines};

/// The bundled project over its own files, with its store in a folder that goes away.
fn complete_journey(change: impl Fn(String) -> String) -> Folder {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/complete-journey").canonicalize().unwrap();
    let toml = std::fs::read_to_string(root.join("lookalike.toml")).unwrap();
    Folder::new(&change(toml).replace("path = \"", &format!("path = \"{}/", root.display())))
}

/// The folder of a data set that is not in the repository, if there is one.
fn elsewhere(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LOOKALIKE_DATA").map(|folder| Path::new(&folder).join(name));
    if folder.is_none() {
        // Unlike what is printed, this is shown although the test passes.
        let told = format!("SKIPPED: `{name}` was not looked at, because LOOKALIKE_DATA names no folder of data\n");
        std::io::stderr().write_all(told.as_bytes()).unwrap();
    }
    folder
}

#[test]
fn complete_journey_adds_up() {
    let folder = complete_journey(|toml| toml);
    let report = folder.ingest().unwrap();
    let counts = &report.sources["lines"];
    assert_eq!((counts.lines, counts.kept, counts.fixed, counts.quarantined), (1_469_307, 1_460_438, 0, 8_869));
    // No line repeats a basket and product; every line that was set aside had nothing bought on it.
    assert_eq!(counts.reasons.len(), 1);
    assert_eq!(counts.reasons["`quantity <= 0`"], 8_869);
    let sizes = ["products", "households", "targets", "redemptions"].map(|name| report.sources[name].kept);
    assert_eq!(sizes, [92_331, 801, 6_589, 2_102]);
    assert_eq!((report.tables["users"], report.tables["items"]), (801, 92_331));
}

#[test]
fn complete_journey_has_these_gaps_and_unknown_products() {
    let folder = complete_journey(|toml| {
        let toml = toml.replace("quarantine = [\"quantity <= 0\"]", "");
        let toml = toml.replace("package_size = \"package_size\"\n", "package_size = \"package_size\"\nsort = \"product_category\"\ntype = \"product_type\"\n[sources.products.missing]\nsort = \"keep\"\ntype = \"keep\"\npackage_size = \"keep\"\n");
        toml.replace("kids_count = \"kids_count\"\n", "kids_count = \"kids_count\"\n[sources.households.missing]\nhome_ownership = \"keep\"\nmarital_status = \"keep\"\n")
    });
    let report = folder.ingest().unwrap();
    let gaps = &report.sources["products"].gaps;
    assert_eq!((gaps["sort"], gaps["type"], gaps["package_size"]), (540, 528, 30_586));
    let gaps = &report.sources["households"].gaps;
    assert_eq!((gaps["home_ownership"], gaps["marital_status"]), (233, 137));

    let store = Store::open(&folder.project()).unwrap();
    let findings = check(&folder.project(), &store, jiff::Timestamp::now(), None).unwrap();
    let found = findings.iter().find(|finding| finding.name == "lines: items are known").unwrap();
    assert_eq!((found.ok, (found.figure * 1_469_307.0).round()), (false, 4_836.0));
    // Everybody is one row or none: what is known of a household does not multiply its lines.
    let known: HashSet<String> = lines(store.scan(Table::Users, &["user"]).unwrap()).into_iter().collect();
    let kinds = lines(store.scan(Table::Events, &["user", "kind"]).unwrap());
    let buyers: HashSet<&str> = kinds.iter().filter_map(|row| row.strip_suffix("|purchase")).collect();
    assert_eq!((known.len(), buyers.len()), (801, 2_469));
    assert_eq!(buyers.iter().filter(|buyer| !known.contains(**buyer)).count(), 1_668);
}

#[test]
fn a_hundred_households_of_complete_journey_say_no() {
    let words = "[sources.words]\npath = \"words.csv\"\ntable = \"events\"\nkind = \"consent\"\nat = \"t\"\n\
                 map = { user = \"u\", text = \"word\" }\n[consent]\nkind = \"consent\"\naction = \"text\"\ndefault = \"granted\"\n";
    let folder = complete_journey(|toml| toml);
    let toml = std::fs::read_to_string(folder.path().join("lookalike.toml")).unwrap();
    let rows: String = (1..=100).map(|household| format!("{household},2018-01-01,revoke\n")).collect();
    let folder = folder.write("lookalike.toml", toml + words).write("words.csv", format!("u,t,word\n{rows}"));
    let consent = folder.ingest().unwrap().consent.unwrap();
    // All of the first hundred numbers are households that bought something.
    assert_eq!((consent.lines, consent.people, consent.unknown), (100, 100, 0));
    let store = Store::open(&folder.project()).unwrap();
    let store = store.for_purpose("training", folder.project().instant("2018-02-01").unwrap());
    let buyers: HashSet<String> = lines(store.scan(Table::Events, &["user"]).unwrap()).into_iter().collect();
    assert_eq!(buyers.len(), 2_369);
    let said_no = |id: &str| id.parse::<u32>().is_ok_and(|household| household <= 100);
    assert!(!buyers.iter().any(|buyer| said_no(buyer)));
    assert!(!lines(store.scan(Table::Users, &["user"]).unwrap()).iter().any(|user| said_no(user)));
    // Campaigns are numbered like households, and stay.
    let targets = lines(store.scan(Table::Edges, &["kind", "from", "to"]).unwrap());
    let targets: Vec<Vec<&str>> =
        targets.iter().map(|row| row.split('|').collect()).filter(|row: &Vec<&str>| row[0] == "targeted").collect();
    assert!(targets.iter().any(|row| said_no(row[1])) && !targets.iter().any(|row| said_no(row[2])));
}

#[test]
fn people_without_an_id_are_not_taken_for_each_other() {
    let Some(data) = elsewhere("hillstrom") else { return };
    let columns = [
        "recency",
        "history_segment",
        "history",
        "mens",
        "womens",
        "zip_code",
        "newbie",
        "channel",
        "segment",
        "visit",
        "conversion",
        "spend",
    ];
    let toml = |key: &str| {
        format!(
            "[sources.mail]\npath = \"{}/hillstrom.parquet\"\ntable = \"edges\"\nkind = \"mailed\"\npeople = []\n{key}\n\
             map = {{ from = \"segment\", to = \"zip_code\" }}\n[interactions]\nkinds = {{ mailed = 1.0 }}\nsplit = \"leave-last\"\n",
            data.display()
        )
    };
    let kept = |key: &str| Folder::new(&toml(key)).ingest().unwrap().sources["mail"].kept;
    assert_eq!(kept(""), 64_000);
    // Only who declares that equal lines are the same line loses the 6,562 that are others.
    assert_eq!(kept(&format!("key = {columns:?}")), 64_000 - 6_562);
}

#[test]
fn friends_hang_together() {
    let Some(data) = elsewhere("lastfm_hetrec2011") else { return };
    let toml = format!(
        "[sources.friends]\npath = \"{0}/user_friends.parquet\"\ntable = \"edges\"\nkind = \"same-person\"\n\
         map = {{ from = \"userID\", to = \"friendID\" }}\n\
         [sources.plays]\npath = \"{0}/user_artists.parquet\"\ntable = \"edges\"\nkind = \"plays\"\npeople = [\"from\"]\n\
         map = {{ from = \"userID\", to = \"artistID\" }}\n[identity]\nmax_people = 2000\n\
         [interactions]\nkinds = {{ plays = 1.0 }}\nsplit = \"leave-last\"\n",
        data.display()
    );
    let report = Folder::new(&toml).ingest().unwrap();
    let identity = report.identity.unwrap();
    assert_eq!((identity.links, identity.people, identity.ids), (2 * 12_717, 20, 1_892));
    assert_eq!(report.sources["plays"].lines, 92_834);
}

//! Ids that are one person, people who are to be forgotten, and sources that are taken away.

use lookalike_store::{Project, Store, Table, forget, source_lines};

use crate::kit::{Folder, lines, says, told};

const TOML: &str = r#"
[sources.log]
path = "log*.csv"
table = "events"
kind = "buy"
at = { column = "t", stored_as = "UTC" }
map = { user = "u", item = "i", value = "v" }
[sources.people]
path = "people.csv"
table = "users"
map = { user = "u", age = "age" }
[sources.same]
path = "same.csv"
table = "edges"
kind = "same-person"
map = { from = "a", to = "b" }
[sources.friends]
path = "friends.csv"
table = "edges"
kind = "friend"
map = { from = "a", to = "b" }
[sources.targets]
path = "friends.csv"
table = "edges"
kind = "targeted"
people = ["to"]
map = { from = "a", to = "b" }
[identity]
reject = ["unknown", "NaN", ""]
max_people = 3
[interactions]
kinds = { buy = 1.0 }
split = "leave-last"
"#;

fn folder(same: &str) -> Folder {
    Folder::new(TOML)
        .write("log.csv", "u,i,t,v\na2,x,2020-01-02,1\na1,y,2020-01-01,1\nb,x,2020-01-01,1\nc1,x,2020-01-01,1\n")
        .write("people.csv", "u,age\na2,40\na1,41\nb,50\n")
        .write("friends.csv", "a,b\na2,b\nb,a3\n")
        .write("same.csv", format!("a,b\n{same}"))
}

const SAME: &str = "a2,a1\na3,a2\nunknown,a1\nunknown,b\nc1,c2\nc2,c3\nc3,c4\n";

#[test]
fn the_smallest_id_stands_for_all_of_a_person() {
    let folder = folder(SAME);
    let report = folder.ingest().unwrap();
    assert_eq!(folder.rows(Table::Events, &["user", "item"]), ["a1|y", "a1|x", "b|x", "c1|x"]);
    assert_eq!(folder.rows(Table::Users, &["user", "age"]), ["a1|40", "b|50"]);
    let edges = folder.rows(Table::Edges, &["kind", "from", "to"]);
    let friends: Vec<&String> = edges.iter().filter(|row| !row.starts_with("same")).collect();
    // A campaign is no person, even where it is called like one.
    assert_eq!(friends, ["friend|a1|b", "targeted|a2|b", "friend|b|a1", "targeted|b|a1"]);
    let identity = report.identity.unwrap();
    assert_eq!((identity.links, identity.rejected, identity.people, identity.ids), (5, 2, 1, 3));
    assert_eq!((identity.too_large, identity.ids_apart), (1, 4));
    assert_eq!(report.sources["log"].reasons["`user` is another id of the same person"], 1);
    assert_eq!(report.sources["people"].reasons["repeats the key `u`"], 1);
    for counts in report.sources.values() {
        assert_eq!(counts.lines, counts.kept + counts.fixed + counts.quarantined);
    }
    let store = folder.store();
    assert_eq!(store.ids_of("a3").unwrap(), ["a1", "a2", "a3"]);
    assert_eq!(store.ids_of("c2").unwrap(), ["c2"]);
}

#[test]
fn the_order_of_the_edges_does_not_matter() {
    let hash = |same: &str| folder(same).store().hash();
    let mut turned: Vec<&str> = SAME.lines().collect();
    turned.reverse();
    assert_eq!(hash(SAME), hash(&(turned.join("\n") + "\n")));
}

#[test]
fn identity_that_cannot_be_declared_so() {
    let error = |from: &str, to: &str| {
        assert!(TOML.contains(from), "{from}");
        told(&Project::open(Folder::new(&TOML.replacen(from, to, 1)).path()).unwrap_err())
    };
    says(&error("max_people = 3", "max_people = 1"), &["`identity.max_people` is 1, not a whole number from 2"]);
    says(&error("reject", "rejects"), &["line 29: unknown key `identity.rejects`", "did you mean `reject`?"]);
    says(
        &error("reject", "kind = \"same-persn\"\nreject"),
        &["unknown kind `same-persn`", "did you mean `same-person`?"],
    );
    says(&error("kind = \"same-person\"", "kind = \"alike\""), &["unknown kind `same-person`"]);
}

/// Forgets as the verb does: the list, then the store.
fn forgotten(folder: &Folder, ids: &[&str]) {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    forget(&mut folder.project(), &ids).unwrap();
    folder.ingest().unwrap();
}

fn ids(store: &Store, id: &str) -> Vec<String> {
    store.ids_of(id).unwrap()
}

#[test]
fn a_forgotten_person_is_nowhere_in_the_store_and_does_not_come_back() {
    let folder = folder(SAME).write("log2.csv", "u,i,t,v\na3,x,soon,1\nb,a1,soon,1\nb,a1\nb,z,2020-01-01,1\n");
    let before = folder.store();
    let all = ids(&before, "a2");
    assert_eq!(before.mentions(&all).unwrap().rows["events.parquet"], 2);
    let lines_before = source_lines(&folder.project(), &all).unwrap();
    let told: Vec<_> =
        lines_before.iter().map(|at| (at.file.file_name().unwrap().to_str().unwrap(), at.lines.clone())).collect();
    assert_eq!(
        told,
        [
            ("log.csv", vec![2, 3]),
            ("log2.csv", vec![2]),
            ("people.csv", vec![2, 3]),
            ("same.csv", vec![2, 3, 4]),
            ("friends.csv", vec![2, 3]),
        ]
    );
    forgotten(&folder, &["a1"]);
    // One id is enough: the others of the person go with it.
    let after = Store::open(&folder.project()).unwrap();
    assert_eq!(after.mentions(&all).unwrap().total(), 0);
    assert_eq!(lines(after.scan(Table::Events, &["user", "item"]).unwrap()), ["b|x", "b|z", "c1|x"]);
    let report = after.report();
    assert_eq!(report.sources["log"].reasons["its person asked to be forgotten"], 3);
    for counts in report.sources.values() {
        assert_eq!(counts.lines, counts.kept + counts.fixed + counts.quarantined);
    }
    // What is set aside says where it stood, and nothing of what it said.
    let aside = lines(after.quarantine().unwrap());
    assert!(aside.iter().filter(|row| row.starts_with("log|")).all(|row| row.ends_with("|{}")), "{aside:?}");
    assert!(aside.iter().all(|row| !row.contains("\"a1\"") && !row.contains("\"a2\"") && !row.contains("\"a3\"")));
    // The list names nobody, and is kept by the next ingest.
    let list = std::fs::read_to_string(folder.path().join("forgotten.json")).unwrap();
    assert!(!list.contains("\"a1\""));
    folder.ingest().unwrap();
    assert_eq!(Store::open(&folder.project()).unwrap().mentions(&all).unwrap().total(), 0);
}

#[test]
fn a_store_from_before_somebody_asked_is_stale() {
    let folder = folder(SAME);
    let store = folder.store();
    forget(&mut folder.project(), &["b".to_owned()]).unwrap();
    assert_eq!(store.is_stale(&folder.project()).unwrap().unwrap(), "somebody asked to be forgotten");
    folder.ingest().unwrap();
    assert_eq!(Store::open(&folder.project()).unwrap().is_stale(&folder.project()).unwrap(), None);
}

#[test]
fn the_only_person_of_a_source_can_be_forgotten() {
    let folder = Folder::events("a,x,2017-01-01,1\n");
    folder.ingest().unwrap();
    forgotten(&folder, &["a"]);
    assert_eq!(Store::open(&folder.project()).unwrap().rows(Table::Events), 0);
}

#[test]
fn a_damaged_list_stops_everything() {
    let good = Folder::events("a,x,2017-01-01,1\n");
    forget(&mut good.project(), &["z".to_owned()]).unwrap();
    let list = std::fs::read_to_string(good.path().join("forgotten.json")).unwrap();
    for (damaged, what) in [
        ("{".to_owned(), "EOF"),
        (list.replacen("\"format\": 1", "\"format\": 9", 1), "it has format 9"),
        (list.replacen("\"key\": \"", "\"key\": \"zz", 1), "its key is no key"),
        (list.replacen("    \"", "    \"zz", 1), "is no hash"),
    ] {
        let folder = Folder::events("a,x,2017-01-01,1\n").write("forgotten.json", damaged);
        says(
            &folder.error(),
            &["forgotten.json` is damaged", what, "people who asked to be forgotten would come back"],
        );
    }
}

#[test]
fn a_source_leaves_with_exactly_its_consequences() {
    let one = "[sources.one]\npath = \"one.csv\"\ntable = \"events\"\nkind = \"buy\"\nat = \"t\"\nmap = { user = \"u\", item = \"i\" }\n";
    let goods = "[sources.goods]\npath = \"goods.csv\"\ntable = \"items\"\nmap = { item = \"i\", title = \"n\" }\n";
    let other = "[sources.other]\npath = \"other.csv\"\ntable = \"items\"\nmap = { item = \"i\", title = \"n\", colour = \"c\" }\n";
    let links = "[sources.links]\npath = \"links.csv\"\ntable = \"edges\"\nkind = \"same-person\"\nmap = { from = \"a\", to = \"b\" }\n[identity]\n";
    let tail = "[interactions]\nkinds = { buy = 1.0 }\nsplit = \"leave-last\"\n";
    let folder = |toml: String| {
        Folder::new(&toml)
            .write("one.csv", "u,i,t\na,x,2020-01-01\nb,y,2020-01-01\n")
            .write("goods.csv", "i,n\nx,Mug\n")
            .write("other.csv", "i,n,c\nx,Cup,red\nz,Jug,blue\n")
            .write("links.csv", "a,b\na,b\n")
    };
    let alone = folder(format!("{one}{goods}{tail}")).store().hash();
    let both = folder(format!("{other}{one}{goods}{links}{tail}"));
    assert_ne!(both.store().hash(), alone);
    let both = both.write("lookalike.toml", format!("{one}{goods}{tail}"));
    assert_eq!(both.store().hash(), alone);
    assert!(!both.path().join("store/identity.parquet").exists());
}

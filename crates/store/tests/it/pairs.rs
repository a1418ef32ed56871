//! Given splits: plain pairs, taken as they are or refused with the line that is wrong.

use arrow::array::{Array, Int32Array, Int64Array, StringArray};
use jiff::tz::TimeZone;
use lookalike_store::{Events, Pairs, read_history, read_pairs};

use crate::kit::{Folder, array, told};

fn read(folder: &Folder, name: &str) -> Result<Vec<Pairs>, String> {
    let pairs = read_pairs(&folder.path().join(name), &TimeZone::UTC).and_then(|pairs| pairs.collect());
    pairs.map_err(|error| told(&error))
}

fn csv(text: &str) -> Result<Vec<Pairs>, String> {
    read(&Folder::new("").write("pairs.csv", text), "pairs.csv")
}

#[test]
fn whole_numbers_of_parquet_become_text() {
    let columns = vec![("item", array(Int64Array::from(vec![5, 6]))), ("user", array(Int32Array::from(vec![1, 2])))];
    let pairs = &read(&Folder::new("").parquet("pairs.parquet", columns), "pairs.parquet").unwrap()[0];
    assert_eq!((&pairs.user, &pairs.item), (&StringArray::from(vec!["1", "2"]), &StringArray::from(vec!["5", "6"])));
    assert!(pairs.weight.is_none() && pairs.at.is_none());
}

#[test]
fn weights_and_times_are_read_where_there_are_such() {
    let pairs = &csv("user,item,weight,at\na,x,2.5,2017-01-01\nb,y,,\n").unwrap()[0];
    let (weight, at) = (pairs.weight.as_ref().unwrap(), pairs.at.as_ref().unwrap());
    assert_eq!(
        (weight.value(0), at.value(0), weight.is_null(1), at.is_null(1)),
        (2.5, 1_483_228_800_000_000, true, true)
    );
}

#[test]
fn bad_lines_are_errors() {
    for (lines, error) in [
        ("a,x,1\n,x,1\n", "line 3: `user` is empty"),
        ("a,x,1\na,,1\n", "line 3: `item` is empty"),
        ("a,x,NaN\n", "line 2: `weight` is not a finite number: `NaN`"),
        ("a,x,inf\n", "line 2: `weight` is not a finite number: `inf`"),
        ("a,x,1\nb,y,1\na,x\n,,\n", "line 4: wrong number of fields: 2 instead of 3"),
    ] {
        let told = csv(&format!("user,item,weight\n{lines}")).unwrap_err();
        assert!(told.contains(error), "{told}");
    }
}

#[test]
fn bad_files_are_errors() {
    assert!(csv("users,item\n1,2\n").unwrap_err().contains("has no column `user` | did you mean `users`?"));
    assert!(csv("").unwrap_err().contains("is empty"));
    assert!(
        read(&Folder::new("").write("pairs.parquet", "PAR1"), "pairs.parquet")
            .unwrap_err()
            .contains("not a whole Parquet file")
    );
    assert!(read(&Folder::new("").write("pairs.txt", ""), "pairs.txt").unwrap_err().contains("extension"));
}

fn history(name: &str, text: &str) -> Result<Vec<Events>, String> {
    let folder = Folder::new("").write(name, text);
    let events = read_history(&folder.path().join(name), "user", "item").and_then(|events| events.collect());
    events.map_err(|error| told(&error))
}

#[test]
fn a_history_needs_only_what_was_had() {
    let events = &history("h.csv", "item\nx\ny\n").unwrap()[0];
    assert_eq!(events.what, StringArray::from(vec!["x", "y"]));
    assert!(events.whose.is_none() && events.weight.is_none());
    let events = &history("h.jsonl", "{\"user\": 7, \"item\": \"x\", \"weight\": 2}\n").unwrap()[0];
    assert_eq!(events.whose, Some(StringArray::from(vec!["7"])));
    assert_eq!(events.weight.as_ref().unwrap().value(0), 2.0);
}

#[test]
fn histories_that_cannot_be_used() {
    for (text, error) in [
        ("user\na\n", "has no column `item`"),
        ("user,item\na,x\n,x\n", "line 3: `user` is empty"),
        ("user,item\na,\n", "line 2: `item` is empty"),
        ("item,weight\nx,1\nx,\nx,0\n", "line 4: `weight` is not above 0"),
        ("item,weight\nx,-1\n", "line 2: `weight` is not above 0"),
        ("item,weight\nx,much\n", "line 2: `weight` is not"),
    ] {
        let told = history("h.csv", text).unwrap_err();
        assert!(told.contains(error), "{told}");
    }
}

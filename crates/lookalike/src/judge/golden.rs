//! The baselines and the metrics reproduce reference values that were computed independently (`tests/golden`), under the
//! split that those values define: see `about` in the file.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use lookalike_dataset::Pair;
use lookalike_train::{ItemKnn, PersonalFrequency, Popularity};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::*;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

struct Split {
    full: Csr<UserRow, ItemRow>,
    test: HeldOut,
}

/// (household, product, week) → distinct baskets.
fn weekly() -> BTreeMap<(i32, i32, i32), u32> {
    let path = format!("{ROOT}/datasets/complete-journey/transactions.parquet");
    let mut lines = BTreeSet::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let int = |name| batch.column_by_name(name).unwrap().as_primitive::<Int32Type>();
        let baskets = batch.column_by_name("basket_id").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let [household, product, week] = ["household_id", "product_id", "week"].map(|name| int(name).value(row));
            lines.insert((household, product, week, baskets.value(row)));
        }
    }
    let mut weekly = BTreeMap::new();
    for (household, product, week, _) in lines {
        *weekly.entry((household, product, week)).or_insert(0) += 1;
    }
    weekly
}

fn split() -> Split {
    let weekly = weekly();
    let mut rows_of = BTreeMap::new();
    weekly.keys().filter(|key| key.2 <= 48).for_each(|key| *rows_of.entry(key.1).or_insert(0) += 1);
    let number = |ids: BTreeSet<i32>| -> BTreeMap<i32, u32> { ids.into_iter().zip(0..).collect() };
    let items = number(rows_of.into_iter().filter(|(_, rows)| *rows >= 20).map(|(item, _)| item).collect());
    let known = |key: &&(i32, i32, i32)| key.2 <= 48 && items.contains_key(&key.1);
    let users = number(weekly.keys().filter(known).map(|key| key.0).collect());
    let pairs = |weeks: std::ops::RangeInclusive<i32>| -> Vec<Pair<UserRow, ItemRow>> {
        let pair = |(key, &n): (&(i32, i32, i32), &u32)| {
            let (row, col) = (UserRow::new(*users.get(&key.0)?), ItemRow::new(*items.get(&key.1)?));
            weeks.contains(&key.2).then_some(Pair { row, col, weight: n as f32 })
        };
        weekly.iter().filter_map(pair).collect()
    };
    let csr = |pairs: &[_]| Csr::from_pairs(users.len(), items.len(), pairs);
    let truth = csr(&pairs(49..=52));
    Split { full: csr(&pairs(1..=48)), test: HeldOut { pairs: truth.len(), truth, cold: csr(&[]), unknown: 0 } }
}

fn golden(name: &str) -> (Value, f64) {
    let text = std::fs::read_to_string(format!("{ROOT}/tests/golden/cj_recommend.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let items = golden["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["name"] == name).unwrap();
    (item["expected"].clone(), item["tolerance"].as_f64().unwrap())
}

#[test]
fn baselines_reproduce_the_reference_values() {
    let split = split();
    let (expected, _) = golden("split");
    assert_eq!(expected["users"], split.full.n_rows());
    assert_eq!(expected["items"], split.full.n_cols());
    assert_eq!(expected["train_pairs"], split.full.len());
    assert_eq!(expected["test_users"], split.test.users());
    assert_eq!(expected["test_pairs"], split.test.truth.len());

    let bench = Bench { ties: Ties::ByRow, ..Bench::new(&split.full, &split.test) };
    let knn = ItemKnn::new(&split.full, 50);
    let frequency = PersonalFrequency::new(&split.full);
    let scorers: [(&str, &dyn Scorer); 3] =
        [("popularity", &Popularity::new(&split.full)), ("personal_frequency", &frequency), ("item_knn", &knn)];
    for (name, scorer) in scorers {
        let (expected, tolerance) = golden(name);
        let views = bench.baseline(scorer).views.unwrap();
        for (view, got) in [("all", views.all), ("repeat", views.repeat), ("novel", views.novel)] {
            let expected = &expected[view];
            assert_eq!(expected["users"], got.users, "{name}, {view}");
            for (metric, got) in [("recall@10", got.recall_10), ("ndcg@10", got.ndcg_10)] {
                let want = expected[metric].as_f64().unwrap();
                assert!((got - want).abs() <= tolerance, "{name}, {view}, {metric}: {got} is not {want}");
            }
        }
    }
}

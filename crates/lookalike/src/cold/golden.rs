//! Users without plays in the Last.fm data of HetRec 2011: what popularity and friends are worth for them, beside figures
//! that were computed independently. The data may not be copied into a repository: they are read where `LOOKALIKE_DATA`
//! names their folder.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use lookalike_bundle::{ItemRow, Row, UserRow};
use lookalike_dataset::{Csr, HeldOut, Pair};
use lookalike_retrieve::Ties;
use lookalike_train::{Friends, Popularity, Scorer};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::judge::Bench;

/// Two columns of whole numbers.
fn pairs(folder: &Path, name: &str, columns: [&str; 2]) -> Vec<[i64; 2]> {
    let file = File::open(folder.join(name)).unwrap();
    let mut pairs = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let column = |name| cast(batch.column_by_name(name).unwrap(), &DataType::Int64).unwrap();
        let columns = columns.map(column);
        let [left, right] = columns.each_ref().map(|column| column.as_primitive::<Int64Type>());
        pairs.extend((0..batch.num_rows()).map(|row| [left.value(row), right.value(row)]));
    }
    pairs
}

fn rows(pairs: &[[i64; 2]], end: usize) -> Vec<i64> {
    pairs.iter().map(|pair| pair[end]).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn recommend_cold() {
    let Some(folder) = std::env::var_os("LOOKALIKE_DATA").map(|all| Path::new(&all).join("lastfm_hetrec2011")) else {
        return;
    };
    let plays = pairs(&folder, "user_artists.parquet", ["userID", "artistID"]);
    let (users, items) = (rows(&plays, 0), rows(&plays, 1));
    let csr = |cold: bool| {
        let kept = plays.iter().filter_map(|[user, item]| {
            let (user, item) = (users.binary_search(user).unwrap(), items.binary_search(item).unwrap());
            let pair = Pair { row: UserRow::new(user as u32), col: ItemRow::new(item as u32), weight: 1.0 };
            ((user % 5 == 0) == cold).then_some(pair)
        });
        Csr::from_pairs(users.len(), items.len(), &kept.collect::<Vec<_>>())
    };
    let (history, cold) = (csr(false), csr(true));
    let friends: Vec<_> = pairs(&folder, "user_friends.parquet", ["userID", "friendID"])
        .iter()
        .map(|ends| ends.map(|id| UserRow::new(users.binary_search(&id).unwrap() as u32)))
        .map(|[row, col]| Pair { row, col, weight: 1.0 })
        .collect();
    let friends = Csr::from_pairs(users.len(), users.len(), &friends);
    let truth = Csr::from_pairs(users.len(), items.len(), &[]);
    let held_out = HeldOut { pairs: cold.len(), unknown: cold.len(), truth, cold };
    let bench = Bench::cold(&history, &held_out).with_ties(Ties::ByRow);
    let scorers: [(&dyn Scorer, f64); 2] =
        [(&Popularity::new(&history), 0.2633245), (&Friends::new(&friends, &history), 0.4287599)];
    for (scorer, expected) in scorers {
        let buckets = bench.baseline(scorer).buckets;
        assert_eq!((buckets.len(), buckets[0].figures.users), (1, 379));
        // All but one of these users had ten artists, so that precision is what the figures divide by.
        assert!((buckets[0].figures.precision_10 - expected).abs() < 6e-4, "{buckets:?}");
    }
}

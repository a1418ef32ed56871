//! The index beside exact search: what it finds, that it repeats, and that no bad input or file gets through.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use lookalike_bundle::{Data, ItemRow, Matrix, Meta, Row, Tensor, Tensors, decode_tensors, encode_tensors};
use lookalike_retrieve::{Exact, Hit, Hnsw, IndexSettings, RetrieveError, Search};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Twenty clusters; lengths differ by up to five times.
fn clustered(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut table = Matrix::zeros(rows, cols);
    for row in 0..rows {
        let mut centre = Xoshiro256PlusPlus::seed_from_u64(rng.random_range(0..20));
        let length = rng.random_range(1.0..5.0f32);
        let number = || length * (centre.random_range(-1.0..1.0f32) + rng.random_range(-0.7..0.7f32));
        table.row_mut(row).fill_with(number);
    }
    table
}

fn settings(m: usize, ef_construction: usize) -> IndexSettings {
    IndexSettings { m, ef_construction, seed: 3, sample: 200 }
}

fn index(items: &Matrix) -> Hnsw<'_> {
    Hnsw::build(items, &Matrix::zeros(0, items.cols()), settings(8, 50)).unwrap()
}

fn refused(items: &Matrix, queries: &Matrix, settings: IndexSettings) -> RetrieveError {
    Hnsw::build(items, queries, settings).unwrap_err()
}

/// Share of the hits of `exact` whose rows `found` has too.
fn recall(found: &[Vec<Hit<ItemRow>>], exact: &[Vec<Hit<ItemRow>>]) -> f64 {
    let rows = |hits: &[Hit<ItemRow>]| hits.iter().map(|hit| hit.row).collect::<Vec<_>>();
    let shared =
        |(found, exact): (&Vec<_>, &Vec<_>)| rows(exact).iter().filter(|row| rows(found).contains(row)).count();
    let all: usize = exact.iter().map(Vec::len).sum();
    found.iter().zip(exact).map(shared).sum::<usize>() as f64 / all as f64
}

#[test]
fn finds_nearly_what_exact_search_finds_at_odd_sizes() {
    for (rows, cols) in [(3, 1), (101, 7), (2003, 33), (6001, 12)] {
        let (items, queries) = (clustered(rows, cols, 1), clustered(67, cols, 2));
        let index = Hnsw::build(&items, &queries, settings(8, 50)).unwrap();
        let exact = Exact::new(&items).search_all(&queries, 10, &|_| &[]);
        let found = index.search_all(&queries, 10, &|_| &[]);
        assert!(recall(&found, &exact) >= 0.95, "{rows} x {cols}");
        assert!(index.audit().recall_at_10 >= 0.95 && index.audit().sample == 67);
        let first = |lists: &[Vec<Hit<ItemRow>>]| lists[0][0].score;
        assert!((first(&found) - first(&exact)).abs() < 1e-4);
    }
}

#[test]
fn half_of_the_items_left_out_costs_no_recall() {
    let (items, queries) = (clustered(1501, 16, 1), clustered(60, 16, 2));
    let odd: Vec<u32> = (1..1501).step_by(2).collect();
    let found = index(&items).search_all(&queries, 10, &|_| &odd);
    let exact = Exact::new(&items).search_all(&queries, 10, &|_| &odd);
    assert!(found.iter().flatten().all(|hit| hit.row.get() % 2 == 0));
    assert!(recall(&found, &exact) >= 0.95);
}

#[test]
fn all_left_out_or_more_asked_for_than_there_is() {
    let items = clustered(40, 5, 1);
    let (index, all) = (index(&items), (0..40).collect::<Vec<u32>>());
    assert!(index.search(items.row(0), 5, &all).is_empty());
    assert!(index.search(items.row(0), 0, &[]).is_empty());
    let rows = |hits: Vec<Hit<ItemRow>>| hits.iter().map(|hit| hit.row).collect::<Vec<_>>();
    assert_eq!(rows(index.search(items.row(3), 99, &[])), rows(Exact::new(&items).search(items.row(3), 99, &[])));
}

#[test]
fn the_same_input_gives_the_same_bytes_and_another_seed_others() {
    let items = clustered(700, 9, 1);
    let bytes = |seed| {
        let settings = IndexSettings { seed, ..settings(8, 50) };
        Hnsw::build(&items, &items, settings).unwrap().to_bytes().unwrap()
    };
    assert!(bytes(1) == bytes(1) && bytes(1) != bytes(2));
}

#[test]
fn an_index_read_again_answers_the_same() {
    let items = clustered(700, 9, 1);
    let built = index(&items);
    let bytes = built.to_bytes().unwrap();
    let read = Hnsw::from_bytes(&bytes, &items).unwrap();
    assert_eq!(read.audit(), built.audit());
    assert_eq!(read.search_all(&items, 7, &|_| &[5]), built.search_all(&items, 7, &|_| &[5]));
    assert_eq!(read.to_bytes().unwrap(), bytes);
}

#[test]
fn vectors_of_zeros_and_many_copies_are_items_like_others() {
    let mut items = clustered(900, 6, 1);
    items.data_mut()[..200 * 6].fill(0.0);
    (200..500).for_each(|row| items.row_mut(row).fill(0.25));
    assert!(index(&items).audit().recall_at_10 >= 0.95);
    assert_eq!(index(&Matrix::zeros(50, 3)).search(&[1.0, 0.0, 0.0], 60, &[]).len(), 50);
    assert_eq!(index(&Matrix::zeros(1, 3)).search(&[1.0, 0.0, 0.0], 5, &[]).len(), 1);
}

#[test]
fn a_query_that_is_not_finite_finds_nothing() {
    let items = clustered(50, 3, 1);
    assert!(index(&items).search(&[f32::NAN, 1.0, 1.0], 5, &[]).is_empty());
}

#[test]
fn settings_out_of_range() {
    let items = clustered(50, 3, 1);
    for (m, ef, name) in [(1, 50, "m"), (129, 200, "m"), (8, 7, "ef_construction"), (8, 5000, "ef_construction")] {
        assert!(
            matches!(refused(&items, &items, settings(m, ef)), RetrieveError::Setting { name: n, .. } if n == name)
        );
    }
    let error = refused(&items, &items, IndexSettings { sample: 0, ..settings(8, 50) });
    assert!(error.to_string().contains("`sample` is 0"));
}

#[test]
fn nothing_to_index() {
    let empty = |rows, cols| refused(&Matrix::zeros(rows, cols), &Matrix::zeros(0, cols), settings(8, 50));
    assert!(matches!(empty(0, 3), RetrieveError::Empty { .. }) && matches!(empty(3, 0), RetrieveError::Empty { .. }));
}

#[test]
fn numbers_that_are_not_finite() {
    let (good, mut bad) = (clustered(50, 3, 1), clustered(50, 3, 1));
    for number in [f32::NAN, f32::INFINITY, 1e20] {
        bad.row_mut(7)[1] = number;
        let error = refused(&bad, &good, settings(8, 50));
        assert!(matches!(error, RetrieveError::NotFinite { table: "item", row: 7 }), "{number}: {error}");
    }
    bad.row_mut(7)[1] = f32::NAN;
    assert!(matches!(refused(&good, &bad, settings(8, 50)), RetrieveError::NotFinite { table: "query", row: 7 }));
}

#[test]
fn queries_of_another_length() {
    let error = refused(&clustered(50, 3, 1), &clustered(50, 4, 1), settings(8, 50));
    assert!(matches!(error, RetrieveError::Dim { found: 4, expected: 3 }));
}

#[test]
fn an_index_that_misses_too_much_is_an_error_with_a_hint() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut items = Matrix::zeros(9000, 60);
    items.data_mut().fill_with(|| rng.random_range(-1.0..1.0));
    let error = refused(&items, &items, settings(2, 2));
    assert!(matches!(error, RetrieveError::Recall { .. }) && error.hint().unwrap().contains("ef_construction"));
}

/// The error of reading an index whose file was taken apart, changed and sealed again.
fn forged(change: impl FnOnce(&mut Tensors, &mut Meta)) -> RetrieveError {
    let items = clustered(200, 4, 1);
    let bytes = index(&items).to_bytes().unwrap();
    let (mut tensors, mut meta) = decode_tensors(&bytes, Path::new("x")).unwrap();
    change(&mut tensors, &mut meta);
    let bytes = encode_tensors(&tensors, &meta, Path::new("x")).unwrap();
    Hnsw::from_bytes(&bytes, &items).unwrap_err()
}

fn numbers<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut Vec<u32> {
    match &mut tensors.get_mut(name).unwrap().data {
        Data::U32(numbers) => numbers,
        other => panic!("{other:?}"),
    }
}

fn part(error: RetrieveError) -> String {
    assert!(error.hint().is_some());
    match error {
        RetrieveError::Part { part } => part,
        other => panic!("{other}"),
    }
}

#[test]
fn a_damaged_file() {
    let items = clustered(200, 4, 1);
    let bytes = index(&items).to_bytes().unwrap();
    for at in (0..bytes.len()).step_by(501) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(matches!(Hnsw::from_bytes(&flipped, &items), Err(RetrieveError::File { .. })), "byte {at}");
        assert!(matches!(Hnsw::from_bytes(&bytes[..at], &items), Err(RetrieveError::File { .. })), "cut at {at}");
    }
}

#[test]
fn a_newer_version() {
    let error = forged(|_, meta| drop(meta.insert("format".into(), "2".into())));
    assert!(matches!(error, RetrieveError::Newer { found: 2, .. }) && error.hint().unwrap().contains("update"));
}

#[test]
fn an_index_of_other_embeddings() {
    let (items, other) = (clustered(200, 4, 1), clustered(200, 4, 2));
    let bytes = index(&items).to_bytes().unwrap();
    assert!(matches!(Hnsw::from_bytes(&bytes, &other), Err(RetrieveError::Stale)));
}

#[test]
fn texts_that_are_absent_or_no_numbers() {
    for key in ["format", "vectors", "entry", "layers", "ef_search", "m"] {
        assert_eq!(part(forged(|_, meta| drop(meta.remove(key)))), key);
    }
    assert_eq!(part(forged(|_, meta| drop(meta.insert("m".into(), "many".into())))), "m");
}

#[test]
fn an_entry_beyond_the_items_and_no_layers_at_all() {
    assert_eq!(part(forged(|_, meta| drop(meta.insert("entry".into(), "200".into())))), "entry");
    assert_eq!(part(forged(|_, meta| drop(meta.insert("layers".into(), "0".into())))), "entry");
}

#[test]
fn parts_that_are_absent_or_of_another_type() {
    assert_eq!(part(forged(|tensors, _| drop(tensors.remove("layer.0.links")))), "layer.0.links");
    let floats = Tensor::f32s(vec![0.0; 201]);
    assert_eq!(part(forged(|tensors, _| drop(tensors.insert("layer.0.offsets".into(), floats)))), "layer.0.offsets");
}

#[test]
fn links_and_offsets_out_of_range() {
    let broken =
        |name: &'static str, at: usize, value: u32| part(forged(|tensors, _| numbers(tensors, name)[at] = value));
    assert_eq!(broken("layer.0.links", 5, 200), "layer.0");
    assert_eq!(broken("layer.0.offsets", 0, 1), "layer.0");
    assert_eq!(broken("layer.0.offsets", 3, u32::MAX), "layer.0");
    assert_eq!(broken("layer.1.rows", 0, 200), "layer.1");
    for name in ["layer.0.links", "layer.0.offsets"] {
        let short = Tensor::u32s(vec![0; 9]);
        assert_eq!(part(forged(|tensors, _| drop(tensors.insert(name.into(), short)))), "layer.0");
    }
}

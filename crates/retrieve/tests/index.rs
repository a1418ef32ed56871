//! The index beside exact search: what it finds, that it repeats, and that no bad input or file gets through.
#![allow(clippy::unwrap_used)]

use lookalike_bundle::{ItemRow, Matrix, Row};
use lookalike_retrieve::{Among, Exact, Hit, Index, IndexSettings, Metric, RetrieveError, Search, Space};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::ThreadPoolBuilder;
use roaring::RoaringBitmap;

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
    IndexSettings { metric: Metric::Ip, m, ef_construction, seed: 3, sample: 200 }
}

fn index(items: &Matrix) -> Index {
    Index::build(items, &Matrix::zeros(0, items.cols()), settings(8, 50)).unwrap()
}

fn refused(items: &Matrix, queries: &Matrix, settings: IndexSettings) -> RetrieveError {
    Index::build(items, queries, settings).unwrap_err()
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
        let index = Index::build(&items, &queries, settings(8, 50)).unwrap();
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
        Index::build(&items, &items, settings).unwrap().to_bytes()
    };
    assert!(bytes(1) == bytes(1) && bytes(1) != bytes(2));
}

#[test]
fn an_index_read_again_answers_the_same() {
    let items = clustered(700, 9, 1);
    let built = index(&items);
    let bytes = built.to_bytes();
    let read = Index::from_bytes(&bytes).unwrap();
    assert_eq!(read.audit(), built.audit());
    assert_eq!(read.search_all(&items, 7, &|_| &[5]), built.search_all(&items, 7, &|_| &[5]));
    assert_eq!(read.to_bytes(), bytes);
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

/// Reads an index of which one byte was changed, or the rest left out.
fn read_damaged(bytes: &[u8]) -> RetrieveError {
    let error = Index::from_bytes(bytes).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error
}

#[test]
fn a_damaged_file() {
    let bytes = index(&clustered(200, 4, 1)).to_bytes();
    for at in (0..bytes.len()).step_by(101) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(matches!(read_damaged(&flipped), RetrieveError::Damaged { .. }), "byte {at}");
        assert!(matches!(read_damaged(&bytes[..at]), RetrieveError::Damaged { .. }), "cut at {at}");
    }
}

#[test]
fn a_search_narrower_than_its_answer_is_as_wide_as_the_answer() {
    let index = index(&clustered(500, 4, 1));
    let query = [1.0, 0.5, 0.0, -0.5];
    let asked = index.search_with(&query, 20, 20);
    assert_eq!(asked.len(), 20);
    for width in [0, 1, 19] {
        assert_eq!(index.search_with(&query, 20, width), asked, "{width} candidates");
    }
    // Wider than there are items, and more asked for than there are.
    assert_eq!(index.search_with(&query, 1000, 1), index.scan(&query, 1000));
}

/// Replaces the first of some texts in the head of a file by one as long, and seals the file anew.
fn forged(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = index(&clustered(200, 4, 1)).to_bytes();
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let find =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let at = find(&bytes[..head], from);
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    let seal = find(&bytes[..head], "xxh3=") + 5;
    bytes[seal..seal + 16].fill(b'0');
    let hash = format!("{:016x}", twox_hash::XxHash3_64::oneshot(&bytes[..head]));
    bytes[seal..seal + 16].copy_from_slice(hash.as_bytes());
    bytes
}

#[test]
fn a_newer_version() {
    let error = read_damaged(&forged(r#"\"format\":2"#, r#"\"format\":9"#));
    assert!(matches!(error, RetrieveError::Newer { found: 9, .. }) && error.hint().unwrap().contains("update"));
}

#[test]
fn a_file_that_contradicts_itself() {
    assert!(Index::from_bytes(&forged(r#"\"format\":2"#, r#"\"format\":2"#)).is_ok());
    let lies = [
        (r#"\"items\":200"#, r#"\"items\":201"#),
        (r#"\"items\":200"#, r#"\"items\":199"#),
        (r#"\"dim\":4"#, r#"\"dim\":0"#),
        (r#"\"m\":8"#, r#"\"m\":1"#),
        (r#"\"head\":"#, r#"\"heap\":"#),
        (r#"\"metric\":\"ip\""#, r#"\"metric\":\"l2\""#),
        (r#""links""#, r#""lunks""#),
    ];
    for (from, to) in lies {
        assert!(matches!(read_damaged(&forged(from, to)), RetrieveError::Damaged { .. }), "{to}");
    }
}

#[test]
fn an_index_of_other_embeddings() {
    let (items, other) = (clustered(200, 4, 1), clustered(200, 4, 2));
    let read = Index::from_bytes(&index(&items).to_bytes()).unwrap();
    assert!(read.check_made_for(&items).is_ok());
    assert!(matches!(read.check_made_for(&other), Err(RetrieveError::Stale)));
}

#[test]
fn a_mapped_index_answers_the_same_and_outlives_a_new_one_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.safetensors");
    let (items, queries) = (clustered(3000, 9, 1), clustered(40, 9, 2));
    let built = index(&items);
    built.write(&path).unwrap();
    let opened = Index::open(&path).unwrap();
    let answers = built.search_all(&queries, 7, &|_| &[5]);
    assert_eq!(opened.search_all(&queries, 7, &|_| &[5]), answers);
    index(&clustered(500, 9, 3)).write(&path).unwrap();
    assert_eq!(opened.search_all(&queries, 7, &|_| &[5]), answers);
    assert_eq!(Index::open(&path).unwrap().items(), 500);
}

#[test]
fn files_that_are_no_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.safetensors");
    assert!(Index::open(&path).unwrap_err().to_string().contains("index.safetensors"));
    for content in [&b""[..], b"{}", b"\xff\xff\xff\xff\xff\xff\xff\xffmuch"] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(Index::open(&path), Err(RetrieveError::Damaged { .. })));
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let items = clustered(5000, 12, 1);
    let on =
        |threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| index(&items).to_bytes());
    assert!(on(1) == on(3));
}

#[test]
fn every_metric_finds_what_exact_search_by_it_finds() {
    let (mut items, queries) = (clustered(4000, 20, 1), clustered(60, 20, 2));
    items.row_mut(7).fill(0.0);
    for metric in [Metric::Ip, Metric::Cosine, Metric::L2] {
        let index = Index::build(&items, &queries, IndexSettings { metric, ..settings(12, 80) }).unwrap();
        let space = Space::new(&items, metric).unwrap();
        let exact = Exact::new(space.items()).search_all(&space.queries(&queries), 10, &|_| &[]);
        let found: Vec<_> = (0..60).map(|at| index.search_with(queries.row(at), 10, 200)).collect();
        assert!(recall(&found, &exact) >= 0.98, "{metric}: {}", recall(&found, &exact));
        // Scores are those of the metric, by a plain loop.
        for (at, hits) in found.iter().enumerate() {
            let scanned = index.scan(queries.row(at), 10);
            assert!(recall(&[scanned], &exact[at..=at]) >= 0.9, "{metric}");
            for hit in hits {
                let pairs = || {
                    queries.row(at).iter().zip(items.row(hit.row.index())).map(|(&a, &b)| (f64::from(a), f64::from(b)))
                };
                let product: f64 = pairs().map(|(a, b)| a * b).sum();
                let [own, other] = [pairs().map(|(a, _)| a * a).sum::<f64>(), pairs().map(|(_, b)| b * b).sum()];
                let expected = match metric {
                    Metric::Ip => product,
                    Metric::Cosine => product / (own * other).sqrt(),
                    Metric::L2 => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>(),
                };
                assert!((f64::from(hit.score) - expected).abs() <= 1e-5 * (1.0 + own + other), "{metric}");
            }
        }
    }
}

#[test]
fn a_filter_costs_no_recall_however_much_it_leaves() {
    let (items, queries) = (clustered(20_000, 16, 1), clustered(50, 16, 2));
    let index = Index::build(&items, &queries, settings(12, 80)).unwrap();
    for step in [1, 2, 7, 20, 100, 3000, 20_001] {
        let only: RoaringBitmap = (3..20_000).step_by(step).collect();
        let found = index.within(&only).search_all(&queries, 10, &|_| &[10]);
        let among = Among::new(&items, &only);
        let exact = among.exact().search_all(&queries, 10, &|_| &[10]);
        assert!(found.iter().flatten().all(|hit| only.contains(hit.row.get()) && hit.row.get() != 10));
        assert!(recall(&found, &exact) >= 0.97, "one in {step}: {}", recall(&found, &exact));
    }
    let none = RoaringBitmap::new();
    assert!(index.within(&none).search(queries.row(0), 5, &[]).is_empty());
    assert!(Among::new(&items, &none).exact().search(queries.row(0), 5, &[]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    /// The slow twin of a search among some rows: a search among all, from which the others are left out.
    #[test]
    fn exact_search_among_rows_equals_leaving_out_the_others(
        (rows, cols, k) in (1usize..200, 1usize..20, 0usize..30), step in 1usize..9, seed: u64,
    ) {
        let (items, queries) = (clustered(rows, cols, seed), clustered(5, cols, seed ^ 1));
        let only: RoaringBitmap = (0..rows as u32).step_by(step).chain([rows as u32 + 5]).collect();
        let others: Vec<u32> = (0..rows as u32).filter(|row| !only.contains(*row)).collect();
        let found = Among::new(&items, &only).exact().search_all(&queries, k, &|_| &[]);
        let expected = Exact::new(&items).search_all(&queries, k, &|_| &others);
        prop_assert_eq!(recall(&found, &expected).max(f64::from(u8::from(k == 0))), 1.0);
    }

    /// Whatever bytes there are, reading them ends in an index or an error.
    #[test]
    fn no_bytes_break_the_reader(flips in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..5), cut in 0usize..1 << 16) {
        let mut bytes = index(&clustered(60, 3, 1)).to_bytes();
        let length = bytes.len();
        for (at, byte) in flips {
            bytes[at % length] = byte;
        }
        if cut % 3 == 0 {
            bytes.truncate(cut % length);
        }
        if let Ok(index) = Index::from_bytes(&bytes) {
            prop_assert_eq!(index.search_with(&[1.0, 0.5, 0.0], 5, 20).len(), 5);
        }
    }
}

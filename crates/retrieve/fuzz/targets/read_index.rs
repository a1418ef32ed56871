//! Whatever bytes lie where an index should: reading ends in an error or in an index that answers.
//!
//! Built for fuzzing, the reader does not compare hashes, so that the checks behind them are reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lookalike_bundle::Row;
use lookalike_retrieve::{Index, Search};

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::from_bytes(bytes) else { return };
    let (items, query) = (index.items(), vec![0.5; index.dim()]);
    for hits in [index.search(&query, 5, &[0]), index.scan(&query, 5), index.search_with(&query, 3, 8)] {
        assert!(hits.len() <= 5 && hits.iter().all(|hit| hit.row.index() < items));
    }
    // What was read can be written and read again.
    let again = index.to_bytes();
    assert!(Index::from_bytes(&again).is_ok_and(|read| read.to_bytes() == again));
});

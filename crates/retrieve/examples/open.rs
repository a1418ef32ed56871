//! Measures how long an index takes to open, all of it checked, how much memory it then takes, and what a look at an item
//! costs: fetched from anywhere, and one after the other.
//!
//! `cargo run --release -p lookalike-retrieve --example open INDEX`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Instant;

use lookalike_retrieve::{Index, Search};

/// What the program holds in memory, mapped files included, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0
}

fn main() {
    let path = PathBuf::from(std::env::args().nth(1).unwrap());
    let before = resident();
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        let index = Index::open(&path).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        drop(index);
    }
    let index = Index::open(&path).unwrap();
    let query = vec![0.5; index.dim()];
    std::hint::black_box(index.search(&query, 10, &[]));
    let (start, passes) = (Instant::now(), 20);
    (0..passes).for_each(|_| drop(std::hint::black_box(index.scan(&query, 10))));
    let scan = start.elapsed().as_secs_f64() / f64::from(passes) / index.items() as f64;
    let (start, rounds) = (Instant::now(), 2000);
    for at in 0..rounds {
        // Queries that point anywhere, so that each walks through another part.
        let anywhere: Vec<f32> = (0..index.dim()).map(|number| ((at * 31 + number * 7919) as f32).sin()).collect();
        std::hint::black_box(index.search_with(&anywhere, 10, index.audit().ef_search));
    }
    let walk = start.elapsed().as_secs_f64() / rounds as f64 / index.audit().scored.max(1.0);
    println!(
        "an item in {:.1} ns by a walk (if it looks at as many as in the audit), {:.1} ns one after the other",
        walk * 1e9,
        scan * 1e9
    );
    let taken = resident() - before;
    let plain = (index.items() * (index.dim() + 2 * index.audit().m) * 4) as f64;
    times[1..].sort_by(f64::total_cmp);
    println!("{} x {}: first {:.1} ms, then {:.1} ms (median of 10)", index.items(), index.dim(), times[0], times[6]);
    println!("memory {:.1} MB, {:.3} of vectors and neighbours ({:.1} MB)", taken / 1e6, taken / plain, plain / 1e6);
}

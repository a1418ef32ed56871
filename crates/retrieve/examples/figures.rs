//! Measures exact search and the index on made-up tables of the size of a real shop.
//!
//! `cargo run --release -p lookalike-retrieve --example figures [ITEMS [M EF]]`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::error::Error;
use std::time::Instant;

use lookalike_bundle::Matrix;
use lookalike_retrieve::{Aided, BlockMaxima, Exact, Index, IndexSettings, Search, block_starts, mask};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const DIM: usize = 64;
const USERS: usize = 2_500;
const CLUSTERS: usize = 200;

/// Clusters with a spread of half their distance; `skew` stretches lengths as popularity does.
fn table(rows: usize, skew: bool, seed: u64) -> Matrix {
    let mut centres = Matrix::zeros(CLUSTERS, DIM);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    centres.data_mut().iter_mut().for_each(|number| *number = normal(&mut rng));
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut table = Matrix::zeros(rows, DIM);
    for row in 0..rows {
        let centre = centres.row(rng.random_range(0..CLUSTERS));
        let length = if skew { (0.8 * normal(&mut rng)).exp() } else { 1.0 };
        for (number, centre) in table.row_mut(row).iter_mut().zip(centre) {
            *number = length * (centre + normal(&mut rng));
        }
    }
    table
}

/// Twelve uniform numbers add up to nearly a normal one.
fn normal(rng: &mut Xoshiro256PlusPlus) -> f32 {
    (0..12).map(|_| rng.random_range(-0.5..0.5f32)).sum()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let made = work();
    (made, start.elapsed().as_secs_f64())
}

/// Block maxima that were computed before, as if by a device that needs no time.
struct Told(Matrix);

impl BlockMaxima for Told {
    fn maxima(&self, _: &Matrix, _: &[&[u32]]) -> Result<Matrix, Box<dyn Error + Send + Sync>> {
        Ok(self.0.clone())
    }
}

fn main() {
    let given: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().unwrap()).collect();
    let items = given.first().copied().unwrap_or(66_000);
    let users = table(USERS, false, 1);
    for skew in [false, true] {
        let table = table(items, skew, 2);
        let seen: Vec<u32> = (0..items as u32).step_by(items.div_ceil(30)).collect();
        let exact = Exact::new(&table);
        // A matrix product and nothing else: what exact search cannot be faster than.
        let (_, product) = timed(|| exact.map_scores(&users, |_, _| ()));
        let (lists, seconds) = timed(|| exact.search_all(&users, 20, &|_| &seen));
        let rate = (2 * lists.len() * items * DIM) as f64 / seconds / 1e9;
        let ratio = seconds / product;
        println!(
            "exact: {USERS} users x {items} items x {DIM}, k 20, skew {skew}: {seconds:.2} s, {rate:.0} GFLOP/s, \
             {ratio:.2} of the product alone"
        );
        let starts = block_starts(items);
        let best = |ends: &[u32], scores: &[f32]| {
            scores[ends[0] as usize..ends[1] as usize].iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score))
        };
        let maxima = exact.map_scores(&users, |_, scores| {
            mask(scores, &seen);
            starts.windows(2).map(|ends| best(ends, scores)).collect::<Vec<f32>>()
        });
        let told = Told(Matrix::from_vec(USERS, starts.len() - 1, maxima.concat()).unwrap());
        let aided = Aided::new(exact, &told);
        let (helped, seconds) = timed(|| aided.search_all(&users, 20, &|_| &seen));
        assert!(helped == lists && aided.failure().is_none());
        println!("  the CPU's part where a device tells block maxima: {seconds:.3} s");
        let settings = match given[..] {
            [_, m, ef] => vec![(m, ef)],
            _ => vec![(8, 32), (12, 40), (16, 48), (16, 64), (24, 100)],
        };
        for (m, ef_construction) in settings {
            let settings = IndexSettings { m, ef_construction, ..IndexSettings::default() };
            let (built, seconds) = timed(|| Index::build(&table, &users, settings));
            match built {
                Ok(index) => {
                    let (_, asked) = timed(|| index.search_all(&users, 10, &|_| &[]));
                    let size = index.to_bytes().len() as f64 / 1e6;
                    let rate = USERS as f64 / asked;
                    println!("  build {seconds:5.1} s, {size:.1} MB, {rate:6.0} queries/s: {:?}", index.audit());
                }
                Err(error) => println!("  build {seconds:5.1} s, m {m}, ef {ef_construction}: {error}"),
            }
        }
    }
}

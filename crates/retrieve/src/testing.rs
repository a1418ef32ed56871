//! Random tables for tests.

use lookalike_bundle::Matrix;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Numbers from -1 to 1.
pub(crate) fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut table = Matrix::zeros(rows, cols);
    table.data_mut().iter_mut().for_each(|number| *number = rng.random_range(-1.0..1.0));
    table
}

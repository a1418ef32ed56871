//! Eigenvalues and eigenvectors of a symmetric matrix in double precision: Householder reduction to tridiagonal form,
//! then the implicit QL method (Golub and Van Loan, Matrix Computations, sections 8.3 and 5.1).

use pulp::Arch;

/// Passes after which an eigenvalue is given up; two or three are usual.
const PASSES: usize = 60;

/// Eigenvalues of the symmetric `matrix` (`[dim, dim]`, used up) and, row after row, their unit eigenvectors;
/// `None` if a number is not finite.
pub(crate) fn eigen(dim: usize, mut matrix: Vec<f64>) -> Option<(Vec<f64>, Vec<f64>)> {
    if !matrix.iter().all(|number| number.is_finite()) {
        return None;
    }
    // Squares of the largest numbers must neither overflow nor vanish.
    let size = matrix.iter().fold(f64::MIN_POSITIVE, |most, number| most.max(number.abs()));
    matrix.iter_mut().for_each(|number| *number /= size);
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let (mut diagonal, mut beside, mut vectors) = tridiagonal(dim, matrix);
            diagonalise(&mut diagonal, &mut beside, &mut vectors)?;
            diagonal.iter_mut().for_each(|value| *value *= size);
            Some((diagonal, vectors))
        },
    )
}

/// T = QᵀAQ as its diagonal and the numbers beside it, and the rows of Qᵀ.
#[inline(always)]
fn tridiagonal(dim: usize, mut a: Vec<f64>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; dim];
    let mut scales = vec![0.0; dim];
    let mut product = vec![0.0; dim];
    for k in 0..dim.saturating_sub(1) {
        let (above, below) = a.split_at_mut((k + 1) * dim);
        // Row k is overwritten by the vector v of the reflection I - β v vᵀ that clears it beyond the diagonal.
        let v = &mut above[k * dim + k + 1..];
        let length = dot(v, v).sqrt();
        if dot(&v[1..], &v[1..]) == 0.0 {
            beside[k] = v[0];
            continue;
        }
        beside[k] = -length.copysign(v[0]);
        v[0] -= beside[k];
        let beta = 2.0 / dot(v, v);
        scales[k] = beta;
        let product = &mut product[k + 1..];
        for (product, row) in product.iter_mut().zip(below.chunks_exact(dim)) {
            *product = beta * dot(&row[k + 1..], v);
        }
        let half = 0.5 * beta * dot(product, v);
        product.iter_mut().zip(v.iter()).for_each(|(product, v)| *product -= half * v);
        for (at, row) in below.chunks_exact_mut(dim).enumerate() {
            let (own, other) = (v[at], product[at]);
            for ((number, &v), &product) in row[k + 1..].iter_mut().zip(v.iter()).zip(product.iter()) {
                *number -= own * product + other * v;
            }
        }
    }
    let diagonal = (0..dim).map(|k| a[k * dim + k]).collect();
    let mut vectors = vec![0.0; dim * dim];
    (0..dim).for_each(|k| vectors[k * dim + k] = 1.0);
    for k in (0..dim).rev().filter(|&k| scales[k] != 0.0) {
        let v = &a[k * dim + k + 1..][..dim - k - 1];
        for row in vectors.chunks_exact_mut(dim).skip(k + 1) {
            let row = &mut row[k + 1..];
            let factor = scales[k] * dot(row, v);
            row.iter_mut().zip(v).for_each(|(number, v)| *number -= factor * v);
        }
    }
    (diagonal, beside, vectors)
}

/// Turns the tridiagonal matrix into its eigenvalues, applying every rotation to the rows of `vectors`.
#[inline(always)]
fn diagonalise(d: &mut [f64], e: &mut [f64], vectors: &mut [f64]) -> Option<()> {
    let dim = d.len();
    for low in 0..dim {
        for pass in 0.. {
            let split = |m: &usize| e[*m].abs() <= f64::EPSILON * (d[*m].abs() + d[*m + 1].abs());
            let high = (low..dim - 1).find(split).unwrap_or(dim - 1);
            if high == low {
                break;
            }
            if pass == PASSES {
                return None;
            }
            let mut g = (d[low + 1] - d[low]) / (2.0 * e[low]);
            g = d[high] - d[low] + e[low] / (g + g.hypot(1.0).copysign(g));
            let (mut sine, mut cosine, mut shift) = (1.0, 1.0, 0.0);
            let mut whole = true;
            for i in (low..high).rev() {
                let (f, b) = (sine * e[i], cosine * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= shift;
                    e[high] = 0.0;
                    whole = false;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = d[i + 1] - shift;
                let r = (d[i] - g) * sine + 2.0 * cosine * b;
                shift = sine * r;
                d[i + 1] = g + shift;
                g = cosine * r - b;
                let (left, right) = vectors[i * dim..][..2 * dim].split_at_mut(dim);
                for (left, right) in left.iter_mut().zip(right) {
                    (*left, *right) = (cosine * *left - sine * *right, sine * *left + cosine * *right);
                }
            }
            if whole {
                d[low] -= shift;
                e[low] = g;
                e[high] = 0.0;
            }
        }
    }
    Some(())
}

/// An inner product in eight sums, so that it vectorises.
#[inline(always)]
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (lefts, rights) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest: f64 = lefts.remainder().iter().zip(rights.remainder()).map(|(a, b)| a * b).sum();
    for (left, right) in lefts.zip(rights) {
        for (sum, (a, b)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    /// Checks A = Σ λ v vᵀ and that the v are orthonormal, which only an eigendecomposition satisfies.
    fn check(dim: usize, a: &[f64]) {
        let (values, vectors) = eigen(dim, a.to_vec()).unwrap();
        let size = a.iter().fold(1e-300f64, |most, x| most.max(x.abs())) * dim as f64;
        for i in 0..dim {
            for j in 0..dim {
                let sum: f64 = (0..dim).map(|k| values[k] * vectors[k * dim + i] * vectors[k * dim + j]).sum();
                assert!((sum - a[i * dim + j]).abs() < 1e-13 * size, "dim {dim}, {i}, {j}: {sum}");
                let inner: f64 = (0..dim).map(|k| vectors[i * dim + k] * vectors[j * dim + k]).sum();
                assert!((inner - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_parts_make_the_matrix_again(dim in 1usize..50, rank in 0usize..60, seed: u64) {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let rows: Vec<f64> = (0..rank * dim).map(|_| rng.random_range(-1.0..1.0)).collect();
            let gram = |p: usize| rows.chunks_exact(dim).map(|row| row[p / dim] * row[p % dim]).sum();
            check(dim, &(0..dim * dim).map(gram).collect::<Vec<f64>>());
        }
    }

    #[test]
    fn matrices_that_are_diagonal_or_zero_or_repeat_an_eigenvalue_are_decomposed() {
        check(3, &[0.0; 9]);
        check(3, &[2.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 2.0]);
        check(4, &[1e-200; 16]);
        check(2, &[1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_matrix_that_is_not_finite_has_none() {
        assert!(eigen(2, vec![1.0, 0.0, 0.0, f64::NAN]).is_none());
    }
}

//! Special functions that the likelihoods need and the maths library lacks.

use libm::lgamma;

/// Terms after which a series is taken as it is.
const TERMS: u32 = 200_000;

/// The logarithm of the beta function of two positive numbers.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    lgamma(a) + lgamma(b) - lgamma(a + b)
}

/// Gauss's hypergeometric function ₂F₁(a, b; c; z) by its series (Abramowitz and Stegun 15.1.1), for 0 ≤ z < 1 and c that
/// is no whole number below 1.
///
/// Callers choose the form in which c − a − b is positive (15.3.3): then the series converges up to z = 1 and its terms
/// do not cancel.
pub(crate) fn hypergeometric(a: f64, b: f64, c: f64, z: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 0..TERMS {
        let n = f64::from(n);
        term *= (a + n) * (b + n) / ((c + n) * (n + 1.0)) * z;
        sum += term;
        // The terms fall at least as fast as those of a geometric series in the end.
        if term.abs() <= 1e-16 * sum.abs() * (1.0 - z) && n > -c {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} is not {expected}");
    }

    #[test]
    fn known_values() {
        // ₂F₁(1, 1; 2; z) = −ln(1 − z) / z, ₂F₁(a, b; b; z) = (1 − z)^−a, ₂F₁(½, 1; 3/2; z²) = artanh(z) / z.
        for z in [0.1_f64, 0.5, 0.9, 0.99] {
            near(hypergeometric(1.0, 1.0, 2.0, z), -(-z).ln_1p() / z);
            near(hypergeometric(0.7, 2.0, 2.0, z), (1.0 - z).powf(-0.7));
            near(hypergeometric(0.5, 1.0, 1.5, z * z), z.atanh() / z);
        }
        near(hypergeometric(-2.0, 3.0, 0.5, 0.25), 1.0 - 3.0 + 2.0 * 3.0 * 4.0 / (0.5 * 1.5 * 2.0) * 0.0625);
        near(ln_beta(2.0, 3.0), (1.0_f64 / 12.0).ln());
    }
}

//! The one special function that p-values need and the maths library lacks.

use libm::lgamma;

/// Steps after which the continued fraction is taken as it is; it needs a few times √max(a, b).
const STEPS: u32 = 10_000;
/// Stands for a denominator of 0 (Lentz's method).
const TINY: f64 = 1e-300;

/// The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in 0..=1: Abramowitz and Stegun 26.5.8, by the
/// method of Lentz as Thompson and Barnett modified it (J. Comput. Phys. 64, 1986).
pub(crate) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges fast on this side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (lgamma(a + b) - lgamma(a) - lgamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let safe = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / safe(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..=STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / safe(1.0 + term * d);
            c = safe(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    // The last bits of logarithms may leave the range.
    (front * fraction).clamp(0.0, 1.0)
}

//! The exponential function as a few multiply-adds, so that a loop over it becomes vector instructions.

/// eˣ for x from -87 to 88, with what is below taken as -87: 2 to the nearest whole power, times a polynomial of degree
/// 6 of the rest (the Taylor series of 2ᶠ). The relative error is below 2e-7 (1 + |x|): x loses its last digits in 2ˣ.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Added, 1.5·2²³ rounds to whole numbers, which then stand in the lowest bits. A conversion to a whole number would be
    // checked, number by number.
    const ROUND: f32 = 12_582_912.0;
    let power = x.max(-87.0) * std::f32::consts::LOG2_E;
    let rounded = power + ROUND;
    let rest = power - (rounded - ROUND);
    let mut sum = 1.540_353e-4;
    for coefficient in [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0] {
        sum = f32::mul_add(sum, rest, coefficient);
    }
    f32::from_bits((rounded.to_bits().wrapping_add(127)) << 23) * sum
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_is_the_exponential() {
        for step in -9000..8800 {
            let x = step as f32 / 100.0;
            let (found, plain) = (f64::from(exp(x)), f64::from(x.max(-87.0)).exp());
            let room = 2e-7 * (1.0 + f64::from(x.abs()));
            assert!((found / plain - 1.0).abs() < room, "exp({x}) is {found}, not {plain}");
        }
        assert_eq!((exp(0.0), exp(f32::MIN)), (1.0, exp(-87.0)));
    }
}

//! The exponential function, written so that it becomes vector instructions.

use crate::simd::Instructions;

/// 1.5 * 2^23: a float to which a small number was added holds it, rounded, in its last bits.
const ROUNDER: f32 = 12_582_912.0;
/// The logarithm of two in two parts, the first with zeros at its end, so that whole multiples are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Below this the result is that of this number, so that none is subnormal.
const LOWEST: f32 = -87.0;
/// Above this the result is that of this number.
const HIGHEST: f32 = 88.0;

/// `e^x` to two units in the last place for `x` within -87..88, and that of the nearer end outside (J.-M.
/// Muller, "Elementary Functions", 2016, section 11.1: a power of two times a polynomial, here Cephes').
#[inline(always)]
pub(crate) fn exp<I: Instructions>(x: f32) -> f32 {
    // What is not a number passes both.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = I::mul_add(x, std::f32::consts::LOG2_E, ROUNDER);
    let whole = shifted - ROUNDER;
    let rest = I::mul_add(whole, -LN_2_HIGH, x);
    let rest = I::mul_add(whole, -LN_2_LOW, rest);
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = I::mul_add(sum, rest, coefficient);
    }
    let sum = I::mul_add(sum * rest, rest, rest) + 1.0;
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Avx2Fma, Portable};

    #[test]
    fn agrees_with_float64() {
        for i in -86_990..87_990 {
            let x = i as f32 * 1e-3;
            let wanted = f64::from(x).exp();
            for found in [exp::<Portable>(x), exp::<Avx2Fma>(x)] {
                let error = (f64::from(found) - wanted).abs() / wanted;
                assert!(error < 2.4e-7, "exp({x}): {found} instead of {wanted}");
            }
        }
    }

    #[test]
    fn ends_are_finite_and_zero_is_one() {
        assert_eq!(exp::<Portable>(0.0), 1.0);
        assert!(exp::<Portable>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp::<Portable>(1e30).is_finite());
        assert!(exp::<Portable>(f32::NAN).is_nan());
    }
}

//! Sums and extrema of a row, in as many partial results as make vectors. The number of them is fixed, so
//! that every instruction set adds in the same order.

use crate::simd::Instructions;

/// Partial results.
const LANES: usize = 16;

/// The partial results as one, halves joined until one is left.
#[inline(always)]
fn join(mut lanes: [f32; LANES], with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = with(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The sum of a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] += values[lane];
        }
    }
    rest.iter().fold(join(lanes, |a, b| a + b), |sum, value| sum + value)
}

/// The largest value of a row, minus infinity where it is empty.
#[inline(always)]
pub(crate) fn largest(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], values[lane]);
        }
    }
    rest.iter().fold(join(lanes, larger), |most, value| larger(most, *value))
}

/// The sum of the products of two rows.
#[inline(always)]
pub(crate) fn dot<I: Instructions>(a: &[f32], b: &[f32]) -> f32 {
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            lanes[lane] = I::mul_add(a[lane], b[lane], lanes[lane]);
        }
    }
    let rest = rest_a.iter().zip(rest_b);
    rest.fold(join(lanes, |a, b| a + b), |sum, (a, b)| I::mul_add(*a, *b, sum))
}

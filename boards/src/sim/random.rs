//! Where the rig's randomness comes from.
//!
//! One ChaCha8 generator per purpose, told apart by stream number, so that a change in how much one
//! part draws leaves every other part as it was. Textures hash lattice points instead: a texel must
//! not depend on the order in which texels are made.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a generator is for; the number is its stream.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Purpose {
    Layout = 1,
    Style = 2,
    Objects = 3,
    Drive = 4,
    Light = 5,
    Pixels = 6,
    DropOuts = 7,
    Lens = 8,
    Floor = 9,
    Inertial = 10,
    Bias = 11,
}

pub(super) fn generator(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose as u64);
    rng
}

/// A draw of zero mean and unit variance, near enough normal for sensor noise: the sum of four
/// uniform bytes (Irwin-Hall), which costs one word and no logarithm. Bounded by ±3.45.
pub(super) fn noise(rng: &mut ChaCha8Rng) -> f32 {
    noise_of(rng.next_u32())
}

/// [`noise`] from a word already drawn.
pub(super) fn noise_of(word: u32) -> f32 {
    let sum: i32 = word.to_le_bytes().iter().map(|&byte| i32::from(byte)).sum();
    // Variance of a uniform byte is (256² - 1) / 12; of four, 21845.
    (sum - 510) as f32 * (1.0 / 147.799_86)
}

/// A well-mixed word from a lattice point (the finaliser of MurmurHash3, Appleby 2011).
pub(super) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut h =
        seed ^ (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77).rotate_left(16);
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// [`hash`] as a number in [0, 1).
pub(super) fn hash_unit(x: i32, y: i32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_zero_mean_and_unit_variance() {
        let mut rng = generator(1, Purpose::Pixels);
        let n = 40_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(noise(&mut rng))).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / f64::from(n);
        // Five standard errors of each.
        assert!(mean.abs() < 0.025, "{mean}");
        assert!((variance - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn purposes_do_not_share_draws() {
        let first = |purpose| generator(7, purpose).next_u64();
        assert_ne!(first(Purpose::Layout), first(Purpose::Style));
        assert_eq!(first(Purpose::Drive), first(Purpose::Drive));
    }
}

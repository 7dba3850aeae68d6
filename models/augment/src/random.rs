//! The few distributions that augmentations draw from, on one explicit generator.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A number drawn evenly from `low..=high`; `low` when the range is empty.
pub(crate) fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Whether something of the given probability happens. Always draws one number, so that switching
/// one augmentation off leaves the others' draws as they were.
pub(crate) fn chance(rng: &mut ChaCha8Rng, probability: f32) -> bool {
    rng.random::<f32>() < probability
}

/// Two independent standard normal numbers (Box and Muller, 1958).
pub fn normal_pair(rng: &mut ChaCha8Rng) -> [f32; 2] {
    // 1 - u lies in (0, 1], so the logarithm is finite.
    let radius = libm::sqrtf(-2.0 * libm::logf(1.0 - rng.random::<f32>()));
    let angle = core::f32::consts::TAU * rng.random::<f32>();
    [radius * libm::cosf(angle), radius * libm::sinf(angle)]
}

/// One standard normal number.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    normal_pair(rng)[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let draws: Vec<f64> = (0..20_000).flat_map(|_| normal_pair(&mut rng)).map(f64::from).collect();
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n;
        let moment = |k: i32| draws.iter().map(|x| (x - mean).powi(k)).sum::<f64>() / n;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((moment(2) - 1.0).abs() < 0.03, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.2, "{}", moment(4));
        let correlation = draws.chunks_exact(2).map(|p| p[0] * p[1]).sum::<f64>() / (n / 2.0);
        assert!(correlation.abs() < 0.03, "{correlation}");
    }
}

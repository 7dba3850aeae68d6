//! What the tests of several kernels share.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::Level;

/// Values in -1..1.
pub(crate) fn random(rng: &mut ChaCha8Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// The levels that this machine has.
pub(crate) fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

/// Float32 sums of values in -1..1 against float64 ones.
#[track_caller]
pub(crate) fn assert_close(actual: &[f32], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*actual) - expected).abs();
        assert!(error <= 2e-5 * (1.0 + expected.abs()), "{what}: [{index}] {actual} instead of {expected}");
    }
}

//! Made-up data for the tests of this folder.

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `n` rows around `classes` fixed centres, class by turns, with about normal noise of `spread`.
pub fn blobs(n: usize, d: usize, classes: usize, spread: f32, seed: u64) -> (Array2<f32>, Vec<u32>) {
    let mut centre_rng = ChaCha8Rng::seed_from_u64(99);
    let centres = Array2::from_shape_simple_fn((classes, d), || centre_rng.random_range(-2.0_f32..2.0));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let labels: Vec<u32> = (0..n).map(|item| (item % classes) as u32).collect();
    let rows = Array2::from_shape_fn((n, d), |(row, column)| {
        let noise: f32 = (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
        centres[(row % classes, column)] + spread * noise
    });
    (rows, labels)
}

//! Against the textbook formulas in double precision, at every level, on one to three threads, which must
//! agree bit for bit.
#![allow(clippy::unwrap_used, clippy::panic)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::simd::Level;

fn noise(rng: &mut ChaCha8Rng, length: usize, around: f32) -> Vec<f32> {
    (0..length).map(|_| around + rng.random_range(-1.0..1.0)).collect()
}

struct Expected {
    y: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    dx: Vec<f64>,
    dscale: Vec<f64>,
    dshift: Vec<f64>,
    /// Where the value lies so near to a bound that rounding decides whether the gradient passes.
    doubtful: Vec<bool>,
}

fn expected(norm: &BatchNorm, x: &[f32], scale: &[f32], shift: &[f32], dy: &[f32]) -> Expected {
    let (c, n) = (norm.channels, norm.rows as f64);
    let of = |v: &[f32], i: usize| f64::from(v[i]);
    let mut e = Expected {
        y: vec![0.0; x.len()],
        mean: vec![0.0; c],
        variance: vec![0.0; c],
        dx: vec![0.0; x.len()],
        dscale: vec![0.0; c],
        dshift: vec![0.0; c],
        doubtful: vec![false; c],
    };
    let (low, high) = (f64::from(norm.bounds.0), f64::from(norm.bounds.1));
    for channel in 0..c {
        let places: Vec<usize> = (channel..x.len()).step_by(c).collect();
        let mean = places.iter().map(|&i| of(x, i)).sum::<f64>() / n;
        let variance = places.iter().map(|&i| (of(x, i) - mean).powi(2)).sum::<f64>() / n;
        let deviation = (variance + f64::from(norm.epsilon)).sqrt();
        let normal = |i: usize| (of(x, i) - mean) / deviation;
        let line = |i: usize| normal(i) * of(scale, channel) + of(shift, channel);
        let g = |i: usize| if line(i) > low && line(i) < high { of(dy, i) } else { 0.0 };
        let dshift: f64 = places.iter().map(|&i| g(i)).sum();
        let dscale: f64 = places.iter().map(|&i| g(i) * normal(i)).sum();
        for &i in &places {
            e.y[i] = line(i).clamp(low, high);
            e.dx[i] = of(scale, channel) / deviation * (g(i) - (dshift + normal(i) * dscale) / n);
            e.doubtful[channel] |= (line(i) - low).abs() < 1e-5 || (line(i) - high).abs() < 1e-5;
        }
        (e.mean[channel], e.variance[channel]) = (mean, variance);
        (e.dscale[channel], e.dshift[channel]) = (dscale, dshift);
    }
    e
}

fn close(found: &[f32], expected: &[f64], channels: usize, skip: &[bool], tolerance: f64, what: &str) {
    let scale = expected.iter().fold(0.1f64, |m, v| m.max(v.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs() / scale;
        assert!(skip[at % channels] || error < tolerance, "{what} [{at}]: {found} for {expected}");
    }
}

#[test]
fn both_directions_agree_with_the_formulas() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (rows, channels, around) in
        [(1, 3, 0.0), (7, 1, 0.0), (50, 5, 0.0), (300, 16, 100.0), (1000, 24, 0.0), (700, 100, -3.0)]
    {
        for bounds in [(f32::NEG_INFINITY, f32::INFINITY), (0.0, f32::INFINITY), (0.0, 1.0)] {
            let norm = BatchNorm { rows, channels, epsilon: 1e-3, bounds };
            let x = noise(&mut rng, rows * channels, around);
            let dy = noise(&mut rng, rows * channels, 0.0);
            let (scale, shift) = (noise(&mut rng, channels, 1.0), noise(&mut rng, channels, 0.3));
            let wanted = expected(&norm, &x, &scale, &shift, &dy);
            for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
                let mut all = vec![];
                for count in 1..=3 {
                    let threads = Threads::with_level(count, level).unwrap();
                    let parameters = Parameters { scale: &scale, shift: &shift };
                    let mut y = vec![f32::NAN; x.len()];
                    let mut dx = vec![f32::NAN; x.len()];
                    let mut rows = vec![vec![f32::NAN; channels]; 4];
                    let [mean, variance, dscale, dshift] = rows.as_mut_slice() else { panic!() };
                    let statistics = Statistics { mean, variance };
                    forward(&threads, &norm, &x, parameters, &mut y, statistics).unwrap();
                    let gradients = Gradients { x: &mut dx, scale: dscale, shift: dshift };
                    backward(&threads, &norm, &x, parameters, mean, variance, &dy, gradients).unwrap();
                    let none = vec![false; channels];
                    let what = format!("{norm:?} {level:?}");
                    close(&y, &wanted.y, channels, &none, 2e-5, &what);
                    close(mean, &wanted.mean, channels, &none, 1e-6, &what);
                    close(variance, &wanted.variance, channels, &none, 2e-5, &what);
                    close(&dx, &wanted.dx, channels, &wanted.doubtful, 5e-5, &what);
                    close(dscale, &wanted.dscale, channels, &wanted.doubtful, 2e-5, &what);
                    close(dshift, &wanted.dshift, channels, &wanted.doubtful, 2e-5, &what);
                    all.push((y, dx, rows));
                }
                assert!(all.iter().all(|a| *a == all[0]), "threads change the result of {norm:?}");
            }
        }
    }
}

#[test]
fn lengths_must_agree() {
    let threads = Threads::new(1).unwrap();
    let norm = BatchNorm { rows: 2, channels: 1, epsilon: 0.0, bounds: (0.0, 1.0) };
    let parameters = Parameters { scale: &[1.0], shift: &[0.0] };
    let (mut y, mut mean, mut variance) = ([0.0; 2], [0.0], [0.0]);
    let statistics = Statistics { mean: &mut mean, variance: &mut variance };
    assert!(forward(&threads, &norm, &[0.0; 3], parameters, &mut y, statistics).is_err());
}

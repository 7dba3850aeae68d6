//! Against a direct sum in double precision, over random geometries, at every level, on one to three
//! threads, which must agree bit for bit.
#![allow(clippy::unwrap_used, clippy::panic)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::simd::Level;

fn axis(rng: &mut ChaCha8Rng, longest: usize) -> Axis {
    let (kernel, stride, dilation) =
        (rng.random_range(1..=longest), rng.random_range(1..=3), rng.random_range(1..=2));
    let (before, after) = (rng.random_range(0..4), rng.random_range(0..4));
    let reach = (kernel - 1) * dilation + 1;
    let input = reach + rng.random_range(0..9usize);
    Axis { input, output: (input + before + after - reach) / stride + 1, kernel, stride, dilation, before }
}

fn draw(rng: &mut ChaCha8Rng) -> Depthwise {
    let channels = [1, 3, 4, 7, 8, 15, 16, 20, 24, 33, 50][rng.random_range(0..11)];
    let flat = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0 };
    let (rows, columns) =
        if rng.random_bool(0.5) { (axis(rng, 5), axis(rng, 5)) } else { (flat, axis(rng, 9)) };
    Depthwise { batch: rng.random_range(1..20), channels, rows, columns }
}

fn noise(rng: &mut ChaCha8Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Calls `visit` with the places in input, kernel and output of every product of the convolution.
fn products(g: &Depthwise, mut visit: impl FnMut(usize, usize, usize)) {
    let meet = |a: &Axis, out: usize, tap: usize| {
        (out * a.stride + tap * a.dilation).checked_sub(a.before).filter(|i| *i < a.input)
    };
    for n in 0..g.batch {
        for (oy, ky) in (0..g.rows.output).flat_map(|o| (0..g.rows.kernel).map(move |k| (o, k))) {
            for (ox, kx) in (0..g.columns.output).flat_map(|o| (0..g.columns.kernel).map(move |k| (o, k))) {
                let (Some(iy), Some(ix)) = (meet(&g.rows, oy, ky), meet(&g.columns, ox, kx)) else {
                    continue;
                };
                for c in 0..g.channels {
                    visit(
                        ((n * g.rows.input + iy) * g.columns.input + ix) * g.channels + c,
                        (c * g.rows.kernel + ky) * g.columns.kernel + kx,
                        ((n * g.rows.output + oy) * g.columns.output + ox) * g.channels + c,
                    );
                }
            }
        }
    }
}

fn close(found: &[f32], expected: &[f64], terms: usize, what: &str) {
    let tolerance = 1e-6 * (terms as f64).sqrt() * 4.0;
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= tolerance * (1.0 + expected.abs()), "{what} [{at}]: {found} for {expected}");
    }
}

/// The same result on one, two and three threads, at every level there is.
fn everywhere(length: usize, run: impl Fn(&Threads, &mut [f32])) -> Vec<Vec<f32>> {
    let levels = Level::ALL.into_iter().filter(|l| l.is_available());
    levels
        .map(|level| {
            let results: Vec<Vec<f32>> = (1..=3)
                .map(|count| {
                    let mut result = vec![f32::NAN; length];
                    run(&Threads::with_level(count, level).unwrap(), &mut result);
                    result
                })
                .collect();
            assert!(results.iter().all(|r| *r == results[0]), "threads change the result at {level:?}");
            results[0].clone()
        })
        .collect()
}

#[test]
fn all_three_agree_with_direct_sums() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..60 {
        let g = draw(&mut rng);
        let (x, kernel) = (noise(&mut rng, g.input_len()), noise(&mut rng, g.kernel_len()));
        let (bias, dy) = (noise(&mut rng, g.channels), noise(&mut rng, g.output_len()));
        let bounds = (-0.9, 1.1);
        let mut y: Vec<f64> = (0..dy.len()).map(|i| f64::from(bias[i % g.channels])).collect();
        let (mut dx, mut dkernel) = (vec![0.0f64; x.len()], vec![0.0f64; kernel.len()]);
        products(&g, |i, k, o| {
            y[o] += f64::from(x[i]) * f64::from(kernel[k]);
            dx[i] += f64::from(dy[o]) * f64::from(kernel[k]);
            dkernel[k] += f64::from(dy[o]) * f64::from(x[i]);
        });
        let y: Vec<f64> = y.into_iter().map(|v| v.clamp(f64::from(bounds.0), f64::from(bounds.1))).collect();
        let taps = g.rows.kernel * g.columns.kernel;
        for found in everywhere(y.len(), |t, y| forward(t, &g, &x, &kernel, Some(&bias), bounds, y).unwrap())
        {
            close(&found, &y, taps, &format!("{g:?} y"));
        }
        for found in everywhere(dx.len(), |t, dx| input_gradient(t, &g, &kernel, &dy, dx).unwrap()) {
            close(&found, &dx, taps, &format!("{g:?} dx"));
        }
        let positions = g.output_len() / g.channels;
        for found in everywhere(dkernel.len(), |t, d| weight_gradient(t, &g, &x, &dy, d).unwrap()) {
            close(&found, &dkernel, positions, &format!("{g:?} dkernel"));
        }
    }
}

#[test]
fn a_convolution_without_padding_bias_or_clip_is_its_sum() {
    let axis = |input, output, kernel| Axis { input, output, kernel, stride: 1, dilation: 1, before: 0 };
    let g = Depthwise { batch: 1, channels: 1, rows: axis(1, 1, 1), columns: axis(3, 2, 2) };
    let mut y = [0.0; 2];
    let unclipped = (f32::NEG_INFINITY, f32::INFINITY);
    forward(&Threads::new(1).unwrap(), &g, &[1.0, 2.0, 3.0], &[10.0, 1.0], None, unclipped, &mut y).unwrap();
    assert_eq!(y, [12.0, 23.0]);
}

#[test]
fn wrong_lengths_and_no_geometry_are_refused() {
    let threads = Threads::new(1).unwrap();
    let axis = Axis { input: 3, output: 3, kernel: 1, stride: 1, dilation: 1, before: 0 };
    let g = Depthwise { batch: 1, channels: 2, rows: axis, columns: axis };
    let (x, kernel) = (vec![0.0; 18], vec![0.0; 2]);
    let mut d = vec![0.0; 2];
    assert!(weight_gradient(&threads, &g, &x, &x, &mut d).is_ok());
    assert!(weight_gradient(&threads, &g, &x[1..], &x, &mut d).is_err());
    assert!(input_gradient(&threads, &g, &kernel[1..], &x, &mut vec![0.0; 18]).is_err());
    let none = Depthwise { rows: Axis { stride: 0, ..axis }, ..g };
    assert!(weight_gradient(&threads, &none, &x, &x, &mut d).is_err());
    let huge = Depthwise { batch: usize::MAX, ..g };
    assert!(weight_gradient(&threads, &huge, &x, &x, &mut d).is_err());
}

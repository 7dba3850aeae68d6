//! Against a direct sum in double precision, over random geometries, at every level, on one to three
//! threads, which must agree bit for bit.
#![allow(clippy::unwrap_used, clippy::panic)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::simd::Level;

/// Kernel, stride, dilation, padding before and after, and input of one axis.
fn axis(rng: &mut ChaCha8Rng, longest: usize) -> [usize; 6] {
    let (kernel, stride, dilation) =
        (rng.random_range(1..=longest), rng.random_range(1..=3), rng.random_range(1..=2));
    let reach = (kernel - 1) * dilation + 1;
    let (before, after) = (rng.random_range(0..4), rng.random_range(0..4));
    [kernel, stride, dilation, before, after, reach + rng.random_range(0..20usize)]
}

fn draw(rng: &mut ChaCha8Rng) -> Geometry {
    let channels = [1, 3, 4, 7, 8, 15, 16, 20, 24, 33, 50][rng.random_range(0..11)];
    let flat = [1, 1, 1, 0, 0, 1];
    let axes = if rng.random_bool(0.5) { [axis(rng, 5), axis(rng, 5)] } else { [flat, axis(rng, 9)] };
    let of = |part: usize| axes.map(|axis| axis[part]);
    let mut g = Geometry::new(rng.random_range(1..20), of(5), channels, channels, of(0));
    (g.groups, g.stride, g.dilation) = (channels, of(1), of(2));
    (g.pad_before, g.pad_after) = (of(3), of(4));
    g
}

fn size(shape: &[usize]) -> usize {
    shape.iter().product()
}

fn noise(rng: &mut ChaCha8Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Calls `visit` with the places in input, kernel and output of every product of the convolution.
fn products(g: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
    let [rows, columns] = axes(g);
    let meet = |a: &Axis, out: usize, tap: usize| {
        (out * a.stride + tap * a.dilation).checked_sub(a.before).filter(|i| *i < a.input)
    };
    let channels = g.channels_in;
    for n in 0..g.batch {
        for (oy, ky) in (0..rows.output).flat_map(|o| (0..rows.kernel).map(move |k| (o, k))) {
            for (ox, kx) in (0..columns.output).flat_map(|o| (0..columns.kernel).map(move |k| (o, k))) {
                let (Some(iy), Some(ix)) = (meet(&rows, oy, ky), meet(&columns, ox, kx)) else { continue };
                for c in 0..channels {
                    visit(
                        ((n * rows.input + iy) * columns.input + ix) * channels + c,
                        (c * rows.kernel + ky) * columns.kernel + kx,
                        ((n * rows.output + oy) * columns.output + ox) * channels + c,
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
        let (x, kernel) = (noise(&mut rng, size(&g.input_shape())), noise(&mut rng, size(&g.kernel_shape())));
        let (bias, dy) = (noise(&mut rng, g.channels_in), noise(&mut rng, size(&g.output_shape())));
        let bounds = (-0.9, 1.1);
        let mut y: Vec<f64> = (0..dy.len()).map(|i| f64::from(bias[i % g.channels_in])).collect();
        let (mut dx, mut dkernel) = (vec![0.0f64; x.len()], vec![0.0f64; kernel.len()]);
        products(&g, |i, k, o| {
            y[o] += f64::from(x[i]) * f64::from(kernel[k]);
            dx[i] += f64::from(dy[o]) * f64::from(kernel[k]);
            dkernel[k] += f64::from(dy[o]) * f64::from(x[i]);
        });
        let y: Vec<f64> = y.into_iter().map(|v| v.clamp(f64::from(bounds.0), f64::from(bounds.1))).collect();
        let taps = size(&g.kernel);
        for found in everywhere(y.len(), |t, y| forward(t, &g, &x, &kernel, Some(&bias), bounds, y).unwrap())
        {
            close(&found, &y, taps, &format!("{g:?} y"));
        }
        for found in everywhere(dx.len(), |t, dx| input_gradient(t, &g, &kernel, &dy, dx).unwrap()) {
            close(&found, &dx, taps, &format!("{g:?} dx"));
        }
        let positions = dy.len() / g.channels_in;
        for found in everywhere(dkernel.len(), |t, d| weight_gradient(t, &g, &x, &dy, d).unwrap()) {
            close(&found, &dkernel, positions, &format!("{g:?} dkernel"));
        }
    }
}

#[test]
fn a_convolution_without_padding_bias_or_clip_is_its_sum() {
    let g = Geometry::new(1, [1, 3], 1, 1, [1, 2]);
    let mut y = [0.0; 2];
    let unclipped = (f32::NEG_INFINITY, f32::INFINITY);
    forward(&Threads::new(1).unwrap(), &g, &[1.0, 2.0, 3.0], &[10.0, 1.0], None, unclipped, &mut y).unwrap();
    assert_eq!(y, [12.0, 23.0]);
}

#[test]
fn wrong_lengths_and_no_geometry_are_refused() {
    let threads = Threads::new(1).unwrap();
    let g = Geometry { groups: 2, ..Geometry::new(1, [3, 3], 2, 2, [1, 1]) };
    let (x, kernel) = (vec![0.0; 18], vec![0.0; 2]);
    let mut d = vec![0.0; 2];
    assert!(weight_gradient(&threads, &g, &x, &x, &mut d).is_ok());
    assert!(weight_gradient(&threads, &g, &x[1..], &x, &mut d).is_err());
    assert!(input_gradient(&threads, &g, &kernel[1..], &x, &mut [0.0; 18]).is_err());
    let none = Geometry { stride: [0, 1], ..g };
    assert!(weight_gradient(&threads, &none, &x, &x, &mut d).is_err());
    let huge = Geometry { batch: usize::MAX, ..g };
    assert!(weight_gradient(&threads, &huge, &x, &x, &mut d).is_err());
    let dense = Geometry { groups: 1, ..g };
    assert!(weight_gradient(&threads, &dense, &x, &x, &mut [0.0; 4]).is_err());
}

//! Each kernel alone on layers of the presets: the fastest of many calls, and the arithmetic or memory
//! traffic that it means.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::Instant;

use sedge_kernels::convolution::Geometry;
use sedge_kernels::norm::{self, BatchNorm, Gradients, Parameters, Statistics};
use sedge_kernels::{Threads, depthwise, elementwise};

fn fastest(mut work: impl FnMut()) -> f64 {
    let once = |work: &mut dyn FnMut()| {
        let begin = Instant::now();
        work();
        begin.elapsed().as_secs_f64()
    };
    (0..20).map(|_| once(&mut work)).fold(f64::INFINITY, f64::min)
}

fn noise(length: usize) -> Vec<f32> {
    (0..length).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn filter(threads: &Threads, side: usize, channels: usize, stride: usize, kernel: usize) {
    let mut g = Geometry::new(64, [side, side], channels, channels, [kernel, kernel]);
    (g.groups, g.stride) = (channels, [stride, stride]);
    (g.pad_before, g.pad_after) = ([kernel / 2; 2], [kernel / 2; 2]);
    let size = |shape: [usize; 4]| shape.iter().product();
    let (x, w, dy) =
        (noise(size(g.input_shape())), noise(size(g.kernel_shape())), noise(size(g.output_shape())));
    let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
    let products = (dy.len() * kernel * kernel) as f64 / 1e9;
    let bounds = (0.0, 6.0);
    let times = [
        fastest(|| depthwise::forward(threads, &g, &x, &w, None, bounds, &mut y).unwrap()),
        fastest(|| depthwise::input_gradient(threads, &g, &w, &dy, &mut dx).unwrap()),
        fastest(|| depthwise::weight_gradient(threads, &g, &x, &dy, &mut dw).unwrap()),
    ];
    let told = times.map(|t| format!("{:.2} ms ({:.1} G/s)", t * 1e3, products / t));
    println!(
        "depthwise {side}x{side}x{channels} k{kernel} s{stride}: y {}, dx {}, dw {}",
        told[0], told[1], told[2]
    );
}

fn normalise(threads: &Threads, rows: usize, channels: usize) {
    let n = BatchNorm { rows, channels, epsilon: 1e-5, bounds: (0.0, 6.0) };
    let (x, dy, row) = (noise(rows * channels), noise(rows * channels), noise(channels));
    let (mut y, mut mean, mut variance) = (x.clone(), row.clone(), row.clone());
    let (mut dscale, mut dshift) = (row.clone(), row.clone());
    let parameters = Parameters { scale: &row, shift: &row };
    let forward = fastest(|| {
        let statistics = Statistics { mean: &mut mean, variance: &mut variance };
        norm::forward(threads, &n, &x, parameters, &mut y, statistics).unwrap();
    });
    let backward = fastest(|| {
        let gradients = Gradients { x: &mut y, scale: &mut dscale, shift: &mut dshift };
        norm::backward(threads, &n, &x, parameters, &mean, &variance, &dy, gradients).unwrap();
    });
    let clip = fastest(|| elementwise::clip_gradient(threads, &x, &dy, (0.0, 6.0), &mut y).unwrap());
    let size = (rows * channels * 4) as f64 / 1e9;
    let told = [(forward, 3.0), (backward, 5.0), (clip, 3.0)];
    let told = told.map(|(t, passes)| format!("{:.2} ms ({:.1} GB/s)", t * 1e3, passes * size / t));
    println!("norm {rows}x{channels}: forward {}, backward {}, clip gradient {}", told[0], told[1], told[2]);
}

fn main() {
    let threads = Threads::new(1).unwrap();
    println!("{:?}", threads.level());
    for (side, channels, stride, kernel) in [
        (32, 64, 2, 3),
        (16, 96, 1, 3),
        (16, 96, 2, 3),
        (8, 160, 1, 3),
        (4, 256, 1, 3),
        (32, 24, 1, 3),
        (16, 96, 1, 5),
    ] {
        filter(&threads, side, channels, stride, kernel);
    }
    for (rows, channels) in
        [(1 << 16, 64), (1 << 16, 16), (1 << 14, 96), (1 << 14, 24), (1 << 12, 160), (1 << 10, 256)]
    {
        normalise(&threads, rows, channels);
    }
}

//! Times the kernels, one line a case: name, least milliseconds, GFLOP/s.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a program of its own, read by its user"
)]

use std::time::{Duration, Instant};

use sedge_kernels::{Product, Threads};

fn least(mut work: impl FnMut()) -> Duration {
    let begin = Instant::now();
    let mut least = Duration::MAX;
    let mut runs = 0;
    while runs < 3 || (begin.elapsed() < Duration::from_millis(400) && runs < 2000) {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed());
        runs += 1;
    }
    least
}

fn main() {
    let threads = Threads::new(1).unwrap();
    for (m, k, n, ta, tb) in [
        (256, 256, 256, false, false),
        (256, 256, 256, true, false),
        (256, 256, 256, false, true),
        (512, 512, 512, false, false),
        (1024, 1024, 1024, false, false),
        (16384, 576, 64, false, false),
        (16384, 24, 144, false, false),
        (16384, 144, 32, false, false),
        (16384, 27, 32, false, false),
        (1024, 1024, 1024, true, false),
        (1024, 1024, 1024, false, true),
        (16384, 144, 24, false, false),
    ] {
        let a = vec![0.5; m * k];
        let b = vec![0.25; k * n];
        let mut out = vec![0.0; m * n];
        let mut product = Product::new(m, k, n);
        product.transpose_a = ta;
        product.transpose_b = tb;
        let time = least(|| product.run(&a, &b, &mut out, &threads).unwrap());
        println!(
            "{m}x{k}x{n} {ta} {tb} {:.3} ms {:.1} GFLOP/s",
            time.as_secs_f64() * 1e3,
            2.0 * (m * k * n) as f64 / time.as_secs_f64() / 1e9
        );
    }
}

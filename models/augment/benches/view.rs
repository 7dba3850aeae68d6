//! Microseconds a view takes: `cargo bench -p sedge-augment`.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_augment::{ImageAugment, ImageSource, Size, WindowAugment, WindowSource};

const ROUNDS: u32 = 2000;

fn time(name: &str, mut work: impl FnMut()) {
    (0..ROUNDS / 10).for_each(|_| work());
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    println!("{name:<44} {:>8.1} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let every = ImageAugment {
        jitter_probability: 1.0,
        grey_probability: 1.0,
        blur_probability: 1.0,
        blur_sigma: [1.0, 1.0],
        ..ImageAugment::default()
    };
    let settings = [("plain", ImageAugment::none()), ("default", ImageAugment::default()), ("all on", every)];
    for (from, to) in [(32, 32), (64, 64), (96, 96), (640, 64)] {
        let mut rgb = vec![0u8; from * from * 3];
        rng.fill_bytes(&mut rgb);
        let source = ImageSource::new(&rgb, from, from).expect("the buffer fits");
        let mut out = vec![0.0; 3 * to * to];
        for (name, augment) in &settings {
            time(&format!("image {from}x{from} to {to}x{to}, {name}"), || {
                augment
                    .view(black_box(&source), Size { width: to, height: to }, &mut rng, &mut out)
                    .expect("the settings are in range");
                black_box(&out);
            });
        }
    }
    let values = vec![0.5f32; 6 * 128];
    let source = WindowSource::new(&values, 128, &[0.0; 6], &[1.0; 6]).expect("the buffer fits");
    let mut out = vec![0.0; values.len()];
    time("window 6x128, default", || {
        WindowAugment::default().view(black_box(&source), &mut rng, &mut out).expect("in range");
        black_box(&out);
    });
}

//! Against a naive product in float64.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::test_support::{assert_close, levels, random};

fn reference(product: &Product, a: &[f32], b: &[f32], before: &[f32]) -> Vec<f64> {
    let Product { batch, rows, depth, columns, .. } = *product;
    let mut out = Vec::new();
    for item in 0..batch {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let mut sum = if product.accumulate { f64::from(before[out.len()]) } else { 0.0 };
            for k in 0..depth {
                let a_place = if product.transpose_a { k * rows + row } else { row * depth + k };
                let b_place = if product.transpose_b { column * depth + k } else { k * columns + column };
                let (a, b) = (a[item * rows * depth + a_place], b[item * depth * columns + b_place]);
                sum += f64::from(a) * f64::from(b);
            }
            out.push(sum);
        }
    }
    out
}

fn check(product: &Product, rng: &mut ChaCha8Rng) {
    let Product { batch, rows, depth, columns, .. } = *product;
    let (a, b) = (random(rng, batch * rows * depth), random(rng, batch * depth * columns));
    let before = random(rng, batch * rows * columns);
    let expected = reference(product, &a, &b, &before);
    for level in levels() {
        let run = |count| {
            let mut out = before.clone();
            product.run(&a, &b, &mut out, &Threads::with_level(count, level).unwrap()).unwrap();
            out
        };
        let one = run(1);
        assert_close(&one, &expected, &format!("{level:?} {product:?}"));
        assert!(one == run(2) && one == run(3), "threads differ: {level:?} {product:?}");
    }
}

#[test]
fn random_shapes_match_the_definition_at_every_level_and_on_any_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..80 {
        let batch = if rng.random_bool(0.5) { 1 } else { rng.random_range(1..=5) };
        check(
            &Product {
                batch,
                rows: rng.random_range(1..=130),
                depth: rng.random_range(0..=90),
                columns: rng.random_range(1..=90),
                transpose_a: rng.random_bool(0.5),
                transpose_b: rng.random_bool(0.5),
                accumulate: rng.random_bool(0.5),
            },
            &mut rng,
        );
    }
}

#[test]
fn several_blocks_deep_match_the_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
        check(&Product { transpose_a, transpose_b, ..Product::new(50, 700, 41) }, &mut rng);
        check(&Product { transpose_a, transpose_b, ..Product::new(195, 300, 9) }, &mut rng);
    }
}

#[test]
fn a_bias_and_a_clip_follow_the_sum() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for transpose_a in [false, true] {
        let product = Product { transpose_a, ..Product::new(61, 300, 37) };
        let (a, b) = (random(&mut rng, 61 * 300), random(&mut rng, 300 * 37));
        let bias = random(&mut rng, 37);
        let expected: Vec<f64> = reference(&product, &a, &b, &[])
            .iter()
            .zip(bias.iter().cycle())
            .map(|(sum, bias)| (sum + f64::from(*bias)).clamp(-2.0, 3.0))
            .collect();
        for level in levels() {
            let mut out = vec![0.0; 61 * 37];
            let threads = Threads::with_level(2, level).unwrap();
            product.run_with(&a, &b, Some(&bias), Some((-2.0, 3.0)), &mut out, &threads).unwrap();
            assert_close(&out, &expected, &format!("{level:?}"));
            assert!(product.run_with(&a, &b, Some(&bias[1..]), None, &mut out, &threads).is_err());
        }
    }
}

#[test]
fn levels_with_a_fused_multiply_add_give_equal_bits() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (a, b) = (random(&mut rng, 77 * 300), random(&mut rng, 300 * 61));
    let run = |level| {
        let mut out = vec![0.0; 77 * 61];
        Product::new(77, 300, 61).run(&a, &b, &mut out, &Threads::with_level(1, level).unwrap()).unwrap();
        out
    };
    let mut fused = levels().filter(|level| *level != crate::Level::Portable).map(run);
    if let Some(first) = fused.next() {
        assert!(fused.all(|out| out == first));
    }
}

#[test]
fn refuses_slices_of_another_length() {
    let threads = Threads::new(1).unwrap();
    let product = Product::new(2, 3, 4);
    let error = product.run(&[0.0; 6], &[0.0; 11], &mut [0.0; 8], &threads).unwrap_err();
    assert_eq!(error.to_string(), "product: `b` holds 11 floats where its shape [1, 3, 4] asks for 12");
    let huge = Product { rows: usize::MAX, ..product };
    assert!(matches!(
        huge.run(&[], &[], &mut [], &threads),
        Err(KernelError::Geometry { argument: "a", .. })
    ));
}

//! Why single precision now and then disagrees with double in the third digit: a value within rounding
//! of a kink falls on its other side, and its whole gradient comes or goes. See the module's text.

use ndarray::{Array2, Ix2};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::{SIGNED, differentiated, draw, evaluate, expanded, run, widen};
use crate::graph::Graph;

/// A layer `relu6(x w + b)`.
fn layer(graph: &mut Graph, i: &[OutletId]) -> TractResult<OutletId> {
    let product = graph.einsum("nk,ko->no", i[0], i[1])?;
    let sum = graph.add(product, i[2])?;
    let (zero, six) = (graph.scalar(0.0, 2)?, graph.scalar(6.0, 2)?);
    let above = graph.binary(math::max(), sum, zero)?;
    graph.binary(math::min(), above, six)
}

/// `[x, w, b]` with biases that put every sum at `distance` from zero, as near as float32 can.
fn inputs(distance: f64) -> [Tensor; 3] {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (x, w) = (draw(&[16, 64], SIGNED, &mut rng), draw(&[64, 32], SIGNED, &mut rng));
    let sum = matrix(&x).dot(&matrix(&w));
    let bias: Vec<f32> = sum.iter().map(|s| (distance - s) as f32).collect();
    let bias = Tensor::from_shape(&[16, 32], &bias).unwrap();
    [x, w, bias]
}

fn matrix(t: &Tensor) -> Array2<f64> {
    widen(t).into_dimensionality::<Ix2>().unwrap()
}

/// Largest difference, relative to the largest value.
fn error(found: &Array2<f64>, expected: &Array2<f64>) -> f64 {
    let most = |values: &Array2<f64>| values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    most(&(found - expected)) / most(expected)
}

/// Gradients of the input in single and double precision, and in double with single's mask.
fn gradients(inputs: &[Tensor; 3]) -> (usize, [Array2<f64>; 3]) {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let it = differentiated(inputs, layer, &mut rng);
    let wide: Vec<_> = inputs.iter().map(widen).collect();
    let single = run(&it.gradients, inputs).swap_remove(0);
    let double = evaluate(&expanded(&it.gradients), &wide).swap_remove(0);
    let (low, high) = (run(&it.forward, inputs).swap_remove(0), evaluate(&it.forward, &wide).swap_remove(0));
    let flips = low.iter().zip(&high).filter(|(a, b)| (**a > 0.0) != (**b > 0.0)).count();
    let passed = (&it.cotangent * &low.mapv(|y| f64::from(y > 0.0))).into_dimensionality::<Ix2>().unwrap();
    let masked = passed.dot(&matrix(&inputs[1]).t());
    (flips, [single.into_dimensionality().unwrap(), double.into_dimensionality().unwrap(), masked])
}

#[test]
fn values_within_rounding_of_a_kink_account_for_the_whole_error() {
    let (flips, [single, double, masked]) = gradients(&inputs(0.0));
    assert!(flips > 0);
    assert!(error(&single, &double) > 1e-2, "{}", error(&single, &double));
    assert!(error(&single, &masked) < 1e-5, "{}", error(&single, &masked));
}

#[test]
fn values_a_thousandth_from_a_kink_agree() {
    let (flips, [single, double, _]) = gradients(&inputs(1e-3));
    assert_eq!(flips, 0);
    assert!(error(&single, &double) < 1e-5, "{}", error(&single, &double));
}

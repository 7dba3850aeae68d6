//! Batches of noise, for when there is no data at hand. Costs do not depend on values; contributions do, so
//! whatever is chosen by noise says so.

use ndarray::{ArrayD, ArrayViewMutD, Axis, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_models::{StepSpec, Tensors};

/// The objective whose targets are classes.
const CLASSES: &str = "cross-entropy";
/// How far the second view of a noise sample lies from the first.
const VIEW_NOISE: f32 = 0.3;
/// Half the width of the uniform distribution of variance one.
const HALF_WIDTH: f32 = 1.732_050_8;

/// `count` batches for a step: values of variance one, `views` in pairs of which the second is the first
/// with a third of noise, `targets` of classes one-hot, half of a `mask` one and the rest zero.
pub fn noise(spec: &StepSpec, count: usize, seed: u64) -> Vec<Tensors> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut batch = || {
        let named = spec.inputs.iter().map(|input| {
            let value = || HALF_WIDTH * (2.0 * rng.random::<f32>() - 1.0);
            let mut array = ArrayD::from_shape_simple_fn(IxDyn(&input.shape), value);
            match input.name.as_str() {
                "targets" if spec.objective == CLASSES => one_hot(array.view_mut(), &mut rng),
                "mask" => array.mapv_inplace(|value| f32::from(value > 0.0)),
                "views" => pair(&mut array),
                _ => {}
            }
            (input.name.clone(), array)
        });
        named.collect::<Tensors>()
    };
    (0..count).map(|_| batch()).collect()
}

/// Every row of `[rows, classes]` becomes one at a random class.
fn one_hot(mut targets: ArrayViewMutD<'_, f32>, rng: &mut ChaCha8Rng) {
    for mut row in targets.outer_iter_mut() {
        let class = rng.random_range(0..row.len().max(1));
        row.iter_mut().enumerate().for_each(|(i, value)| *value = f32::from(i == class));
    }
}

/// Row `i + rows / 2` becomes row `i` plus a share of what it was.
fn pair(views: &mut ArrayD<f32>) {
    let rows = views.shape().first().copied().unwrap_or(0);
    if rows < 2 {
        return;
    }
    let (first, mut second) = views.view_mut().split_at(Axis(0), rows / 2);
    for (first, mut second) in first.outer_iter().zip(second.outer_iter_mut()) {
        second *= VIEW_NOISE;
        second += &first;
    }
}

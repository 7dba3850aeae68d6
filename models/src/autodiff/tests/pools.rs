//! Pooling over random geometries.

use proptest::prelude::*;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{SIGNED, Value, cases, check, differentiated, draw, evaluate, run, same, widen};
use ndarray::IxDyn;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// One spatial axis: extent, kernel, stride, dilation, padding before and after.
type Along = (usize, usize, usize, usize, usize, usize);

fn along() -> impl Strategy<Value = Along> {
    (3usize..8, 1usize..4, 1usize..4, 1usize..3, 0usize..3, 0usize..3)
        .prop_map(|(extent, kernel, stride, dilation, before, after)| {
            // As ONNX and PyTorch have it, every window meets the input.
            (extent, kernel, stride, dilation, before.min(kernel / 2), after.min(kernel / 2))
        })
        .prop_filter("no window fits", |a| a.0 + a.4 + a.5 > (a.1 - 1) * a.3)
        .prop_filter("a window in the padding", |a| {
            let met = |window: usize| (0..a.1).any(|k| (a.4..a.4 + a.0).contains(&(window * a.2 + k * a.3)));
            (0..(a.0 + a.4 + a.5 - (a.1 - 1) * a.3).div_ceil(a.2) + 1)
                .take_while(|w| w * a.2 < a.0 + a.4)
                .all(met)
        })
}

fn case(axes: &[Along], last: bool, batch: usize, channels: usize, up: bool) -> (PoolSpec, Vec<usize>) {
    let pick = |f: fn(&Along) -> usize| axes.iter().map(f).collect::<TVec<usize>>();
    let pool_spec = PoolSpec {
        data_format: if last { DataFormat::NHWC } else { DataFormat::NCHW },
        kernel_shape: pick(|a| a.1),
        padding: PaddingSpec::ExplicitOnnxPool(pick(|a| a.4), pick(|a| a.5), up),
        dilations: Some(pick(|a| a.3)),
        strides: Some(pick(|a| a.2)),
        input_channels: channels,
        output_channels: channels,
    };
    let mut shape = vec![batch];
    shape.extend(axes.iter().map(|a| a.0));
    shape.insert(if last { shape.len() } else { 1 }, channels);
    (pool_spec, shape)
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn maxima(axes in prop::collection::vec(along(), 1..3), last: bool, batch in 1usize..3, channels in 1usize..3, up: bool) {
        let (pool_spec, shape) = case(&axes, last, batch, channels, up);
        let op = MaxPool { pool_spec, with_index_outputs: None };
        check(&[&shape], SIGNED, |graph, inputs| graph.node(op.clone(), inputs));
    }

    #[test]
    fn means(axes in prop::collection::vec(along(), 1..3), last: bool, batch in 1usize..3, channels in 1usize..3, up: bool, count_include_pad: bool) {
        let axes: Vec<Along> = axes.into_iter().map(|a| (a.0, a.1, a.2, 1, a.4, a.5)).collect();
        let (pool_spec, shape) = case(&axes, last, batch, channels, up);
        let op = SumPool { pool_spec, count_include_pad, normalize: true };
        check(&[&shape], SIGNED, |graph, inputs| graph.node(op.clone(), inputs));
    }

    /// Few distinct values, so that most windows are tied: the first of the tied elements, row-major,
    /// has all of the gradient.
    #[test]
    fn tied_maxima(axes in prop::collection::vec(along(), 2), last: bool, seed: u64) {
        let (pool_spec, shape) = case(&axes, last, 2, 2, false);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x = widen(&draw(&shape, (0.0, 3.0), &mut rng)).mapv(f64::floor);
        let flat: Vec<f32> = x.iter().map(|&v| v as f32).collect();
        let input = Tensor::from_shape(&shape, &flat).unwrap();
        let op = MaxPool { pool_spec: pool_spec.clone(), with_index_outputs: None };
        let it = differentiated(std::slice::from_ref(&input), |g, i| g.node(op.clone(), i), &mut rng);
        let expected = first_wins(&pool_spec, &x, &it.cotangent);
        let found = evaluate(&it.gradients, &[x]);
        prop_assert_eq!(&found[0], &expected);
        same(&run(&it.gradients, &[input]), &[expected], "tract");
    }
}

/// The gradient of a two-dimensional maximum, by walking each window.
fn first_wins(spec: &PoolSpec, x: &Value, gradient: &Value) -> Value {
    let PaddingSpec::ExplicitOnnxPool(before, ..) = &spec.padding else { panic!("another padding") };
    let last = spec.data_format.c_is_last();
    let index = |n: usize, c: usize, at: [usize; 2]| {
        if last { IxDyn(&[n, at[0], at[1], c]) } else { IxDyn(&[n, c, at[0], at[1]]) }
    };
    let space = if last { 1 } else { 2 };
    let mut d = Value::zeros(x.raw_dim());
    for (position, &g) in gradient.indexed_iter() {
        let (n, c) = (position[0], position[if last { 3 } else { 1 }]);
        let mut best: Option<[usize; 2]> = None;
        for i in 0..spec.kernel_shape[0] {
            for j in 0..spec.kernel_shape[1] {
                let place = [i, j].map(|k| k);
                let at: Vec<Option<usize>> = (0..2)
                    .map(|axis| {
                        let reach =
                            position[space + axis] * spec.stride(axis) + place[axis] * spec.dilation(axis);
                        reach.checked_sub(before[axis]).filter(|&p| p < x.shape()[space + axis])
                    })
                    .collect();
                let (Some(row), Some(column)) = (at[0], at[1]) else { continue };
                if best.is_none_or(|b| x[index(n, c, [row, column])] > x[index(n, c, b)]) {
                    best = Some([row, column]);
                }
            }
        }
        d[index(n, c, best.unwrap())] += g;
    }
    d
}

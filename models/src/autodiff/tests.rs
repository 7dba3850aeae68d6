//! Every rule against central finite differences. Linear operators are exact at any step; for the
//! others the step and the tolerance are stated where they are used.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer, Softmax, SoftmaxKind};

use super::differentiate;
use crate::fused::{self, tests::expanded};
use crate::graph::Graph;
use crate::onnx;

fn run(model: &TypedModel, inputs: &[Tensor]) -> Vec<Vec<f32>> {
    let plan = expanded(model).into_optimized().unwrap().into_runnable().unwrap();
    let outputs = plan.run(inputs.iter().map(|t| t.clone().into_tvalue()).collect()).unwrap();
    outputs.iter().map(|t| t.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()).collect()
}

/// Uniform in `low..high`.
fn draw(shape: &[usize], low: f32, high: f32, rng: &mut ChaCha8Rng) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(low..high)).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

struct Check {
    low: f32,
    high: f32,
    step: f32,
    tolerance: f64,
}

const LINEAR: Check = Check { low: -1.0, high: 1.0, step: 0.5, tolerance: 2e-4 };
const SMOOTH: Check = Check { low: 0.5, high: 1.5, step: 4e-3, tolerance: 3e-3 };

/// Compares the gradient of `sum(c * y)` for a random `c` with central differences, for every value of
/// every input, and the written and re-read graph with the graph itself.
fn check(shapes: &[&[usize]], how: &Check, build: impl Fn(&mut Graph, &[OutletId]) -> TractResult<OutletId>) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let inputs: Vec<Tensor> = shapes.iter().map(|s| draw(s, how.low, how.high, &mut rng)).collect();
    let mut graph = Graph::new(TypedModel::default());
    let sources: Vec<OutletId> =
        shapes.iter().enumerate().map(|(i, s)| graph.source(&format!("in{i}"), s).unwrap()).collect();
    let y = build(&mut graph, &sources).unwrap();
    let y_shape = graph.shape(y).unwrap();
    let cotangent = draw(&y_shape, -1.0, 1.0, &mut rng);
    let weights: Vec<f32> = cotangent.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    graph.model.select_output_outlets(&[y]).unwrap();
    let forward = graph.model.clone();

    let cotangent = graph.constant(cotangent).unwrap();
    let product = graph.mul(y, cotangent).unwrap();
    let axes: Vec<usize> = (0..y_shape.len()).collect();
    let loss = graph.sum(product, &axes).unwrap();
    graph.model.select_output_outlets(&[loss]).unwrap();
    let gradients = differentiate(&mut graph, loss, &sources).unwrap();
    graph.model.select_output_outlets(&gradients).unwrap();
    let found = run(&graph.model, &inputs);

    for (i, found) in found.iter().enumerate() {
        for (at, found) in found.iter().enumerate() {
            let value = |sign: f32| -> f64 {
                let mut moved = inputs.clone();
                moved[i].try_as_plain_ram_mut().unwrap().as_slice_mut::<f32>().unwrap()[at] +=
                    sign * how.step;
                let y = &run(&forward, &moved)[0];
                y.iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
            };
            let expected = (value(1.0) - value(-1.0)) / (2.0 * f64::from(how.step));
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= how.tolerance * (1.0 + expected.abs()),
                "input {i}[{at}] of {shapes:?}: rule {found} differences {expected}"
            );
        }
    }

    let names: Vec<String> = (0..gradients.len()).map(|i| format!("out{i}")).collect();
    let decluttered = graph.model.clone().into_decluttered().unwrap();
    let written = onnx::write::write(&decluttered, "test", &names).unwrap();
    let read = fused::read(&written).unwrap().into_typed().unwrap();
    let given: Vec<Tensor> = read
        .input_outlets()
        .unwrap()
        .iter()
        .map(|o| inputs[read.node(o.node).name[2..].parse::<usize>().unwrap()].clone())
        .collect();
    for (a, b) in run(&read, &given).iter().zip(&found) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "written graph gives {a}, the graph itself {b}");
        }
    }
}

struct ConvCase {
    batch: usize,
    extent: Vec<usize>,
    channels: (usize, usize),
    kernel: usize,
    stride: usize,
    padding: usize,
    depthwise: bool,
}

fn check_convolution(case: &ConvCase) {
    let rank = case.extent.len();
    let (c, o) = case.channels;
    let group = if case.depthwise { c } else { 1 };
    let mut x = vec![case.batch];
    x.extend(&case.extent);
    x.push(c);
    let mut kernel = vec![o, c / group];
    kernel.resize(2 + rank, case.kernel);
    let op = Conv {
        pool_spec: PoolSpec {
            data_format: DataFormat::NHWC,
            kernel_shape: tvec![case.kernel; rank],
            padding: PaddingSpec::Explicit(tvec![case.padding; rank], tvec![case.padding; rank]),
            dilations: None,
            strides: Some(tvec![case.stride; rank]),
            input_channels: c,
            output_channels: o,
        },
        kernel_fmt: KernelFormat::OIHW,
        group,
        q_params: None,
    };
    check(&[&x, &kernel, &[o]], &LINEAR, |graph, inputs| graph.node(op.clone(), inputs));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolutions(
        two_dimensional: bool,
        depthwise: bool,
        batch in 1usize..3,
        channels in 2usize..4,
        out in 1usize..4,
        kernel in 1usize..4,
        stride in 1usize..4,
        padding in 0usize..2,
        height in 3usize..6,
        width in 3usize..6,
    ) {
        let extent = if two_dimensional { vec![height, width] } else { vec![height + width] };
        let channels = (channels, if depthwise { channels } else { out });
        let padding = padding.min(kernel / 2);
        check_convolution(&ConvCase { batch, extent, channels, kernel, stride, padding, depthwise });
    }
}

#[test]
fn products() {
    check(&[&[3, 4], &[5, 4]], &LINEAR, |g, i| g.einsum("ik,jk->ij", i[0], i[1]));
    check(&[&[2, 3, 4], &[2, 4, 2]], &LINEAR, |g, i| g.einsum("bij,bjk->bik", i[0], i[1]));
}

#[test]
fn pairs_with_broadcasting() {
    check(&[&[2, 3], &[1, 3]], &LINEAR, |g, i| g.add(i[0], i[1]));
    check(&[&[2, 3], &[2, 1]], &LINEAR, |g, i| g.sub(i[0], i[1]));
    check(&[&[2, 3], &[1, 1]], &LINEAR, |g, i| g.mul(i[0], i[1]));
    check(&[&[2, 1], &[1, 3]], &SMOOTH, |g, i| g.div(i[0], i[1]));
}

#[test]
fn clips() {
    // Values between 0.5 and 1.5 with bounds that cut some of them off; the step is small enough that
    // no value of this seed crosses a bound.
    let how = Check { step: 1e-4, tolerance: 2e-2, ..SMOOTH };
    check(&[&[4, 5]], &how, |g, i| {
        let low = g.scalar(0.8, 2)?;
        g.binary(math::max(), i[0], low)
    });
    check(&[&[4, 5]], &how, |g, i| {
        let high = g.scalar(1.2, 2)?;
        g.binary(math::min(), i[0], high)
    });
    check(&[&[4, 5]], &how, |g, i| {
        let (low, high) = (g.scalar(0.8, 2)?, g.scalar(1.2, 2)?);
        let above = g.binary(math::max(), i[0], low)?;
        g.binary(math::min(), above, high)
    });
}

#[test]
fn elements() {
    type Build = fn() -> tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
    let all: [Build; 9] = [
        || math::exp(),
        || math::ln(),
        || math::neg(),
        || math::sqrt(),
        || math::rsqrt(),
        || math::recip(),
        || math::square(),
        || math::tanh(),
        || tract_onnx::tract_core::ops::nn::sigmoid(),
    ];
    for op in all {
        check(&[&[3, 4]], &SMOOTH, |g, i| g.element(op(), i[0]));
    }
}

#[test]
fn reductions_and_lazy_gradients() {
    check(&[&[2, 3, 4]], &LINEAR, |g, i| g.sum(i[0], &[0, 2]));
    check(&[&[2, 3, 4]], &SMOOTH, |g, i| g.node(Reduce::new(tvec!(0, 1), Reducer::MeanOfSquares), &[i[0]]));
    check(&[&[3, 4]], &SMOOTH, |g, i| {
        g.node(Softmax { axes: tvec!(1), quant_output_dt: None, kind: SoftmaxKind::default() }, &[i[0]])
    });
    // A sum of a stretched operand: the gradient reaching the broadcast is lazy along the axis that
    // must be summed.
    check(&[&[2, 3], &[1, 3]], &LINEAR, |g, i| {
        let sum = g.add(i[0], i[1])?;
        g.sum(sum, &[0, 1])
    });
}

#[test]
fn movements() {
    check(&[&[2, 3, 4]], &LINEAR, |g, i| g.move_axis(i[0], 0, 2));
    check(&[&[2, 3, 4]], &LINEAR, |g, i| g.reshape(i[0], &[6, 4]));
    check(&[&[2, 3]], &LINEAR, |g, i| g.node(AxisOp::Add(1), &[i[0]]));
    check(&[&[2, 1, 3]], &LINEAR, |g, i| g.node(AxisOp::Rm(1), &[i[0]]));
    check(&[&[2, 1]], &LINEAR, |g, i| g.broadcast(i[0], &[2, 5]));
    check(&[&[2, 5]], &LINEAR, |g, i| g.slice(i[0], 1, 1, 4));
    check(&[&[2, 2], &[2, 3]], &LINEAR, |g, i| g.concat(1, &[i[0], i[1]]));
    check(&[&[2, 3]], &LINEAR, |g, i| {
        g.node(Pad { pads: vec![(0, 1), (2, 0)], mode: PadMode::Constant(rctensor0(0f32)) }, &[i[0]])
    });
    check(&[&[7, 2]], &LINEAR, |g, i| g.node(Downsample::new(0, 3, 0), &[i[0]]));
}

#[test]
fn a_node_without_a_rule_is_named() {
    let mut graph = Graph::new(TypedModel::default());
    let x = graph.source("x", &[2, 2]).unwrap();
    let y = graph.element(math::cos(), x).unwrap();
    let loss = graph.sum(y, &[0, 1]).unwrap();
    graph.model.select_output_outlets(&[loss]).unwrap();
    let error = differentiate(&mut graph, loss, &[x]).unwrap_err();
    let no_rule = error.downcast_ref::<super::NoRule>().unwrap();
    assert_eq!((no_rule.operator.as_str(), no_rule.shape.as_slice()), ("Cos", [2, 2].as_slice()));
}

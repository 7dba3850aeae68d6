//! Every rule against central differences in float64, taken of a naive interpreter of the forward
//! graph; the gradient graph run in the same interpreter (so that only the rule can differ), in tract
//! in float32, and in tract again after it was written as ONNX and read back.

mod convolutions;
mod float64;
mod goldens;
mod kinks;
mod operators;
mod pools;
mod refusals;
mod windows;

use std::collections::BTreeMap;

use proptest::prelude::ProptestConfig;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;

use self::float64::{Value, evaluate, widen};
use super::differentiate;
use crate::fused::{self, tests::expanded};
use crate::graph::Graph;
use crate::layout::channels_last;
use crate::onnx;

/// Half the distance of a central difference, short so that it crosses no kink. With float64's 16 digits
/// its error is about 1e-9.
const STEP: f64 = 1e-6;
/// Of a gradient in float64 against differences, relative to one and to the gradient.
const EXACT: f64 = 1e-6;
/// Of float32 against float64, relative to one and to the largest gradient.
const SINGLE: f64 = 1e-4;
/// Elements of each input whose derivative is compared one by one.
const PROBES: usize = 16;

/// Any sign.
const SIGNED: (f32, f32) = (-1.0, 1.0);
/// Where roots, logarithms and quotients are tame.
const POSITIVE: (f32, f32) = (0.5, 1.5);

/// Uniform in `low..high`.
fn draw(shape: &[usize], (low, high): (f32, f32), rng: &mut ChaCha8Rng) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(low..high)).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn run(model: &TypedModel, inputs: &[Tensor]) -> Vec<Value> {
    let plan = expanded(model).into_optimized().unwrap().into_runnable().unwrap();
    let outputs = plan.run(inputs.iter().map(|t| t.clone().into_tvalue()).collect()).unwrap();
    outputs.iter().map(|t| widen(t)).collect()
}

/// A graph with its gradient with respect to every source, of `sum(cotangent * y)`.
struct Differentiated {
    forward: TypedModel,
    gradients: TypedModel,
    cotangent: Value,
}

fn differentiated(
    inputs: &[Tensor],
    build: impl Fn(&mut Graph, &[OutletId]) -> TractResult<OutletId>,
    rng: &mut ChaCha8Rng,
) -> Differentiated {
    let mut graph = Graph::new(TypedModel::default());
    let sources: Vec<OutletId> = inputs
        .iter()
        .enumerate()
        .map(|(i, input)| graph.source(&format!("in{i}"), input.shape()).unwrap())
        .collect();
    let y = build(&mut graph, &sources).unwrap();
    let shape = graph.shape(y).unwrap();
    let cotangent = draw(&shape, SIGNED, rng);
    graph.model.select_output_outlets(&[y]).unwrap();
    let forward = graph.model.clone();
    let c = graph.constant(cotangent.clone()).unwrap();
    let product = graph.mul(y, c).unwrap();
    let axes: Vec<usize> = (0..shape.len()).collect();
    let loss = graph.sum(product, &axes).unwrap();
    graph.model.select_output_outlets(&[loss]).unwrap();
    let gradients = differentiate(&mut graph, loss, &sources).unwrap();
    graph.model.select_output_outlets(&gradients).unwrap();
    Differentiated { forward, gradients: graph.model, cotangent: widen(&cotangent) }
}

/// Checks the gradients of `build` at random inputs of `shapes`, uniform in `range`.
fn check(
    shapes: &[&[usize]],
    range: (f32, f32),
    build: impl Fn(&mut Graph, &[OutletId]) -> TractResult<OutletId>,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let inputs: Vec<Tensor> = shapes.iter().map(|s| draw(s, range, &mut rng)).collect();
    check_at(&inputs, build);
}

/// Checks the gradients of `build` at `inputs`.
fn check_at(inputs: &[Tensor], build: impl Fn(&mut Graph, &[OutletId]) -> TractResult<OutletId>) {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let it = differentiated(inputs, build, &mut rng);
    let wide: Vec<Value> = inputs.iter().map(widen).collect();
    let exact = evaluate(&it.gradients, &wide);
    let loss = |inputs: &[Value]| (&evaluate(&it.forward, inputs)[0] * &it.cotangent).sum();
    for (i, gradient) in exact.iter().enumerate() {
        assert_eq!(gradient.shape(), wide[i].shape());
        let count = wide[i].len();
        let derivative = |direction: &Value| {
            let moved = |sign: f64| {
                let mut moved = wide.clone();
                moved[i] += &(direction * (sign * STEP));
                loss(&moved)
            };
            (moved(1.0) - moved(-1.0)) / (2.0 * STEP)
        };
        let compare = |direction: &Value, what: &str| {
            let (expected, found) = (derivative(direction), (direction * gradient).sum());
            assert!(
                (found - expected).abs() <= EXACT * (1.0 + expected.abs()),
                "input {i} {:?}, {what}: rule {found}, differences {expected}",
                wide[i].shape()
            );
        };
        compare(&widen(&draw(inputs[i].shape(), SIGNED, &mut rng)), "all together");
        for probe in 0..count.min(PROBES) {
            let at = if count <= PROBES { probe } else { rng.random_range(0..count) };
            let mut unit = Value::zeros(wide[i].raw_dim());
            *unit.iter_mut().nth(at).unwrap() = 1.0;
            compare(&unit, &format!("element {at}"));
        }
    }
    same(&run(&it.gradients, inputs), &exact, "tract");

    let names: Vec<String> = (0..exact.len()).map(|i| format!("out{i}")).collect();
    let decluttered = it.gradients.clone().into_decluttered().unwrap();
    let written = onnx::write::write(&decluttered, "test", &names).unwrap();
    let named: BTreeMap<String, Tensor> =
        inputs.iter().enumerate().map(|(i, input)| (format!("in{i}"), input.clone())).collect();
    let read = fused::read(&written).unwrap().into_typed().unwrap();
    same(&run(&read, &by_name(&read, &named)), &exact, "written and read");
    let last = channels_last(&read).unwrap();
    same(&run(&last, &by_name(&last, &named)), &exact, "read, channels last");
}

/// The inputs of `model`, by name.
fn by_name(model: &TypedModel, inputs: &BTreeMap<String, Tensor>) -> Vec<Tensor> {
    let outlets = model.input_outlets().unwrap().iter();
    outlets.map(|o| inputs[&model.node(o.node).name].clone()).collect()
}

/// Whether `found`, computed in float32, is `exact` to float32's precision.
fn same(found: &[Value], exact: &[Value], what: &str) {
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        let largest = exact.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        for (f, e) in found.iter().zip(exact) {
            assert!((f - e).abs() <= SINGLE * (1.0 + largest), "output {i}, {what}: {f}, in float64 {e}");
        }
    }
}

/// `cases` random cases, the same in every run.
fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(4);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

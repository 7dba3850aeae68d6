//! The guard inside the step: whatever is not finite leaves every tensor of state as it was, bit by bit,
//! and the step says so. And what that costs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{ADAMW, imu};
use ndarray::{ArrayD, IxDyn};
use prost::Message;
use sedge_engine::{Engine, EngineError, TractStep};
use sedge_models::architecture::{Architecture, Form};
use sedge_models::bundle::Bundle;
use sedge_models::compile::{Recipe, SKIPPED, VIEWS, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;
use sedge_models::{Tensors, TrainingStep};

const HEAD: ProjectionHead = ProjectionHead::new(8, 4);

fn recipe(architecture: &Architecture, rows: usize, sample: &[usize], objective: Objective) -> Recipe {
    let weights = architecture.initial_weights(sample, 1).unwrap();
    let encoder = architecture.graph(Form::Training, Batch::Fixed(rows), sample, &weights).unwrap();
    let names = weights.keys().filter(|name| !name.contains("running"));
    let trained = Selection::All.pick(&architecture.stages(), names);
    Recipe { statistics: weights, ..Recipe::new(encoder, trained, objective) }
}

fn samples(shape: &[usize], size: f32) -> ArrayD<f32> {
    let mut at = 0u32;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        at += 1;
        (at as f32 * 0.7).sin() * size
    })
}

fn bits(state: &Tensors) -> Vec<(String, Vec<u32>)> {
    state.iter().map(|(name, v)| (name.clone(), v.iter().map(|v| v.to_bits()).collect())).collect()
}

/// Everything that carries state: weights, memory, statistics, queue, teacher, micro-batches.
fn everything(optimizer: Optimizer) -> TrainingStep {
    let objective = Objective::Moco { head: HEAD, temperature: 0.2, queue: 16, ema: 0.9 };
    compile(Recipe {
        optimizer,
        clip_norm: Some(1.0),
        reference: Some(0.5),
        accumulate: 2,
        ..recipe(&imu(), 4, &[6, 20], objective)
    })
    .unwrap()
}

#[test]
fn a_step_that_is_not_finite_leaves_every_bit_of_the_state() {
    for optimizer in [Optimizer::SGD, ADAMW, Optimizer::LARS] {
        let mut engine = TractStep::new(&everything(optimizer)).unwrap();
        let shape = engine.spec().inputs[0].shape.clone();
        let good = samples(&shape, 1.0);
        for at in 0..3 {
            let metrics = engine.step(&[(VIEWS, good.view())], &[]).unwrap();
            assert_eq!(metrics["applied"], (at % 2) as f32);
        }
        let before = engine.state().unwrap();
        // Squares of the first overflow; the second makes gradients overflow and no loss; the others
        // poison what moves the weights, the teacher and the loss alone. Two steps: a micro-batch that
        // is summed, and one that is to be applied.
        let huge = samples(&shape, 1e30);
        let scalars: [(&str, f32); 6] = [
            ("temperature", 1e-38),
            ("lr", f32::INFINITY),
            ("lr", f32::NAN),
            ("ema", f32::NAN),
            ("clip_norm", f32::NAN),
            ("reference_weight", f32::NEG_INFINITY),
        ];
        for _ in 0..2 {
            refused(&mut engine, huge.view(), &[]);
            for scalar in scalars {
                refused(&mut engine, good.view(), &[scalar]);
            }
        }
        assert_eq!(bits(&engine.state().unwrap()), bits(&before), "{optimizer:?}");
        // What comes after is as if nothing had been.
        engine.step(&[(VIEWS, good.view())], &[]).unwrap();
        let mut other = TractStep::new(&everything(optimizer)).unwrap();
        other.set_state(&before).unwrap();
        other.step(&[(VIEWS, good.view())], &[]).unwrap();
        assert_eq!(bits(&engine.state().unwrap()), bits(&other.state().unwrap()));
        assert_ne!(bits(&engine.state().unwrap()), bits(&before));
    }
}

fn refused(engine: &mut TractStep, views: ndarray::ArrayViewD<'_, f32>, scalars: &[(&str, f32)]) {
    let before = bits(&engine.state().unwrap());
    let outcome = engine.step(&[(VIEWS, views)], scalars);
    assert!(matches!(outcome, Err(EngineError::NotFinite { .. })), "{scalars:?}: {outcome:?}");
    assert_eq!(bits(&engine.state().unwrap()), before, "{scalars:?}");
}

/// Bundles shipped before steps guarded themselves load as ever, and the engine keeps their state.
#[test]
fn a_shipped_step_keeps_its_state_as_well() {
    for name in ["image-sim", "imu-sim"] {
        let path = format!("{}/../bundles/{name}.sedge", env!("CARGO_MANIFEST_DIR"));
        let bundle = Bundle::read(path.as_ref()).unwrap();
        let mut engine = TractStep::new(&bundle.step).unwrap();
        let shape = engine.spec().inputs[0].shape.clone();
        engine.step(&[(VIEWS, samples(&shape, 1.0).view())], &[]).unwrap();
        for scalar in [("lr", f32::NAN), ("temperature", 1e-38)] {
            refused(&mut engine, samples(&shape, 1.0).view(), &[scalar]);
        }
    }
}

/// The step without its guard: every choice takes the candidate, and nobody asks whether it may.
fn unguarded(step: &TrainingStep) -> TrainingStep {
    let mut step = step.clone();
    let mut model = tract_onnx::pb::ModelProto::decode(step.onnx.as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.output.retain(|output| output.name != SKIPPED);
    let mut taken = 0;
    let made: BTreeMap<String, (String, Vec<String>)> = graph
        .node
        .iter()
        .map(|node| (node.output[0].clone(), (node.op_type.clone(), node.input.clone())))
        .collect();
    // What a gather by a computed index may take from the stack that makes `name`, whatever moved the
    // stack's axes since.
    let candidate = |name: &str| {
        let mut name = name;
        loop {
            match made.get(name) {
                Some((op, inputs)) if op == "Reshape" || op == "Transpose" => name = &inputs[0],
                Some((op, inputs)) if op == "Concat" => return inputs.get(1).cloned(),
                _ => return None,
            }
        }
    };
    let constants: BTreeSet<String> =
        graph.initializer.iter().map(|constant| constant.name.clone()).collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type == "Gather") {
        if constants.contains(&node.input[1]) {
            continue;
        }
        let Some(candidate) = candidate(&node.input[0]) else {
            panic!("{node:?} {:?}", made.get(&node.input[0]));
        };
        node.op_type = "Identity".into();
        node.attribute.clear();
        node.input = vec![candidate];
        taken += 1;
    }
    assert_eq!(taken, step.spec.state.len());
    step.spec.metrics.retain(|metric| metric != SKIPPED);
    step.onnx = model.encode_to_vec();
    step
}

/// Time that this thread spent on a processor, so that other load counts little.
fn on_processor() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
}

/// Processor time of a step of each engine in milliseconds, taken in turn; the tenth percentile, which
/// other load disturbs least.
fn step_times(engines: &mut [TractStep], rounds: usize) -> Vec<f64> {
    let shape = engines[0].spec().inputs[0].shape.clone();
    let views = samples(&shape, 1.0);
    let mut times = vec![vec![]; engines.len()];
    for _ in 0..rounds {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            let started = on_processor();
            engine.step(&[(VIEWS, views.view())], &[("lr", 1e-3)]).unwrap();
            times.push(on_processor() - started);
        }
    }
    let percentile = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 10].as_secs_f64() * 1e3
    };
    times.into_iter().map(percentile).collect()
}

/// Run with `--ignored --nocapture`: what the guard costs of a step of 64 rows, all layers trained. It
/// costs as much whatever the batch, so it is measured on a small one, where it stands out.
#[test]
#[ignore = "a measurement"]
fn cost() {
    for (preset, sample) in [("image-small", vec![3, 64, 64]), ("imu-small", vec![6, 128])] {
        let architecture = Architecture::preset(preset).unwrap();
        let objective = Objective::NtXent { head: ProjectionHead::new(128, 64), temperature: 0.2 };
        let compiled = |rows| compile(recipe(&architecture, rows, &sample, objective.clone())).unwrap();
        let small = compiled(4);
        let mut both = [TractStep::new(&small).unwrap(), TractStep::new(&unguarded(&small)).unwrap()];
        let times = step_times(&mut both, 100);
        let guard = times[0] - times[1];
        let step = step_times(&mut [TractStep::new(&compiled(64)).unwrap()], 10)[0];
        let values = small.spec.parameters();
        println!("{preset}, {values} weights: guard {guard:.2} ms of {step:.1}, ratio {:.4}", guard / step);
    }
}

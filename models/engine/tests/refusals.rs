//! What an encoder and a training step refuse, and that refusing leaves them as they were: broken files,
//! wrong shapes, unknown names, numbers that are none.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use sedge_engine::{Encoder, Engine, EngineError, TractStep};
use sedge_models::architecture::{Architecture, Conv1d, Form, fold};
use sedge_models::compile::{Recipe, VIEWS, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::{Batch, GraphBuilder};
use sedge_models::selection::Selection;
use sedge_models::{StateRole, Tensors, TrainingStep};

const SAMPLE: [usize; 2] = [6, 16];
const ROWS: usize = 4;

fn architecture() -> Architecture {
    Architecture::Conv1d(Conv1d { channels: vec![4, 8], strides: vec![1, 2], kernel: 3 })
}

fn onnx(batch: Batch) -> Vec<u8> {
    let weights = fold(&architecture().initial_weights(&SAMPLE, 1).unwrap()).unwrap();
    architecture().graph(Form::Folded, batch, &SAMPLE, &weights).unwrap().encode_to_vec()
}

fn training_step() -> TrainingStep {
    let weights = architecture().initial_weights(&SAMPLE, 1).unwrap();
    let names = weights.keys().filter(|name| !name.contains("running"));
    let trained = Selection::All.pick(&architecture().stages(), names);
    let encoder = architecture().graph(Form::Training, Batch::Fixed(ROWS), &SAMPLE, &weights).unwrap();
    let objective = Objective::NtXent { head: ProjectionHead::new(8, 4), temperature: 0.2 };
    compile(Recipe { statistics: weights, lr: 0.1, seed: 1, ..Recipe::new(encoder, trained, objective) })
        .unwrap()
}

fn samples(shape: &[usize]) -> ArrayD<f32> {
    let mut at = 0u32;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        at += 1;
        (at as f32 * 0.7).sin()
    })
}

#[test]
fn an_encoder_takes_any_number_of_samples_of_its_shape() {
    let mut encoder = Encoder::new(&onnx(Batch::Symbolic), 3).unwrap();
    assert_eq!((encoder.batch(), encoder.sample_shape(), encoder.dim()), (3, &SAMPLE[..], 8));
    let seven = encoder.embed(samples(&[7, 6, 16]).view()).unwrap();
    assert_eq!(seven.dim(), (7, 8));
    assert_eq!(encoder.embed(samples(&[0, 6, 16]).view()).unwrap().dim(), (0, 8));
    // Neither the batch nor what a partial one is padded with may show.
    let mut single = Encoder::new(&onnx(Batch::Symbolic), 1).unwrap();
    let one_by_one = single.embed(samples(&[7, 6, 16]).view()).unwrap();
    assert!((&seven - &one_by_one).iter().all(|d| d.abs() < 1e-5));
    // A fixed batch stays.
    assert_eq!(Encoder::new(&onnx(Batch::Fixed(2)), 5).unwrap().batch(), 2);
}

#[test]
fn samples_of_another_shape_are_named() {
    let mut encoder = Encoder::new(&onnx(Batch::Symbolic), 3).unwrap();
    for shape in [&[2, 6, 15][..], &[2, 16, 6], &[2, 6], &[6, 16], &[2, 6, 16, 1]] {
        match encoder.embed(samples(shape).view()) {
            Err(EngineError::Shape { name, found, wanted }) => {
                assert_eq!(
                    (name.as_str(), found.as_slice(), wanted.as_slice()),
                    ("samples", shape, &[3, 6, 16][..])
                );
            }
            other => panic!("{shape:?}: {other:?}"),
        }
    }
}

/// An activation takes the larger of zero and what it is given, and of zero and NaN that is zero: what
/// goes in must be looked at, for it may not show in what comes out.
#[test]
fn samples_that_are_no_numbers_are_refused_and_the_next_are_embedded() {
    let mut encoder = Encoder::new(&onnx(Batch::Symbolic), 2).unwrap();
    let good = encoder.embed(samples(&[3, 6, 16]).view()).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bad = samples(&[3, 6, 16]);
        bad[[2, 5, 15]] = value;
        let outcome = encoder.embed(bad.view());
        assert!(matches!(outcome, Err(EngineError::NotFinite { name }) if name == "samples"), "{value}");
    }
    // Numbers so large that their sums are none.
    let mut large = samples(&[3, 6, 16]);
    large.fill(f32::MAX);
    let outcome = encoder.embed(large.view());
    assert!(matches!(outcome, Err(EngineError::NotFinite { name }) if name == "embedding"));
    assert_eq!(encoder.embed(samples(&[3, 6, 16]).view()).unwrap(), good);
}

#[test]
fn files_that_are_no_encoder_are_refused() {
    let good = onnx(Batch::Symbolic);
    for cut in [0, 1, 17, good.len() / 2, good.len() - 1] {
        assert!(matches!(Encoder::new(&good[..cut], 1), Err(EngineError::Load { .. })), "cut at {cut}");
    }
    assert!(matches!(Encoder::new(b"no protobuf at all", 1), Err(EngineError::Load { .. })));
    let refused = |bytes: &[u8], words: &str| match Encoder::new(bytes, 1) {
        Err(EngineError::Load { what: "encoder", reason }) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{:?}", other.err()),
    };
    let mut two = GraphBuilder::new("two", Batch::Fixed(1));
    let (a, b) = (two.input("a", &[3]), two.input("b", &[3]));
    let sum = two.add("sum", &a, &b);
    two.output("y", &sum, true);
    refused(&two.finish().encode_to_vec(), "one input");
    let mut deep = GraphBuilder::new("deep", Batch::Symbolic);
    let x = deep.input("x", &[3, 2, 2]);
    let y = deep.clip("clip", &x, 0.0, None);
    deep.output("y", &y, true);
    refused(&deep.finish().encode_to_vec(), "[1, dim]");
    let unknown = |op: &str| {
        let mut model = architecture_with(op);
        model.graph.as_mut().unwrap().name = "unknown".into();
        model.encode_to_vec()
    };
    refused(&unknown("Frobnicate"), "Frobnicate");
}

/// The encoder with its first activation replaced by operator `op`.
fn architecture_with(op: &str) -> tract_onnx::pb::ModelProto {
    let mut model = tract_onnx::pb::ModelProto::decode(onnx(Batch::Symbolic).as_slice()).unwrap();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes.iter_mut().find(|node| node.op_type != "Conv").unwrap().op_type = op.into();
    model
}

/// A step with what it was before.
fn stepped() -> (TractStep, Tensors) {
    let mut engine = TractStep::new(&training_step()).unwrap();
    engine.step(&[(VIEWS, samples(&[ROWS, 6, 16]).view())], &[]).unwrap();
    let state = engine.state().unwrap();
    (engine, state)
}

#[test]
fn a_step_names_inputs_that_are_wrong_and_stays_as_it_was() {
    let (mut engine, before) = stepped();
    let views = samples(&[ROWS, 6, 16]);
    let wrong = samples(&[ROWS, 16, 6]);
    assert!(matches!(engine.step(&[], &[]), Err(EngineError::Missing { name, .. }) if name == VIEWS));
    assert!(matches!(
        engine.step(&[(VIEWS, wrong.view())], &[]),
        Err(EngineError::Shape { name, wanted, .. }) if name == VIEWS && wanted == [ROWS, 6, 16]
    ));
    assert!(matches!(
        engine.step(&[(VIEWS, views.view()), ("labels", views.view())], &[]),
        Err(EngineError::Unknown { name, known }) if name == "labels" && known.contains(VIEWS)
    ));
    assert!(matches!(
        engine.step(&[(VIEWS, views.view())], &[("speed", 1.0)]),
        Err(EngineError::Unknown { name, known }) if name == "speed" && known.contains("lr")
    ));
    assert_eq!(engine.state().unwrap(), before);
    engine.step(&[(VIEWS, views.view())], &[("lr", 0.01)]).unwrap();
    assert_ne!(engine.state().unwrap(), before);
}

#[test]
fn numbers_that_are_none_never_reach_the_state() {
    let (mut engine, before) = stepped();
    let views = samples(&[ROWS, 6, 16]);
    let mut hole = views.clone();
    hole[[1, 2, 3]] = f32::NAN;
    let mut endless = views.clone();
    endless[[0, 0, 0]] = f32::INFINITY;
    for bad in [&hole, &endless] {
        let outcome = engine.step(&[(VIEWS, bad.view())], &[]);
        assert!(matches!(outcome, Err(EngineError::NotFinite { name }) if name == VIEWS));
        assert_eq!(engine.state().unwrap(), before);
    }
    for (scalar, value) in [("lr", f32::NAN), ("lr", f32::INFINITY), ("temperature", f32::NAN)] {
        let outcome = engine.step(&[(VIEWS, views.view())], &[(scalar, value)]);
        assert!(matches!(outcome, Err(EngineError::NotFinite { .. })), "{scalar} = {value}: {outcome:?}");
        assert_eq!(engine.state().unwrap(), before);
    }
    // What comes after is as if nothing had been.
    let (mut other, _) = stepped();
    let step = |engine: &mut TractStep| engine.step(&[(VIEWS, views.view())], &[]).unwrap();
    assert_eq!(step(&mut engine), step(&mut other));
    assert_eq!(engine.state().unwrap(), other.state().unwrap());
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let (mut engine, before) = stepped();
    let name = engine.spec().state_of(StateRole::Parameter).last().unwrap().name.clone();
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut state: Tensors = before.iter().map(|(k, v)| (k.clone(), v + 1.0)).collect();
        change(&mut state);
        state
    };
    let missing = changed(&|state| drop(state.remove(&name)));
    assert!(matches!(engine.set_state(&missing), Err(EngineError::Missing { name: n, .. }) if n == name));
    let reshaped = changed(&|state| drop(state.insert(name.clone(), ArrayD::zeros(IxDyn(&[1, 2, 3])))));
    assert!(matches!(engine.set_state(&reshaped), Err(EngineError::Shape { name: n, .. }) if n == name));
    let hole = changed(&|state| state.get_mut(&name).unwrap().fill(f32::NAN));
    assert!(matches!(engine.set_state(&hole), Err(EngineError::NotFinite { name: n }) if n == name));
    assert_eq!(engine.state().unwrap(), before);
    let good = changed(&|_| {});
    engine.set_state(&good).unwrap();
    assert_eq!(engine.state().unwrap(), good);
}

#[test]
fn a_step_that_is_not_what_its_specification_says_is_refused() {
    let refused = |change: &dyn Fn(&mut TrainingStep)| {
        let mut step = training_step();
        change(&mut step);
        TractStep::new(&step).map(|_| "a step").unwrap_err()
    };
    for cut in [0, 100, training_step().onnx.len() / 2] {
        let error = refused(&|step| step.onnx.truncate(cut));
        assert!(matches!(error, EngineError::Load { what: "training step", .. }), "{error}");
    }
    let error = refused(&|step| step.onnx = onnx(Batch::Fixed(ROWS)));
    assert!(matches!(error, EngineError::Load { .. }), "{error}");
    let error = refused(&|step| step.spec.inputs[0].shape[2] = 17);
    assert!(matches!(error, EngineError::Shape { .. }), "{error}");
    let error = refused(&|step| step.spec.scalars.clear());
    assert!(matches!(error, EngineError::Load { .. }), "{error}");
    let error = refused(&|step| step.spec.metrics.push("accuracy".into()));
    assert!(matches!(error, EngineError::Load { .. }), "{error}");
    let error = refused(&|step| step.initial.clear());
    assert!(matches!(error, EngineError::Missing { .. }), "{error}");
    let error = refused(&|step| step.initial.values_mut().for_each(|value| value.fill(f32::NAN)));
    assert!(matches!(error, EngineError::NotFinite { .. }), "{error}");
}

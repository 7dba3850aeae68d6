//! Losses that compare an encoder with another one, as whole steps against PyTorch in float64
//! (`models/goldens/towers.py`): two encoders joined in one graph and contrasted, and a student that predicts
//! what its teacher gave. Losses and all state, after one step and after three.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{ADAMW, error, group, image, imu, read};
use ndarray::ArrayD;
use sedge_engine::{Engine, TractStep};
use sedge_models::Tensors;
use sedge_models::architecture::{Architecture, Form};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::onnx::{initializers, join};
use sedge_models::optimizer::Optimizer;

/// The encoder over `views` with the golden's weights, which are called `prefix` and their names.
fn tower(
    architecture: &Architecture,
    views: &ArrayD<f32>,
    golden: &Tensors,
    prefix: &str,
) -> tract_onnx::pb::ModelProto {
    let weights = group(golden, &format!("initial/{prefix}"));
    let (batch, sample) = (views.shape()[0], &views.shape()[1..]);
    architecture.graph(Form::Training, Batch::Fixed(batch), sample, &weights).unwrap()
}

fn check(name: &str, encoder: tract_onnx::pb::ModelProto, objective: Objective, optimizer: Optimizer) {
    let golden = read(&format!("{name}.safetensors"));
    let initial = group(&golden, "initial/");
    let trained = initializers(&encoder).into_keys().filter(|name| initial.contains_key(name)).collect();
    let recipe = Recipe {
        statistics: initial.clone(),
        optimizer,
        lr: golden["lr"][[0]],
        weight_decay: golden["weight_decay"][[0]],
        ..Recipe::new(encoder, trained, objective)
    };
    let mut engine = TractStep::new(&compile(recipe).unwrap()).unwrap();
    let mut state = engine.state().unwrap();
    state.extend(initial);
    assert_eq!(state.len(), engine.spec().state.len(), "{name}: the golden has state that the step lacks");
    engine.set_state(&state).unwrap();
    let given: Vec<String> = engine.spec().inputs.iter().map(|input| input.name.clone()).collect();
    let inputs: Vec<_> = given.iter().map(|input| (input.as_str(), golden[input].view())).collect();
    for at in 0..3 {
        let (loss, expected) =
            (engine.step(&inputs, &[]).unwrap()["loss"], golden[&format!("loss/{at}")][[0]]);
        assert!(
            (loss - expected).abs() < 2e-5 * (1.0 + expected.abs()),
            "{name} step {at}: {loss}, {expected}"
        );
        if at == 1 {
            continue;
        }
        let (state, expected) = (engine.state().unwrap(), group(&golden, &format!("after{at}/")));
        assert!(expected.len() > 20, "{name}: {} tensors to compare", expected.len());
        for (tensor, expected) in &expected {
            let error = error(&state[tensor], expected);
            assert!(error < 1e-4, "{name} `{tensor}` after step {at}: relative error {error}");
        }
    }
}

/// An optimiser, its name in the goldens, and the head of so many outputs that goes with it.
type Case = (&'static str, Optimizer, fn(usize) -> ProjectionHead);

/// One linear layer with SGD, two with AdamW.
fn cases() -> [Case; 2] {
    let two = |out| ProjectionHead::new(8, out);
    [("sgd", Optimizer::SGD, ProjectionHead::linear), ("adamw", ADAMW, two)]
}

#[test]
fn two_encoders_in_contrast() {
    for (optimizer, moves, head) in cases() {
        let name = format!("objective_cross_modal_{optimizer}");
        let golden = read(&format!("{name}.safetensors"));
        let first = tower(&image(), &golden["views"], &golden, "");
        let second = tower(&imu(), &golden["second"], &golden, "second.");
        let objective = Objective::CrossModal { head: head(4), temperature: 0.2 };
        check(&name, join(first, second, "second").unwrap(), objective, moves);
    }
}

#[test]
fn a_student_of_what_was_taught() {
    for ((optimizer, moves, head), architecture) in cases().into_iter().zip([image(), imu()]) {
        let name = format!("objective_distillation_{optimizer}");
        let golden = read(&format!("{name}.safetensors"));
        let encoder = tower(&architecture, &golden["views"], &golden, "");
        check(&name, encoder, Objective::Distillation { head: head(5) }, moves);
    }
}

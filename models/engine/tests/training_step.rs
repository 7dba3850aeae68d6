//! Whole training steps, compiled and run, against PyTorch in float64
//! (`models/goldens/training_step.py`): losses, every weight after one and three steps, running statistics,
//! and the embedding in evaluation mode through both inference forms.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use sedge_engine::{Encoder, Engine, TractStep};
use sedge_models::architecture::{
    Architecture, Form, KEEP, Nonlinearity, Perceptron, ResidualNet, Transformer, fold,
};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;
use sedge_models::{StateRole, Tensors};

mod common;

use common::{ADAMW, error, group, image, imu, read};

fn check(name: &str, architecture: &Architecture, objective: Objective, optimizer: Optimizer) {
    let golden = read(name);
    let views = &golden["views"];
    let sample = &views.shape()[1..];
    let initial = group(&golden, "initial/");
    let encoder_weights: Tensors = architecture.initial_weights(sample, 0).unwrap();
    let weights: Tensors = encoder_weights.keys().map(|k| (k.clone(), initial[k].clone())).collect();
    // Which tokens are kept, where not all are.
    let keep = golden.get(KEEP).map(|rows| rows.shape()[1]);
    let encoder = architecture.training_graph(views.shape()[0], sample, &weights, keep).unwrap();
    let trained =
        Selection::All.pick(&architecture.stages(), weights.keys().filter(|k| !k.contains("running")));
    let step = compile(Recipe {
        statistics: weights.clone(),
        optimizer,
        lr: golden["lr"][[0]],
        weight_decay: golden["weight_decay"][[0]],
        ..Recipe::new(encoder, trained, objective.clone())
    })
    .unwrap();
    let mut engine = TractStep::new(&step).unwrap();
    let mut state = engine.state().unwrap();
    for (name, value) in &mut state {
        if let Some(given) = initial.get(name) {
            *value = given.clone();
        }
    }
    engine.set_state(&state).unwrap();

    let targets = golden["targets"].view();
    let mut inputs = vec![("views", views.view())];
    if matches!(objective, Objective::CrossEntropy { .. }) {
        inputs.push(("targets", targets));
    }
    inputs.extend(golden.get(KEEP).map(|rows| (KEEP, rows.view())));
    for at in 0..3 {
        let metrics = engine.step(&inputs, &[]).unwrap();
        let expected = golden[&format!("loss/{at}")][[0]];
        let difference = (metrics["loss"] - expected).abs();
        assert!(
            difference < 2e-5 * (1.0 + expected.abs()),
            "{name} step {at}: {} vs {expected}",
            metrics["loss"]
        );
        let after = group(&golden, &format!("after{at}/"));
        let state = engine.state().unwrap();
        for (tensor, expected) in &after {
            let error = error(&state[tensor], expected);
            assert!(error < 1e-4, "{name} step {at} `{tensor}`: relative error {error}");
        }
    }
    let carried = step.spec.state.iter().filter(|s| s.role != StateRole::Optimizer).count();
    assert_eq!(carried, initial.len());

    let state = engine.state().unwrap();
    let trained: Tensors = encoder_weights.keys().map(|k| (k.clone(), state[k].clone())).collect();
    for (form, weights) in [(Form::Inference, trained.clone()), (Form::Folded, fold(&trained).unwrap())] {
        let model = architecture.graph(form, Batch::Symbolic, sample, &weights).unwrap();
        let bytes = prost::Message::encode_to_vec(&model);
        let mut encoder = Encoder::new(&bytes, 3).unwrap();
        let embedding = encoder.embed(views.view()).unwrap().into_dyn();
        let error = error(&embedding, &golden["embedding"]);
        assert!(error < 1e-4, "{name} {form:?}: relative error {error}");
    }
}

fn contrast() -> Objective {
    Objective::NtXent { head: ProjectionHead::new(8, 4), temperature: 0.2 }
}

#[test]
fn image_nt_xent_sgd() {
    check("image_nt_xent_sgd.safetensors", &image(), contrast(), Optimizer::SGD);
}

#[test]
fn image_cross_entropy_adamw() {
    let objective = Objective::CrossEntropy { classes: 3 };
    check("image_cross_entropy_adamw.safetensors", &image(), objective, ADAMW);
}

#[test]
fn imu_nt_xent_adamw() {
    check("imu_nt_xent_adamw.safetensors", &imu(), contrast(), ADAMW);
}

#[test]
fn imu_cross_entropy_sgd() {
    check(
        "imu_cross_entropy_sgd.safetensors",
        &imu(),
        Objective::CrossEntropy { classes: 3 },
        Optimizer::SGD,
    );
}

fn transformer(patch: usize, causal: bool) -> Architecture {
    Architecture::Transformer(Transformer { patch, dim: 8, depth: 2, heads: 2, mlp_ratio: 3, causal })
}

#[test]
fn transformers_of_images_see_all_tokens_or_those_kept() {
    check("vit_nt_xent_adamw.safetensors", &transformer(4, false), contrast(), ADAMW);
    check("vit_kept_nt_xent_sgd.safetensors", &transformer(4, false), contrast(), Optimizer::SGD);
}

#[test]
fn transformer_of_windows() {
    let objective = Objective::CrossEntropy { classes: 3 };
    check("imu_vit_cross_entropy_sgd.safetensors", &transformer(4, false), objective, Optimizer::SGD);
}

#[test]
fn transformers_of_text_see_both_ways_or_back_only() {
    let objective = Objective::CrossEntropy { classes: 3 };
    check("text_cross_entropy_sgd.safetensors", &transformer(1, false), objective, Optimizer::SGD);
    check("text_causal_nt_xent_adamw.safetensors", &transformer(1, true), contrast(), ADAMW);
}

#[test]
fn residual_net() {
    let net = ResidualNet { width: 4, blocks: vec![1, 1], stem_stride: 1 };
    let objective = Objective::CrossEntropy { classes: 3 };
    check(
        "residual_cross_entropy_sgd.safetensors",
        &Architecture::ResidualNet(net),
        objective,
        Optimizer::SGD,
    );
}

#[test]
fn perceptrons() {
    let net = |nonlinearity| Architecture::Perceptron(Perceptron { widths: vec![10, 8], nonlinearity });
    let (sigmoid, relu) = (net(Nonlinearity::Sigmoid), net(Nonlinearity::Relu));
    check("perceptron_nt_xent_adamw.safetensors", &sigmoid, contrast(), ADAMW);
    let objective = Objective::CrossEntropy { classes: 3 };
    check("perceptron_cross_entropy_sgd.safetensors", &relu, objective, Optimizer::SGD);
}

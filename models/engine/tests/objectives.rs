//! Every objective, with what may be added to it, as whole steps against PyTorch in float64
//! (`models/goldens/objectives.py`): losses, metrics and all state after one and three steps.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{ADAMW, error, group, image, imu, read};
use sedge_engine::{Engine, TractStep};
use sedge_models::Tensors;
use sedge_models::architecture::{Architecture, Form};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{HeadNorm, Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;

const HEAD: ProjectionHead = ProjectionHead::new(8, 4);
const NT_XENT: Objective = Objective::NtXent { head: HEAD, temperature: 0.2 };
const BYOL: Objective = Objective::Byol { head: HEAD, predictor: 3, ema: 0.9 };

fn check(name: &str, architecture: &Architecture, objective: Objective, change: impl FnOnce(&mut Recipe)) {
    let golden = read(&format!("{name}.safetensors"));
    let views = &golden["views"];
    let sample = &views.shape()[1..];
    let initial = group(&golden, "initial/");
    let weights: Tensors = architecture
        .initial_weights(sample, 0)
        .unwrap()
        .into_keys()
        .map(|key| (key.clone(), initial[&key].clone()))
        .collect();
    let encoder =
        architecture.graph(Form::Training, Batch::Fixed(views.shape()[0]), sample, &weights).unwrap();
    let trained =
        Selection::All.pick(&architecture.stages(), weights.keys().filter(|k| !k.contains("running")));
    let mut recipe = Recipe {
        statistics: weights.clone(),
        lr: golden["lr"][[0]],
        weight_decay: golden["weight_decay"][[0]],
        ..Recipe::new(encoder, trained, objective)
    };
    change(&mut recipe);
    let mut engine = TractStep::new(&compile(recipe).unwrap()).unwrap();
    let mut state = engine.state().unwrap();
    state.extend(initial);
    assert_eq!(state.len(), engine.spec().state.len(), "{name}: the golden has state that the step lacks");
    engine.set_state(&state).unwrap();
    let given: Vec<String> = engine.spec().inputs.iter().map(|input| input.name.clone()).collect();
    let inputs: Vec<_> = given.iter().map(|input| (input.as_str(), golden[input].view())).collect();
    for at in 0..3 {
        let metrics = engine.step(&inputs, &[]).unwrap();
        for metric in ["loss", "gradient_norm", "reference_distance", "target_spread"] {
            let Some(expected) = golden.get(&format!("{metric}/{at}")).map(|v| v[[0]]) else { continue };
            let difference = (metrics[metric] - expected).abs();
            assert!(
                difference < 2e-5 * (1.0 + expected.abs()),
                "{name} step {at} {metric}: {} vs {expected}",
                metrics[metric]
            );
        }
        if at != 1 {
            compare(name, &engine, &group(&golden, &format!("after{at}/")));
        }
    }
}

fn compare(name: &str, engine: &TractStep, expected: &Tensors) {
    let state = engine.state().unwrap();
    for tensor in engine.spec().state.iter().map(|s| &s.name).filter(|name| *name != "adamw/step") {
        let mut error = error(&state[tensor], &expected[tensor]);
        // A shift that a batch norm, a variance or a correlation undoes has gradient zero; what is
        // remembered of it is rounding, to be measured by what is beside it; and AdamW makes steps of it.
        if tensor.contains("bias/") || matches!(tensor.as_str(), "head.2.bias" | "head.6.bias") {
            let largest = |name: &str| expected[name].iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            let beside = largest(&tensor.replace("bias", "weight"));
            error *= largest(tensor) / beside.max(largest(tensor));
        }
        assert!(error < 1e-4, "{name} `{tensor}`: relative error {error}");
    }
}

/// SGD on images, AdamW on windows.
fn both(name: &str, objective: Objective) {
    check(&format!("objective_{name}_sgd"), &image(), objective.clone(), |_| ());
    check(&format!("objective_{name}_adamw"), &imu(), objective, |recipe| recipe.optimizer = ADAMW);
}

#[test]
fn moco() {
    both("moco", Objective::Moco { head: HEAD, temperature: 0.2, queue: 12, ema: 0.9 });
}

#[test]
fn vicreg() {
    both("vicreg", Objective::vicreg(HEAD));
}

#[test]
fn barlow_twins() {
    both("barlow", Objective::BarlowTwins { head: HEAD, redundancy: 0.05 });
}

#[test]
fn simsiam() {
    both("simsiam", Objective::SimSiam { head: HEAD, predictor: 3 });
}

#[test]
fn byol() {
    both("byol", BYOL);
}

/// Heads and predictors with batch norms, each view normalised by itself.
#[test]
fn normalised_heads() {
    let head = |layers, norm| ProjectionHead::normalised(8, 4, layers, norm);
    both("vicreg_norm", Objective::vicreg(head(3, HeadNorm::Hidden)));
    both("simsiam_norm", Objective::SimSiam { head: head(3, HeadNorm::All), predictor: 3 });
    both("byol_norm", Objective::Byol { head: head(2, HeadNorm::Hidden), predictor: 3, ema: 0.9 });
}

#[test]
fn moco_v3() {
    let head = ProjectionHead::normalised(8, 4, 3, HeadNorm::All);
    both("moco_v3_norm", Objective::MocoV3 { head, predictor: 3, temperature: 0.2, ema: 0.9 });
}

#[test]
fn data2vec() {
    both("data2vec", Objective::Data2Vec { layers: 1, beta: 0.5, ema: 0.9 });
}

#[test]
fn masked_reconstruction() {
    check("objective_masked_sgd", &image(), Objective::MaskedReconstruction { decoder: None }, |_| ());
    let deep = Objective::MaskedReconstruction { decoder: Some(5) };
    check("objective_masked_adamw", &imu(), deep, |recipe| recipe.optimizer = ADAMW);
}

#[test]
fn clipping() {
    check("clip_nt_xent_sgd", &imu(), NT_XENT, |recipe| recipe.clip_norm = Some(0.5));
}

#[test]
fn reference_pull() {
    check("reference_nt_xent_sgd", &image(), NT_XENT, |recipe| recipe.reference = Some(2.0));
    check("reference_byol_adamw", &imu(), BYOL, |recipe| {
        recipe.optimizer = ADAMW;
        recipe.clip_norm = Some(5.0);
        recipe.reference = Some(0.7);
    });
}

#[test]
fn lars() {
    check("lars_nt_xent", &image(), NT_XENT, |recipe| recipe.optimizer = Optimizer::LARS);
}

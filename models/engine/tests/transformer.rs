//! The transformer architecture against PyTorch in float64 (`models/goldens/transformer.py`): what an exported
//! encoder embeds, and losses and all weights after one and three steps, whole and with some tokens kept.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{error, group, read};
use sedge_engine::{Encoder, Engine, TractStep};
use sedge_models::Tensors;
use sedge_models::architecture::{Architecture, Form, KEEP, Transformer};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::Objective;
use sedge_models::onnx::build::Batch;

use prost::Message;

fn architecture() -> Architecture {
    let (patch, dim, depth, heads, mlp_ratio) = (4, 16, 2, 4, 2);
    Architecture::Transformer(Transformer { patch, dim, depth, heads, mlp_ratio, causal: false })
}

fn check(name: &str) {
    let golden = read(&format!("transformer_{name}.safetensors"));
    let initial = group(&golden, "initial/");
    let weights: Tensors = initial
        .iter()
        .filter(|(name, _)| !name.starts_with("classifier"))
        .map(|(n, w)| (n.clone(), w.clone()))
        .collect();
    let shape = golden["views"].shape().to_vec();
    let keep = golden.get(KEEP).map(|rows| rows.shape()[1]);
    if keep.is_none() {
        let exported = architecture().graph(Form::Folded, Batch::Symbolic, &shape[1..], &weights).unwrap();
        let mut encoder = Encoder::new(&exported.encode_to_vec(), shape[0]).unwrap();
        let found = encoder.embed(golden["views"].view()).unwrap().into_dyn();
        let error = error(&found, &golden["embedding"]);
        assert!(error < 1e-5, "{name}: the embedding's relative error is {error}");
    }
    let graph = architecture().training_graph(shape[0], &shape[1..], &weights, keep).unwrap();
    let trained = weights.keys().cloned().collect();
    let step = compile(Recipe::new(graph, trained, Objective::CrossEntropy { classes: 3 })).unwrap();
    let mut engine = TractStep::new(&step).unwrap();
    let mut state = engine.state().unwrap();
    assert!(initial.iter().all(|(name, value)| state[name].shape() == value.shape()));
    state.extend(initial);
    engine.set_state(&state).unwrap();
    let given: Vec<String> = engine.spec().inputs.iter().map(|input| input.name.clone()).collect();
    let inputs: Vec<_> = given.iter().map(|input| (input.as_str(), golden[input].view())).collect();
    for at in 0..3 {
        let (found, wanted) =
            (engine.step(&inputs, &[]).unwrap()["loss"], golden[&format!("loss/{at}")][[0]]);
        assert!((found - wanted).abs() < 1e-5 * (1.0 + wanted), "{name} step {at}: {found} vs {wanted}");
        let state = engine.state().unwrap();
        for (weight, wanted) in &group(&golden, &format!("after{at}/")) {
            let error = error(&state[weight], wanted);
            assert!(error < 1e-4, "{name} `{weight}` after step {at}: relative error {error}");
        }
    }
}

#[test]
fn images() {
    check("image");
    check("image_kept");
}

#[test]
fn windows() {
    check("window");
    check("window_kept");
}

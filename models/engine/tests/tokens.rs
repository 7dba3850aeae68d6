//! The objectives that read tokens, as whole steps against PyTorch in float64 (`models/goldens/tokens.py`):
//! losses and all state after one and three steps, over small encoders that the script wrote as ONNX.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{error, group, read};
use sedge_engine::{Engine, TractStep};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Distance, Objective, Transformer};
use sedge_models::onnx::read::parse;

fn recipe(name: &str, objective: Objective) -> Recipe {
    let bytes = std::fs::read(format!("{}/../goldens/{name}.onnx", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let trained = vec!["first".into(), "second".into()];
    Recipe::new(parse(&bytes).unwrap(), trained, objective)
}

fn check(name: &str, objective: Objective) {
    let golden = read(&format!("{name}.safetensors"));
    let step = compile(recipe(name, objective)).unwrap();
    let mut engine = TractStep::new(&step).unwrap();
    let mut state = engine.state().unwrap();
    let initial = group(&golden, "initial/");
    for (weight, value) in &initial {
        assert_eq!(state[weight].shape(), value.shape(), "{name} `{weight}`");
    }
    state.extend(initial);
    assert_eq!(state.len(), engine.spec().state.len(), "{name}: the golden has state that the step lacks");
    engine.set_state(&state).unwrap();
    let given: Vec<String> = engine.spec().inputs.iter().map(|input| input.name.clone()).collect();
    let inputs: Vec<_> = given.iter().map(|input| (input.as_str(), golden[input].view())).collect();
    for at in 0..3 {
        let found = engine.step(&inputs, &[]).unwrap()["loss"];
        let expected = golden[&format!("loss/{at}")][[0]];
        assert!(
            (found - expected).abs() < 2e-5 * (1.0 + expected),
            "{name} step {at}: {found} vs {expected}"
        );
        if at == 1 {
            continue;
        }
        let (state, expected) = (engine.state().unwrap(), group(&golden, &format!("after{at}/")));
        for (tensor, expected) in &expected {
            let mut error = error(&state[tensor], expected);
            // The softmax of attention undoes the bias of keys: its gradient is zero, what is remembered of it
            // rounding.
            if tensor.contains("attn.k.bias") {
                error *= expected.iter().fold(0f32, |most, v| most.max(v.abs()));
            }
            assert!(error < 1e-4, "{name} `{tensor}`: relative error {error}");
        }
    }
}

#[test]
fn masked_autoencoder() {
    let decoder = Transformer { width: 16, depth: 2, heads: 2 };
    for (name, normalise) in [("normalised", true), ("plain", false)] {
        check(&format!("tokens_autoencoder_{name}"), Objective::MaskedAutoencoder { decoder, normalise });
    }
}

#[test]
fn masked_modelling() {
    check("tokens_modelling", Objective::MaskedModelling { decoder: None, distance: Distance::Absolute });
}

#[test]
fn predictive_coding() {
    let context = Transformer { width: 8, depth: 2, heads: 2 };
    check("tokens_coding", Objective::PredictiveCoding { context, steps: 2 });
}

#[test]
fn token_prediction() {
    check("tokens_bytes", Objective::TokenPrediction { vocabulary: 11, next_sentence: true });
}

#[test]
fn what_does_not_fit_the_encoder_is_said() {
    let decoder = Transformer { width: 16, depth: 1, heads: 2 };
    let said = |name: &str, objective| compile(recipe(name, objective)).unwrap_err().to_string();
    let keepless = said("tokens_modelling", Objective::MaskedAutoencoder { decoder, normalise: true });
    assert!(keepless.contains("`keep`"), "{keepless}");
    let narrow = Transformer { width: 12, ..decoder };
    let narrow = said("tokens_coding", Objective::PredictiveCoding { context: narrow, steps: 2 });
    assert!(narrow.contains("context.width") && narrow.contains("multiple of 8"), "{narrow}");
    let far = said("tokens_coding", Objective::PredictiveCoding { context: decoder, steps: 6 });
    assert!(far.contains("steps is 6"), "{far}");
    let flat = Objective::MaskedModelling { decoder: None, distance: Distance::Squared };
    let flat = said("tokens_bytes", flat);
    assert!(flat.contains("tokens"), "{flat}");
}

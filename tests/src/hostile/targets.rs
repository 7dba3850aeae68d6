//! Entry points for ONNX from outside, one function each: bytes in, and either an error that says something,
//! or a graph of which everything that was promised holds. A broken promise panics, which fails the test or
//! stops the fuzzer; a panic, an abort or a hang below does so by itself.
#![allow(clippy::panic)]

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use sedge_engine::{Encoder, Engine, EngineError, TractStep};
use sedge_models::compile::{Recipe, compile};
use sedge_models::import::{ImportOptions, NormForm, import};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::optimizer::Optimizer;
use sedge_models::{TrainingStep, limits, onnx};
use tract_onnx::pb::ModelProto;

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An error, which said this.
    Refused(String),
    /// A valid result came out.
    Made,
}

/// Most operations that a run on noise may take here; what costs more is made, not run.
const MAX_RUN_WORK: usize = 1 << 27;

/// One entry point.
pub type Target = fn(&[u8]) -> Outcome;

/// Every target by name. A new entry point is one function and one line here.
pub const ALL: [(&str, Target); 4] =
    [("parse", parse), ("compile", compiled), ("encoder", encoder), ("import", imported)];

fn refused(said: &str) -> Outcome {
    assert!(!said.is_empty(), "an error that says nothing");
    Outcome::Refused(said.into())
}

/// The parser and what only reads its result; what was read is read again the same.
pub fn parse(bytes: &[u8]) -> Outcome {
    let model = match onnx::read::parse(bytes) {
        Ok(model) => model,
        Err(error) => return refused(&error.to_string()),
    };
    let _ = onnx::inspect::inspect(&model);
    let weights = onnx::initializers(&model);
    let again = model.encode_to_vec();
    match onnx::read::parse(&again) {
        Ok(second) => assert!(second.encode_to_vec() == again, "what was read is not written the same"),
        Err(error) => panic!("what was read is refused when written again: {error}"),
    }
    if let Err(error) = onnx::replace_initializers(&again, &weights) {
        panic!("a model's own weights do not fit it: {error}");
    }
    Outcome::Made
}

/// The compiler: a step that loads, whose shapes are as specified, and which runs.
pub fn compiled(bytes: &[u8]) -> Outcome {
    let encoder = match onnx::read::parse(bytes) {
        Ok(model) => model,
        Err(error) => return refused(&error.to_string()),
    };
    match compile(recipe(encoder, dice(bytes))) {
        Ok(step) => check_step(&step),
        Err(error) => refused(&error.to_string()),
    }
}

/// Which weights, objective and optimiser: from the bytes, so that an input says it all.
fn dice(bytes: &[u8]) -> u32 {
    bytes.iter().fold(17, |hash: u32, &byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

/// The importer, the compiler behind it, and the way back into the file.
pub fn imported(bytes: &[u8]) -> Outcome {
    let dice = dice(bytes);
    let forms = [NormForm::Folded, NormForm::Affine, NormForm::Statistics];
    let form = forms[(dice >> 10) as usize % forms.len()];
    let imported = match import(bytes, &ImportOptions::new(4, form)) {
        Ok(imported) => imported,
        Err(error) => return refused(&error.to_string()),
    };
    let state = onnx::initializers(&imported.model);
    match imported.write_back(bytes, &state) {
        Ok(back) => {
            if let Err(error) = onnx::read::parse(&back) {
                panic!("what was written back cannot be read: {error}");
            }
        }
        Err(error) => drop(refused(&error.to_string())),
    }
    let statistics = imported.statistics.clone();
    match compile(Recipe { statistics, ..recipe(imported.model, dice) }) {
        Ok(step) => check_step(&step),
        Err(error) => refused(&error.to_string()),
    }
}

fn recipe(encoder: ModelProto, dice: u32) -> Recipe {
    let names = onnx::initializers(&encoder).into_keys();
    let trained: Vec<String> =
        names.enumerate().filter(|(i, _)| (dice >> (i % 8)) & 1 == 0).map(|n| n.1).collect();
    let head = ProjectionHead::new(4, 3);
    let contrast = Objective::NtXent { head, temperature: 0.5 };
    let objective = if dice & 256 == 0 { contrast } else { Objective::CrossEntropy { classes: 3 } };
    let optimizer = if dice & 512 == 0 { Optimizer::SGD } else { Optimizer::ADAMW };
    Recipe { optimizer, lr: 0.01, weight_decay: 0.001, seed: 1, ..Recipe::new(encoder, trained, objective) }
}

fn check_step(step: &TrainingStep) -> Outcome {
    let model = onnx::read::parse(&step.onnx).unwrap_or_else(|e| panic!("a step that cannot be read: {e}"));
    let cost = limits::check(&model, None).unwrap_or_else(|e| panic!("a step beyond the limits: {e}"));
    let mut engine = match TractStep::new(step) {
        Ok(engine) => engine,
        // Weights of the file may be infinite; and tract drops an `Expand` before an `Einsum` that needs it,
        // which shows when it loads what it wrote itself.
        Err(error @ (EngineError::NotFinite { .. } | EngineError::Load { .. })) => {
            return refused(&error.to_string());
        }
        Err(error) => panic!("a step that the engine refuses: {error}"),
    };
    if cost.work > MAX_RUN_WORK {
        return Outcome::Made;
    }
    let inputs: Vec<(String, ArrayD<f32>)> =
        step.spec.inputs.iter().map(|input| (input.name.clone(), noise(&input.shape))).collect();
    let views: Vec<_> = inputs.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
    match engine.step(&views, &[]) {
        Ok(metrics) => assert!(metrics.contains_key("loss"), "a step without a loss"),
        // An index beyond its axis shows only in a run.
        Err(error @ (EngineError::NotFinite { .. } | EngineError::Run { .. })) => {
            return refused(&error.to_string());
        }
        Err(error) => panic!("a step that refuses its own inputs: {error}"),
    }
    let state = engine.state().unwrap_or_else(|e| panic!("a state that cannot be read: {e}"));
    for spec in &step.spec.state {
        let found = state.get(&spec.name).map(|value| value.shape());
        assert_eq!(found, Some(spec.shape.as_slice()), "state `{}` has another shape than stated", spec.name);
    }
    Outcome::Made
}

/// The engine's encoder: embeddings of the shape it tells.
pub fn encoder(bytes: &[u8]) -> Outcome {
    let mut encoder = match Encoder::new(bytes, 4) {
        Ok(encoder) => encoder,
        Err(error) => return refused(&error.to_string()),
    };
    let cost = onnx::read::parse(bytes).ok().and_then(|model| limits::check(&model, Some(4)).ok());
    if cost.is_none_or(|cost| cost.work > MAX_RUN_WORK) {
        return Outcome::Made;
    }
    let shape = [&[encoder.batch()], encoder.sample_shape()].concat();
    match encoder.embed(noise(&shape).view()) {
        Ok(embedding) => assert_eq!(embedding.shape(), [encoder.batch(), encoder.dim()]),
        Err(EngineError::NotFinite { .. } | EngineError::Run { .. }) => {}
        Err(error) => panic!("an encoder that refuses its own shape: {error}"),
    }
    Outcome::Made
}

/// Numbers around zero, the same for the same shape.
fn noise(shape: &[usize]) -> ArrayD<f32> {
    let mut state = 1u32;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32 - 0.5
    })
}

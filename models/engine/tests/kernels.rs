//! A training step run by kernels against the same step run by the bodies of its calls, as ordinary
//! operators; and by kernels on any number of threads.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use ndarray::{ArrayD, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Encoder, Engine, Options, TractStep};
use sedge_models::architecture::{Architecture, Form, fold};
use sedge_models::compile::{Recipe, VIEWS, compile};
use sedge_models::import::{ImportOptions, NormForm, import};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::selection::Selection;
use sedge_models::{Tensors, TrainingStep};

const BATCH: usize = 12;
const PLAIN: Options = Options { threads: 1, kernels: false };

fn noise(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || rng.random_range(-1.0..1.0f32))
}

/// Initial weights moved off the identity that batch norms begin with.
fn weights(architecture: &Architecture, sample: &[usize]) -> Tensors {
    let mut weights = architecture.initial_weights(sample, 1).unwrap();
    for (seed, value) in weights.values_mut().enumerate().filter(|(_, v)| v.ndim() == 1) {
        *value += &(noise(value.shape(), seed as u64) * 0.3);
    }
    weights
}

fn step(name: &str, sample: &[usize], selection: &Selection) -> TrainingStep {
    let architecture = Architecture::preset(name).unwrap();
    let weights = weights(&architecture, sample);
    let (form, weights) = match selection {
        Selection::All => (Form::Training, weights),
        _ => (Form::Folded, fold(&weights).unwrap()),
    };
    let names = weights.keys().filter(|k| !k.contains("running"));
    let encoder = architecture.graph(form, Batch::Fixed(BATCH), sample, &weights).unwrap();
    let trained = selection.pick(&architecture.stages(), names);
    let objective = Objective::NtXent { head: ProjectionHead::new(16, 8), temperature: 0.2 };
    let recipe = Recipe::new(encoder, trained, objective);
    compile(Recipe { statistics: weights.clone(), lr: 0.05, weight_decay: 1e-4, seed: 2, ..recipe }).unwrap()
}

/// The state after one step, and its loss.
fn stepped(step: &TrainingStep, views: &ArrayD<f32>, options: Options) -> (Tensors, f32) {
    let mut engine = TractStep::with_options(step, options).unwrap();
    let metrics = engine.step(&[(VIEWS, views.view())], &[]).unwrap();
    (engine.state().unwrap(), metrics["loss"])
}

fn magnitude(value: &ArrayD<f32>) -> f32 {
    value.iter().fold(0f32, |m, v| m.max(v.abs()))
}

/// A step of a transformer as PyTorch exports it, whose first `frozen` weights are not trained.
fn transformer(frozen: usize) -> TrainingStep {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../goldens/import/vit.onnx");
    let encoder = import(&std::fs::read(file).unwrap(), &ImportOptions::new(4, NormForm::Folded)).unwrap();
    let trained = encoder.weights.iter().skip(frozen).map(|w| w.name.clone()).collect();
    let objective = Objective::NtXent { head: ProjectionHead::new(16, 8), temperature: 0.2 };
    compile(Recipe { lr: 0.05, seed: 2, ..Recipe::new(encoder.model, trained, objective) }).unwrap()
}

fn check(name: &str, sample: &[usize], selection: &Selection) {
    let step = step(name, sample, selection);
    check_step(&format!("{name} {selection:?}"), &step);
}

fn check_step(name: &str, step: &TrainingStep) {
    let views = noise(&step.spec.inputs[0].shape, 9);
    let (wanted, loss) = stepped(step, &views, PLAIN);
    let runs: Vec<_> =
        (1..=3).map(|threads| stepped(step, &views, Options { threads, kernels: true })).collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{name}: threads change the result");
    let (found, found_loss) = &runs[0];
    assert!((found_loss - loss).abs() < 1e-5 * (1.0 + loss.abs()), "{name}: loss {found_loss}, not {loss}");
    // A shift whose only readers are batch norms has gradient zero; what is left of it is rounding.
    let largest = wanted.iter().filter(|(name, _)| name.ends_with("/momentum")).map(|(_, v)| magnitude(v));
    let noise = 1e-6 * largest.fold(0f32, f32::max);
    for (tensor, wanted) in &wanted {
        let scale = magnitude(wanted);
        let error = found[tensor].iter().zip(wanted).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error <= noise.max(1e-5 * scale), "{name} `{tensor}`: {error} of {scale}");
    }
}

#[test]
fn steps_agree_with_their_ordinary_operators() {
    for selection in [Selection::All, Selection::Last(2), Selection::Head] {
        check("image-tiny", &[3, 32, 32], &selection);
        check("imu-small", &[6, 64], &selection);
    }
}

#[test]
fn steps_of_a_transformer_agree_with_their_ordinary_operators() {
    for frozen in [0, 8] {
        let step = transformer(frozen);
        for call in ["LayerNorm_", "LayerNormGradient_", "SoftmaxGradient_", "GeluGradient_"] {
            let is_called = step.onnx.windows(call.len()).any(|at| at == call.as_bytes());
            assert!(is_called, "no {call} where {frozen} weights are frozen");
        }
        check_step(&format!("{frozen} frozen"), &step);
    }
}

#[test]
fn encoders_agree_with_their_ordinary_operators() {
    for (name, sample) in [("image-tiny", vec![3, 32, 32]), ("imu-small", vec![6, 64])] {
        let architecture = Architecture::preset(name).unwrap();
        let weights = fold(&weights(&architecture, &sample)).unwrap();
        let model = architecture.graph(Form::Folded, Batch::Symbolic, &sample, &weights).unwrap();
        let onnx = prost::Message::encode_to_vec(&model);
        let x = noise(&[&[5], sample.as_slice()].concat(), 4);
        let embed = |options| Encoder::with_options(&onnx, 3, options).unwrap().embed(x.view()).unwrap();
        let (found, wanted) = (embed(Options::default()), embed(PLAIN));
        let scale = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = found.iter().zip(&wanted).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(error < 1e-5 * scale, "{name}: {error} of {scale}");
    }
}

//! ONNX Runtime as oracle: the graphs that Sedge writes, read by an implementation that shares no code
//! with it. Encoders agree at 1e-4 and every output of a training step at 1e-3, relative to the largest
//! value of the tensor.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "interop/oracle.rs"]
mod oracle;

use ndarray::{ArrayD, IxDyn, arr0};
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Encoder, Engine, TractStep};
use sedge_models::architecture::{Architecture, Conv1d, Form, INPUT, OUTPUT, fold};
use sedge_models::compile::{Recipe, SKIPPED, VIEWS, compile};
use sedge_models::import::{ImportOptions, NormForm, import};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;
use sedge_models::step::next_name;
use sedge_models::text::TOKENS;
use sedge_models::{StateRole, StateSpec, Tensors, TrainingStep};

use oracle::{ORACLE, onnxruntime};

const BATCH: usize = 8;
const IMAGE: [usize; 3] = [3, 32, 32];
const WINDOW: [usize; 2] = [6, 32];
/// A shift whose only readers are batch norms has gradient zero, and what remains of it is rounding that
/// no two programs share: less than this of the largest gradient. The shift after a block's projection is
/// such a one, and the head's last where the loss takes means off.
const NOISE: f32 = 1e-4;
/// AdamW divides a gradient by its size plus epsilon: with the usual 1e-8 the rounding of the smallest
/// gradients would be blown up to a full step. This one lies below most gradients here and above their
/// rounding.
const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-2 };

fn noise(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || rng.random_range(-1.0..1.0f32))
}

/// Initial weights moved off the identity that batch norms begin with, which would hide a swapped or
/// forgotten term.
fn weights(architecture: &Architecture, sample: &[usize]) -> Tensors {
    let mut weights = architecture.initial_weights(sample, 1).unwrap();
    for (seed, value) in weights.values_mut().enumerate().filter(|(_, v)| v.ndim() == 1) {
        *value += &(noise(value.shape(), seed as u64) * 0.3);
    }
    weights
}

/// Largest difference relative to the largest expected value.
fn error(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    magnitude(&(found - expected)) / magnitude(expected).max(f32::MIN_POSITIVE)
}

fn magnitude(value: &ArrayD<f32>) -> f32 {
    value.iter().fold(0f32, |m, v| if v.is_nan() { f32::INFINITY } else { m.max(v.abs()) })
}

fn encoder(name: &str, sample: &[usize]) {
    let Some(python) = &*ORACLE else { return };
    let architecture = Architecture::preset(name).unwrap();
    let weights = weights(&architecture, sample);
    let shape: Vec<usize> = [&[BATCH], sample].concat();
    let samples = match sample {
        // Numbers of tokens, those beside the bytes among them.
        [_] => noise(&shape, 7).mapv(|v| ((v + 1.0) / 2.0 * TOKENS as f32).floor().min(TOKENS as f32 - 1.0)),
        _ => noise(&shape, 7),
    };
    let inputs = Tensors::from([(INPUT.to_string(), samples)]);
    let mut embeddings = vec![];
    for (form, weights) in [(Form::Inference, weights.clone()), (Form::Folded, fold(&weights).unwrap())] {
        let model = architecture.graph(form, Batch::Symbolic, sample, &weights).unwrap().encode_to_vec();
        let found = Encoder::new(&model, BATCH).unwrap().embed(inputs[INPUT].view()).unwrap().into_dyn();
        let expected = onnxruntime(python, &model, &inputs).remove(OUTPUT).unwrap();
        let error = error(&found, &expected);
        assert!(error < 1e-4, "{name} {form:?}: relative error {error}");
        embeddings.push(expected);
    }
    let error = error(&embeddings[1], &embeddings[0]);
    assert!(error < 1e-4, "{name}: folding changes the embedding by {error}");
}

fn compiled(selection: Selection, optimizer: Optimizer, lr: f32) -> TrainingStep {
    let architecture = Architecture::preset("image-tiny").unwrap();
    let weights = weights(&architecture, &IMAGE);
    let (form, weights) = match selection {
        Selection::All => (Form::Training, weights),
        _ => (Form::Folded, fold(&weights).unwrap()),
    };
    let names = weights.keys().filter(|k| !k.contains("running"));
    let encoder = architecture.graph(form, Batch::Fixed(BATCH), &IMAGE, &weights).unwrap();
    let trained = selection.pick(&architecture.stages(), names);
    let head = ProjectionHead::new(architecture.embedding_dim(), 32);
    compile(Recipe {
        statistics: weights.clone(),
        optimizer,
        lr,
        weight_decay: 1e-2,
        seed: 3,
        ..Recipe::new(encoder, trained, Objective::NtXent { head, temperature: 0.2 })
    })
    .unwrap()
}

/// One tensor of state after a step.
struct Outcome<'s> {
    name: &'s str,
    /// What it is, as a group of tensors of comparable size: weights, statistics, one kind of memory.
    kind: (StateRole, Option<&'s str>),
    found: ArrayD<f32>,
    expected: ArrayD<f32>,
}

impl<'s> Outcome<'s> {
    fn new(state: &'s StateSpec, before: &Tensors, after: &Tensors, expected: ArrayD<f32>) -> Self {
        let (before, after) = (&before[&state.name], &after[&state.name]);
        let (found, expected) = match state.role {
            // A weight moves by little: its movement is compared, not its place.
            StateRole::Parameter => (after - before, expected - before),
            _ => (after.clone(), expected),
        };
        let memory = state.name.rsplit_once('/').map(|(_, kind)| kind);
        Self { name: &state.name, kind: (state.role, memory), found, expected }
    }

    fn is_rounding_of_zero(&self, all: &[Self]) -> bool {
        let peers = all.iter().filter(|other| other.kind == self.kind);
        let largest = peers.map(|other| magnitude(&other.expected)).fold(0.0, f32::max);
        let noise = if self.kind.1 == Some("square") { NOISE * NOISE } else { NOISE };
        ["project.bn.bias", "head.2.bias"].iter().any(|part| self.name.contains(part))
            && magnitude(&self.found).max(magnitude(&self.expected)) < noise * largest
    }
}

fn step(selection: Selection, optimizer: Optimizer, lr: f32) {
    if ORACLE.is_some() {
        agree(&compiled(selection, optimizer, lr));
    }
}

/// A small step of `objective` with all that a recipe may ask for, on the windows of an IMU.
fn small(objective: Objective, change: impl FnOnce(&mut Recipe)) -> TrainingStep {
    let architecture = Architecture::Conv1d(Conv1d { channels: vec![8, 12], strides: vec![1, 2], kernel: 5 });
    let weights = weights(&architecture, &WINDOW);
    let encoder = architecture.graph(Form::Training, Batch::Fixed(BATCH), &WINDOW, &weights).unwrap();
    let names = weights.keys().filter(|k| !k.contains("running"));
    let trained = Selection::All.pick(&architecture.stages(), names);
    let mut recipe = Recipe {
        statistics: weights.clone(),
        weight_decay: 1e-2,
        seed: 3,
        ..Recipe::new(encoder, trained, objective)
    };
    change(&mut recipe);
    compile(recipe).unwrap()
}

/// What a step is given beside its state.
fn given(step: &TrainingStep, seed: u64) -> Tensors {
    let inputs = step.spec.inputs.iter().map(|input| {
        let value = noise(&input.shape, seed);
        let value = if input.name == "mask" { value.mapv(|v| f32::from(u8::from(v > 0.0))) } else { value };
        (input.name.clone(), value)
    });
    let scalars = step.spec.scalars.iter().map(|(name, value)| (name.clone(), arr0(*value).into_dyn()));
    inputs.chain(scalars).collect()
}

/// Two steps here and in ONNX Runtime.
fn agree(step: &TrainingStep) {
    let Some(python) = &*ORACLE else { return };
    let mut engine = TractStep::new(step).unwrap();
    // The first step starts from empty optimiser memory, the second from full.
    for at in 0..2 {
        let before = engine.state().unwrap();
        let given = given(step, 11 + at);
        let inputs: Tensors = before.clone().into_iter().chain(given.clone()).collect();
        let mut expected = onnxruntime(python, &step.onnx, &inputs);
        assert_eq!(expected.remove(SKIPPED).unwrap().sum(), 0.0);

        let batch: Vec<_> =
            step.spec.inputs.iter().map(|i| (i.name.as_str(), given[&i.name].view())).collect();
        let metrics = engine.step(&batch, &[]).unwrap();
        let after = engine.state().unwrap();
        for (name, found) in metrics {
            let expected = expected.remove(&name).unwrap();
            assert_eq!(expected.len(), 1, "`{name}` is a scalar");
            let error = error(&ArrayD::from_elem(expected.raw_dim(), found), &expected);
            assert!(error < 1e-3, "step {at} `{name}`: relative error {error}");
        }
        let outcomes: Vec<Outcome<'_>> = step
            .spec
            .state
            .iter()
            .map(|state| {
                let expected = expected.remove(&next_name(&state.name)).unwrap();
                Outcome::new(state, &before, &after, expected)
            })
            .collect();
        assert!(expected.is_empty(), "outputs that the specification does not name: {:?}", expected.keys());
        for outcome in outcomes.iter().filter(|o| !o.is_rounding_of_zero(&outcomes)) {
            let error = error(&outcome.found, &outcome.expected);
            assert!(error < 1e-3, "step {at} `{}`: relative error {error}", outcome.name);
        }
    }
}

#[test]
fn objectives() {
    let head = ProjectionHead::new(12, 6);
    let moco = Objective::Moco { head, temperature: 0.2, queue: 40, ema: 0.9 };
    let byol = Objective::Byol { head, predictor: 5, ema: 0.9 };
    let nt_xent = Objective::NtXent { head, temperature: 0.2 };
    type Change = fn(&mut Recipe);
    let plain: Change = |_| ();
    let table: [(Objective, Change); 10] = [
        (moco.clone(), plain),
        (Objective::vicreg(head), plain),
        (Objective::barlow_twins(head), plain),
        (Objective::SimSiam { head, predictor: 5 }, plain),
        (byol.clone(), |recipe| recipe.optimizer = ADAMW),
        (Objective::MaskedReconstruction { decoder: None }, plain),
        (Objective::MaskedReconstruction { decoder: Some(7) }, |recipe| recipe.optimizer = ADAMW),
        (nt_xent, |recipe| recipe.optimizer = Optimizer::LARS),
        (moco, |recipe| (recipe.accumulate, recipe.clip_norm) = (2, Some(0.5))),
        (byol, |recipe| (recipe.reference, recipe.clip_norm) = (Some(0.7), Some(0.5))),
    ];
    for (objective, change) in table {
        agree(&small(objective, change));
    }
}

/// The guard is the graph's own: it holds in a runtime that knows nothing of it.
#[test]
fn a_step_that_is_not_finite_leaves_the_state() {
    let Some(python) = &*ORACLE else { return };
    let head = ProjectionHead::new(12, 6);
    let step = small(Objective::Moco { head, temperature: 0.2, queue: 16, ema: 0.9 }, |recipe| {
        (recipe.clip_norm, recipe.reference) = (Some(0.5), Some(0.7));
    });
    let bad = [
        (VIEWS, noise(&step.spec.inputs[0].shape, 5) * 1e30),
        (VIEWS, noise(&step.spec.inputs[0].shape, 5) + f32::NAN),
        ("lr", arr0(f32::NAN).into_dyn()),
        ("ema", arr0(f32::INFINITY).into_dyn()),
        ("clip_norm", arr0(f32::NAN).into_dyn()),
    ];
    for (name, value) in bad {
        let mut inputs: Tensors = step.initial.clone().into_iter().chain(given(&step, 5)).collect();
        inputs.insert(name.into(), value);
        let outputs = onnxruntime(python, &step.onnx, &inputs);
        assert_eq!(outputs[SKIPPED].sum(), 1.0, "{name}");
        for state in &step.spec.state {
            assert_eq!(
                outputs[&next_name(&state.name)],
                step.initial[&state.name],
                "{name} `{}`",
                state.name
            );
        }
    }
}

/// A transformer as PyTorch exports it: its layer norms, attention and activations become fused calls,
/// whose bodies ONNX Runtime runs.
#[test]
fn transformer() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/goldens/import/vit.onnx");
    let options = ImportOptions::new(BATCH, NormForm::Folded);
    let encoder = import(&std::fs::read(file).unwrap(), &options).unwrap();
    let trained: Vec<String> = encoder.weights.iter().map(|w| w.name.clone()).collect();
    for (frozen, optimizer) in [(0, Optimizer::SGD), (8, ADAMW)] {
        let head = ProjectionHead::new(12, 6);
        let objective = Objective::NtXent { head, temperature: 0.2 };
        let trained = trained.iter().skip(frozen).cloned().collect();
        let recipe = Recipe::new(encoder.model.clone(), trained, objective);
        agree(&compile(Recipe { optimizer, lr: 0.1, weight_decay: 1e-2, seed: 3, ..recipe }).unwrap());
    }
}

#[test]
fn image_encoder() {
    encoder("image-tiny", &IMAGE);
}

#[test]
fn imu_encoder() {
    encoder("imu-small", &[6, 128]);
}

#[test]
fn transformer_encoders() {
    encoder("vit-tiny", &IMAGE);
    encoder("imu-transformer", &[6, 128]);
    encoder("text-small", &[64]);
    encoder("text-small-causal", &[64]);
}

#[test]
fn all_layers_sgd() {
    step(Selection::All, Optimizer::SGD, 0.1);
}

#[test]
fn all_layers_adamw() {
    step(Selection::All, ADAMW, 1e-2);
}

#[test]
fn last_layers_sgd() {
    step(Selection::Last(2), Optimizer::SGD, 0.1);
}

#[test]
fn last_layers_adamw() {
    step(Selection::Last(2), ADAMW, 1e-2);
}

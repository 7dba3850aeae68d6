//! ONNX Runtime as oracle of every method: the training step that `sedge pretrain` compiles, given the batches that the
//! method draws, has the losses and the next state there that Sedge's own engine has, at 1e-3.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "interop/oracle.rs"]
mod oracle;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use ndarray::{ArrayD, Zip, arr0};
use sedge::data::{Augment, Batch, Dataset, Loader, Sampler, Samples};
use sedge::encoder::{Trained, onnx, pair_step, pretraining_step};
use sedge::pretrain::{DataSettings, Method, Pretext, PretextSettings, PretrainConfig, Settings, Setup};
use sedge_engine::{Engine, TractStep};
use sedge_models::architecture::{
    Architecture, Block, Conv1d, Form, InvertedResidual, Nonlinearity, Perceptron, Transformer,
};
use sedge_models::compile::SKIPPED;
use sedge_models::step::next_name;
use sedge_models::{Modality, StateRole, StateSpec, Tensors, TrainingStep};

use oracle::{ORACLE, onnxruntime};

const SAMPLES: usize = 24;
const BATCH: usize = 8;
const SIDE: usize = 16;
const ROWS: usize = 32;
const TOLERANCE: f32 = 1e-3;
/// Gradients are also measured by this share of the largest of all: some are zero but for rounding, such as those of
/// a shift that a norm behind undoes.
const SHARE: f32 = 1e-2;
/// AdamW divides a gradient by its own size, so that it makes a whole step of what is rounding: weights whose gradient
/// is less than this of the largest are not compared. Their gradients are.
const ROUNDING: f32 = 1e-3;

/// Nets of which every method can train one.
fn nets(method: Method, modality: Modality) -> Vec<Architecture> {
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let blocks = vec![block(6, 2), block(6, 1)];
    let images = InvertedResidual { stem: 8, stem_stride: 2, blocks, last: 16 };
    let windows = Conv1d { channels: vec![8, 16], strides: vec![2, 2], kernel: 5 };
    let (patch, causal) =
        if modality == Modality::Text { (1, method == Method::NextToken) } else { (4, false) };
    let attentive = Transformer { patch, dim: 16, depth: 1, heads: 2, mlp_ratio: 2, causal };
    let attentive = Architecture::Transformer(attentive);
    let logistic = Perceptron { widths: vec![16, 8], nonlinearity: Nonlinearity::Sigmoid };
    match modality {
        Modality::Text => vec![attentive],
        Modality::Image => {
            vec![Architecture::InvertedResidual(images), attentive, Architecture::Perceptron(logistic)]
        }
        Modality::Imu => vec![Architecture::Conv1d(windows)],
    }
}

/// Samples with nothing in common but their kind, in four streams.
fn data(modality: Modality, pairs: bool) -> Arc<Dataset> {
    let noise = |at: usize| ((at as f32 * 12.9898).sin() * 43_758.547).fract();
    let pixels = || (0..SAMPLES * SIDE * SIDE * 3).map(|at| (noise(at).abs() * 255.0) as u8).collect();
    let swing = |at: usize| {
        let (sample, place) = (at / (6 * ROWS), at % (6 * ROWS));
        (place as f32 * (0.1 + 0.03 * sample as f32) + sample as f32).sin() + 0.3 * noise(at)
    };
    let values = || (0..SAMPLES * 6 * ROWS).map(swing).collect();
    let samples = match (modality, pairs) {
        (Modality::Image, true) => Samples::Pairs {
            width: SIDE,
            height: SIDE,
            pixels: pixels(),
            channels: 6,
            length: ROWS,
            rate_hz: 50.0,
            values: values(),
        },
        (Modality::Image, false) => Samples::Images { width: SIDE, height: SIDE, pixels: pixels() },
        (Modality::Imu, _) => Samples::Windows { channels: 6, length: ROWS, rate_hz: 50.0, values: values() },
        (Modality::Text, _) => {
            let token = |at: usize| b'a' as u16 + (noise(at).abs() * 20.0) as u16;
            Samples::Texts { length: ROWS, tokens: (0..SAMPLES * ROWS).map(token).collect() }
        }
    };
    // The windows of a stream follow each other without overlap.
    let apart = if modality == Modality::Text { 1 } else { 640_000_000 };
    let order = (0..SAMPLES as u64).map(|at| at * apart).collect();
    let groups = (0..SAMPLES as u32).map(|at| at / 6).collect();
    Arc::new(Dataset::new(samples, None, groups, order).unwrap())
}

/// A run of `method` by what `sedge pretrain` takes where nothing is said, but for sizes.
fn config(method: Method, modality: Modality, folder: &Path) -> PretrainConfig {
    let pretext = match method {
        Method::Mocov2 => "queue=32".into(),
        Method::Rbm => "steps=2,persistent=true".into(),
        Method::Distil => {
            let net = Perceptron { widths: vec![12], nonlinearity: Nonlinearity::Sigmoid };
            let input = data(modality, false).input_spec(None);
            let teacher = Trained::fresh(&Architecture::Perceptron(net), &input, 5).unwrap();
            let file = folder.join("teacher.onnx");
            std::fs::write(&file, onnx(&teacher, Form::Folded).unwrap()).unwrap();
            format!("teacher={}", file.display())
        }
        _ => String::new(),
    };
    let settings = Settings {
        data: DataSettings { path: Some("data".into()), ..DataSettings::default() },
        method: Some(method),
        epochs: Some(4),
        batch: Some(BATCH),
        pretext: Some(pretext.parse::<PretextSettings>().unwrap()),
        ..Settings::default()
    };
    settings.resolve(modality).unwrap()
}

/// The step of a method, and two of its batches.
struct Compiled {
    step: TrainingStep,
    scalars: Vec<(&'static str, f32)>,
    batches: Vec<Batch>,
}

fn compiled(method: Method, modality: Modality) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(method, modality, folder.path());
    let data = data(modality, method.pairs());
    let input = data.input_spec(None);
    for net in nets(method, modality) {
        config.architecture = net;
        let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
        let Ok(pretext) = method.pretext(setup) else { continue };
        let pretext: Arc<dyn Pretext> = Arc::from(pretext);
        let augment = Augment::from(config.augment.clone());
        let mut loader = Loader::new(data.clone(), input.clone(), augment, BATCH, 3, 1).unwrap();
        let step = match pretext.second() {
            None => pretraining_step(&config, &input, &*pretext).unwrap(),
            Some(net) => {
                let second = data.second_spec().unwrap();
                loader = loader.with_second(second.clone(), config.second_augment.clone().unwrap()).unwrap();
                pair_step(&config, &input, (net, &second), &*pretext).unwrap()
            }
        };
        let loader = loader.with_sampler(Arc::clone(&pretext) as Arc<dyn Sampler>).unwrap();
        let batches = loader.epoch(0, 0).unwrap().take(2).map(Result::unwrap).collect();
        let mut scalars = pretext.scalars(0.25);
        scalars.push(("lr", config.lr as f32));
        return Compiled { step, scalars, batches };
    }
    panic!("{} trains none of the nets", method.name());
}

fn largest(value: &ArrayD<f32>) -> f32 {
    value.iter().fold(0f32, |most, v| if v.is_nan() { f32::INFINITY } else { most.max(v.abs()) })
}

/// What an optimiser remembers of a weight: `mean` or `square`.
fn memory(state: &StateSpec) -> Option<&str> {
    state.name.rsplit_once('/').map(|(_, kind)| kind).filter(|_| state.role == StateRole::Optimizer)
}

/// What differs by more than it may after one step, in words.
fn differences(step: &TrainingStep, after: &Tensors, expected: &Tensors) -> Vec<String> {
    let expected = |name: &str| &expected[&next_name(name)];
    let largest_of = |kind: &str| {
        let alike = step.spec.state.iter().filter(|state| memory(state) == Some(kind));
        alike.map(|state| largest(expected(&state.name))).fold(0f32, f32::max)
    };
    let (gradient, square) = (largest_of("mean"), largest_of("square"));
    let mut apart = vec![];
    for state in &step.spec.state {
        let (found, wanted) = (&after[&state.name], expected(&state.name));
        let scale = match memory(state) {
            Some("mean") => largest(wanted).max(SHARE * gradient),
            Some("square") => largest(wanted).max(SHARE * SHARE * square),
            // Means of channels that have none are rounding, beside activations of about one.
            None if state.name.ends_with("running_mean") => largest(wanted).max(SHARE),
            _ => largest(wanted),
        };
        let weight = state.name.trim_end_matches("/teacher");
        let follows = matches!(state.role, StateRole::Parameter | StateRole::Teacher);
        let mean = step.spec.state.iter().find(|s| follows && s.name == format!("{weight}/mean"));
        let told = |mean: f32| mean.abs() >= ROUNDING * gradient;
        let mut most = 0f32;
        match mean {
            Some(mean) => Zip::from(found).and(wanted).and(expected(&mean.name)).for_each(|a, b, m| {
                if told(*m) {
                    most = most.max((a - b).abs());
                }
            }),
            None => most = largest(&(found - wanted)),
        }
        if most.is_nan() || most > TOLERANCE * scale {
            apart.push(format!("`{}`: {most} of {scale}", state.name));
        }
    }
    apart
}

/// Two steps here and in ONNX Runtime, the first from empty memory and the second from full.
fn agree(what: &str, compiled: &Compiled, python: &OsString) -> Vec<String> {
    let Compiled { step, scalars, batches } = compiled;
    let mut engine = TractStep::new(step).unwrap();
    let mut apart = vec![];
    for (at, batch) in batches.iter().enumerate() {
        let mut inputs = engine.state().unwrap();
        let defaults = step.spec.scalars.iter().map(|(name, value)| (name.as_str(), *value));
        for (name, value) in defaults.chain(scalars.iter().copied()) {
            inputs.insert(name.into(), arr0(value).into_dyn());
        }
        inputs.extend(batch.inputs.iter().cloned());
        let expected = onnxruntime(python, &step.onnx, &inputs);
        assert_eq!(expected[SKIPPED].sum(), 0.0, "{what}, step {at}");
        for (name, found) in engine.step(&batch.given(), scalars).unwrap() {
            let wanted = expected[&name].sum();
            if (found - wanted).abs() > TOLERANCE * wanted.abs() {
                apart.push(format!("`{name}`: {found}, not {wanted}"));
            }
        }
        apart.extend(differences(step, &engine.state().unwrap(), &expected));
        if !apart.is_empty() {
            return apart.into_iter().map(|words| format!("{what}, step {at}, {words}")).collect();
        }
    }
    apart
}

#[test]
fn every_method_trains_in_onnx_runtime_as_here() {
    let Some(python) = &*ORACLE else { return };
    let (mut apart, mut seen) = (vec![], BTreeSet::new());
    for modality in [Modality::Image, Modality::Imu, Modality::Text] {
        for method in Method::fitting(modality) {
            if seen.insert(method.name()) {
                let what = format!("{} on {modality}", method.name());
                apart.extend(agree(&what, &compiled(method, modality), python));
            }
        }
    }
    assert!(apart.is_empty(), "{apart:#?}");
    assert_eq!(seen.len(), Method::value_variants().len(), "{seen:?}");
}

//! The engine through burn against the one through tract: the same step on the same batch, one with burn's
//! gradients and one with the compiler's, gives the same losses and the same state, step after step.
#![cfg(feature = "burn")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use ndarray::{Array1, ArrayD, Axis, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge::gpu::{Device, GpuError, Precision, engine};
use sedge_engine::{Engine, EngineError, TractStep};
use sedge_models::architecture::{Architecture, Block, Conv1d, InvertedResidual, Transformer};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{self, Distance, HeadNorm, Objective, ProjectionHead};
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;
use sedge_models::{InputTensor, StateRole, StepSpec};

const HEAD: ProjectionHead = ProjectionHead::new(16, 8);
const BATCH: usize = 16;
const STEPS: usize = 3;
const TOLERANCE: f32 = 1e-4;
/// What a shift that began at zero is measured by.
const SMALL: f32 = 0.1;
/// Larger than usual, so that a weight whose gradient is zero but for rounding stays where it is.
const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-3 };

fn recipe(architecture: &Architecture, sample: &[usize], objective: Objective) -> Recipe {
    kept(architecture, sample, objective, None)
}

fn kept(architecture: &Architecture, sample: &[usize], objective: Objective, keep: Option<usize>) -> Recipe {
    let weights = architecture.initial_weights(sample, 3).unwrap();
    let encoder = architecture.training_graph(BATCH, sample, &weights, keep).unwrap();
    let learned = weights.keys().filter(|name| !name.contains("running"));
    let trained = Selection::All.pick(&architecture.stages(), learned);
    Recipe { statistics: weights.clone(), weight_decay: 1e-2, ..Recipe::new(encoder, trained, objective) }
}

/// What a step of `spec` may be given: masks of zero and one, rows that choose a token, whole numbers where
/// tokens are told, and otherwise anything.
fn batch(spec: &StepSpec, seed: u64) -> BTreeMap<String, ArrayD<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut given = |input: &InputTensor| {
        let shape = IxDyn(&input.shape);
        let values = match input.name.as_str() {
            "mask" => ArrayD::from_shape_simple_fn(shape, || f32::from(rng.random::<bool>())),
            "targets" if spec.objective == "cross-entropy" => {
                let mut rows = ArrayD::zeros(shape);
                for mut row in rows.lanes_mut(Axis(1)) {
                    let at = rng.random_range(0..row.len());
                    row[at] = 1.0;
                }
                rows
            }
            "keep" => {
                let mut rows = ArrayD::zeros(shape);
                for mut sample in rows.outer_iter_mut() {
                    for (at, mut row) in sample.outer_iter_mut().enumerate() {
                        row[2 * at] = 1.0;
                    }
                }
                rows
            }
            _ => ArrayD::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0)),
        };
        (input.name.clone(), values)
    };
    spec.inputs.iter().map(&mut given).collect()
}

fn largest(values: &ArrayD<f32>) -> f32 {
    values.iter().fold(1e-2f32, |most, value| most.max(value.abs()))
}

/// Some steps of both engines; `make` is asked twice for the same recipe.
fn agree(name: &str, make: impl Fn() -> Recipe) {
    let mut tract = TractStep::new(&compile(make()).unwrap()).unwrap();
    let open = Device::BurnCpu.compile(make()).unwrap();
    let mut burn = engine(&open, Device::BurnCpu, Precision::F32).unwrap();
    assert_eq!(tract.spec(), burn.spec(), "{name}");
    for at in 0..STEPS {
        let batch = batch(tract.spec(), at as u64);
        let given: Vec<_> = batch.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
        let expected = tract.step(&given, &[("lr", 0.01)]).unwrap();
        let found = burn.step(&given, &[("lr", 0.01)]).unwrap();
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (metric, expected) in expected {
            let difference = (found[&metric] - expected).abs();
            let allowed = TOLERANCE * (1.0 + expected.abs());
            assert!(difference < allowed, "{name}, step {at}, {metric}: {} vs {expected}", found[&metric]);
        }
        compare(&format!("{name}, step {at}"), &tract, burn.as_ref());
    }
}

/// How far an engine may be from the other, relative to the largest value of a tensor. Gradients are also measured by
/// the largest of all: some are zero but for rounding, such as those of a scale or a shift that a norm behind undoes.
fn compare(name: &str, tract: &TractStep, burn: &dyn Engine) {
    let (expected, found) = (tract.state().unwrap(), burn.state().unwrap());
    let kind = |name: &str| name.rsplit_once('/').map_or(String::new(), |(_, kind)| kind.to_string());
    let mut scale: BTreeMap<String, f32> = BTreeMap::new();
    for spec in tract.spec().state.iter().filter(|spec| spec.role == StateRole::Optimizer) {
        let most = scale.entry(kind(&spec.name)).or_default();
        *most = most.max(0.1 * largest(&expected[&spec.name]));
    }
    let mut apart = vec![];
    for spec in &tract.spec().state {
        let (expected, found) = (&expected[&spec.name], &found[&spec.name]);
        assert_eq!(expected.shape(), found.shape(), "{name} `{}`", spec.name);
        let difference = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let whole = if spec.role == StateRole::Optimizer { scale[&kind(&spec.name)] } else { SMALL };
        let scale = largest(expected).max(whole);
        if difference.is_nan() || difference >= TOLERANCE * scale {
            apart.push(format!("`{}`: {difference} of {} and {whole}", spec.name, largest(expected)));
        }
    }
    assert!(apart.is_empty(), "{name}: {apart:#?}");
}

fn image() -> (Architecture, [usize; 3]) {
    (Architecture::preset("image-tiny").unwrap(), [3, 32, 32])
}

fn plain_image() -> (Architecture, [usize; 3]) {
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let blocks = vec![block(6, 2), block(6, 1)];
    let net = InvertedResidual { stem: 4, stem_stride: 2, blocks, last: 8 };
    (Architecture::InvertedResidual(net), [3, 16, 16])
}

fn window() -> (Architecture, [usize; 2]) {
    (Architecture::Conv1d(Conv1d { channels: vec![6, 8], strides: vec![1, 2], kernel: 5 }), [6, 32])
}

fn decoder() -> objective::Transformer {
    objective::Transformer { width: 8, depth: 1, heads: 2 }
}

const NT_XENT: Objective = Objective::NtXent { head: HEAD, temperature: 0.2 };

#[test]
fn contrast_of_images() {
    let (net, sample) = image();
    agree("sgd", || recipe(&net, &sample, NT_XENT));
    agree("adamw", || Recipe { optimizer: ADAMW, ..recipe(&net, &sample, NT_XENT) });
}

#[test]
fn contrast_of_windows_with_every_optimiser_and_clipping() {
    let (net, sample) = window();
    agree("sgd", || recipe(&net, &sample, NT_XENT));
    agree("lars", || Recipe { optimizer: Optimizer::LARS, ..recipe(&net, &sample, NT_XENT) });
    agree("adamw", || Recipe {
        optimizer: ADAMW,
        clip_norm: Some(0.5),
        reference: Some(0.7),
        ..recipe(&net, &sample, NT_XENT)
    });
}

#[test]
fn a_residual_network_and_a_perceptron() {
    let net = Architecture::ResidualNet(sedge_models::architecture::ResidualNet::resnet18(4));
    agree("residual", || recipe(&net, &[3, 16, 16], Objective::CrossEntropy { classes: 3 }));
    let net = Architecture::preset("imu-mlp").unwrap();
    agree("perceptron", || recipe(&net, &[6, 32], NT_XENT));
}

#[test]
fn transformers() {
    let net = Transformer { patch: 4, dim: 16, depth: 2, heads: 2, mlp_ratio: 2, causal: false };
    let net = Architecture::Transformer(net);
    agree("images", || recipe(&net, &[3, 16, 16], NT_XENT));
    agree("windows", || Recipe { optimizer: ADAMW, ..recipe(&net, &[6, 32], NT_XENT) });
    let objective = Objective::MaskedAutoencoder { decoder: decoder(), normalise: true };
    agree("masked autoencoder", || kept(&net, &[3, 16, 16], objective.clone(), Some(4)));
}

#[test]
fn queue_and_momentum_encoders() {
    let (net, sample) = plain_image();
    agree("moco", || {
        recipe(&net, &sample, Objective::Moco { head: HEAD, temperature: 0.2, queue: 24, ema: 0.9 })
    });
    agree("moco over micro-batches", || {
        let objective = Objective::Moco { head: HEAD, temperature: 0.2, queue: 32, ema: 0.9 };
        Recipe { accumulate: 2, ..recipe(&net, &sample, objective) }
    });
    let (net, sample) = window();
    agree("byol", || recipe(&net, &sample, Objective::Byol { head: HEAD, predictor: 6, ema: 0.9 }));
    agree("data2vec", || recipe(&net, &sample, Objective::Data2Vec { layers: 1, beta: 0.5, ema: 0.9 }));
    let head = ProjectionHead::normalised(16, 8, 3, HeadNorm::All);
    agree("moco v3", || {
        recipe(&net, &sample, Objective::MocoV3 { head, predictor: 6, temperature: 0.2, ema: 0.9 })
    });
}

#[test]
fn masked_reconstruction() {
    let (net, sample) = plain_image();
    agree("images", || recipe(&net, &sample, Objective::MaskedReconstruction { decoder: Some(6) }));
    let modelling = Objective::MaskedModelling { decoder: None, distance: Distance::Squared };
    agree("tokens", || recipe(&net, &sample, modelling.clone()));
    let (net, sample) = window();
    agree("windows", || recipe(&net, &sample, Objective::MaskedReconstruction { decoder: None }));
}

#[test]
fn redundancy_and_stopped_gradients() {
    let (net, sample) = window();
    agree("vicreg", || recipe(&net, &sample, Objective::vicreg(HEAD)));
    agree("barlow twins", || recipe(&net, &sample, Objective::barlow_twins(HEAD)));
    agree("simsiam", || recipe(&net, &sample, Objective::SimSiam { head: HEAD, predictor: 6 }));
    agree("pair prediction", || recipe(&net, &sample, Objective::PairPrediction { hidden: 6 }));
    agree("predictive coding", || {
        recipe(&net, &sample, Objective::PredictiveCoding { context: decoder(), steps: 2 })
    });
}

#[test]
fn reduced_precision_stays_near() {
    let (net, sample) = plain_image();
    let open = || Device::BurnCpu.compile(recipe(&net, &sample, NT_XENT)).unwrap();
    let spec = open().spec;
    let batch = batch(&spec, 0);
    let given: Vec<_> = batch.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
    let losses = [Precision::F32, Precision::Bf16, Precision::F16].map(|precision| {
        let mut burn = engine(&open(), Device::BurnCpu, precision).unwrap();
        let losses: Vec<f32> = (0..4).map(|_| burn.step(&given, &[]).unwrap()["loss"]).collect();
        losses
    });
    for reduced in &losses[1..] {
        for (exact, reduced) in losses[0].iter().zip(reduced) {
            assert!((exact - reduced).abs() < 0.03 * exact.abs(), "{losses:?}");
        }
    }
    assert_ne!(losses[0], losses[1]);
}

#[test]
fn a_batch_that_is_not_finite_or_does_not_fit_leaves_the_state_alone() {
    let (net, sample) = window();
    let open = Device::BurnCpu.compile(recipe(&net, &sample, NT_XENT)).unwrap();
    let mut burn = engine(&open, Device::BurnCpu, Precision::F32).unwrap();
    let before = burn.state().unwrap();
    let mut views = batch(&open.spec, 0).remove("views").unwrap();
    let fits = views.clone();
    assert!(matches!(burn.step(&[], &[]), Err(EngineError::Missing { .. })));
    let short = Array1::<f32>::zeros(3).into_dyn();
    assert!(matches!(burn.step(&[("views", short.view())], &[]), Err(EngineError::Shape { .. })));
    assert!(matches!(burn.step(&[("view", fits.view())], &[]), Err(EngineError::Unknown { .. })));
    assert!(matches!(
        burn.step(&[("views", fits.view())], &[("rate", 1.0)]),
        Err(EngineError::Unknown { .. })
    ));
    let overflow = [("lr", f32::MAX), ("weight_decay", f32::MAX)];
    assert!(matches!(burn.step(&[("views", fits.view())], &overflow), Err(EngineError::NotFinite { .. })));
    views[[0, 0, 0]] = f32::NAN;
    assert!(matches!(burn.step(&[("views", views.view())], &[]), Err(EngineError::NotFinite { .. })));
    assert_eq!(burn.state().unwrap(), before);
}

#[test]
fn an_operator_that_is_not_known_is_named_with_its_node() {
    use prost::Message;
    use sedge_models::onnx::pb::ModelProto;

    let (net, sample) = window();
    let mut open = Device::BurnCpu.compile(recipe(&net, &sample, NT_XENT)).unwrap();
    let mut model = ModelProto::decode(open.onnx.as_slice()).unwrap();
    let node = model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Conv").unwrap();
    node.op_type = "LRN".into();
    let name = node.name.clone();
    open.onnx = model.encode_to_vec();
    let refused = engine(&open, Device::BurnCpu, Precision::F32).err().unwrap();
    assert!(
        matches!(&refused, GpuError::Operator { node, operator, .. } if *node == name && operator == "LRN"),
        "{refused}"
    );
}

//! Low-rank deltas through the compiler and the engine: at the start the encoder is untouched, after
//! training the merged encoder is the graph with deltas, and the gradients are those of the merged
//! weights, by the chain rule.
#![allow(clippy::unwrap_used, missing_docs)]

use ndarray::{Array2, ArrayD};
use prost::Message;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::{Encoder, Engine, TractStep};
use sedge_models::architecture::{Architecture, Block, Conv1d, Form, InvertedResidual, fold};
use sedge_models::compile::{Recipe, compile};
use sedge_models::lora::{self, LoraError};
use sedge_models::objective::Objective;
use sedge_models::onnx::build::Batch;
use sedge_models::onnx::initializers;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::{Selection, describe_stages};
use sedge_models::{Tensors, TrainingStep};

const BATCH: usize = 6;
const CLASSES: usize = 3;

struct Net {
    architecture: Architecture,
    sample: Vec<usize>,
    weights: Tensors,
}

impl Net {
    fn new(architecture: Architecture, sample: &[usize]) -> Self {
        let weights = fold(&architecture.initial_weights(sample, 3).unwrap()).unwrap();
        Self { architecture, sample: sample.into(), weights }
    }

    /// Folded, strided, depthwise convolutions.
    fn image() -> Self {
        let block = |channels, stride| Block { channels, stride, expand: 2 };
        let blocks = vec![block(6, 2), block(6, 1)];
        let net = InvertedResidual { stem: 4, stem_stride: 2, blocks, last: 8 };
        Self::new(Architecture::InvertedResidual(net), &[3, 16, 16])
    }

    fn imu() -> Self {
        Self::new(
            Architecture::Conv1d(Conv1d { channels: vec![5, 8], strides: vec![1, 2], kernel: 5 }),
            &[6, 20],
        )
    }

    fn encoder(&self, batch: Batch) -> tract_onnx::pb::ModelProto {
        self.architecture.graph(Form::Folded, batch, &self.sample, &self.weights).unwrap()
    }

    fn step(&self, words: &str, optimizer: Optimizer) -> TrainingStep {
        let named = self.weights.iter().map(|(name, w)| (name.as_str(), w.shape()));
        let (weights, blocks) = describe_stages(&self.architecture.stages(), named);
        let choice = words.parse::<Selection>().unwrap().choose(&weights, &blocks).unwrap();
        let mut encoder = self.encoder(Batch::Fixed(BATCH));
        let mut trained = lora::attach(&mut encoder, &choice.low_rank, 9).unwrap();
        trained.extend(choice.trained);
        let objective = Objective::CrossEntropy { classes: CLASSES };
        compile(Recipe { optimizer, lr: 0.05, seed: 5, ..Recipe::new(encoder, trained, objective) }).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        self.encoder(Batch::Symbolic).encode_to_vec()
    }

    fn batch(&self) -> (ArrayD<f32>, Array2<f32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut shape = vec![BATCH];
        shape.extend(&self.sample);
        let views = ArrayD::from_shape_simple_fn(shape, || rng.random::<f32>() * 2.0 - 1.0);
        let targets = Array2::from_shape_fn((BATCH, CLASSES), |(i, j)| f32::from(i % CLASSES == j));
        (views, targets)
    }
}

fn embed(onnx: &[u8], views: &ArrayD<f32>) -> Array2<f32> {
    Encoder::new(onnx, BATCH).unwrap().embed(views.view()).unwrap()
}

fn difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

/// The graph with deltas as an encoder, its `A` and `B` from `state`.
fn with_deltas(net: &Net, words: &str, state: &Tensors) -> Vec<u8> {
    let named = net.weights.iter().map(|(name, w)| (name.as_str(), w.shape()));
    let (weights, blocks) = describe_stages(&net.architecture.stages(), named);
    let choice = words.parse::<Selection>().unwrap().choose(&weights, &blocks).unwrap();
    let mut encoder = net.encoder(Batch::Symbolic);
    lora::attach(&mut encoder, &choice.low_rank, 9).unwrap();
    sedge_models::onnx::replace_initializers(&encoder.encode_to_vec(), state).unwrap()
}

#[test]
fn deltas_start_at_nothing_and_merge_into_what_they_became() {
    for net in [Net::image(), Net::imu()] {
        let step = net.step("lora:2", Optimizer::SGD);
        let (views, targets) = net.batch();
        let inputs = [("views", views.view()), ("targets", targets.view().into_dyn())];
        let mut engine = TractStep::new(&step).unwrap();
        let frozen = embed(&net.bytes(), &views);
        let started = embed(&with_deltas(&net, "lora:2", &engine.state().unwrap()), &views);
        assert!(difference(&started, &frozen) < 1e-6);

        let before = engine.step(&inputs, &[("lr", 0.0)]).unwrap()["loss"];
        let whole =
            TractStep::new(&net.step("head", Optimizer::SGD)).unwrap().step(&inputs, &[]).unwrap()["loss"];
        assert!((before - whole).abs() < 1e-6, "{before} with deltas, {whole} without");

        for _ in 0..20 {
            engine.step(&inputs, &[]).unwrap();
        }
        let state = engine.state().unwrap();
        let merged = embed(&lora::merge(&net.bytes(), &state).unwrap(), &views);
        let graph = embed(&with_deltas(&net, "lora:2", &state), &views);
        assert!(difference(&merged, &graph) < 1e-5, "{}", difference(&merged, &graph));
        assert!(difference(&merged, &frozen) > 1e-3, "nothing was learned");
        let after = engine.step(&inputs, &[]).unwrap()["loss"];
        assert!(after < before, "{before} to {after}");
    }
}

/// `dL/dB = dL/dW' A^T` and `dL/dA = B^T dL/dW'`, with `dL/dW'` from the step that trains the merged
/// weights whole, which is itself compared with PyTorch elsewhere.
#[test]
fn gradients_follow_from_those_of_the_whole_weights() {
    for net in [Net::image(), Net::imu()] {
        let (views, targets) = net.batch();
        let inputs = [("views", views.view()), ("targets", targets.view().into_dyn())];
        // Momentum that began at zero is the gradient.
        let gradients = |step: &TrainingStep, state: &Tensors| {
            let mut engine = TractStep::new(step).unwrap();
            engine.set_state(state).unwrap();
            engine.step(&inputs, &[("lr", 0.0)]).unwrap();
            engine.state().unwrap()
        };
        let step = net.step("lora:3", Optimizer::SGD);
        let mut state = step.initial.clone();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (_, b) in state.iter_mut().filter(|(name, _)| name.ends_with("lora_b")) {
            b.mapv_inplace(|_| 0.5 * (rng.random::<f32>() - 0.5));
        }
        let found = gradients(&step, &state);

        let merged = lora::merge(&net.bytes(), &state).unwrap();
        let merged = initializers(&sedge_models::onnx::read::parse(&merged).unwrap());
        let whole = net.step("*.conv.weight", Optimizer::SGD);
        let mut whole_state = whole.initial.clone();
        whole_state.extend(merged.into_iter().filter(|(name, _)| whole.initial.contains_key(name)));
        let whole = gradients(&whole, &whole_state);

        let matrix = |array: &ArrayD<f32>| {
            let rows = array.shape()[0];
            Array2::from_shape_vec((rows, array.len() / rows), array.iter().copied().collect()).unwrap()
        };
        let kernels: Vec<&String> =
            net.weights.keys().filter(|name| name.ends_with(".conv.weight")).collect();
        for name in kernels {
            let (a, b) = (lora::a_name(name), lora::b_name(name));
            let gradient = matrix(&whole[&format!("{name}/momentum")]);
            let of_b = gradient.dot(&matrix(&state[&a]).t());
            let of_a = matrix(&state[&b]).t().dot(&gradient);
            for (part, expected) in [(a, of_a), (b, of_b)] {
                let error = difference(&matrix(&found[&format!("{part}/momentum")]), &expected);
                assert!(error < 1e-4, "{part}: relative error {error}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_deltas_in_any_order() {
    let net = Net::imu();
    let names = |flip: bool| {
        let mut names =
            vec![("layers.0.conv.weight".to_string(), 2), ("layers.1.conv.weight".to_string(), 3)];
        if flip {
            names.reverse();
        }
        names
    };
    let attach = |flip| {
        let mut encoder = net.encoder(Batch::Fixed(1));
        lora::attach(&mut encoder, &names(flip), 4).unwrap();
        encoder.encode_to_vec()
    };
    assert_eq!(attach(false), attach(true));
}

#[test]
fn what_takes_no_delta_is_refused_and_left_alone() {
    let net = Net::imu();
    let untouched = net.encoder(Batch::Fixed(1));
    let refused = |name: &str, rank| {
        let mut encoder = untouched.clone();
        let error = lora::attach(&mut encoder, &[(name.to_string(), rank)], 1).unwrap_err();
        assert_eq!(encoder.encode_to_vec(), untouched.encode_to_vec());
        error
    };
    assert!(matches!(refused("nothing", 1), LoraError::NoSuchWeight { .. }));
    assert!(matches!(refused("layers.0.conv.bias", 1), LoraError::Shape { .. }));
    assert!(matches!(refused("layers.0.conv.weight", 0), LoraError::Rank { .. }));
    let mut twice = untouched.clone();
    let weight = [("layers.0.conv.weight".to_string(), 1)];
    lora::attach(&mut twice, &weight, 1).unwrap();
    assert!(matches!(lora::attach(&mut twice, &weight, 1), Err(LoraError::Taken { .. })));

    let half = Tensors::from([("layers.0.conv.weight.lora_a".to_string(), ArrayD::zeros(vec![1, 30]))]);
    assert!(matches!(lora::merge(&net.bytes(), &half), Err(LoraError::Delta { .. })));
    assert!(matches!(lora::merge(b"no onnx", &half), Err(LoraError::Onnx(_))));
}

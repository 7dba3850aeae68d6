//! A small bundle with random weights, made once a process, and what several tests ask of a run.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sedge_engine::Encoder;
use sedge_firmware::{DeviceConfig, RunConfig};
use sedge_models::architecture::{Architecture, Block, Conv1d, Form, InvertedResidual, fold};
use sedge_models::bundle::{AdaptationDefaults, Bundle, FORMAT, MadeBy, Manifest, Reference};
use sedge_models::compile::{Recipe, compile};
use sedge_models::lora;
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::selection::{Scope, Selection, describe_stages};
use sedge_models::{InputSpec, Modality, Tensors};
use serde_json::Value;

/// Rows of a training step.
const BATCH: usize = 16;

/// 16x16 images, 12 values an embedding.
pub fn image_bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| image(Selection::Last(2)))
}

/// The same with low-rank deltas on the last two blocks.
pub fn low_rank_bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| image(Selection::Lora { rank: 4, scope: Scope::Last(2) }))
}

fn image(trained: Selection) -> Bundle {
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let blocks = vec![block(8, 2), block(8, 1)];
    let net = InvertedResidual { stem: 6, stem_stride: 2, blocks, last: 12 };
    let input = InputSpec::image(16, 16, [0.4; 3], [0.25; 3]);
    make(&Architecture::InvertedResidual(net), input, trained)
}

/// Windows of 32 samples at 100 Hz, 8 values an embedding.
pub fn imu_bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let net = Conv1d { channels: vec![8, 8], strides: vec![2, 2], kernel: 3 };
        let input = InputSpec::imu(32, 100.0, vec![0.0; 6], vec![4.0, 4.0, 6.0, 0.5, 0.5, 0.5]);
        make(&Architecture::Conv1d(net), input, Selection::All)
    })
}

fn make(architecture: &Architecture, input: InputSpec, trained: Selection) -> Bundle {
    let sample = input.shape.clone();
    let weights: Tensors = fold(&architecture.initial_weights(&sample, 5).unwrap()).unwrap();
    let graph = |batch| architecture.graph(Form::Folded, batch, &sample, &weights).unwrap();
    let encoder = graph(Batch::Symbolic).encode_to_vec();
    let named = weights.iter().map(|(name, weight)| (name.as_str(), weight.shape()));
    let (described, blocks) = describe_stages(&architecture.stages(), named);
    let choice = trained.choose(&described, &blocks).unwrap();
    let mut trainable = graph(Batch::Fixed(BATCH));
    let deltas = lora::attach(&mut trainable, &choice.low_rank, 3).unwrap();
    let trained = [deltas, choice.trained].concat();
    let objective = Objective::NtXent { head: ProjectionHead::new(12, 8), temperature: 0.2 };
    let step = compile(Recipe { lr: 0.005, seed: 3, ..Recipe::new(trainable, trained, objective) }).unwrap();
    let reference = reference(&encoder, &input);
    let manifest = Manifest {
        format: FORMAT,
        name: "test".into(),
        made_by: MadeBy {
            version: "0.1.0".into(),
            command: "test".into(),
            config: String::new(),
            seed: 5,
            data_digest: "0".repeat(64),
            method: "none".into(),
            epochs: 0,
        },
        embedding_dim: architecture.embedding_dim(),
        input,
        training: step.spec.clone(),
        adaptation: AdaptationDefaults {
            lr: 0.005,
            temperature: 0.2,
            weight_decay: 0.0,
            batch: BATCH,
            trains: "the last stages".into(),
        },
        selection: None,
        plan: None,
        parts: vec![],
    };
    Bundle { manifest, encoder, step, reference }
}

fn reference(encoder: &[u8], input: &InputSpec) -> Reference {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut shape = vec![3];
    shape.extend(&input.shape);
    let image = input.modality == Modality::Image;
    let value = || {
        let level = (rng.next_u32() % 256) as f32;
        if image { level / 255.0 } else { level / 64.0 - 2.0 }
    };
    let inputs = ArrayD::from_shape_simple_fn(IxDyn(&shape), value);
    let mut normalised = inputs.clone();
    for sample in normalised.as_slice_mut().unwrap().chunks_exact_mut(input.values()) {
        sedge_augment::normalise(sample, &input.mean, &input.std).unwrap();
    }
    let embeddings = Encoder::new(encoder, 3).unwrap().embed(normalised.view()).unwrap();
    Reference { inputs, embeddings }
}

/// A folder with a bundle in it.
pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new(bundle: &Bundle) -> Self {
        let folder = tempfile::tempdir().unwrap();
        bundle.write(&folder.path().join("bundle.sedge")).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A quick run of `source` into the folder `out`.
    pub fn config(&self, source: &str, out: &str) -> RunConfig {
        RunConfig { device: quick(), ..RunConfig::new(self.path("bundle.sedge"), source, self.path(out)) }
    }
}

/// A device that soon begins to learn.
pub fn quick() -> DeviceConfig {
    let mut config = DeviceConfig {
        seed: 11,
        duty: 0.5,
        pairs: 24,
        min_pairs: 8,
        held_out_pairs: 8,
        hold_out_every: 3,
        steps_per_candidate: 5,
        warm_up_steps: 3,
        ..DeviceConfig::default()
    };
    config.guard.min_pairs = 4;
    config
}

pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often each event happened.
pub fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

//! What the tests of training steps share: reading goldens, comparing tensors, and the architectures of
//! `models/goldens/training_step.py`.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use ndarray::ArrayD;
use sedge_models::Tensors;
use sedge_models::architecture::{Architecture, Block, Conv1d, InvertedResidual};
use sedge_models::optimizer::Optimizer;
use sedge_models::weights::{TensorLimits, decode};

/// The goldens' epsilon; the script says why.
pub const ADAMW: Optimizer = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-3 };

pub fn read(name: &str) -> Tensors {
    let bytes = std::fs::read(format!("{}/../goldens/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    decode(&bytes, TensorLimits::default()).unwrap()
}

pub fn group(golden: &Tensors, prefix: &str) -> Tensors {
    let found = golden.iter().filter_map(|(k, v)| Some((k.strip_prefix(prefix)?.to_string(), v.clone())));
    found.collect()
}

/// Largest difference relative to the largest value of the expected tensor.
pub fn error(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let scale = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

pub fn image() -> Architecture {
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    Architecture::InvertedResidual(InvertedResidual {
        stem: 4,
        stem_stride: 2,
        blocks: vec![block(6, 2), block(6, 1)],
        last: 8,
    })
}

pub fn imu() -> Architecture {
    Architecture::Conv1d(Conv1d { channels: vec![5, 8], strides: vec![1, 2], kernel: 5 })
}

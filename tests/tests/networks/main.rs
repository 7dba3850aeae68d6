//! Whole networks as PyTorch exports them: imported, compiled and run, against PyTorch in float64
//! (`models/goldens/networks.py` writes what it says) and against ONNX Runtime.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, clippy::print_stdout)]

mod curves;
mod gradients;
mod kinks;
#[path = "../interop/oracle.rs"]
mod oracle;
mod runtime;
mod torchvision;

use std::path::PathBuf;

use ndarray::{ArrayD, IxDyn};
use sedge_models::compile::{Recipe, compile};
use sedge_models::import::{ImportOptions, Imported, NormForm, import};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::selection::Selection;
use sedge_models::weights::{TensorLimits, decode};
use sedge_models::{Tensors, TrainingStep};

pub const BATCH: usize = 8;
const HEAD: usize = 16;
const TEMPERATURE: f32 = 0.2;
/// Samples of [`pattern`].
const POOL: usize = 32;

/// A network of the goldens: its file, what it is given, and its forms of batch norm.
pub struct Net {
    pub file: &'static str,
    pub golden: &'static str,
    pub sample: &'static [usize],
    pub norms: &'static [NormForm],
}

const NORMS: &[NormForm] = &[NormForm::Folded, NormForm::Affine, NormForm::Statistics];
const fn net(file: &'static str, golden: &'static str, sample: &'static [usize]) -> Net {
    Net { file, golden, sample, norms: NORMS }
}

pub const CNN: Net = net("cnn", "cnn", &[3, 64, 64]);
pub const CNN96: Net = net("cnn", "cnn96", &[3, 96, 96]);
pub const RESNET: Net = net("resnet", "resnet", &[3, 64, 64]);
pub const IMU: Net = net("imu", "imu", &[6, 64]);
pub const VIT: Net = Net { file: "vit", golden: "vit", sample: &[3, 32, 32], norms: &[NormForm::Affine] };
pub const MOBILENET_V3: Net = net("mobilenetv3", "mobilenetv3", &[3, 48, 48]);
pub const EFFICIENTNET: Net = net("efficientnet", "efficientnet", &[3, 48, 48]);

impl Net {
    pub fn import(&self, batch: usize, norm: NormForm) -> Imported {
        let bytes = std::fs::read(golden_file(&format!("{}.onnx", self.file))).unwrap();
        let options =
            ImportOptions { input_shape: Some(self.sample.to_vec()), ..ImportOptions::new(batch, norm) };
        import(&bytes, &options).unwrap_or_else(|e| panic!("{}: {e}", self.golden))
    }
}

fn golden_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/goldens/networks").join(name)
}

pub fn read(path: PathBuf) -> Tensors {
    decode(&std::fs::read(path).unwrap(), TensorLimits::default()).unwrap()
}

pub fn golden(name: &str) -> Tensors {
    read(golden_file(&format!("{name}.safetensors")))
}

/// Evenly spread over -1 to 1, by position and seed; `noise` of `networks.py`.
pub fn noise(position: usize, seed: u32) -> f64 {
    let x = (12.9898 * position as f64 + 78.233 * f64::from(seed)).sin() * 43758.5453;
    2.0 * (x - x.floor()) - 1.0
}

/// Two views of half a batch; `pattern` of `networks.py`.
pub fn pattern(shape: &[usize], step: usize) -> ArrayD<f32> {
    let [pairs, c, h, w] = [shape[0] / 2, shape[1], shape[2], shape.get(3).copied().unwrap_or(1)];
    let value = |flat: usize| {
        let place = [flat / (c * h * w), flat / (h * w) % c, flat / w % h, flat % w];
        let sample = (step * pairs + place[0] % pairs) % POOL;
        let [f, g, phase] = [1, 2, 3].map(|seed| noise(sample, seed));
        let turns = 4.0 * f * (place[2] as f64 / h as f64) + 4.0 * g * (place[3] as f64 / w as f64);
        let wave = std::f64::consts::TAU * turns + 3.0 * phase + place[1] as f64 * phase;
        (wave.sin() + 0.5 * noise(flat, 100 + step as u32)) as f32
    };
    let count = shape.iter().product();
    ArrayD::from_shape_vec(IxDyn(shape), (0..count).map(value).collect()).unwrap()
}

/// NT-Xent on `encoder`, and what else `change` asks for.
pub fn step(encoder: &Imported, selection: &str, change: impl FnOnce(&mut Recipe)) -> TrainingStep {
    let head = ProjectionHead::new(HEAD, HEAD);
    let objective = Objective::NtXent { head, temperature: TEMPERATURE };
    let mut recipe = Recipe {
        statistics: encoder.statistics.clone(),
        ..Recipe::new(encoder.model.clone(), trained(encoder, selection), objective)
    };
    change(&mut recipe);
    let mut step = compile(recipe).unwrap_or_else(|e| panic!("{e}"));
    set_head(&mut step.initial);
    step
}

fn trained(encoder: &Imported, selection: &str) -> Vec<String> {
    selection.parse::<Selection>().unwrap().choose(&encoder.weights, &encoder.blocks).unwrap().trained
}

/// The head that both sides begin with; `head` of `networks.py`.
fn set_head(state: &mut Tensors) {
    for (seed, name) in ["head.0.bias", "head.0.weight", "head.2.bias", "head.2.weight"].iter().enumerate() {
        let value = state.get_mut(*name).unwrap();
        let scale = if value.ndim() > 1 { (3.0 / value.shape()[1] as f64).sqrt() } else { 0.1 };
        value.iter_mut().enumerate().for_each(|(i, v)| *v = (scale * noise(i, 50 + seed as u32)) as f32);
    }
}

pub fn magnitude(values: &ArrayD<f32>) -> f32 {
    values.iter().fold(0f32, |m, v| if v.is_nan() { f32::INFINITY } else { m.max(v.abs()) })
}

//! Frames and windows that show one hidden number each: after a short run each frame held out finds its window
//! among the others, through the files that the run leaves.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use ndarray::{Array2, Axis};
use sedge_models::architecture::{Block, Conv1d, Form, InvertedResidual};

use super::*;
use crate::data::{Augment, Dataset, Loader, Samples};
use crate::encoder::{Trained, embed, onnx};
use crate::pretrain::{
    DataSettings, Method, Outcome, PretrainConfig, PretrainError, Pretrained, Pretraining, Progress,
    RunDirectory, Settings as Said, Stop,
};

const SIDE: usize = 8;
const ROWS: usize = 32;

/// `n` pairs: the angle of a shading across the image is the phase of all six channels, and both have noise.
fn pairs(n: usize, first: usize) -> Dataset {
    let noise = |i: usize| ((i as f32 * 12.9898).sin() * 43_758.547).fract() * 0.1;
    let hidden = |i: usize| (first + i) as f32 * 2.399_963;
    let pixel = |i: usize, y: usize, x: usize, c: usize| {
        let at = [x, y].map(|v| v as f32 / (SIDE - 1) as f32 - 0.5);
        let shade = at[0] * hidden(i).cos() + at[1] * hidden(i).sin();
        ((0.5 + 0.6 * shade + noise(i * 193 + (y * SIDE + x) * 3 + c)) * 255.0) as u8
    };
    let value = |i: usize, c: usize, t: usize| {
        let turn = std::f32::consts::TAU * t as f32 / 16.0;
        (turn + hidden(i) + c as f32).sin() + noise(i * 193 + c * ROWS + t)
    };
    let pixels = (0..n * SIDE * SIDE * 3)
        .map(|at| pixel(at / (SIDE * SIDE * 3), at / (SIDE * 3) % SIDE, at / 3 % SIDE, at % 3))
        .collect();
    let values = (0..n * 6 * ROWS).map(|at| value(at / (6 * ROWS), at / ROWS % 6, at % ROWS)).collect();
    let samples = Samples::Pairs {
        width: SIDE,
        height: SIDE,
        pixels,
        channels: 6,
        length: ROWS,
        rate_hz: 50.0,
        values,
    };
    Dataset::new(samples, None, (0..n as u32).collect(), (0..n as u64).collect()).unwrap()
}

fn config(epochs: u32) -> PretrainConfig {
    let block = |stride| Block { channels: 12, stride, expand: 2 };
    let net = InvertedResidual { stem: 12, stem_stride: 1, blocks: vec![block(2), block(1)], last: 32 };
    let second = Conv1d { channels: vec![16, 32], strides: vec![2, 2], kernel: 5 };
    let second = toml::Value::try_from(ArchitectureSetting::Table(Architecture::Conv1d(second))).unwrap();
    let pretext = [("second".to_string(), second), ("out".to_string(), 16.into())].into_iter().collect();
    let said = Said {
        data: DataSettings { path: Some("pairs".into()), ..DataSettings::default() },
        method: Some(Method::CrossModal),
        architecture: Some(ArchitectureSetting::Table(Architecture::InvertedResidual(net))),
        pretext: Some(crate::pretrain::PretextSettings(pretext)),
        image_augment: Some(sedge_augment::ImageAugment::none()),
        epochs: Some(epochs),
        batch: Some(16),
        lr: Some(3e-3),
        seed: Some(1),
        workers: Some(1),
        ..Said::default()
    };
    said.resolve(Modality::Image).unwrap()
}

fn trained(config: &PretrainConfig) -> Pretrained {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::create(&folder.path().join("run"), config).unwrap();
    let pretraining = Pretraining::prepare(Arc::new(pairs(96, 0)), config).unwrap();
    let outcome = pretraining.run(&run, &mut Progress::silent(), &Stop::new()).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Pretrained::read(run.path()).unwrap()
}

/// Where `data` lies in the space of both, rows of length one.
fn placed(encoder: &Trained, data: &Dataset) -> Array2<f32> {
    let features = embed(&onnx(encoder, Form::Folded).unwrap(), data, &encoder.input).unwrap();
    let part = |name: &str| encoder.weights[name].clone();
    let weight = part("head.0.weight").into_dimensionality::<ndarray::Ix2>().unwrap();
    let bias = part("head.0.bias").into_dimensionality::<ndarray::Ix1>().unwrap();
    let mut placed = features.dot(&weight.t()) + bias;
    for mut row in placed.axis_iter_mut(Axis(0)) {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    placed
}

/// The share of frames whose window is nearest of all, and the other way round.
fn retrieval(pretrained: &Pretrained, data: &Dataset) -> [f64; 2] {
    let first = placed(&pretrained.encoder, data);
    let second = placed(pretrained.second.as_ref().unwrap(), data);
    let alike = first.dot(&second.t());
    [alike.view(), alike.t()].map(|alike| {
        let own = |(i, row): (usize, ndarray::ArrayView1<'_, f32>)| row.iter().all(|other| *other <= row[i]);
        let found = alike.outer_iter().enumerate().filter(|row| own((row.0, row.1))).count();
        found as f64 / data.len() as f64
    })
}

#[test]
fn frames_held_out_find_their_windows() {
    let held = pairs(24, 96);
    let [before, _] = retrieval(&trained(&config(1)), &held);
    let after = retrieval(&trained(&config(40)), &held);
    // Chance is one of twenty-four.
    assert!(before < 0.25, "{before}");
    assert!(after.iter().all(|share| *share > 0.5), "{after:?}");
}

#[test]
fn a_frame_and_its_window_are_drawn_into_the_same_row() {
    let config = config(1);
    let data = Arc::new(pairs(20, 0));
    let (input, second) = (data.input_spec(None), data.second_spec().unwrap());
    let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
    let method: Arc<dyn Sampler> = Arc::from(config.method.pretext(setup).unwrap() as Box<dyn Sampler>);
    let none = sedge_augment::WindowAugment::none();
    let augment = Augment::none_for(Modality::Image);
    let loader = || Loader::new(Arc::clone(&data), input.clone(), augment.clone(), 16, 1, 1).unwrap();
    let said = loader().with_sampler(Arc::clone(&method)).unwrap_err().to_string();
    assert!(said.contains("pairs"), "{said}");
    let loader = loader().with_second(second.clone(), none).unwrap().with_sampler(method).unwrap();
    let batch = loader.epoch(0, 0).unwrap().next().unwrap().unwrap();
    let indices = batch.indices.clone();
    for ((name, drawn), (wanted, spec)) in
        batch.inputs.into_iter().zip([("views", &input), ("second", &second)])
    {
        assert_eq!(name, wanted);
        let expected = data.batch_f32(&indices, spec).unwrap();
        let difference = (&drawn - &expected).iter().fold(0f32, |most, v| most.max(v.abs()));
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

#[test]
fn images_alone_are_refused() {
    let Samples::Pairs { width, height, pixels, .. } = pairs(20, 0).samples().clone() else { panic!() };
    let images = Samples::Images { width, height, pixels };
    let images = Dataset::new(images, None, vec![0; 20], vec![0; 20]).unwrap();
    let refused = Pretraining::prepare(Arc::new(images), &config(1)).map(|_| ()).unwrap_err();
    assert!(matches!(refused, PretrainError::Config(_)) && refused.to_string().contains("IMU"), "{refused}");
    let unknown = Settings { second: ArchitectureSetting::Preset("imu-smal".into()), ..Settings::default() };
    let config = config(1);
    let input = pairs(2, 0).input_spec(None);
    let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
    assert!(CrossModal::new(unknown, setup).unwrap_err().to_string().contains("imu-small"));
}

//! What a teacher is shown and what its student learns.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use sedge_augment::WindowAugment;
use sedge_models::architecture::{Architecture, Block, Conv1d, Form, InvertedResidual, Perceptron};

use super::*;
use crate::data::{Augment, Dataset, Loader, Samples};
use crate::encoder::{Trained, embed, onnx};
use crate::pretrain::{
    ArchitectureSetting, AugmentConfig, DataSettings, Method, Outcome, PretextSettings, PretrainConfig,
    Pretrained, Pretraining, Progress, RunDirectory, Settings as Said, Stop,
};

fn config(modality: Modality, student: Architecture, pretext: &str, epochs: u32) -> PretrainConfig {
    let said = Said {
        data: DataSettings { path: Some("data".into()), ..DataSettings::default() },
        method: Some(Method::Distil),
        architecture: Some(ArchitectureSetting::Table(student)),
        pretext: Some(pretext.parse::<PretextSettings>().unwrap()),
        epochs: Some(epochs),
        batch: Some(32),
        lr: Some(5e-3),
        workers: Some(1),
        ..Said::default()
    };
    said.resolve(modality).unwrap()
}

/// A teacher's file in `folder`.
fn file(folder: &tempfile::TempDir, net: &Architecture, input: &InputSpec) -> (PathBuf, Vec<u8>) {
    let bytes = onnx(&Trained::fresh(net, input, 5).unwrap(), Form::Folded).unwrap();
    let path = folder.path().join("teacher.onnx");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn windows(n: usize, first: usize) -> Dataset {
    let value = |i: usize, c: usize, t: usize| {
        let i = (first + i) as f32;
        let pitch = 0.2 + 0.5 * (i * 0.618).fract();
        (pitch * t as f32 + c as f32).sin() * (0.5 + (i * 0.414).fract())
            + (i * 0.732).fract() * (c as f32 - 2.0)
    };
    let values = (0..n * 6 * 32).map(|at| value(at / 192, at / 32 % 6, at % 32)).collect();
    let samples = Samples::Windows { channels: 6, length: 32, rate_hz: 50.0, values };
    Dataset::new(samples, None, (0..n as u32).collect(), (0..n as u64).collect()).unwrap()
}

fn small() -> Architecture {
    Architecture::Conv1d(Conv1d { channels: vec![8, 16], strides: vec![2, 2], kernel: 5 })
}

/// For each row the five others nearest by cosine.
fn neighbours(features: &Array2<f32>) -> Vec<BTreeSet<usize>> {
    let mut unit = features.clone();
    for mut row in unit.outer_iter_mut() {
        let length = row.dot(&row).sqrt();
        row /= length;
    }
    let alike = unit.dot(&unit.t());
    let nearest = |i: usize| {
        let mut others: Vec<usize> = (0..alike.nrows()).filter(|j| *j != i).collect();
        others.sort_by(|a, b| alike[[i, *b]].total_cmp(&alike[[i, *a]]));
        others.into_iter().take(5).collect()
    };
    (0..alike.nrows()).map(nearest).collect()
}

#[test]
fn a_student_comes_to_have_its_teachers_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let large = Perceptron { widths: vec![128, 64], ..Perceptron::imu() };
    let (data, held) = (windows(512, 0), windows(60, 512));
    let input = data.input_spec(None);
    let (path, teacher) = file(&folder, &Architecture::Perceptron(large), &input);
    let taught = neighbours(&embed(&teacher, &held, &input).unwrap());
    let agreement = |epochs: u32| {
        let net = Conv1d { channels: vec![16, 32], strides: vec![2, 2], kernel: 5 };
        let mut config =
            config(Modality::Imu, Architecture::Conv1d(net), &format!("teacher={}", path.display()), epochs);
        config.augment = AugmentConfig::Window(WindowAugment::none());
        let run = RunDirectory::create(&folder.path().join(epochs.to_string()), &config).unwrap();
        let pretraining = Pretraining::prepare(Arc::new(data.clone()), &config).unwrap();
        let outcome = pretraining.run(&run, &mut Progress::silent(), &Stop::new()).unwrap();
        assert!(matches!(outcome, Outcome::Finished(_)));
        let student = Pretrained::read(run.path()).unwrap().encoder;
        let features = embed(&onnx(&student, Form::Folded).unwrap(), &held, &student.input).unwrap();
        let common = neighbours(&features).into_iter().zip(&taught).map(|(a, b)| a.intersection(b).count());
        common.sum::<usize>() as f64 / (5 * held.len()) as f64
    };
    let (before, after) = (agreement(1), agreement(30));
    assert!(after > before + 0.15, "{before} to {after}");
}

#[test]
fn a_teacher_sees_the_students_view_at_its_own_size() {
    let folder = tempfile::tempdir().unwrap();
    let net = |stem| {
        let blocks = vec![Block { channels: 6, stride: 2, expand: 2 }];
        Architecture::InvertedResidual(InvertedResidual { stem, stem_stride: 2, blocks, last: 12 })
    };
    let pixels = (0..40 * 8 * 8 * 3).map(|i: usize| (i / 24 * 5 % 251) as u8).collect();
    let samples = Samples::Images { width: 8, height: 8, pixels };
    let data = Arc::new(Dataset::new(samples, None, vec![0; 40], vec![0; 40]).unwrap());
    let own = InputSpec::image(16, 16, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]);
    let (path, teacher) = file(&folder, &net(8), &own);
    let pretext = toml::Table::from_iter([
        ("teacher".to_owned(), path.display().to_string().into()),
        ("mean".to_owned(), own.mean.iter().map(|v| f64::from(*v)).collect::<Vec<_>>().into()),
        ("std".to_owned(), own.std.iter().map(|v| f64::from(*v)).collect::<Vec<_>>().into()),
    ]);
    let mut config = config(Modality::Image, net(4), &format!("teacher={}", path.display()), 1);
    let input = data.input_spec(None);
    for (pretext, normalisation) in
        [(config.pretext.clone(), IMAGENET), (pretext, [[0.4, 0.5, 0.6], [0.2, 0.3, 0.4]])]
    {
        config.pretext = pretext;
        let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
        let method = config.method.pretext(setup).unwrap();
        assert_eq!((method.rows(32), method.objective().name()), (32, "distillation"));
        assert_eq!(method.teacher(), Some(crate::pretrain::sha256(&teacher).as_str()));
        let method: Arc<dyn Sampler> = Arc::from(method as Box<dyn Sampler>);
        let augment = Augment::none_for(Modality::Image);
        let loader = Loader::new(data.clone(), input.clone(), augment, 32, 1, 1).unwrap();
        let batch = loader.with_sampler(method).unwrap().epoch(0, 0).unwrap().next().unwrap().unwrap();
        // Nothing is augmented: what the teacher makes of the samples themselves.
        let [mean, std] = normalisation;
        let reads = InputSpec::image(16, 16, mean, std);
        let expected = embed(&teacher, &data.subset(&batch.indices).unwrap(), &reads).unwrap();
        let (name, taught) = &batch.inputs[1];
        assert_eq!((name.as_str(), taught.shape()), ("taught", &[32, 12][..]));
        let difference = (taught - &expected.clone().into_dyn()).iter().fold(0f32, |m, v| m.max(v.abs()));
        let scale = expected.iter().fold(0f32, |most, v| most.max(v.abs()));
        assert!(difference < 1e-4 * scale && scale > 0.0, "{difference} of {scale}");
    }
}

#[test]
fn teachers_that_cannot_teach_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = windows(4, 0).input_spec(None);
    let longer = InputSpec::imu(48, 50.0, vec![0.0; 6], vec![1.0; 6]);
    let (path, _) = file(&folder, &small(), &longer);
    let broken = folder.path().join("broken.onnx");
    std::fs::write(&broken, b"no model").unwrap();
    for (teacher, wanted) in [
        (String::new(), "left out"),
        ("teacher=weights.txt".into(), ".sedge bundle"),
        (format!("teacher={}", broken.display()), "broken.onnx"),
        (format!("teacher={}", path.display()), "[6, 48]"),
        (format!("teacher={},mean=[1.0]", path.display()), "mean"),
    ] {
        let config = config(Modality::Imu, small(), &teacher, 1);
        let setup = Setup { architecture: &config.architecture, input: &input, config: &config };
        let said = config.method.pretext(setup).map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("pretext.teacher") && said.contains(wanted), "{said}");
    }
}

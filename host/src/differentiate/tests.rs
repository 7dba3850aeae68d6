//! Files of several exporters made into steps that train, and put back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayD, Dimension};
use prost::Message;
use sedge_boards::sim::{Rig, RigConfig};
use sedge_engine::{Encoder, Engine, TractStep};
use sedge_firmware::{Collected, Device, DeviceConfig};
use sedge_models::bundle::{Bundle, MadeBy};
use sedge_models::onnx::read::parse;

use super::*;
use crate::budget::noise;
use crate::data::{Dataset, LoadOptions, load};

pub(crate) fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/goldens/import");
    std::fs::read(folder.join(name).with_extension("onnx")).unwrap()
}

fn read(name: &str, request: Request) -> Differentiation {
    Differentiation::read(file(name), request).unwrap()
}

/// Losses of `steps` steps on one batch of seeded pairs, and the state after them.
pub(crate) fn train(step: &TrainingStep, steps: usize) -> (Vec<f32>, Tensors) {
    let batch = noise(&step.spec, 1, 7).pop().unwrap();
    let inputs: Vec<_> = batch.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let mut engine = TractStep::new(step).unwrap();
    let step_on = |engine: &mut TractStep| engine.step(&inputs, &[]).expect(&step.spec.objective)["loss"];
    let losses = (0..steps).map(|_| step_on(&mut engine)).collect();
    (losses, engine.state().unwrap())
}

fn falls(what: &str, losses: &[f32]) {
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(losses.iter().all(|l| l.is_finite()) && last < first, "{what}: {losses:?}");
}

#[test]
fn every_loss_falls_on_a_small_net() {
    use clap::ValueEnum;
    for &loss in Loss::value_variants() {
        let settings = LossSettings {
            classes: (loss == Loss::CrossEntropy).then_some(3),
            queue: (loss == Loss::Moco).then_some(8),
            ..LossSettings::new(loss)
        };
        let lr = if matches!(loss, Loss::VicReg | Loss::BarlowTwins) { 1e-4 } else { 2e-3 };
        let request = Request { loss: settings, lr, weight_decay: 0.0, ..Request::new(8) };
        let compiled = read("windows", request).compile(&Selection::Last(2)).unwrap();
        let (losses, _) = train(&compiled.step, 20);
        // A queue of random keys fills with real ones first, which are harder.
        let from = if loss == Loss::Moco { 8 } else { 0 };
        falls(&loss.to_string(), &losses[from..]);
    }
}

#[test]
fn a_trained_state_goes_back_into_the_file() {
    for (name, words, norm) in [
        ("cnn_norm", "all", Norm::Folded),
        ("cnn_norm", "norm+last:1", Norm::Affine),
        ("resnet", "lora:2@last:2", Norm::Folded),
        ("vit", "lora:2+bias", Norm::Folded),
        ("windows", "last:2", Norm::Statistics),
    ] {
        let from = read(name, Request { norm, ..Request::new(4) });
        let compiled = from.compile(&words.parse().unwrap()).unwrap();
        let (losses, state) = train(&compiled.step, 5);
        falls(name, &losses);
        let parts = [FileRecord::of("step.onnx", b"1"), FileRecord::of("step.safetensors", b"2")];
        let record = StepRecord::new(&from, &compiled, "encoder.onnx".into(), "sedge".into(), parts);
        let text = serde_json::to_vec(&record).unwrap();
        let record: StepRecord = serde_json::from_slice(&text).unwrap();
        let written = write_back(from.onnx(), &record, &state).unwrap();
        if norm == Norm::Statistics {
            let running = written.changed.iter().filter(|name| name.contains("running_")).count();
            assert!(running > 0, "{:?}", written.changed);
        }
        // The oracle: the imported graph with the state's weights, by the file's stored statistics.
        let again = Differentiation::read(written.onnx.clone(), Request { norm, ..Request::new(4) }).unwrap();
        let stored = sedge_models::onnx::initializers(&again.imported().model);
        let merged = lora::merge(&from.imported().model.encode_to_vec(), &state).unwrap();
        if norm == Norm::Folded {
            let shape = from.imported().input_shape.clone();
            let x = ArrayD::from_shape_fn(shape, |i| {
                let at: usize = i.slice().iter().enumerate().map(|(axis, i)| (axis + 1) * i).sum();
                (at as f32 * 0.7).sin()
            });
            let embed = |onnx: &[u8]| Encoder::new(onnx, 4).unwrap().embed(x.view()).unwrap();
            let before = embed(&from.imported().model.encode_to_vec());
            let (wanted, found) = (embed(&merged), embed(&again.imported().model.encode_to_vec()));
            let distance =
                |a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>| crate::export::compare(a, b).relative;
            assert!(distance(&found, &wanted) < 1e-4, "{name} {words}");
            assert!(distance(&before, &wanted) > 1e-3, "{name} {words}");
        } else {
            let names = written.changed.iter().filter(|name| stored.contains_key(*name));
            assert!(names.clone().count() > 0);
            for weight in names {
                assert_eq!(stored[weight], state[weight], "{name} {weight}");
            }
        }
        let other = write_back(&file("double"), &record, &state).unwrap_err();
        assert!(matches!(other, DifferentiateError::OtherEncoder { .. }));
    }
}

#[test]
fn a_head_alone_has_nothing_to_write_back() {
    let from = read("cnn_norm", Request::new(4));
    let compiled = from.compile(&Selection::Head).unwrap();
    assert_eq!(compiled.values().0, 0);
    let parts = [FileRecord::of("a", b"1"), FileRecord::of("b", b"2")];
    let record = StepRecord::new(&from, &compiled, String::new(), String::new(), parts);
    let error = write_back(from.onnx(), &record, &compiled.step.initial).unwrap_err();
    assert!(matches!(error, DifferentiateError::NothingTrained), "{error}");
}

#[test]
fn norms_are_kept_where_they_are_trained() {
    let fitting = |words: &str| Norm::fitting(&words.parse().unwrap());
    assert_eq!(fitting("last:2"), Norm::Folded);
    assert_eq!(fitting("norm"), Norm::Affine);
    assert_eq!(fitting("last:1+norm"), Norm::Affine);
}

/// Frames of the rig.
fn frames() -> Dataset {
    let options = LoadOptions { image_size: Some(32), limit: Some(12), ..LoadOptions::default() };
    load("sim:building=1,drive=1,seconds=4", &options).unwrap()
}

fn bundled(from: &Differentiation, selection: &str) -> Packed {
    let compiled = from.compile(&selection.parse().unwrap()).unwrap();
    let data = frames();
    let given = Normalisation::Given { mean: IMAGENET_MEAN.into(), std: IMAGENET_STD.into() };
    let input = input_spec(from.sample(), &given, &data).unwrap();
    let made_by = MadeBy {
        version: "0".into(),
        command: "sedge differentiate".into(),
        config: String::new(),
        seed: 0,
        data_digest: data.digest(),
        method: "differentiate".into(),
        epochs: 0,
    };
    pack(from, &compiled, input, &data, "stranger".into(), made_by).unwrap()
}

#[test]
fn a_board_runs_and_adapts_a_strangers_encoder() {
    for (name, selection) in [("cnn_norm", "last:2"), ("resnet", "lora:2")] {
        let from = read(name, Request::new(8));
        let Packed { bundle, parity } = bundled(&from, selection);
        assert!(parity.is_none_or(|p| p.relative < 1e-4), "{parity:?}");
        let bundle = Bundle::from_bytes(&bundle.to_bytes().unwrap()).unwrap();
        let config = DeviceConfig { lr: Some(0.01), min_pairs: 8, duty: 0.5, ..DeviceConfig::default() };
        let mut device = Device::new(&bundle, &config).unwrap();
        let mut sink = Collected::default();
        let rig: RigConfig = "sim:building=1,drive=1,seconds=20".parse().unwrap();
        for event in Rig::new(rig).unwrap() {
            device.push(event, &mut sink).unwrap();
        }
        let report = device.finish(&mut sink).unwrap();
        assert!(sink.embeddings.len() > 100, "{name}");
        assert!(report.adaptation.progress.steps > 0, "{name} {report:?}");
    }
}

#[test]
fn what_a_board_cannot_feed_is_not_packed() {
    let loss = LossSettings::new(Loss::SimSiam);
    let from = read("cnn_norm", Request { loss, ..Request::new(8) });
    let compiled = from.compile(&Selection::Head).unwrap();
    let data = frames();
    let input = input_spec(from.sample(), &Normalisation::OfData, &data).unwrap();
    let made_by = bundled(&read("cnn_norm", Request::new(8)), "head").bundle.manifest.made_by;
    let error = pack(&from, &compiled, input, &data, "x".into(), made_by).unwrap_err();
    assert!(error.to_string().contains("simsiam"), "{error}");
    let four = input_spec(&[4, 8, 8], &Normalisation::OfData, &data).unwrap_err();
    assert!(matches!(four, DifferentiateError::Channels { .. }), "{four}");
}

#[test]
fn contributions_are_measured_on_data_where_there_is_some() {
    let from = read("cnn_norm", Request::new(8));
    let data = frames();
    let input = input_spec(from.sample(), &Normalisation::OfData, &data).unwrap();
    let given = batches(Loss::NtXent, Arc::new(data), &input, 8, 1).unwrap();
    assert!(!given.is_empty());
    let budget = Budget { mb: Some(1e3), ms: None };
    let on_data = from.trade_off(budget, &given, &mut |_| {}).unwrap();
    let on_noise = from.trade_off(budget, &[], &mut |_| {}).unwrap();
    assert!(!on_data.noise && on_noise.noise);
    let chosen = on_data.chosen().unwrap();
    assert_eq!(chosen.weights.len(), from.imported().weights.len(), "{}", chosen.words);
    assert!(from.compile(&chosen.selection).is_ok());
}

#[test]
fn a_third_partys_mobilenet_becomes_a_step() {
    let Some(shared) = std::env::var_os("SEDGE_SHARED").filter(|s| !s.is_empty()) else {
        use std::io::Write;
        std::io::stderr().write_all(b"skipped: no third-party MobileNetV2; set SEDGE_SHARED\n").unwrap();
        return;
    };
    let path = std::path::PathBuf::from(shared).join("models/mobilenet_v2_imagenet_encoder.onnx");
    let from = Differentiation::read(std::fs::read(path).unwrap(), Request::new(8)).unwrap();
    for words in ["last:2", "lora:4"] {
        let compiled = from.compile(&words.parse().unwrap()).unwrap();
        assert!(compiled.plan.is_sound() && compiled.plan.work.multiply_adds() > 1_000_000_000);
        let (losses, _) = train(&compiled.step, 3);
        falls(words, &losses);
    }
    assert!(parse(from.onnx()).is_ok());
}

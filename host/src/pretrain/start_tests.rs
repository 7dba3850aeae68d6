//! Encoders that start from others: the same weights arrive from a run, a bundle and a file, whatever its form,
//! and the encoder computes what it computed there.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use sedge_models::architecture::{Block, Form, InvertedResidual};
use sedge_models::{Modality, bundle::MadeBy};

use super::*;
use crate::data::{Dataset, Samples};
use crate::encoder::{Trained, embed, onnx};
use crate::export::{ExportOptions, pack};
use crate::pretrain::{
    ArchitectureSetting, Checkpoint, DataSettings, Method, OptimizerName, Outcome, Pretraining, Progress,
    RunDirectory, Settings, Stop,
};

fn images(seed: u32) -> Dataset {
    let pixel = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8 / 2 + (i % 97) as u8;
    let samples = Samples::Images { width: 8, height: 8, pixels: (0..24 * 8 * 8 * 3).map(pixel).collect() };
    Dataset::new(samples, None, (0..24).collect(), (0..24).collect()).unwrap()
}

fn net(last: usize) -> Architecture {
    let block = |channels| Block { channels, stride: 2, expand: 2 };
    let blocks = vec![block(6), block(8)];
    Architecture::InvertedResidual(InvertedResidual { stem: 6, stem_stride: 1, blocks, last })
}

/// A run whose steps move no weight when `lr` is as small as numbers are.
fn config(method: Method, from: Option<PathBuf>, lr: f64) -> PretrainConfig {
    let settings = Settings {
        data: DataSettings { path: Some("images".into()), ..DataSettings::default() },
        method: Some(method),
        architecture: Some(ArchitectureSetting::Table(net(10))),
        from,
        optimizer: Some(OptimizerName::Sgd),
        image_augment: Some(sedge_augment::ImageAugment::none()),
        epochs: Some(1),
        batch: Some(24),
        lr: Some(lr),
        weight_decay: Some(0.0),
        warmup_epochs: Some(0.0),
        schedule: Some(crate::pretrain::Schedule::Constant),
        workers: Some(1),
        ..Settings::default()
    };
    settings.resolve(Modality::Image).unwrap()
}

fn run(config: &PretrainConfig, data: Dataset, path: &Path) -> Pretrained {
    let pretraining = Pretraining::prepare(Arc::new(data), config).unwrap();
    let run = RunDirectory::create(path, config).unwrap();
    let outcome = pretraining.run(&run, &mut Progress::silent(), &Stop::new()).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Pretrained::read(path).unwrap()
}

fn embedded(encoder: &Trained, data: &Dataset) -> ndarray::Array2<f32> {
    embed(&onnx(encoder, Form::Folded).unwrap(), data, &encoder.input).unwrap()
}

/// Relative to the largest value.
fn distance(a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>) -> f32 {
    crate::export::compare(a, b).relative
}

/// A run that has learned something, in `folder`, and what its encoder makes of other images.
fn before(folder: &Path) -> (Pretrained, ndarray::Array2<f32>) {
    let long = PretrainConfig { epochs: 30, ..config(Method::Simclr, None, 0.1) };
    let pretrained = run(&long, images(1), &folder.join("before"));
    let features = embedded(&pretrained.encoder, &images(2));
    (pretrained, features)
}

#[test]
fn a_run_goes_on_from_a_run_a_bundle_and_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (pretrained, expected) = before(folder.path());
    let fresh = run(&config(Method::Simclr, None, 1e-30), images(2), &at("fresh"));
    assert!(distance(&embedded(&fresh.encoder, &images(2)), &expected) > 0.2);

    for (form, name) in [(Form::Folded, "folded.onnx"), (Form::Inference, "unfolded.onnx")] {
        std::fs::write(at(name), onnx(&pretrained.encoder, form).unwrap()).unwrap();
    }
    let made_by = MadeBy {
        version: "0".into(),
        command: "sedge export".into(),
        config: pretrained.config.to_toml().unwrap(),
        seed: 0,
        data_digest: pretrained.header.digests.data.clone(),
        method: "simclr".into(),
        epochs: 30,
    };
    let train = sedge_models::selection::Selection::Head;
    let (lr, temperature, weight_decay) = (0.1, 0.5, 0.0);
    let options = ExportOptions { name: "b".into(), train, batch: 4, lr, temperature, weight_decay, made_by };
    let (bundle, _) = pack(&pretrained.encoder, &images(1), &options).unwrap();
    bundle.write(&at("it.sedge")).unwrap();

    for (number, (from, told)) in
        [("before", true), ("it.sedge", true), ("folded.onnx", false), ("unfolded.onnx", false)]
            .into_iter()
            .enumerate()
    {
        // With a teacher, whose copies must start there too.
        let method = if number < 2 { Method::Byol } else { Method::Simclr };
        let config = config(method, Some(at(from)), 1e-30);
        let start = Start::read(&at(from)).unwrap();
        assert_eq!(start.architecture, told.then(|| net(10)), "{from}");
        assert_eq!(start.input.is_some(), told, "{from}");
        let gone_on = run(&config, images(2), &at(&format!("after{number}")));
        let file = if number == 0 { at(from).join("checkpoint.sedge-run") } else { at(from) };
        let files = &gone_on.header.digests.files;
        assert_eq!((files.len(), &files["from"]), (1, &sha256(&std::fs::read(file).unwrap())), "{from}");
        let mut encoder = gone_on.encoder;
        if told {
            assert_eq!(encoder.input.mean, pretrained.encoder.input.mean, "{from}");
        } else {
            encoder.input = pretrained.encoder.input.clone();
        }
        // What was folded away was put back by the batch that was then trained on; running statistics of old have
        // taken a step towards those of other images.
        let whole = ["before", "unfolded.onnx"].contains(&from);
        let found = distance(&embedded(&encoder, &images(2)), &expected);
        assert!(found < if whole { 0.1 } else { 1e-3 }, "{from}: {found}");
        let state =
            Checkpoint::read(&at(&format!("after{number}")).join("checkpoint.sedge-run")).unwrap().state;
        for (name, value) in state.iter().filter(|(name, _)| name.ends_with("conv.weight/teacher")) {
            let followed = &state[name.trim_end_matches("/teacher")];
            assert!(change(followed, value) < 1e-5, "{from}: {name}");
        }
        for (name, value) in encoder.weights.iter().filter(|(name, _)| name.ends_with("conv.weight")) {
            let folded = fold(&pretrained.encoder.weights).unwrap();
            let expected = if whole { &pretrained.encoder.weights[name] } else { &folded[name] };
            assert!(change(expected, value) < 1e-6, "{from}: {name}");
        }
    }
}

#[test]
fn weights_of_another_encoder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.onnx");
    let input = images(1).input_spec(None);
    let other = Trained::fresh(&net(12), &input, 1).unwrap();
    std::fs::write(&path, onnx(&other, Form::Folded).unwrap()).unwrap();
    let start = Start::read(&path).unwrap();
    assert!(start.weights_of(&net(12), &input.shape).is_ok());
    let said = start.weights_of(&net(10), &input.shape).unwrap_err().to_string();
    assert!(
        said.contains("of another shape") && said.contains("[12, 8, 1, 1] and not [10, 8, 1, 1]"),
        "{said}"
    );
    assert!(!said.contains("missing"), "{said}");
    let blocks = |count: usize| match net(12) {
        Architecture::InvertedResidual(net) => {
            let blocks = net.blocks.iter().copied().cycle().take(count).collect();
            Architecture::InvertedResidual(InvertedResidual { blocks, ..net })
        }
        other => panic!("{other:?}"),
    };
    let said = start.weights_of(&blocks(3), &input.shape).unwrap_err().to_string();
    assert!(said.contains("missing are `blocks.2"), "{said}");
    let said = start.weights_of(&blocks(1), &input.shape).unwrap_err().to_string();
    assert!(said.contains("not of it are `blocks.1"), "{said}");
    let mlp = Architecture::preset("image-mlp").unwrap();
    let said = start.weights_of(&mlp, &input.shape).unwrap_err().to_string();
    assert!(said.contains("none of its weights") && said.contains("it has 16 where"), "{said}");

    std::fs::write(&path, b"no model").unwrap();
    assert!(matches!(Start::read(&path), Err(PretrainError::Start(StartError::Onnx { .. }))));
    let absent = Start::read(&folder.path().join("absent.sedge"));
    assert!(matches!(absent, Err(PretrainError::Start(StartError::Bundle(_)))));
    let text = folder.path().join("weights.txt");
    assert!(Start::read(&text).unwrap_err().to_string().contains(".onnx"));
    assert!(matches!(Start::read(folder.path()), Err(PretrainError::NotARun { .. })));
}

/// The networks of `models/goldens/start.py`, whose files PyTorch wrote.
#[test]
fn a_strangers_file_of_our_architecture_is_matched_from_input_to_output() {
    let golden = |name: &str| format!("{}/../models/goldens/start_{name}", env!("CARGO_MANIFEST_DIR"));
    let (path, other) = (PathBuf::from(golden("image.onnx")), PathBuf::from(golden("imu.onnx")));
    let bytes = std::fs::read(golden("image.safetensors")).unwrap();
    let arrays = sedge_models::weights::decode(&bytes, Default::default()).unwrap();
    let block = |stride| Block { channels: 6, stride, expand: 2 };
    let net = InvertedResidual { stem: 4, stem_stride: 2, blocks: vec![block(2), block(1)], last: 8 };
    let pixels = (0..24 * 10 * 8 * 3u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let samples = Samples::Images { width: 8, height: 10, pixels };
    let data = Dataset::new(samples, None, (0..24).collect(), (0..24).collect()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let architecture = Architecture::InvertedResidual(net.clone());
    let config = PretrainConfig { architecture, ..config(Method::Simclr, Some(path.clone()), 1e-30) };
    let encoder = run(&config, data, &folder.path().join("run")).encoder;
    let onnx = onnx(&encoder, Form::Folded).unwrap();
    let found = sedge_engine::Encoder::new(&onnx, 8).unwrap().embed(arrays["x"].view()).unwrap();
    let expected = arrays["y"].clone().into_dimensionality().unwrap();
    assert!(distance(&found, &expected) < 1e-3, "{}", distance(&found, &expected));

    let start = Start::read(&path).unwrap();
    let refused = |start: &Start, net: InvertedResidual| {
        let net = Architecture::InvertedResidual(net);
        start.weights_of(&net, &[3, 10, 8]).unwrap_err().to_string()
    };
    let said = refused(&start, InvertedResidual { last: 9, ..net.clone() });
    assert!(
        said.contains("in the place of `last.conv.weight`") && said.contains("not [9, 6, 1, 1]"),
        "{said}"
    );
    let said = refused(&start, InvertedResidual { blocks: vec![block(1), block(1)], ..net.clone() });
    assert!(said.contains("computes something else"), "{said}");
    let said = refused(&start, InvertedResidual { blocks: vec![block(2)], ..net.clone() });
    assert!(said.contains("it has 16 where this encoder has 10"), "{said}");
    let said = refused(&Start::read(&other).unwrap(), net);
    assert!(said.contains("none of its weights"), "{said}");
}

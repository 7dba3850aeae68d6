//! Whole runs on a few windows.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use sedge_models::Modality;
use sedge_models::bundle::MadeBy;
use sedge_models::selection::Selection;

use super::super::config_file::parse;
use super::super::{Pretrained, Settings};
use super::*;
use crate::data::{Dataset, Samples};
use crate::encoder::embed;
use crate::export::{ExportOptions, pack};
use crate::measure::Subject;

const SAMPLES: usize = 16;
/// No norm that sees a whole batch.
const TRANSFORMER: &str = "[architecture]\nkind = 'transformer'\npatch = 4\ndim = 16\ndepth = 1\nheads = 2\n\
    mlp_ratio = 2\ncausal = false\n";
const PERCEPTRON: &str = "[architecture]\nkind = 'perceptron'\nwidths = [12, 8]\nnonlinearity = 'sigmoid'\n";

fn data() -> Arc<Dataset> {
    let value =
        |i: usize| (i as f32 * 0.37).sin() + ((i / 192) as f32 * 1.7).cos() * ((i % 32) as f32 * 0.2).sin();
    let values = (0..SAMPLES * 6 * 32).map(value).collect();
    let samples = Samples::Windows { channels: 6, length: 32, rate_hz: 50.0, values };
    Arc::new(Dataset::new(samples, None, vec![0; SAMPLES], (0..SAMPLES as u64).collect()).unwrap())
}

fn config(text: &str) -> PretrainConfig {
    let settings: Settings = parse(Path::new("run.toml"), &format!("workers = 1\n{text}")).unwrap();
    let data = super::super::DataSettings { path: Some("windows".into()), ..Default::default() };
    Settings { data, ..settings }.resolve(Modality::Imu).unwrap()
}

fn refusal(text: &str) -> String {
    match Pretraining::prepare(data(), &config(text)) {
        Err(PretrainError::Config(error)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("`{text}` was taken"),
    }
}

/// Trains by `text` in `folder`.
fn run(text: &str, folder: &Path) -> Pretrained {
    let config = config(text);
    let directory = RunDirectory::create(folder, &config).unwrap();
    let pretraining = Pretraining::prepare(data(), &config).unwrap();
    let outcome = pretraining.run(&directory, &mut Progress::silent(), &Stop::new()).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    Pretrained::read(folder).unwrap()
}

/// The largest difference of the encoders' weights.
fn difference(a: &Pretrained, b: &Pretrained) -> f32 {
    let layers = a.encoder.weights.iter().filter(|(name, _)| name.contains("weight"));
    layers.fold(0.0, |most, (name, value)| {
        (value - &b.encoder.weights[name]).iter().fold(most, |most: f32, v| most.max(v.abs()))
    })
}

#[test]
fn two_half_batches_move_weights_as_the_whole_batch_does() {
    let folder = tempfile::tempdir().unwrap();
    for optimizer in ["optimizer = 'sgd'\nlr = 0.1", "optimizer = 'lars'\nlr = 20.0"] {
        let run = |name: &str, batch: &str| {
            let common =
                "method = 'masked'\nepochs = 3\nwarmup_epochs = 0\nschedule = 'constant'\nclip_norm = 0.5";
            let text = format!("{common}\n{optimizer}\n{batch}\n{TRANSFORMER}");
            run(&text, &folder.path().join(format!("{name}{}", optimizer.len())))
        };
        let (whole, halves) = (run("whole", "batch = 8"), run("halves", "batch = 4\naccumulate = 2"));
        let fresh = Trained::fresh(&whole.config.architecture, &whole.encoder.input, 0).unwrap();
        let fresh = Pretrained { encoder: fresh, ..whole.clone() };
        let (moved, apart) = (difference(&fresh, &whole), difference(&whole, &halves));
        assert!(moved > 1e-2 && apart < 1e-4 * moved, "{optimizer}: moved {moved}, apart {apart}");
        let alone = difference(&whole, &run("alone", "batch = 4"));
        assert!(alone > 0.01 * moved, "{optimizer}: half batches alone are {alone} apart");
        let log = folder.path().join(format!("halves{}", optimizer.len())).join("metrics.jsonl");
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("gradient_norm") && log.contains("applied"), "{log}");
    }
}

#[test]
fn batches_that_cannot_be_summed_are_refused() {
    let said = refusal("method = 'simclr'\nbatch = 4\naccumulate = 2\n");
    assert!(said.contains("`accumulate` is 2") && said.contains("negative"), "{said}");
    let said = refusal("method = 'byol'\nbatch = 8\naccumulate = 3\n");
    assert!(said.contains("at most the 2 batches"), "{said}");
}

#[test]
fn boltzmann_machines_are_for_logistic_perceptrons() {
    let said = refusal("method = 'rbm'\nbatch = 8\nepochs = 4\narchitecture = 'imu-small'\n");
    assert!(said.contains("imu-small") && said.contains("imu-mlp"), "{said}");
    let relu = PERCEPTRON.replace("sigmoid", "relu");
    let said = refusal(&format!("method = 'rbm'\nbatch = 8\nepochs = 4\n{relu}"));
    assert!(said.contains("sigmoid"), "{said}");
    let said = refusal(&format!("method = 'rbm'\nbatch = 8\nepochs = 1\n{PERCEPTRON}"));
    assert!(said.contains("`epochs` is 1") && said.contains("2 or more"), "{said}");
    let said = refusal(&format!("method = 'rbm'\nbatch = 8\nepochs = 2\n[pretext]\nsteps = 0\n{PERCEPTRON}"));
    assert!(said.contains("Gibbs"), "{said}");
}

/// What a run carries beside weights, chains and sums of gradients, is none of what a board trains.
#[test]
fn an_encoder_of_boltzmann_machines_is_measured_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let run_at = folder.path().join("run");
    let text = format!(
        "method = 'rbm'\nbatch = 4\naccumulate = 2\nepochs = 4\npretext = {{ steps = 2, persistent = true }}\n{PERCEPTRON}"
    );
    let made = run(&text, &run_at);
    assert!(made.encoder.weights.contains_key("chain.0") && made.encoder.weights.contains_key("accumulated"));
    let subject = Subject::of_run(&run_at).unwrap();
    let features = embed(&subject.onnx, &data(), &made.encoder.input).unwrap();
    assert!(features.iter().all(|p| (0.0..=1.0).contains(p)));
    let options = ExportOptions {
        name: "swings".into(),
        train: Selection::All,
        batch: 4,
        lr: 0.01,
        temperature: 0.2,
        weight_decay: 0.0,
        made_by: MadeBy {
            version: "0".into(),
            command: "export".into(),
            config: made.config.to_toml().unwrap(),
            seed: 0,
            data_digest: "0".repeat(64),
            method: "rbm".into(),
            epochs: 4,
        },
    };
    let (bundle, _) = pack(&made.encoder, &data(), &options).unwrap();
    let trained: Vec<&str> = bundle
        .manifest
        .training
        .state_of(sedge_models::StateRole::Parameter)
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(trained.iter().filter(|name| name.starts_with("layers.")).count(), 4, "{trained:?}");
    assert!(!trained.iter().any(|name| name.contains("visible") || name.contains("chain")), "{trained:?}");
}

#[cfg(unix)]
#[test]
fn the_cards_of_the_machine_are_counted_where_the_run_is_on_one() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("nvidia-smi");
    std::fs::write(&program, "#!/bin/sh\nwhile echo 100.0; do sleep 0.4; done\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (device, counted) in
        [(Device::Cpu, false), (Device::BurnCpu, false), (Device::Cuda(0), true), (Device::Wgpu, true)]
    {
        let sources = meter(device, &program).sources();
        // A Jetson's rails hold its card already.
        let rails = sources.iter().any(|source| source.contains("Jetson"));
        let cards = sources.iter().any(|source| source.contains("nvidia-smi"));
        assert_eq!(cards, counted && !rails, "{device}: {sources:?}");
    }
}

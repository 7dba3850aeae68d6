//! A comparison of two methods on a few windows of two kinds of swing.
#![allow(clippy::unwrap_used)]

use sedge_models::architecture::{Architecture, Conv1d};

use super::*;
use crate::data::{Labels, Samples};
use crate::measure::Held;
use crate::pretrain::{ArchitectureSetting, DataSettings, PretextSettings};

/// Windows of six channels, slow or fast, by four people.
fn swings() -> Dataset {
    let value = |i: usize, c: usize, t: usize| {
        let speed = if i.is_multiple_of(2) { 0.2 } else { 0.7 };
        (speed * t as f32 + (i + c) as f32).sin()
    };
    let windows = (0..80).flat_map(|i| (0..6 * 32).map(move |v| value(i, v / 32, v % 32))).collect();
    let samples = Samples::Windows { channels: 6, length: 32, rate_hz: 50.0, values: windows };
    let labels = Labels { ids: (0..80).map(|i| i % 2).collect(), names: vec!["slow".into(), "fast".into()] };
    let groups = (0..80).map(|i| i / 20).collect();
    Dataset::new(samples, Some(labels), groups, (0..80).collect()).unwrap()
}

fn plan(out: &Path) -> Plan {
    let settings = Settings {
        data: DataSettings { path: Some("swings".into()), ..DataSettings::default() },
        epochs: Some(2),
        batch: Some(16),
        workers: Some(1),
        ..Settings::default()
    };
    let protocol = Protocol { draws: 2, ..Protocol::default() };
    Plan {
        methods: vec![Method::Simclr, Method::Rotation, Method::Denoising],
        settings,
        protocol,
        out: out.into(),
    }
}

fn run(plan: &Plan, stop: &Stop) -> Option<Compared> {
    let sides = Sides::cut(&swings(), &Held::Groups(vec![3]), "swings").unwrap();
    compare(plan, &sides, &mut |_| Progress::silent(), stop).unwrap()
}

#[test]
fn methods_are_measured_side_by_side_and_a_second_start_finds_them_done() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path());
    let stop = Stop::new();
    let first = run(&plan, &stop).unwrap();
    let methods: Vec<&str> = first.rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(methods, ["simclr", "denoising"]);
    assert_eq!(first.left_out[0].0, "rotation");
    let shown = first.table().to_string();
    for words in ["simclr", "denoising", "random", "raw input", "rotation was left out"] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let log = folder.path().join("simclr/metrics.jsonl");
    let lines = std::fs::read(&log).unwrap();
    let second = run(&plan, &stop).unwrap();
    assert_eq!(std::fs::read(&log).unwrap(), lines, "nothing was trained again");
    assert_eq!(second.rows[0].evaluation, first.rows[0].evaluation);
    let stored: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("compare.json")).unwrap()).unwrap();
    assert_eq!(stored["rows"][1]["method"], "denoising");
    assert!(std::fs::read_to_string(folder.path().join("compare.md")).unwrap().contains("| simclr |"));
}

#[test]
fn a_stack_of_boltzmann_machines_is_a_row_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(folder.path());
    plan.methods = vec![Method::Rbm];
    plan.settings.epochs = Some(3);
    let compared = run(&plan, &Stop::new()).unwrap();
    assert_eq!((compared.rows.len(), compared.rows[0].config.architecture_name().as_str()), (1, "imu-mlp"));
}

/// A method that cannot train the comparison's encoder trains its own, where it has one.
#[test]
fn methods_that_want_an_encoder_of_their_own_have_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(folder.path());
    plan.methods = vec![Method::Denoising, Method::Mae, Method::Rbm, Method::Distil];
    // An epoch for each layer of the machines at least.
    plan.settings.epochs = Some(3);
    let net = Conv1d { channels: vec![8, 16], strides: vec![2, 2], kernel: 5 };
    plan.settings.architecture = Some(ArchitectureSetting::Table(Architecture::Conv1d(net)));
    let compared = run(&plan, &Stop::new()).unwrap();
    let encoders: Vec<String> = compared.rows.iter().map(|row| row.config.architecture_name()).collect();
    assert_eq!(encoders, ["conv1d", "imu-transformer", "imu-mlp"]);
    assert_eq!(compared.left_out.len(), 1);
    let shown = compared.table().to_string();
    assert_eq!(shown.lines().filter(|line| line.starts_with("random")).count(), 3, "{shown}");
}

#[test]
fn a_stop_leaves_runs_to_go_on_with_and_other_settings_are_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path());
    let stop = Stop::new();
    stop.request();
    assert!(run(&plan, &stop).is_none());
    let mut other = plan.clone();
    other.settings.epochs = Some(3);
    let sides = Sides::cut(&swings(), &Held::Groups(vec![3]), "swings").unwrap();
    let mixed = compare(&other, &sides, &mut |_| Progress::silent(), &Stop::new()).unwrap_err();
    assert!(matches!(mixed, CompareError::Pretrain { .. }), "{mixed}");
    other.methods = vec![Method::Rotation];
    let none = compare(&other, &sides, &mut |_| Progress::silent(), &Stop::new()).unwrap_err();
    assert!(matches!(none, CompareError::None { .. }));
    other.methods = vec![Method::Simclr];
    other.settings.pretext = Some(PretextSettings([("speed".into(), 3.into())].into_iter().collect()));
    assert!(compare(&other, &sides, &mut |_| Progress::silent(), &Stop::new()).is_err());
}

//! The whole job, thin: `sedge pretrain`, `sedge export`, and the daemon over every kind of source. What
//! the crates promise each other is checked here: that a board embeds a picture as the host did, that
//! nothing of a recording gets lost between reader and summary, and that a seed decides everything.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::Parser;
use ndarray::{Array2, ArrayView1};
use sedge::cli::Cli;
use sedge::data::{LoadOptions, load};
use sedge::encoder::embed;
use sedge_engine::Encoder;
use sedge_firmware::output::Happening;
use sedge_firmware::run::run;
use sedge_firmware::{Collected, Device, DeviceConfig, RunConfig, Source, SourceOptions, Summary};
use sedge_models::bundle::Bundle;
use sedge_tests::shared;
use serde_json::Value;

const SIDE: usize = 32;
const DRIVE: &str = "sim:rooms=2,seconds=16,building=3";

/// Runs `sedge` with a line of words; gives what it prints.
fn sedge(line: &str) -> String {
    let cli = Cli::try_parse_from(std::iter::once("sedge").chain(line.split_whitespace())).unwrap();
    let mut out = vec![];
    sedge::cli::run(cli, &mut out).unwrap_or_else(|error| panic!("sedge {line}: {error}"));
    String::from_utf8(out).unwrap()
}

/// What the command line made, once for all tests.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let made = Made { folder: tempfile::tempdir().unwrap() };
    let at = made.folder.path().display();
    for (kind, how) in [
        ("image", "--architecture image-tiny --image-size 32 --batch 8 --limit 96 --neighbour-ms 500"),
        ("imu", "--architecture imu-small --modality imu --window 64 --batch 8 --limit 96"),
    ] {
        let data = "--data sim:rooms=2,seconds=12";
        let run = format!("{at}/{kind}");
        sedge(&format!(
            "pretrain {data} --epochs 2 --lr 0.001 --seed 3 --quiet {how} --out {run} --json {run}-run.json"
        ));
        let board = "--train last:2 --batch 16 --lr 0.02";
        sedge(&format!("export {run} --out {run}.sedge --json {run}-export.json {board}"));
    }
    made
});

/// A device that soon begins to learn, and is not hard to please.
fn eager(seed: u64) -> DeviceConfig {
    let mut config = DeviceConfig {
        seed,
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
    config.guard.z = 0.5;
    config
}

/// A run of the daemon into `out`.
fn sedged(bundle: &str, source: &str, out: &Path, device: DeviceConfig, options: SourceOptions) -> Summary {
    let bundle = MADE.path(&format!("{bundle}.sedge"));
    let config = RunConfig { device, source_options: options, ..RunConfig::new(bundle, source, out) };
    let summary = run(&config).unwrap();
    assert!(summary.ended && summary.source_error.is_none(), "{summary:#?}");
    assert!(summary.balances(), "not accounted for: {:#?}", summary.report);
    assert_eq!((summary.report.frames.waiting, summary.report.imu.waiting), (0, 0));
    summary
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Largest difference of two embeddings, relative to the length of the second.
fn difference(found: ArrayView1<'_, f32>, wanted: ArrayView1<'_, f32>) -> f32 {
    let length = wanted.dot(&wanted).sqrt().max(f32::MIN_POSITIVE);
    found.iter().zip(wanted).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / length
}

/// Every embedding that the device made, against the host's of the same picture.
fn same_as_on_the_host(embeddings: &[(u64, Vec<f32>)], host: &Array2<f32>, limit: f32) {
    assert!(!embeddings.is_empty());
    for (index, embedding) in embeddings {
        let off = difference(ArrayView1::from(embedding), host.row(*index as usize));
        assert!(off < limit, "frame {index} is embedded {off} away from the host's embedding");
    }
}

fn written(out: &Path) -> Vec<(u64, Vec<f32>)> {
    let floats = |line: &Value| {
        line["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let lines = lines(&out.join("embeddings.jsonl"));
    lines.iter().map(|line| (line["index"].as_u64().unwrap(), floats(line))).collect()
}

/// The host's embeddings of all frames of a source.
fn on_the_host(source: &str, onnx: &[u8], bundle: &Bundle) -> Array2<f32> {
    let data = load(source, &LoadOptions { image_size: Some(SIDE), ..LoadOptions::default() }).unwrap();
    embed(onnx, &data, &bundle.manifest.input).unwrap()
}

#[test]
fn the_commands_leave_what_scripts_depend_on() {
    for kind in ["image", "imu"] {
        let run = MADE.json(&format!("{kind}-run.json"));
        assert_eq!(run["epochs"], 2, "{run}");
        assert!(run["loss"].as_f64().unwrap().is_finite(), "{run}");
        let export = MADE.json(&format!("{kind}-export.json"));
        assert!(export["parity"]["relative"].as_f64().unwrap() < 1e-4, "{export}");
        let bundle = Bundle::read(&MADE.path(&format!("{kind}.sedge"))).unwrap();
        assert_eq!(export["digest"], bundle.digest().unwrap());
        assert_eq!((bundle.manifest.made_by.epochs, bundle.manifest.made_by.seed), (2, 3));
        let shown = sedge(&format!("inspect {}", MADE.path(&format!("{kind}.sedge")).display()));
        assert!(shown.contains("encoder.onnx") && shown.contains("step.onnx"), "{shown}");
    }
}

#[test]
fn a_board_embeds_what_it_sees_as_the_host_does() {
    let out = tempfile::tempdir().unwrap();
    let still = DeviceConfig { adapt: false, ..DeviceConfig::default() };
    let summary = sedged("image", DRIVE, out.path(), still, SourceOptions::default());
    assert_eq!((summary.report.frames.offered, summary.report.imu.offered), (320, 1_600));
    let bundle = Bundle::read(&MADE.path("image.sedge")).unwrap();
    let host = on_the_host(DRIVE, &bundle.encoder, &bundle);
    let found = written(out.path());
    assert_eq!(found.len() as u64, summary.report.frames.used);
    same_as_on_the_host(&found, &host, 1e-4);
}

#[test]
fn what_a_board_has_learnt_is_what_it_serves_and_hands_out() {
    let bundle = Bundle::read(&MADE.path("image.sedge")).unwrap();
    let mut device = Device::new(&bundle, &eager(11)).unwrap();
    let mut sink = Collected::default();
    for event in Source::parse(DRIVE).unwrap().open(&SourceOptions::default(), 0.0).unwrap() {
        device.push(event.unwrap(), &mut sink).unwrap();
    }
    let report = device.finish(&mut sink).unwrap();
    assert!(report.balances() && report.adaptation.progress.steps >= 20, "{report:#?}");
    let changes: Vec<u64> = sink
        .events
        .iter()
        .filter(|event| matches!(event.what, Happening::Serving { .. }))
        .map(|event| event.t_ns)
        .collect();
    assert_eq!(changes.len() as u64, device.served());
    let last = *changes.last().unwrap_or_else(|| panic!("nothing was served: {report:#?}"));
    // The weights that it hands out embed, on the host, what it saw after it began to serve them.
    let since: Vec<(u64, Vec<f32>)> =
        sink.embeddings.iter().filter(|(t, ..)| *t > last).map(|(_, i, e)| (*i, e.clone())).collect();
    same_as_on_the_host(&since, &on_the_host(DRIVE, device.encoder_onnx(), &bundle), 1e-4);
    Encoder::new(device.encoder_onnx(), 1).unwrap();
    assert!(device.weights().values().all(|weight| weight.iter().all(|v| v.is_finite())));
}

#[test]
fn a_flight_is_accounted_for_and_a_seed_decides_everything() {
    let Some(flight) = shared("data/streams/gopro_karma.mcap") else { return };
    let flight = flight.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let results = |name: &str, seed| {
        let out = folder.path().join(name);
        let summary = sedged("image", flight, &out, eager(seed), SourceOptions::default());
        let read = |file: &str| std::fs::read_to_string(out.join(file)).unwrap();
        (summary, read("embeddings.jsonl"), read("events.jsonl"))
    };
    let (summary, embeddings, events) = results("a", 1);
    let (frames, imu) = (&summary.report.frames, &summary.report.imu);
    assert_eq!((frames.offered, imu.offered, summary.events), (362, 2_397, 362 + 2_397));
    for account in [frames, imu] {
        assert_eq!(account.offered, account.used + account.dropped.values().sum::<u64>(), "{account:?}");
    }
    assert_eq!(embeddings.lines().count() as u64, frames.used);
    assert!(summary.report.adaptation.progress.steps > 0, "{:?}", summary.report.adaptation);
    let messages = summary.source_account.topics.iter().map(|topic| topic.messages).sum::<u64>();
    assert_eq!((messages, summary.source_account.lost_messages), (362 + 2_397, 0));

    let again = results("b", 1);
    assert!((&again.1, &again.2) == (&embeddings, &events), "equal seeds must give equal bytes");
    assert!(results("c", 2).2 != events, "another seed must show");

    let still = DeviceConfig { adapt: false, ..DeviceConfig::default() };
    sedged("image", flight, &folder.path().join("still"), still, SourceOptions::default());
    let bundle = Bundle::read(&MADE.path("image.sedge")).unwrap();
    let host = on_the_host(flight, &bundle.encoder, &bundle);
    same_as_on_the_host(&written(&folder.path().join("still")), &host, 1e-4);
}

#[test]
fn a_flight_in_windows_leaves_no_sample_unexplained() {
    let Some(flight) = shared("data/streams/gopro_karma.mcap") else { return };
    let folder = tempfile::tempdir().unwrap();
    let flight = flight.to_str().unwrap();
    let summary = sedged("imu", flight, folder.path(), eager(1), SourceOptions::default());
    let (frames, imu) = (&summary.report.frames, &summary.report.imu);
    assert_eq!((frames.offered, imu.offered), (362, 2_397));
    assert_eq!((frames.used, frames.dropped.get("unused")), (0, Some(&362)));
    assert_eq!(imu.used + imu.dropped.values().sum::<u64>(), 2_397, "{imu:?}");
    // 12 s at the 100 Hz of the bundle, in windows of 64 every 32.
    assert!((30..=36).contains(&summary.report.windows.used), "{:?}", summary.report.windows);
}

/// Twelve pictures, and one file that says it is one.
fn pictures(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for number in 0..12u8 {
        let pixel = |x: u32, y: u32| image::Rgb([(x * 5) as u8, (y * 5) as u8, 20 * number]);
        image::RgbImage::from_fn(48, 40, pixel).save(folder.join(format!("{number:02}.png"))).unwrap();
    }
    std::fs::write(folder.join("12.png"), "no picture").unwrap();
}

#[test]
fn a_folder_of_pictures_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("pictures");
    pictures(&from);
    let from = from.to_str().unwrap();
    let out = folder.path().join("out");
    let options = SourceOptions { rate_hz: Some(5.0), accel_in_g: false };
    let frames = sedged("image", from, &out, eager(1), options).report.frames;
    assert_eq!((frames.offered, frames.used), (13, 12));
    assert_eq!(frames.dropped.iter().collect::<Vec<_>>(), [(&"corrupt", &1)]);
    let bundle = Bundle::read(&MADE.path("image.sedge")).unwrap();
    same_as_on_the_host(&written(&out), &on_the_host(from, &bundle.encoder, &bundle), 1e-4);
}

/// An archive with one array `x` of `rows` rows of six channels, row 7 of which is not a number.
fn series(path: &Path, rows: usize) {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 6), }}").into_bytes();
    // NumPy's format 1.0: magic, version, and a header that ends in a line feed at a multiple of 64.
    header.resize((header.len() + 11).next_multiple_of(64) - 11, b' ');
    header.push(b'\n');
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((header.len() as u16).to_le_bytes());
    array.extend(header);
    for row in 0..rows {
        for channel in 0..6 {
            let value = if row == 7 { f32::NAN } else { ((row * (channel + 2)) % 13) as f32 * 0.1 };
            array.extend(value.to_le_bytes());
        }
    }
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    archive.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&array).unwrap();
    archive.finish().unwrap();
}

#[test]
fn an_archive_of_series_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("walk.npz");
    series(&from, 500);
    let options = SourceOptions { rate_hz: Some(100.0), accel_in_g: true };
    let summary = sedged("imu", from.to_str().unwrap(), &folder.path().join("out"), eager(1), options);
    let imu = &summary.report.imu;
    assert_eq!((imu.offered, imu.dropped.get("not_finite")), (500, Some(&1)), "{imu:?}");
    assert_eq!(imu.used + imu.dropped.values().sum::<u64>(), 500, "{imu:?}");
    assert!(summary.report.windows.used >= 10, "{:?}", summary.report.windows);
    assert!(written(&folder.path().join("out")).iter().all(|(_, e)| e.iter().all(|v| v.is_finite())));
}

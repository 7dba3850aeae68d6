//! What `sedged` costs on this machine. The daemon runs bundles over a simulated drive at the drive's
//! own pace, with and without adapting, each in a process of its own so that its peak memory is its own;
//! then training steps are timed alone. Weights are fresh: they change no cost.
//!
//! ```text
//! cargo bench -p sedge-tests --bench sedged -- --seconds 20 --json sedged.json
//! ```
//!
//! `adapting` counts the frames embedded while a step was under way beside them; where they are few, their
//! p99 is the slowest of them. `first s` is the time from the daemon's start, the bundle's reading and
//! self-test included, to its first embedding. Without adapting and with, a net's rows stand side by side.
//!
//! The drive is rendered while the daemon runs, by one thread of the same process: what it takes of the
//! processors a real camera would not, and its few megabytes are in the peak.
#![allow(clippy::print_stdout, reason = "a table is what a bench is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use ndarray::{ArrayD, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge::encoder::{Trained, board_step, pretraining_step};
use sedge::pretrain::{ArchitectureSetting, DataSettings, Settings, Setup};
use sedge_core::PairingConfig;
use sedge_engine::{Engine, TractStep};
use sedge_firmware::{Pace, RunConfig, run};
use sedge_models::architecture::Architecture;
use sedge_models::compile::VIEWS;
use sedge_models::selection::Selection;
use sedge_models::{InputSpec, Modality, TrainingStep};
use sedge_readings::Span;
use sedge_tests::fresh_bundle;
use serde::Serialize;
use serde_json::Value;

/// Side of the images, in pixels.
const SIDE: usize = 64;
/// Rows of a training step: two views of each pair.
const VIEWS_A_STEP: usize = 64;
/// Learning rate, weight decay and temperature: they change no cost.
const RATES: (f32, f32, f32) = (0.01, 1e-4, 0.2);
/// Drives of the daemon: preset, part trained, whether it adapts. Without adapting the part is not run.
const DRIVES: [(&str, Selection, bool); 6] = [
    ("image-small", Selection::Last(2), false),
    ("image-small", Selection::Last(2), true),
    ("image-small", Selection::Head, true),
    ("image-tiny", Selection::Last(2), false),
    ("image-tiny", Selection::Last(2), true),
    ("image-tiny", Selection::Head, true),
];

/// What `sedged` costs on this machine.
#[derive(Parser)]
struct Arguments {
    /// Write the same numbers here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Length of each drive
    #[arg(long, value_name = "S", default_value_t = 16)]
    seconds: u32,
    /// Training steps timed
    #[arg(long, value_name = "N", default_value_t = 12)]
    steps: usize,
    /// A folder with a bundle to run over one drive, and nothing else; how the bench calls itself
    #[arg(long, value_name = "FOLDER", hide = true)]
    drive: Option<PathBuf>,
    /// Embed only
    #[arg(long, hide = true)]
    still: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Serialize)]
struct Report {
    processors: usize,
    drives: Vec<Drive>,
    steps: Vec<Step>,
}

/// One run of the daemon.
#[derive(Serialize)]
struct Drive {
    architecture: &'static str,
    trained: Option<String>,
    stream_s: f64,
    /// Frames embedded, and frames lost for whatever reason.
    frames: u64,
    dropped: u64,
    frame_p50_ms: f64,
    frame_p99_ms: f64,
    /// Frames embedded while a step was under way beside them.
    frames_while_adapting: u64,
    frame_p99_while_adapting_ms: f64,
    steps: u64,
    step_p50_ms: f64,
    step_p99_ms: f64,
    first_embedding_s: f64,
    peak_rss_mb: f64,
}

/// A training step alone.
#[derive(Serialize)]
struct Step {
    architecture: &'static str,
    trained: String,
    views: usize,
    parameters: usize,
    prepare_ms: f64,
    step_p50_ms: f64,
    step_best_ms: f64,
}

fn main() -> ExitCode {
    // `cargo test` runs a bench too, to see that it still can; only `cargo bench` says so.
    let outcome = if std::env::args().any(|word| word == "--bench") { bench() } else { smoke() };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("sedged bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn smoke() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    fresh_bundle(&Architecture::preset("image-tiny")?, 32, Selection::Head, 1)?
        .write(&bundle(folder.path()))?;
    drive(folder.path(), 1, Pace::Fast, true)?;
    time_step("imu-small", Selection::Last(1), 1)?;
    Ok(())
}

fn bench() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.drive {
        // As the daemon itself does first of all.
        sedge_engine::keep_memory();
        return drive(folder, arguments.seconds, Pace::Realtime, !arguments.still);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{processors} processors, images of {SIDE}x{SIDE}, {VIEWS_A_STEP} views a step\n");
    let mut report = Report { processors, drives: vec![], steps: vec![] };

    println!(
        "sedged over {} s of simulated drive at its own pace (20 frames/s, 100 samples/s)",
        arguments.seconds
    );
    println!(
        "{:<12} {:<7} {:>6} {:>7} {:>8} {:>8} {:>8} {:>15} {:>6} {:>8} {:>8} {:>8} {:>7}",
        "net",
        "trains",
        "frames",
        "dropped",
        "p50 ms",
        "p99 ms",
        "adapting",
        "p99 adapting ms",
        "steps",
        "p50 ms",
        "p99 ms",
        "first s",
        "RSS MB"
    );
    for (name, part, adapt) in DRIVES {
        let drive = drive_apart(name, part, adapt, arguments.seconds)?;
        println!(
            "{:<12} {:<7} {:>6} {:>7} {:>8.2} {:>8.2} {:>8} {:>15.2} {:>6} {:>8.1} {:>8.1} {:>8.3} {:>7.0}",
            drive.architecture,
            drive.trained.as_deref().unwrap_or("-"),
            drive.frames,
            drive.dropped,
            drive.frame_p50_ms,
            drive.frame_p99_ms,
            drive.frames_while_adapting,
            drive.frame_p99_while_adapting_ms,
            drive.steps,
            drive.step_p50_ms,
            drive.step_p99_ms,
            drive.first_embedding_s,
            drive.peak_rss_mb
        );
        report.drives.push(drive);
    }

    println!("\ntraining steps alone, the median and the best of {}", arguments.steps);
    println!(
        "{:<12} {:<7} {:>9} {:>10} {:>8} {:>8}",
        "net", "trains", "weights", "prepare ms", "p50 ms", "best ms"
    );
    for (name, part) in [
        ("image-tiny", Selection::All),
        ("image-small", Selection::All),
        ("imu-small", Selection::All),
        ("image-tiny", Selection::Last(2)),
        ("image-small", Selection::Last(2)),
        ("image-small", Selection::Head),
        ("imu-small", Selection::Last(2)),
    ] {
        let step = time_step(name, part, arguments.steps)?;
        println!(
            "{:<12} {:<7} {:>9} {:>10.0} {:>8.1} {:>8.1}",
            step.architecture,
            step.trained,
            step.parameters,
            step.prepare_ms,
            step.step_p50_ms,
            step.step_best_ms
        );
        report.steps.push(step);
    }
    if let Some(path) = &arguments.json {
        sedge::files::write_atomic(path, &serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

fn bundle(folder: &Path) -> PathBuf {
    folder.join("bundle.sedge")
}

/// Runs the folder's bundle over a drive; what it came to lies in the folder's `out/summary.json`.
fn drive(folder: &Path, seconds: u32, pace: Pace, adapt: bool) -> Result<(), Box<dyn Error>> {
    let source = format!("sim:rooms=2,seconds={seconds}");
    let mut config = RunConfig::new(bundle(folder), source, folder.join("out"));
    config.device.pace = pace;
    config.device.adapt = adapt;
    // Pairs from any two frames in a row and few held out: it begins to adapt within seconds, and a step
    // costs what it costs.
    config.device.pairing = Some(PairingConfig {
        min: Span::from_millis(40),
        max_rotation: f32::MAX,
        ..PairingConfig::default()
    });
    config.device.guard.min_pairs = 4;
    config.device.hold_out_every = 8;
    let summary = run::run(&config)?;
    if !summary.balances() {
        return Err(format!("frames are not accounted for: {:?}", summary.report).into());
    }
    Ok(())
}

/// The same in a process of its own.
fn drive_apart(
    name: &'static str,
    part: Selection,
    adapt: bool,
    seconds: u32,
) -> Result<Drive, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    fresh_bundle(&Architecture::preset(name)?, SIDE, part.clone(), 1)?.write(&bundle(folder.path()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--bench", "--seconds", &seconds.to_string(), "--drive"]).arg(folder.path());
    if !adapt {
        command.arg("--still");
    }
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{name} {part}: {}", String::from_utf8_lossy(&output.stdout)).into());
    }
    let summary: Value = serde_json::from_slice(&std::fs::read(folder.path().join("out/summary.json"))?)?;
    // What the daemon does not tell counts as zero: a bench that fails for that tells less.
    let number = |pointer: &str| summary.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    let count = |pointer: &str| summary.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    Ok(Drive {
        architecture: name,
        trained: adapt.then(|| part.to_string()),
        stream_s: number("/stream_s"),
        frames: count("/frames/used"),
        dropped: count("/frames/offered").saturating_sub(count("/frames/used")),
        frame_p50_ms: number("/timing/frame/p50_ms"),
        frame_p99_ms: number("/timing/frame/p99_ms"),
        frames_while_adapting: count("/timing/frame_while_adapting/count"),
        frame_p99_while_adapting_ms: number("/timing/frame_while_adapting/p99_ms"),
        steps: count("/timing/step/count"),
        step_p50_ms: number("/timing/step/p50_ms"),
        step_p99_ms: number("/timing/step/p99_ms"),
        first_embedding_s: number("/first_embedding_s"),
        peak_rss_mb: number("/peak_rss_bytes") / 1e6,
    })
}

/// Times the step that pretrains (all layers, AdamW) or that a board adapts by (a part, SGD).
fn time_step(name: &'static str, part: Selection, count: usize) -> Result<Step, Box<dyn Error>> {
    let architecture = Architecture::preset(name)?;
    let input = match architecture {
        Architecture::Conv1d(_) => InputSpec::imu(128, 100.0, vec![0.0; 6], vec![1.0; 6]),
        _ => InputSpec::image(SIDE, SIDE, [0.5; 3], [0.25; 3]),
    };
    let step = if part == Selection::All {
        pretraining(name, &input)?
    } else {
        let encoder = Trained::fresh(&architecture, &input, 1)?;
        board_step(&encoder, &part, VIEWS_A_STEP, RATES, 1)?
    };
    let begun = Instant::now();
    let mut engine = TractStep::new(&step)?;
    let prepare_ms = begun.elapsed().as_secs_f64() * 1e3;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let shape = [&[VIEWS_A_STEP], input.shape.as_slice()].concat();
    let views = ArrayD::from_shape_simple_fn(IxDyn(&shape), || rng.random_range(-1.0..1.0f32));
    // The first step is not timed: it touches memory that the others find ready.
    engine.step(&[(VIEWS, views.view())], &[])?;
    let mut times = vec![];
    for _ in 0..count.max(1) {
        let begun = Instant::now();
        engine.step(&[(VIEWS, views.view())], &[])?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(Step {
        architecture: name,
        trained: part.to_string(),
        views: VIEWS_A_STEP,
        parameters: step.spec.parameters(),
        prepare_ms,
        // Never empty: one step is timed at least.
        step_p50_ms: times[times.len() / 2],
        step_best_ms: times[0],
    })
}

fn pretraining(name: &str, input: &InputSpec) -> Result<TrainingStep, Box<dyn Error>> {
    let settings = Settings {
        data: DataSettings { path: Some("sim".into()), ..DataSettings::default() },
        architecture: Some(ArchitectureSetting::Preset(name.into())),
        batch: Some(VIEWS_A_STEP / 2),
        epochs: Some(1),
        ..Settings::default()
    };
    let modality: Modality = input.modality;
    let config = settings.resolve(modality)?;
    let setup = Setup { architecture: &config.architecture, input, config: &config };
    Ok(pretraining_step(&config, input, &*config.method.pretext(setup)?)?)
}

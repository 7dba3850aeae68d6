//! What a training step and an embedding cost, ours beside PyTorch and ONNX Runtime, over networks that
//! come from PyTorch as ONNX files (`peers/nets.py`). Every measurement runs in a process of its own, so
//! that its peak memory is its own, and the frameworks take turns, so that a busy machine slows them alike.
//!
//! ```text
//! cargo bench -p sedge-tests --bench training_step -- --python PYTHON --ort-training PYTHON
//! ```
//!
//! PYTHON has `torch`, `onnx` and `onnxruntime`; the second has `onnxruntime-training` too. Without them
//! our own presets are timed alone. One thread is timed by the processor time of its process, so that what
//! else the machine does counts little, and more threads by the clock. Of repeated turns the best median counts; memory is the peak of the
//! process, which for the peers includes Python.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table is what a bench is for")]

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use ndarray::{ArrayD, IxDyn};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};
use sedge_engine::{Encoder, Engine, Options, TractStep, keep_memory};
use sedge_models::architecture::{Architecture, Form};
use sedge_models::compile::{Recipe, VIEWS, compile};
use sedge_models::import::{ImportOptions, NormForm, import};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::selection::Selection;
use serde::{Deserialize, Serialize};

/// Networks of `peers/nets.py`, the rows of a step, and the parts of them that are trained.
const NETS: [(&str, usize, &[&str]); 7] = [
    ("cnn64", 64, &["head", "last:2", "all"]),
    ("cnn96", 64, &["head", "last:2", "all"]),
    ("imu", 64, &["head", "last:2", "all"]),
    ("vit64", 64, &["head", "last:2", "all"]),
    ("resnet", 128, &["all"]),
    ("mobilenet", 128, &["all"]),
    ("vit32", 128, &["all"]),
];
/// Networks whose embedding is timed, and the batches.
const INFERENCE: [(&str, [usize; 2]); 3] = [("cnn64", [1, 32]), ("imu", [1, 32]), ("vit64", [1, 32])];
/// As in `peers/nets.py`.
const HEAD: ProjectionHead = ProjectionHead::new(128, 64);
const TEMPERATURE: f32 = 0.2;
/// Rows of a step of our presets.
const PRESET_BATCH: usize = 32;

type Failure = Box<dyn Error>;

/// Time training steps and embeddings, ours beside the peers'.
#[derive(Parser)]
struct Arguments {
    /// A Python with torch, onnx and onnxruntime
    #[arg(long, value_name = "PYTHON")]
    python: Option<OsString>,
    /// A Python with torch and onnxruntime-training
    #[arg(long, value_name = "PYTHON")]
    ort_training: Option<OsString>,
    /// Networks, all unless told
    #[arg(long, value_name = "NET")]
    net: Vec<String>,
    /// Threads of each framework
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Turns of each framework
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// An ONNX file to measure alone; how the bench calls itself
    #[arg(long, value_name = "FILE", hide = true, requires_all = ["part", "batch"])]
    measure: Option<PathBuf>,
    #[arg(long, hide = true)]
    part: Option<String>,
    #[arg(long, hide = true)]
    batch: Option<usize>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One framework's turn: milliseconds and megabytes.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cost {
    best: f64,
    median: f64,
    peak_mb: u64,
}

fn main() -> ExitCode {
    // As our programs do.
    keep_memory();
    // The test runner passes flags of its own and wants a short run.
    let as_test = !std::env::args().any(|a| a == "--bench" || a == "--measure");
    let outcome = if as_test {
        presets(Duration::from_millis(1))
    } else {
        let arguments = Arguments::parse();
        match (&arguments.measure, &arguments.python) {
            (Some(file), _) => measure(&arguments, file),
            (None, Some(python)) => compare(&arguments, python),
            (None, None) => presets(Duration::from_secs_f64(arguments.seconds)),
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Milliseconds by the clock of a turn: of one thread the processor time of the whole process, which a busy
/// machine lengthens little; of more threads the time that passes.
fn clock(threads: usize) -> f64 {
    let clock = if threads == 1 { ClockId::ProcessCPUTime } else { ClockId::Monotonic };
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// Repeats `work` for `span`, after two calls that do not count, five times at least.
fn timed(
    span: Duration,
    threads: usize,
    mut work: impl FnMut() -> Result<(), Failure>,
) -> Result<Cost, Failure> {
    work()?;
    work()?;
    let (mut times, end) = (vec![], Instant::now() + span);
    while times.len() < 5 || Instant::now() < end {
        let begin = clock(threads);
        work()?;
        times.push(clock(threads) - begin);
    }
    times.sort_by(f64::total_cmp);
    Ok(Cost { best: times[0], median: times[times.len() / 2], peak_mb: peak_mb() })
}

/// Peak resident memory of this process, zero where the system does not tell.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kb| kb / 1024)
}

fn noise(shape: &[usize]) -> ArrayD<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || rng.random_range(-1.0..1.0f32))
}

fn measure(arguments: &Arguments, file: &Path) -> Result<(), Failure> {
    let (part, batch) = (arguments.part.as_deref().unwrap_or("all"), arguments.batch.unwrap_or(1));
    let bytes = std::fs::read(file)?;
    let span = Duration::from_secs_f64(arguments.seconds);
    let options = Options { threads: arguments.threads, ..Options::default() };
    let cost = if part == "infer" {
        let mut encoder = Encoder::with_options(&bytes, batch, options)?;
        let shape = [&[batch], encoder.sample_shape()].concat();
        let views = noise(&shape);
        timed(span, options.threads, || Ok(encoder.embed(views.view()).map(drop)?))?
    } else {
        let recipe = recipe(&bytes, part, batch)?;
        let mut step = TractStep::with_options(&compile(recipe)?, options)?;
        let views = noise(&step.spec().inputs[0].shape.clone());
        timed(span, options.threads, || Ok(step.step(&[(VIEWS, views.view())], &[]).map(drop)?))?
    };
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

/// The step that trains `part` of the encoder in `bytes`; batch norms are trained by batch statistics
/// where everything is, and folded otherwise.
fn recipe(bytes: &[u8], part: &str, batch: usize) -> Result<Recipe, Failure> {
    let selection: Selection = part.parse()?;
    let norm = if selection == Selection::All { NormForm::Statistics } else { NormForm::Folded };
    let encoder = import(bytes, &ImportOptions::new(batch, norm))?;
    let trained = selection.choose(&encoder.weights, &encoder.blocks)?.trained;
    let objective = Objective::NtXent { head: HEAD, temperature: TEMPERATURE };
    let statistics = encoder.statistics;
    Ok(Recipe { statistics, lr: 0.01, seed: 1, ..Recipe::new(encoder.model, trained, objective) })
}

/// Our presets alone, all layers.
fn presets(span: Duration) -> Result<(), Failure> {
    for (name, sample) in
        [("image-tiny", vec![3, 64, 64]), ("image-small", vec![3, 64, 64]), ("imu-small", vec![6, 128])]
    {
        let architecture = Architecture::preset(name)?;
        let weights = architecture.initial_weights(&sample, 1)?;
        let encoder = architecture.graph(Form::Training, Batch::Fixed(PRESET_BATCH), &sample, &weights)?;
        let trained = weights.keys().filter(|name| !name.contains("running")).cloned().collect();
        let objective = Objective::NtXent { head: HEAD, temperature: TEMPERATURE };
        let recipe = Recipe {
            statistics: weights.clone(),
            lr: 0.01,
            seed: 1,
            ..Recipe::new(encoder, trained, objective)
        };
        let mut step = TractStep::new(&compile(recipe)?)?;
        let views = noise(&[&[PRESET_BATCH], sample.as_slice()].concat());
        let cost = timed(span, 1, || Ok(step.step(&[(VIEWS, views.view())], &[]).map(drop)?))?;
        println!(
            "{name}, all layers, {PRESET_BATCH} rows: best {:.1} ms, median {:.1} ms",
            cost.best, cost.median
        );
    }
    Ok(())
}

/// What is run in a turn: a name for the column, and the command that prints one [`Cost`].
struct Contender<'a> {
    name: &'static str,
    command: Box<dyn Fn() -> Command + 'a>,
}

/// Turns of every contender over every network and part, as two tables.
fn compare(arguments: &Arguments, python: &OsString) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let chosen = |net: &str| arguments.net.is_empty() || arguments.net.iter().any(|n| n == net);
    let nets: Vec<&str> = NETS.iter().map(|(net, ..)| *net).filter(|net| chosen(net)).collect();
    run(python_script(python, "export.py").arg(folder.path()).args(&nets))?;

    println!("Training step, {} threads, best median of {} turns\n", arguments.threads, arguments.turns);
    header(&[
        "net, part",
        "Sedge ms",
        "PyTorch ms",
        "ORT Training ms",
        "of the faster",
        "Sedge MB",
        "PyTorch MB",
        "ORT MB",
    ]);
    for (net, batch, parts) in NETS.iter().filter(|(net, ..)| chosen(net)) {
        for part in *parts {
            let file = folder.path().join(format!("{net}.onnx"));
            let mut contenders =
                vec![ours(arguments, file, part, *batch), pytorch(arguments, python, net, part)];
            if let Some(python) = &arguments.ort_training {
                contenders.push(ort(arguments, python, net, part, folder.path()));
            }
            row(&format!("{net} {part}"), &turns(arguments, &contenders)?);
        }
    }
    println!("\nEmbedding, {} threads\n", arguments.threads);
    header(&[
        "net, batch",
        "Sedge ms",
        "PyTorch ms",
        "ORT ms",
        "of the faster",
        "Sedge MB",
        "PyTorch MB",
        "ORT MB",
    ]);
    for (net, batches) in INFERENCE.iter().filter(|(net, _)| chosen(net)) {
        for batch in batches {
            let file = folder.path().join(format!("{net}.batch{batch}.onnx"));
            let part = format!("infer:{batch}");
            let contenders = [
                ours(arguments, file, "infer", *batch),
                pytorch(arguments, python, net, &part),
                ort(arguments, python, net, &part, folder.path()),
            ];
            row(&format!("{net} {batch}"), &turns(arguments, &contenders)?);
        }
    }
    Ok(())
}

fn ours<'a>(arguments: &'a Arguments, file: PathBuf, part: &'a str, batch: usize) -> Contender<'a> {
    let command = move || {
        // The path of the running program does not fail on the systems that run the bench.
        let mut command = Command::new(std::env::current_exe().unwrap_or_default());
        command.arg("--measure").arg(&file).args(["--part", part, "--batch", &batch.to_string()]);
        command.args(["--threads", &arguments.threads.to_string()]);
        command.args(["--seconds", &arguments.seconds.to_string()]);
        command
    };
    Contender { name: "Sedge", command: Box::new(command) }
}

fn pytorch<'a>(arguments: &'a Arguments, python: &'a OsString, net: &'a str, part: &str) -> Contender<'a> {
    let part = part.to_owned();
    let command = move || {
        let mut command = python_script(python, "pytorch.py");
        command.args([net, &part, "channels-last", &arguments.threads.to_string()]);
        command.arg(arguments.seconds.to_string());
        command
    };
    Contender { name: "PyTorch", command: Box::new(command) }
}

fn ort<'a>(
    arguments: &'a Arguments,
    python: &'a OsString,
    net: &'a str,
    part: &str,
    folder: &'a Path,
) -> Contender<'a> {
    let part = part.to_owned();
    let command = move || {
        let mut command = python_script(python, "ort.py");
        command
            .args([net, &part, &arguments.threads.to_string(), &arguments.seconds.to_string()])
            .arg(folder);
        command
    };
    Contender { name: "ONNX Runtime", command: Box::new(command) }
}

fn python_script(python: &OsString, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name));
    command
}

/// The best of each contender's turns, taken one after the other.
fn turns(arguments: &Arguments, contenders: &[Contender<'_>]) -> Result<Vec<Option<Cost>>, Failure> {
    let mut best: Vec<Option<Cost>> = vec![None; contenders.len()];
    for _ in 0..arguments.turns.max(1) {
        for (best, contender) in best.iter_mut().zip(contenders) {
            // What a peer cannot do is a hole in the table and a line below it, not the end of the bench.
            let printed = match run(&mut (contender.command)()) {
                Ok(printed) => printed,
                Err(error) => {
                    eprintln!("{}: {error}", contender.name);
                    continue;
                }
            };
            let last = printed.lines().last().unwrap_or_default();
            let cost: Cost = serde_json::from_str(last)?;
            if best.is_none_or(|known| cost.median < known.median) {
                *best = Some(cost);
            }
        }
    }
    Ok(best)
}

fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("{command:?} failed: {last}").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn header(columns: &[&str]) {
    println!("| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
}

fn row(name: &str, costs: &[Option<Cost>]) {
    let time = |c: &Option<Cost>| c.map_or("-".into(), |c| format!("{:.2}", c.median));
    let memory = |c: &Option<Cost>| c.map_or("-".into(), |c| c.peak_mb.to_string());
    let peers = costs.iter().skip(1).flatten().map(|c| c.median).fold(f64::INFINITY, f64::min);
    let ratio = costs.first().copied().flatten().map_or("-".into(), |c| format!("{:.2}", c.median / peers));
    let mut cells: Vec<String> = costs.iter().map(time).collect();
    cells.resize(3, "-".into());
    cells.push(ratio);
    let mut megabytes: Vec<String> = costs.iter().map(memory).collect();
    megabytes.resize(3, "-".into());
    println!("| {name} | {} | {} |", cells.join(" | "), megabytes.join(" | "));
}

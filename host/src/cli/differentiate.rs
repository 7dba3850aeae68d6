//! `sedge differentiate`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sedge_models::bundle::MadeBy;
use sedge_models::onnx::read::MAX_MODEL_BYTES;
use sedge_models::optimizer::Optimizer;
use sedge_models::plan::Plan;
use sedge_models::selection::Selection;
use sedge_models::{InputSpec, weights};
use serde::Serialize;

use super::CliError;
use super::export::quoted;
use super::shown::{size, warn_of, write_json};
use crate::budget::{Against, Budget, TradeOff};
use crate::data::{Dataset, load};
use crate::differentiate::{
    Compiled, DifferentiateError, Differentiation, FileRecord, IMAGENET_MEAN, IMAGENET_STD, Loss,
    LossSettings, Norm, Normalisation, Packed, Request, StepRecord, batches, input_spec, modality, pack,
};
use crate::export::Parity;
use crate::files::write_atomic;
use crate::pretrain::DataSettings;

/// Flags of `sedge differentiate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge differentiate encoder.onnx --train last:2 --loss nt-xent --optimizer sgd --batch 32 --out step.onnx
  sedge differentiate encoder.onnx --train lora:4 --loss moco --accumulate 4 --batch 16 --out step.onnx
  sedge differentiate encoder.onnx --budget-mb 64 --budget-ms 400 --data photos/ --plot choice.svg --out step.onnx
  sedge differentiate encoder.onnx --out step.onnx --bundle photos.sedge --data photos/ --imagenet
  sedge inspect encoder.onnx
  sedge write-back encoder.onnx --step step.json --state trained.safetensors --out trained.onnx

--train takes head (the projection head alone), last:N (the last N blocks), bias, norm, lora:R (low-rank
deltas; lora:R@last:N within the last blocks), all, and names with * and ? separated by commas; + joins
several. The head is always trained. Beside step.onnx lie step.json, which says what goes in and comes out, and
step.safetensors, the state that it starts from. The graph is of ordinary ONNX operators and fixed shapes.")]
pub struct Args {
    /// The encoder, an ONNX file
    #[arg(value_name = "ENCODER.onnx")]
    encoder: PathBuf,
    /// The graph of the step to write; step.json and step.safetensors are written beside it
    #[arg(long, value_name = "STEP.onnx")]
    out: PathBuf,
    /// Write the same numbers to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    encoder_form: EncoderForm,
    /// What is trained beside the head: head, last:N, bias, norm, lora:R, all, or names with * and ?
    #[arg(long, value_name = "PART", default_value_t = Selection::Last(2), help_heading = "What is trained")]
    train: Selection,
    /// Choose what is trained by its measured contribution, within this planned peak memory in megabytes
    #[arg(long, value_name = "MB", conflicts_with = "train", help_heading = "What is trained")]
    budget_mb: Option<f64>,
    /// Choose what is trained by its measured contribution, within this time of a step on this machine
    #[arg(long, value_name = "MS", conflicts_with = "train", help_heading = "What is trained")]
    budget_ms: Option<f64>,
    /// Draw the trade-off of the budget to this file
    #[arg(long, value_name = "FILE.svg", help_heading = "What is trained")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    loss: LossSettings,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    board: Board,
    #[command(flatten)]
    data: DataSettings,
}

/// How the encoder is read.
#[derive(Debug, clap::Args)]
struct EncoderForm {
    /// What becomes of batch norms [default: folded, or affine where --train names norm]
    #[arg(long, value_enum, help_heading = "Encoder")]
    norm: Option<Norm>,
    /// Shape of one sample, such as 3x96x96, where the file leaves it open
    #[arg(long, value_name = "SHAPE", value_parser = shape, help_heading = "Encoder")]
    input_shape: Option<Shape>,
    /// The value that is the embedding [default: the first output]
    #[arg(long, value_name = "NAME", help_heading = "Encoder")]
    output: Option<String>,
}

/// How weights are moved.
#[derive(Debug, clap::Args)]
struct Training {
    /// How weights are moved
    #[arg(long, value_enum, default_value_t = OptimizerKind::Sgd, help_heading = "Training")]
    optimizer: OptimizerKind,
    /// Momentum of sgd and lars [default: 0.9]
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    momentum: Option<f32>,
    /// Learning rate, an input of the step with this default [default: 0.05 for sgd (a 25th of that for vicreg, a 10th
    /// for barlow-twins, whose gradients are larger), 0.001 for adamw, 0.05 for lars]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    lr: Option<f32>,
    /// Weight decay, likewise [default: 1e-4 for sgd, 0.01 for adamw, 1e-6 for lars]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    weight_decay: Option<f32>,
    /// Cut the norm of all gradients together to this [default: not cut]
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    clip_norm: Option<f32>,
    /// Pull embeddings towards those of the encoder as it was, with this weight [default: no pull]
    #[arg(long, value_name = "WEIGHT", help_heading = "Training")]
    reference: Option<f32>,
    /// Sum this many micro-batches before the weights move: the memory of a small batch, the steps of a large one
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Training")]
    accumulate: usize,
    /// Rows of a step; where views are compared, two for each pair
    #[arg(long, value_name = "ROWS", default_value_t = 32, help_heading = "Training")]
    batch: usize,
    /// Seed of the head, of low-rank deltas and of noise
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    seed: u64,
}

/// What a board needs besides.
#[derive(Debug, clap::Args)]
struct Board {
    /// Pack encoder, step and reference samples of --data into this bundle too
    #[arg(long, value_name = "FILE.sedge", requires = "data", help_heading = "Board")]
    bundle: Option<PathBuf>,
    /// What the bundle is called [default: the name of the encoder's file]
    #[arg(long, requires = "bundle", help_heading = "Board")]
    name: Option<String>,
    /// Means that the encoder wants subtracted, one a channel [default: those of the data]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        requires = "std",
        help_heading = "Board"
    )]
    mean: Option<Vec<f32>>,
    /// Deviations that go with --mean
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "mean", help_heading = "Board")]
    std: Option<Vec<f32>>,
    /// Mean and deviation of ImageNet
    #[arg(long, conflicts_with_all = ["mean", "std"], help_heading = "Board")]
    imagenet: bool,
}

/// Optimisers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OptimizerKind {
    /// Stochastic gradient descent with momentum
    Sgd,
    /// Adam with decoupled weight decay
    Adamw,
    /// SGD with a rate for each layer, for large batches
    Lars,
}

/// Shape of one sample.
#[derive(Clone, Debug)]
struct Shape(Vec<usize>);

fn shape(text: &str) -> Result<Shape, String> {
    let axes: Option<Vec<usize>> = text.split('x').map(|n| n.parse().ok().filter(|&n| n > 0)).collect();
    axes.map(Shape).ok_or_else(|| format!("`{text}` is no shape; write one as 3x96x96"))
}

/// What is printed, for JSON.
#[derive(Serialize)]
struct Report<'a> {
    record: &'a StepRecord,
    encoder_values_trained: usize,
    head_values_trained: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<BundleReport<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tried: Vec<Tried<'a>>,
}

#[derive(Serialize)]
struct BundleReport<'a> {
    file: &'a Path,
    bytes: usize,
    digest: String,
    parity: Option<Parity>,
}

/// A row of the trade-off.
#[derive(Serialize)]
struct Tried<'a> {
    trained: &'a str,
    weights: &'a [String],
    contribution: f64,
    planned_mb: f64,
    ms: Option<f64>,
    fits: bool,
    chosen: bool,
}

/// Files to be written, all at hand before the first is.
struct Outputs {
    step: PathBuf,
    record: PathBuf,
    state: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    let outputs = outputs(args)?;
    let from = Differentiation::read(read(&args.encoder)?, request(args))?;
    show_encoder(args, &from, out)?;
    let data = data(args, &from)?;
    let chosen = chosen(args, &from, data.as_ref(), out)?;
    let selection = chosen.as_ref().and_then(TradeOff::chosen).map_or(&args.train, |row| &row.selection);
    let compiled = from.compile(selection)?;
    let state = weights::encode(&compiled.step.initial).map_err(DifferentiateError::from)?;
    let parts = [
        FileRecord::of(file_name(&outputs.step), &compiled.step.onnx),
        FileRecord::of(file_name(&outputs.state), &state),
    ];
    let record = StepRecord::new(&from, &compiled, file_name(&args.encoder), command(), parts);
    let packed = packed(args, &from, &compiled, data.as_ref())?;
    let bundle = match (&packed, &args.board.bundle) {
        (Some(Packed { bundle, parity }), Some(file)) => {
            let (bytes, digest) = (bundle.to_bytes()?.len(), bundle.digest()?);
            Some(BundleReport { file, bytes, digest, parity: *parity })
        }
        _ => None,
    };
    let plot = chosen.as_ref().filter(|_| args.plot.is_some()).map(|t| figure(t, args)).transpose()?;

    // All is there; the graph comes last, so that where it lies the rest does.
    if let (Some(path), Some(svg)) = (&args.plot, &plot) {
        write_atomic(path, svg.as_bytes())?;
    }
    if let (Some(packed), Some(path)) = (&packed, &args.board.bundle) {
        packed.bundle.write(path)?;
    }
    write_atomic(&outputs.state, &state)?;
    write_json(Some(&outputs.record), &record)?;
    write_atomic(&outputs.step, &compiled.step.onnx)?;

    let (encoder_values_trained, head_values_trained) = compiled.values();
    let tried = chosen.iter().flat_map(|tried| &tried.rows).map(Tried::of).collect();
    let report = Report { record: &record, encoder_values_trained, head_values_trained, bundle, tried };
    write_json(args.json.as_deref(), &report)?;
    show_step(&compiled, &report, &outputs, out)?;
    Ok(())
}

impl<'a> Tried<'a> {
    fn of(row: &'a crate::budget::Candidate) -> Self {
        Self {
            trained: &row.words,
            weights: &row.weights,
            contribution: row.contribution,
            planned_mb: row.planned_mb,
            ms: row.ms,
            fits: row.fits,
            chosen: row.chosen,
        }
    }
}

/// The names of the files, which must all differ, after a look at what the parser cannot see.
fn outputs(args: &Args) -> Result<Outputs, CliError> {
    let out = &args.out;
    if out.extension().is_none_or(|e| e != "onnx") || out.file_stem().is_none() {
        return Err(CliError::Usage(format!("--out is {}; it must end in .onnx", out.display())));
    }
    if args.plot.is_some() && args.budget_mb.is_none() && args.budget_ms.is_none() {
        return Err(CliError::Usage(
            "--plot draws the trade-off of a budget; give --budget-mb or --budget-ms".into(),
        ));
    }
    if args.training.momentum.is_some() && args.training.optimizer == OptimizerKind::Adamw {
        return Err(CliError::Usage("--momentum means nothing to adamw; leave it out".into()));
    }
    let outputs = Outputs {
        step: out.clone(),
        record: out.with_extension("json"),
        state: out.with_extension("safetensors"),
    };
    let given = [&args.json, &args.plot, &args.board.bundle].into_iter().flatten();
    let mut all: Vec<PathBuf> =
        [&outputs.step, &outputs.record, &outputs.state].into_iter().cloned().collect();
    all.extend(given.cloned());
    all.push(args.encoder.clone());
    let whole = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let mut seen: Vec<PathBuf> = vec![];
    for path in &all {
        if seen.contains(&whole(path)) {
            let said = format!("{} is to be written but is named for something else too", path.display());
            return Err(CliError::Usage(said));
        }
        seen.push(whole(path));
    }
    Ok(outputs)
}

fn request(args: &Args) -> Request {
    let training = &args.training;
    let momentum = training.momentum.unwrap_or(0.9);
    // These sums are so much larger than a mean over pairs, and plain gradients with them.
    let scale = match args.loss.loss {
        Loss::VicReg => 25.0,
        Loss::BarlowTwins => 10.0,
        _ => 1.0,
    };
    let (optimizer, lr, weight_decay) = match training.optimizer {
        OptimizerKind::Sgd => (Optimizer::Sgd { momentum }, 0.05 / scale, 1e-4),
        OptimizerKind::Adamw => (Optimizer::ADAMW, 1e-3, 0.01),
        OptimizerKind::Lars => (Optimizer::Lars { momentum, trust: 1e-3 }, 0.05, 1e-6),
    };
    Request {
        norm: args.encoder_form.norm.unwrap_or_else(|| Norm::fitting(&args.train)),
        input_shape: args.encoder_form.input_shape.as_ref().map(|shape| shape.0.clone()),
        output: args.encoder_form.output.clone(),
        loss: args.loss.clone(),
        optimizer,
        lr: training.lr.unwrap_or(lr),
        weight_decay: training.weight_decay.unwrap_or(weight_decay),
        clip_norm: training.clip_norm,
        reference: training.reference,
        accumulate: training.accumulate,
        batch: training.batch,
        seed: training.seed,
    }
}

/// The bytes of an ONNX file, no more than the parser takes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(std::io::Error::other("it is no plain file; give the path of an ONNX file")));
    }
    let mut bytes = Vec::new();
    let limit = MAX_MODEL_BYTES as u64 + 1;
    File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

/// Data and how it enters the encoder, where some is given.
fn data(args: &Args, from: &Differentiation) -> Result<Option<(Arc<Dataset>, InputSpec)>, CliError> {
    if args.data.path.is_none() {
        return Ok(None);
    }
    let sample = from.sample();
    let kind = modality(sample)?;
    let images = sample.len() == 3;
    let square = sample.get(1) == sample.get(2);
    let fitting = DataSettings {
        modality: Some(kind),
        image_size: sample.last().copied().filter(|_| images && square),
        window: sample.last().copied().filter(|_| !images),
        ..DataSettings::default()
    };
    let source = args.data.clone().over(fitting).resolve()?;
    let data = load(&source.path, &source.options())?;
    warn_of(data.skipped());
    let normalisation = match (&args.board.mean, &args.board.std) {
        (Some(mean), Some(std)) => Normalisation::Given { mean: mean.clone(), std: std.clone() },
        _ if args.board.imagenet => {
            Normalisation::Given { mean: IMAGENET_MEAN.into(), std: IMAGENET_STD.into() }
        }
        _ => Normalisation::OfData,
    };
    let input = input_spec(sample, &normalisation, &data)?;
    data.check_fits(&input)?;
    Ok(Some((Arc::new(data), input)))
}

/// The trade-off, where a budget is to choose; its table is shown.
fn chosen(
    args: &Args,
    from: &Differentiation,
    data: Option<&(Arc<Dataset>, InputSpec)>,
    out: &mut dyn Write,
) -> Result<Option<TradeOff>, CliError> {
    let budget = Budget { mb: args.budget_mb, ms: args.budget_ms };
    if budget == Budget::default() {
        return Ok(None);
    }
    let sample = match data {
        Some((data, input)) => {
            batches(args.loss.loss, data.clone(), input, args.training.batch, args.training.seed)?
        }
        None => vec![],
    };
    let tried = from.trade_off(budget, &sample, &mut |row| {
        tracing::info!("{}: {:.2} MB planned, {:?} ms", row.words, row.planned_mb, row.ms);
    })?;
    write!(out, "\n{}\n", tried.table())?;
    Ok(Some(tried))
}

fn figure(tried: &TradeOff, args: &Args) -> Result<String, CliError> {
    let against = if args.budget_mb.is_some() { Against::Memory } else { Against::Time };
    Ok(tried.figure(against)?.as_str().to_owned())
}

fn packed(
    args: &Args,
    from: &Differentiation,
    compiled: &Compiled,
    data: Option<&(Arc<Dataset>, InputSpec)>,
) -> Result<Option<Packed>, CliError> {
    let (Some(_), Some((data, input))) = (&args.board.bundle, data) else { return Ok(None) };
    let stem = args.encoder.file_stem().map_or("encoder".into(), |stem| stem.to_string_lossy().into_owned());
    let made_by = MadeBy {
        version: env!("CARGO_PKG_VERSION").into(),
        command: command(),
        config: String::new(),
        seed: args.training.seed,
        data_digest: data.digest(),
        method: "differentiate".into(),
        epochs: 0,
    };
    let name = args.board.name.clone().unwrap_or(stem);
    Ok(Some(pack(from, compiled, input.clone(), data, name, made_by)?))
}

/// The command as it was given, from its verb on.
fn command() -> String {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once("sedge".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn show_encoder(args: &Args, from: &Differentiation, out: &mut dyn Write) -> std::io::Result<()> {
    let imported = from.imported();
    let parameters: usize = imported.weights.iter().map(|w| w.values()).sum();
    let (weights, blocks) = (imported.weights.len(), imported.blocks.len());
    let bytes = size(from.onnx().len() as u64);
    writeln!(out, "encoder       {}, {bytes}", args.encoder.display())?;
    writeln!(out, "              {parameters} values in {weights} weights, {blocks} blocks")?;
    writeln!(out, "              input {:?}, embedding of {} values", from.sample(), imported.width)?;
    let why = match (args.encoder_form.norm, from.request().norm) {
        (Some(_), _) => "",
        (None, Norm::Folded) => " (the default, for a board)",
        (None, _) => " (because norms are trained)",
    };
    let norm = match from.request().norm {
        Norm::Folded => "folded into the layers before them",
        Norm::Affine => "by stored statistics, scale and shift kept",
        Norm::Statistics => "by the statistics of the batch, running ones as state",
    };
    writeln!(out, "batch norms   {norm}{why}")?;
    imported.notes.iter().try_for_each(|note| writeln!(out, "note          {note}"))
}

fn show_step(
    compiled: &Compiled,
    report: &Report<'_>,
    outputs: &Outputs,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let record = report.record;
    let (spec, Plan { work, peak_at, .. }) = (&record.step, &record.plan);
    writeln!(out, "trains        {}", compiled.trains())?;
    writeln!(out, "loss          {}, by {}, {} rows a step", spec.objective, spec.optimizer, spec.batch)?;
    writeln!(out, "a step        {:.1} MB at its peak, in `{peak_at}`", record.plan.peak_mb())?;
    let millions = |n: u64| n as f64 / 1e6;
    let (all, convolution, products) = (work.multiply_adds(), work.convolution, work.products);
    writeln!(
        out,
        "              {:.1} million multiply-adds: {:.1} in convolutions, {:.1} in products",
        millions(all),
        millions(convolution),
        millions(products)
    )?;
    writeln!(
        out,
        "              {:.1} million values in elementwise operators, {:.1} million moved",
        millions(work.elementwise),
        millions(work.movement)
    )?;
    let written = |path: &Path, bytes: u64| format!("{}, {}", path.display(), size(bytes));
    writeln!(out, "graph         {}", written(&outputs.step, record.graph.bytes))?;
    writeln!(out, "state         {}", written(&outputs.state, record.state.bytes))?;
    writeln!(out, "description   {}", outputs.record.display())?;
    if let Some(bundle) = &report.bundle {
        writeln!(out, "bundle        {}", written(bundle.file, bundle.bytes as u64))?;
        writeln!(out, "digest        {}", bundle.digest)?;
        match bundle.parity {
            Some(Parity { samples, relative }) => writeln!(
                out,
                "parity        {relative:.1e} of the largest value against the file, over {samples} samples"
            )?,
            None => writeln!(out, "parity        not compared: the file does not run as it is")?,
        }
    }
    Ok(())
}

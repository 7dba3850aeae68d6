//! `sedge inspect`: a bundle or an ONNX file in words and numbers. Reads with every check that a board
//! would make, so what it shows can be run.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sedge_models::bundle::{Bundle, MAX_BUNDLE_BYTES, Manifest};
use sedge_models::import::{ImportOptions, NormForm, import};
use sedge_models::onnx::inspect::{ValueSummary, inspect};
use sedge_models::onnx::read::parse;
use sedge_models::onnx::{OnnxError, OnnxSummary};
use sedge_models::{InputSpec, StateRole};
use serde::Serialize;

use super::CliError;
use super::shown::size;
use crate::pretrain::sha256;

/// Flags of `sedge inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge inspect photos.sedge
  sedge inspect encoder.onnx --json | jq .inputs")]
pub struct Args {
    /// A bundle or an ONNX file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the file is, for JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Inspection {
    Bundle {
        bytes: usize,
        digest: String,
        manifest: Box<Manifest>,
        encoder: OnnxSummary,
        step: OnnxSummary,
        references: usize,
    },
    Onnx {
        sha256: String,
        #[serde(flatten)]
        model: OnnxSummary,
        /// Where it is an encoder that can be trained.
        #[serde(skip_serializing_if = "Option::is_none")]
        encoder: Option<EncoderSummary>,
    },
}

/// An encoder's weights as `--train` of `sedge differentiate` selects among them.
#[derive(Serialize)]
struct EncoderSummary {
    width: usize,
    blocks: Vec<BlockSummary>,
}

#[derive(Serialize)]
struct BlockSummary {
    name: String,
    weights: Vec<WeightSummary>,
}

#[derive(Serialize)]
struct WeightSummary {
    name: String,
    kind: String,
    shape: Vec<usize>,
}

impl EncoderSummary {
    /// Of the file's own form, norms kept; `None` for a file that is no encoder.
    fn of(bytes: &[u8]) -> Option<Self> {
        let told = import(bytes, &ImportOptions::new(1, NormForm::Affine));
        let encoder = told.inspect_err(|why| tracing::info!("it cannot be trained: {why}")).ok()?;
        let weights_of = |number: usize| {
            let inside = encoder.weights.iter().filter(move |weight| weight.block == number);
            let told = inside.map(|weight| WeightSummary {
                name: weight.name.clone(),
                kind: weight.kind.to_string(),
                shape: weight.shape.clone(),
            });
            told.collect()
        };
        let blocks = encoder.blocks.iter().enumerate();
        let blocks = blocks.map(|(i, name)| BlockSummary { name: name.clone(), weights: weights_of(i) });
        Some(Self { width: encoder.width, blocks: blocks.collect() })
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    let inspection = look(&args.file)?;
    if args.json {
        // As text first, so that a reader who leaves is told from a value that JSON cannot hold.
        writeln!(out, "{}", serde_json::to_string_pretty(&inspection)?)?;
        return Ok(());
    }
    match &inspection {
        Inspection::Bundle { bytes, digest, manifest, encoder, step, references } => {
            show_manifest(out, manifest, *bytes, digest)?;
            show_training(out, manifest)?;
            writeln!(out, "\nreference     {references} inputs with their embeddings")?;
            writeln!(out, "\nencoder.onnx")?;
            show_model(out, encoder, usize::MAX)?;
            writeln!(out, "\nstep.onnx")?;
            show_model(out, step, 4)?;
            show_config(out, &manifest.made_by.config)?;
        }
        Inspection::Onnx { sha256, model, encoder } => {
            writeln!(out, "ONNX model    {}, SHA-256 {sha256}", size(model.bytes as u64))?;
            show_model(out, model, usize::MAX)?;
            encoder.as_ref().map_or(Ok(()), |encoder| show_encoder(out, encoder))?;
        }
    }
    Ok(())
}

fn look(path: &Path) -> Result<Inspection, CliError> {
    if is_archive(path)? {
        let bundle = Bundle::read(path)?;
        let onnx = |part: &[u8], name| {
            let in_part = |source| CliError::Onnx { path: path.join(name), source };
            Ok::<_, CliError>(inspect(&parse(part).map_err(in_part)?))
        };
        return Ok(Inspection::Bundle {
            bytes: bundle.to_bytes()?.len(),
            digest: bundle.digest()?,
            encoder: onnx(&bundle.encoder, "encoder.onnx")?,
            step: onnx(&bundle.step.onnx, "step.onnx")?,
            references: bundle.reference.embeddings.nrows(),
            manifest: Box::new(bundle.manifest),
        });
    }
    let bytes = read(path)?;
    let model = parse(&bytes).map_err(|source| CliError::Onnx { path: path.into(), source })?;
    let encoder = EncoderSummary::of(&bytes);
    Ok(Inspection::Onnx { sha256: sha256(&bytes), model: inspect(&model), encoder })
}

/// A tar archive says so in its first block. A file called `.sedge` is read as one whatever it says,
/// so that a damaged bundle is told to be that.
fn is_archive(path: &Path) -> Result<bool, CliError> {
    let failed = |source| CliError::Read { path: path.into(), source };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        let source = std::io::Error::other("it is no plain file; give the path of a bundle or ONNX file");
        return Err(failed(source));
    }
    let mut block = Vec::new();
    File::open(path).and_then(|f| f.take(512).read_to_end(&mut block)).map_err(failed)?;
    Ok(block.get(257..262) == Some(b"ustar") || path.extension().is_some_and(|e| e == "sedge"))
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    // The parser has a lower limit of its own; this one only bounds what is read for it.
    File::open(path).and_then(|f| f.take(MAX_BUNDLE_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.is_empty() {
        let source = OnnxError::NoGraph;
        return Err(CliError::Onnx { path: path.into(), source });
    }
    Ok(bytes)
}

fn show_manifest(
    out: &mut dyn Write,
    manifest: &Manifest,
    bytes: usize,
    digest: &str,
) -> std::io::Result<()> {
    let made = &manifest.made_by;
    writeln!(out, "bundle        {} (format {}), {}", manifest.name, manifest.format, size(bytes as u64))?;
    writeln!(out, "digest        {digest}")?;
    writeln!(out, "made by       sedge {}: {}", made.version, made.command)?;
    writeln!(out, "              {}, {} epochs, seed {}", made.method, made.epochs, made.seed)?;
    writeln!(out, "              data {}", made.data_digest)?;
    show_input(out, &manifest.input)?;
    writeln!(out, "embedding     {} values", manifest.embedding_dim)?;
    writeln!(out, "\n{:<14} {:>10}  SHA-256", "part", "size")?;
    for part in &manifest.parts {
        writeln!(out, "{:<14} {:>10}  {}", part.name, size(part.bytes), part.sha256)?;
    }
    Ok(())
}

fn show_input(out: &mut dyn Write, input: &InputSpec) -> std::io::Result<()> {
    let rate = if input.rate_hz > 0.0 { format!(" at {} Hz", input.rate_hz) } else { String::new() };
    writeln!(out, "input         {} {:?}{rate}", input.modality, input.shape)?;
    writeln!(out, "              {:<8} {:>10} {:>10}", "unit", "mean", "std")?;
    for ((unit, mean), std) in input.units.iter().zip(&input.mean).zip(&input.std) {
        writeln!(out, "              {unit:<8} {mean:>10.4} {std:>10.4}")?;
    }
    Ok(())
}

fn show_training(out: &mut dyn Write, manifest: &Manifest) -> std::io::Result<()> {
    let (step, defaults) = (&manifest.training, &manifest.adaptation);
    writeln!(out, "\nadaptation    {}, {}, batches of {}", step.objective, step.optimizer, step.batch)?;
    let (lr, temperature, decay) = (defaults.lr, defaults.temperature, defaults.weight_decay);
    writeln!(out, "              lr {lr}, temperature {temperature}, weight decay {decay}")?;
    let tensors = step.state_of(StateRole::Parameter).count();
    if let Some(plan) = &manifest.plan {
        let (mb, work) = (plan.peak_mb(), plan.work.multiply_adds() as f64 / 1e6);
        writeln!(out, "a step        {mb:.1} MB at its peak, {work:.0} million multiply-adds")?;
    }
    writeln!(out, "trains        {}: {} values in {tensors} tensors", defaults.trains, step.parameters())
}

/// Blocks and weights, from input to output, as they can be trained.
fn show_encoder(out: &mut dyn Write, encoder: &EncoderSummary) -> std::io::Result<()> {
    writeln!(out, "\nan encoder of {} values, trainable in {} blocks", encoder.width, encoder.blocks.len())?;
    for (number, BlockSummary { name, weights }) in encoder.blocks.iter().enumerate() {
        writeln!(out, "  {name} (last:{})", encoder.blocks.len() - number)?;
        for WeightSummary { name, kind, shape } in weights {
            writeln!(out, "    {name:<32} {kind:<11} {shape:?}")?;
        }
    }
    Ok(())
}

/// The configuration that it was pretrained with, as it was written.
fn show_config(out: &mut dyn Write, config: &str) -> std::io::Result<()> {
    if config.trim().is_empty() {
        return Ok(());
    }
    writeln!(out, "\npretrained with")?;
    config.lines().filter(|line| !line.is_empty()).try_for_each(|line| writeln!(out, "  {line}"))
}

fn show_model(out: &mut dyn Write, model: &OnnxSummary, most: usize) -> std::io::Result<()> {
    let producer = if model.producer.is_empty() { "unknown" } else { &model.producer };
    writeln!(out, "  opset {}, IR {}, producer {producer}", model.opset, model.ir)?;
    for (what, values) in [("input", &model.inputs), ("output", &model.outputs)] {
        for ValueSummary { name, data_type, shape } in values.iter().take(most) {
            let shape = shape.as_ref().map_or("of unknown shape".into(), |s| format!("[{}]", s.join(", ")));
            writeln!(out, "  {what:<7} {name:<24} {data_type} {shape}")?;
        }
        if values.len() > most {
            writeln!(out, "  {what:<7} ... and {} more", values.len() - most)?;
        }
    }
    writeln!(out, "  {} parameters, {} nodes:", model.parameters, model.nodes())?;
    let mut operators: Vec<_> = model.operators.iter().collect();
    operators.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    for (name, count) in operators {
        writeln!(out, "  {count:>7} {name}")?;
    }
    Ok(())
}

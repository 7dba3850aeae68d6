//! `sedge export`.

use std::io::Write;
use std::path::PathBuf;

use sedge_models::Modality;
use sedge_models::bundle::MadeBy;
use sedge_models::selection::Selection;
use serde::Serialize;

use super::CliError;
use super::shown::{size, warn_of, write_json};
use crate::data::{DataError, Dataset, LoadOptions, load};
use crate::export::{ExportOptions, Parity, pack};
use crate::files::write_atomic;
use crate::pretrain::{PretrainConfig, Pretrained};

/// Flags of `sedge export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge export runs/photos --out photos.sedge
  sedge export runs/photos --out photos.sedge --train head --batch 32 --name 'photos, head only'
  sedge export runs/photos --out photos.sedge --onnx encoder.onnx
  sedge inspect photos.sedge

A run of `cross-modal` trained two encoders: that of the images, and with --second that of the windows.

A bundle carries a few samples with their embeddings, by which a board checks itself. They are taken
from the run's own data, or from --data where that is gone.")]
pub struct Args {
    /// A run directory of `sedge pretrain`
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The bundle to write
    #[arg(long, value_name = "FILE.sedge")]
    out: PathBuf,
    /// What the bundle is called [default: the name of the run directory]
    #[arg(long)]
    name: Option<String>,
    /// Take the second encoder, of a run that trained two: that of the windows
    #[arg(long)]
    second: bool,
    /// Write the encoder alone to this file too
    #[arg(long, value_name = "FILE")]
    onnx: Option<PathBuf>,
    /// Write the same numbers to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Data of reference samples, read as the run's data was [default: the run's data]
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// What the board trains beside the projection head: head, last:N, bias, lora:R, all, or names with * and ?
    #[arg(long, value_name = "PART", default_value_t = Selection::Last(2), help_heading = "Adaptation")]
    train: Selection,
    /// Rows of a step on the board, two for each pair
    #[arg(long, value_name = "ROWS", default_value_t = 64, help_heading = "Adaptation")]
    batch: usize,
    /// Learning rate on the board
    #[arg(long, value_name = "RATE", default_value_t = 0.05, help_heading = "Adaptation")]
    lr: f32,
    /// Temperature of the loss on the board [default: as in pretraining]
    #[arg(long, value_name = "T", help_heading = "Adaptation")]
    temperature: Option<f32>,
    /// Weight decay on the board
    #[arg(long, value_name = "RATE", default_value_t = 1e-4, help_heading = "Adaptation")]
    weight_decay: f32,
}

/// Most rows of a board's step.
const MAX_BATCH: usize = 4096;
/// Most samples loaded to take the references from.
const MOST_READ: usize = 2000;

/// What is printed, for JSON.
#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    bundle: Written<'a>,
    encoder: Written<'a>,
    step_bytes: usize,
    digest: &'a str,
    parity: Parity,
    epochs: u32,
    trains: &'a str,
}

/// A file, where one was written, and its size.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a PathBuf>,
    bytes: usize,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    check(args)?;
    let Pretrained { config, header, encoder, second } = Pretrained::read(&args.run)?;
    let encoder = if args.second { second.ok_or_else(|| one_encoder(&config))? } else { encoder };
    let epochs = header.position.epoch;
    if epochs < config.epochs {
        tracing::warn!("the run stands at epoch {epochs} of {}; that state is exported", config.epochs);
    }
    let data = reference_data(args, &config, encoder.input.modality)?;
    warn_of(data.skipped());
    let made_by = MadeBy {
        version: env!("CARGO_PKG_VERSION").into(),
        command: command(args),
        config: config.to_toml()?,
        seed: config.seed,
        data_digest: header.digests.data,
        method: config.method.name(),
        epochs,
    };
    let name = args.name.clone().unwrap_or_else(|| default_name(args));
    let options = ExportOptions {
        name,
        train: args.train.clone(),
        batch: args.batch,
        lr: args.lr,
        temperature: args.temperature.unwrap_or(config.temperature as f32),
        weight_decay: args.weight_decay,
        made_by,
    };
    let (bundle, parity) = pack(&encoder, &data, &options)?;
    let (bytes, digest) = (bundle.to_bytes()?.len(), bundle.digest()?);
    bundle.write(&args.out)?;
    if let Some(path) = &args.onnx {
        write_atomic(path, &bundle.encoder)?;
    }
    let report = Report {
        name: &bundle.manifest.name,
        bundle: Written { file: Some(&args.out), bytes },
        encoder: Written { file: args.onnx.as_ref(), bytes: bundle.encoder.len() },
        step_bytes: bundle.step.onnx.len(),
        digest: &digest,
        parity,
        epochs,
        trains: &bundle.manifest.adaptation.trains,
    };
    write_json(args.json.as_deref(), &report)?;
    show(&report, out)
}

fn show(report: &Report<'_>, out: &mut dyn Write) -> Result<(), CliError> {
    let Report { name, bundle, encoder, step_bytes, digest, parity, epochs, trains } = report;
    let at = |file: &Written<'_>| file.file.map_or(String::new(), |path| format!(", {}", path.display()));
    writeln!(out, "bundle        {name}: {}{}", size(bundle.bytes as u64), at(bundle))?;
    writeln!(out, "digest        {digest}")?;
    writeln!(out, "encoder       {}{}, after {epochs} epochs", size(encoder.bytes as u64), at(encoder))?;
    writeln!(out, "step          {}; trains {trains}", size(*step_bytes as u64))?;
    let (samples, relative) = (parity.samples, parity.relative);
    writeln!(out, "parity        {relative:.1e} of the largest value, over {samples} samples")?;
    Ok(())
}

fn check(args: &Args) -> Result<(), CliError> {
    let usage = |flag: &str, found: String, wanted: &str| {
        Err(CliError::Usage(format!("--{flag} is {found}; it must be {wanted}")))
    };
    if args.batch < 4 || args.batch > MAX_BATCH || !args.batch.is_multiple_of(2) {
        return usage("batch", args.batch.to_string(), "even, 4 to 4096");
    }
    for (flag, found) in [("lr", Some(args.lr)), ("temperature", args.temperature)] {
        if let Some(found) = found.filter(|found| !(found.is_finite() && *found > 0.0)) {
            return usage(flag, found.to_string(), "above zero");
        }
    }
    if !(args.weight_decay.is_finite() && args.weight_decay >= 0.0) {
        return usage("weight-decay", args.weight_decay.to_string(), "zero or more");
    }
    Ok(())
}

/// The run's data or what stands in for it; without either there is no bundle.
fn reference_data(args: &Args, config: &PretrainConfig, modality: Modality) -> Result<Dataset, CliError> {
    let own = config.data.options();
    let few = own.limit.unwrap_or(MOST_READ).min(MOST_READ);
    let options = LoadOptions { limit: Some(few), ..own };
    match &args.data {
        // Other data need not have the groups that were chosen, nor both parts of pairs.
        Some(path) => {
            let modality = if options.pairs { Some(modality) } else { options.modality };
            Ok(load(path, &LoadOptions { groups: None, pairs: false, modality, ..options })?)
        }
        None => load(&config.data.path, &options).map_err(|source| match source {
            DataError::Io { .. } => CliError::RunDataGone(source),
            source => source.into(),
        }),
    }
}

fn one_encoder(config: &PretrainConfig) -> CliError {
    let method = config.method.name();
    CliError::Usage(format!(
        "--second is for a run that trained two encoders; {method} trains one, leave it out"
    ))
}

fn default_name(args: &Args) -> String {
    // A path such as `.` has a name only when it is resolved.
    let whole = std::fs::canonicalize(&args.run).unwrap_or_else(|_| args.run.clone());
    whole.file_name().map_or_else(|| "encoder".into(), |name| name.to_string_lossy().into_owned())
}

/// The command that makes this bundle from its run.
fn command(args: &Args) -> String {
    let mut words = vec!["sedge export".to_owned(), quoted(&args.run.to_string_lossy()), "--out".into()];
    words.push(quoted(&args.out.to_string_lossy()));
    let mut flag = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("--{name} {}", quoted(&value))));
    };
    flag("name", args.name.clone());
    flag("data", args.data.clone());
    flag("train", Some(args.train.to_string()));
    flag("batch", Some(args.batch.to_string()));
    flag("lr", Some(args.lr.to_string()));
    flag("temperature", args.temperature.map(|t| t.to_string()));
    flag("weight-decay", Some(args.weight_decay.to_string()));
    words.extend(args.second.then(|| "--second".to_owned()));
    words.join(" ")
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("runs/walk-1"), "runs/walk-1");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

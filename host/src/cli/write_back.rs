//! `sedge write-back`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sedge_models::weights::{self, TensorLimits};

use super::CliError;
use super::shown::size;
use crate::differentiate::{DifferentiateError, StepRecord, write_back};
use crate::files::write_atomic;

/// Largest step.json read.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// Flags of `sedge write-back`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge write-back encoder.onnx --step step.json --state trained.safetensors --out trained.onnx

The result is the encoder's own file, with its names, types and layout, and the trained weights in it; a
norm that was folded becomes the identity, low-rank deltas are added to what they were laid on.")]
pub struct Args {
    /// The encoder that was differentiated, the very file
    #[arg(value_name = "ENCODER.onnx")]
    encoder: PathBuf,
    /// The step.json that `sedge differentiate` wrote
    #[arg(long, value_name = "STEP.json")]
    step: PathBuf,
    /// The trained state, as a safetensors file with the names of the step
    #[arg(long, value_name = "FILE.safetensors")]
    state: PathBuf,
    /// The encoder to write
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    let encoder = super::differentiate::read(&args.encoder)?;
    let record: StepRecord = serde_json::from_slice(&bounded(&args.step, MAX_RECORD_BYTES)?)
        .map_err(|source| CliError::Record { path: args.step.clone(), source })?;
    let limits = TensorLimits::default();
    let state = weights::decode(&bounded(&args.state, limits.bytes as u64)?, limits)
        .map_err(DifferentiateError::from)?;
    let written = write_back(&encoder, &record, &state)?;
    write_atomic(&args.out, &written.onnx)?;
    let (weights, bytes) = (written.changed.len(), size(written.onnx.len() as u64));
    writeln!(out, "encoder       {}, {bytes}; {weights} weights trained", args.out.display())?;
    Ok(())
}

/// The bytes of a file up to one beyond `limit`, which its parser then refuses.
fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|source| CliError::Read { path: path.into(), source })?;
    Ok(bytes)
}

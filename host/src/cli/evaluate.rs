//! `sedge evaluate`.

use std::io::Write;
use std::path::PathBuf;

use super::CliError;
use crate::pretrain::DataSettings;

/// Flags of `sedge evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge evaluate --run runs/photos --data labelled/
  sedge evaluate --bundle imu.sedge --data exercises.npz --window 128 --json imu.json
  sedge evaluate --onnx encoder.onnx --data train/ --test test/

Data is split by subject or recording, never by window. Without --test a part of --data is held out.")]
pub struct Args {
    #[command(flatten)]
    encoder: EncoderArgs,
    #[command(flatten)]
    data: DataSettings,
    /// Data to test on, read as --data is [default: a part of --data]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    test: Option<String>,
    /// Seed of splits and draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the same numbers to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Which encoder.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct EncoderArgs {
    /// A run directory of `sedge pretrain`
    #[arg(long, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// A bundle
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// An ONNX encoder
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
}

pub(super) fn run(_args: &Args, _out: &mut dyn Write) -> Result<(), CliError> {
    Err(CliError::Absent("evaluate"))
}

//! `sedge replay`.

use std::io::Write;
use std::path::PathBuf;

use super::CliError;
use crate::watch::replay;

/// Flags of `sedge replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge replay runs/photos/nan

A run that comes to a step whose result is not finite stops, and keeps the batch, the state before it, the
graph and the scalars in the folder `nan`. Here that step is run again as it was, wherever the folder is
now, and the first operator is named that made something not finite of finite numbers. Exit status 0, also
when the step is finite here.")]
pub struct Args {
    /// The folder that the run has left
    #[arg(value_name = "RUN/nan")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    write!(out, "{}", replay(&args.folder)?)?;
    Ok(())
}

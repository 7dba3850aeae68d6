//! `sedge export`.

use std::io::Write;
use std::path::PathBuf;

use super::CliError;

/// Flags of `sedge export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge export runs/photos --out photos.sedge
  sedge inspect photos.sedge")]
pub struct Args {
    /// A run directory of `sedge pretrain`
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The bundle to write
    #[arg(long, value_name = "FILE.sedge")]
    pub out: PathBuf,
    /// What the bundle is called [default: the name of the run directory]
    #[arg(long)]
    pub name: Option<String>,
}

pub(super) fn run(_args: &Args, _out: &mut dyn Write) -> Result<(), CliError> {
    Err(CliError::Absent("export"))
}

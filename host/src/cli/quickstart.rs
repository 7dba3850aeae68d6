//! `sedge quickstart`.

use std::io::Write;
use std::path::PathBuf;

use super::CliError;

/// Flags of `sedge quickstart`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge quickstart
  sedge quickstart --out /tmp/first --seed 7

Writes report.html, to be opened in a browser, and report.json with the same numbers.")]
pub struct Args {
    /// Directory of the report
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    pub out: PathBuf,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

pub(super) fn run(_args: &Args, _out: &mut dyn Write) -> Result<(), CliError> {
    Err(CliError::Absent("quickstart"))
}

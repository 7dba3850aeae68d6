//! `sedge completions`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, CliError};

/// Flags of `sedge completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge completions bash > ~/.local/share/bash-completion/completions/sedge
  sedge completions zsh > ~/.zfunc/_sedge
  sedge completions fish > ~/.config/fish/completions/sedge.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    // The generator panics when it cannot write, so it writes to memory first.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sedge", &mut script);
    out.write_all(&script)?;
    Ok(())
}

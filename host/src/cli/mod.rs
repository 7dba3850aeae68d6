//! The command line. Names and flags are a contract with scripts; everything a command does lies in
//! the rest of the library, and here it is only parsed, called and shown.
//!
//! Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1
//! failed with a reason, 2 wrong usage.

mod boards;
mod compare;
mod completions;
mod deploy;
mod differentiate;
mod error;
mod evaluate;
mod export;
mod inspect;
mod pretrain;
mod quickstart;
mod replay;
mod report;
mod shown;
mod write_back;

use std::io::Write;

use clap::{ArgAction, Parser, Subcommand};

pub use error::{CliError, explain};

/// Self-supervised learning at the edge: pretrain an encoder without labels, measure it, and pack it
/// for a board that adapts it.
#[derive(Debug, Parser)]
#[command(name = "sedge", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Examples:
  sedge quickstart --out quickstart
  sedge pretrain --data photos/ --image-size 64 --epochs 50 --out runs/photos
  sedge evaluate --run runs/photos --data labelled/ --json photos.json
  sedge export runs/photos --out photos.sedge
  sedge differentiate encoder.onnx --train last:2 --out step.onnx
  sedge inspect photos.sedge")]
pub struct Cli {
    /// Say more on standard error: -v what is done, -vv how, -vvv everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do the whole job once on the simulated robot and report what happened
    Quickstart(quickstart::Args),
    /// Pretrain an encoder without labels
    Pretrain(Box<pretrain::Args>),
    /// Show a run as one page that opens without a network
    Report(report::Args),
    /// Run a step again that was not finite, and see where it went wrong
    Replay(replay::Args),
    /// Pretrain by several methods and measure them side by side
    Compare(Box<compare::Args>),
    /// Measure an encoder: neighbours, linear probe, few labels, against references
    Evaluate(Box<evaluate::Args>),
    /// Pack a pretrained encoder for a board
    Export(export::Args),
    /// Turn any ONNX encoder into a training step of ordinary ONNX operators
    Differentiate(Box<differentiate::Args>),
    /// Put trained weights back into the encoder that was differentiated
    WriteBack(write_back::Args),
    /// Show what a bundle or an ONNX file holds
    Inspect(inspect::Args),
    /// List the boards that Sedge knows, or explain one
    Boards(boards::Args),
    /// Put daemon, board file and bundle on a board, try them there, and go back unless they are healthy
    Flash(Box<deploy::FlashArgs>),
    /// Put the version before back in service
    Rollback(deploy::RollbackArgs),
    /// Show what lies on a board and how it is
    Status(deploy::StatusArgs),
    /// Print completions for a shell
    Completions(completions::Args),
}

/// Runs a command, with its results to `out`.
///
/// # Errors
///
/// [`CliError`]; [`CliError::status`] is the exit status that goes with it.
pub fn run(cli: Cli, out: &mut dyn Write) -> Result<(), CliError> {
    match cli.command {
        Command::Quickstart(args) => quickstart::run(&args, out),
        Command::Pretrain(args) => pretrain::run(*args, out),
        Command::Report(args) => report::run(&args, out),
        Command::Replay(args) => replay::run(&args, out),
        Command::Compare(args) => compare::run(*args, out),
        Command::Evaluate(args) => evaluate::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Differentiate(args) => differentiate::run(&args, out),
        Command::WriteBack(args) => write_back::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Boards(args) => boards::run(&args, out),
        Command::Flash(args) => deploy::flash(*args, out),
        Command::Rollback(args) => deploy::roll_back(&args, out),
        Command::Status(args) => deploy::show_status(&args, out),
        Command::Completions(args) => completions::run(&args, out),
    }
}

#[cfg(test)]
mod differentiate_tests;
#[cfg(test)]
mod tests;

//! What the project does beside building and testing: finding cross toolchains, and running the daemon on an
//! emulated Raspberry Pi.

mod error;
mod toolchain;
mod virtual_pi;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::TaskError;
use virtual_pi::Plan;

/// Exit status of a task that this machine cannot do; what is missing is on the line `SKIPPED`.
const SKIPPED: u8 = 77;

/// What the project does beside building and testing.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the daemon for 64-bit ARM, boot it on an emulated Raspberry Pi, and prove there what it does.
    ///
    /// Exit status: 0 all holds, 1 something does not, 77 a tool is missing here (tests/tools installs them).
    VirtualPi {
        /// Take this daemon, built for 64-bit ARM, instead of building one.
        #[arg(long, value_name = "FILE")]
        daemon: Option<PathBuf>,
        /// Folder for kernel, disk and console.
        #[arg(long, value_name = "DIR", default_value = "target/virtual-pi")]
        work: PathBuf,
        /// Build the daemon as it is shipped (profile `board`), which takes longer.
        #[arg(long)]
        shipped: bool,
        /// Only boot, and give a shell on this terminal; leave with `exit`.
        #[arg(long)]
        shell: bool,
    },
    /// Say which cross toolchains and tools are here.
    Tools,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::VirtualPi { daemon, work, shipped, shell } => {
            virtual_pi::run(&Plan { daemon, work, shipped, shell })
        }
        Task::Tools => toolchain::tell(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => told(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the reason of a failure belongs there")]
fn told(error: &TaskError) -> ExitCode {
    if let TaskError::Missing { .. } = error {
        eprintln!("SKIPPED: {error}");
        return ExitCode::from(SKIPPED);
    }
    eprintln!("xtask: {error}");
    ExitCode::FAILURE
}

//! The `sedge` command.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use sedge::cli::{Cli, explain, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    sedge_engine::keep_memory();
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = run(cli, &mut out).and_then(|()| Ok(out.flush()?));
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let status = error.status();
    if status != 0 {
        // Where standard error is gone too, the status has to do.
        let _ = writeln!(io::stderr(), "error: {}", explain(&error));
    }
    ExitCode::from(status)
}

/// Our own crates at the level asked for, others only when they warn.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // A prefix of every crate of ours.
    let filter = format!("warn,sedge={level}");
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(colour)
        .with_target(verbose > 1)
        .without_time()
        .init();
}

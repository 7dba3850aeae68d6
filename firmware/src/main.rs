//! `sedged`: runs a bundle over a stream of camera and inertial data, and adapts it there.

mod cli;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use sedge_firmware::run::run;
use sedge_firmware::{Report, RunError, Status, Summary};
use signal_hook::consts::{SIGINT, SIGTERM};

use cli::{Cli, Command};

fn main() -> ExitCode {
    sedge_engine::keep_memory();
    let cli = Cli::parse();
    cli.start_log();
    let arguments = match cli.command {
        Command::Run(arguments) => arguments,
        Command::Status(arguments) => return answer_status(&arguments),
        #[cfg(target_os = "linux")]
        Command::Probe(arguments) => return answer_probe(&arguments),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let outcome = listen(&stop).map_err(RunError::Signals).and_then(|()| run(&arguments.config(stop)));
    match outcome {
        Ok(summary) => {
            tell(&summary);
            if let Some(reason) = &summary.source_error {
                return failed(reason);
            }
            ExitCode::SUCCESS
        }
        Err(error) => failed(&chain(&error)),
    }
}

fn answer_status(arguments: &cli::StatusArguments) -> ExitCode {
    let status = match Status::read(&arguments.out) {
        Ok(status) => status,
        Err(error) => return failed(&chain(&error)),
    };
    let printed = print(&status, arguments.json);
    if status.stopped || status.is_running() { printed } else { ExitCode::FAILURE }
}

/// A device that does not answer is no failure of the command, whose business is to say so.
#[cfg(target_os = "linux")]
fn answer_probe(arguments: &cli::ProbeArguments) -> ExitCode {
    match sedge_firmware::probe::probe(&arguments.root, arguments.board.as_deref()) {
        Ok(report) => print(&report, arguments.json),
        Err(error) => failed(&chain(&error)),
    }
}

/// Prints an answer as text or as JSON.
fn print(answer: &(impl std::fmt::Display + serde::Serialize), json: bool) -> ExitCode {
    use std::io::Write;
    let text = if json { serde_json::to_string_pretty(answer) } else { Ok(answer.to_string()) };
    let text = match text {
        Ok(text) => text,
        Err(error) => return failed(&chain(&error)),
    };
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has enough of it.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&format!("cannot write to standard output: {error}")),
    }
}

/// Stops cleanly at the first signal, and at once at the second.
fn listen(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_default(signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the reason of a failure belongs there, log or no log")]
fn failed(reason: &str) -> ExitCode {
    eprintln!("sedged: {reason}");
    ExitCode::FAILURE
}

/// An error with its causes, for those that do not name them themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[expect(clippy::print_stdout, reason = "this is what the command answers")]
fn tell(summary: &Summary) {
    let Report { frames, imu, windows, adaptation, timing } = &summary.report;
    let progress = &adaptation.progress;
    println!("{} over {} ({:.1} s of stream)", summary.bundle, summary.source, summary.stream_s);
    for (name, account) in [("frames", frames), ("samples", imu), ("windows", windows)] {
        if account.offered > 0 {
            let dropped: Vec<String> = account.dropped.iter().map(|(why, n)| format!("{n} {why}")).collect();
            let dropped = if dropped.is_empty() { "none".into() } else { dropped.join(", ") };
            let (offered, used, waiting) = (account.offered, account.used, account.waiting);
            println!("  {name}: {offered} in, {used} used, {waiting} waiting, dropped: {dropped}");
        }
    }
    println!(
        "  steps: {} taken, {} failed; candidates: {} served, {} rejected, {} undecided",
        progress.steps, progress.failed_steps, progress.accepted, progress.rejected, progress.held
    );
    if let Some(held_out) = &adaptation.held_out {
        println!(
            "  held-out loss over {} pairs: {:.4} as shipped, {:.4} in service",
            held_out.pairs, held_out.origin.loss, held_out.served.loss
        );
    }
    println!(
        "  ms a frame: {:.2} (99 %: {:.2}); ms a step: {:.1} (99 %: {:.1})",
        timing.frame.p50_ms, timing.frame.p99_ms, timing.step.p50_ms, timing.step.p99_ms
    );
    if !summary.ended {
        println!("  stopped before the end of the source; the same command goes on from here");
    }
}

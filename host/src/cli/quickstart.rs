//! `sedge quickstart`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use super::CliError;
use crate::pretrain::Stop;
use crate::quickstart::{self, Plan, Report};

/// Flags of `sedge quickstart`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge quickstart
  sedge quickstart --out first --seed 7

Writes report.html, to be opened in a browser, and report.json with the same numbers.")]
pub struct Args {
    /// Directory of the report
    #[arg(long, value_name = "DIR", default_value = "quickstart")]
    pub out: PathBuf,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    let stop = Stop::on_signals().map_err(CliError::Signals)?;
    let started = Instant::now();
    let say = |text: &str| {
        // Nobody may be reading; that is no reason to stop.
        let _ = writeln!(std::io::stderr(), "[{:>4.0} s] {text}", started.elapsed().as_secs_f64());
    };
    let report = quickstart::run(&Plan::new(args.seed), &args.out, &stop, &say)?;
    show(&report, out)?;
    writeln!(out, "\nOpen {}", args.out.join("report.html").display())?;
    writeln!(out, "Next: sedge inspect {}", args.out.join("camera.sedge").display())?;
    Ok(())
}

fn show(report: &Report, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(out, "\nCamera: which room is this? Robots in new rooms, under {}", report.plan.shift)?;
    writeln!(out, "{}", report.camera.table())?;
    for comparison in &report.camera.comparisons {
        writeln!(out, "{}", comparison.sentence())?;
    }
    writeln!(out, "\nIMU: which floor is this? New robots whose bias drifts")?;
    writeln!(out, "{}", report.motion.table())?;
    for device in report.camera.devices.iter().chain([&report.motion.device]) {
        writeln!(out, "{}", device.sentence())?;
    }
    writeln!(out, "\nEverything took {:.0} s.", report.seconds)?;
    Ok(())
}

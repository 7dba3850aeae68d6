//! The command line of `sedged`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sedge_firmware::{
    DEFAULT_STEP_BYTES, DeviceConfig, LiveOptions, MAX_OUTPUT_BYTES, Pace, Resume, RunConfig, SourceOptions,
};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  sedged run --bundle image.sedge --source sim --out run
      a simulated drive, as fast as it goes
  sedged run --bundle image.sedge --source sim:building=3,seconds=120,shift=dusk --out run --seed 7
      another building, at dusk
  sedged run --bundle image.sedge --source flight.mcap --out run --pace realtime --duty 0.5
      a recording at its own pace, adapting half of the time
  sedged run --bundle imu.sedge --source watch.npz --out run --rate 50 --accel-in-g
      inertial series
  sedged run --bundle image.sedge --source frames/ --out run --adapt off
      a folder of images, embedded only
  sedged run --bundle image.sedge --source board --out run
      the cameras and sensors of this board, until it is stopped
  sedged run --bundle image.sedge --source board:mine.toml --out run
      those that a board file names

Run again with the same --out to go on from the last checkpoint; Ctrl-C and SIGTERM write one.
Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.";

const STATUS_EXAMPLES: &str = "\
Examples:
  sedged status --out /var/lib/sedge
  sedged status --out run --json

Exit status: 0 where a daemon runs or has stopped as it was told, 1 where it is silent or there is no status.";

#[cfg(target_os = "linux")]
const PROBE_EXAMPLES: &str = "\
Examples:
  sedged probe
  sedged probe --board rpi4
  sedged probe --board mine.toml --json";

/// Runs Sedge bundles on a device: embeds a stream, and adapts to it without labels.
#[derive(Debug, Parser)]
#[command(name = "sedged", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to log on standard error: error, warn, info, debug, trace, or a tracing filter.
    #[arg(long, global = true, default_value = "info", value_name = "FILTER")]
    log: EnvFilter,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a bundle over a source.
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArguments>),
    /// Say how the daemon is that writes to a folder.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArguments),
    /// Say which board this is, and which of its devices answer.
    #[cfg(target_os = "linux")]
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ProbeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// The folder that the daemon writes to.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(target_os = "linux")]
#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// A board's name or a board file; by default the board is detected.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) board: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Read the kernel's files below this folder.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The bundle: a .sedge file.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// board, board:NAME|FILE, sim, sim:key=value,..., an .mcap, .npz or .csv file, or a folder of images.
    #[arg(long)]
    source: String,
    /// Folder for results and checkpoint.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Stop after this much of the stream; the next run goes on.
    #[arg(long, value_name = "S", value_parser = positive)]
    seconds: Option<f64>,
    /// As fast as the source gives, or at the pace of its clock.
    /// A board is always read at the pace of its clock.
    #[arg(long, value_enum, default_value_t = PaceArgument::Fast)]
    pace: PaceArgument,
    /// Share of time for adapting, 0 to 1; by default the board's, otherwise 0.25.
    #[arg(long, value_name = "F", value_parser = share)]
    duty: Option<f32>,
    /// Whether to adapt.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    adapt: Switch,
    /// Learning rate; by default the bundle's.
    #[arg(long)]
    lr: Option<f32>,
    /// Training pairs kept.
    #[arg(long, default_value_t = DeviceConfig::default().pairs)]
    pairs: usize,
    /// Steps between two looks at the training copy.
    #[arg(long, value_name = "N", default_value_t = DeviceConfig::default().steps_per_candidate)]
    steps_per_candidate: u32,
    /// Memory that a training step may take at its peak, in megabytes; a bundle whose step is planned to
    /// take more is refused. By default 256, and over a board no more than it gives the daemon.
    #[arg(long, value_name = "MB", value_parser = positive)]
    memory_mb: Option<f64>,
    /// Stated cost of a step in milliseconds of the stream, at the pace `fast`.
    #[arg(long, value_name = "MS", default_value_t = DeviceConfig::default().step_ms)]
    step_ms: u64,
    /// Frames or rows a second, where the file does not say.
    #[arg(long, value_name = "HZ")]
    rate: Option<f32>,
    /// Accelerations of a series are in g.
    #[arg(long)]
    accel_in_g: bool,
    /// Seconds of the stream between checkpoints.
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = positive)]
    checkpoint_seconds: f64,
    /// Limit of each file of results.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_OUTPUT_BYTES)]
    max_output_bytes: u64,
    /// Write the summary here too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Faults put into a board's devices, to see what becomes of them: `key=value,...`, for one of them
    /// `DEVICE:key=value,...`, with drop_out, stuck, stuck_readings, bit_flip, latency_ms, unplug=AT+FOR.
    #[arg(long, value_name = "FAULTS", hide = true)]
    faults: Vec<String>,
    /// Read the kernel's files below this folder.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// Fail unless there is a checkpoint to go on from.
    #[arg(long, conflicts_with = "fresh")]
    resume: bool,
    /// Discard the checkpoint and the results in the folder.
    #[arg(long)]
    fresh: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PaceArgument {
    Fast,
    Realtime,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Cli {
    /// Starts the log on standard error, in colour only on a terminal that wants it.
    pub(crate) fn start_log(&self) {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let log = tracing_subscriber::fmt()
            .with_env_filter(self.log.clone())
            .with_writer(std::io::stderr)
            .with_ansi(!plain && std::io::stderr().is_terminal());
        // The log is started once; were it not, there would be no one to tell.
        let _ = if self.log_json { log.json().try_init() } else { log.try_init() };
    }
}

impl RunArguments {
    /// The run that was asked for.
    pub(crate) fn config(self, stop: Arc<AtomicBool>) -> RunConfig {
        let device = DeviceConfig {
            seed: self.seed,
            adapt: matches!(self.adapt, Switch::On),
            pace: match self.pace {
                PaceArgument::Fast => Pace::Fast,
                PaceArgument::Realtime => Pace::Realtime,
            },
            duty: self.duty.unwrap_or(DeviceConfig::default().duty),
            lr: self.lr,
            pairs: self.pairs,
            steps_per_candidate: self.steps_per_candidate,
            step_ms: self.step_ms,
            step_bytes: self.memory_mb.map_or(DEFAULT_STEP_BYTES, |megabytes| (megabytes * 1e6) as u64),
            ..DeviceConfig::default()
        };
        let resume = match (self.resume, self.fresh) {
            (true, _) => Resume::Required,
            (false, true) => Resume::Fresh,
            (false, false) => Resume::Automatic,
        };
        let live = LiveOptions {
            root: self.root,
            faults: self.faults,
            own_duty: self.duty.is_some(),
            own_step_bytes: self.memory_mb.is_some(),
        };
        RunConfig {
            device,
            live,
            source_options: SourceOptions { rate_hz: self.rate, accel_in_g: self.accel_in_g },
            seconds: self.seconds,
            resume,
            checkpoint_seconds: self.checkpoint_seconds,
            max_output_bytes: self.max_output_bytes,
            json: self.json,
            stop,
            ..RunConfig::new(self.bundle, self.source, self.out)
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("it must be above zero".into()) }
}

fn share(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("it must lie between 0 and 1".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}

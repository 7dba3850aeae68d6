//! `sedge pretrain`.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::CliError;
use super::shown::{warn_of, write_json};
use crate::data::Origin;
use crate::pretrain::{ArchitectureSetting, Pretraining, Start, span};
use crate::pretrain::{Outcome, Position, PretrainConfig, Progress, RunDirectory, Settings, Stop, Summary};
use crate::watch::Server;

/// Flags of `sedge pretrain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge pretrain --data photos/ --image-size 64 --epochs 50 --out runs/photos
  sedge pretrain imu.toml --data walk.csv --seed 3 --out runs/walk
  sedge pretrain --data new-photos/ --from runs/photos --out runs/new-photos
  sedge pretrain --resume --out runs/photos

A CONFIG.toml holds the same names with underscores (`warmup_epochs = 5`), data under [data], and
the tables [architecture], [image_augment] and [window_augment]; flags go over it. The run directory
keeps config.toml, metrics.jsonl, checkpoint.sedge-run and, at the end, summary.json and report.html.
Ctrl-C saves and stops; a run that goes on ends exactly as if it had never stopped. A step that is not
finite ends the run and is kept in the folder nan; `sedge replay` shows where it went wrong.")]
pub struct Args {
    /// Settings; flags go over them
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Run directory; must not hold a run yet, unless with --resume
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Go on with the run in --out, with the settings it was started with
    #[arg(long)]
    resume: bool,
    /// Write the summary to this file as JSON, beside the run directory's own
    #[arg(long, value_name = "FILE", help_heading = "Running")]
    json: Option<PathBuf>,
    /// Serve a page of the run while it goes on, for a browser on this machine [default address:
    /// 127.0.0.1:7333]
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:7333",
        help_heading = "Running"
    )]
    live: Option<SocketAddr>,
    /// Show no progress
    #[arg(short, long, help_heading = "Running")]
    quiet: bool,
}

pub(super) fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let stop = Stop::on_signals().map_err(CliError::Signals)?;
    let (config, data) = if args.resume { resume(&args)? } else { start(&args)? };
    tracing::info!(samples = data.samples(), modality = %data.modality(), "data is there");
    warn_of(data.known().skipped());
    let pretraining = Pretraining::prepare(data, &config)?;
    // Nothing is made before it is known that training can begin.
    let run =
        if args.resume { RunDirectory::open(&args.out)? } else { RunDirectory::create(&args.out, &config)? };
    let _page = args.live.map(|address| live(run.path(), address)).transpose()?;
    match pretraining.run(&run, &mut progress(args.quiet), &stop)? {
        Outcome::Finished(summary) => {
            write_json(args.json.as_deref(), &summary)?;
            finished(&run, &summary, out)
        }
        Outcome::Interrupted(position) => interrupted(&run, &config, position, out),
    }
}

fn start(args: &Args) -> Result<(PretrainConfig, Origin), CliError> {
    let file = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let mut settings = args.settings.clone().over(file);
    if let (None, Some(from)) = (&settings.architecture, &settings.from) {
        settings.architecture = Start::read(from)?.architecture.map(ArchitectureSetting::Table);
    }
    let source = settings.source()?;
    let data = source.open(settings.batch())?;
    Ok((settings.resolve(data.modality())?, data))
}

/// A run goes on as it began; only what changes nothing of the result may be said anew.
fn resume(args: &Args) -> Result<(PretrainConfig, Origin), CliError> {
    let Settings { workers, eval_every, checkpoint_every, grid_g_per_kwh, .. } = args.settings;
    let allowed = Settings { workers, eval_every, checkpoint_every, grid_g_per_kwh, ..Settings::default() };
    if args.config.is_some() || args.settings != allowed {
        return Err(CliError::Usage(
            "--resume goes on with the settings of the run; beside it only --out, --workers, \
             --eval-every, --checkpoint-every, --grid-g-per-kwh, --live, --json and --quiet are taken"
                .into(),
        ));
    }
    let mut config = RunDirectory::open(&args.out)?.config()?;
    config.workers = workers.unwrap_or(config.workers);
    config.eval_every = eval_every.unwrap_or(config.eval_every);
    config.checkpoint_every = checkpoint_every.unwrap_or(config.checkpoint_every);
    config.grid_g_per_kwh = grid_g_per_kwh.unwrap_or(config.grid_g_per_kwh);
    config.check()?;
    let data = config.data.open(config.batch)?;
    Ok((config, data))
}

/// Serves the run's page until what is given is dropped. That nobody can be told where is no reason to stop.
fn live(run: &Path, address: SocketAddr) -> Result<Server, CliError> {
    let server = Server::start(run, address)?;
    let _ = writeln!(std::io::stderr(), "live page: http://{}/", server.address());
    if !server.address().ip().is_loopback() {
        tracing::warn!("whoever reaches {} can read the run's page and metrics", server.address());
    }
    Ok(server)
}

fn progress(quiet: bool) -> Progress {
    let stderr = std::io::stderr();
    match (quiet, stderr.is_terminal()) {
        (true, _) => Progress::silent(),
        (false, true) => Progress::bar(),
        (false, false) => Progress::lines(Box::new(stderr)),
    }
}

fn finished(run: &RunDirectory, summary: &Summary, out: &mut dyn Write) -> Result<(), CliError> {
    let Summary { epochs, steps, loss, knn, linear, gauges, seconds, cost, .. } = summary;
    let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    let knn = knn.map_or(String::new(), |knn| format!(", kNN accuracy {:.1} %", knn * 100.0));
    let linear = linear.map_or(String::new(), |linear| format!(", linear probe {:.1} %", linear * 100.0));
    let health = gauges.map_or(String::new(), |gauges| format!(", features {}", gauges.health().word()));
    let took = span(*seconds);
    let path = run.path().display();
    writeln!(out, "{path}: {epochs} epochs, {steps} steps in {took}{loss}{knn}{linear}{health}")?;
    if let Some(cost) = cost {
        writeln!(out, "{}", cost.line())?;
    }
    let report = run.report_path();
    if report.is_file() {
        writeln!(out, "see {}", report.display())?;
    }
    Ok(())
}

fn interrupted(
    run: &RunDirectory,
    config: &PretrainConfig,
    position: Position,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (path, epoch) = (run.path().display(), position.epoch + 1);
    writeln!(
        out,
        "stopped in epoch {epoch} of {} after {} steps; everything is saved. Go on with:\n  \
         sedge pretrain --resume --out {path}",
        config.epochs, position.step
    )?;
    Ok(())
}

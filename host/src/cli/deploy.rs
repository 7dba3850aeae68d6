//! `sedge flash`, `sedge rollback` and `sedge status`: a board over ssh, or a card.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use sedge_deploy::flash::{Deployment, FlashOptions, Flashed, Health, Step, rollback};
use sedge_deploy::image::{ImageOptions, write};
use sedge_deploy::names::split_command;
use sedge_deploy::payload::{BoardFile, BundleFile, Daemon};
use sedge_deploy::status::status;
use sedge_deploy::{Connection, DeployError, Host, Prefix};
use sedge_models::bundle::Bundle;

use super::CliError;

/// Where a board is.
#[derive(Debug, clap::Args)]
struct HostArgs {
    /// The ssh program and its options
    #[arg(long, value_name = "COMMAND", default_value = "ssh")]
    ssh: String,
    /// Port, where it is not the one of ssh's configuration
    #[arg(long)]
    port: Option<u16>,
    /// File of the key to log in with
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Folder of the slots on the board
    #[arg(long, value_name = "DIR", default_value = "/opt/sedge")]
    prefix: String,
}

/// When a daemon counts as healthy.
#[derive(Debug, clap::Args)]
struct HealthArgs {
    /// Seconds until the daemon must be healthy
    #[arg(long, value_name = "S", default_value_t = Health::default().wait_s, value_parser = clap::value_parser!(u32).range(1..=3600))]
    wait: u32,
    /// Seconds that it must stay healthy
    #[arg(long, value_name = "S", default_value_t = Health::default().hold_s, value_parser = clap::value_parser!(u32).range(1..=3600))]
    hold: u32,
    /// Embeddings that it must have made; 0 for a board that has nothing to embed yet
    #[arg(long, value_name = "N", default_value_t = Health::default().least_embeddings)]
    embeddings: u64,
}

/// Flags of `sedge flash`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("place").required(true).args(["host", "image"]))]
#[command(
    after_help = "The daemon is tried where it runs: unless it is healthy, the slot before is back in service.

Examples:
  sedge flash --board rpi4 --host pi@robot --bundle photos.sedge
  sedge flash --board mine.toml --host robot --binary sedged --dry-run
  sedge flash --board rpi5 --image raspios.img --bundle photos.sedge
  sedge flash --board rpi5 --image /media/me/rootfs --boot /media/me/bootfs --bundle photos.sedge"
)]
pub struct FlashArgs {
    /// The board: a name, or a board file
    #[arg(long, value_name = "NAME|FILE")]
    board: String,
    /// Where to log in: user@robot
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A card's image, or the folder where a card's root is mounted
    #[arg(long, value_name = "PATH", conflicts_with_all = ["ssh", "port", "identity", "dry_run", "fresh", "wait", "hold", "embeddings"])]
    image: Option<PathBuf>,
    /// Folder where the boot partition of a mounted card is
    #[arg(long, value_name = "DIR", requires = "image")]
    boot: Option<PathBuf>,
    /// The bundle; without it, the one in service is kept
    #[arg(long, value_name = "FILE", required_unless_present = "host")]
    bundle: Option<PathBuf>,
    /// A built sedged; without it, one is built from the sources around this folder
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Begin with nothing learned, where this bundle ran on this board before
    #[arg(long)]
    fresh: bool,
    /// Check everything, show what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    to: HostArgs,
    #[command(flatten)]
    health: HealthArgs,
}

/// Flags of `sedge rollback`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge rollback --host pi@robot")]
pub struct RollbackArgs {
    /// Where to log in: user@robot
    #[arg(long, value_name = "HOST")]
    host: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    to: HostArgs,
    #[command(flatten)]
    health: HealthArgs,
}

/// Flags of `sedge status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge status --host pi@robot
  sedge status --host pi@robot --json | jq .daemon.embeddings")]
pub struct StatusArgs {
    /// Where to log in: user@robot
    #[arg(long, value_name = "HOST")]
    host: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    to: HostArgs,
}

impl HostArgs {
    fn connection(&self, host: &str) -> Result<Connection, DeployError> {
        let (port, identity) = (self.port, self.identity.clone());
        Ok(Connection { ssh: split_command(&self.ssh)?, port, identity, ..Connection::new(Host::new(host)?) })
    }

    fn prefix(&self) -> Result<Prefix, DeployError> {
        Prefix::new(&self.prefix)
    }
}

impl HealthArgs {
    fn health(&self) -> Health {
        Health { wait_s: self.wait, hold_s: self.hold, least_embeddings: self.embeddings }
    }
}

pub(super) fn flash(args: FlashArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let board = BoardFile::named_or_file(&args.board)?;
    // Read with every check that the board would make, before any of it is sent there.
    let bundle = match args.bundle {
        Some(path) => Some(BundleFile { digest: Bundle::read(&path)?.digest()?, path }),
        None => None,
    };
    let daemon = match args.binary {
        Some(path) => Daemon::Prebuilt(path),
        None => Daemon::Build(
            std::env::current_dir().map_err(|source| CliError::Read { path: ".".into(), source })?,
        ),
    };
    let prefix = args.to.prefix()?;
    let Some(host) = args.host else {
        let (Some(image), Some(bundle)) = (args.image, bundle) else {
            return Err(CliError::Usage("give a board's --host, or an --image with a --bundle".into()));
        };
        let options = ImageOptions { image, boot: args.boot, prefix, board, daemon, bundle };
        let written = write(&options)?;
        if args.json {
            return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&written)?)?);
        }
        writeln!(
            out,
            "slot {} is in service when the board starts ({})",
            written.slot, written.architecture
        )?;
        for line in &written.config_lines {
            writeln!(out, "config.txt: {line}")?;
        }
        return Ok(());
    };
    let connection = args.to.connection(&host)?;
    let health = args.health.health();
    let options = FlashOptions { connection, prefix, board, daemon, bundle, health, fresh: args.fresh };
    let mut tell = teller();
    let deployment = Deployment::prepare(options, &mut tell)?;
    if args.dry_run {
        writeln!(
            out,
            "{host} is {}, and can carry it; slot {} would be written",
            deployment.architecture, deployment.slot
        )?;
        writeln!(out, "{}\n\n{}", deployment.status, deployment.unit().trim_end())?;
        return Ok(());
    }
    shown(&deployment.apply(&mut tell)?, args.json, out)
}

pub(super) fn roll_back(args: &RollbackArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let (connection, prefix) = (args.to.connection(&args.host)?, args.to.prefix()?);
    let flashed = rollback(connection, &prefix, args.health.health(), &mut teller())?;
    shown(&flashed, args.json, out)
}

pub(super) fn show_status(args: &StatusArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let status = status(args.to.connection(&args.host)?, &args.to.prefix()?)?;
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?);
    }
    Ok(writeln!(out, "{status}")?)
}

fn shown(flashed: &Flashed, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(flashed)?)?);
    }
    let before = match flashed.before {
        Some(slot) => format!("; slot {slot} is kept, `sedge rollback` goes back to it"),
        None => String::new(),
    };
    let Flashed { slot, record, seconds, .. } = flashed;
    Ok(writeln!(
        out,
        "slot {slot} is in service, healthy after {seconds} s: {}, board {}{before}",
        record.version, record.board
    )?)
}

/// Tells each step on standard error.
fn teller() -> impl FnMut(Step, &str) {
    let started = Instant::now();
    move |step, what| {
        // Where standard error is gone, the result has to do.
        let _ = writeln!(
            std::io::stderr(),
            "[{:>4.0} s] {}: {what}",
            started.elapsed().as_secs_f64(),
            step.title()
        );
    }
}

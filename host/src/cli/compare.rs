//! `sedge compare`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use super::CliError;
use super::shown::warn_of;
use crate::compare::{Plan, compare};
use crate::data::{Dataset, load};
use crate::evaluate::Protocol;
use crate::measure::{Held, Sides};
use crate::pretrain::{Method, Progress, Settings, Stop};

/// Flags of `sedge compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge compare --data exercises.npz --held-out 8,9,10 --epochs 50 --out runs/methods
  sedge compare --data cifar10/ --test cifar10-test.parquet --methods simclr,mocov2,rotation --out runs/images

Every method pretrains on the same part of the data, for as many epochs, from the same seed, without
labels; then features are measured on the part held out, which no method saw. Settings are those of
`sedge pretrain`; `--architecture` goes for every method. Those that it does not fit train the encoder of their own
(mae, rbm), and are left out where they have none.
A comparison that was cut goes on where it was when it is started again. compare.json holds every
figure, compare.md the table.")]
pub struct Args {
    /// Settings of every run; flags go over them
    #[arg(value_name = "CONFIG.toml")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Methods [default: all that fit the data]
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', conflicts_with = "method")]
    methods: Vec<Method>,
    /// Data to test on, read as --data is [default: a part of --data]
    #[arg(long, value_name = "PATH", help_heading = "Data", conflicts_with = "held_out")]
    test: Option<String>,
    /// Groups of --data to test on [default: 30 % of the samples, drawn by --seed]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Data")]
    held_out: Option<Vec<u32>>,
    /// Draws of each few-label budget
    #[arg(long, value_name = "N", default_value_t = 5)]
    draws: usize,
    /// Directory of the runs and the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Show no progress
    #[arg(short, long, help_heading = "Running")]
    quiet: bool,
}

pub(super) fn run(args: Args, out: &mut dyn Write) -> Result<(), CliError> {
    let stop = Stop::on_signals().map_err(CliError::Signals)?;
    let file = args.config.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let settings = args.settings.over(file);
    let seed = settings.seed.unwrap_or(0);
    let source = settings.data.clone().resolve()?;
    let read = |path: &str| -> Result<Dataset, CliError> {
        let data = load(path, &source.options())?;
        warn_of(data.skipped());
        Ok(data)
    };
    let data = read(&source.path)?;
    let sides = match &args.test {
        None => {
            let held = args.held_out.clone().map_or(Held::Drawn(seed), Held::Groups);
            Sides::cut(&data, &held, &source.path)?
        }
        Some(test) => Sides::of_two(data, read(test)?, (&source.path, test), *test == source.path)?,
    };
    let methods = match settings.method {
        _ if !args.methods.is_empty() => args.methods,
        Some(method) => vec![method],
        None => Method::fitting(sides.train.modality()).collect(),
    };
    let protocol = Protocol { seed, draws: args.draws, ..Protocol::default() };
    let plan = Plan { methods, settings, protocol, out: args.out };
    let quiet = args.quiet;
    let compared = compare(&plan, &sides, &mut |method| progress(method, quiet), &stop)?;
    match compared {
        Some(compared) => write!(out, "{}", compared.table())?,
        None => writeln!(
            out,
            "stopped; everything is saved. The same command goes on where this one was, in {}",
            plan.out.display()
        )?,
    }
    Ok(())
}

fn progress(method: Method, quiet: bool) -> Progress {
    if quiet {
        return Progress::silent();
    }
    let mut stderr = std::io::stderr();
    // Nobody may be listening, which is no reason to stop.
    let _ = writeln!(stderr, "{}", method.name());
    if stderr.is_terminal() { Progress::bar() } else { Progress::lines(Box::new(stderr)) }
}

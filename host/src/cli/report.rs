//! `sedge report`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::CliError;
use crate::data::{Origin, load};
use crate::pretrain::RunDirectory;
use crate::watch::{Shown, report};

/// Flags of `sedge report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge report runs/photos
  sedge report runs/photos --split test --out photos.html

One file that fetches nothing: loss, gauges, accuracy, a map of embeddings, nearest neighbours as
pictures, cost, configuration and digests. A run writes the same at its end; this makes it again, also of
a run that still goes on.")]
pub struct Args {
    /// The run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The page to write [default: report.html in the run directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Map and neighbours of this data, read as the run's own was [default: the run's own]
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Split of the data that was not trained on, such as test
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    let config = RunDirectory::open(&args.run)?.config()?;
    let data: Option<Origin> = match (&args.data, &args.split) {
        (None, None) => match config.data.open(config.batch) {
            Ok(data) => Some(data),
            // The rest of the page needs no data.
            Err(why) => {
                tracing::warn!("without map and neighbours, as the run's data cannot be read: {why}");
                None
            }
        },
        (path, split) => {
            let mut options = config.data.options();
            if let Some(split) = split {
                options.split.clone_from(split);
            }
            Some(Arc::new(load(path.as_ref().unwrap_or(&config.data.path), &options)?).into())
        }
    };
    let of = match (&args.data, &args.split) {
        (None, None) => "the data trained on".to_owned(),
        (path, Some(split)) => format!("split {split} of {}", path.as_ref().unwrap_or(&config.data.path)),
        (Some(path), None) => path.clone(),
    };
    let shown = data.as_ref().map(|data| Shown { data: data.known(), of: &of });
    let file = report(&args.run, shown, args.out.as_deref())?;
    writeln!(out, "{}", file.display())?;
    Ok(())
}

//! `sedge evaluate`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::CliError;
use super::shown::{warn_of, write_json};
use crate::data::{Dataset, load};
use crate::evaluate::{Progress, Protocol};
use crate::measure::{AssessOptions, Assessment, Held, Sides, Subject, assess};
use crate::pretrain::{DataConfig, DataSettings};

/// Time between plain lines of progress.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Flags of `sedge evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sedge evaluate --run runs/photos --data labelled/
  sedge evaluate --run runs/walk --data exercises.npz --held-out 8,9,10 --json walk.json
  sedge evaluate --bundle imu.sedge --data sim:drive=2-5 --test sim:drive=6 --draws 10
  sedge evaluate --onnx encoder.onnx --data train/ --test test/

Data is split by subject or recording, never by window; single images are split one by one. Window
length, rate and image size are those of the encoder unless given. The encoder is held against
itself with random weights, the raw input (of texts, counts of bytes and of pairs of bytes), and, where
its architecture is known, the same architecture trained with supervision on the same labels. An ONNX file does not say how samples are
normalised: they are by the figures of the training part.")]
pub struct Args {
    #[command(flatten)]
    encoder: EncoderArgs,
    #[command(flatten)]
    data: DataSettings,
    /// Data to test on, read as --data is; groups count as others than those of --data unless it is
    /// the same source [default: a part of --data]
    #[arg(long, value_name = "PATH", help_heading = "Data", conflicts_with = "held_out")]
    test: Option<String>,
    /// Groups of --data to test on [default: 30 % of the samples, drawn by --seed]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Data")]
    held_out: Option<Vec<u32>>,
    /// Draws of each few-label budget
    #[arg(long, value_name = "N", default_value_t = 5)]
    draws: usize,
    /// Steps of the supervised reference, each on 64 views; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 300)]
    supervised_steps: usize,
    /// Learning rate of the supervised reference at its highest
    #[arg(long, value_name = "RATE", default_value_t = 2e-3)]
    supervised_lr: f32,
    /// Train the supervised reference on samples as they are, not augmented as in pretraining
    #[arg(long)]
    supervised_plain: bool,
    /// Seed of splits, draws and random weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the same numbers to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// Which encoder.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct EncoderArgs {
    /// A run directory of `sedge pretrain`
    #[arg(long, value_name = "RUN")]
    pub run: Option<PathBuf>,
    /// A bundle
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// An ONNX encoder
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
}

/// What is written as JSON.
#[derive(Serialize)]
struct Report<'a> {
    encoder: &'a Path,
    data: &'a DataConfig,
    test: Option<&'a str>,
    held_out: Option<&'a [u32]>,
    #[serde(flatten)]
    assessment: &'a Assessment,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), CliError> {
    if !(args.supervised_lr.is_finite() && args.supervised_lr > 0.0) {
        let found = args.supervised_lr;
        return Err(CliError::Usage(format!("--supervised-lr is {found}; it must be above zero")));
    }
    // What is missing on the command line is told before anything is read.
    args.data.clone().resolve()?;
    let (path, subject) = subject(&args.encoder)?;
    let settings = args.data.clone().over(subject.data_settings(args.data.path.as_deref()));
    let source = settings.resolve()?;
    let sides = sides(args, &source)?;
    let protocol = Protocol { seed: args.seed, draws: args.draws, ..Protocol::default() };
    let options = AssessOptions {
        protocol,
        references: true,
        supervised_steps: args.supervised_steps,
        supervised_lr: args.supervised_lr,
        supervised_augmented: !args.supervised_plain,
    };
    let mut shown = Shown::new(args.quiet);
    let assessed = assess(&subject, &sides, &options, &mut |progress| shown.tell(progress));
    shown.end();
    let mut assessment = assessed?;
    assessment.notes.extend(seen_before(args, &subject, &source));
    write_json(
        args.json.as_deref(),
        &Report {
            encoder: path,
            data: &source,
            test: args.test.as_deref(),
            held_out: args.held_out.as_deref(),
            assessment: &assessment,
        },
    )?;
    write!(out, "{}", assessment.evaluation.to_text())?;
    if !assessment.notes.is_empty() {
        writeln!(out)?;
    }
    for note in &assessment.notes {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

fn subject(encoder: &EncoderArgs) -> Result<(&Path, Subject), CliError> {
    Ok(match (&encoder.run, &encoder.bundle, &encoder.onnx) {
        (Some(path), _, _) => (path, Subject::of_run(path)?),
        (_, Some(path), _) => (path, Subject::of_bundle(path)?),
        (_, _, Some(path)) => (path, Subject::of_onnx(path)?),
        // The parser wants one of them.
        _ => return Err(CliError::Usage("give --run, --bundle or --onnx".into())),
    })
}

fn sides(args: &Args, source: &DataConfig) -> Result<Sides, CliError> {
    let read = |path: &str| -> Result<Dataset, CliError> {
        let data = load(path, &source.options())?;
        warn_of(data.skipped());
        Ok(data)
    };
    let data = read(&source.path)?;
    let Some(test) = &args.test else {
        let held = args.held_out.clone().map_or(Held::Drawn(args.seed), Held::Groups);
        return Ok(Sides::cut(&data, &held, &source.path)?);
    };
    Ok(Sides::of_two(data, read(test)?, (&source.path, test), *test == source.path)?)
}

/// Says so when the encoder was pretrained on the samples that it is tested on: labels were not seen,
/// but a claim about new subjects wants new subjects.
fn seen_before(args: &Args, subject: &Subject, source: &DataConfig) -> Option<String> {
    let pretrained_on = &subject.config.as_ref()?.data;
    let test = args.test.as_deref().unwrap_or(&source.path);
    let same = pretrained_on.path == test && pretrained_on.split == source.split;
    let apart = match (&pretrained_on.groups, &args.held_out) {
        (Some(seen), Some(held)) => held.iter().all(|group| !seen.contains(group)),
        _ => false,
    };
    (same && !apart).then(|| {
        "The encoder was pretrained on data that the test part is of (without labels). To test on subjects \
         that it never saw, pretrain with --groups and evaluate with --held-out."
            .to_owned()
    })
}

/// How far the fits have come, on standard error.
struct Shown {
    bar: Option<ProgressBar>,
    last: Option<Instant>,
    quiet: bool,
}

impl Shown {
    fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, last: None, quiet }
    }

    fn tell(&mut self, progress: Progress<'_>) {
        let Progress { done, total, set, measure } = progress;
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(format!("{set}, {measure}"));
        } else if !self.quiet && self.last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL) {
            self.last = Some(Instant::now());
            // Nobody may be listening any more, which is no reason to stop.
            let _ = writeln!(std::io::stderr(), "fit {} of {total}: {set}, {measure}", done + 1);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

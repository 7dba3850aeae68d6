//! A run: a source through a device into an output folder, from a checkpoint if there is one.
//!
//! | file in the folder | what |
//! |---|---|
//! | `embeddings.jsonl`, `events.jsonl` | results, appended as they come |
//! | `sensors.jsonl` | readings of a board's other sensors |
//! | `status.json` | how the daemon is, every few seconds |
//! | `checkpoint.sedge-state` | what the next session goes on from |
//! | `stream.mcap` | both line files as MCAP, made at the end of each session, but for a board |
//! | `summary.json` | what the run came to |
//! | `lock` | held while a session runs |

mod feed;
mod files;
mod session;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sedge_boards::Board;
use sedge_models::bundle::Bundle;

use crate::checkpoint::{CHECKPOINT_FILE, Checkpoint, CheckpointError};
use crate::live::{LivePlan, board_of};
use crate::{DeviceConfig, MAX_OUTPUT_BYTES, RunError, Source, SourceIdentity, SourceOptions, Summary};
use session::{Origin, Session};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The bundle.
    pub bundle: PathBuf,
    /// The source by name: `board` or `board:NAME|FILE` for a board, otherwise see [`Source::parse`].
    pub source: String,
    /// The output folder, made if it is not there.
    pub out: PathBuf,
    /// How the device runs the bundle.
    pub device: DeviceConfig,
    /// What the source's file does not say.
    pub source_options: SourceOptions,
    /// How a board is read.
    pub live: LiveOptions,
    /// Stop after this much of the stream, counted from its first event; the next run goes on.
    pub seconds: Option<f64>,
    /// What to do with a checkpoint.
    pub resume: Resume,
    /// Seconds of the stream between checkpoints; one is written at the end in any case.
    pub checkpoint_seconds: f64,
    /// Bytes of pairs' samples in a checkpoint; where they take more, pairs are gathered anew.
    pub checkpoint_sample_bytes: usize,
    /// Limit of each file of results.
    pub max_output_bytes: u64,
    /// Another place for the summary.
    pub json: Option<PathBuf>,
    /// Set from outside, stops the run with a checkpoint.
    pub stop: Arc<AtomicBool>,
}

/// How a board is read.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Where the kernel's files are read: `/` but in tests.
    pub root: PathBuf,
    /// Faults put into its devices, to see what becomes of them: `[DEVICE:]key=value,...`, with the keys
    /// `drop_out`, `stuck`, `stuck_readings`, `bit_flip`, `latency_ms`, `unplug=AT+FOR`.
    pub faults: Vec<String>,
    /// Whether [`DeviceConfig::duty`] is the caller's own; otherwise it is the board's.
    pub own_duty: bool,
    /// Whether [`DeviceConfig::step_bytes`] is the caller's own; otherwise the board's memory bounds it.
    pub own_step_bytes: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self { root: "/".into(), faults: vec![], own_duty: false, own_step_bytes: false }
    }
}

/// What to do with a checkpoint in the output folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Go on from it if there is one.
    #[default]
    Automatic,
    /// Go on from it, and fail if there is none.
    Required,
    /// Discard it, and the results with it.
    Fresh,
}

impl RunConfig {
    /// A run with every default.
    pub fn new(bundle: impl Into<PathBuf>, source: impl Into<String>, out: impl Into<PathBuf>) -> Self {
        Self {
            bundle: bundle.into(),
            source: source.into(),
            out: out.into(),
            device: DeviceConfig::default(),
            source_options: SourceOptions::default(),
            live: LiveOptions::default(),
            seconds: None,
            resume: Resume::Automatic,
            checkpoint_seconds: 30.0,
            checkpoint_sample_bytes: 256 << 20,
            max_output_bytes: MAX_OUTPUT_BYTES,
            json: None,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Runs to the end of the source, to [`RunConfig::seconds`], or until told to stop.
///
/// # Errors
///
/// [`RunError`] when something cannot be opened, the device fails, or results cannot be written. The
/// checkpoint written last stays good. A source that fails midway is no error here: what came before
/// it is complete, and [`Summary::source_error`] says what happened.
pub fn run(config: &RunConfig) -> Result<Summary, RunError> {
    let start = Instant::now();
    let bundle = Bundle::read(&config.bundle)?;
    if let Some(board) = board_of(&config.source, &config.live.root)? {
        return run_board(config, &bundle, board, start);
    }
    let source = Source::parse(&config.source)?;
    let stream = source.open(&config.source_options, bundle.manifest.input.rate_hz)?;
    let identity = source.identity(&config.source_options)?;
    Session::open(config, &bundle, identity, None, start)?.run(Origin::Stream(stream))
}

fn run_board(config: &RunConfig, bundle: &Bundle, board: Board, start: Instant) -> Result<Summary, RunError> {
    let mut config = config.clone();
    config.device.on_board(&board, config.live.own_duty, config.live.own_step_bytes);
    let identity = SourceIdentity {
        kind: "board".into(),
        name: board.name.clone(),
        size: 0,
        options: config.source_options,
    };
    let session = Session::open(&config, bundle, identity, Some(&board), start)?;
    let plan = LivePlan {
        board,
        root: config.live.root.clone(),
        faults: config.live.faults.clone(),
        seed: config.device.seed,
        modality: bundle.manifest.input.modality,
    };
    session.run(Origin::Board(plan))
}

/// The checkpoint to go on from, after checking that it belongs to this run.
fn checkpoint(
    config: &RunConfig,
    digest: &str,
    identity: &crate::SourceIdentity,
) -> Result<Option<Checkpoint>, RunError> {
    if config.resume == Resume::Fresh {
        return discard(&config.out).map(|()| None);
    }
    let Some(checkpoint) = Checkpoint::read(&config.out)? else {
        if config.resume == Resume::Required {
            return Err(CheckpointError::Missing { path: config.out.clone() }.into());
        }
        return Ok(None);
    };
    let header = &checkpoint.header;
    if header.bundle != digest {
        let (found, wanted) = (header.bundle.clone(), digest.to_owned());
        return Err(CheckpointError::OtherBundle { found, wanted }.into());
    }
    if header.source != *identity {
        let (found, wanted) = (header.source.to_string(), identity.to_string());
        return Err(CheckpointError::OtherSource { found, wanted }.into());
    }
    if let Some(field) = difference(&header.config, &config.device) {
        return Err(CheckpointError::OtherConfig { field }.into());
    }
    Ok(Some(checkpoint))
}

/// The name of the first option that differs.
fn difference(a: &DeviceConfig, b: &DeviceConfig) -> Option<String> {
    if a == b {
        return None;
    }
    let (a, b) = (serde_json::to_value(a).ok()?, serde_json::to_value(b).ok()?);
    let fields = a.as_object()?.iter();
    let differing = fields.filter(|(name, value)| b.get(name.as_str()) != Some(value));
    Some(differing.map(|(name, _)| format!("`{name}`")).next().unwrap_or_else(|| "configuration".into()))
}

fn discard(out: &Path) -> Result<(), RunError> {
    let path = out.join(CHECKPOINT_FILE);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(crate::OutputError::Io { step: "removing", path, source }.into()),
    }
}

//! Why a device or a run could not go on.

use std::io;
use std::path::PathBuf;

use sedge_augment::AugmentError;
use sedge_boards::sim::{RigError, SpecError};
use sedge_core::{ConfigError, Refusal};
use sedge_engine::EngineError;
use sedge_models::bundle::BundleError;
use sedge_models::lora::LoraError;
use sedge_recordings::RecordingError;

use crate::checkpoint::CheckpointError;
use crate::live::LiveError;

/// Failure of a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The bundle asks for something this device cannot do.
    #[error("this device does not support {what}")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The encoder does not reproduce the embeddings that came with it.
    #[error(
        "self-test failed: reference input {index} is embedded {difference:.2e} (relative) away from the bundle's \
         embedding, {limit:.0e} is allowed; the file, the engine or the processor is at fault. Pack the \
         bundle again, or set `adapt` aside and compare with another machine"
    )]
    SelfTest {
        /// Which reference input.
        index: usize,
        /// Length of the difference by the length of the reference embedding.
        difference: f32,
        /// What is allowed.
        limit: f32,
    },
    /// The training step needs more memory than it may take.
    #[error(
        "a training step is planned to take {:.1} MB at its peak (at `{at}`), and {:.1} MB are allowed; raise \
         --memory-mb, run with --adapt off, or export the bundle again with a smaller --batch or a smaller \
         part to --train (`head`, `bias`, `last:1`)",
        *planned as f64 / 1e6,
        *budget as f64 / 1e6
    )]
    Memory {
        /// Planned bytes.
        planned: u64,
        /// Bytes allowed.
        budget: u64,
        /// The node at which the most is alive.
        at: String,
    },
    /// An option makes no sense.
    #[error("`{option}` is {found}; it must be {wanted}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The learner's configuration makes no sense.
    #[error("the learner cannot be configured: {0}")]
    Config(#[from] ConfigError),
    /// A graph could not be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Adapted weights do not fit the encoder.
    #[error("the adapted weights cannot be put into the encoder: {0}")]
    Weights(#[from] LoraError),
    /// Views could not be drawn.
    #[error("views of the samples cannot be drawn: {0}")]
    Views(#[from] AugmentError),
    /// The bundle could not be digested.
    #[error("the bundle cannot be digested: {0}")]
    Bundle(#[from] BundleError),
    /// The learner was answered out of turn.
    #[error("the learner refused an answer: {0}. This is a defect of sedged; please report it")]
    Refused(Refusal),
    /// The adapting thread could not be started, or died.
    #[error("the adapting thread {0}")]
    Worker(String),
    /// Results could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A checkpoint does not fit the bundle or the configuration.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Results could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The system refused.
    #[error("{step} `{}` failed: {source}{}", path.display(), hint(source))]
    Io {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file would grow beyond its limit.
    #[error("`{}` would exceed its limit of {limit} bytes; raise --max-output-bytes, or begin in another folder", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Another process writes to the folder.
    #[error("`{}` is in use by another sedged; stop it, or choose another --out", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A record could not be written as JSON.
    #[error("a record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The MCAP file could not be written.
    #[error("writing `{}` failed: {source}", path.display())]
    Mcap {
        /// The file.
        path: PathBuf,
        /// What was said.
        source: Box<mcap::McapError>,
    },
}

impl OutputError {
    /// Whether the disk is at fault, full or failing, or a file's limit: what is computed is still good, and
    /// the next attempt may succeed.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Full { .. })
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". The disk is full; free some space and run the same command again to go on from the checkpoint"
        }
        io::ErrorKind::PermissionDenied => ". Choose an --out that this user may write to",
        _ => "",
    }
}

/// A source could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Not a simulated drive, a folder or a known kind of file.
    #[error(
        "`{found}` is no source; give board, board:NAME|FILE, sim, sim:key=value,..., an .mcap, .npz or .csv file, \
         or a folder of images"
    )]
    Unknown {
        /// What was given.
        found: String,
    },
    /// The path could not be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The simulated drive's specification is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The simulated drive cannot be made.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A series without a rate.
    #[error("`{}` states no rate for series `{series}`; give --rate", path.display())]
    NoRate {
        /// The file.
        path: PathBuf,
        /// The series.
        series: String,
    },
    /// A series that is not six inertial channels.
    #[error(
        "series `{series}` of `{}` has {found} channels; 6 are wanted: ax, ay, az in m/s², gx, gy, gz in rad/s",
        path.display()
    )]
    Channels {
        /// The file.
        path: PathBuf,
        /// The series.
        series: String,
        /// Its channels.
        found: usize,
    },
}

/// Failure of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The bundle could not be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The source could not be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The board cannot be read.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Results could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The checkpoint in the output folder cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The signals that stop a run could not be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(io::Error),
    /// A thread could not be started.
    #[error("the reading thread cannot be started: {0}")]
    Thread(io::Error),
}

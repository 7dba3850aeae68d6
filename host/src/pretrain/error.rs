//! Why a pretraining run stopped. What was saved before stays whole in every case.

use std::error::Error;
use std::path::PathBuf;

use sedge_engine::EngineError;

use super::checkpoint::CheckpointError;
use super::config::ConfigError;
use super::start::StartError;
use crate::data::DataError;
use crate::encoder::EncoderError;
use crate::files::FileError;
use crate::gpu::GpuError;

/// Failure of a pretraining run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PretrainError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights to start from cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The data cannot be loaded or handed out.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The encoder's training step cannot be built.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A file of the run directory could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The run directory could not be made.
    #[error("cannot make the run directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory holds a run already.
    #[error(
        "{} holds a run already; go on with it by `--resume`, or choose another directory by `--out`",
        path.display()
    )]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds no run.
    #[error("{} holds no run: it has no config.toml; `sedge pretrain --out` makes one", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// The run has saved nothing yet.
    #[error(
        "the run {} has no checkpoint yet; wait for its first, or let it go on with \
         `sedge pretrain --resume --out {}`",
        path.display(),
        path.display()
    )]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
    },
    /// Something that the result depends on is not what it was when the checkpoint was written.
    #[error(
        "{what} is not what it was when {} was written, so the run cannot go on to the same result; \
         put it back as it was, or start a new run with another `--out`",
        path.display()
    )]
    Changed {
        /// `the configuration`, `the data` or `the training step`.
        what: &'static str,
        /// The checkpoint.
        path: PathBuf,
    },
    /// The log of metrics could not be written.
    #[error("cannot write {}: {source}; free some space, then go on with `--resume`", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log of metrics is shorter than when the checkpoint was written.
    #[error(
        "{} has {found} bytes, fewer than the {wanted} that the checkpoint goes with; \
         put the log back, or start a new run with another `--out`",
        path.display()
    )]
    LogShort {
        /// The log.
        path: PathBuf,
        /// Bytes there are.
        found: u64,
        /// Bytes there were.
        wanted: u64,
    },
    /// Loss or weights became NaN or infinite.
    #[error(
        "training diverged in epoch {epoch}, batch {batch}; {}{}. Start again with a lower `--lr` or a \
         longer `--warmup-epochs`, and look for NaN in the data",
        match checkpoint {
            Some(path) => format!("the last good state is in {}", path.display()),
            None => "no checkpoint was written yet".into(),
        },
        match capture {
            Some(path) => format!("; see what was not finite by `sedge replay {}`", path.display()),
            None => String::new(),
        }
    )]
    Diverged {
        /// Epoch, from one.
        epoch: u32,
        /// Batch, from one.
        batch: usize,
        /// The last checkpoint, when there is one.
        checkpoint: Option<PathBuf>,
        /// The folder that the step is kept in, when it could be.
        capture: Option<PathBuf>,
        /// What the engine said.
        source: Box<EngineError>,
    },
    /// The engine failed.
    #[error("the training step failed in epoch {epoch}, batch {batch}")]
    Engine {
        /// Epoch, from one.
        epoch: u32,
        /// Batch, from one.
        batch: usize,
        /// What the engine said.
        source: EngineError,
    },
    /// The engine of the configured device cannot run here.
    #[error(transparent)]
    Device(#[from] GpuError),
    /// The state could not be taken from the engine or put into it.
    #[error("the training state could not be exchanged with the engine")]
    State(#[source] EngineError),
    /// The measurement between epochs failed.
    #[error("measuring the encoder after epoch {epoch} failed")]
    Evaluate {
        /// Epoch, from one.
        epoch: u32,
        /// What was said.
        source: Box<dyn Error + Send + Sync>,
    },
}

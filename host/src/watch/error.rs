//! What can keep a run from being watched.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sedge_engine::EngineError;
use sedge_models::weights::WeightsError;

use crate::data::DataError;
use crate::encoder::EncoderError;
use crate::evaluate::EvaluateError;
use crate::files::FileError;
use crate::pretrain::PretrainError;
use crate::report::ReportError;

/// A run that cannot be shown, or a step that cannot be kept or run again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{} has {found} bytes, over the limit of {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A folder holds no step to run again.
    #[error(
        "{} holds no step: give the folder that a diverged run has left, such as `RUN/nan`",
        path.display()
    )]
    NotACapture {
        /// The folder.
        path: PathBuf,
    },
    /// A step that was kept is not what was written.
    #[error("{} is damaged: {reason}; it cannot be run again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A step is too large to keep.
    #[error("the step has {found} bytes of batch, state and graph, over the {limit} that are kept")]
    TooLargeToKeep {
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A folder cannot take its name.
    #[error("cannot make {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Tensors cannot be stored.
    #[error("the step cannot be stored: {0}")]
    Tensors(#[from] WeightsError),
    /// The step cannot be run.
    #[error("the step cannot be run again")]
    Engine(#[source] EngineError),
    /// The page cannot be served there.
    #[error("cannot serve a page at {address}: {source}; choose another port, such as 127.0.0.1:0 for any")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run cannot be read.
    #[error(transparent)]
    Run(Box<PretrainError>),
    /// A figure cannot be drawn.
    #[error(transparent)]
    Figure(#[from] ReportError),
    /// The run's data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run's encoder cannot be run.
    #[error(transparent)]
    Encoder(Box<EncoderError>),
    /// Features cannot be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

impl From<PretrainError> for WatchError {
    fn from(error: PretrainError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<EncoderError> for WatchError {
    fn from(error: EncoderError) -> Self {
        Self::Encoder(Box::new(error))
    }
}

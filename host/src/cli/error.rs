//! Failures as a person reads them.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use sedge_boards::BoardError;
use sedge_deploy::DeployError;
use sedge_deploy::image::ImageError;
use sedge_models::bundle::BundleError;
use sedge_models::onnx::OnnxError;

use crate::compare::CompareError;
use crate::data::DataError;
use crate::differentiate::DifferentiateError;
use crate::export::ExportError;
use crate::files::FileError;
use crate::measure::MeasureError;
use crate::pretrain::{ConfigError, PretrainError};
use crate::report::ReportError;
use crate::watch::WatchError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The flags contradict each other, in a way that the parser cannot see.
    #[error("{0}")]
    Usage(String),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Pretraining failed.
    #[error(transparent)]
    Pretrain(#[from] PretrainError),
    /// A run cannot be shown, or a step not be run again.
    #[error(transparent)]
    Watch(Box<WatchError>),
    /// An encoder cannot be measured.
    #[error(transparent)]
    Measure(Box<MeasureError>),
    /// An encoder cannot be packed.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// The data that a run was trained on is not where it was.
    #[error(
        "the run's own data is gone; give other data of its kind with `--data PATH`, for the samples by \
         which a board checks itself"
    )]
    RunDataGone(#[source] DataError),
    /// A board is not known, or its file cannot be used.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// A board cannot be flashed, rolled back or asked.
    #[error(transparent)]
    Deploy(Box<DeployError>),
    /// A card cannot be written.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// A bundle cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An ONNX file cannot be read.
    #[error("{} cannot be read as ONNX", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: OnnxError,
    },
    /// A result cannot be written to its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Methods cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Signals cannot be caught, so a run could not be stopped without loss.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    /// Numbers that JSON cannot hold.
    #[error("the result cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// An encoder cannot be made into a training step, or a trained state not go back.
    #[error(transparent)]
    Differentiate(Box<DifferentiateError>),
    /// A step.json that cannot be read.
    #[error("{} is no description of a step by this version of Sedge", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A figure cannot be drawn.
    #[error(transparent)]
    Figure(#[from] ReportError),
    /// The quickstart failed.
    #[error(transparent)]
    Quickstart(Box<crate::quickstart::QuickstartError>),
}

impl From<WatchError> for CliError {
    fn from(error: WatchError) -> Self {
        Self::Watch(Box::new(error))
    }
}

impl From<DeployError> for CliError {
    fn from(error: DeployError) -> Self {
        Self::Deploy(Box::new(error))
    }
}

impl From<ImageError> for CliError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<MeasureError> for CliError {
    fn from(error: MeasureError) -> Self {
        Self::Measure(Box::new(error))
    }
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        Self::Export(Box::new(error))
    }
}

impl From<DifferentiateError> for CliError {
    fn from(error: DifferentiateError) -> Self {
        Self::Differentiate(Box::new(error))
    }
}

impl From<crate::quickstart::QuickstartError> for CliError {
    fn from(error: crate::quickstart::QuickstartError) -> Self {
        Self::Quickstart(Box::new(error))
    }
}

impl CliError {
    /// The exit status that goes with it: 2 for wrong usage, 0 when whoever read the output has
    /// enough of it (`sedge inspect x | head`), 1 otherwise.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(ConfigError::NoData) => 2,
            Self::Differentiate(error) if error.is_usage() => 2,
            Self::Deploy(error) if matches!(**error, DeployError::Name { .. }) => 2,
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }
}

/// An error and its causes in one line, each that the ones before it do not already say.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

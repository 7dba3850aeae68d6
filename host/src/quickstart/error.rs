//! Which stage of the quickstart failed, and why.

use std::io;
use std::path::PathBuf;

use sedge_boards::sim::{RigError, SpecError};
use sedge_firmware::DeviceError;
use sedge_models::architecture::ArchitectureError;
use sedge_models::bundle::BundleError;

use crate::data::DataError;
use crate::encoder::EncoderError;
use crate::evaluate::EvaluateError;
use crate::export::ExportError;
use crate::files::FileError;
use crate::pretrain::{ConfigError, PretrainError};
use crate::report::ReportError;

/// Failure of the quickstart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuickstartError {
    /// The output directory cannot be made.
    #[error("cannot make the directory {}: {source}; choose another with --out", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was stopped by a signal.
    #[error("stopped; run the same command with an empty --out to begin again")]
    Stopped,
    /// A worker thread died.
    #[error("a worker thread of the quickstart died, which is a defect; please report it with the seed")]
    Thread,
    /// The rig.
    #[error("the simulated rig: {0}")]
    Spec(#[from] SpecError),
    /// The rig.
    #[error("the simulated rig: {0}")]
    Rig(#[from] RigError),
    /// Data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Architecture.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Pretraining.
    #[error("pretraining: {0}")]
    Pretrain(#[from] PretrainError),
    /// Encoder.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Export.
    #[error("export: {0}")]
    Export(#[from] ExportError),
    /// Bundle.
    #[error("bundle: {0}")]
    Bundle(#[from] BundleError),
    /// Device.
    #[error("device: {0}")]
    Device(#[from] DeviceError),
    /// Evaluation.
    #[error("evaluation: {0}")]
    Evaluate(#[from] EvaluateError),
    /// Report.
    #[error("report: {0}")]
    Report(#[from] ReportError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Numbers that JSON cannot hold.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

//! Why an encoder could not be measured.

use std::path::PathBuf;

use sedge_models::bundle::BundleError;
use sedge_models::onnx::OnnxError;

use crate::data::DataError;
use crate::encoder::EncoderError;
use crate::evaluate::EvaluateError;
use crate::pretrain::PretrainError;

/// Failure to measure an encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The run cannot be read.
    #[error(transparent)]
    Run(#[from] PretrainError),
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no ONNX model.
    #[error("{} cannot be read as ONNX: {source}", path.display())]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: OnnxError,
    },
    /// The ONNX model reads neither images nor windows.
    #[error(
        "{} reads samples of shape {shape:?}; images are [3, height, width], windows [channels, rows]",
        path.display()
    )]
    Input {
        /// The file.
        path: PathBuf,
        /// The shape of one sample.
        shape: Vec<usize>,
    },
    /// Nothing can be measured without classes.
    #[error(
        "{what} has no labels, without which nothing can be measured; give labelled data: an image \
         folder with a sub-folder a class, Parquet with a `label` column, a series with `y`, or `sim`"
    )]
    Unlabelled {
        /// Which data.
        what: String,
    },
    /// One class cannot be told from another.
    #[error("{what} has samples of one class only, `{class}`; two or more are needed")]
    OneClass {
        /// Which data.
        what: String,
        /// The class.
        class: String,
    },
    /// A class of the test data that the training data does not name.
    #[error("the test data has the class `{class}`, which the training data has not; it has: {known}")]
    Class {
        /// The class.
        class: String,
        /// The classes of the training data.
        known: String,
    },
    /// Data cannot be handed out or split.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The encoder cannot be built or run.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The protocol failed.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

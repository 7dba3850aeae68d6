//! What can go wrong between an architecture and its embeddings.

use sedge_engine::EngineError;
use sedge_models::architecture::ArchitectureError;
use sedge_models::compile::CompileError;
use sedge_models::lora::LoraError;
use sedge_models::onnx::OnnxError;
use sedge_models::selection::SelectionError;

use crate::data::DataError;

/// Failure to build, run or write an encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// The architecture does not fit the input, or a weight does not fit the architecture.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The training step could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What should be trained is not there.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Low-rank deltas could not be laid on the weights chosen.
    #[error(transparent)]
    LowRank(#[from] LoraError),
    /// A graph could not be loaded or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The ONNX could not be read or edited.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A classifier cannot learn from samples without classes.
    #[error("the data has no labels, which training with supervision needs")]
    Unlabelled,
    /// The data does not fit the encoder.
    #[error(transparent)]
    Data(#[from] DataError),
}

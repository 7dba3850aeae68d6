//! What can keep an encoder from becoming a training step, or a trained state from going back.

use sedge_engine::EngineError;
use sedge_models::bundle::BundleError;
use sedge_models::compile::CompileError;
use sedge_models::import::ImportError;
use sedge_models::input::InputSpecError;
use sedge_models::lora::LoraError;
use sedge_models::plan::PlanError;
use sedge_models::selection::SelectionError;
use sedge_models::weights::WeightsError;

use super::Loss;
use crate::budget::BudgetError;
use crate::data::DataError;
use crate::export::{ExportError, PARITY, Parity};

/// Failure to differentiate an encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DifferentiateError {
    /// The encoder cannot be read, or a state does not fit it.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// What should be trained is not there.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Low-rank deltas could not be laid on the weights chosen, or not be merged into them.
    #[error(transparent)]
    LowRank(#[from] LoraError),
    /// The training step could not be compiled; where an operator has no rule, says which and what could be
    /// trained instead.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The training step could not be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The training step or the encoder could not be prepared or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No subset of the weights could be chosen within the budget.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The data does not fit the encoder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Reference samples could not be taken from the data.
    #[error(transparent)]
    Reference(#[from] Box<ExportError>),
    /// The bundle would not be valid.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The state cannot be stored.
    #[error(transparent)]
    State(#[from] WeightsError),
    /// The input specification contradicts itself.
    #[error("the encoder's input: {0}")]
    Input(#[from] InputSpecError),
    /// A parameter of another loss.
    #[error("--{flag} means nothing to the loss {loss}; leave it out, or choose {wanted}")]
    ForeignParameter {
        /// The flag.
        flag: &'static str,
        /// The loss chosen.
        loss: Loss,
        /// Losses that take it.
        wanted: String,
    },
    /// A parameter without a sensible default.
    #[error("the loss {loss} needs --{flag}")]
    MissingParameter {
        /// The flag.
        flag: &'static str,
        /// The loss chosen.
        loss: Loss,
    },
    /// A board has no data of this shape.
    #[error(
        "a bundle is for images [3, height, width] or windows [channels, samples]; this encoder reads {shape:?}. \
         Leave --bundle and --data out; the step itself is complete"
    )]
    Modality {
        /// Shape of one sample.
        shape: Vec<usize>,
    },
    /// A board trains by NT-Xent alone.
    #[error("a board can feed the loss nt-xent only, not {loss}; leave --bundle out, or take --loss nt-xent")]
    BundleLoss {
        /// The loss chosen.
        loss: Loss,
    },
    /// A board serves encoders that see one sample at a time.
    #[error(
        "a board sees one sample at a time, so batch norms cannot use the batch; take --norm folded or affine"
    )]
    BundleNorm,
    /// The imported encoder does not compute what the file does.
    #[error(
        "the imported encoder differs from the file by {:e} of its largest value, more than {PARITY:e}; \
         its running statistics may be degenerate. Try --norm affine",
        .0.relative
    )]
    Parity(Parity),
    /// A normalisation with another number of channels.
    #[error("--{flag} has {found} values; the encoder's input has {channels} channels")]
    Channels {
        /// `mean` or `std`.
        flag: &'static str,
        /// Values given.
        found: usize,
        /// Channels of the input.
        channels: usize,
    },
    /// The encoder given is not the one that the step was made from.
    #[error("the encoder has SHA-256 {found}; the step was made from {stated}. Give that very file")]
    OtherEncoder {
        /// Digest of the file given.
        found: String,
        /// Digest stated beside the step.
        stated: String,
    },
    /// The state holds no weight of the encoder.
    #[error(
        "the state holds no weight of the encoder: only the projection head was trained, or it is the state of \
         another step"
    )]
    NothingTrained,
}

impl DifferentiateError {
    /// Whether the command line contradicts itself.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::ForeignParameter { .. } | Self::MissingParameter { .. })
    }
}

impl From<ExportError> for DifferentiateError {
    fn from(error: ExportError) -> Self {
        Self::Reference(Box::new(error))
    }
}

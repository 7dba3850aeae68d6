//! What a training step is made from, and why one could not be made.

use tract_onnx::pb;

use super::setting::Setting;
use crate::autodiff::NoRule;
use crate::limits::LimitError;
use crate::objective::Objective;
use crate::optimizer::Optimizer;
use crate::tensors::Tensors;

/// Most micro-batches that a batch may be cut into.
pub const MAX_MICRO_BATCHES: usize = 4096;

/// What to compile.
#[derive(Debug)]
pub struct Recipe {
    /// The encoder, every input of fixed shape. The first input is the views, others become inputs of the
    /// step. The first output is the embedding `[batch, dim]`; `<norm>.batch_mean` and `<norm>.batch_var`
    /// `[1, c, ...]` are batch statistics; an objective may read others, such as `tokens`.
    pub encoder: pb::ModelProto,
    /// Initializers to train.
    pub trained: Vec<String>,
    /// Initial running statistics, `<norm>.running_mean` and `<norm>.running_var`, where the encoder
    /// has statistics outputs. Missing ones begin at mean 0 and variance 1.
    pub statistics: Tensors,
    /// What to train for.
    pub objective: Objective,
    /// How to move the weights.
    pub optimizer: Optimizer,
    /// Default of the `lr` input.
    pub lr: f32,
    /// Default of the `weight_decay` input.
    pub weight_decay: f32,
    /// Seed of the objective's initial weights.
    pub seed: u64,
    /// Default of the `clip_norm` input: the largest norm of all gradients together. Without, they are
    /// not clipped.
    pub clip_norm: Option<f32>,
    /// Default of the `reference_weight` input: how strongly embeddings are held to those that the
    /// encoder gives with its initial weights. Without, they are not held.
    pub reference: Option<f32>,
    /// How many micro-batches make a batch, 1 to [`MAX_MICRO_BATCHES`]. Their gradients are averaged,
    /// and the weights move at the last: the memory of a small batch, the steps of a large one. Batch
    /// norms see one micro-batch at a time.
    pub accumulate: usize,
}

impl Recipe {
    /// `trained` of `encoder` trained for `objective` by SGD with momentum, learning rate 0.05, and
    /// nothing else.
    pub fn new(encoder: pb::ModelProto, trained: Vec<String>, objective: Objective) -> Self {
        Self {
            encoder,
            trained,
            statistics: Tensors::new(),
            objective,
            optimizer: Optimizer::SGD,
            lr: 0.05,
            weight_decay: 0.0,
            seed: 0,
            clip_norm: None,
            reference: None,
            accumulate: 1,
        }
    }

    /// Whether the settings make sense.
    pub(super) fn check(&self) -> Result<(), CompileError> {
        self.objective.check()?;
        self.optimizer.check()?;
        Setting::not_negative("lr", self.lr)?;
        Setting::not_negative("weight_decay", self.weight_decay)?;
        Setting::positive("clip_norm", self.clip_norm.unwrap_or(1.0))?;
        Setting::not_negative("reference", self.reference.unwrap_or(0.0))?;
        Setting::range("accumulate", self.accumulate, 1, MAX_MICRO_BATCHES)?;
        if self.reference.is_some() && self.trained.is_empty() {
            let (setting, found) = ("reference".into(), "given where only the head is trained".into());
            let wanted = "left out: an encoder that is not trained forgets nothing".into();
            return Err(Setting { setting, found, wanted }.into());
        }
        match self.objective.couples_samples().filter(|_| self.accumulate > 1) {
            Some(reason) => Err(CompileError::Coupled { objective: self.objective.name(), reason }),
            None => Ok(()),
        }
    }
}

/// Why a training step could not be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Names that are no float initializer of the encoder.
    #[error("the encoder has no float weights called {names:?}; `sedge inspect` lists its weights")]
    NoSuchWeight {
        /// The names.
        names: Vec<String>,
    },
    /// An operator between the trained weights and the loss has no gradient.
    #[error(transparent)]
    NoRule(#[from] NoRule),
    /// The encoder costs too much, or its cost cannot be bounded.
    #[error("the encoder cannot be made into a training step: {0}")]
    Limit(#[from] LimitError),
    /// A number of the recipe outside its range.
    #[error(transparent)]
    Setting(#[from] Setting),
    /// Micro-batches were asked for with a loss that is no mean over samples.
    #[error(
        "{objective} cannot be summed over micro-batches: {reason}. Use moco (negatives from a queue), \
         simsiam, byol, data2vec, a masked loss or cross-entropy, or a smaller batch with `accumulate` 1"
    )]
    Coupled {
        /// The objective by name.
        objective: &'static str,
        /// What ties the samples of a batch together.
        reason: &'static str,
    },
    /// tract could not read or rewrite the encoder, or an objective does not fit it.
    #[error("the encoder cannot be made into a training step ({stage}): {reason}")]
    Graph {
        /// What was being done.
        stage: &'static str,
        /// What was said.
        reason: String,
    },
    /// tract panicked, which a malformed model can make it do; the panic was contained.
    #[error(
        "the encoder made the graph library panic ({stage}); the model is malformed or hits a defect in it"
    )]
    Panicked {
        /// What was being done.
        stage: &'static str,
    },
}

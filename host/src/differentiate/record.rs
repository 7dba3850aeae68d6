//! What is written beside a step: all that a person or a program needs to run it, to make it again, and to put
//! trained weights back into the encoder's own file.

use sedge_models::StepSpec;
use sedge_models::import::ImportOptions;
use sedge_models::objective::Objective;
use sedge_models::optimizer::Optimizer;
use sedge_models::plan::Plan;
use sedge_models::selection::Selection;
use serde::{Deserialize, Serialize};

use super::{Compiled, Differentiation, Norm};
use crate::pretrain::sha256;

/// Version of the record.
pub const RECORD_FORMAT: u32 = 1;

/// `step.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Version of this record: [`RECORD_FORMAT`].
    pub format: u32,
    /// Version of Sedge.
    pub sedge: String,
    /// The command.
    pub command: String,
    /// The encoder that was differentiated.
    pub encoder: EncoderRecord,
    /// How it was read.
    pub import: ImportRecord,
    /// Which weights are trained, in words.
    pub selection: Selection,
    /// Those trained as they are, by name.
    pub trained: Vec<String>,
    /// Those that get a low-rank delta, and its rank.
    pub low_rank: Vec<(String, usize)>,
    /// How they are trained.
    pub recipe: RecipeRecord,
    /// What goes into the step and comes out of it.
    pub step: StepSpec,
    /// Memory and work of a step.
    pub plan: Plan,
    /// The step's graph.
    pub graph: FileRecord,
    /// The state it starts from.
    pub state: FileRecord,
}

/// A file beside this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

impl FileRecord {
    /// Of a file of this name that holds `bytes`.
    pub fn of(file: impl Into<String>, bytes: &[u8]) -> Self {
        Self { file: file.into(), bytes: bytes.len() as u64, sha256: sha256(bytes) }
    }
}

/// An encoder, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderRecord {
    /// The file.
    pub file: FileRecord,
    /// Shape of one sample.
    pub sample: Vec<usize>,
    /// Values of one embedding.
    pub width: usize,
    /// Blocks from input to output.
    pub blocks: Vec<String>,
    /// Weight tensors.
    pub weights: usize,
    /// Values of them all.
    pub parameters: usize,
}

/// How an encoder was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRecord {
    /// Form of batch norms.
    pub norm: Norm,
    /// Shape of one sample, where it was stated.
    pub input_shape: Option<Vec<usize>>,
    /// The embedding's name, where it was stated.
    pub output: Option<String>,
    /// What was changed, in words.
    pub notes: Vec<String>,
}

impl ImportRecord {
    /// The same again, at this batch.
    pub(super) fn options(&self, batch: usize) -> ImportOptions {
        let (input_shape, output) = (self.input_shape.clone(), self.output.clone());
        ImportOptions { input_shape, output, ..ImportOptions::new(batch, self.norm.form()) }
    }
}

/// How a step trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeRecord {
    /// The objective with all its parameters.
    pub objective: Objective,
    /// The optimiser with its constants.
    pub optimizer: Optimizer,
    /// Default learning rate.
    pub lr: f32,
    /// Default weight decay.
    pub weight_decay: f32,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f32>,
    /// Pull towards the encoder as it was.
    pub reference: Option<f32>,
    /// Micro-batches that make a batch.
    pub accumulate: usize,
    /// Seed of whatever was drawn.
    pub seed: u64,
}

impl StepRecord {
    /// The record of `compiled`, made from the file called `encoder` by `command`; `graph` and `state` are the
    /// names and bytes of the files beside it.
    pub fn new(
        from: &Differentiation,
        compiled: &Compiled,
        encoder: String,
        command: String,
        [graph, state]: [FileRecord; 2],
    ) -> Self {
        let (imported, request) = (from.imported(), from.request());
        Self {
            format: RECORD_FORMAT,
            sedge: env!("CARGO_PKG_VERSION").into(),
            command,
            encoder: EncoderRecord {
                file: FileRecord::of(encoder, from.onnx()),
                sample: from.sample().to_vec(),
                width: imported.width,
                blocks: imported.blocks.clone(),
                weights: imported.weights.len(),
                parameters: imported.weights.iter().map(|w| w.values()).sum(),
            },
            import: ImportRecord {
                norm: request.norm,
                input_shape: request.input_shape.clone(),
                output: request.output.clone(),
                notes: imported.notes.clone(),
            },
            selection: compiled.selection.clone(),
            trained: compiled.choice.trained.clone(),
            low_rank: compiled.choice.low_rank.clone(),
            recipe: RecipeRecord {
                objective: from.objective().clone(),
                optimizer: request.optimizer,
                lr: request.lr,
                weight_decay: request.weight_decay,
                clip_norm: request.clip_norm,
                reference: request.reference,
                accumulate: request.accumulate,
                seed: request.seed,
            },
            step: compiled.step.spec.clone(),
            plan: compiled.plan.clone(),
            graph,
            state,
        }
    }
}

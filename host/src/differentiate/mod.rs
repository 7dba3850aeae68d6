//! Any ONNX encoder, a stranger's too, made into a training step: read, its weights chosen by words or by a
//! budget, an objective and an optimiser put on top, differentiated, planned, and packed for a board. Nothing
//! here touches a file; whoever calls writes what comes out when all of it is there.

mod batches;
mod error;
mod loss;
mod pack;
mod record;
#[cfg(test)]
pub(crate) mod tests;
mod write_back;

use std::collections::BTreeSet;

use sedge_engine::TractStep;
use sedge_models::compile::{Recipe, compile};
use sedge_models::import::{ImportOptions, Imported, NormForm, import};
use sedge_models::lora;
use sedge_models::objective::Objective;
use sedge_models::optimizer::Optimizer;
use sedge_models::plan::{Plan, plan};
use sedge_models::selection::{Choice, Selection};
use sedge_models::{StateRole, Tensors, TrainingStep};
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Candidate, Question, TradeOff, trade_off};

pub use batches::batches;
pub use error::DifferentiateError;
pub use loss::{Loss, LossSettings};
pub use pack::{IMAGENET_MEAN, IMAGENET_STD, Normalisation, Packed, input_spec, modality, pack};
pub use record::{EncoderRecord, FileRecord, ImportRecord, RECORD_FORMAT, RecipeRecord, StepRecord};
pub use write_back::{WrittenBack, write_back};

/// What becomes of batch norms, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Folded into the layer before: the least memory and time
    Folded,
    /// By the stored statistics, scale and shift trainable
    Affine,
    /// By the statistics of the batch, running ones kept as state
    Statistics,
}

impl Norm {
    /// The form that suits a selection: folded, as a board wants it, unless norms themselves are trained.
    pub fn fitting(selection: &Selection) -> Self {
        match selection {
            Selection::Norm => Self::Affine,
            Selection::Union(parts) if parts.iter().any(|part| Self::fitting(part) == Self::Affine) => {
                Self::Affine
            }
            _ => Self::Folded,
        }
    }

    fn form(self) -> NormForm {
        match self {
            Self::Folded => NormForm::Folded,
            Self::Affine => NormForm::Affine,
            Self::Statistics => NormForm::Statistics,
        }
    }
}

/// How an encoder is to be read and trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Form of batch norms.
    pub norm: Norm,
    /// Shape of one sample, where the file leaves it open.
    pub input_shape: Option<Vec<usize>>,
    /// The value that is the embedding; the first output when `None`.
    pub output: Option<String>,
    /// The loss.
    pub loss: LossSettings,
    /// How weights are moved.
    pub optimizer: Optimizer,
    /// Learning rate.
    pub lr: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f32>,
    /// Pull towards the embeddings of the encoder as it was.
    pub reference: Option<f32>,
    /// Micro-batches that make a batch.
    pub accumulate: usize,
    /// Rows of a step.
    pub batch: usize,
    /// Seed of whatever is drawn: the head, low-rank deltas, noise.
    pub seed: u64,
}

impl Request {
    /// NT-Xent by SGD, batch norms folded, `batch` rows.
    pub fn new(batch: usize) -> Self {
        Self {
            norm: Norm::Folded,
            input_shape: None,
            output: None,
            loss: LossSettings::new(Loss::NtXent),
            optimizer: Optimizer::SGD,
            lr: 0.05,
            weight_decay: 1e-4,
            clip_norm: None,
            reference: None,
            accumulate: 1,
            batch,
            seed: 0,
        }
    }

    fn import(&self, batch: usize) -> ImportOptions {
        let (input_shape, output) = (self.input_shape.clone(), self.output.clone());
        ImportOptions { input_shape, output, ..ImportOptions::new(batch, self.norm.form()) }
    }
}

/// An encoder that was read, about to be differentiated.
#[derive(Clone, Debug)]
pub struct Differentiation {
    onnx: Vec<u8>,
    imported: Imported,
    request: Request,
    objective: Objective,
}

/// A training step and what is known of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The step.
    pub step: TrainingStep,
    /// What a run of it takes.
    pub plan: Plan,
    /// What was asked for.
    pub selection: Selection,
    /// What that picked.
    pub choice: Choice,
}

impl Compiled {
    /// Trained values of the encoder and of what the objective brought along.
    pub fn values(&self) -> (usize, usize) {
        let named: BTreeSet<String> = self.choice.trained.iter().cloned().chain(self.deltas()).collect();
        let mut values = (0, 0);
        for state in self.step.spec.state_of(StateRole::Parameter) {
            let count: usize = state.shape.iter().product();
            if named.contains(&state.name) { values.0 += count } else { values.1 += count }
        }
        values
    }

    /// What is trained, for people.
    pub fn trains(&self) -> String {
        let (encoder, head) = self.values();
        let count = self.choice.trained.len() + self.choice.low_rank.len();
        match (count, self.choice.low_rank.len()) {
            (0, _) => format!("the projection head alone ({}), {head} values", self.selection),
            (_, 0) => format!(
                "{count} weights of the encoder ({}), {encoder} values, and a head of {head}",
                self.selection
            ),
            (_, deltas) => format!(
                "{count} weights of the encoder ({}), {deltas} of them by low-rank deltas, {encoder} values, and a \
                 head of {head}",
                self.selection
            ),
        }
    }

    fn deltas(&self) -> impl Iterator<Item = String> {
        self.choice.low_rank.iter().flat_map(|(name, _)| [lora::a_name(name), lora::b_name(name)])
    }
}

impl Differentiation {
    /// Reads the encoder in `onnx` as `request` says.
    ///
    /// # Errors
    /// When the file is no encoder that can be read, or the loss is not told in full.
    pub fn read(onnx: Vec<u8>, request: Request) -> Result<Self, DifferentiateError> {
        let imported = import(&onnx, &request.import(request.batch))?;
        let rows = request.batch.saturating_mul(request.accumulate);
        let sample = imported.input_shape.get(1..).unwrap_or_default();
        let objective = request.loss.objective(imported.width, sample, rows)?;
        Ok(Self { onnx, imported, request, objective })
    }

    /// The encoder as it was read.
    pub fn imported(&self) -> &Imported {
        &self.imported
    }

    /// The file's bytes.
    pub fn onnx(&self) -> &[u8] {
        &self.onnx
    }

    /// Shape of one sample.
    pub fn sample(&self) -> &[usize] {
        self.imported.input_shape.get(1..).unwrap_or_default()
    }

    /// How it is read and trained.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What is trained for.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Tries subsets of the weights within `budget`. `batches` are batch inputs of the step by name; none
    /// means seeded noise. `seen` is told of every candidate.
    ///
    /// # Errors
    /// When nothing fits, or a step cannot be compiled or run.
    pub fn trade_off(
        &self,
        budget: Budget,
        batches: &[Tensors],
        seen: &mut dyn FnMut(&Candidate),
    ) -> Result<TradeOff, DifferentiateError> {
        let question = Question {
            weights: &self.imported.weights,
            blocks: &self.imported.blocks,
            compile: &|trained, optimizer| {
                let recipe = self.recipe(trained.to_vec(), optimizer);
                // One of the candidates is the head alone, beside which there is nothing to hold back.
                let reference = recipe.reference.filter(|_| !trained.is_empty());
                compile(Recipe { reference, ..recipe })
            },
            optimizer: self.request.optimizer,
            batches,
            budget,
            seed: self.request.seed,
        };
        Ok(trade_off(&question, seen)?)
    }

    /// Compiles the step that trains `selection`, and lets the engine prepare it.
    ///
    /// # Errors
    /// When the selection picks nothing, an operator has no gradient rule, or the engine refuses the step.
    pub fn compile(&self, selection: &Selection) -> Result<Compiled, DifferentiateError> {
        let choice = selection.choose(&self.imported.weights, &self.imported.blocks)?;
        let mut recipe = self.recipe(choice.trained.clone(), self.request.optimizer);
        recipe.trained.extend(lora::attach(&mut recipe.encoder, &choice.low_rank, self.request.seed)?);
        let step = compile(recipe)?;
        // A step that the engine refuses must not reach a board.
        TractStep::new(&step)?;
        let plan = plan(&step.onnx)?;
        Ok(Compiled { step, plan, selection: selection.clone(), choice })
    }

    fn recipe(&self, trained: Vec<String>, optimizer: Optimizer) -> Recipe {
        let Request { lr, weight_decay, clip_norm, reference, accumulate, seed, .. } = self.request;
        Recipe {
            statistics: self.imported.statistics.clone(),
            optimizer,
            lr,
            weight_decay,
            seed,
            clip_norm,
            reference,
            accumulate,
            ..Recipe::new(self.imported.model.clone(), trained, self.objective.clone())
        }
    }
}

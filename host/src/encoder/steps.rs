//! From an architecture and weights to graphs: the step that pretrains all layers, the step that trains
//! a classifier from scratch, the step that a board adapts by, and the encoder alone.

use prost::Message;
use sedge_models::architecture::{Architecture, Form, fold};
use sedge_models::compile::{Recipe, compile};
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::Selection;
use sedge_models::{InputSpec, Tensors, TrainingStep};

use super::EncoderError;
use crate::pretrain::{OptimizerName, PretrainConfig};

/// Width of the space in which views are contrasted.
const PROJECTION: usize = 32;

/// An encoder's architecture, input and weights, batch norm unfolded.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The architecture.
    pub architecture: Architecture,
    /// What it reads.
    pub input: InputSpec,
    /// Its weights and running statistics, by the architecture's names; others are carried along.
    pub weights: Tensors,
}

impl Trained {
    /// Freshly drawn weights.
    ///
    /// # Errors
    /// When the architecture cannot read the input.
    pub fn fresh(architecture: &Architecture, input: &InputSpec, seed: u64) -> Result<Self, EncoderError> {
        let weights = architecture.initial_weights(&input.shape, seed)?;
        Ok(Self { architecture: architecture.clone(), input: input.clone(), weights })
    }
}

fn head(architecture: &Architecture) -> ProjectionHead {
    ProjectionHead { hidden: architecture.embedding_dim(), out: PROJECTION }
}

fn optimizer(name: OptimizerName) -> Optimizer {
    match name {
        OptimizerName::Adamw => Optimizer::ADAMW,
        OptimizerName::Sgd => Optimizer::SGD,
    }
}

/// Names of the weights of `weights` that a step may train; running statistics and an optimiser's memory
/// (`<weight>/mean`), which a checkpoint holds too, are not among them.
fn trainable(architecture: &Architecture, weights: &Tensors, selection: Selection) -> Vec<String> {
    let learned = weights.keys().filter(|name| !name.contains(".running_") && !name.contains('/'));
    selection.pick(&architecture.stages(), learned)
}

/// The step that pretrains every layer by NT-Xent, batch norm by batch statistics, weights drawn by
/// the configuration's seed.
///
/// # Errors
/// When the architecture cannot read the input.
pub fn pretraining_step(config: &PretrainConfig, input: &InputSpec) -> Result<TrainingStep, EncoderError> {
    let encoder = Trained::fresh(&config.architecture, input, config.seed)?;
    let objective =
        Objective::NtXent { head: head(&config.architecture), temperature: config.temperature as f32 };
    let rates = (config.lr as f32, config.weight_decay as f32);
    full_step(&encoder, 2 * config.batch, objective, optimizer(config.optimizer), rates, config.seed)
}

/// The step that trains every layer of `encoder` and a linear classifier by cross entropy with AdamW,
/// `batch` rows at a time.
///
/// # Errors
/// When the architecture cannot read the input.
pub fn supervised_step(
    encoder: &Trained,
    classes: usize,
    batch: usize,
    lr: f32,
    weight_decay: f32,
    seed: u64,
) -> Result<TrainingStep, EncoderError> {
    let objective = Objective::CrossEntropy { classes };
    full_step(encoder, batch, objective, Optimizer::ADAMW, (lr, weight_decay), seed)
}

fn full_step(
    encoder: &Trained,
    batch: usize,
    objective: Objective,
    optimizer: Optimizer,
    (lr, weight_decay): (f32, f32),
    seed: u64,
) -> Result<TrainingStep, EncoderError> {
    let Trained { architecture, input, weights } = encoder;
    let graph = architecture.graph(Form::Training, Batch::Fixed(batch), &input.shape, weights)?;
    let trained = trainable(architecture, weights, Selection::All);
    Ok(compile(Recipe {
        statistics: weights.clone(),
        optimizer,
        lr,
        weight_decay,
        seed,
        ..Recipe::new(graph, trained, objective)
    })?)
}

/// The step that a board runs: batch norm folded away, the selected part and the projection head
/// trained by NT-Xent and SGD with momentum, `batch` rows at a time. Weights of the head that
/// `encoder` carries from pretraining are kept.
///
/// # Errors
/// When a weight is missing.
pub fn board_step(
    encoder: &Trained,
    selection: Selection,
    batch: usize,
    (lr, weight_decay, temperature): (f32, f32, f32),
    seed: u64,
) -> Result<TrainingStep, EncoderError> {
    let Trained { architecture, input, weights } = encoder;
    let folded = fold(weights)?;
    let graph = architecture.graph(Form::Folded, Batch::Fixed(batch), &input.shape, &folded)?;
    let trained = trainable(architecture, &folded, selection);
    let objective = Objective::NtXent { head: head(architecture), temperature };
    let mut step = compile(Recipe { lr, weight_decay, seed, ..Recipe::new(graph, trained, objective) })?;
    for (name, value) in &mut step.initial {
        if let Some(known) = weights.get(name).filter(|known| known.shape() == value.shape()) {
            value.clone_from(known);
        }
    }
    Ok(step)
}

/// The encoder alone as ONNX, any number of samples at a time, in `form`: for [`Form::Folded`] batch
/// norm is folded first.
///
/// # Errors
/// When a weight is missing.
pub fn onnx(encoder: &Trained, form: Form) -> Result<Vec<u8>, EncoderError> {
    let Trained { architecture, input, weights } = encoder;
    let folded;
    let weights = if form == Form::Folded {
        folded = fold(weights)?;
        &folded
    } else {
        weights
    };
    Ok(architecture.graph(form, Batch::Symbolic, &input.shape, weights)?.encode_to_vec())
}

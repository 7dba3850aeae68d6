//! From an architecture and weights to graphs: the step that pretrains all layers, the step that trains
//! a classifier from scratch, the step that a board adapts by, and the encoder alone.

use prost::Message;
use sedge_models::architecture::{Architecture, Form, fold};
use sedge_models::compile::{Recipe, SECOND, compile};
use sedge_models::lora;
use sedge_models::objective::{Objective, ProjectionHead};
use sedge_models::onnx::build::Batch;
use sedge_models::onnx::{join, pb::ModelProto};
use sedge_models::optimizer::Optimizer;
use sedge_models::selection::{Choice, Selection, SelectionError, describe_stages};
use sedge_models::{InputSpec, Modality, Tensors, TrainingStep};

use super::EncoderError;
use crate::pretrain::{OptimizerName, Pretext, PretrainConfig};

/// How far, of its norm, LARS lets a step of rate one move a weight (You et al. 2017; SimCLR uses the same).
const LARS_TRUST: f32 = 1e-3;
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

/// The head of two layers that SimCLR and the board contrast views in.
pub(crate) fn head(architecture: &Architecture) -> ProjectionHead {
    ProjectionHead::new(architecture.embedding_dim(), PROJECTION)
}

/// How all weights are trained.
struct Training {
    optimizer: Optimizer,
    lr: f32,
    weight_decay: f32,
    clip_norm: Option<f32>,
    accumulate: usize,
    seed: u64,
}

impl Training {
    fn of(config: &PretrainConfig) -> Self {
        let momentum = config.momentum as f32;
        let optimizer = match config.optimizer {
            OptimizerName::Adamw => Optimizer::ADAMW,
            OptimizerName::Sgd => Optimizer::Sgd { momentum },
            OptimizerName::Lars => Optimizer::Lars { momentum, trust: LARS_TRUST },
        };
        Self {
            optimizer,
            lr: config.lr as f32,
            weight_decay: config.weight_decay as f32,
            clip_norm: config.clip_norm.map(|norm| norm as f32),
            accumulate: config.accumulate,
            seed: config.seed,
        }
    }

    /// Every layer of `encoder` trained for `objective`.
    fn recipe(self, encoder: Whole, objective: Objective) -> Recipe {
        let Whole { graph, trained, statistics } = encoder;
        let Self { optimizer, lr, weight_decay, clip_norm, accumulate, seed } = self;
        Recipe {
            statistics,
            optimizer,
            lr,
            weight_decay,
            clip_norm,
            accumulate,
            seed,
            ..Recipe::new(graph, trained, objective)
        }
    }
}

/// An encoder as it is trained: the graph for a batch, and of its weights those that are learned.
struct Whole {
    graph: ModelProto,
    trained: Vec<String>,
    statistics: Tensors,
}

impl Whole {
    fn new(encoder: Trained, batch: usize, keep: Option<usize>) -> Result<Self, EncoderError> {
        let Trained { architecture, input, weights } = encoder;
        let graph = architecture.training_graph(batch, &input.shape, &weights, keep)?;
        let trained = choose(&architecture, &weights, &Selection::All)?.trained;
        Ok(Self { graph, trained, statistics: weights })
    }

    /// Both in one graph, `other` under [`SECOND`].
    fn beside(mut self, other: Self) -> Result<Self, EncoderError> {
        let renamed = |name: String| format!("{SECOND}.{name}");
        self.trained.extend(other.trained.into_iter().map(renamed));
        self.statistics.extend(other.statistics.into_iter().map(|(name, value)| (renamed(name), value)));
        Ok(Self { graph: join(self.graph, other.graph, SECOND)?, ..self })
    }
}

/// What `selection` picks of `weights`; an optimiser's memory (`<weight>/mean`), which a checkpoint holds too,
/// is not among them.
fn choose(
    architecture: &Architecture,
    weights: &Tensors,
    selection: &Selection,
) -> Result<Choice, SelectionError> {
    let learned = weights.iter().filter(|(name, _)| !name.contains('/'));
    let named = learned.map(|(name, weight)| (name.as_str(), weight.shape()));
    let (weights, blocks) = describe_stages(&architecture.stages(), named);
    selection.choose(&weights, &blocks)
}

/// The step that pretrains every layer for what `pretext` asks, batch norm by batch statistics, weights
/// drawn by the configuration's seed; in the form that the engine of the configuration's device runs.
///
/// # Errors
/// When the architecture cannot read the input, or the objective cannot be wired onto it.
pub fn pretraining_step(
    config: &PretrainConfig,
    input: &InputSpec,
    pretext: &dyn Pretext,
) -> Result<TrainingStep, EncoderError> {
    let encoder = Trained::fresh(&config.architecture, input, config.seed)?;
    let encoder = Whole::new(encoder, pretext.rows(config.batch), pretext.keep())?;
    Ok(config.device.compile(Training::of(config).recipe(encoder, pretext.objective()))?)
}

/// [`pretraining_step`] of two encoders at once: beside the configuration's, the one that `pretext` names for the
/// second part of samples, which reads `second`. Its input is called [`SECOND`], its weights `second.` and their
/// names.
///
/// # Errors
/// As [`pretraining_step`].
pub fn pair_step(
    config: &PretrainConfig,
    input: &InputSpec,
    (architecture, second): (&Architecture, &InputSpec),
    pretext: &dyn Pretext,
) -> Result<TrainingStep, EncoderError> {
    let first = Trained::fresh(&config.architecture, input, config.seed)?;
    let second = Trained::fresh(architecture, second, config.seed.wrapping_add(1))?;
    let rows = pretext.rows(config.batch);
    let both = Whole::new(first, rows, pretext.keep())?.beside(Whole::new(second, rows, None)?)?;
    Ok(config.device.compile(Training::of(config).recipe(both, pretext.objective()))?)
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
    let optimizer = Optimizer::ADAMW;
    let training = Training { optimizer, lr, weight_decay, clip_norm: None, accumulate: 1, seed };
    let encoder = Whole::new(encoder.clone(), batch, None)?;
    Ok(compile(training.recipe(encoder, Objective::CrossEntropy { classes }))?)
}

/// The step that a board runs: batch norm folded away, the selected part and the projection head
/// trained by NT-Xent and SGD with momentum, `batch` rows at a time. Weights of the head that
/// `encoder` carries from pretraining are kept.
///
/// # Errors
/// When a weight is missing, or the selection picks nothing of the folded encoder.
pub fn board_step(
    encoder: &Trained,
    selection: &Selection,
    batch: usize,
    (lr, weight_decay, temperature): (f32, f32, f32),
    seed: u64,
) -> Result<TrainingStep, EncoderError> {
    let Trained { architecture, input, weights } = encoder;
    let folded = fold(weights)?;
    // No gradient goes through the looking up of tokens by which an encoder of texts is shipped; its training
    // form has a product in that place, and no batch norm that would have to be folded.
    let mut graph = match input.modality {
        Modality::Text => architecture.training_graph(batch, &input.shape, &folded, None)?,
        _ => architecture.graph(Form::Folded, Batch::Fixed(batch), &input.shape, &folded)?,
    };
    let choice = choose(architecture, &folded, selection)?;
    let mut trained = lora::attach(&mut graph, &choice.low_rank, seed)?;
    trained.extend(choice.trained);
    let objective = Objective::NtXent { head: head(architecture), temperature };
    let mut step = compile(Recipe { lr, weight_decay, seed, ..Recipe::new(graph, trained, objective) })?;
    // Folded: the encoder's kernels are no longer those that were pretrained beside their norms.
    for (name, value) in &mut step.initial {
        if let Some(known) = folded.get(name).filter(|known| known.shape() == value.shape()) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sedge_models::onnx::{initializers, read};

    use super::*;

    /// An encoder whose norms are far from the identity, and a head that came along from pretraining.
    fn trained() -> Trained {
        let architecture = Architecture::preset("imu-small").unwrap();
        let input = InputSpec::imu(32, 50.0, vec![0.0; 6], vec![1.0; 6]);
        let mut trained = Trained::fresh(&architecture, &input, 1).unwrap();
        for (_, scale) in trained.weights.iter_mut().filter(|(name, _)| name.ends_with(".bn.weight")) {
            scale.fill(3.0);
        }
        let head = board_step(&trained, &Selection::Head, 4, (0.1, 0.0, 0.2), 9).unwrap().initial;
        trained.weights.extend(head.into_iter().filter(|(name, _)| !name.contains('/')));
        trained
    }

    #[test]
    fn a_board_starts_from_the_encoder_it_serves_and_the_head_that_was_trained() {
        let trained = trained();
        let encoder = onnx(&trained, Form::Folded).unwrap();
        let encoder = initializers(&read::parse(&encoder).unwrap());
        let step = board_step(&trained, &Selection::All, 4, (0.1, 0.0, 0.2), 1).unwrap();
        let mut compared = (0, 0);
        for (name, value) in step.initial.iter().filter(|(name, _)| !name.contains('/')) {
            if let Some(served) = encoder.get(name) {
                assert_eq!(value, served, "{name}");
                compared.0 += 1;
            } else {
                assert_eq!(value, &trained.weights[name], "{name}");
                compared.1 += 1;
            }
        }
        assert_eq!((compared.0, compared.1 > 0), (8, true));
    }

    #[test]
    fn a_board_trains_what_was_selected() {
        let trained = trained();
        let names = |words: &str| {
            let step = board_step(&trained, &words.parse().unwrap(), 4, (0.1, 0.0, 0.2), 1)?;
            let names =
                step.initial.into_keys().filter(|name| name.starts_with("layers.") && !name.contains('/'));
            Ok::<Vec<String>, EncoderError>(names.collect())
        };
        assert!(names("head").unwrap().is_empty());
        assert_eq!(names("bias").unwrap().len(), 4);
        assert_eq!(
            names("lora:4@last:1").unwrap(),
            ["layers.3.conv.weight.lora_a", "layers.3.conv.weight.lora_b"]
        );
        assert!(matches!(names("norm"), Err(EncoderError::Selection(_))));
    }
}

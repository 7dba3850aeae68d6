//! What an encoder is trained for: each objective wires, onto an encoder's embedding, a scalar loss
//! and what else it needs (heads, a teacher, a queue, targets), and says what it asks of a batch.
//!
//! Where two views of a sample are compared, rows `i` and `i + batch / 2` are the two.

mod barlow_twins;
mod boltzmann;
mod byol;
mod cells;
mod cross_entropy;
mod cross_modal;
mod data2vec;
mod distillation;
mod head;
mod masked_autoencoder;
mod masked_reconstruction;
mod moco;
mod moco_v3;
mod nt_xent;
mod pair_prediction;
mod predictive_coding;
mod rows;
mod simsiam;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod token_prediction;
mod transformer;
mod vicreg;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;

pub use boltzmann::{MAX_GIBBS_STEPS, Visible};
pub use head::{HeadNorm, MAX_LAYERS, ProjectionHead};
pub use masked_reconstruction::Distance;
pub(crate) use rows::half_squared_distance;
pub use transformer::Transformer;

use crate::architecture::TOKENS;
use crate::compile::{Carried, Setting, Teacher};
use crate::graph::Graph;
use crate::step::InputTensor;
use crate::tensors::Tensors;
pub(crate) use head::Trained;

/// Widest layer of a head, and longest queue: what is larger is a slip, and would ask for gigabytes.
pub const MAX_WIDTH: usize = 1 << 16;
/// Most values of one weight of a head, or of a queue.
pub const MAX_VALUES: usize = 1 << 26;
/// Most tokens ahead that are predicted: each has weights and scores of its own.
pub const MAX_STEPS: usize = 64;
/// Most rows of a batch whose rows are compared with each other.
pub const MAX_ROWS: usize = 4096;

/// Most layers of a teacher whose mean is a target.
pub const MAX_LAYERS_TAUGHT: usize = 64;

/// What to train for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Objective {
    /// Contrast two views of each sample against all others (SimCLR; Chen et al. 2020).
    NtXent {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Default of the `temperature` input.
        temperature: f32,
    },
    /// Contrast two views against keys of earlier batches, which a slowly following encoder made and a
    /// queue keeps (MoCo; He et al. 2020, Chen et al. 2020b).
    Moco {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Default of the `temperature` input; 0.2 in the paper.
        temperature: f32,
        /// Keys kept, at least the batch (times the micro-batches); 65536 in the paper.
        queue: usize,
        /// Default of the `ema` input, how much of the teacher stays at a step; 0.999 in the paper.
        ema: f32,
    },
    /// Contrast two views of each sample against the keys that a slowly following encoder gives the other
    /// samples of the batch (MoCo v3; Chen et al. 2021).
    MocoV3 {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Width of the predictor's hidden layer.
        predictor: usize,
        /// Default of the `temperature` input; 0.2 in the paper for transformers, 1 in its code for ResNets.
        temperature: f32,
        /// Default of the `ema` input, how much of the teacher stays at a step; 0.99 in the paper.
        ema: f32,
    },
    /// Draw two views together while every feature keeps its variance and features stay uncorrelated
    /// (Bardes et al. 2022).
    #[serde(rename = "vicreg")]
    VicReg {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Weight of the distance between views; 25 in the paper.
        invariance: f32,
        /// Weight of the hinge on each feature's deviation; 25 in the paper.
        variance: f32,
        /// Weight of the covariances; 1 in the paper.
        covariance: f32,
    },
    /// Make the correlations between two views' features the identity (Zbontar et al. 2021).
    BarlowTwins {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Weight of the correlations between different features; 0.005 in the paper.
        redundancy: f32,
    },
    /// Predict one view's projection from the other's, which gets no gradient (Chen & He 2021).
    #[serde(rename = "simsiam")]
    SimSiam {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Width of the predictor's hidden layer; a quarter of the head's output in the paper.
        predictor: usize,
    },
    /// Predict the projection that a slowly following teacher gives the other view (Grill et al. 2020).
    Byol {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Width of the predictor's hidden layer.
        predictor: usize,
        /// Default of the `ema` input, how much of the teacher stays at a step; 0.996 in the paper.
        ema: f32,
    },
    /// Predict, at masked places, what a slowly following teacher makes of the whole sample (data2vec;
    /// Baevski et al. 2022).
    #[serde(rename = "data2vec")]
    Data2Vec {
        /// How many of the teacher's last layers are averaged into a target, at most [`MAX_LAYERS_TAUGHT`].
        layers: usize,
        /// Difference up to which the error is a square; 2 in the paper for images.
        beta: f32,
        /// Default of the `ema` input, how much of the teacher stays at a step; 0.9998 in the paper.
        ema: f32,
    },
    /// Reconstruct what was masked out of a sample (He et al. 2022; Xie et al. 2022).
    MaskedReconstruction {
        /// Width of the decoder's hidden layer; a single linear layer without.
        decoder: Option<usize>,
    },
    /// Stacked restricted Boltzmann machines, one a layer of a perceptron of logistic units, by
    /// contrastive divergence (Hinton 2002; Hinton, Osindero & Teh 2006), persistent or not (Tieleman
    /// 2008). The step is given `gates` `[layers]`, one where a layer learns and zero where it stays, and
    /// for each layer `noise.<i>.hidden` `[steps, batch, hidden]`, uniform in 0..1, and
    /// `noise.<i>.visible` `[steps, batch, visible]`, uniform too, but standard normal for Gaussian units.
    Boltzmann {
        /// Gibbs steps from data, or chains, to negatives: the k of CD-k, 1 to [`MAX_GIBBS_STEPS`].
        steps: usize,
        /// Whether chains go on from step to step (PCD) or begin at the data (CD).
        persistent: bool,
        /// What the lowest machine's visible units are.
        visible: Visible,
    },
    /// Reconstruct what was masked out of a sample, every cell from the token in its place: of images by any
    /// encoder (SimMIM; Xie et al. 2022), of windows, whose cells are spans of time. Reads `tokens`.
    MaskedModelling {
        /// Width of the hidden layer between token and cell; a single linear layer without, as in the paper.
        decoder: Option<usize>,
        /// How far a value is from what it should be; the magnitude in the paper.
        distance: Distance,
    },
    /// Reconstruct the patches that the encoder did not see, from the tokens of those that it did (He et al.
    /// 2022). Reads `tokens`, and the encoder's input `keep` `[batch, visible, patches]`.
    MaskedAutoencoder {
        /// The decoder, dropped after training; width 512, depth 8, 16 heads in the paper.
        decoder: Transformer,
        /// Whether each patch is normalised before it is compared, as the paper found best.
        normalise: bool,
    },
    /// Tell whether two segments follow each other in this order (Devlin et al. 2019, section 3.1).
    PairPrediction {
        /// Width of the layer between the two embeddings and the answer.
        hidden: usize,
    },
    /// Predict tokens to come among others (van den Oord et al. 2018). Reads `tokens`, in the order of time.
    PredictiveCoding {
        /// The causal network that gathers the past, dropped after training.
        context: Transformer,
        /// How many tokens ahead to predict; 12 for speech in the paper.
        steps: usize,
    },
    /// Predict the numbers of tokens: those that were hidden (BERT; Devlin et al. 2019), or from a causal
    /// encoder the next ones (GPT; Radford et al. 2018). Reads `tokens`.
    TokenPrediction {
        /// How many tokens there are.
        vocabulary: usize,
        /// Whether to tell from the embedding too if the second half of a text follows the first.
        next_sentence: bool,
    },
    /// Contrast samples of two kinds made of one moment with those of others (CLIP; Radford et al. 2021).
    /// Reads the second encoder's `second.embedding`.
    CrossModal {
        /// The head between embedding and loss, one for each encoder, dropped after training; a single linear
        /// layer in the paper.
        head: ProjectionHead,
        /// Default of the `temperature` input; trained from 0.07 in the paper.
        temperature: f32,
    },
    /// Predict the direction of the embedding that a larger encoder gives the same view (Romero et al. 2015;
    /// Navaneet et al. 2021).
    Distillation {
        /// The head between embedding and loss, as wide out as the teacher's embedding, dropped after training.
        head: ProjectionHead,
    },
    /// Predict labels by a linear layer, for the supervised reference.
    CrossEntropy {
        /// Number of classes; `targets` is `[batch, classes]`, each row summing to one.
        classes: usize,
    },
}

/// What an objective is wired onto.
pub(crate) struct Student<'a> {
    /// `[batch, dim]`.
    pub(crate) embedding: OutletId,
    /// What else the encoder gives: `tokens` `[batch, tokens, channels]`, `layers.<i>`.
    pub(crate) features: &'a [(String, OutletId)],
    /// What else the encoder is given.
    pub(crate) inputs: &'a [(String, OutletId)],
    /// Where the views enter.
    pub(crate) input: OutletId,
    /// Shape of the views.
    pub(crate) views: &'a [usize],
    /// The encoder's trained weights.
    pub(crate) weights: &'a [(String, OutletId)],
    /// Their initial values.
    pub(crate) initial: &'a Tensors,
    /// How many micro-batches make a batch.
    pub(crate) accumulate: usize,
}

impl Student<'_> {
    /// The encoder's output called `name`.
    pub(crate) fn feature(&self, name: &str) -> TractResult<OutletId> {
        named(self.features, name, "output")
    }

    /// The encoder's tokens and their shape, `[batch, tokens, channels]`.
    pub(crate) fn tokens(&self, graph: &Graph) -> TractResult<(OutletId, [usize; 3])> {
        let tokens = self.feature(TOKENS)?;
        let shape = graph.shape(tokens)?;
        let fits = |shape: [usize; 3]| shape.first() == self.views.first() && !shape.contains(&0);
        let known = <[usize; 3]>::try_from(shape.as_slice()).ok().filter(|shape| fits(*shape));
        let refused = || Setting {
            setting: format!("the encoder's output `{TOKENS}`"),
            found: format!("of shape {shape:?}"),
            wanted: "`[batch, tokens, channels]`".into(),
        };
        Ok((tokens, known.ok_or_else(refused).map_err(TractError::new)?))
    }

    /// The encoder's input called `name`.
    pub(crate) fn given(&self, name: &str) -> TractResult<OutletId> {
        named(self.inputs, name, "input")
    }
}

fn named(all: &[(String, OutletId)], name: &str, what: &str) -> TractResult<OutletId> {
    let found = all.iter().find(|(known, _)| known == name).map(|(_, outlet)| *outlet);
    found.ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let found = if known.is_empty() { "not there".into() } else { format!("only {}", known.join(", ")) };
        TractError::new(Setting {
            setting: format!("the encoder's {what} `{name}`"),
            found,
            wanted: "there: this objective reads it; take an encoder that has it, in its training form"
                .into(),
        })
    })
}

/// What an objective wired.
pub(crate) struct Wired {
    pub(crate) loss: OutletId,
    /// Trained weights that the objective brought along, and their initial values.
    pub(crate) weights: Vec<(String, OutletId)>,
    pub(crate) initial: Tensors,
    /// Batch inputs beside the views.
    pub(crate) inputs: Vec<InputTensor>,
    /// Scalar inputs and their defaults.
    pub(crate) scalars: Vec<(String, f32)>,
    /// Scalar outputs beside the loss.
    pub(crate) metrics: Vec<(String, OutletId)>,
    /// A copy of the weights that follows them.
    pub(crate) teacher: Option<Teacher>,
    /// Other state.
    pub(crate) carried: Vec<Carried>,
    /// Weights that move only where a value `[1]` is above zero, not even by decay or momentum.
    pub(crate) gated: Vec<(String, OutletId)>,
}

impl Wired {
    fn new(loss: OutletId, trained: Trained) -> Self {
        Self {
            loss,
            weights: trained.weights,
            initial: trained.initial,
            inputs: vec![],
            scalars: vec![],
            metrics: vec![],
            teacher: None,
            carried: vec![],
            gated: vec![],
        }
    }
}

impl Objective {
    /// VICReg with the weights of the paper.
    pub fn vicreg(head: ProjectionHead) -> Self {
        Self::VicReg { head, invariance: 25.0, variance: 25.0, covariance: 1.0 }
    }

    /// Barlow Twins with the weight of the paper.
    pub fn barlow_twins(head: ProjectionHead) -> Self {
        Self::BarlowTwins { head, redundancy: 0.005 }
    }

    /// The name stored in a step's specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NtXent { .. } => "nt-xent",
            Self::Moco { .. } => "moco",
            Self::VicReg { .. } => "vicreg",
            Self::BarlowTwins { .. } => "barlow-twins",
            Self::SimSiam { .. } => "simsiam",
            Self::Byol { .. } => "byol",
            Self::MocoV3 { .. } => "moco-v3",
            Self::Data2Vec { .. } => "data2vec",
            Self::MaskedReconstruction { .. } => "masked-reconstruction",
            Self::Boltzmann { .. } => "boltzmann",
            Self::MaskedModelling { .. } => "masked-modelling",
            Self::MaskedAutoencoder { .. } => "masked-autoencoder",
            Self::PairPrediction { .. } => "pair-prediction",
            Self::PredictiveCoding { .. } => "predictive-coding",
            Self::TokenPrediction { .. } => "token-prediction",
            Self::CrossModal { .. } => "cross-modal",
            Self::Distillation { .. } => "distillation",
            Self::CrossEntropy { .. } => "cross-entropy",
        }
    }

    /// Why the loss of a batch is not the mean of its micro-batches' losses, where it is not.
    pub fn couples_samples(&self) -> Option<&'static str> {
        match self {
            Self::NtXent { .. } => Some("every sample of the batch is a negative of every other"),
            Self::MocoV3 { .. } => Some("the keys of a batch are each other's negatives"),
            Self::VicReg { .. } => Some("variances and covariances are taken over the whole batch"),
            Self::BarlowTwins { .. } => Some("correlations are taken over the whole batch"),
            Self::CrossModal { .. } => Some("every pair of the batch is a negative of every other"),
            Self::PredictiveCoding { .. } => Some("tokens of other samples of the batch are negatives"),
            _ => None,
        }
    }

    /// Whether the numbers lie where they make sense. Runs before anything is reserved by them.
    pub(crate) fn check(&self) -> Result<(), Setting> {
        let width = |setting: &str, value: usize| Setting::range(setting, value, 1, MAX_WIDTH);
        let head = |head: &ProjectionHead| {
            width("head.hidden", head.hidden)?;
            width("head.out", head.out)?;
            Setting::range("head.layers", head.layers, 1, MAX_LAYERS)
        };
        match self {
            Self::NtXent { head: h, temperature } | Self::CrossModal { head: h, temperature } => {
                head(h)?;
                Setting::positive("temperature", *temperature)
            }
            Self::Distillation { head: h } => head(h),
            Self::Moco { head: h, temperature, queue, ema } => {
                head(h)?;
                width("queue", *queue)?;
                Setting::positive("temperature", *temperature)?;
                Setting::fraction("ema", *ema)
            }
            Self::VicReg { head: h, invariance, variance, covariance } => {
                head(h)?;
                Setting::not_negative("invariance", *invariance)?;
                Setting::not_negative("variance", *variance)?;
                Setting::not_negative("covariance", *covariance)
            }
            Self::BarlowTwins { head: h, redundancy } => {
                head(h)?;
                Setting::not_negative("redundancy", *redundancy)
            }
            Self::SimSiam { head: h, predictor } => {
                head(h)?;
                width("predictor", *predictor)
            }
            Self::Byol { head: h, predictor, ema } => {
                head(h)?;
                width("predictor", *predictor)?;
                Setting::fraction("ema", *ema)
            }
            Self::MocoV3 { head: h, predictor, temperature, ema } => {
                head(h)?;
                width("predictor", *predictor)?;
                Setting::positive("temperature", *temperature)?;
                Setting::fraction("ema", *ema)
            }
            Self::Data2Vec { layers, beta, ema } => {
                Setting::range("layers", *layers, 1, MAX_LAYERS_TAUGHT)?;
                Setting::positive("beta", *beta)?;
                Setting::fraction("ema", *ema)
            }
            Self::MaskedReconstruction { decoder } => width("decoder", decoder.unwrap_or(1)),
            Self::Boltzmann { steps, .. } => Setting::range("steps", *steps, 1, MAX_GIBBS_STEPS),
            Self::MaskedModelling { decoder, .. } => width("decoder", decoder.unwrap_or(1)),
            Self::MaskedAutoencoder { decoder, .. } => decoder.check("decoder"),
            Self::PairPrediction { hidden } => width("hidden", *hidden),
            Self::PredictiveCoding { context, steps } => {
                context.check("context")?;
                Setting::range("steps", *steps, 1, MAX_STEPS)
            }
            Self::TokenPrediction { vocabulary, .. } => {
                Setting::range("vocabulary", *vocabulary, 2, MAX_WIDTH)
            }
            Self::CrossEntropy { classes } => Setting::range("classes", *classes, 2, MAX_WIDTH),
        }
    }

    /// Wires the loss of the student's embedding.
    pub(crate) fn wire(
        &self,
        graph: &mut Graph,
        student: &Student<'_>,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<Wired> {
        graph.enter("objective");
        let embedding = student.embedding;
        let mut wired = match self {
            Self::NtXent { head, temperature } => nt_xent::wire(graph, embedding, head, *temperature, rng),
            Self::Moco { head, temperature, queue, ema } => {
                moco::wire(graph, student, head, (*temperature, *ema), *queue, rng)
            }
            Self::VicReg { head, invariance, variance, covariance } => {
                vicreg::wire(graph, embedding, head, [*invariance, *variance, *covariance], rng)
            }
            Self::BarlowTwins { head, redundancy } => {
                barlow_twins::wire(graph, embedding, head, *redundancy, rng)
            }
            Self::SimSiam { head, predictor } => simsiam::wire(graph, embedding, head, *predictor, rng),
            Self::Byol { head, predictor, ema } => byol::wire(graph, student, head, *predictor, *ema, rng),
            Self::MocoV3 { head, predictor, temperature, ema } => {
                moco_v3::wire(graph, student, head, *predictor, (*temperature, *ema), rng)
            }
            Self::Data2Vec { layers, beta, ema } => {
                data2vec::wire(graph, student, (*layers, *beta), *ema, rng)
            }
            Self::MaskedReconstruction { decoder } => {
                masked_reconstruction::wire(graph, student, *decoder, rng)
            }
            Self::Boltzmann { steps, persistent, visible } => {
                let sampling =
                    boltzmann::Sampling { steps: *steps, persistent: *persistent, visible: *visible };
                boltzmann::wire(graph, student, sampling, rng)
            }
            Self::MaskedModelling { decoder, distance } => {
                masked_reconstruction::wire_cells(graph, student, *decoder, *distance, rng)
            }
            Self::MaskedAutoencoder { decoder, normalise } => {
                masked_autoencoder::wire(graph, student, decoder, *normalise, rng)
            }
            Self::PairPrediction { hidden } => pair_prediction::wire(graph, embedding, *hidden, rng),
            Self::PredictiveCoding { context, steps } => {
                predictive_coding::wire(graph, student, context, *steps, rng)
            }
            Self::TokenPrediction { vocabulary, next_sentence } => {
                token_prediction::wire(graph, student, *vocabulary, *next_sentence, rng)
            }
            Self::Distillation { head } => distillation::wire(graph, student, head, rng),
            Self::CrossModal { head, temperature } => {
                cross_modal::wire(graph, student, head, *temperature, rng)
            }
            Self::CrossEntropy { classes } => cross_entropy::wire(graph, embedding, *classes, rng),
        }?;
        if !matches!(self, Self::CrossEntropy { .. }) {
            wired.metrics.push(("embedding_spread".into(), rows::spread(graph, embedding)?));
        }
        Ok(wired)
    }
}

//! What an encoder is trained for: each objective wires, onto an encoder's embedding, a scalar loss
//! and what else it needs (a projection head, targets), and says what it asks of a batch.

mod cross_entropy;
mod head;
mod nt_xent;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;

pub use head::ProjectionHead;

use crate::graph::Graph;
use crate::step::InputTensor;
use crate::tensors::Tensors;

/// What to train for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Objective {
    /// Contrast two views of each sample against all others (SimCLR; Chen et al. 2020).
    NtXent {
        /// The head between embedding and loss, dropped after training.
        head: ProjectionHead,
        /// Default of the `temperature` input.
        temperature: f32,
    },
    /// Predict labels by a linear layer, for the supervised reference.
    CrossEntropy {
        /// Number of classes; `targets` is `[batch, classes]`, each row summing to one.
        classes: usize,
    },
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
}

impl Objective {
    /// The name stored in a step's specification.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NtXent { .. } => "nt-xent",
            Self::CrossEntropy { .. } => "cross-entropy",
        }
    }

    /// Wires the loss of `embedding` `[batch, dim]`.
    pub(crate) fn wire(
        &self,
        graph: &mut Graph,
        embedding: OutletId,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<Wired> {
        graph.enter("objective");
        match self {
            Self::NtXent { head, temperature } => nt_xent::wire(graph, embedding, head, *temperature, rng),
            Self::CrossEntropy { classes } => cross_entropy::wire(graph, embedding, *classes, rng),
        }
    }
}

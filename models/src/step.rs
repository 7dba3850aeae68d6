//! A training step: forward, loss, backward and optimiser as one ONNX graph, and the words that
//! say what goes in and comes out. State comes in under its name and leaves as `<name>.next`;
//! nothing else is remembered between steps, so a step is a pure function and a run can be cut and
//! resumed anywhere.

use serde::{Deserialize, Serialize};

use crate::tensors::Tensors;

/// The output a state tensor leaves by.
pub fn next_name(state: &str) -> String {
    format!("{state}.next")
}

/// What a state tensor is, which decides how it is saved and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateRole {
    /// A trained weight.
    Parameter,
    /// What the optimiser remembers of a weight, sums of micro-batches included; starts at zero.
    Optimizer,
    /// A batch norm's running mean or variance.
    Statistic,
    /// A slowly following copy of a weight: that of `<weight>` is `<weight>/teacher`.
    Teacher,
    /// Keys of earlier batches that serve as negatives.
    Queue,
    /// What a Markov chain reached, from where the next step goes on.
    Chain,
}

/// One tensor that the step carries from call to call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpec {
    /// Input name; the output is [`next_name`] of it.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: StateRole,
}

/// One tensor given afresh at each call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputTensor {
    /// Input name.
    pub name: String,
    /// Shape, the batch included; empty for a scalar.
    pub shape: Vec<usize>,
}

/// What a training-step graph takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// The objective by name (`nt-xent`, `byol`, `cross-entropy`, ...).
    pub objective: String,
    /// The optimiser by name (`sgd`, `adamw`, `lars`).
    pub optimizer: String,
    /// Rows of the first batch input. Where views are compared, rows `i` and `i + batch / 2` are two
    /// views of one sample.
    pub batch: usize,
    /// Batch inputs: `views` `[batch, ...sample]` first, then further inputs of the encoder (`keep`), then what
    /// the objective asks for: for cross-entropy `targets` `[batch, classes]`; for masked reconstruction and
    /// modelling `targets` and `mask`, shaped like the views; for data2vec `whole`, shaped like them, and
    /// `mask` `[batch, tokens, 1]`; for pair prediction `targets` `[batch / 2, 1]`; for token prediction
    /// `targets` and `mask` `[batch, length]`, and `follows` `[batch, 1]`; for Boltzmann machines `gates`
    /// `[layers]` and noise.
    pub inputs: Vec<InputTensor>,
    /// Scalar inputs and their defaults: `lr`, `weight_decay`, and what the recipe asked for of
    /// `temperature`, `ema`, `reference_weight` and `clip_norm`.
    pub scalars: Vec<(String, f32)>,
    /// Carried state, parameters first.
    pub state: Vec<StateSpec>,
    /// Scalar outputs that are not state; the first is `loss`. `skipped` is one when something was not
    /// finite and the state therefore stayed; `applied` is one when a step that sums micro-batches
    /// moved the weights.
    pub metrics: Vec<String>,
}

impl StepSpec {
    /// The state tensors of one role.
    pub fn state_of(&self, role: StateRole) -> impl Iterator<Item = &StateSpec> {
        self.state.iter().filter(move |s| s.role == role)
    }

    /// Trained values, summed over the parameters.
    pub fn parameters(&self) -> usize {
        self.state_of(StateRole::Parameter).map(|s| s.shape.iter().product::<usize>()).sum()
    }
}

/// A compiled training step: the graph, its specification, and the state it starts from.
#[derive(Clone, Debug)]
pub struct TrainingStep {
    /// What goes in and out.
    pub spec: StepSpec,
    /// The graph, ONNX opset 17, shapes fixed.
    pub onnx: Vec<u8>,
    /// Initial value of every state tensor.
    pub initial: Tensors,
}

//! State as it is wired: where a tensor enters the step, what it would become, and when it does.

use ndarray::ArrayD;
use tract_onnx::prelude::*;

use crate::step::StateSpec;

/// When a state tensor takes its next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moves {
    /// At every step that is finite.
    EachStep,
    /// When the weights move: at the last of a batch's micro-batches.
    WithWeights,
    /// At every step where this value `[1]` is above zero.
    EachOpenStep(OutletId),
    /// With the weights, where this value `[1]` is above zero.
    WithOpenWeights(OutletId),
}

/// One state tensor on its way through the graph.
pub(crate) struct Carried {
    pub(crate) spec: StateSpec,
    pub(crate) initial: ArrayD<f32>,
    /// Where it enters.
    pub(crate) now: OutletId,
    /// What it becomes if it moves.
    pub(crate) next: OutletId,
    pub(crate) moves: Moves,
}

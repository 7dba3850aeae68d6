//! What happens to gradients before an optimiser sees them: summed over micro-batches, clipped by their
//! global norm.

use ndarray::{ArrayD, IxDyn};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::carried::{Carried, Moves};
use crate::graph::Graph;
use crate::step::{StateRole, StateSpec};

/// Keeps the quotient of norms finite, as in PyTorch's `clip_grad_norm_`.
const CLIP_EPSILON: f32 = 1e-6;
/// How many micro-batches of the current batch went by.
const COUNT: &str = "accumulated";

/// A trained weight with its gradient.
pub(super) type Parameter = (String, OutletId, OutletId);

/// Micro-batches being summed.
pub(super) struct Accumulation {
    /// One at the last micro-batch of a batch, else zero; `[1]`.
    pub(super) applies: OutletId,
    pub(super) carried: Vec<Carried>,
}

/// Replaces every gradient by the mean over `batches` micro-batches: what is in `<weight>/gradient` and
/// this one's share. The count is state as well, so a caller steps on and need not know.
pub(super) fn accumulate(
    graph: &mut Graph,
    parameters: &mut [Parameter],
    batches: usize,
) -> TractResult<Accumulation> {
    graph.enter("accumulation");
    let count = graph.source(COUNT, &[])?;
    let counted = graph.offset(count, 1.0)?;
    let whole = graph.scalar(batches as f32, 0)?;
    let applies = graph.at_most(whole, counted)?;
    let (zero, one) = (graph.scalar(0.0, 0)?, graph.scalar(1.0, 0)?);
    let applies = graph.choose(applies, one, zero)?;
    let keeps = graph.sub(one, applies)?;
    let sum = |name: &str, shape: Vec<usize>, now, next| Carried {
        initial: ArrayD::zeros(IxDyn(&shape)),
        spec: StateSpec { name: name.into(), shape, role: StateRole::Optimizer },
        now,
        next,
        moves: Moves::EachStep,
    };
    let counted = graph.mul(counted, keeps)?;
    let mut carried = vec![sum(COUNT, vec![], count, counted)];
    for (name, _, gradient) in parameters {
        let name = format!("{name}/gradient");
        let shape = graph.shape(*gradient)?.to_vec();
        let now = graph.source(&name, &shape)?;
        let share = graph.scale(*gradient, 1.0 / batches as f32)?;
        *gradient = graph.add(now, share)?;
        let keeps = graph.lift_rank(keeps, shape.len())?;
        let next = graph.mul(*gradient, keeps)?;
        carried.push(sum(&name, shape, now, next));
    }
    Ok(Accumulation { applies: graph.lift_rank(applies, 1)?, carried })
}

/// Scales all gradients together so that their norm is at most the scalar input `clip_norm` (Pascanu,
/// Mikolov & Bengio 2013, algorithm 1); gives the norm before, `[1, 1]`.
pub(super) fn clip(graph: &mut Graph, parameters: &mut [Parameter]) -> TractResult<OutletId> {
    graph.enter("clipping");
    let gradients: Vec<OutletId> = parameters.iter().map(|(_, _, gradient)| *gradient).collect();
    let norm = graph.norm(&gradients)?;
    let largest = graph.source("clip_norm", &[])?;
    let largest = graph.lift_rank(largest, 2)?;
    let above_zero = graph.offset(norm, CLIP_EPSILON)?;
    let factor = graph.div(largest, above_zero)?;
    let one = graph.scalar(1.0, 2)?;
    let factor = graph.binary(math::min(), factor, one)?;
    let factor = graph.reshape(factor, &[])?;
    for (_, _, gradient) in parameters {
        let rank = graph.rank(*gradient)?;
        let factor = graph.lift_rank(factor, rank)?;
        *gradient = graph.mul(*gradient, factor)?;
    }
    Ok(norm)
}

//! The guard inside the step: when the loss, a metric or anything that the state would become is not
//! finite, all state leaves as it came, and the metric `skipped` is one.
//!
//! One number decides: the sum of all these values, which is NaN or infinite as soon as one of them is.
//! (So is the sum of numbers near the largest float; a state like that is as good as lost.) The
//! decision is a comparison and the choice a `Where`, for both are the same in every runtime, while
//! the larger of zero and NaN is not, and zero times NaN would carry it on. Tensors are looked at and
//! chosen with all values in one axis, which is several times faster.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::carried::{Carried, Moves};
use crate::graph::Graph;

/// What leaves the step.
pub(super) struct Guarded {
    /// One when the state stayed because something was not finite, else zero; `[1]`.
    pub(super) skipped: OutletId,
    /// The state's next values, in its order.
    pub(super) next: Vec<OutletId>,
}

/// Guards `carried`. `applies` is one where tensors that move with the weights do.
pub(super) fn guard(
    graph: &mut Graph,
    metrics: &[(String, OutletId)],
    carried: &[Carried],
    applies: Option<OutletId>,
) -> TractResult<Guarded> {
    graph.enter("guard");
    let flat = carried.iter().map(|c| graph.flat(c.next)).collect::<TractResult<Vec<_>>>()?;
    let mut sums = vec![];
    for (_, metric) in metrics {
        sums.push(graph.flat(*metric)?);
    }
    for &next in &flat {
        sums.push(graph.sum(next, &[0])?);
    }
    let sums = graph.concat(0, &sums)?;
    let sum = graph.sum(sums, &[0])?;
    let size = graph.element(math::abs(), sum)?;
    let largest = graph.scalar(f32::MAX, 1)?;
    let is_finite = graph.at_most(size, largest)?;
    let (zero, one) = (graph.scalar(0.0, 1)?, graph.scalar(1.0, 1)?);
    let skipped = graph.choose(is_finite, zero, one)?;
    let weights_move = match applies {
        Some(applies) => {
            let applies = graph.choose(is_finite, applies, zero)?;
            graph.at_most(one, applies)?
        }
        None => is_finite,
    };
    let mut next = vec![];
    for (carried, &candidate) in carried.iter().zip(&flat) {
        let moves = match carried.moves {
            Moves::EachStep => is_finite,
            Moves::WithWeights => weights_move,
        };
        let now = graph.flat(carried.now)?;
        let chosen = graph.choose(moves, candidate, now)?;
        next.push(graph.unflat(chosen, &carried.spec.shape)?);
    }
    Ok(Guarded { skipped, next })
}

//! The guard inside the step: when the loss, a metric or anything that the state would become is not
//! finite, all state leaves as it came, and the metric `skipped` is one.
//!
//! One number decides: the sum of all these values and of the scalar inputs, which is NaN or infinite as
//! soon as one of them is. (So is the sum of numbers near the largest float; a state like that is as good
//! as lost.) It is compared, and the outcome is an index: of a tensor as it came and as it would become,
//! stacked, one is gathered. Comparing and copying are the same in every runtime, while the larger of
//! zero and NaN is not, and zero times NaN is NaN. Gathering is also ten times faster than `Where`.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::Gather;
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

/// Guards `carried`; `watched` are the other values that must be finite. `applies` is one where tensors
/// that move with the weights do.
pub(super) fn guard(
    graph: &mut Graph,
    watched: &[OutletId],
    carried: &[Carried],
    applies: Option<OutletId>,
) -> TractResult<Guarded> {
    graph.enter("guard");
    let candidates = carried.iter().map(|c| graph.lift_rank(c.next, 1)).collect::<TractResult<Vec<_>>>()?;
    let mut sums = vec![];
    for &value in watched.iter().chain(&candidates) {
        sums.push(summed(graph, value)?);
    }
    let sums = graph.concat(1, &sums)?;
    let sum = graph.sum(sums, &[1])?;
    let sum = graph.reshape(sum, &[1])?;
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
    let (now_place, next_place) = (graph.constant(tensor1(&[0i64]))?, graph.constant(tensor1(&[1i64]))?);
    let each_step = graph.choose(is_finite, next_place, now_place)?;
    let with_weights = graph.choose(weights_move, next_place, now_place)?;
    let opened = |graph: &mut Graph, moves, gate| {
        let open = graph.choose(moves, gate, zero)?;
        let closed = graph.at_most(open, zero)?;
        graph.choose(closed, now_place, next_place)
    };
    let mut next = vec![];
    for (carried, &candidate) in carried.iter().zip(&candidates) {
        let place = match carried.moves {
            Moves::EachStep => each_step,
            Moves::WithWeights => with_weights,
            Moves::EachOpenStep(gate) => opened(graph, is_finite, gate)?,
            Moves::WithOpenWeights(gate) => opened(graph, weights_move, gate)?,
        };
        let now = graph.lift_rank(carried.now, 1)?;
        let both = graph.concat(0, &[now, candidate])?;
        let values: usize = carried.spec.shape.iter().product();
        let both = graph.reshape(both, &[2, values])?;
        let chosen = graph.node(Gather::new(0), &[both, place])?;
        next.push(graph.reshape(chosen, &carried.spec.shape)?);
    }
    Ok(Guarded { skipped, next })
}

/// The values of `a` summed over its first axis, as one row. The first axis only: that adds whole vectors,
/// where a sum of everything would add value by value.
fn summed(graph: &mut Graph, a: OutletId) -> TractResult<OutletId> {
    let a = graph.lift_rank(a, 1)?;
    let sum = graph.sum(a, &[0])?;
    graph.row(sum)
}

//! What objectives do with the rows of a batch: halve it into its two views, scale rows to length one,
//! compare row with row, and measure how far rows are spread.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::MAX_ROWS;
use crate::compile::Setting;
use crate::graph::Graph;

/// Keeps the root of a squared length away from zero.
pub(super) const TINY: f32 = 1e-12;

/// Number of rows of `z`, which must be at least `pairs` pairs of views.
pub(super) fn paired_rows(graph: &Graph, z: OutletId, pairs: usize) -> TractResult<usize> {
    let rows = graph.shape(z)?[0];
    if !(2 * pairs..=MAX_ROWS).contains(&rows) || !rows.is_multiple_of(2) {
        return Err(TractError::new(Setting {
            setting: "the encoder's batch".into(),
            found: rows.to_string(),
            wanted: format!(
                "an even number of rows, two views of each sample, from {} to {MAX_ROWS}",
                2 * pairs
            ),
        }));
    }
    Ok(rows)
}

/// The first and the second views.
pub(super) fn halves(graph: &mut Graph, z: OutletId) -> TractResult<[OutletId; 2]> {
    let rows = graph.shape(z)?[0];
    Ok([graph.slice(z, 0, 0, rows / 2)?, graph.slice(z, 0, rows / 2, rows)?])
}

/// For each row the row of the same sample's other view.
pub(super) fn partners(graph: &mut Graph, z: OutletId) -> TractResult<OutletId> {
    let [first, second] = halves(graph, z)?;
    graph.concat(0, &[second, first])
}

/// Rows scaled to length one.
pub(super) fn unit_rows(graph: &mut Graph, z: OutletId) -> TractResult<OutletId> {
    let square = graph.mul(z, z)?;
    let length = graph.sum(square, &[1])?;
    let length = graph.offset(length, TINY)?;
    let inverse = graph.element(math::rsqrt(), length)?;
    graph.mul(z, inverse)
}

/// Inner product of each row of `a` with the row of `b` beside it, `[rows, 1]`.
pub(super) fn row_products(graph: &mut Graph, a: OutletId, b: OutletId) -> TractResult<OutletId> {
    let product = graph.mul(a, b)?;
    graph.sum(product, &[1])
}

/// Mean over the rows of `[rows, 1]`.
pub(super) fn mean_rows(graph: &mut Graph, a: OutletId) -> TractResult<OutletId> {
    let rows = graph.shape(a)?[0];
    let sum = graph.sum(a, &[0])?;
    graph.scale(sum, 1.0 / rows as f32)
}

/// `a` less its mean over the rows.
pub(super) fn centred(graph: &mut Graph, a: OutletId) -> TractResult<OutletId> {
    let mean = mean_rows(graph, a)?;
    graph.sub(a, mean)
}

/// Cross entropy of each row of `logits` with the row of `targets` beside it, which sums to one; `[rows, 1]`.
pub(super) fn surprise(graph: &mut Graph, logits: OutletId, targets: OutletId) -> TractResult<OutletId> {
    // The maximum only steadies the exponential; the loss does not depend on it, so no gradient
    // flows through it.
    let top = graph.max(logits, 1)?;
    let top = graph.detach(top);
    let shifted = graph.sub(logits, top)?;
    let likelihood = graph.element(math::exp(), shifted)?;
    let total = graph.sum(likelihood, &[1])?;
    let log_total = graph.element(math::ln(), total)?;
    let chosen = graph.mul(shifted, targets)?;
    let chosen = graph.sum(chosen, &[1])?;
    graph.sub(log_total, chosen)
}

/// One for each row whose highest logit is that of its target, `[rows, 1]`. Not part of a loss.
pub(super) fn hits(graph: &mut Graph, logits: OutletId, targets: OutletId) -> TractResult<OutletId> {
    let top = graph.max(logits, 1)?;
    let below = graph.sub(top, logits)?;
    let miss = graph.step(below)?;
    let one = graph.scalar(1.0, 2)?;
    let highest = graph.sub(one, miss)?;
    let right = graph.mul(highest, targets)?;
    graph.sum(right, &[1])
}

/// Mean over the rows of half the squared distance between rows scaled to length one, which is one
/// minus their cosine. Written as a distance because that is exact near zero: equal rows give zero and
/// a zero gradient, where one minus a product would leave rounding. No gradient reaches `fixed`.
pub(crate) fn half_squared_distance(
    graph: &mut Graph,
    moving: OutletId,
    fixed: OutletId,
) -> TractResult<OutletId> {
    let moving = unit_rows(graph, moving)?;
    let fixed = unit_rows(graph, fixed)?;
    let fixed = graph.detach(fixed);
    let difference = graph.sub(moving, fixed)?;
    let square = row_products(graph, difference, difference)?;
    let mean = mean_rows(graph, square)?;
    graph.scale(mean, 0.5)
}

/// Mean standard deviation of the normalised embedding's features, times the root of their number:
/// about one when embeddings use the whole sphere, zero when they have collapsed to a point (Chen &
/// He 2021, section 4.1). Not part of the loss.
pub(super) fn spread(graph: &mut Graph, embedding: OutletId) -> TractResult<OutletId> {
    let unit = unit_rows(graph, embedding)?;
    let features = graph.shape(unit)?[1] as f32;
    let centred = centred(graph, unit)?;
    let square = graph.mul(centred, centred)?;
    let variance = mean_rows(graph, square)?;
    let deviation = graph.element(math::sqrt(), variance)?;
    let total = graph.sum(deviation, &[1])?;
    graph.scale(total, features.sqrt() / features)
}

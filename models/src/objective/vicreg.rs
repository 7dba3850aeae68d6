//! Variance, invariance, covariance (VICReg; Bardes, Ponce & LeCun 2022, equations 1 to 6): views of a
//! sample are drawn together; a hinge keeps the deviation of every feature above one, so that nothing
//! collapses; covariances between features are drawn to zero, so that features do not say the same.
//!
//! The distance between views is the mean over rows and features, as in the paper's algorithm 1.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::{centred, halves, paired_rows};
use super::{ProjectionHead, Wired};
use crate::graph::Graph;

/// Added to a variance before its root (the paper's epsilon).
const EPSILON: f32 = 1e-4;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    head: &ProjectionHead,
    [invariance, variance, covariance]: [f32; 3],
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let pairs = paired_rows(graph, embedding, 2)? / 2;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, embedding, rng)?;
    let views = halves(graph, z)?;
    let features = head.out as f32;

    let difference = graph.sub(views[0], views[1])?;
    let distance = graph.mul(difference, difference)?;
    let distance = graph.sum(distance, &[0, 1])?;
    let mut loss = graph.scale(distance, invariance / (pairs as f32 * features))?;
    for view in views {
        let centred = centred(graph, view)?;
        let variances = graph.mul(centred, centred)?;
        let variances = graph.sum(variances, &[0])?;
        let variances = graph.scale(variances, 1.0 / (pairs as f32 - 1.0))?;
        let short = shortfall(graph, variances)?;
        let short = graph.scale(short, variance / features)?;
        loss = graph.add(loss, short)?;
        let shared = shared(graph, centred, variances, pairs)?;
        let shared = graph.scale(shared, covariance / features)?;
        loss = graph.add(loss, shared)?;
    }
    Ok(Wired::new(loss, trained))
}

/// Sum over the features of `max(0, 1 - sqrt(variance + epsilon))`.
fn shortfall(graph: &mut Graph, variances: OutletId) -> TractResult<OutletId> {
    let above_zero = graph.offset(variances, EPSILON)?;
    let deviations = graph.element(math::sqrt(), above_zero)?;
    let one = graph.scalar(1.0, 2)?;
    let missing = graph.sub(one, deviations)?;
    let zero = graph.scalar(0.0, 2)?;
    let hinge = graph.binary(math::max(), missing, zero)?;
    graph.sum(hinge, &[1])
}

/// Sum of the squared covariances off the diagonal: all of them less the squared variances.
fn shared(graph: &mut Graph, centred: OutletId, variances: OutletId, pairs: usize) -> TractResult<OutletId> {
    let product = graph.einsum("ni,nj->ij", centred, centred)?;
    let covariances = graph.scale(product, 1.0 / (pairs as f32 - 1.0))?;
    let squares = graph.mul(covariances, covariances)?;
    let all = graph.sum(squares, &[0, 1])?;
    let diagonal = graph.mul(variances, variances)?;
    let diagonal = graph.sum(diagonal, &[1])?;
    graph.sub(all, diagonal)
}

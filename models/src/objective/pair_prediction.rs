//! Whether two segments follow each other, in this order: row `i` of the first half of a batch and row `i`
//! of the second are a pair, and `targets` `[batch / 2, 1]` is one where the second segment follows the
//! first. For sentences it is the second task of BERT (Devlin et al. 2019, section 3.1); for windows of a
//! stream and frames of a video see Misra et al. 2016.
//!
//! Two layers see both embeddings, the size of their difference and their product (Conneau et al. 2017,
//! section 3.1). The embeddings stand in their order, so that order can be told.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::Wired;
use super::head::Trained;
use super::rows::{halves, mean_rows, paired_rows};
use crate::graph::Graph;
use crate::step::InputTensor;

/// Name of the input that says which pairs are true ones.
const TARGETS: &str = "targets";

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    hidden: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let pairs = paired_rows(graph, embedding, 1)? / 2;
    let [first, second] = halves(graph, embedding)?;
    let difference = graph.sub(second, first)?;
    let size = graph.element(math::abs(), difference)?;
    let product = graph.mul(first, second)?;
    let both = graph.concat(1, &[first, second, size, product])?;
    let mut trained = Trained::default();
    let logit = trained.layers(graph, "head.pair", both, [hidden, 1], rng)?;
    let targets = graph.source(TARGETS, &[pairs, 1])?;
    let (loss, accuracy) = binary_cross_entropy(graph, logit, targets)?;
    let inputs = vec![InputTensor { name: TARGETS.into(), shape: vec![pairs, 1] }];
    let metrics = vec![("accuracy".into(), accuracy)];
    Ok(Wired { inputs, metrics, ..Wired::new(loss, trained) })
}

/// The mean over rows of the binary cross entropy of `logit` `[rows, 1]`, and the share of rows that it has on
/// the right side. With the magnitude in the exponent, nothing overflows:
/// `max(l, 0) - l t + ln(1 + exp(-|l|))`.
pub(super) fn binary_cross_entropy(
    graph: &mut Graph,
    logit: OutletId,
    targets: OutletId,
) -> TractResult<(OutletId, OutletId)> {
    let zero = graph.scalar(0.0, 2)?;
    let above = graph.binary(math::max(), logit, zero)?;
    let claimed = graph.mul(logit, targets)?;
    let size = graph.element(math::abs(), logit)?;
    let negated = graph.scale(size, -1.0)?;
    let rest = graph.element(math::exp(), negated)?;
    let rest = graph.offset(rest, 1.0)?;
    let rest = graph.element(math::ln(), rest)?;
    let margin = graph.sub(above, claimed)?;
    let each = graph.add(margin, rest)?;
    let loss = mean_rows(graph, each)?;

    let sides = graph.scale(targets, 2.0)?;
    let sides = graph.offset(sides, -1.0)?;
    let agreement = graph.mul(sides, logit)?;
    let right = graph.step(agreement)?;
    Ok((loss, mean_rows(graph, right)?))
}

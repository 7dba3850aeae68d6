//! Cross entropy of a linear classifier on the embedding: the loss of the supervised reference that
//! self-supervision is measured against.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::Wired;
use super::head::Trained;
use super::rows::mean_rows;
use crate::graph::Graph;
use crate::step::InputTensor;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    classes: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let mut trained = Trained::default();
    let logits = trained.linear(graph, "classifier", embedding, classes, rng)?;
    let rows = graph.shape(logits)?[0];
    let targets = graph.source("targets", &[rows, classes])?;

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
    let each = graph.sub(log_total, chosen)?;
    let loss = mean_rows(graph, each)?;
    let inputs = vec![InputTensor { name: "targets".into(), shape: vec![rows, classes] }];
    Ok(Wired { inputs, ..Wired::new(loss, trained) })
}

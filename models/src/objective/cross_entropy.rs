//! Cross entropy of a linear classifier on the embedding: the loss of the supervised reference that
//! self-supervision is measured against.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::Wired;
use super::head::Trained;
use crate::graph::Graph;
use crate::step::InputTensor;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    classes: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    ensure!(classes >= 2, "cross entropy wants at least two classes, not {classes}");
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
    let sum = graph.sum(each, &[0])?;
    let loss = graph.scale(sum, 1.0 / rows as f32)?;
    Ok(Wired {
        loss,
        weights: trained.weights,
        initial: trained.initial,
        inputs: vec![InputTensor { name: "targets".into(), shape: vec![rows, classes] }],
        scalars: vec![],
        metrics: vec![],
    })
}

//! Cross entropy of a linear classifier on the embedding: the loss of the supervised reference that
//! self-supervision is measured against.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;

use super::Wired;
use super::head::Trained;
use super::rows::{hits, mean_rows, surprise};
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
    let each = surprise(graph, logits, targets)?;
    let loss = mean_rows(graph, each)?;
    let right = hits(graph, logits, targets)?;
    let metrics = vec![("accuracy".into(), mean_rows(graph, right)?)];
    let inputs = vec![InputTensor { name: "targets".into(), shape: vec![rows, classes] }];
    Ok(Wired { inputs, metrics, ..Wired::new(loss, trained) })
}

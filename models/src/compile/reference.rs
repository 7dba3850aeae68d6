//! The pull towards the frozen encoder, which limits forgetting: one minus the cosine between a sample's
//! embedding and the one that the encoder gave it before training, averaged over the batch. It is
//! feature distillation (Hinton et al. 2015) from the encoder's own past, as in learning without
//! forgetting (Li & Hoiem 2016).
//!
//! A cosine rather than a distance: embeddings are compared by direction wherever they are used here,
//! and a bounded term without scale lets one weight serve every encoder.
//!
//! The encoder's forward pass is stamped a second time with its initial weights as constants. What
//! lies before the first trained weight is computed once for both.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use crate::graph::Graph;
use crate::objective::half_squared_distance;
use crate::tensors::Tensors;

/// Wires the distance, a scalar.
pub(super) fn distance(
    graph: &mut Graph,
    embedding: OutletId,
    weights: &[(String, OutletId)],
    initial: &Tensors,
) -> TractResult<OutletId> {
    graph.enter("reference");
    let mut replaced = HashMap::new();
    for (name, weight) in weights {
        let value = initial.get(name).context("a weight without an initial value")?;
        let flat: Vec<f32> = value.iter().copied().collect();
        let frozen = graph.constant(Tensor::from_shape(value.shape(), &flat)?)?;
        replaced.insert(*weight, frozen);
    }
    let frozen = graph.stamp(&[embedding], &replaced)?;
    let frozen = *frozen.first().context("a stamp without its root")?;
    half_squared_distance(graph, embedding, frozen)
}

/// `loss + reference_weight * distance`. The graph gains the scalar input `reference_weight`.
pub(super) fn pull(graph: &mut Graph, loss: OutletId, distance: OutletId) -> TractResult<OutletId> {
    let weight = graph.source("reference_weight", &[])?;
    let weight = graph.lift_rank(weight, 2)?;
    let term = graph.mul(distance, weight)?;
    graph.add(loss, term)
}

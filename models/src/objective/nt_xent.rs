//! The normalised temperature-scaled cross entropy of SimCLR (Chen et al. 2020, equation 1): of all
//! other views in the batch, find the one that shows the same sample.
//!
//! Rows `i` and `i + batch/2` are a positive pair. Cosine similarities are bounded, so the logarithm
//! of the sum of exponentials is taken relative to that bound, `1 / temperature`, and never overflows.

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::{ProjectionHead, Wired};
use crate::graph::Graph;

/// Keeps the root of a squared length away from zero.
const TINY: f32 = 1e-12;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    head: &ProjectionHead,
    temperature: f32,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, embedding, rng)?;
    let z = unit_rows(graph, z)?;
    let rows = graph.shape(z)?[0];
    ensure!(
        rows >= 4 && rows.is_multiple_of(2),
        "nt-xent wants at least two pairs of views, not {rows} rows"
    );

    let tau = graph.source("temperature", &[])?;
    let tau = graph.lift_rank(tau, 2)?;
    let sharpness = graph.element(math::recip(), tau)?;
    let similarity = graph.einsum("ik,jk->ij", z, z)?;
    let below_bound = graph.offset(similarity, -1.0)?;
    let logits = graph.mul(below_bound, sharpness)?;
    let likelihood = graph.element(math::exp(), logits)?;
    let others = Array2::from_shape_fn((rows, rows), |(i, j)| if i == j { 0f32 } else { 1.0 });
    let others = graph.constant(tensor(&others)?)?;
    let likelihood = graph.mul(likelihood, others)?;
    let total = graph.sum(likelihood, &[1])?;
    let log_total = graph.element(math::ln(), total)?;

    let first = graph.slice(z, 0, 0, rows / 2)?;
    let second = graph.slice(z, 0, rows / 2, rows)?;
    let partner = graph.concat(0, &[second, first])?;
    let product = graph.mul(z, partner)?;
    let positive = graph.sum(product, &[1])?;
    let positive = graph.offset(positive, -1.0)?;
    let positive = graph.mul(positive, sharpness)?;

    let each = graph.sub(log_total, positive)?;
    let sum = graph.sum(each, &[0])?;
    let loss = graph.scale(sum, 1.0 / rows as f32)?;
    let spread = spread(graph, embedding)?;
    Ok(Wired {
        loss,
        weights: trained.weights,
        initial: trained.initial,
        inputs: vec![],
        scalars: vec![("temperature".into(), temperature)],
        metrics: vec![("embedding_spread".into(), spread)],
    })
}

fn tensor(values: &Array2<f32>) -> TractResult<Tensor> {
    let flat: Vec<f32> = values.iter().copied().collect();
    Tensor::from_shape(values.shape(), &flat)
}

/// Rows scaled to length one.
fn unit_rows(graph: &mut Graph, z: OutletId) -> TractResult<OutletId> {
    let square = graph.mul(z, z)?;
    let length = graph.sum(square, &[1])?;
    let length = graph.offset(length, TINY)?;
    let inverse = graph.element(math::rsqrt(), length)?;
    graph.mul(z, inverse)
}

/// Mean standard deviation of the normalised embedding's features, times the root of their number:
/// about one when embeddings use the whole sphere, zero when they have collapsed to a point (Chen &
/// He 2021, section 4.1). Not part of the loss.
fn spread(graph: &mut Graph, embedding: OutletId) -> TractResult<OutletId> {
    let unit = unit_rows(graph, embedding)?;
    let shape = graph.shape(unit)?;
    let (rows, features) = (shape[0] as f32, shape[1] as f32);
    let sum = graph.sum(unit, &[0])?;
    let mean = graph.scale(sum, 1.0 / rows)?;
    let centred = graph.sub(unit, mean)?;
    let square = graph.mul(centred, centred)?;
    let variance = graph.sum(square, &[0])?;
    let variance = graph.scale(variance, 1.0 / rows)?;
    let deviation = graph.element(math::sqrt(), variance)?;
    let total = graph.sum(deviation, &[1])?;
    graph.scale(total, features.sqrt() / features)
}

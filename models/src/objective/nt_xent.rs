//! The normalised temperature-scaled cross entropy of SimCLR (Chen et al. 2020, equation 1): of all
//! other views in the batch, find the one that shows the same sample.
//!
//! Rows `i` and `i + batch/2` are a positive pair. Cosine similarities are bounded, so the logarithm
//! of the sum of exponentials is taken relative to that bound, `1 / temperature`, and never overflows.

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::{mean_rows, paired_rows, partners, row_products, unit_rows};
use super::{ProjectionHead, Wired};
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    head: &ProjectionHead,
    temperature: f32,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let rows = paired_rows(graph, embedding, 2)?;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, embedding, rng)?;
    let z = unit_rows(graph, z)?;

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

    let partner = partners(graph, z)?;
    let positive = row_products(graph, z, partner)?;
    let positive = graph.offset(positive, -1.0)?;
    let positive = graph.mul(positive, sharpness)?;

    let each = graph.sub(log_total, positive)?;
    let loss = mean_rows(graph, each)?;
    Ok(Wired { scalars: vec![("temperature".into(), temperature)], ..Wired::new(loss, trained) })
}

fn tensor(values: &Array2<f32>) -> TractResult<Tensor> {
    let flat: Vec<f32> = values.iter().copied().collect();
    Tensor::from_shape(values.shape(), &flat)
}

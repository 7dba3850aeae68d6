//! Contrast of two kinds of sample (CLIP; Radford et al. 2021, figure 3): row `i` of the encoder's embedding
//! and row `i` of the second encoder's were made of one moment, and each has to find the other among all
//! rows of the batch. The loss is the mean of both directions' cross entropies.
//!
//! Cosine similarities are bounded, so the logarithm of a sum of exponentials is taken relative to that
//! bound, `1 / temperature`, and never overflows. The temperature is an input, where the paper trains it.

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::{hits, mean_rows, row_products, unit_rows};
use super::{MAX_ROWS, ProjectionHead, Student, Wired};
use crate::architecture::OUTPUT;
use crate::compile::{SECOND, Setting};
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    head: &ProjectionHead,
    temperature: f32,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let second = student.feature(&format!("{SECOND}.{OUTPUT}"))?;
    let rows = rows(graph, student.embedding, second)?;
    let mut trained = Trained::default();
    let first = trained.stack(graph, "head", student.embedding, head, 1, rng)?;
    let second = trained.stack(graph, "head.second", second, head, 1, rng)?;
    let (first, second) = (unit_rows(graph, first)?, unit_rows(graph, second)?);

    let tau = graph.source("temperature", &[])?;
    let tau = graph.lift_rank(tau, 2)?;
    let sharpness = graph.element(math::recip(), tau)?;
    let similarity = graph.einsum("ik,jk->ij", first, second)?;
    let below_bound = graph.offset(similarity, -1.0)?;
    let logits = graph.mul(below_bound, sharpness)?;
    let likelihood = graph.element(math::exp(), logits)?;
    let to_second = graph.sum(likelihood, &[1])?;
    let to_first = graph.sum(likelihood, &[0])?;
    let to_first = graph.reshape(to_first, &[rows, 1])?;
    let both = graph.mul(to_second, to_first)?;
    let log_totals = graph.element(math::ln(), both)?;
    let log_totals = graph.scale(log_totals, 0.5)?;

    let own = row_products(graph, first, second)?;
    let own = graph.offset(own, -1.0)?;
    let own = graph.mul(own, sharpness)?;
    let each = graph.sub(log_totals, own)?;
    let loss = mean_rows(graph, each)?;

    let partners = Array2::<f32>::eye(rows);
    let flat: Vec<f32> = partners.iter().copied().collect();
    let partners = graph.constant(Tensor::from_shape(&[rows, rows], &flat)?)?;
    let found = hits(graph, logits, partners)?;
    let metrics = vec![("accuracy".into(), mean_rows(graph, found)?)];
    let scalars = vec![("temperature".into(), temperature)];
    Ok(Wired { scalars, metrics, ..Wired::new(loss, trained) })
}

/// The rows of both embeddings.
fn rows(graph: &Graph, first: OutletId, second: OutletId) -> TractResult<usize> {
    let rows = graph.shape(first)?.first().copied().unwrap_or(0);
    Setting::range("the encoder's batch", rows, 2, MAX_ROWS).map_err(TractError::new)?;
    match *graph.shape(second)? {
        [found, _] if found == rows => Ok(rows),
        ref other => Err(TractError::new(Setting {
            setting: format!("the encoder's output `{SECOND}.{OUTPUT}`"),
            found: format!("of shape {other:?}"),
            wanted: format!("`[{rows}, dim]`, a row for each of the first encoder's"),
        })),
    }
}

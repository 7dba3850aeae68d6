//! MoCo v3 (Chen, Xie & He 2021, equation 1 and algorithm 1): what a predictor makes of a view's projection
//! finds, among the keys that a momentum encoder gives the other views of the batch, the one of its own
//! sample. There is no queue: the batch is large. Both directions are added, each `2 * temperature` times a
//! cross entropy.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::{halves, mean_rows, paired_rows, row_products, unit_rows};
use super::{ProjectionHead, Student, Wired};
use crate::compile::Teacher;
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    head: &ProjectionHead,
    predictor: usize,
    (temperature, ema): (f32, f32),
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    paired_rows(graph, student.embedding, 2)?;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, student.embedding, rng)?;
    let (teacher, taught) = Teacher::of(graph, z, student, &trained)?;
    let predicted = head.predict(graph, &mut trained, z, predictor, rng)?;
    let queries = unit_rows(graph, predicted)?;
    let keys = unit_rows(graph, taught)?;

    let tau = graph.source("temperature", &[])?;
    let tau = graph.lift_rank(tau, 2)?;
    let sharpness = graph.element(math::recip(), tau)?;
    let (queries, keys) = (halves(graph, queries)?, halves(graph, keys)?);
    let first = surprise(graph, queries[0], keys[1], sharpness)?;
    let second = surprise(graph, queries[1], keys[0], sharpness)?;
    let both = graph.add(first, second)?;
    let both = graph.scale(both, 2.0)?;
    let loss = graph.mul(both, tau)?;
    Ok(Wired {
        scalars: vec![("temperature".into(), temperature), ("ema".into(), ema)],
        teacher: Some(teacher),
        ..Wired::new(loss, trained)
    })
}

/// Mean cross entropy of finding, for each query, the key of the same row among all `keys`. Cosines are at
/// most one; relative to that bound no exponential overflows.
pub(super) fn surprise(
    graph: &mut Graph,
    queries: OutletId,
    keys: OutletId,
    sharpness: OutletId,
) -> TractResult<OutletId> {
    let logits = |graph: &mut Graph, cosine: OutletId| {
        let below_bound = graph.offset(cosine, -1.0)?;
        graph.mul(below_bound, sharpness)
    };
    let all = graph.einsum("ik,jk->ij", queries, keys)?;
    let all = logits(graph, all)?;
    let likelihood = graph.element(math::exp(), all)?;
    let total = graph.sum(likelihood, &[1])?;
    let log_total = graph.element(math::ln(), total)?;
    let own = row_products(graph, queries, keys)?;
    let own = logits(graph, own)?;
    let each = graph.sub(log_total, own)?;
    mean_rows(graph, each)
}

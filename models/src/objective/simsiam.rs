//! SimSiam (Chen & He 2021, equations 1 to 3): the negative cosine between what a predictor makes of one
//! view's projection and the other's projection, which counts as a constant. Both directions, averaged.
//!
//! The paper's heads have batch norms; so has a head here that asks for them ([`super::HeadNorm`]), and the
//! predictor with it. On a board they are left out: its batches are too small.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;

use super::head::Trained;
use super::rows::{mean_rows, paired_rows, partners, row_products, unit_rows};
use super::{ProjectionHead, Wired};
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    head: &ProjectionHead,
    predictor: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    paired_rows(graph, embedding, 1)?;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, embedding, rng)?;
    let target = unit_rows(graph, z)?;
    let target = graph.detach(target);
    let target = partners(graph, target)?;
    let predicted = head.predict(graph, &mut trained, z, predictor, rng)?;
    let predicted = unit_rows(graph, predicted)?;
    let cosine = row_products(graph, predicted, target)?;
    let mean = mean_rows(graph, cosine)?;
    let loss = graph.scale(mean, -1.0)?;
    Ok(Wired::new(loss, trained))
}

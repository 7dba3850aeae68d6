//! Bootstrap your own latent (BYOL; Grill et al. 2020, equations 1 to 3): the squared distance between
//! what a predictor makes of one view's projection and the projection that the teacher gives the other
//! view, both of length one; the two directions added. The teacher is a running mean of the weights.
//!
//! The paper's heads have batch norms; so has a head here that asks for them ([`super::HeadNorm`]), and the
//! predictor with it. On a board they are left out: its batches are too small.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;

use super::head::Trained;
use super::rows::{half_squared_distance, paired_rows, partners};
use super::{ProjectionHead, Student, Wired};
use crate::compile::Teacher;
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    head: &ProjectionHead,
    predictor: usize,
    ema: f32,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    paired_rows(graph, student.embedding, 1)?;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, student.embedding, rng)?;
    let (teacher, taught) = Teacher::of(graph, z, student, &trained)?;
    let predicted = head.predict(graph, &mut trained, z, predictor, rng)?;
    let target = partners(graph, taught)?;
    // The mean over all rows counts each direction half, and the distance is halved: four times it is
    // the sum of both directions' means.
    let distance = half_squared_distance(graph, predicted, target)?;
    let loss = graph.scale(distance, 4.0)?;
    Ok(Wired { scalars: vec![("ema".into(), ema)], teacher: Some(teacher), ..Wired::new(loss, trained) })
}

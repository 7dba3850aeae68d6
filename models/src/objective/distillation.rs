//! Knowledge of a larger encoder: a head on the student's embedding predicts the embedding that the teacher
//! gives the same view, half the squared distance apart (Romero et al. 2015, equation 3), with both scaled to
//! length one as for encoders trained without labels, whose embeddings mean something by their direction alone
//! (Navaneet et al. 2021, section 3). The teacher runs outside the step; what it gave is the input [`TAUGHT`].

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;

use super::head::Trained;
use super::rows::half_squared_distance;
use super::{ProjectionHead, Student, Wired};
use crate::graph::Graph;
use crate::step::InputTensor;

/// Name of the input that holds the teacher's embeddings, `[batch, head.out]`.
const TAUGHT: &str = "taught";

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    head: &ProjectionHead,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let rows = graph.shape(student.embedding)?.first().copied().unwrap_or(0);
    let mut trained = Trained::default();
    let predicted = trained.stack(graph, "head", student.embedding, head, 1, rng)?;
    let taught = graph.source(TAUGHT, &[rows, head.out])?;
    let loss = half_squared_distance(graph, predicted, taught)?;
    let inputs = vec![InputTensor { name: TAUGHT.into(), shape: vec![rows, head.out] }];
    Ok(Wired { inputs, ..Wired::new(loss, trained) })
}

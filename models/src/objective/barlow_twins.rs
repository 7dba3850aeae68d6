//! Barlow Twins (Zbontar et al. 2021, equations 1 and 2): the correlations between the features of one
//! view and those of the other are drawn to the identity. Ones on the diagonal make views agree, zeros
//! beside it make features independent.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::{TINY, centred, halves, paired_rows};
use super::{ProjectionHead, Wired};
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    embedding: OutletId,
    head: &ProjectionHead,
    redundancy: f32,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    paired_rows(graph, embedding, 2)?;
    let mut trained = Trained::default();
    let z = head.wire(graph, &mut trained, embedding, rng)?;
    let [first, second] = halves(graph, z)?;
    let (first, second) = (unit_columns(graph, first)?, unit_columns(graph, second)?);

    let correlation = graph.einsum("ni,nj->ij", first, second)?;
    let squares = graph.mul(correlation, correlation)?;
    let all = graph.sum(squares, &[0, 1])?;
    let diagonal = graph.mul(first, second)?;
    let diagonal = graph.sum(diagonal, &[0])?;
    let squares = graph.mul(diagonal, diagonal)?;
    let own = graph.sum(squares, &[1])?;
    let redundant = graph.sub(all, own)?;
    let redundant = graph.scale(redundant, redundancy)?;

    let short = graph.offset(diagonal, -1.0)?;
    let squares = graph.mul(short, short)?;
    let invariance = graph.sum(squares, &[1])?;
    let loss = graph.add(invariance, redundant)?;
    Ok(Wired::new(loss, trained))
}

/// Columns with their mean taken off, scaled to length one: products of them are correlations.
fn unit_columns(graph: &mut Graph, z: OutletId) -> TractResult<OutletId> {
    let centred = centred(graph, z)?;
    let square = graph.mul(centred, centred)?;
    let length = graph.sum(square, &[0])?;
    let length = graph.offset(length, TINY)?;
    let inverse = graph.element(math::rsqrt(), length)?;
    graph.mul(centred, inverse)
}

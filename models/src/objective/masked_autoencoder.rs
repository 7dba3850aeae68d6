//! The masked autoencoder (He et al. 2022, section 3). The encoder sees only the patches that the step's
//! input `keep` keeps; a small transformer sees their tokens, in their places among copies of a trained mask
//! token, and rebuilds the patches that were not kept. The loss is the mean squared error of those.
//!
//! `keep` `[batch, visible, n]` holds a one in each row: row `v` of a sample says which of its `n` patches is
//! the `v`th that the encoder sees. It is an input of the encoder, which multiplies its patches by it; here its
//! transpose scatters the tokens back. So masks are drawn outside, and a step stays a pure function.
//!
//! What is to be rebuilt are the views themselves, cut into patches in the graph: an encoder that is given
//! `keep` is given whole samples, and a second copy of them would cost more to hand over than to cut.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::cells::Cells;
use super::head::Trained;
use super::transformer::{Transformer, dense, positions};
use super::{Student, Wired};
use crate::architecture::Initial;
use crate::compile::Setting;
use crate::graph::Graph;

/// Added to the variance of a patch before its root, as in the paper's code.
const EPSILON: f32 = 1e-6;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    decoder: &Transformer,
    normalised: bool,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let keep = student.given("keep")?;
    let (tokens, [rows, visible, _]) = student.tokens(graph)?;
    let shape = graph.shape(keep)?;
    let count = match *shape {
        [batch, kept, count] if (batch, kept) == (rows, visible) => count,
        _ => return Err(TractError::new(misfit(&shape, rows, visible))),
    };
    let cells = Cells::of(student.views.get(1..).unwrap_or_default(), count).map_err(TractError::new)?;
    let mut trained = Trained::default();

    let seen = dense(graph, &mut trained, "head.decoder.embed", tokens, decoder.width, rng)?;
    let seen = graph.einsum("bvn,bvd->bnd", keep, seen)?;
    let hidden = hidden(graph, keep)?;
    let mask_token = "head.decoder.mask_token".to_string();
    let mask_token = trained.weight(graph, mask_token, &[decoder.width], Initial::He, rng)?;
    let mask_token = graph.lift_rank(mask_token, 3)?;
    let unseen = graph.mul(hidden, mask_token)?;
    let places = positions(graph, &cells.grid, decoder.width)?;
    let placed = graph.add(unseen, places)?;
    let x = graph.add(seen, placed)?;
    let x = decoder.wire(graph, &mut trained, "head.decoder", x, false, rng)?;
    let rebuilt = dense(graph, &mut trained, "head.decoder.predict", x, cells.values(), rng)?;

    let mut targets = cells.cut(graph, student.input)?;
    if normalised {
        targets = normalise(graph, targets, cells.values())?;
    }
    let error = graph.sub(rebuilt, targets)?;
    let square = graph.mul(error, error)?;
    let each = graph.sum(square, &[2])?;
    let each = graph.mul(each, hidden)?;
    let total = graph.sum(each, &[0, 1])?;
    // Every sample keeps as many patches, so as many are hidden.
    let masked = (rows * (count - visible.min(count)) * cells.values()).max(1);
    let loss = graph.scale(total, 1.0 / masked as f32)?;
    Ok(Wired::new(graph.reshape(loss, &[1, 1])?, trained))
}

fn misfit(keep: &[usize], rows: usize, visible: usize) -> Setting {
    Setting {
        setting: "the encoder's input `keep`".into(),
        found: format!("of shape {keep:?} beside {visible} tokens of {rows} samples"),
        wanted: "`[batch, visible, patches]`, with a row for every token that the encoder gives".into(),
    }
}

/// One for each patch that is not kept, `[batch, n, 1]`.
fn hidden(graph: &mut Graph, keep: OutletId) -> TractResult<OutletId> {
    let shape = graph.shape(keep)?;
    let kept = graph.sum(keep, &[1])?;
    let kept = graph.reshape(kept, &[shape[0], shape[2], 1])?;
    let one = graph.scalar(1.0, 3)?;
    graph.sub(one, kept)
}

/// Each patch less its mean and over its deviation, the unbiased one.
fn normalise(graph: &mut Graph, patches: OutletId, values: usize) -> TractResult<OutletId> {
    let total = graph.sum(patches, &[2])?;
    let mean = graph.scale(total, 1.0 / values as f32)?;
    let centred = graph.sub(patches, mean)?;
    let square = graph.mul(centred, centred)?;
    let total = graph.sum(square, &[2])?;
    let variance = graph.scale(total, 1.0 / (values.max(2) - 1) as f32)?;
    let steadied = graph.offset(variance, EPSILON)?;
    let inverse = graph.element(math::rsqrt(), steadied)?;
    graph.mul(centred, inverse)
}

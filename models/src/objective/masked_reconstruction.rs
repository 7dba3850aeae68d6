//! Masked reconstruction: the views are samples with parts taken out, a light decoder rebuilds the whole, and
//! the error counts where `mask` is one. `targets` and `mask` have the views' shape. With a mask of ones and
//! views that are noisy, it is a denoising autoencoder (Vincent et al. 2008).
//!
//! Rebuilding all of a sample from its embedding asks for an embedding that holds it (as in an
//! autoencoder). Rebuilding each cell of a sample from the token in its place is masked image modelling
//! (SimMIM; Xie et al. 2022, equation 1), which works for any encoder that has tokens, and for sensor
//! windows, whose cells are spans of time. The paper paints masked patches with a trained value; here the
//! caller paints them with zeros, the mean of normalised samples, because a stranger's encoder has no place
//! in front of it where such a value could be kept and exported.
//!
//! The error is averaged over a sample's masked values, then over samples. Where every sample masks as
//! many values, as in the papers, that is the mean over all masked values.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::cells::Cells;
use super::head::Trained;
use super::rows::mean_rows;
use super::{MAX_WIDTH, Student, Wired};
use crate::compile::Setting;
use crate::graph::Graph;
use crate::step::InputTensor;

/// How far a rebuilt value is from what it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Distance {
    /// The square of the difference (He et al. 2022).
    #[default]
    Squared,
    /// Its magnitude (Xie et al. 2022).
    Absolute,
}

/// Rebuilds the whole of a sample from its embedding.
pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    decoder: Option<usize>,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let rows = graph.shape(student.embedding)?[0];
    let values: usize = student.views.iter().skip(1).product();
    Setting::range("values of one sample", values, 1, 4 * MAX_WIDTH).map_err(TractError::new)?;
    let mut trained = Trained::default();
    let rebuilt = decoded(graph, &mut trained, student.embedding, decoder, values, rng)?;
    let given = given(graph, student, |graph, whole| graph.reshape(whole, &[rows, values]))?;
    let loss = masked_mean(graph, rebuilt, given, Distance::Squared)?;
    Ok(Wired { inputs: inputs(student), ..Wired::new(loss, trained) })
}

/// Rebuilds every cell from its token.
pub(super) fn wire_cells(
    graph: &mut Graph,
    student: &Student<'_>,
    decoder: Option<usize>,
    distance: Distance,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let (tokens, [rows, count, width]) = student.tokens(graph)?;
    let cells = Cells::of(student.views.get(1..).unwrap_or_default(), count).map_err(TractError::new)?;
    let mut trained = Trained::default();
    let tokens = graph.reshape(tokens, &[rows * count, width])?;
    let rebuilt = decoded(graph, &mut trained, tokens, decoder, cells.values(), rng)?;
    // The targets are cut into cells, not the cells put together: what is given needs no gradient.
    let rebuilt = graph.reshape(rebuilt, &[rows, count * cells.values()])?;
    let given = given(graph, student, |graph, whole| {
        let cut = cells.cut(graph, whole)?;
        graph.reshape(cut, &[rows, count * cells.values()])
    })?;
    let loss = masked_mean(graph, rebuilt, given, distance)?;
    Ok(Wired { inputs: inputs(student), ..Wired::new(loss, trained) })
}

fn decoded(
    graph: &mut Graph,
    trained: &mut Trained,
    x: OutletId,
    hidden: Option<usize>,
    values: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<OutletId> {
    match hidden {
        Some(hidden) => trained.layers(graph, "head.decoder", x, [hidden, values], rng),
        None => trained.linear(graph, "head.decoder", x, values, rng),
    }
}

/// `targets` and `mask` as rows.
fn given(
    graph: &mut Graph,
    student: &Student<'_>,
    as_rows: impl Fn(&mut Graph, OutletId) -> TractResult<OutletId>,
) -> TractResult<[OutletId; 2]> {
    let mut input = |name| {
        let whole = graph.source(name, student.views)?;
        as_rows(graph, whole)
    };
    Ok([input("targets")?, input("mask")?])
}

fn inputs(student: &Student<'_>) -> Vec<InputTensor> {
    ["targets", "mask"].map(|name| InputTensor { name: name.into(), shape: student.views.into() }).into()
}

/// The mean over the rows of each row's mean error where the mask is one.
fn masked_mean(
    graph: &mut Graph,
    rebuilt: OutletId,
    [targets, mask]: [OutletId; 2],
    distance: Distance,
) -> TractResult<OutletId> {
    let error = graph.sub(rebuilt, targets)?;
    let size = match distance {
        Distance::Squared => graph.mul(error, error)?,
        Distance::Absolute => graph.element(math::abs(), error)?,
    };
    let masked = graph.mul(size, mask)?;
    let masked = graph.sum(masked, &[1])?;
    // A sample without a masked value has no error, whatever it is divided by.
    let count = graph.sum(mask, &[1])?;
    let one = graph.scalar(1.0, 2)?;
    let count = graph.binary(math::max(), count, one)?;
    let each = graph.div(masked, count)?;
    mean_rows(graph, each)
}

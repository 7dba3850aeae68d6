//! Masked reconstruction (He et al. 2022, section 3; Xie et al. 2022, equation 1): the views are samples
//! with parts taken out, a light decoder rebuilds the whole from the embedding, and the squared error
//! counts where `mask` is one. `targets` and `mask` have the views' shape.
//!
//! The error is averaged over a sample's masked values, then over samples. Where every sample masks as
//! many values, as in both papers, that is the mean over all masked values.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::mean_rows;
use super::{MAX_WIDTH, Student, Wired};
use crate::compile::Setting;
use crate::graph::Graph;
use crate::step::InputTensor;

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
    let rebuilt = match decoder {
        Some(hidden) => trained.layers(graph, "head.decoder", student.embedding, [hidden, values], rng)?,
        None => trained.linear(graph, "head.decoder", student.embedding, values, rng)?,
    };
    let input = |graph: &mut Graph, name| {
        let given = graph.source(name, student.views)?;
        graph.reshape(given, &[rows, values])
    };
    let targets = input(graph, "targets")?;
    let mask = input(graph, "mask")?;
    let error = graph.sub(rebuilt, targets)?;
    let square = graph.mul(error, error)?;
    let masked = graph.mul(square, mask)?;
    let masked = graph.sum(masked, &[1])?;
    // A sample without a masked value has no error, whatever it is divided by.
    let count = graph.sum(mask, &[1])?;
    let one = graph.scalar(1.0, 2)?;
    let count = graph.binary(math::max(), count, one)?;
    let each = graph.div(masked, count)?;
    let loss = mean_rows(graph, each)?;
    let inputs =
        ["targets", "mask"].map(|name| InputTensor { name: name.into(), shape: student.views.into() });
    Ok(Wired { inputs: inputs.into(), ..Wired::new(loss, trained) })
}

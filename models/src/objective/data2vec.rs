//! Prediction of a teacher's latents (data2vec; Baevski et al. 2022, sections 3.2 to 3.4): the student sees a
//! sample with parts masked out, the teacher, a running mean of its weights, the whole sample. At masked
//! places a linear layer on the student's tokens predicts the mean of the teacher's top layers, each layer
//! normalised without scale and shift. Encoders without layers are taught by their tokens. It is one code
//! path for every modality: only what a token is differs.
//!
//! The error is averaged over a sample's masked tokens, then over samples, which is the paper's mean where
//! every sample masks as many.

use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::head::Trained;
use super::rows::mean_rows;
use super::{Student, Wired};
use crate::compile::{Setting, Teacher};
use crate::fused::{Call, LayerNorm};
use crate::graph::Graph;
use crate::step::InputTensor;

/// Added to the variance of a teacher's token, as PyTorch's layer norm does.
const EPSILON: f32 = 1e-5;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    (layers, beta): (usize, f32),
    ema: f32,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let tokens = student.feature("tokens")?;
    let (rows, places, channels) = three(graph, tokens)?;
    let taught = top_layers(student, layers)?;
    let whole = graph.source("whole", student.views)?;
    let (teacher, taught) =
        Teacher::of_inputs(graph, &taught, student, &Trained::default(), &[(student.input, whole)])?;
    let targets = targets(graph, &taught)?;
    let (_, target_places, width) = three(graph, targets)?;
    if target_places != places {
        return Err(TractError::new(Setting {
            setting: "tokens of the encoder's layers".into(),
            found: target_places.to_string(),
            wanted: format!("{places}, as many as its output `tokens` has"),
        }));
    }

    let mut trained = Trained::default();
    let flat = graph.reshape(tokens, &[rows * places, channels])?;
    let predicted = trained.linear(graph, "head.predictor", flat, width, rng)?;
    let expected = graph.reshape(targets, &[rows * places, width])?;
    let expected = graph.detach(expected);
    let mask = graph.source("mask", &[rows, places, 1])?;
    let loss = masked_error(graph, [predicted, expected], mask, beta)?;
    let inputs = vec![
        InputTensor { name: "whole".into(), shape: student.views.to_vec() },
        InputTensor { name: "mask".into(), shape: vec![rows, places, 1] },
    ];
    let spread = deviation(graph, expected)?;
    Ok(Wired {
        inputs,
        scalars: vec![("ema".into(), ema)],
        teacher: Some(teacher),
        metrics: vec![("target_spread".into(), spread)],
        ..Wired::new(loss, trained)
    })
}

/// The last `count` outputs `layers.<i>`, fewer where there are fewer, or `tokens` where there are none.
fn top_layers(student: &Student<'_>, count: usize) -> TractResult<Vec<OutletId>> {
    let number = |name: &str| name.strip_prefix("layers.").and_then(|i| i.parse::<usize>().ok());
    let mut layers: Vec<(usize, OutletId)> =
        student.features.iter().filter_map(|(name, outlet)| Some((number(name)?, *outlet))).collect();
    layers.sort_unstable_by_key(|(i, _)| std::cmp::Reverse(*i));
    if layers.is_empty() {
        return Ok(vec![student.feature("tokens")?]);
    }
    Ok(layers.into_iter().take(count).map(|(_, outlet)| outlet).collect())
}

/// The mean over `layers`, each normalised over the channels of a token.
fn targets(graph: &mut Graph, layers: &[OutletId]) -> TractResult<OutletId> {
    let mut total = None;
    for &layer in layers {
        let shape = graph.shape(layer)?.to_vec();
        let norm = LayerNorm { shape, epsilon: EPSILON, affine: false };
        let outputs = graph.call(Call::LayerNorm(norm), &[layer])?;
        let normal = *outputs.first().context("a layer norm without output")?;
        total = Some(match total {
            Some(total) => graph.add(total, normal)?,
            None => normal,
        });
    }
    graph.scale(total.context("a teacher without layers")?, 1.0 / layers.len() as f32)
}

/// `d^2 / (2 beta)` where the difference `d` is at most `beta`, else `|d| - beta / 2` (equation 4), averaged over
/// channels, then over the places of a sample where `mask` is one, then over samples.
fn masked_error(
    graph: &mut Graph,
    [predicted, expected]: [OutletId; 2],
    mask: OutletId,
    beta: f32,
) -> TractResult<OutletId> {
    let (rows, places, _) = three(graph, mask)?;
    let difference = graph.sub(predicted, expected)?;
    let size = graph.element(math::abs(), difference)?;
    let bound = graph.scalar(beta, 2)?;
    let small = graph.binary(math::min(), size, bound)?;
    let square = graph.mul(small, small)?;
    let square = graph.scale(square, 0.5 / beta)?;
    let beyond = graph.sub(size, small)?;
    let error = graph.add(square, beyond)?;
    let channels = graph.shape(error)?[1] as f32;
    let error = graph.sum(error, &[1])?;
    let error = graph.scale(error, 1.0 / channels)?;
    let error = graph.reshape(error, &[rows, places])?;
    let mask = graph.reshape(mask, &[rows, places])?;
    let masked = graph.mul(error, mask)?;
    let masked = graph.sum(masked, &[1])?;
    // A sample without a masked token has no error, whatever it is divided by.
    let count = graph.sum(mask, &[1])?;
    let one = graph.scalar(1.0, 2)?;
    let count = graph.binary(math::max(), count, one)?;
    let each = graph.div(masked, count)?;
    mean_rows(graph, each)
}

/// Root of the variance of each channel over all tokens of the batch, averaged over channels: zero when the
/// teacher says the same of everything, which is collapse.
fn deviation(graph: &mut Graph, flat: OutletId) -> TractResult<OutletId> {
    let width = graph.shape(flat)?[1] as f32;
    let centred = super::rows::centred(graph, flat)?;
    let square = graph.mul(centred, centred)?;
    let variance = mean_rows(graph, square)?;
    let deviation = graph.element(math::sqrt(), variance)?;
    let total = graph.sum(deviation, &[1])?;
    graph.scale(total, 1.0 / width)
}

fn three(graph: &Graph, tokens: OutletId) -> TractResult<(usize, usize, usize)> {
    match *graph.shape(tokens)? {
        [rows, places, channels] => Ok((rows, places, channels)),
        ref other => bail!("tokens are [batch, tokens, channels], not {other:?}"),
    }
}

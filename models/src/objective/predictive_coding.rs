//! Contrastive predictive coding (van den Oord et al. 2018). Of a sample's tokens along time `z_t`, a
//! causal network gathers the past into contexts `c_t`; for each of the next steps `k` a linear map `W_k`
//! predicts `z_(t + k)` from `c_t`, and the loss is InfoNCE (equation 4) with the score of equation 3, the
//! logarithm of which is `z' W_k c`.
//!
//! The network is a causal transformer rather than the paper's recurrent one: its steps are computed all at
//! once, where a recurrence would be a chain of small nodes as long as the window. Causal convolutions (Schneider
//! et al. 2019) would serve as well; attention sees the whole past at any depth.
//!
//! Negatives are of two kinds, as in the paper's table 2: the tokens of all other samples at the time that is
//! predicted, which take telling samples apart, and the sample's own tokens at all other times, which take
//! telling times apart. A prediction is scored against `batch + n - 1` tokens, not against all `batch * n`.

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::head::{Trained, check_values};
use super::rows::mean_rows;
use super::transformer::{Transformer, dense, positions};
use super::{MAX_ROWS, Student, Wired};
use crate::architecture::Initial;
use crate::compile::Setting;
use crate::graph::Graph;

pub(super) fn wire(
    graph: &mut Graph,
    student: &Student<'_>,
    context: &Transformer,
    steps: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<Wired> {
    let (tokens, [rows, count, width]) = student.tokens(graph)?;
    Setting::range("the encoder's batch", rows, 2, MAX_ROWS).map_err(TractError::new)?;
    Setting::range("tokens of a sample", count, 2, MAX_ROWS).map_err(TractError::new)?;
    Setting::range("steps", steps, 1, count - 1).map_err(TractError::new)?;
    check_values("scores of one step", &[rows, count, rows + count])?;
    let mut trained = Trained::default();
    let x = dense(graph, &mut trained, "head.context.embed", tokens, context.width, rng)?;
    let places = positions(graph, &[count], context.width)?;
    let x = graph.add(x, places)?;
    let contexts = context.wire(graph, &mut trained, "head.context", x, true, rng)?;

    let (mut losses, mut hits) = (vec![], vec![]);
    for ahead in 1..=steps {
        let name = format!("head.ahead.{ahead}.weight");
        let map = trained.weight(graph, name, &[width, context.width], Initial::He, rng)?;
        let before = graph.slice(contexts, 1, 0, count - ahead)?;
        let predicted = graph.einsum("btc,dc->btd", before, map)?;
        let (loss, hit) = info_nce(graph, predicted, tokens, ahead)?;
        losses.push(loss);
        hits.push(hit);
    }
    let mut mean = |parts: &[OutletId]| {
        let all = graph.concat(0, parts)?;
        mean_rows(graph, all)
    };
    let (loss, accuracy) = (mean(&losses)?, mean(&hits)?);
    Ok(Wired { metrics: vec![("accuracy".into(), accuracy)], ..Wired::new(loss, trained) })
}

/// The mean over samples and times of the surprise that the token `ahead` of each time is the predicted one, and
/// how often it has the highest score; `[1, 1]` each.
fn info_nce(
    graph: &mut Graph,
    predicted: OutletId,
    tokens: OutletId,
    ahead: usize,
) -> TractResult<(OutletId, OutletId)> {
    let [rows, count] = [0, 1].map(|axis| graph.shape(tokens).map(|shape| shape[axis]));
    let (rows, count) = (rows?, count?);
    let times = count - ahead;
    let after = graph.slice(tokens, 1, ahead, count)?;
    let own = graph.mul(predicted, after)?;
    let own = graph.sum(own, &[2])?;
    let own = graph.reshape(own, &[rows, times])?;

    let samples = graph.einsum("btd,ctd->btc", predicted, after)?;
    let moments = graph.einsum("btd,bud->btu", predicted, tokens)?;
    // Only steadies the exponential, so no gradient flows through it.
    let [highest, latest] = [graph.max(samples, 2)?, graph.max(moments, 2)?];
    let top = graph.binary(math::max(), highest, latest)?;
    let top = graph.detach(top);
    // The predicted token itself is among the samples; among the moments it is left out.
    let others = Array2::from_shape_fn((times, count), |(t, u)| if u == t + ahead { 0f32 } else { 1.0 });
    let others = Tensor::from_shape(&[1, times, count], &others.into_raw_vec_and_offset().0)?;
    let others = graph.constant(others)?;
    let mut total = |scores: OutletId, counted: Option<OutletId>| {
        let below = graph.sub(scores, top)?;
        let mut likelihood = graph.element(math::exp(), below)?;
        if let Some(counted) = counted {
            likelihood = graph.mul(likelihood, counted)?;
        }
        graph.sum(likelihood, &[2])
    };
    let (by_sample, by_moment) = (total(samples, None)?, total(moments, Some(others))?);
    let total = graph.add(by_sample, by_moment)?;
    let total = graph.reshape(total, &[rows, times])?;
    let top = graph.reshape(top, &[rows, times])?;
    let log_total = graph.element(math::ln(), total)?;
    let margin = graph.sub(top, own)?;
    let each = graph.add(log_total, margin)?;
    // A score within rounding of the highest is the highest.
    let size = graph.element(math::abs(), top)?;
    let slack = graph.scale(size, 1e-5)?;
    let miss = graph.sub(margin, slack)?;
    let miss = graph.step(miss)?;
    let one = graph.scalar(1.0, 2)?;
    let hit = graph.sub(one, miss)?;
    let mut mean = |all: OutletId| {
        let total = graph.sum(all, &[0, 1])?;
        graph.scale(total, 1.0 / (rows * times) as f32)
    };
    Ok((mean(each)?, mean(hit)?))
}

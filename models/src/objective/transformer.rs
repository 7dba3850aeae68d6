//! A small transformer on top of tokens: the decoder of a masked autoencoder, and the network that gathers
//! the past for predictive coding. Pre-norm blocks (Vaswani et al. 2017; Xiong et al. 2020): `x` plus
//! attention of its layer norm, then plus two layers of its layer norm with a Gaussian error linear unit
//! between, four times as wide.
//!
//! Queries, keys and values are three layers and heads stay between tokens and width, so that nothing is cut
//! or transposed: every product reads its operands in place.

use ndarray::{Array2, Array3};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::gelu_exact::gelu_exact;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};

use super::head::Trained;
use super::{MAX_ROWS, MAX_WIDTH};
use crate::architecture::Initial;
use crate::compile::Setting;
use crate::fused::{Call, LayerNorm};
use crate::graph::Graph;

/// Added to a variance before its root.
const EPSILON: f32 = 1e-6;
/// The hidden layer of a block over its width.
const EXPANSION: usize = 4;
/// Most blocks: each holds activations of its own.
const MAX_DEPTH: usize = 64;
/// Added to the score of a place that may not be looked at. Its share is zero in single precision.
const UNSEEN: f32 = -1e9;

/// The numbers of a small transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transformer {
    /// Values of a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of attention; they share the width.
    pub heads: usize,
}

impl Transformer {
    pub(super) fn check(&self, name: &str) -> Result<(), Setting> {
        let Self { width, depth, heads } = *self;
        Setting::range(&format!("{name}.width"), width, 1, MAX_WIDTH)?;
        Setting::range(&format!("{name}.depth"), depth, 1, MAX_DEPTH)?;
        Setting::range(&format!("{name}.heads"), heads, 1, width)?;
        if !width.is_multiple_of(4 * heads) {
            return Err(Setting {
                setting: format!("{name}.width"),
                found: width.to_string(),
                // Four, because positions have sines and cosines along two axes.
                wanted: format!("a multiple of {}, four times the heads", 4 * heads),
            });
        }
        Ok(())
    }

    /// `x` `[batch, n, width]` after all blocks and a last layer norm. A `causal` one lets no token look at
    /// those after it.
    pub(super) fn wire(
        &self,
        graph: &mut Graph,
        trained: &mut Trained,
        name: &str,
        mut x: OutletId,
        causal: bool,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let count = graph.shape(x)?[1];
        Setting::range("tokens of a sample", count, 1, MAX_ROWS).map_err(TractError::new)?;
        let unseen = if causal { Some(unseen(graph, count)?) } else { None };
        for i in 0..self.depth {
            let name = format!("{name}.blocks.{i}");
            let seen = layer_norm(graph, trained, &format!("{name}.norm1"), x, rng)?;
            let told = self.attention(graph, trained, &format!("{name}.attn"), (seen, unseen), rng)?;
            x = graph.add(x, told)?;
            let seen = layer_norm(graph, trained, &format!("{name}.norm2"), x, rng)?;
            let hidden = EXPANSION * self.width;
            let hidden = dense(graph, trained, &format!("{name}.mlp.fc1"), seen, hidden, rng)?;
            let active = graph.element(gelu_exact(), hidden)?;
            let told = dense(graph, trained, &format!("{name}.mlp.fc2"), active, self.width, rng)?;
            x = graph.add(x, told)?;
        }
        layer_norm(graph, trained, &format!("{name}.norm"), x, rng)
    }

    /// Scaled dot-product attention (Vaswani et al. 2017, equation 1).
    fn attention(
        &self,
        graph: &mut Graph,
        trained: &mut Trained,
        name: &str,
        (x, unseen): (OutletId, Option<OutletId>),
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let shape = graph.shape(x)?;
        let each = self.width / self.heads;
        let split = [shape[0], shape[1], self.heads, each];
        let mut of = |graph: &mut Graph, part: &str| {
            let y = dense(graph, trained, &format!("{name}.{part}"), x, self.width, rng)?;
            graph.reshape(y, &split)
        };
        let (query, key, value) = (of(graph, "q")?, of(graph, "k")?, of(graph, "v")?);
        let scores = graph.einsum("bnhd,bmhd->bhnm", query, key)?;
        let mut scores = graph.scale(scores, 1.0 / (each as f32).sqrt())?;
        if let Some(unseen) = unseen {
            scores = graph.add(scores, unseen)?;
        }
        let softmax = Softmax { axes: tvec!(3), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let shares = graph.node(softmax, &[scores])?;
        let told = graph.einsum("bhnm,bmhd->bnhd", shares, value)?;
        let told = graph.reshape(told, &shape)?;
        dense(graph, trained, &format!("{name}.proj"), told, self.width, rng)
    }
}

/// `[1, 1, n, n]`: nothing for a place and those before it, [`UNSEEN`] for those after it.
fn unseen(graph: &mut Graph, count: usize) -> TractResult<OutletId> {
    let later = Array2::from_shape_fn((count, count), |(i, j)| if j > i { UNSEEN } else { 0.0 });
    let later = graph.constant(Tensor::from_shape(&[count, count], &later.into_raw_vec_and_offset().0)?)?;
    graph.lift_rank(later, 4)
}

/// A linear layer of every token of `[batch, n, in]`.
pub(super) fn dense(
    graph: &mut Graph,
    trained: &mut Trained,
    name: &str,
    x: OutletId,
    out: usize,
    rng: &mut ChaCha8Rng,
) -> TractResult<OutletId> {
    let shape = graph.shape(x)?;
    let rows = graph.reshape(x, &[shape[0] * shape[1], shape[2]])?;
    let y = trained.linear(graph, name, rows, out, rng)?;
    graph.reshape(y, &[shape[0], shape[1], out])
}

fn layer_norm(
    graph: &mut Graph,
    trained: &mut Trained,
    name: &str,
    x: OutletId,
    rng: &mut ChaCha8Rng,
) -> TractResult<OutletId> {
    let shape = graph.shape(x)?.to_vec();
    let width = [shape.last().copied().unwrap_or(0)];
    let scale = trained.weight(graph, format!("{name}.weight"), &width, Initial::Constant(1.0), rng)?;
    let shift = trained.weight(graph, format!("{name}.bias"), &width, Initial::Constant(0.0), rng)?;
    let norm = Call::LayerNorm(LayerNorm { shape, epsilon: EPSILON, affine: true });
    Ok(graph.call(norm, &[x, scale, shift])?[0])
}

/// Fixed positions on `grid`, `[1, n, width]`: the width in equal parts for each axis, each half sines and
/// half cosines of the place times falling frequencies (Vaswani et al. 2017, section 3.5; over two axes as in
/// He et al. 2022, appendix A.1, whose code has the columns first).
pub(super) fn positions(graph: &mut Graph, grid: &[usize], width: usize) -> TractResult<OutletId> {
    let count = grid.iter().product();
    let axes = grid.len().max(1);
    let half = width / (2 * axes);
    let place = |at: usize, axis: usize| {
        let inner: usize = grid.iter().skip(axis + 1).product();
        (at / inner.max(1)) % grid.get(axis).copied().unwrap_or(1).max(1)
    };
    let values = Array3::from_shape_fn((1, count, width), |(_, at, column)| {
        let part = (column / (2 * half)).min(axes - 1);
        let within = column - part * 2 * half;
        let frequency = 1.0 / 10_000f64.powf((within % half) as f64 / half as f64);
        let angle = place(at, axes - 1 - part) as f64 * frequency;
        (if within < half { angle.sin() } else { angle.cos() }) as f32
    });
    graph.constant(Tensor::from_shape(&[1, count, width], &values.into_raw_vec_and_offset().0)?)
}

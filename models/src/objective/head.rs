//! Linear layers, and the projection head and predictor made of them.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::MAX_VALUES;
use crate::architecture::{BATCH_NORM_EPSILON, Initial};
use crate::compile::Setting;
use crate::fused::{BatchNorm, Call, Clip};
use crate::graph::Graph;
use crate::tensors::Tensors;

/// Linear layers with a rectifier between (Chen et al. 2020, section 2.1). The loss sees its output,
/// downstream tasks see its input.
///
/// With [`HeadNorm`] it normalises by the statistics of the batch alone and keeps no running ones: a head
/// is dropped after training and never runs without a batch. Where two views are compared each view is
/// normalised by itself, as published code does, which runs one view after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionHead {
    /// Width between the layers.
    pub hidden: usize,
    /// Width out.
    pub out: usize,
    /// Linear layers, from one, which leaves `hidden` unused, to [`MAX_LAYERS`].
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub layers: usize,
    /// What is normalised.
    #[serde(default, skip_serializing_if = "HeadNorm::is_none")]
    pub norm: HeadNorm,
}

/// Most linear layers of a head.
pub const MAX_LAYERS: usize = 8;

/// Which layers of a head a batch norm follows. A linear layer in front of one has no bias, which the norm
/// would take off again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadNorm {
    /// None (SimCLR as published first, MoCo v2).
    #[default]
    None,
    /// All but the last (BYOL, VICReg, Barlow Twins).
    Hidden,
    /// All; behind the last one without scale and shift (SimSiam, MoCo v3).
    All,
}

impl HeadNorm {
    fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The norm of a predictor behind a head with this one: between its layers, never behind the last.
    pub(super) fn between(self) -> Self {
        if self.is_none() { Self::None } else { Self::Hidden }
    }
}

fn two() -> usize {
    2
}

fn is_two(layers: &usize) -> bool {
    *layers == two()
}

/// Trained weights as they are wired.
#[derive(Default)]
pub(crate) struct Trained {
    pub(crate) weights: Vec<(String, OutletId)>,
    pub(crate) initial: Tensors,
}

impl Trained {
    /// `x` `[batch, in]` times `<name>.weight` `[out, in]` plus `<name>.bias` `[out]`.
    pub(super) fn linear(
        &mut self,
        graph: &mut Graph,
        name: &str,
        x: OutletId,
        out: usize,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let product = self.product(graph, name, x, out, rng)?;
        let bias = self.weight(graph, format!("{name}.bias"), &[out], Initial::Constant(0.0), rng)?;
        let row = graph.lift_rank(bias, 2)?;
        graph.add(product, row)
    }

    /// Two linear layers `<name>.0` and `<name>.2`, widths `[hidden, out]`, with a rectifier between.
    pub(super) fn layers(
        &mut self,
        graph: &mut Graph,
        name: &str,
        x: OutletId,
        [hidden, out]: [usize; 2],
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        self.stack(graph, name, x, &ProjectionHead::new(hidden, out), 1, rng)
    }

    /// The layers of `head`, numbered as PyTorch's `Sequential` numbers linear layers, norms and rectifiers:
    /// `<name>.0`, `<name>.2`; with norms `<name>.0`, `<name>.1` (the norm), `<name>.3`. Rows are normalised in
    /// `groups` equal parts.
    pub(super) fn stack(
        &mut self,
        graph: &mut Graph,
        name: &str,
        mut x: OutletId,
        head: &ProjectionHead,
        groups: usize,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let stride = if head.norm.is_none() { 2 } else { 3 };
        for layer in 0..head.layers {
            let (at, last) = (layer * stride, layer + 1 == head.layers);
            let width = if last { head.out } else { head.hidden };
            let linear = format!("{name}.{at}");
            x = match (head.norm, last) {
                (HeadNorm::None, _) | (HeadNorm::Hidden, true) => {
                    self.linear(graph, &linear, x, width, rng)?
                }
                (HeadNorm::Hidden | HeadNorm::All, _) => {
                    let product = self.product(graph, &linear, x, width, rng)?;
                    let norm = (!last).then(|| format!("{name}.{}", at + 1));
                    self.batch_norm(graph, norm.as_deref(), product, groups, rng)?
                }
            };
            if !last {
                let zero = graph.scalar(0.0, 2)?;
                x = graph.binary(math::max(), x, zero)?;
            }
        }
        Ok(x)
    }

    /// `x` `[batch, in]` times `<name>.weight` `[out, in]`.
    fn product(
        &mut self,
        graph: &mut Graph,
        name: &str,
        x: OutletId,
        out: usize,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let width = graph.shape(x)?[1];
        let weight = self.weight(graph, format!("{name}.weight"), &[out, width], Initial::He, rng)?;
        graph.einsum("ni,oi->no", x, weight)
    }

    /// Each of `groups` equal parts of the rows of `x` normalised by its own statistics; scaled and shifted by
    /// `<name>.weight` and `<name>.bias` where there is a name.
    fn batch_norm(
        &mut self,
        graph: &mut Graph,
        name: Option<&str>,
        x: OutletId,
        groups: usize,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let (batch, width) = (graph.shape(x)?[0], graph.shape(x)?[1]);
        let rows = batch / groups.max(1);
        if rows < 2 {
            return Err(TractError::new(Setting {
                setting: "rows that a batch norm of the head sees".into(),
                found: rows.to_string(),
                wanted: "two or more: one row normalised by itself is zero; take a larger batch or no norm"
                    .into(),
            }));
        }
        let [scale, shift] = match name {
            Some(name) => [("weight", 1.0), ("bias", 0.0)].map(|(kind, value)| {
                self.weight(graph, format!("{name}.{kind}"), &[width], Initial::Constant(value), rng)
            }),
            None => [1.0, 0.0].map(|value| {
                let row = vec![value; width];
                graph.constant(tensor1::<f32>(&row))
            }),
        };
        let (scale, shift) = (scale?, shift?);
        let norm = BatchNorm {
            shape: vec![rows, width],
            axis: 1,
            epsilon: BATCH_NORM_EPSILON,
            clip: Clip::default(),
        };
        let mut parts = vec![];
        for group in 0..groups {
            let part = graph.slice(x, 0, group * rows, (group + 1) * rows)?;
            let outputs = graph.call(Call::BatchNorm(norm.clone()), &[part, scale, shift])?;
            parts.push(*outputs.first().context("a batch norm without output")?);
        }
        graph.concat(0, &parts)
    }

    /// The trained weight `name`.
    pub(super) fn weight(
        &mut self,
        graph: &mut Graph,
        name: String,
        shape: &[usize],
        initial: Initial,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        check_values(&format!("values of `{name}`"), shape)?;
        let outlet = graph.source(&name, shape)?;
        self.initial.insert(name.clone(), initial.draw(shape, rng));
        self.weights.push((name, outlet));
        Ok(outlet)
    }
}

/// Whether a tensor of `shape` has at most [`MAX_VALUES`]. Runs before they are drawn.
pub(super) fn check_values(what: &str, shape: &[usize]) -> TractResult<()> {
    let values = shape.iter().fold(1usize, |values, &extent| values.saturating_mul(extent));
    Setting::range(what, values, 1, MAX_VALUES).map_err(TractError::new)
}

impl ProjectionHead {
    /// A single linear layer to `out` values.
    pub const fn linear(out: usize) -> Self {
        Self { hidden: out, out, layers: 1, norm: HeadNorm::None }
    }

    /// Two layers without norm.
    pub const fn new(hidden: usize, out: usize) -> Self {
        Self { hidden, out, layers: 2, norm: HeadNorm::None }
    }

    /// `layers` layers with batch norms as `norm` says.
    pub const fn normalised(hidden: usize, out: usize, layers: usize, norm: HeadNorm) -> Self {
        Self { hidden, out, layers, norm }
    }

    /// Wires the head onto `embedding`, whose rows are two views one after the other.
    pub(super) fn wire(
        &self,
        graph: &mut Graph,
        trained: &mut Trained,
        embedding: OutletId,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        trained.stack(graph, "head", embedding, self, 2, rng)
    }

    /// Wires the predictor of `hidden` values onto the projection `z` of two views, with batch norm between
    /// its layers where the head has any.
    pub(super) fn predict(
        &self,
        graph: &mut Graph,
        trained: &mut Trained,
        z: OutletId,
        hidden: usize,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        let predictor = Self::normalised(hidden, self.out, 2, self.norm.between());
        trained.stack(graph, "head.predictor", z, &predictor, 2, rng)
    }
}

//! Linear layers and the projection head made of two of them.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::math;

use super::MAX_VALUES;
use crate::architecture::Initial;
use crate::compile::Setting;
use crate::graph::Graph;
use crate::tensors::Tensors;

/// Two linear layers with a rectifier between (Chen et al. 2020, section 2.1). The loss sees its
/// output, downstream tasks see its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectionHead {
    /// Width between the layers.
    pub hidden: usize,
    /// Width out.
    pub out: usize,
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
        let width = graph.shape(x)?[1];
        let weight = self.weight(graph, format!("{name}.weight"), &[out, width], Initial::He, rng)?;
        let bias = self.weight(graph, format!("{name}.bias"), &[out], Initial::Constant(0.0), rng)?;
        let product = graph.einsum("ni,oi->no", x, weight)?;
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
        let hidden = self.linear(graph, &format!("{name}.0"), x, hidden, rng)?;
        let zero = graph.scalar(0.0, 2)?;
        let active = graph.binary(math::max(), hidden, zero)?;
        self.linear(graph, &format!("{name}.2"), active, out, rng)
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
    pub(super) fn wire(
        &self,
        graph: &mut Graph,
        trained: &mut Trained,
        embedding: OutletId,
        rng: &mut ChaCha8Rng,
    ) -> TractResult<OutletId> {
        trained.layers(graph, "head", embedding, [self.hidden, self.out], rng)
    }
}

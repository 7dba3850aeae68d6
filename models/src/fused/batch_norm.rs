//! Batch normalisation by the statistics of the batch, with the clip that follows it, and its gradient
//! (Ioffe & Szegedy 2015, algorithm 1 and section 3).

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::attributes::Attributes;
use super::clip::{Clip, mask};
use crate::graph::Graph;
use crate::onnx::proto;

/// The numbers of one batch norm.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Shape of what is normalised.
    pub shape: Vec<usize>,
    /// The axis of channels: the last one, or 1 as an encoder is authored.
    pub axis: usize,
    /// Added to the variance before its root.
    pub epsilon: f32,
    /// The clip of the result; no bounds for none.
    pub clip: Clip,
}

/// What both directions need.
struct Normalised {
    slope: OutletId,
    centred: OutletId,
    inverse_deviation: OutletId,
    /// Before the clip.
    y: OutletId,
}

impl BatchNorm {
    /// Shape of what there is one of for each channel.
    pub fn row(&self) -> Vec<usize> {
        vec![self.channels()]
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        // The axis was checked against the shape.
        self.shape.get(self.axis).copied().unwrap_or(1)
    }

    /// Values of one channel.
    pub fn count(&self) -> usize {
        self.shape.iter().product::<usize>() / self.channels().max(1)
    }

    /// The same over maps whose channels were moved from axis 1 to the end.
    pub(crate) fn channels_last(&self) -> Self {
        let mut this = self.clone();
        let channels = this.shape.remove(self.axis);
        this.shape.push(channels);
        this.axis = this.shape.len() - 1;
        this
    }

    pub(super) fn attributes(&self) -> Vec<pb::AttributeProto> {
        let mut attributes = self.clip.attributes();
        attributes.push(proto::ints("shape", self.shape.iter().map(|&d| d as i64).collect()));
        attributes.push(proto::int("axis", self.axis as i64));
        attributes.push(proto::float("epsilon", self.epsilon));
        attributes
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> TractResult<Self> {
        let this = Self {
            shape: attributes.shape("shape")?,
            axis: attributes.size("axis")?,
            epsilon: attributes.number("epsilon")?.context("a batch norm without epsilon")?,
            clip: Clip::read(attributes)?,
        };
        ensure!(this.axis < this.shape.len(), "axis {} of the shape {:?}", this.axis, this.shape);
        ensure!(this.epsilon >= 0.0, "a batch norm with epsilon {}", this.epsilon);
        Ok(this)
    }

    /// Per-channel values as an operand of the maps' rank.
    fn lifted(&self, graph: &mut Graph, row: OutletId) -> TractResult<OutletId> {
        let mut shape = vec![1; self.shape.len()];
        shape[self.axis] = self.channels();
        graph.reshape(row, &shape)
    }

    fn axes(&self) -> Vec<usize> {
        (0..self.shape.len()).filter(|axis| *axis != self.axis).collect()
    }

    fn normalise(
        &self,
        graph: &mut Graph,
        x: OutletId,
        [scale, shift, mean, variance]: [OutletId; 4],
    ) -> TractResult<Normalised> {
        let steadied = graph.offset(variance, self.epsilon)?;
        let inverse_deviation = graph.element(math::rsqrt(), steadied)?;
        let slope = graph.mul(scale, inverse_deviation)?;
        let centred = graph.sub(x, mean)?;
        let scaled = graph.mul(centred, slope)?;
        let y = graph.add(scaled, shift)?;
        Ok(Normalised { slope, centred, inverse_deviation, y })
    }

    pub(super) fn forward(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let [x, scale, shift] = *inputs else { bail!("a batch norm of {} inputs", inputs.len()) };
        let axes = self.axes();
        let total = graph.sum(x, &axes)?;
        let mean = graph.scale(total, 1.0 / self.count() as f32)?;
        let centred = graph.sub(x, mean)?;
        let variance = graph.node(Reduce::new(axes.as_slice().into(), Reducer::MeanOfSquares), &[centred])?;
        let scale = self.lifted(graph, scale)?;
        let shift = self.lifted(graph, shift)?;
        let normalised = self.normalise(graph, x, [scale, shift, mean, variance])?;
        let y = self.clip.apply(graph, normalised.y)?;
        let row = self.row();
        Ok(vec![y, graph.reshape(mean, &row)?, graph.reshape(variance, &row)?])
    }

    /// With `g` the gradient of the value before the clip and `h` the normalised `x`:
    /// `dshift = sum g`, `dscale = sum g h`, `dx = slope (g - (dshift + h dscale) / count)`.
    pub(super) fn backward(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let [x, scale, shift, mean, variance, gradient] = *inputs else {
            bail!("a batch norm's gradient of {} inputs", inputs.len())
        };
        let mut rows = [scale, shift, mean, variance];
        for row in &mut rows {
            *row = self.lifted(graph, *row)?;
        }
        let Normalised { slope, centred, inverse_deviation, y } = self.normalise(graph, x, rows)?;
        let gradient = if self.clip.is_some() {
            let y = self.clip.apply(graph, y)?;
            let mask = mask(graph, y, self.clip)?;
            graph.mul(mask, gradient)?
        } else {
            gradient
        };
        let axes = self.axes();
        let shift_gradient = graph.sum(gradient, &axes)?;
        let normal = graph.mul(centred, inverse_deviation)?;
        let product = graph.mul(gradient, normal)?;
        let scale_gradient = graph.sum(product, &axes)?;
        let pull = graph.mul(normal, scale_gradient)?;
        let pull = graph.add(pull, shift_gradient)?;
        let pull = graph.scale(pull, 1.0 / self.count() as f32)?;
        let rest = graph.sub(gradient, pull)?;
        let d = graph.mul(rest, slope)?;
        let row = self.row();
        Ok(vec![d, graph.reshape(scale_gradient, &row)?, graph.reshape(shift_gradient, &row)?])
    }
}

//! Clipping, and its gradient, which passes where the clipped value lies strictly between the bounds.

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::attributes::Attributes;
use crate::graph::Graph;
use crate::onnx::proto;

/// Bounds of a clip: `min(max(x, low), high)`, either bound optional.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Lower bound.
    pub low: Option<f32>,
    /// Upper bound.
    pub high: Option<f32>,
}

impl Clip {
    /// The bounds, infinite where there is none.
    pub fn bounds(self) -> (f32, f32) {
        (self.low.unwrap_or(f32::NEG_INFINITY), self.high.unwrap_or(f32::INFINITY))
    }

    /// Whether there is a bound at all.
    pub fn is_some(self) -> bool {
        self.low.is_some() || self.high.is_some()
    }

    pub(super) fn attributes(self) -> Vec<pb::AttributeProto> {
        let bounds = [("low", self.low), ("high", self.high)];
        bounds.into_iter().filter_map(|(name, bound)| Some(proto::float(name, bound?))).collect()
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> TractResult<Self> {
        let clip = Self { low: attributes.number("low")?, high: attributes.number("high")? };
        let (low, high) = clip.bounds();
        ensure!(low < high, "a clip between {low} and {high}");
        Ok(clip)
    }

    /// The clipped `x`.
    pub(super) fn apply(self, graph: &mut Graph, mut x: OutletId) -> TractResult<OutletId> {
        let rank = graph.rank(x)?;
        if let Some(low) = self.low {
            let low = graph.scalar(low, rank)?;
            x = graph.binary(math::max(), x, low)?;
        }
        if let Some(high) = self.high {
            let high = graph.scalar(high, rank)?;
            x = graph.binary(math::min(), x, high)?;
        }
        Ok(x)
    }
}

/// A clipped value of some shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Clipped {
    /// Its shape.
    pub shape: Vec<usize>,
    /// The bounds, at least one.
    pub clip: Clip,
}

impl Clipped {
    /// The same with axis 1 moved to the end.
    pub(crate) fn channels_last(&self) -> Self {
        let mut shape = self.shape.clone();
        if let Some(axes) = shape.get_mut(1..) {
            axes.rotate_left(usize::from(!axes.is_empty()));
        }
        Self { shape, ..self.clone() }
    }

    pub(super) fn attributes(&self) -> Vec<pb::AttributeProto> {
        let mut attributes = self.clip.attributes();
        attributes.push(proto::ints("shape", self.shape.iter().map(|&d| d as i64).collect()));
        attributes
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> TractResult<Self> {
        let clip = Clip::read(attributes)?;
        ensure!(clip.is_some(), "a clip without bounds");
        Ok(Self { shape: attributes.shape("shape")?, clip })
    }

    pub(super) fn backward(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let [y, gradient] = *inputs else { bail!("a clip's gradient of {} inputs", inputs.len()) };
        let mask = mask(graph, y, self.clip)?;
        Ok(vec![graph.mul(mask, gradient)?])
    }
}

/// One where the clipped `y` lies strictly between its bounds, zero elsewhere: `min(d * 1e30, 1)` of
/// the distance to the bounds. Arithmetic instead of a comparison, because tract fuses it.
pub(crate) fn mask(graph: &mut Graph, y: OutletId, clip: Clip) -> TractResult<OutletId> {
    const STEEP: f32 = 1e30;
    let rank = graph.rank(y)?;
    let above = match clip.low {
        Some(0.0) => Some(y),
        Some(low) => Some(graph.offset(y, -low)?),
        None => None,
    };
    let below = match clip.high {
        Some(high) => {
            let high = graph.scalar(high, rank)?;
            Some(graph.sub(high, y)?)
        }
        None => None,
    };
    let distance = match (above, below) {
        (Some(above), Some(below)) => graph.mul(below, above)?,
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => bail!("a clip without bounds"),
    };
    let steep = graph.scale(distance, STEEP)?;
    let one = graph.scalar(1.0, rank)?;
    graph.binary(math::min(), steep, one)
}

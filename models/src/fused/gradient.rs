//! Gradients of operators that tract knows itself: softmax over the last axis, and the Gaussian error
//! linear unit.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;

use super::attributes::Attributes;
use crate::graph::Graph;
use crate::onnx::proto;

/// A value of some shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaped {
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Shaped {
    pub(super) fn attributes(&self) -> Vec<pb::AttributeProto> {
        vec![proto::ints("shape", self.shape.iter().map(|&d| d as i64).collect())]
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> TractResult<Self> {
        Ok(Self { shape: attributes.shape("shape")? })
    }

    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// `dx = y (dy - sum(y dy))`.
    pub(super) fn softmax(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let [y, gradient] = *inputs else { bail!("a softmax's gradient of {} inputs", inputs.len()) };
        let weighted = graph.mul(gradient, y)?;
        let total = graph.sum(weighted, &[self.shape.len().saturating_sub(1)])?;
        let centred = graph.sub(gradient, total)?;
        Ok(vec![graph.mul(centred, y)?])
    }

    /// `dx = dy (P(x) + x p(x))` with the distribution `P` and density `p` of the standard normal
    /// (Hendrycks & Gimpel 2016, section 2).
    pub(super) fn gelu(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        let [x, gradient] = *inputs else { bail!("a unit's gradient of {} inputs", inputs.len()) };
        let scaled = graph.scale(x, FRAC_1_SQRT_2)?;
        let error = graph.element(math::erf(), scaled)?;
        let half = graph.scale(error, 0.5)?;
        let distribution = graph.offset(half, 0.5)?;
        let square = graph.mul(x, x)?;
        let exponent = graph.scale(square, -0.5)?;
        let bell = graph.element(math::exp(), exponent)?;
        let density = graph.scale(bell, 1.0 / (2.0 * PI).sqrt())?;
        let bend = graph.mul(x, density)?;
        let slope = graph.add(distribution, bend)?;
        Ok(vec![graph.mul(slope, gradient)?])
    }
}

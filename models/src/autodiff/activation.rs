//! Slopes of activation functions, each in closed form of input and output.

use std::f32::consts::PI;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::gelu_approximate::GeluApproximate;
use tract_onnx::tract_core::ops::nn::{LeakyRelu, sigmoid};

use super::elementwise::polynomial;
use crate::graph::Graph;

/// The coefficient of the cubic term in the approximation of the Gaussian error linear unit.
const GELU_CUBIC: f32 = 0.044_715;

/// The slope of an activation function at `x`, where it is `y`; `None` for any other operator.
pub(super) fn slope(
    graph: &mut Graph,
    op: &ElementWiseOp,
    x: OutletId,
    y: OutletId,
) -> TractResult<Option<OutletId>> {
    if let Some(leaky) = op.0.downcast_ref::<LeakyRelu>() {
        return leaky_relu(graph, x, leaky.alpha).map(Some);
    }
    if let Some(gelu) = op.0.downcast_ref::<GeluApproximate>() {
        return gelu_approximate(graph, x, gelu.fast_impl).map(Some);
    }
    Ok(Some(match &*op.0.name() {
        "Tanh" => polynomial(graph, y, 1.0, -1.0)?,
        "Sigmoid" => {
            let rest = complement(graph, y)?;
            graph.mul(rest, y)?
        }
        "Silu" => silu(graph, x, y)?,
        "HardSwish" => hard_swish(graph, x)?,
        _ => return Ok(None),
    }))
}

/// `1 - a`.
fn complement(graph: &mut Graph, a: OutletId) -> TractResult<OutletId> {
    let rank = graph.rank(a)?;
    let one = graph.scalar(1.0, rank)?;
    graph.sub(one, a)
}

/// `s + y (1 - s)` with the logistic function `s` of `x`.
fn silu(graph: &mut Graph, x: OutletId, y: OutletId) -> TractResult<OutletId> {
    let gate = graph.element(sigmoid(), x)?;
    let rest = complement(graph, gate)?;
    let bend = graph.mul(y, rest)?;
    graph.add(gate, bend)
}

/// One above zero, `alpha` elsewhere.
fn leaky_relu(graph: &mut Graph, x: OutletId, alpha: f32) -> TractResult<OutletId> {
    let positive = graph.step(x)?;
    let above = graph.scale(positive, 1.0 - alpha)?;
    graph.offset(above, alpha)
}

/// `h + x/6` where the gate `h = clip(x/6 + 1/2, 0, 1)` is strictly inside its bounds, `h` elsewhere.
fn hard_swish(graph: &mut Graph, x: OutletId) -> TractResult<OutletId> {
    let rank = graph.rank(x)?;
    let (zero, one) = (graph.scalar(0.0, rank)?, graph.scalar(1.0, rank)?);
    let sixth = graph.scale(x, 1.0 / 6.0)?;
    let line = graph.offset(sixth, 0.5)?;
    let above = graph.binary(math::max(), line, zero)?;
    let gate = graph.binary(math::min(), above, one)?;
    let rest = graph.sub(one, gate)?;
    let distance = graph.mul(gate, rest)?;
    let inside = graph.step_of_ramp(distance)?;
    let bend = graph.mul(sixth, inside)?;
    graph.add(gate, bend)
}

/// `(1 + t)/2 + x (1 - t^2) u'(x)/2` with `t = tanh(u)` and `u = sqrt(2/pi) (x + c x^3)`; tract's fast
/// variant has the square in place of the cube.
fn gelu_approximate(graph: &mut Graph, x: OutletId, fast: bool) -> TractResult<OutletId> {
    let outer = (2.0 / PI).sqrt();
    let square = graph.mul(x, x)?;
    let (power, slope) = if fast {
        (square, graph.scale(x, 2.0 * GELU_CUBIC)?)
    } else {
        (graph.mul(square, x)?, graph.scale(square, 3.0 * GELU_CUBIC)?)
    };
    let power = graph.scale(power, GELU_CUBIC)?;
    let inner = graph.add(x, power)?;
    let inner = graph.scale(inner, outer)?;
    let t = graph.element(math::tanh(), inner)?;
    let half = graph.scale(t, 0.5)?;
    let gate = graph.offset(half, 0.5)?;
    let inner_slope = graph.offset(slope, 1.0)?;
    let inner_slope = graph.scale(inner_slope, 0.5 * outer)?;
    let curve = polynomial(graph, t, 1.0, -1.0)?;
    let bend = graph.mul(curve, inner_slope)?;
    let bend = graph.mul(bend, x)?;
    graph.add(gate, bend)
}

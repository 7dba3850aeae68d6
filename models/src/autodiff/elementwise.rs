//! Operators of one value, element by element: `dx = dy * f'(x)`, written with the output where that
//! is cheaper than the input. Activation functions have a file of their own.

use std::f32::consts::FRAC_2_SQRT_PI;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;

use super::{Site, Tape, activation};
use crate::fused::{Call, Shaped};
use crate::graph::Graph;

pub(super) fn rule(tape: &mut Tape<'_>, op: &ElementWiseOp, site: &Site) -> TractResult<()> {
    if is_flat(&op.0.name()) {
        return Ok(());
    }
    let (x, y, g) = (site.inputs[0], site.output, site.gradient);
    if op.0.name() == "GeluExact" {
        let full = tape.full(g, &site.shape)?;
        let call = Call::GeluGradient(Shaped { shape: site.shape.to_vec() });
        let d = tape.graph.call(call, &[x, full])?[0];
        return tape.give(x, d);
    }
    let graph = &mut *tape.graph;
    let d = match &*op.0.name() {
        "Neg" => graph.scale(g, -1.0)?,
        "Exp" => graph.mul(g, y)?,
        "Ln" => graph.div(g, x)?,
        "Sqrt" => {
            let half = graph.scale(g, 0.5)?;
            graph.div(half, y)?
        }
        _ => {
            let slope = match activation::slope(graph, op, x, y)? {
                Some(slope) => slope,
                None => slope(graph, op, x, y)?,
            };
            graph.mul(slope, g)?
        }
    };
    tape.give(x, d)
}

/// Whether the function is constant between its jumps, so that its gradient is zero.
fn is_flat(name: &str) -> bool {
    matches!(name, "Sign" | "Floor" | "Ceil" | "Round" | "RoundHalfToEven")
}

fn slope(graph: &mut Graph, op: &ElementWiseOp, x: OutletId, y: OutletId) -> TractResult<OutletId> {
    if let Some(power) = op.0.downcast_ref::<math::PowConst>() {
        let rest = graph.power(x, power.exponent - 1.0)?;
        return graph.scale(rest, power.exponent);
    }
    match &*op.0.name() {
        "Abs" => graph.element(math::sign(), x),
        "Square" => graph.scale(x, 2.0),
        "Recip" => {
            let square = graph.mul(y, y)?;
            graph.scale(square, -1.0)
        }
        "Rsqrt" => {
            let square = graph.mul(y, y)?;
            let cube = graph.mul(square, y)?;
            graph.scale(cube, -0.5)
        }
        "Erf" => {
            let square = graph.mul(x, x)?;
            let exponent = graph.scale(square, -1.0)?;
            let bell = graph.element(math::exp(), exponent)?;
            graph.scale(bell, FRAC_2_SQRT_PI)
        }
        "Sin" => graph.element(math::cos(), x),
        "Cos" => {
            let sine = graph.element(math::sin(), x)?;
            graph.scale(sine, -1.0)
        }
        "Tan" => polynomial(graph, y, 1.0, 1.0),
        "Sinh" => graph.element(math::cosh(), x),
        "Cosh" => graph.element(math::sinh(), x),
        "Asin" => inverse_root(graph, x, 1.0, -1.0),
        "Acos" => {
            let slope = inverse_root(graph, x, 1.0, -1.0)?;
            graph.scale(slope, -1.0)
        }
        "Atan" => {
            let square = polynomial(graph, x, 1.0, 1.0)?;
            graph.element(math::recip(), square)
        }
        "Asinh" => inverse_root(graph, x, 1.0, 1.0),
        "Acosh" => inverse_root(graph, x, -1.0, 1.0),
        "Atanh" => {
            let rest = polynomial(graph, x, 1.0, -1.0)?;
            graph.element(math::recip(), rest)
        }
        name => bail!("{name} is not covered"),
    }
}

/// `constant + square * x^2`.
pub(super) fn polynomial(
    graph: &mut Graph,
    x: OutletId,
    constant: f32,
    square: f32,
) -> TractResult<OutletId> {
    let power = graph.mul(x, x)?;
    let power = graph.scale(power, square)?;
    graph.offset(power, constant)
}

/// `1 / sqrt(constant + square * x^2)`.
fn inverse_root(graph: &mut Graph, x: OutletId, constant: f32, square: f32) -> TractResult<OutletId> {
    let inside = polynomial(graph, x, constant, square)?;
    graph.element(math::rsqrt(), inside)
}

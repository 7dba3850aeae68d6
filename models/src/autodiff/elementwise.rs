//! Operators of one value, element by element: `dx = dy * f'(x)`, written with the output where that
//! is cheaper than the input.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;

use super::{Site, Tape};

pub(super) fn rule(tape: &mut Tape<'_>, op: &ElementWiseOp, site: &Site) -> TractResult<()> {
    let (x, y, g) = (site.inputs[0], site.output, site.gradient);
    let graph = &mut *tape.graph;
    let rank = site.shape.len();
    let d = match &*op.0.name() {
        "Exp" => graph.mul(g, y)?,
        "Ln" => graph.div(g, x)?,
        "Neg" => graph.scale(g, -1.0)?,
        "Sqrt" => {
            let half = graph.scale(g, 0.5)?;
            graph.div(half, y)?
        }
        "Rsqrt" => {
            let square = graph.mul(y, y)?;
            let cube = graph.mul(square, y)?;
            let slope = graph.scale(cube, -0.5)?;
            graph.mul(slope, g)?
        }
        "Recip" => {
            let square = graph.mul(y, y)?;
            let slope = graph.scale(square, -1.0)?;
            graph.mul(slope, g)?
        }
        "Square" => {
            let slope = graph.scale(x, 2.0)?;
            graph.mul(slope, g)?
        }
        "Tanh" => {
            let square = graph.mul(y, y)?;
            let one = graph.scalar(1.0, rank)?;
            let slope = graph.sub(one, square)?;
            graph.mul(slope, g)?
        }
        "Sigmoid" => {
            let one = graph.scalar(1.0, rank)?;
            let rest = graph.sub(one, y)?;
            let slope = graph.mul(rest, y)?;
            graph.mul(slope, g)?
        }
        name => bail!("{name} is not covered"),
    };
    tape.give(x, d)
}

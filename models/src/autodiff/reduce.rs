//! Reductions and the softmax.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax};

use super::{Site, Tape};

pub(super) fn sum_rule(tape: &mut Tape<'_>, op: &Reduce, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    match op.reducer {
        // The gradient is the same along every summed axis, and stays lazy there.
        Reducer::Sum => tape.give(x, site.gradient),
        Reducer::MeanOfSquares => {
            let shape = tape.graph.shape(x)?;
            let count: usize = op.axes.iter().map(|&axis| shape[axis]).product();
            let weight = tape.graph.scale(site.gradient, 2.0 / count.max(1) as f32)?;
            let d = tape.graph.mul(x, weight)?;
            tape.give(x, d)
        }
        ref reducer => bail!("a reduction by {reducer:?} is not covered"),
    }
}

/// `dx = (dy - sum(dy * y)) * y`.
pub(super) fn softmax_rule(tape: &mut Tape<'_>, op: &Softmax, site: &Site) -> TractResult<()> {
    let (y, g) = (site.output, site.gradient);
    let weighted = tape.graph.mul(g, y)?;
    let total = tape.graph.sum(weighted, &op.axes)?;
    let centred = tape.graph.sub(g, total)?;
    let d = tape.graph.mul(centred, y)?;
    tape.give(site.inputs[0], d)
}

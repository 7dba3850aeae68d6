//! Operators that normalise a row by itself: the softmax, its logarithm, and the root mean square.
//! Layer norms are fused calls.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

use super::{Site, Tape};
use crate::fused::{Call, LayerNorm, Shaped};

/// `dx = (dy - sum(dy * y)) * y`; for the logarithm `dx = dy - exp(y) * sum(dy)`.
pub(super) fn softmax_rule(tape: &mut Tape<'_>, op: &Softmax, site: &Site) -> TractResult<()> {
    ensure!(op.quant_output_dt.is_none(), "a quantised softmax");
    let y = site.output;
    let g = tape.full(site.gradient, &site.shape)?;
    let graph = &mut *tape.graph;
    let d = match op.kind {
        SoftmaxKind::Softmax if op.axes.as_slice() == [site.shape.len().saturating_sub(1)] => {
            graph.call(Call::SoftmaxGradient(Shaped { shape: site.shape.to_vec() }), &[y, g])?[0]
        }
        SoftmaxKind::Softmax => {
            let weighted = graph.mul(g, y)?;
            let total = graph.sum(weighted, &op.axes)?;
            let centred = graph.sub(g, total)?;
            graph.mul(centred, y)?
        }
        SoftmaxKind::LogSoftmax => {
            let total = graph.sum(g, &op.axes)?;
            let probability = graph.element(math::exp(), y)?;
            let share = graph.mul(probability, total)?;
            graph.sub(g, share)?
        }
    };
    tape.give(site.inputs[0], d)
}

/// `dx = r (dy - y mean(dy * y))` with `r = 1 / sqrt(mean(x^2) + epsilon)` (Zhang & Sennrich 2019).
pub(super) fn rms_rule(tape: &mut Tape<'_>, op: &RmsNorm, site: &Site) -> TractResult<()> {
    let (x, y) = (site.inputs[0], site.output);
    let graph = &mut *tape.graph;
    let square = graph.node(Reduce::new(tvec!(op.axis), Reducer::MeanOfSquares), &[x])?;
    let steadied = graph.offset(square, op.eps.cast_to_scalar::<f32>()?)?;
    let inverse = graph.element(math::rsqrt(), steadied)?;
    let weighted = graph.mul(site.gradient, y)?;
    let total = graph.sum(weighted, &[op.axis])?;
    let mean = graph.scale(total, 1.0 / site.shape[op.axis].max(1) as f32)?;
    let along = graph.mul(y, mean)?;
    let across = graph.sub(site.gradient, along)?;
    let d = graph.mul(across, inverse)?;
    tape.give(x, d)
}

/// The gradients of what is normalised and, where there are any, of scale and shift.
pub(super) fn layer_rule(tape: &mut Tape<'_>, norm: &LayerNorm, site: &Site) -> TractResult<()> {
    let gradient = tape.full(site.gradient, &site.shape)?;
    let operands = site.inputs.iter().take(2).copied().chain([gradient]).collect::<Vec<_>>();
    let gradients = tape.graph.call(Call::LayerNormGradient(norm.clone()), &operands)?;
    for (operand, gradient) in site.inputs.iter().zip(gradients) {
        tape.give(*operand, gradient)?;
    }
    Ok(())
}

//! Operators of two values: sum, difference, product, quotient, power, maximum and minimum.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::math;

use super::{Site, Tape};
use crate::fused::{Call, Clip, Clipped};

pub(super) fn rule(tape: &mut Tape<'_>, op: &TypedBinOp, site: &Site) -> TractResult<()> {
    let [a, b] = *site.inputs.as_slice() else { bail!("a binary operator of {} inputs", site.inputs.len()) };
    match op.0.name() {
        "Add" => {
            hand_back(tape, site, a, |_, g| Ok(g))?;
            hand_back(tape, site, b, |_, g| Ok(g))
        }
        "Sub" => {
            hand_back(tape, site, a, |_, g| Ok(g))?;
            hand_back(tape, site, b, |tape, g| tape.graph.scale(g, -1.0))
        }
        "Mul" => {
            hand_back(tape, site, a, |tape, g| tape.graph.mul(g, b))?;
            hand_back(tape, site, b, |tape, g| tape.graph.mul(g, a))
        }
        "Div" => {
            hand_back(tape, site, a, |tape, g| tape.graph.div(g, b))?;
            hand_back(tape, site, b, |tape, g| {
                let up = tape.graph.mul(g, site.output)?;
                let quotient = tape.graph.div(up, b)?;
                tape.graph.scale(quotient, -1.0)
            })
        }
        "Pow" => power(tape, site, a, b),
        "Max" => match value_and_bound(tape, a, b) {
            Some(clipped) => clip(tape, site, Side::Low, clipped),
            None => extremum(tape, site, a, b),
        },
        "Min" => match value_and_bound(tape, a, b) {
            Some(clipped) => clip(tape, site, Side::High, clipped),
            None => extremum(tape, site, b, a),
        },
        name => bail!("{name} of two values is not covered"),
    }
}

/// Gives `operand` what `derive` makes of the gradient, with broadcasting undone.
fn hand_back(
    tape: &mut Tape<'_>,
    site: &Site,
    operand: OutletId,
    derive: impl FnOnce(&mut Tape<'_>, OutletId) -> TractResult<OutletId>,
) -> TractResult<()> {
    if !tape.needs(operand) {
        return Ok(());
    }
    let shape = tape.graph.shape(operand)?;
    let derived = derive(tape, site.gradient)?;
    let d = tape.unbroadcast(derived, &site.shape, &shape)?;
    tape.give(operand, d)
}

/// `da = dy b a^(b-1)` and `db = dy y ln(a)`.
fn power(tape: &mut Tape<'_>, site: &Site, a: OutletId, b: OutletId) -> TractResult<()> {
    hand_back(tape, site, a, |tape, g| {
        let one = tape.graph.scalar(1.0, site.shape.len())?;
        let below = tape.graph.sub(b, one)?;
        let rest = tape.graph.binary(math::pow(), a, below)?;
        let slope = tape.graph.mul(rest, b)?;
        tape.graph.mul(slope, g)
    })?;
    hand_back(tape, site, b, |tape, g| {
        let logarithm = tape.graph.element(math::ln(), a)?;
        let slope = tape.graph.mul(site.output, logarithm)?;
        tape.graph.mul(slope, g)
    })
}

/// `max(larger, smaller)` or `min(smaller, larger)` of two variable values: all of the gradient to the
/// one that wins when `larger` is above, half to each at a tie (as PyTorch's `maximum` has it).
fn extremum(tape: &mut Tape<'_>, site: &Site, larger: OutletId, smaller: OutletId) -> TractResult<()> {
    let graph = &mut *tape.graph;
    let difference = graph.sub(larger, smaller)?;
    let above = graph.step(difference)?;
    let negated = graph.scale(difference, -1.0)?;
    let below = graph.step(negated)?;
    let lead = graph.sub(above, below)?;
    let half = graph.scale(lead, 0.5)?;
    // The winner of a maximum is its first operand where the difference is positive; a minimum swaps
    // its operands, so that the same weights serve.
    let first = graph.offset(half, 0.5)?;
    hand_back(tape, site, site.inputs[0], |tape, g| tape.graph.mul(first, g))?;
    hand_back(tape, site, site.inputs[1], |tape, g| {
        let one = tape.graph.scalar(1.0, site.shape.len())?;
        let second = tape.graph.sub(one, first)?;
        tape.graph.mul(second, g)
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Low,
    High,
}

/// `max(x, low)` or `min(x, high)`; a minimum right after a maximum is treated as one clip, so that
/// one mask serves both.
fn clip(tape: &mut Tape<'_>, site: &Site, side: Side, (value, bound): (OutletId, f32)) -> TractResult<()> {
    let inner = tape.graph.model.node(value.node).clone();
    let inner_is_max = inner.op_as::<TypedBinOp>().is_some_and(|op| op.0.name() == "Max");
    if side == Side::High
        && inner_is_max
        && tape.forward_users(value) == 1
        && let Some((_, low)) = value_and_bound(tape, inner.inputs[0], inner.inputs[1])
    {
        let d = masked(tape, site, Clip { low: Some(low), high: Some(bound) })?;
        tape.pass_through(value.node);
        return tape.give(value, d);
    }
    let (low, high) = if side == Side::Low { (Some(bound), None) } else { (None, Some(bound)) };
    let d = masked(tape, site, Clip { low, high })?;
    tape.give(value, d)
}

/// The gradient where the clip let its value through.
fn masked(tape: &mut Tape<'_>, site: &Site, clip: Clip) -> TractResult<OutletId> {
    let gradient = tape.full(site.gradient, &site.shape)?;
    let call = Call::ClipGradient(Clipped { shape: site.shape.to_vec(), clip });
    Ok(tape.graph.call(call, &[site.output, gradient])?[0])
}

/// The clipped value and its bound, where one of the operands is a constant of one number.
fn value_and_bound(tape: &Tape<'_>, a: OutletId, b: OutletId) -> Option<(OutletId, f32)> {
    let bounded = |value, bound| tape.constant_scalar(bound).map(|bound| (value, bound));
    bounded(a, b).or_else(|| bounded(b, a))
}

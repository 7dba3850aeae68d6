//! Products: matrix products, linear layers, attention, all of which tract declutters to `EinSum`.
//! The gradient of `a,b->o` with respect to `a` is the product `o,b->a`, and likewise for `b`, as
//! long as every axis of `a` appears in `o` or `b`.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::{Site, Tape};

pub(super) fn rule(tape: &mut Tape<'_>, op: &EinSum, site: &Site) -> TractResult<()> {
    let [a, b] = *site.inputs.as_slice() else { bail!("{} factors, the rule covers two", site.inputs.len()) };
    let equation = op.axes.to_string();
    let (inputs, output) = equation.split_once("->").context("an equation without an arrow")?;
    let (left, right) = inputs.split_once(',').context("an equation of one factor")?;
    for (factor, own, other) in [(a, left, right), (b, right, left)] {
        // An axis of extent one may stand alone: summing it and stretching it are both nothing.
        let shape = tape.graph.shape(factor)?;
        let lonely = |axis: char| !output.contains(axis) && !other.contains(axis);
        let summed = own.chars().zip(&shape).find(|(axis, extent)| lonely(*axis) && **extent != 1);
        ensure!(summed.is_none(), "axis {summed:?} of {equation} is summed within one factor");
    }
    let gradient = tape.full(site.gradient, &site.shape)?;
    if tape.needs(a) {
        let d = tape.graph.einsum(&format!("{output},{right}->{left}"), gradient, b)?;
        tape.give(a, d)?;
    }
    if tape.needs(b) {
        let d = tape.graph.einsum(&format!("{left},{output}->{right}"), a, gradient)?;
        tape.give(b, d)?;
    }
    Ok(())
}

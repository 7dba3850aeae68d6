//! Reductions over axes, and the cumulative sum.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::CumSum;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::{Site, Tape};
use crate::graph::Graph;

/// The longest axis whose product is differentiated: its lowering has a node an element.
const LONGEST_PRODUCT: usize = 64;

pub(super) fn rule(tape: &mut Tape<'_>, op: &Reduce, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let d = match op.reducer {
        // The gradient is the same along every summed axis, and stays lazy there.
        Reducer::Sum => site.gradient,
        Reducer::MeanOfSquares => {
            let shape = tape.graph.shape(x)?;
            let count: usize = op.axes.iter().map(|&axis| shape[axis]).product();
            let weight = tape.graph.scale(site.gradient, 2.0 / count.max(1) as f32)?;
            tape.graph.mul(x, weight)?
        }
        Reducer::Max => {
            let distance = tape.graph.sub(site.output, x)?;
            extremum(tape, op, site, distance)?
        }
        Reducer::Min => {
            let distance = tape.graph.sub(x, site.output)?;
            extremum(tape, op, site, distance)?
        }
        Reducer::Prod => product(tape, op, site)?,
        ref reducer => bail!("a reduction by {reducer:?} is not covered"),
    };
    tape.give(x, d)
}

/// The gradient in equal parts to the elements that attain the extremum (as PyTorch's `amax` has it).
fn extremum(tape: &mut Tape<'_>, op: &Reduce, site: &Site, distance: OutletId) -> TractResult<OutletId> {
    let graph = &mut *tape.graph;
    let miss = graph.step_of_ramp(distance)?;
    let one = graph.scalar(1.0, site.shape.len())?;
    let hit = graph.sub(one, miss)?;
    let hits = graph.sum(hit, &op.axes)?;
    let part = graph.div(site.gradient, hits)?;
    graph.mul(hit, part)
}

/// The gradient times the product of all other elements, one axis after the other. A quotient by the
/// element itself would be shorter, and wrong at zero.
fn product(tape: &mut Tape<'_>, op: &Reduce, site: &Site) -> TractResult<OutletId> {
    let graph = &mut *tape.graph;
    let mut partial = vec![site.inputs[0]];
    for &axis in op.axes.iter() {
        let before = *partial.last().context("a product of nothing")?;
        partial.push(graph.node(Reduce::new(tvec!(axis), Reducer::Prod), &[before])?);
    }
    let mut gradient = site.gradient;
    for (&axis, &value) in op.axes.iter().zip(&partial).rev() {
        let others = product_of_others(graph, value, axis)?;
        gradient = graph.mul(others, gradient)?;
    }
    Ok(gradient)
}

fn product_of_others(graph: &mut Graph, x: OutletId, axis: usize) -> TractResult<OutletId> {
    let extent = graph.shape(x)?[axis];
    ensure!(extent <= LONGEST_PRODUCT, "a product of {extent} elements, the rule covers {LONGEST_PRODUCT}");
    let rank = graph.rank(x)?;
    let one = graph.scalar(1.0, rank)?;
    let each = (0..extent).map(|i| graph.slice(x, axis, i, i + 1)).collect::<TractResult<Vec<_>>>()?;
    let mut others = vec![];
    let mut ahead = one;
    for &element in &each {
        others.push(ahead);
        ahead = graph.mul(ahead, element)?;
    }
    let mut behind = one;
    for (other, &element) in others.iter_mut().zip(&each).rev() {
        *other = graph.mul(*other, behind)?;
        behind = graph.mul(behind, element)?;
    }
    let mut shape = graph.shape(x)?;
    shape[axis] = 1;
    let whole = others.iter().map(|&o| graph.broadcast(o, &shape)).collect::<TractResult<Vec<_>>>()?;
    graph.concat(axis, &whole)
}

/// Each element enters its own sum and those after it, so its gradient is the sum of theirs: the
/// cumulative sum the other way round.
pub(super) fn cumulative_sum_rule(tape: &mut Tape<'_>, op: &CumSum, site: &Site) -> TractResult<()> {
    let full = tape.full(site.gradient, &site.shape)?;
    let d = tape.graph.node(CumSum { reverse: !op.reverse, ..op.clone() }, &[full])?;
    tape.give(site.inputs[0], d)
}

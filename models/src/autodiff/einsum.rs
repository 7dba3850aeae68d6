//! Products: matrix products, linear layers, attention, all of which tract declutters to `EinSum`.
//!
//! The gradient of one factor is the product of the output's gradient with all other factors, with
//! the factor's axes as output. An axis that only this factor has was summed: its gradient is the same
//! along it, and comes out lazy, with extent one. An axis of extent one that other factors stretch is
//! renamed, so that the product sums over the stretched one.
//!
//! A lazy gradient enters as it is: along an axis that is summed some other factor has the full extent
//! (or the axis would not be in the output), and along one that stays the result is lazy too. Axes of
//! extent one are dropped from every factor first, because tract does not sum a stretched one rightly.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::{Site, Tape};
use crate::graph::Graph;

/// A tensor and the names of its axes.
#[derive(Clone)]
struct Factor {
    axes: Vec<char>,
    value: OutletId,
}

pub(super) fn rule(tape: &mut Tape<'_>, op: &EinSum, site: &Site) -> TractResult<()> {
    ensure!(op.q_params.is_none(), "a quantised product");
    let equation = op.axes.to_string();
    let (inputs, output) = equation.split_once("->").context("an equation without an arrow")?;
    let factors: Vec<Factor> = inputs
        .split(',')
        .zip(&site.inputs)
        .map(|(axes, &value)| Factor { axes: axes.chars().collect(), value })
        .collect();
    ensure!(factors.len() == site.inputs.len(), "{equation} over {} inputs", site.inputs.len());
    for (i, factor) in factors.iter().enumerate() {
        ensure!(distinct(&factor.axes), "{equation} has one axis twice in a factor");
        if !tape.needs(factor.value) {
            continue;
        }
        let mut rest = vec![Factor { axes: output.chars().collect(), value: site.gradient }];
        rest.extend(factors.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other.clone()));
        let target = unstretched(tape.graph, factor, &rest)?;
        let d = contract(tape.graph, rest, &target)?;
        tape.give(factor.value, d)?;
    }
    Ok(())
}

fn distinct(axes: &[char]) -> bool {
    axes.iter().enumerate().all(|(i, axis)| !axes[..i].contains(axis))
}

/// The axes of `factor`, those of extent one that `rest` stretches under fresh names.
fn unstretched(graph: &Graph, factor: &Factor, rest: &[Factor]) -> TractResult<Vec<char>> {
    let mut stretched = vec![];
    for other in rest {
        let shape = graph.shape(other.value)?;
        stretched.extend(other.axes.iter().zip(&shape).filter(|(_, e)| **e != 1).map(|(axis, _)| *axis));
    }
    let mut fresh = unused(rest.iter().chain([factor])).into_iter();
    let shape = graph.shape(factor.value)?;
    let named = factor.axes.iter().zip(&shape).map(|(&axis, &extent)| {
        if extent == 1 && stretched.contains(&axis) { fresh.next() } else { Some(axis) }
    });
    named.collect::<Option<Vec<char>>>().context("a product over too many axes")
}

/// Letters that name no axis of `factors`.
fn unused<'f>(factors: impl Iterator<Item = &'f Factor>) -> Vec<char> {
    let used: Vec<char> = factors.flat_map(|factor| &factor.axes).copied().collect();
    ('a'..='z').chain('A'..='Z').filter(|letter| !used.contains(letter)).collect()
}

/// The product of `factors` over all axes that are not in `target`, two factors at a time.
fn contract(graph: &mut Graph, factors: Vec<Factor>, target: &[char]) -> TractResult<OutletId> {
    let name = |axes: &[char]| axes.iter().collect::<String>();
    let value = factors.first().context("a product of nothing")?.value;
    let output = Factor { axes: target.to_vec(), value };
    let mut fresh = unused(factors.iter().chain([&output])).into_iter();
    let mut factors = factors
        .into_iter()
        .map(|factor| squeezed(graph, factor, &mut fresh))
        .collect::<TractResult<Vec<_>>>()?;
    while factors.len() > 2 {
        let (a, b) = (factors.remove(0), factors.remove(0));
        let later = |axis: &char| target.contains(axis) || factors.iter().any(|f| f.axes.contains(axis));
        let mut axes: Vec<char> = vec![];
        for axis in a.axes.iter().chain(&b.axes).filter(|axis| later(axis)) {
            if !axes.contains(axis) {
                axes.push(*axis);
            }
        }
        let equation = format!("{},{}->{}", name(&a.axes), name(&b.axes), name(&axes));
        let value = graph.product(&equation, &[a.value, b.value])?;
        factors.insert(0, Factor { axes, value });
    }
    let left: Vec<String> = factors.iter().map(|factor| name(&factor.axes)).collect();
    let values: Vec<OutletId> = factors.iter().map(|factor| factor.value).collect();
    graph.product(&format!("{}->{}", left.join(","), name(target)), &values)
}

/// `factor` without its axes of extent one; a single number keeps one, under a fresh name.
fn squeezed(
    graph: &mut Graph,
    factor: Factor,
    fresh: &mut impl Iterator<Item = char>,
) -> TractResult<Factor> {
    let shape = graph.shape(factor.value)?;
    let (mut axes, mut extents): (Vec<char>, Vec<usize>) =
        factor.axes.iter().zip(&shape).filter(|(_, extent)| **extent != 1).unzip();
    if axes.is_empty() {
        axes.push(fresh.next().context("a product over too many axes")?);
        extents.push(1);
    }
    Ok(Factor { axes, value: graph.reshape(factor.value, &extents)? })
}

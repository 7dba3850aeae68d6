//! Operators that only move values: axes, broadcasting, repeating, slices, concatenation, padding,
//! striding. The gradient moves back the same way: what was cut off gets zeros, and what was repeated
//! the sum over its copies.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Pad, PadMode, Slice, Tile, TypedConcat};
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::NearestUpsample;

use super::gather::scatter_add;
use super::{Site, Tape};

pub(super) fn rule(tape: &mut Tape<'_>, op: &dyn Op, site: &Site) -> TractResult<()> {
    if let Some(op) = op.downcast_ref::<AxisOp>() {
        axis(tape, op, site)
    } else if op.is::<MultiBroadcastTo>() {
        let x = site.inputs[0];
        let shape = tape.graph.shape(x)?;
        let d = tape.unbroadcast(site.gradient, &site.shape, &shape)?;
        tape.give(x, d)
    } else if let Some(op) = op.downcast_ref::<Slice>() {
        slice(tape, op, site)
    } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
        concat(tape, op, site)
    } else if let Some(op) = op.downcast_ref::<Pad>() {
        pad(tape, op, site)
    } else if let Some(op) = op.downcast_ref::<Downsample>() {
        downsample(tape, op, site)
    } else if let Some(op) = op.downcast_ref::<Tile>() {
        let times = op.multipliers.iter().map(|m| m.to_usize()).collect::<Result<Vec<_>, _>>()?;
        repeat(tape, site, &times, Copies::Apart)
    } else if let Some(op) = op.downcast_ref::<NearestUpsample>() {
        repeat(tape, site, &op.scales, Copies::Together)
    } else if op.is::<Identity>() || op.is::<Cast>() {
        same_type(tape, site)
    } else {
        bail!("the operator is not covered")
    }
}

/// A cast to the type that the value already has.
fn same_type(tape: &mut Tape<'_>, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let from = tape.graph.model.outlet_fact(x)?.datum_type;
    let to = tape.graph.model.outlet_fact(site.output)?.datum_type;
    ensure!(from == to, "a cast from {from:?} to {to:?}");
    tape.give(x, site.gradient)
}

/// Where the copies of an element lie along its axis.
#[derive(Clone, Copy, PartialEq)]
enum Copies {
    /// The whole axis again and again.
    Apart,
    /// Each element several times in a row.
    Together,
}

/// Sums over the copies of each axis, of which there are `times`.
fn repeat(tape: &mut Tape<'_>, site: &Site, times: &[usize], copies: Copies) -> TractResult<()> {
    let x = site.inputs[0];
    let shape = tape.graph.shape(x)?;
    let mut d = tape.full(site.gradient, &site.shape)?;
    for (axis, &times) in times.iter().enumerate().filter(|(_, times)| **times != 1) {
        let (first, second, summed) = match copies {
            Copies::Apart => (times, shape[axis], axis),
            Copies::Together => (shape[axis], times, axis + 1),
        };
        let mut split = tape.graph.shape(d)?;
        split[axis] = first;
        split.insert(axis + 1, second);
        let apart = tape.graph.reshape(d, &split)?;
        let sum = tape.graph.sum(apart, &[summed])?;
        split.remove(summed);
        d = tape.graph.reshape(sum, &split)?;
    }
    tape.give(x, d)
}

fn axis(tape: &mut Tape<'_>, op: &AxisOp, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let d = match op {
        AxisOp::Move(from, to) => tape.graph.move_axis(site.gradient, *to, *from)?,
        AxisOp::Add(axis) => tape.graph.node(AxisOp::Rm(*axis), &[site.gradient])?,
        AxisOp::Rm(axis) => tape.graph.node(AxisOp::Add(*axis), &[site.gradient])?,
        // A reshape mixes axes, so a lazy gradient must be written out first.
        AxisOp::Reshape(..) => {
            let shape = tape.graph.shape(x)?;
            let full = tape.full(site.gradient, &site.shape)?;
            tape.graph.reshape(full, &shape)?
        }
    };
    tape.give(x, d)
}

/// The gradient of a slice.
pub(super) struct Piece {
    axis: usize,
    start: usize,
    end: usize,
    gradient: OutletId,
}

fn slice(tape: &mut Tape<'_>, op: &Slice, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    if tape.needs(x) {
        let (start, end) = (op.start.to_usize()?, op.end.to_usize()?);
        let gradient = tape.full(site.gradient, &site.shape)?;
        tape.pieces.entry(x).or_default().push(Piece { axis: op.axis, start, end, gradient });
    }
    Ok(())
}

/// The gradients of `x` from those of its slices: side by side where they are all of it, each with zeros
/// around it otherwise.
pub(super) fn joined(tape: &mut Tape<'_>, x: OutletId, mut pieces: Vec<Piece>) -> TractResult<Vec<OutletId>> {
    let shape = tape.graph.shape(x)?;
    pieces.sort_by_key(|piece| piece.start);
    let axis = pieces.first().map_or(0, |piece| piece.axis);
    let follows = |start: usize, piece: &Piece| {
        (piece.axis == axis && piece.start == start && piece.end > start).then_some(piece.end)
    };
    if pieces.iter().try_fold(0, follows) == Some(shape[axis]) {
        let parts: Vec<OutletId> = pieces.iter().map(|piece| piece.gradient).collect();
        return Ok(vec![tape.graph.concat(axis, &parts)?]);
    }
    let padded = pieces.iter().map(|piece| {
        let after = shape[piece.axis] - piece.end;
        tape.graph.pad_axis(piece.gradient, piece.axis, piece.start, after)
    });
    padded.collect()
}

fn concat(tape: &mut Tape<'_>, op: &TypedConcat, site: &Site) -> TractResult<()> {
    let full = tape.full(site.gradient, &site.shape)?;
    let mut start = 0;
    for &part in &site.inputs {
        let end = start + tape.graph.shape(part)?[op.axis];
        if tape.needs(part) {
            let d = tape.graph.slice(full, op.axis, start, end)?;
            tape.give(part, d)?;
        }
        start = end;
    }
    Ok(())
}

fn pad(tape: &mut Tape<'_>, op: &Pad, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let shape = tape.graph.shape(x)?;
    let mut d = tape.full(site.gradient, &site.shape)?;
    for (axis, &(before, after)) in op.pads.iter().enumerate().rev() {
        let extent = shape[axis];
        d = match op.mode {
            _ if (before, after) == (0, 0) => d,
            PadMode::Constant(_) => tape.graph.slice(d, axis, before, before + extent)?,
            PadMode::Edge => {
                let places: Vec<usize> = (0..before + extent + after)
                    .map(|i| i.clamp(before, before + extent - 1) - before)
                    .collect();
                scatter_add(tape.graph, d, axis, &places, extent)?
            }
            PadMode::Reflect => {
                let places: Vec<usize> =
                    (0..before + extent + after).map(|i| reflected(i, before, extent)).collect();
                scatter_add(tape.graph, d, axis, &places, extent)?
            }
        };
    }
    tape.give(x, d)
}

/// The element that position `at` of an axis mirrors, which has `before` elements in front of its own.
fn reflected(at: usize, before: usize, extent: usize) -> usize {
    let distance = at.abs_diff(before);
    if distance < extent { distance } else { (2 * (extent - 1)).saturating_sub(distance) }
}

fn downsample(tape: &mut Tape<'_>, op: &Downsample, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let extent = tape.graph.shape(x)?[op.axis];
    let full = tape.full(site.gradient, &site.shape)?;
    let stride = op.stride.unsigned_abs();
    if op.stride < 0 {
        // From the last element backwards.
        let places: Vec<usize> = (0..site.shape[op.axis]).map(|i| extent - 1 - i * stride).collect();
        let d = scatter_add(tape.graph, full, op.axis, &places, extent)?;
        return tape.give(x, d);
    }
    let spread = tape.graph.insert_zeros(full, op.axis, stride)?;
    let moved = tape.graph.pad_axis(spread, op.axis, op.modulo, 0)?;
    let d = tape.graph.fit_axis(moved, op.axis, extent)?;
    tape.give(x, d)
}

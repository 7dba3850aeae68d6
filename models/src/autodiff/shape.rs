//! Operators that only move values: axes, broadcasting, slices, concatenation, padding, striding.
//! The gradient moves back the same way; what was cut off gets zeros.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Pad, Slice, TypedConcat};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::downsample::Downsample;

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
    } else {
        bail!("the operator is not covered")
    }
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

fn slice(tape: &mut Tape<'_>, op: &Slice, site: &Site) -> TractResult<()> {
    let x = site.inputs[0];
    let extent = tape.graph.shape(x)?[op.axis];
    let (start, end) = (op.start.to_usize()?, op.end.to_usize()?);
    let full = tape.full(site.gradient, &site.shape)?;
    let d = tape.graph.pad_axis(full, op.axis, start, extent - end)?;
    tape.give(x, d)
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
    ensure!(
        matches!(op.mode, tract_onnx::tract_core::ops::array::PadMode::Constant(_)),
        "padding by {:?} is not covered",
        op.mode
    );
    let x = site.inputs[0];
    let shape = tape.graph.shape(x)?;
    let mut d = tape.full(site.gradient, &site.shape)?;
    for (axis, &(before, _)) in op.pads.iter().enumerate() {
        d = tape.graph.slice(d, axis, before, before + shape[axis])?;
    }
    tape.give(x, d)
}

fn downsample(tape: &mut Tape<'_>, op: &Downsample, site: &Site) -> TractResult<()> {
    ensure!(
        op.modulo == 0 && op.stride > 0,
        "a downsampling with offset {} and stride {}",
        op.modulo,
        op.stride
    );
    let x = site.inputs[0];
    let extent = tape.graph.shape(x)?[op.axis];
    let full = tape.full(site.gradient, &site.shape)?;
    let spread = tape.graph.insert_zeros(full, op.axis, op.stride as usize)?;
    let d = tape.graph.fit_axis(spread, op.axis, extent)?;
    tape.give(x, d)
}

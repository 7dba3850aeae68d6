//! Operators that only move values.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{
    Gather, GatherElements, GatherNd, MultiBroadcastTo, Pad, PadMode, Slice, Tile, TypedConcat,
};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::nn::NearestUpsample;

use super::{Writer, list, proto};

impl Writer<'_> {
    pub(super) fn movement(
        &mut self,
        op: &dyn Op,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        let x = inputs.first().context("an operator without inputs")?.clone();
        let shape = self.shape(outlet)?;
        if let Some(op) = op.downcast_ref::<AxisOp>() {
            let AxisOp::Move(from, to) = *op else { return Ok(self.reshape(&x, &shape)) };
            let mut permutation: Vec<i64> = (0..shape.len() as i64).collect();
            let axis = permutation.remove(from);
            permutation.insert(to, axis);
            Ok(self.transpose(&x, permutation))
        } else if let Some(op) = op.downcast_ref::<Pad>() {
            self.pad(x, op)
        } else if let Some(op) = op.downcast_ref::<Slice>() {
            Ok(self.slice(x, op.axis, op.start.to_i64()?, op.end.to_i64()?, 1))
        } else if let Some(op) = op.downcast_ref::<Downsample>() {
            let extent = self.shape(node.inputs[0])?[op.axis] as i64;
            // Backwards from the last element, past the first.
            let (start, end) =
                if op.stride < 0 { (extent - 1, -extent - 1) } else { (op.modulo as i64, extent) };
            Ok(self.slice(x, op.axis, start, end, op.stride as i64))
        } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
            Ok(self.node("Concat", inputs, vec![proto::int("axis", op.axis as i64)]))
        } else if let Some(op) = op.downcast_ref::<Gather>() {
            Ok(self.node("Gather", inputs, vec![proto::int("axis", op.axis as i64)]))
        } else if let Some(op) = op.downcast_ref::<GatherElements>() {
            Ok(self.node("GatherElements", inputs, vec![proto::int("axis", op.axis as i64)]))
        } else if let Some(op) = op.downcast_ref::<GatherNd>() {
            Ok(self.node("GatherND", inputs, vec![proto::int("batch_dims", op.batch_dims as i64)]))
        } else if op.is::<MultiBroadcastTo>() {
            Ok(self.expand(&x, &shape))
        } else if let Some(op) = op.downcast_ref::<Tile>() {
            let times = op.multipliers.iter().map(|m| m.to_i64()).collect::<Result<Vec<_>, _>>()?;
            let times = self.ints(&times);
            Ok(self.node("Tile", &[x, times], vec![]))
        } else if let Some(op) = op.downcast_ref::<NearestUpsample>() {
            let from = self.shape(node.inputs[0])?;
            let apart: Vec<usize> = from.iter().flat_map(|&extent| [extent, 1]).collect();
            let spread: Vec<usize> = from.iter().zip(&op.scales).flat_map(|(&e, &s)| [e, s]).collect();
            let apart = self.reshape(&x, &apart);
            let spread = self.expand(&apart, &spread);
            Ok(self.reshape(&spread, &shape))
        } else if op.is::<Identity>() {
            Ok(self.node("Identity", inputs, vec![]))
        } else {
            bail!("no ONNX form for {}", op.name())
        }
    }

    fn expand(&mut self, x: &str, shape: &[usize]) -> String {
        let shape = self.ints(&list(shape));
        self.node("Expand", &[x.into(), shape], vec![])
    }

    fn pad(&mut self, x: String, op: &Pad) -> TractResult<String> {
        let ends = op.pads.iter().map(|p| p.0 as i64).chain(op.pads.iter().map(|p| p.1 as i64));
        let pads = self.ints(&ends.collect::<Vec<_>>());
        Ok(match &op.mode {
            PadMode::Constant(value) => match value.cast_to_scalar::<f32>()? {
                0.0 => self.node("Pad", &[x, pads], vec![]),
                value => {
                    let value = self.number(value);
                    self.node("Pad", &[x, pads, value], vec![])
                }
            },
            PadMode::Edge => self.node("Pad", &[x, pads], vec![proto::string("mode", "edge")]),
            PadMode::Reflect => self.node("Pad", &[x, pads], vec![proto::string("mode", "reflect")]),
        })
    }

    fn slice(&mut self, x: String, axis: usize, start: i64, end: i64, step: i64) -> String {
        let operands = [start, end, axis as i64, step].map(|v| self.ints(&[v]));
        self.node("Slice", &[&[x], operands.as_slice()].concat(), vec![])
    }
}

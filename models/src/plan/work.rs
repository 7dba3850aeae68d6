//! Work by family, as the operators of the decluttered graph state it.

use serde::{Deserialize, Serialize};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Cost;
use tract_onnx::tract_core::ops::array::{
    Gather, MultiBroadcastTo, Pad, Slice, StridedSlice, Tile, TypedConcat,
};
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::source::TypedSource;

/// Work of one run. Convolutions and products count multiply-adds, the other families values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Multiply-adds of convolutions.
    pub convolution: u64,
    /// Multiply-adds of matrix products, those of gradients among them.
    pub products: u64,
    /// Values passed through sums, maps, reductions and poolings.
    pub elementwise: u64,
    /// Values copied: moved axes, pads, slices, concatenations, broadcasts.
    pub movement: u64,
}

impl Work {
    /// Multiply-adds of convolutions and products.
    pub fn multiply_adds(&self) -> u64 {
        self.convolution.saturating_add(self.products)
    }

    pub(super) fn of(model: &TypedModel) -> TractResult<Self> {
        let mut work = Self::default();
        for id in model.eval_order()? {
            work.add(model, model.node(id))?;
        }
        Ok(work)
    }

    fn add(&mut self, model: &TypedModel, node: &TypedNode) -> TractResult<()> {
        let inputs = model.node_input_facts(node.id)?;
        let mut multiply_adds = 0u64;
        for (cost, count) in node.op.cost(&inputs)? {
            if matches!(cost, Cost::FMA(_)) {
                multiply_adds = multiply_adds.saturating_add(count.to_usize()? as u64);
            }
        }
        let values = |fact: &TypedFact| -> TractResult<u64> {
            let shape = fact.shape.as_concrete().context("a symbolic shape")?;
            Ok(shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64)))
        };
        let made = node.outputs.iter().try_fold(0u64, |n, o| {
            let made = values(&o.fact)?;
            TractResult::Ok(n.saturating_add(made))
        })?;
        let name = node.op.name();
        let (family, amount) = if node.op_is::<TypedSource>() || node.op_is::<Const>() {
            return Ok(());
        } else if name.contains("Conv") || name.contains("conv") {
            (&mut self.convolution, multiply_adds)
        } else if name.contains("EinSum") || name.contains("MatMul") {
            (&mut self.products, multiply_adds)
        } else if let Some(axis) = node.op_as::<AxisOp>() {
            (&mut self.movement, if matches!(axis, AxisOp::Move(..)) { made } else { 0 })
        } else if moves(node) {
            (&mut self.movement, made)
        } else {
            let read = inputs.first().map_or(Ok(0), |fact| values(fact))?;
            (&mut self.elementwise, made.max(read))
        };
        *family = family.saturating_add(amount);
        Ok(())
    }
}

fn moves(node: &TypedNode) -> bool {
    node.op_is::<Gather>()
        || node.op_is::<MultiBroadcastTo>()
        || node.op_is::<Pad>()
        || node.op_is::<Slice>()
        || node.op_is::<StridedSlice>()
        || node.op_is::<Tile>()
        || node.op_is::<TypedConcat>()
}

//! Channels last. tract's matrix kernels eat channels-last feature maps without packing them anew, a
//! per-channel operand becomes a row that repeats, and sums over positions become sums over rows. So
//! every graph is rewritten to that layout before it is differentiated or run.
//!
//! Convolutions ask for their input channels last and give their output so; pooling, operators that
//! treat all axes alike, and reductions go along; whatever else reads a value gets it channels first again.
//! Inputs and outputs of the graph keep their layout.

use std::collections::{HashMap, HashSet};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce};
use tract_onnx::tract_core::ops::source::TypedSource;

use crate::fused::{BatchNorm, Call, Clipped};
use crate::passes;

/// `model` with convolutions, and what lies between them, computed channels last.
pub fn channels_last(model: &TypedModel) -> TractResult<TypedModel> {
    let target = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let mut rewrite = Rewrite { target, first: HashMap::new(), last: HashMap::new() };
    // Inputs first: one that no output needs is in no evaluation order.
    let inputs = model.input_outlets()?.iter().map(|o| o.node);
    let order: Vec<usize> = inputs.chain(model.eval_order()?).collect();
    let mut met = HashSet::new();
    for id in order.into_iter().filter(|id| met.insert(*id)) {
        rewrite.node(model.node(id))?;
    }
    let outputs = model
        .output_outlets()?
        .iter()
        .map(|o| rewrite.in_order(*o, Order::First))
        .collect::<TractResult<Vec<_>>>()?;
    rewrite.target.select_output_outlets(&outputs)?;
    let inputs = model
        .input_outlets()?
        .iter()
        .map(|o| rewrite.in_order(*o, Order::First))
        .collect::<TractResult<Vec<_>>>()?;
    rewrite.target.set_input_outlets(&inputs)?;
    let mut model = rewrite.target;
    passes::declutter(&mut model)?;
    Ok(model)
}

/// Order of the axes of a value: batch and channels in front, or channels at the end.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    First,
    Last,
}

/// The graph being built. Every value of the old one is in at least one of the maps.
struct Rewrite {
    target: TypedModel,
    first: HashMap<OutletId, OutletId>,
    last: HashMap<OutletId, OutletId>,
}

impl Rewrite {
    /// The new value of `old` in the order asked for, moving its axes when it is there in the other only.
    fn in_order(&mut self, old: OutletId, order: Order) -> TractResult<OutletId> {
        let (wanted, other) = match order {
            Order::First => (&mut self.first, &self.last),
            Order::Last => (&mut self.last, &self.first),
        };
        if let Some(&known) = wanted.get(&old) {
            return Ok(known);
        }
        let from = *other.get(&old).context("a value that nothing computes")?;
        let end = self.target.outlet_fact(from)?.rank() - 1;
        let (axis, suffix) = if order == Order::Last {
            (AxisOp::Move(1, end), "last")
        } else {
            (AxisOp::Move(end, 1), "first")
        };
        let name = format!("{}.{}.{suffix}", self.target.node(from.node).name, from.slot);
        let moved = self.target.wire_node(name, axis, &[from])?[0];
        wanted.insert(old, moved);
        Ok(moved)
    }

    fn all_in_order(&mut self, old: &[OutletId], order: Order) -> TractResult<TVec<OutletId>> {
        old.iter().map(|o| self.in_order(*o, order)).collect()
    }

    fn node(&mut self, node: &TypedNode) -> TractResult<()> {
        let rank = node.outputs.first().map_or(0, |o| o.fact.rank());
        let flows_last = rank >= 3 && node.inputs.iter().any(|i| !self.first.contains_key(i));
        let mut order = Order::First;
        let outputs = if node.op_is::<TypedSource>() {
            tvec!(self.target.add_source(&node.name, node.outputs[0].fact.clone())?)
        } else if let Some(conv) =
            node.op_as::<Conv>().filter(|c| c.pool_spec.data_format == DataFormat::NCHW)
        {
            order = Order::Last;
            self.convolution(node, conv)?
        } else if let (true, Some(pool)) = (flows_last, pool_last(node)) {
            order = Order::Last;
            let inputs = self.all_in_order(&node.inputs, order)?;
            self.target.wire_node(&node.name, pool, &inputs)?
        } else if let Some(norm) = channels_first_norm(node) {
            order = Order::Last;
            let mut inputs = self.all_in_order(&node.inputs, Order::First)?;
            inputs[0] = self.in_order(node.inputs[0], Order::Last)?;
            let call = Call::BatchNorm(norm.channels_last());
            let outputs = self.target.wire_node(&node.name, call, &inputs)?;
            // Mean and variance have one axis, whose order is both.
            for (slot, &row) in outputs.iter().enumerate().skip(1) {
                self.first.insert(OutletId::new(node.id, slot), row);
            }
            outputs
        } else if let (true, Some(clipped)) = (flows_last, clip_gradient(node)) {
            order = Order::Last;
            let inputs = self.all_in_order(&node.inputs, order)?;
            let call = Call::ClipGradient(clipped.channels_last());
            self.target.wire_node(&node.name, call, &inputs)?
        } else if flows_last && (node.op_is::<TypedBinOp>() || node.op_is::<ElementWiseOp>()) {
            order = Order::Last;
            let inputs = self.all_in_order(&node.inputs, order)?;
            self.target.wire_node(&node.name, node.op.clone(), &inputs)?
        } else if let (true, Some(reduce)) = (flows_last, node.op_as::<Reduce>()) {
            order = Order::Last;
            let inputs = self.all_in_order(&node.inputs, order)?;
            self.target.wire_node(&node.name, reduce_last(reduce, rank), &inputs)?
        } else {
            let inputs = self.all_in_order(&node.inputs, order)?;
            self.target.wire_node(&node.name, node.op.clone(), &inputs)?
        };
        let known = if order == Order::Last { &mut self.last } else { &mut self.first };
        known.extend(outputs.iter().enumerate().map(|(slot, &o)| (OutletId::new(node.id, slot), o)));
        Ok(())
    }

    fn convolution(&mut self, node: &TypedNode, conv: &Conv) -> TractResult<TVec<OutletId>> {
        let mut inputs = self.all_in_order(&node.inputs[1..], Order::First)?;
        inputs.insert(0, self.in_order(node.inputs[0], Order::Last)?);
        let mut conv = conv.clone();
        conv.pool_spec.data_format = DataFormat::NHWC;
        self.target.wire_node(&node.name, conv, &inputs)
    }
}

/// The same pooling with channels last; `None` for any other operator.
fn pool_last(node: &TypedNode) -> Option<Box<dyn TypedOp>> {
    let last = |spec: &PoolSpec| PoolSpec { data_format: DataFormat::NHWC, ..spec.clone() };
    let is_first = |spec: &PoolSpec| spec.data_format == DataFormat::NCHW;
    if let Some(pool) = node.op_as::<MaxPool>() {
        let moves = is_first(&pool.pool_spec) && pool.with_index_outputs.is_none();
        moves.then(|| MaxPool { pool_spec: last(&pool.pool_spec), ..pool.clone() }.into())
    } else if let Some(pool) = node.op_as::<SumPool>() {
        is_first(&pool.pool_spec).then(|| SumPool { pool_spec: last(&pool.pool_spec), ..pool.clone() }.into())
    } else {
        None
    }
}

/// A batch norm as encoders are authored, over maps with channels on axis 1.
fn channels_first_norm(node: &TypedNode) -> Option<&BatchNorm> {
    match node.op_as::<Call>() {
        Some(Call::BatchNorm(norm)) if norm.axis == 1 && norm.shape.len() > 2 => Some(norm),
        _ => None,
    }
}

/// The gradient of a clip, which treats all axes alike but speaks of their extents.
fn clip_gradient(node: &TypedNode) -> Option<&Clipped> {
    match node.op_as::<Call>() {
        Some(Call::ClipGradient(clipped)) => Some(clipped),
        _ => None,
    }
}

/// The same reduction over channels-last axes.
fn reduce_last(reduce: &Reduce, rank: usize) -> Reduce {
    let moved = |&axis: &usize| match axis {
        0 => 0,
        1 => rank - 1,
        spatial => spatial - 1,
    };
    let mut axes: TVec<usize> = reduce.axes.iter().map(moved).collect();
    axes.sort_unstable();
    Reduce { axes, ..reduce.clone() }
}

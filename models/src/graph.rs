//! Wiring onto tract's typed graph. Objectives, gradients and optimisers are all written with these
//! few operations, each of which says its own shape rule; constants that change nothing (a reshape
//! to the same shape, a sum over no axis) add no node.
//!
//! Broadcasting follows tract: operands have one rank, and an axis of extent one stretches.

use std::collections::{HashMap, HashSet};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::{Iff, comp_lte};
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use crate::fused::{Call, Shaped};

/// Makes a step of a ramp: `min(x * STEEP, 1)` is one for every positive normal `x`, zero for zero.
/// Arithmetic instead of a comparison, because tract fuses it.
pub(crate) const STEEP: f32 = 1e38;

/// The scope of nodes that gradient rules wire.
pub(crate) const BACKWARD: &str = "backward";

/// A typed graph that is being added to.
pub(crate) struct Graph {
    pub(crate) model: TypedModel,
    /// How many nodes the model had when adding began.
    given: usize,
    scope: &'static str,
    count: usize,
    scalars: HashMap<(u32, usize), OutletId>,
    detached: HashSet<usize>,
}

impl Graph {
    pub(crate) fn new(model: TypedModel) -> Self {
        let given = model.nodes().len();
        Self { model, given, scope: "forward", count: 0, scalars: HashMap::new(), detached: HashSet::new() }
    }

    /// Whether the node was there before anything was added.
    pub(crate) fn is_given(&self, node: usize) -> bool {
        node < self.given
    }

    /// Names given to nodes from here on begin with `scope`.
    pub(crate) fn enter(&mut self, scope: &'static str) {
        self.scope = scope;
    }

    /// Lets no gradient through `o`.
    pub(crate) fn detach(&mut self, o: OutletId) -> OutletId {
        self.detached.insert(o.node);
        o
    }

    pub(crate) fn is_detached(&self, node: usize) -> bool {
        self.detached.contains(&node)
    }

    /// Says in the graph itself what [`detach`](Self::detach) said beside it: whatever reads a detached value so
    /// far reads it through a call that stops gradients.
    pub(crate) fn state_detached(&mut self) -> TractResult<()> {
        let mut detached: Vec<usize> = self.detached.iter().copied().collect();
        detached.sort_unstable();
        for node in detached {
            let value = OutletId::new(node, 0);
            let readers = self.model.outlet_successors(value).to_vec();
            let shape = self.shape(value)?.to_vec();
            let stopped = self.call(Call::StopGradient(Shaped { shape }), &[value])?;
            let stopped = *stopped.first().context("a call without output")?;
            for reader in readers {
                self.model.add_edge(stopped, reader)?;
            }
        }
        Ok(())
    }

    pub(crate) fn shape(&self, o: OutletId) -> TractResult<TVec<usize>> {
        let fact = self.model.outlet_fact(o)?;
        let shape = fact.shape.as_concrete().with_context(|| {
            format!("`{}` has the symbolic shape {:?}", self.model.node(o.node).name, fact.shape)
        })?;
        Ok(shape.into())
    }

    pub(crate) fn rank(&self, o: OutletId) -> TractResult<usize> {
        Ok(self.model.outlet_fact(o)?.rank())
    }

    /// A name that no other node has, for one that does `what`.
    pub(crate) fn fresh_name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{}.{}.{what}", self.scope, self.count)
    }

    /// Adds `op` over `inputs`; gives its only output.
    pub(crate) fn node(
        &mut self,
        op: impl Into<Box<dyn TypedOp>>,
        inputs: &[OutletId],
    ) -> TractResult<OutletId> {
        let op = op.into();
        if self.scope == BACKWARD
            && let Some(known) = self.same(&*op, inputs)
        {
            return Ok(known);
        }
        let name = self.fresh_name(&op.name());
        let outputs = self.model.wire_node(name, op, inputs)?;
        outputs.first().copied().context("operator without output")
    }

    /// A node that does `op` over `inputs` already. Rules ask for the same value again and again (a
    /// square, a mask), and tract's own merging of equal nodes fails on pairs of them whose inputs list
    /// them in different orders.
    fn same(&self, op: &dyn TypedOp, inputs: &[OutletId]) -> Option<OutletId> {
        let first = inputs.first()?;
        let users = &self.model.node(first.node).outputs.get(first.slot)?.successors;
        let mut nodes = users.iter().map(|user| self.model.node(user.node));
        nodes.find(|node| node.inputs.as_slice() == inputs && *node.op == *op).map(|node| node.id.into())
    }

    pub(crate) fn source(&mut self, name: &str, shape: &[usize]) -> TractResult<OutletId> {
        self.model.add_source(name, f32::fact(shape))
    }

    pub(crate) fn constant(&mut self, value: Tensor) -> TractResult<OutletId> {
        let name = self.fresh_name("constant");
        self.model.add_const(name, value)
    }

    /// A constant of `rank` axes of extent one; equal ones are shared.
    pub(crate) fn scalar(&mut self, value: f32, rank: usize) -> TractResult<OutletId> {
        let key = (value.to_bits(), rank);
        if let Some(&known) = self.scalars.get(&key) {
            return Ok(known);
        }
        let outlet = self.constant(tensor0(value).broadcast_into_rank(rank)?)?;
        self.scalars.insert(key, outlet);
        Ok(outlet)
    }

    pub(crate) fn binary(&mut self, op: TypedBinOp, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.node(op, &[a, b])
    }

    pub(crate) fn add(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.binary(math::add(), a, b)
    }

    pub(crate) fn sub(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.binary(math::sub(), a, b)
    }

    pub(crate) fn mul(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.binary(math::mul(), a, b)
    }

    pub(crate) fn div(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.binary(math::div(), a, b)
    }

    /// `a * factor`; `a` itself for one.
    pub(crate) fn scale(&mut self, a: OutletId, factor: f32) -> TractResult<OutletId> {
        if factor == 1.0 {
            return Ok(a);
        }
        let rank = self.rank(a)?;
        let factor = self.scalar(factor, rank)?;
        self.mul(a, factor)
    }

    pub(crate) fn offset(&mut self, a: OutletId, term: f32) -> TractResult<OutletId> {
        let rank = self.rank(a)?;
        let term = self.scalar(term, rank)?;
        self.add(a, term)
    }

    pub(crate) fn element(&mut self, op: ElementWiseOp, a: OutletId) -> TractResult<OutletId> {
        self.node(op, &[a])
    }

    /// Sum over `axes`, which stay with extent one.
    pub(crate) fn sum(&mut self, a: OutletId, axes: &[usize]) -> TractResult<OutletId> {
        if axes.is_empty() {
            return Ok(a);
        }
        self.node(Reduce::new(axes.into(), Reducer::Sum), &[a])
    }

    /// Maximum over one axis, which stays with extent one.
    pub(crate) fn max(&mut self, a: OutletId, axis: usize) -> TractResult<OutletId> {
        self.node(Reduce::new(tvec!(axis), Reducer::Max), &[a])
    }

    pub(crate) fn reshape(&mut self, a: OutletId, to: &[usize]) -> TractResult<OutletId> {
        let from = self.shape(a)?;
        if &*from == to {
            return Ok(a);
        }
        let dims = |shape: &[usize]| shape.iter().map(|d| d.to_dim()).collect::<TVec<_>>();
        self.node(AxisOp::Reshape(0, dims(&from), dims(to)), &[a])
    }

    pub(crate) fn move_axis(&mut self, a: OutletId, from: usize, to: usize) -> TractResult<OutletId> {
        if from == to {
            return Ok(a);
        }
        self.node(AxisOp::Move(from, to), &[a])
    }

    /// Adds axes of extent one in front until `a` has `rank` axes.
    pub(crate) fn lift_rank(&mut self, mut a: OutletId, rank: usize) -> TractResult<OutletId> {
        while self.rank(a)? < rank {
            a = self.node(AxisOp::Add(0), &[a])?;
        }
        Ok(a)
    }

    /// Product of two tensors by an Einstein equation such as `ik,jk->ij`.
    pub(crate) fn einsum(&mut self, equation: &str, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.product(equation, &[a, b])
    }

    /// Product of any number of tensors by an Einstein equation. An axis of the output that no factor
    /// has gets extent one.
    pub(crate) fn product(&mut self, equation: &str, factors: &[OutletId]) -> TractResult<OutletId> {
        let op = EinSum { axes: equation.parse()?, operating_dt: f32::datum_type(), q_params: None };
        self.node(op, factors)
    }

    /// `a` to a constant power.
    pub(crate) fn power(&mut self, a: OutletId, exponent: f32) -> TractResult<OutletId> {
        let rank = self.rank(a)?;
        match exponent {
            0.0 => self.scalar(1.0, rank),
            1.0 => Ok(a),
            2.0 => self.element(math::square(), a),
            0.5 => self.element(math::sqrt(), a),
            -1.0 => self.element(math::recip(), a),
            _ => self.element(math::pow_const(exponent), a),
        }
    }

    /// One where `a` is positive, zero elsewhere.
    pub(crate) fn step(&mut self, a: OutletId) -> TractResult<OutletId> {
        let rank = self.rank(a)?;
        let zero = self.scalar(0.0, rank)?;
        let ramp = self.binary(math::max(), a, zero)?;
        self.step_of_ramp(ramp)
    }

    /// One where `a` is positive, zero where it is zero, for an `a` that is never negative.
    pub(crate) fn step_of_ramp(&mut self, a: OutletId) -> TractResult<OutletId> {
        let steep = self.scale(a, STEEP)?;
        let rank = self.rank(a)?;
        let one = self.scalar(1.0, rank)?;
        self.binary(math::min(), steep, one)
    }

    /// The slices of `axis` at `indices`, in that order.
    pub(crate) fn gather(&mut self, a: OutletId, axis: usize, indices: &[i64]) -> TractResult<OutletId> {
        let indices = self.constant(tensor1(indices))?;
        self.node(Gather::new(axis), &[a, indices])
    }

    /// Padding of one axis with zeros.
    pub(crate) fn pad_axis(
        &mut self,
        a: OutletId,
        axis: usize,
        before: usize,
        after: usize,
    ) -> TractResult<OutletId> {
        self.pad_axis_with(a, axis, before, after, 0.0)
    }

    /// Padding of one axis with `value`.
    pub(crate) fn pad_axis_with(
        &mut self,
        a: OutletId,
        axis: usize,
        before: usize,
        after: usize,
        value: f32,
    ) -> TractResult<OutletId> {
        let mut pads = vec![(0, 0); self.rank(a)?];
        *pads.get_mut(axis).with_context(|| format!("no axis {axis} to pad"))? = (before, after);
        if (before, after) == (0, 0) {
            return Ok(a);
        }
        self.node(Pad { pads, mode: PadMode::Constant(rctensor0(value)) }, &[a])
    }

    /// `start..end` of one axis.
    pub(crate) fn slice(
        &mut self,
        a: OutletId,
        axis: usize,
        start: usize,
        end: usize,
    ) -> TractResult<OutletId> {
        if start == 0 && self.shape(a)?.get(axis) == Some(&end) {
            return Ok(a);
        }
        self.node(Slice::new(axis, start, end), &[a])
    }

    pub(crate) fn concat(&mut self, axis: usize, parts: &[OutletId]) -> TractResult<OutletId> {
        match parts {
            [one] => Ok(*one),
            _ => self.node(TypedConcat::new(axis), parts),
        }
    }

    /// `a` stretched to `shape`.
    pub(crate) fn broadcast(&mut self, a: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        if &*self.shape(a)? == shape {
            return Ok(a);
        }
        let shape = shape.iter().map(|d| d.to_dim()).collect::<TVec<_>>().into();
        self.node(MultiBroadcastTo { shape }, &[a])
    }

    /// Spreads an axis: `stride - 1` zeros after every element of it.
    pub(crate) fn insert_zeros(&mut self, a: OutletId, axis: usize, stride: usize) -> TractResult<OutletId> {
        if stride == 1 {
            return Ok(a);
        }
        let mut shape = self.shape(a)?;
        let a = self.node(AxisOp::Add(axis + 1), &[a])?;
        let a = self.pad_axis(a, axis + 1, 0, stride - 1)?;
        shape[axis] *= stride;
        self.reshape(a, &shape)
    }

    /// Zero-pads or cuts the end of `axis` to reach `extent`.
    pub(crate) fn fit_axis(&mut self, a: OutletId, axis: usize, extent: usize) -> TractResult<OutletId> {
        let now = self.shape(a)?[axis];
        if now > extent { self.slice(a, axis, 0, extent) } else { self.pad_axis(a, axis, 0, extent - now) }
    }

    /// All values of `a` as one row, `[1, values]`.
    pub(crate) fn row(&mut self, a: OutletId) -> TractResult<OutletId> {
        let values: usize = self.shape(a)?.iter().product();
        self.reshape(a, &[1, values])
    }

    /// Euclidean norm of all values of `parts` together, `[1, 1]`.
    pub(crate) fn norm(&mut self, parts: &[OutletId]) -> TractResult<OutletId> {
        let mut squares = vec![];
        for &part in parts {
            let row = self.row(part)?;
            let square = self.mul(row, row)?;
            squares.push(self.sum(square, &[1])?);
        }
        let squares = self.concat(0, &squares)?;
        let total = self.sum(squares, &[0])?;
        self.element(math::sqrt(), total)
    }

    /// Whether `a <= b`, value by value.
    pub(crate) fn at_most(&mut self, a: OutletId, b: OutletId) -> TractResult<OutletId> {
        self.binary(TypedBinOp(comp_lte(), None), a, b)
    }

    /// `yes` where `condition` holds, `no` elsewhere. Unlike a product with zero it lets no NaN through.
    pub(crate) fn choose(
        &mut self,
        condition: OutletId,
        yes: OutletId,
        no: OutletId,
    ) -> TractResult<OutletId> {
        self.node(Iff, &[condition, yes, no])
    }

    /// Copies what computes `roots`, with the keys of `replaced` (source nodes) exchanged for their
    /// values; gives the copies. Nodes that depend on no exchanged value are shared, not copied.
    pub(crate) fn stamp(
        &mut self,
        roots: &[OutletId],
        replaced: &HashMap<OutletId, OutletId>,
    ) -> TractResult<Vec<OutletId>> {
        self.model.select_output_outlets(roots)?;
        let mut copies = replaced.clone();
        for id in self.model.eval_order()? {
            let node = self.model.node(id);
            if !node.inputs.iter().any(|input| copies.contains_key(input)) {
                continue;
            }
            let inputs: Vec<OutletId> =
                node.inputs.iter().map(|input| *copies.get(input).unwrap_or(input)).collect();
            let op = node.op.clone();
            self.count += 1;
            let name = format!("{}.{}.{}", self.scope, self.count, op.name());
            let outputs = self.model.wire_node(name, op, &inputs)?;
            copies.extend(outputs.iter().enumerate().map(|(slot, &o)| (OutletId::new(id, slot), o)));
        }
        Ok(roots.iter().map(|root| *copies.get(root).unwrap_or(root)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_copies_only_what_depends_on_what_is_replaced() {
        let mut graph = Graph::new(TypedModel::default());
        let (x, w, t) = (
            graph.source("x", &[2, 3]).unwrap(),
            graph.source("w", &[2, 3]).unwrap(),
            graph.source("t", &[2, 3]).unwrap(),
        );
        let shared = graph.element(math::exp(), x).unwrap();
        let product = graph.mul(shared, w).unwrap();
        let root = graph.add(product, shared).unwrap();
        let before = graph.model.nodes().len();
        let stamped = graph.stamp(&[root, shared], &HashMap::from([(w, t)])).unwrap();
        assert_eq!(graph.model.nodes().len(), before + 2, "a product and a sum");
        assert_eq!(stamped[1], shared);
        let sum = graph.model.node(stamped[0].node).clone();
        assert_eq!(sum.inputs[1], shared);
        assert_eq!(graph.model.node(sum.inputs[0].node).inputs.as_slice(), [shared, t]);
    }
}

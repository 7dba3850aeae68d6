//! Reverse-mode differentiation of a typed graph: walks the nodes that lie between the trained
//! weights and the loss backwards, and lets each operator's rule wire its vector-Jacobian product
//! (Griewank & Walther 2008, chapter 3). The result is more nodes of the same graph.
//!
//! One file a family of operators. A rule sees its node, the gradient of its output, and [`Tape`],
//! through which it wires and hands gradients to its inputs. An operator without a rule is an error
//! that names the node.
//!
//! **Lazy gradients.** The gradient of a sum is the same value everywhere. It is kept with extent one
//! along such axes instead of being written out, and stretches where it meets a full operand. So a
//! gradient has the rank of its value, and each axis either the value's extent or one.

//! **Kinks.** Single precision agrees with double to about 1e-5 of a weight's largest gradient, except
//! where a value lies within rounding of a kink (of a clip, a maximum) and falls on its other side: its
//! whole gradient then comes or goes. One such value is enough to show in the third digit of a small
//! weight's gradient, and the more values a network has, the likelier one becomes. For a MobileNetV2-like
//! network with ReLU6 and NT-Xent (`models/goldens/kinks.py`, PyTorch, 64 images), one of 14 million
//! masks differs at 64x64, 3e-7 from its kink, and float32 misses float64 by 5e-3; three of 32 million
//! at 96x96 and 2e-3. Float64 with the masks that float32 found misses by exactly as much, and float32
//! agrees with that to 4e-5 and 1e-4. Neither gradient is wrong: the loss has no derivative at a kink.

mod activation;
mod batch_norm;
pub(crate) mod convolution;
mod cut;
mod einsum;
mod elementwise;
mod gather;
mod norm;
mod pair;
mod pool;
mod reduce;
mod select;
mod shape;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops;

pub use cut::TrainableCut;

use crate::fused::Call;
use crate::graph::{BACKWARD, Graph};

/// An operator that has no gradient rule, or one that its rule does not cover.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no gradient rule for operator {operator} of node `{node}` (output {shape:?}): {reason}; {cut}")]
pub struct NoRule {
    /// The node's name.
    pub node: String,
    /// The operator.
    pub operator: String,
    /// Shape of its output.
    pub shape: Vec<usize>,
    /// What is missing.
    pub reason: String,
    /// What could be trained instead.
    pub cut: TrainableCut,
}

/// An operator met without a rule; the walk goes on to learn what lies after all of them.
struct Gap {
    node: usize,
    reason: String,
}

/// The state of one backward walk.
pub(crate) struct Tape<'g> {
    pub(crate) graph: &'g mut Graph,
    gradients: HashMap<OutletId, OutletId>,
    /// Gradients of slices of a value, joined when all of them are known.
    pieces: HashMap<OutletId, Vec<shape::Piece>>,
    /// Whether a node of the forward graph depends on a trained weight.
    needed: Vec<bool>,
    /// Nodes whose gradient passes through unchanged, because a later rule covered them too.
    transparent: Vec<usize>,
}

/// One node as its rule sees it.
pub(crate) struct Site {
    pub(crate) inputs: TVec<OutletId>,
    pub(crate) output: OutletId,
    pub(crate) shape: TVec<usize>,
    /// Gradient of the output, possibly lazy.
    pub(crate) gradient: OutletId,
}

/// Wires the gradients of the scalar `loss` with respect to `weights`; gives them in that order, each
/// with its weight's full shape. A weight that does not reach the loss is an error.
pub(crate) fn differentiate(
    graph: &mut Graph,
    loss: OutletId,
    weights: &[OutletId],
) -> TractResult<Vec<OutletId>> {
    graph.enter(BACKWARD);
    let order = graph.model.eval_order()?;
    let needed = depends_on(graph, &order, weights);
    let rank = graph.rank(loss)?;
    let one = graph.scalar(1.0, rank)?;
    let gradients = HashMap::from([(loss, one)]);
    let mut tape = Tape { graph, gradients, pieces: HashMap::new(), needed, transparent: vec![] };
    let mut gaps = vec![];
    for &id in order.iter().rev() {
        if tape.needed.get(id) == Some(&true) {
            gaps.extend(tape.visit(id)?);
        }
    }
    match gaps.first() {
        Some(nearest) => Err(TractError::new(no_rule(graph, weights, &gaps, nearest)?)),
        None => weights.iter().map(|&weight| tape.finished(weight)).collect(),
    }
}

fn no_rule(graph: &Graph, weights: &[OutletId], gaps: &[Gap], nearest: &Gap) -> TractResult<NoRule> {
    let node = graph.model.node(nearest.node);
    let nodes: Vec<usize> = gaps.iter().map(|gap| gap.node).collect();
    Ok(NoRule {
        node: node.name.clone(),
        operator: node.op.name().to_string(),
        shape: graph.shape(OutletId::new(nearest.node, 0))?.to_vec(),
        reason: nearest.reason.clone(),
        cut: TrainableCut::find(graph, weights, &nodes),
    })
}

fn depends_on(graph: &Graph, order: &[usize], weights: &[OutletId]) -> Vec<bool> {
    let model = &graph.model;
    let mut needed = vec![false; model.nodes().len()];
    for weight in weights {
        needed[weight.node] = true;
    }
    for &id in order {
        if !graph.is_detached(id) && model.node(id).inputs.iter().any(|input| needed[input.node]) {
            needed[id] = true;
        }
    }
    needed
}

impl Tape<'_> {
    /// Whether the value depends on a trained weight. Nodes wired by rules never do.
    pub(crate) fn needs(&self, o: OutletId) -> bool {
        self.needed.get(o.node) == Some(&true)
    }

    /// Adds `gradient` to what is known of the gradient of `o`.
    pub(crate) fn give(&mut self, o: OutletId, gradient: OutletId) -> TractResult<()> {
        if !self.needs(o) {
            return Ok(());
        }
        let total = match self.gradients.get(&o) {
            Some(&known) => self.graph.add(known, gradient)?,
            None => gradient,
        };
        self.gradients.insert(o, total);
        Ok(())
    }

    /// What is known of the gradient of `o`, its slices joined.
    fn gradient(&mut self, o: OutletId) -> TractResult<Option<OutletId>> {
        if let Some(pieces) = self.pieces.remove(&o) {
            for whole in shape::joined(self, o, pieces)? {
                self.give(o, whole)?;
            }
        }
        Ok(self.gradients.get(&o).copied())
    }

    /// Writes a lazy gradient out to `shape`.
    pub(crate) fn full(&mut self, gradient: OutletId, shape: &[usize]) -> TractResult<OutletId> {
        self.graph.broadcast(gradient, shape)
    }

    /// Undoes broadcasting: `gradient` (of a value of shape `from`, possibly lazy) summed over the axes
    /// along which an operand of shape `to` was stretched.
    pub(crate) fn unbroadcast(
        &mut self,
        gradient: OutletId,
        from: &[usize],
        to: &[usize],
    ) -> TractResult<OutletId> {
        let shape = self.graph.shape(gradient)?;
        let mut axes = vec![];
        let mut repeated = 1;
        for axis in 0..shape.len() {
            if to[axis] == 1 && from[axis] != 1 {
                // A lazy axis holds the same value everywhere: its sum is a product.
                if shape[axis] == 1 {
                    repeated *= from[axis];
                } else {
                    axes.push(axis);
                }
            }
        }
        let summed = self.graph.sum(gradient, &axes)?;
        self.graph.scale(summed, repeated as f32)
    }

    /// Marks `node` as covered by the rule of one of its users.
    pub(crate) fn pass_through(&mut self, node: usize) {
        self.transparent.push(node);
    }

    /// The value of a constant holding one number.
    pub(crate) fn constant_scalar(&self, o: OutletId) -> Option<f32> {
        let fact = self.graph.model.outlet_fact(o).ok()?;
        let value = fact.konst.as_ref().filter(|k| k.len() == 1)?;
        value.cast_to_scalar::<f32>().ok()
    }

    /// How many nodes of the forward graph read `o`.
    pub(crate) fn forward_users(&self, o: OutletId) -> usize {
        let successors = self.graph.model.node(o.node).outputs.get(o.slot).map(|o| &o.successors);
        successors.map_or(0, |s| s.iter().filter(|s| s.node < self.needed.len()).count())
    }

    fn finished(&mut self, weight: OutletId) -> TractResult<OutletId> {
        let gradient = self.gradient(weight)?;
        let name = &self.graph.model.node(weight.node).name;
        let gradient = gradient.with_context(|| format!("weight `{name}` does not reach the loss"))?;
        let shape = self.graph.shape(weight)?;
        self.full(gradient, &shape)
    }

    /// Applies the rule of one node; gives the gap when there is none.
    fn visit(&mut self, id: usize) -> TractResult<Option<Gap>> {
        let node = self.graph.model.node(id).clone();
        let output = OutletId::new(id, 0);
        let Some(gradient) = self.gradient(output)? else { return Ok(None) };
        if node.inputs.is_empty() {
            return Ok(None);
        }
        if self.transparent.contains(&id) {
            self.give(node.inputs[0], gradient)?;
            return Ok(None);
        }
        let shape = self.graph.shape(output)?;
        let site = Site { inputs: node.inputs.iter().copied().collect(), output, shape, gradient };
        let applied = self.apply_rule(&node, &site);
        Ok(applied.err().map(|error| Gap { node: id, reason: format!("{error:#}") }))
    }

    fn apply_rule(&mut self, node: &TypedNode, site: &Site) -> TractResult<()> {
        let op = node.op.as_op();
        if let Some(op) = op.downcast_ref::<ops::cnn::Conv>() {
            convolution::rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::Deconv>() {
            convolution::transposed_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::MaxPool>() {
            pool::max_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::SumPool>() {
            pool::sum_rule(self, op, site)
        } else if let Some(Call::BatchNorm(norm)) = op.downcast_ref::<Call>() {
            batch_norm::rule(self, norm, site)
        } else if let Some(Call::LayerNorm(norm)) = op.downcast_ref::<Call>() {
            norm::layer_rule(self, norm, site)
        } else if let Some(op) = op.downcast_ref::<ops::einsum::EinSum>() {
            einsum::rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::binary::TypedBinOp>() {
            pair::rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::element_wise::ElementWiseOp>() {
            elementwise::rule(self, op, site)
        } else if op.is::<ops::logic::Iff>() {
            select::rule(self, site)
        } else if let Some(op) = op.downcast_ref::<ops::nn::Reduce>() {
            reduce::rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::array::CumSum>() {
            reduce::cumulative_sum_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::nn::Softmax>() {
            norm::softmax_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::nn::RmsNorm>() {
            norm::rms_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::array::Gather>() {
            gather::gather_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::array::GatherElements>() {
            gather::elements_rule(self, op, site)
        } else if let Some(op) = op.downcast_ref::<ops::array::GatherNd>() {
            gather::nd_rule(self, op, site)
        } else {
            shape::rule(self, op, site)
        }
    }
}

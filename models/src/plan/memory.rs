//! Memory by liveness. tract keeps every value until its last reader has taken it, lets some operators
//! write into an input that nobody else holds, and keeps constants and inputs throughout; the same is
//! done here with sizes in place of buffers.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::{OptBinByScalar, OptBinChain, OptBinUnicast, TypedBinOp};
use tract_onnx::tract_core::ops::change_axes::{AxisOp, IntoShape};
use tract_onnx::tract_core::ops::cnn::conv::Im2Col;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;

use super::{LARGEST, LargeValue};

/// Bytes, and where they are.
pub(super) struct Memory {
    pub(super) peak: usize,
    pub(super) peak_at: String,
    pub(super) constants: usize,
    pub(super) inputs: usize,
    pub(super) nodes: usize,
    pub(super) largest: Vec<LargeValue>,
}

impl Memory {
    /// Replays the evaluation of `model`, which is optimised and of fixed shapes.
    pub(super) fn of(model: &TypedModel) -> TractResult<Self> {
        let mut order = model.eval_order_opt_ram()?;
        order.retain(|id| !model.node(*id).op_is::<Const>());
        let mut replay = Replay::new(model, &order)?;
        let mut memory = Self {
            peak: replay.live,
            peak_at: String::new(),
            constants: replay.constants,
            inputs: replay.inputs,
            nodes: order.len(),
            largest: vec![],
        };
        for (step, &id) in order.iter().enumerate() {
            let made = replay.evaluate(step, model.node(id))?;
            if made.live > memory.peak {
                memory.peak = made.live;
                memory.peak_at.clone_from(&model.node(id).name);
            }
            if made.bytes > 0 {
                let name = model.node(id).name.clone();
                memory.largest.push(LargeValue { name, bytes: made.bytes as u64 });
            }
        }
        memory.largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        memory.largest.truncate(LARGEST);
        Ok(memory)
    }
}

/// What one evaluation did.
struct Made {
    /// Bytes alive while it ran.
    live: usize,
    /// Bytes of new buffers.
    bytes: usize,
}

/// Values as sizes. A buffer belongs to the node that holds it; one that is written over passes to the
/// node that wrote.
struct Replay<'m> {
    model: &'m TypedModel,
    /// Bytes held by each node.
    held: Vec<usize>,
    /// The step at which each node's value is read last; `None` for what is kept to the end.
    last_read: Vec<Option<usize>>,
    live: usize,
    constants: usize,
    inputs: usize,
}

impl<'m> Replay<'m> {
    fn new(model: &'m TypedModel, order: &[usize]) -> TractResult<Self> {
        let count = model.nodes().len();
        let mut last_read = vec![None; count];
        for (step, &id) in order.iter().enumerate() {
            for input in &model.node(id).inputs {
                last_read[input.node] = Some(step);
            }
        }
        // Lazy patches keep the map that they read from.
        for node in order.iter().rev().map(|id| model.node(*id)).filter(|node| is_lazy(node)) {
            for input in &node.inputs {
                last_read[input.node] = last_read[input.node].max(last_read[node.id]);
            }
        }
        for kept in model.output_outlets()?.iter().chain(model.input_outlets()?) {
            last_read[kept.node] = None;
        }
        let mut replay = Self { model, held: vec![0; count], last_read, live: 0, constants: 0, inputs: 0 };
        for node in model.nodes().iter().filter(|node| node.op_is::<Const>()) {
            replay.last_read[node.id] = None;
            replay.constants = replay.constants.saturating_add(bytes_of(&node.outputs[0].fact)?);
        }
        for input in model.input_outlets()? {
            replay.inputs = replay.inputs.saturating_add(bytes_of(model.outlet_fact(*input)?)?);
        }
        replay.live = replay.constants.saturating_add(replay.inputs);
        Ok(replay)
    }

    /// Runs one node: its inputs stay while it makes its outputs, and go afterwards where it was the
    /// last to read them.
    fn evaluate(&mut self, step: usize, node: &TypedNode) -> TractResult<Made> {
        if self.model.input_outlets()?.iter().any(|input| input.node == node.id) {
            return Ok(Made { live: self.live, bytes: 0 });
        }
        let mut bytes = 0;
        let mut dying: TVec<usize> = node.inputs.iter().map(|input| input.node).collect();
        dying.retain(|id| self.last_read[*id] == Some(step));
        dying.sort_unstable();
        dying.dedup();
        if let Some(from) = self.passed_on(node, &dying)? {
            self.held[node.id] = std::mem::take(&mut self.held[from]);
        } else if !is_lazy(node) {
            for output in &node.outputs {
                bytes = bytes_of(&output.fact)?.saturating_add(bytes);
            }
            self.held[node.id] = bytes;
            self.live = self.live.saturating_add(bytes);
        }
        let live = self.live.saturating_add(self.copied(node, &dying)?);
        for id in dying {
            self.live = self.live.saturating_sub(std::mem::take(&mut self.held[id]));
        }
        Ok(Made { live, bytes })
    }

    /// The input whose buffer the node's output takes over.
    fn passed_on(&self, node: &TypedNode, dying: &[usize]) -> TractResult<Option<usize>> {
        let Some(first) = node.inputs.first() else { return Ok(None) };
        let alone = node.inputs.iter().filter(|input| input.node == first.node).count() == 1;
        let from = self.model.node(first.node);
        if !alone || from.outputs.len() != 1 || !dying.contains(&first.node) {
            return Ok(None);
        }
        let same = bytes_of(&node.outputs[0].fact)? == bytes_of(&from.outputs[0].fact)?;
        Ok((same && writes_in_place(node)).then_some(first.node))
    }

    /// Bytes that packing patches takes for a copy of its input, where somebody else holds that.
    fn copied(&self, node: &TypedNode, dying: &[usize]) -> TractResult<usize> {
        match node.inputs.first() {
            Some(input) if node.op_is::<Im2Col>() && !dying.contains(&input.node) => {
                bytes_of(self.model.outlet_fact(*input)?)
            }
            _ => Ok(0),
        }
    }
}

/// Patches that a product reads straight from the map, by the one name that tract shows of them.
fn is_lazy(node: &TypedNode) -> bool {
    node.op.name() == "LazyIm2col"
}

/// Operators that write into their first input when nobody else holds it.
fn writes_in_place(node: &TypedNode) -> bool {
    if let Some(axis) = node.op_as::<AxisOp>() {
        return !matches!(axis, AxisOp::Move(..));
    }
    node.op_is::<ElementWiseOp>()
        || node.op_is::<IntoShape>()
        || node.op_is::<TypedBinOp>()
        || node.op_is::<OptBinByScalar>()
        || node.op_is::<OptBinUnicast>()
        || node.op_is::<OptBinChain>()
}

/// Bytes of a value: its elements, or for a packed matrix its panels, once for each matrix of the batch.
fn bytes_of(fact: &TypedFact) -> TractResult<usize> {
    let shape = fact.shape.as_concrete().with_context(|| format!("a symbolic shape {:?}", fact.shape))?;
    let volume = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let element = match fact.exotic_fact() {
        None => fact.datum_type.size_of(),
        Some(packed) => packed
            .buffer_sizes()
            .iter()
            .try_fold(0usize, |n, size| TractResult::Ok(n.saturating_add(size.to_usize()?)))?,
    };
    volume.and_then(|n| n.checked_mul(element)).context("a value that no memory can hold")
}

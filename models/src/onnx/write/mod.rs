//! From tract's typed graph to ONNX. Every operator that decluttering or differentiation leaves has
//! one arm here, in the plainest standard form; one without an arm is an error that names the node.
//!
//! One file a family of operators, as in the differentiation. A channels-last convolution is written as the standard channels-first operator between two
//! transpositions. A runtime that prefers channels last (ours does) cancels them when it loads.

mod elementwise;
mod movement;
mod product;
mod reduce;
mod window;

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops;

use super::build::OPSET;
use super::proto;
use crate::fused::{Call, Functions};

const IR_VERSION: i64 = 8;

/// Writes `model` as the ONNX graph `name`, its outputs called `outputs` in order. Inputs keep the
/// names of their source nodes.
pub(crate) fn write(model: &TypedModel, name: &str, outputs: &[String]) -> TractResult<pb::ModelProto> {
    let graph = pb::GraphProto { name: name.into(), ..Default::default() };
    let inputs = model.input_outlets()?.iter().map(|input| model.node(input.node).name.clone());
    let taken = inputs.chain(outputs.iter().cloned()).collect();
    let functions = Functions::default();
    let mut writer = Writer { model, graph, names: HashMap::new(), next: 0, taken, functions };
    for input in model.input_outlets()? {
        let name = model.node(input.node).name.clone();
        let info = proto::value_info(&name, &writer.shape(*input)?);
        writer.graph.input.push(info);
        writer.names.insert(*input, name);
    }
    for id in model.eval_order()? {
        let outlet = OutletId::new(id, 0);
        if writer.names.contains_key(&outlet) {
            continue;
        }
        let node = model.node(id);
        let place = || format!("writing node `{}` ({})", node.name, node.op.name());
        if let Some(call) = node.op_as::<Call>() {
            writer.call(call, node).with_context(place)?;
            continue;
        }
        let value = writer.operator(node, outlet).with_context(place)?;
        writer.names.insert(outlet, value);
    }
    for (outlet, name) in model.output_outlets()?.iter().zip(outputs) {
        let info = proto::value_info(name, &writer.shape(*outlet)?);
        writer.graph.output.push(info);
        let value = writer.names.get(outlet).cloned().context("an output that nothing computes")?;
        writer.push("Identity", vec![value], vec![], name.clone());
    }
    let mut model = proto::model(writer.graph, OPSET, IR_VERSION);
    writer.functions.add_to(&mut model);
    Ok(model)
}

struct Writer<'m> {
    model: &'m TypedModel,
    graph: pb::GraphProto,
    names: HashMap<OutletId, String>,
    next: usize,
    /// Names of inputs and outputs, which a stranger's encoder chose and which no value here may repeat.
    taken: HashSet<String>,
    functions: Functions,
}

impl Writer<'_> {
    fn shape(&self, outlet: OutletId) -> TractResult<Vec<usize>> {
        let shape = &self.model.outlet_fact(outlet)?.shape;
        Ok(shape.as_concrete().with_context(|| format!("a symbolic shape {shape:?}"))?.to_vec())
    }

    fn fresh(&mut self, stem: &str) -> String {
        loop {
            self.next += 1;
            let name = format!("{stem}_{}", self.next);
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }

    fn push(&mut self, op: &str, inputs: Vec<String>, attributes: Vec<pb::AttributeProto>, output: String) {
        self.graph.node.push(pb::NodeProto {
            name: output.clone(),
            op_type: op.into(),
            input: inputs,
            output: vec![output],
            attribute: attributes,
            ..Default::default()
        });
    }

    fn node(&mut self, op: &str, inputs: &[String], attributes: Vec<pb::AttributeProto>) -> String {
        let output = self.fresh(op);
        self.push(op, inputs.to_vec(), attributes, output.clone());
        output
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.fresh("ints");
        self.graph.initializer.push(proto::int_tensor(&name, values));
        name
    }

    fn constant(&mut self, value: &Tensor) -> TractResult<String> {
        let name = self.fresh("constant");
        let view = value.try_as_plain_ram()?;
        let tensor = if value.datum_type() == f32::datum_type() {
            let values = view.as_slice::<f32>()?.to_vec();
            proto::tensor(&name, &ndarray::ArrayD::from_shape_vec(value.shape(), values)?)
        } else if value.datum_type() == bool::datum_type() {
            proto::bool_tensor(&name, value.shape(), view.as_slice::<bool>()?)
        } else {
            let cast = value.cast_to::<i64>()?;
            let mut tensor = proto::int_tensor(&name, cast.try_as_plain_ram()?.as_slice::<i64>()?);
            tensor.dims = value.shape().iter().map(|&d| d as i64).collect();
            tensor
        };
        self.graph.initializer.push(tensor);
        Ok(name)
    }

    /// A single number, which broadcasts against anything.
    fn number(&mut self, value: f32) -> String {
        let name = self.fresh("number");
        self.graph.initializer.push(proto::tensor(&name, &ndarray::arr0(value).into_dyn()));
        name
    }

    /// `op` of `x` and a number.
    fn with_number(&mut self, op: &str, x: &str, value: f32) -> String {
        let value = self.number(value);
        self.node(op, &[x.into(), value], vec![])
    }

    fn transpose(&mut self, value: &str, permutation: Vec<i64>) -> String {
        self.node("Transpose", &[value.into()], vec![proto::ints("perm", permutation)])
    }

    fn reshape(&mut self, value: &str, shape: &[usize]) -> String {
        let shape = self.ints(&shape.iter().map(|&d| d as i64).collect::<Vec<_>>());
        self.node("Reshape", &[value.into(), shape], vec![])
    }

    fn inputs(&self, node: &TypedNode) -> TractResult<Vec<String>> {
        let name = |input| self.names.get(input).cloned().context("an input that nothing computes");
        node.inputs.iter().map(name).collect()
    }

    /// The only operators of several outputs.
    fn call(&mut self, call: &Call, node: &TypedNode) -> TractResult<()> {
        let inputs = self.inputs(node)?;
        let outputs: Vec<String> = node.outputs.iter().map(|_| self.fresh(call.kernel())).collect();
        let name = outputs.first().cloned().context("a call without outputs")?;
        self.graph.node.push(self.functions.node(call, name, inputs, outputs.clone())?);
        self.names.extend(outputs.into_iter().enumerate().map(|(slot, o)| (OutletId::new(node.id, slot), o)));
        Ok(())
    }

    fn operator(&mut self, node: &TypedNode, outlet: OutletId) -> TractResult<String> {
        let inputs = self.inputs(node)?;
        let op = node.op.as_op();
        if let Some(op) = op.downcast_ref::<ops::konst::Const>() {
            self.constant(op.val())
        } else if let Some(op) = op.downcast_ref::<ops::binary::TypedBinOp>() {
            self.pair(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ops::element_wise::ElementWiseOp>() {
            self.element(op, &inputs)
        } else if op.is::<ops::logic::Iff>() {
            Ok(self.node("Where", &inputs, vec![]))
        } else if let Some(op) = op.downcast_ref::<ops::cast::Cast>() {
            self.cast(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ops::nn::Reduce>() {
            self.reduce(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ops::array::CumSum>() {
            self.cumulative_sum(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ops::nn::Softmax>() {
            self.softmax(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ops::nn::RmsNorm>() {
            self.rms_norm(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ops::einsum::EinSum>() {
            self.einsum(op, &inputs, node, outlet)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::Conv>() {
            self.convolution(op, &inputs, node, outlet)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::Deconv>() {
            self.transposed_convolution(op, &inputs, node, outlet)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::MaxPool>() {
            self.max_pool(op, &inputs, node, outlet)
        } else if let Some(op) = op.downcast_ref::<ops::cnn::SumPool>() {
            self.average_pool(op, &inputs, node, outlet)
        } else {
            self.movement(op, &inputs, node, outlet)
        }
    }
}

/// Sizes as ONNX's integers.
fn list(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&v| v as i64).collect()
}

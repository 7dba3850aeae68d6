//! Calls on their way in: reading a file that has some into tract, and inlining those that a reader
//! cannot or will not run as one kernel.

use std::borrow::Cow;
use std::collections::HashMap;

use tract_onnx::Onnx;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::internal::*;

use super::{Call, DOMAIN};
use crate::onnx::read::MAX_NODES;

/// The operator under which every call is known to tract, which looks operators up by name alone.
const OPERATOR: &str = "sedge.Call";

/// Reads a model that passed [`crate::onnx::read::parse`] into tract; its calls become [`Call`]s.
///
/// # Errors
/// When tract cannot read it, or a call's attributes are not those of a call.
pub fn read(model: &pb::ModelProto) -> TractResult<InferenceModel> {
    reader().model_for_proto_model(&named(model))
}

/// [`read`] for finding shapes: what the file says of its outputs is not believed.
pub(crate) fn read_shapes(model: &pb::ModelProto) -> TractResult<InferenceModel> {
    reader().with_ignore_output_shapes(true).model_for_proto_model(&named(model))
}

fn reader() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register.insert(OPERATOR, |_, node| Ok((expand(Call::of_node(node)?), vec![])));
    onnx
}

/// The model with its calls under the one name that tract knows.
fn named(model: &pb::ModelProto) -> Cow<'_, pb::ModelProto> {
    let mut model = Cow::Borrowed(model);
    if model.graph.iter().flat_map(|g| &g.node).any(is_call) {
        let graph = model.to_mut().graph.as_mut();
        for node in graph.into_iter().flat_map(|g| &mut g.node).filter(|n| is_call(n)) {
            node.op_type = OPERATOR.into();
        }
    }
    model
}

fn is_call(node: &pb::NodeProto) -> bool {
    node.domain == DOMAIN
}

/// Replaces the calls that `chosen` chooses by the bodies of their functions; drops the functions when
/// no call is left.
///
/// # Errors
/// When a call has no function or unreadable attributes, or the model grows beyond [`MAX_NODES`].
pub fn inline_where(model: &mut pb::ModelProto, chosen: impl Fn(&Call) -> bool) -> TractResult<()> {
    let functions: HashMap<&str, &pb::FunctionProto> =
        model.functions.iter().filter_map(|f| Some((f.name.as_deref()?, f))).collect();
    let Some(graph) = &mut model.graph else { return Ok(()) };
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut calls_left = false;
    for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        if !is_call(&node) {
            nodes.push(node);
        } else if chosen(&Call::of_node(&node)?) {
            let function = functions.get(node.op_type.as_str());
            let function = function.with_context(|| format!("no function {}", node.op_type))?;
            ensure!(
                nodes.len() + function.node.len() <= MAX_NODES,
                "more than {MAX_NODES} nodes once inlined"
            );
            inline(&node, function, at, &mut nodes);
        } else {
            calls_left = true;
            nodes.push(node);
        }
    }
    graph.node = nodes;
    if !calls_left {
        model.functions.clear();
    }
    Ok(())
}

/// Appends the body of `function` with the operands of `call` in place of its own. Other names of the
/// body are made unlike any other by the call's place `at`.
fn inline(call: &pb::NodeProto, function: &pb::FunctionProto, at: usize, nodes: &mut Vec<pb::NodeProto>) {
    let formal = function.input.iter().chain(&function.output).map(String::as_str);
    let actual = call.input.iter().chain(&call.output).map(String::as_str);
    let operands: HashMap<&str, &str> = formal.zip(actual).collect();
    let renamed = |name: &String| match operands.get(name.as_str()) {
        Some(operand) => (*operand).to_string(),
        None if name.is_empty() => String::new(),
        None => format!("{}/{at}/{name}", call.name),
    };
    nodes.extend(function.node.iter().map(|node| {
        let mut node = node.clone();
        node.name = format!("{}/{at}/{}", call.name, node.name);
        node.input = node.input.iter().map(renamed).collect();
        node.output = node.output.iter().map(renamed).collect();
        node
    }));
}

impl Expansion for Call {
    fn name(&self) -> StaticName {
        self.kernel().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs().len())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let (wanted, given) = (Call::inputs(self), Call::outputs(self));
        check_input_arity(inputs, wanted.len())?;
        check_output_arity(outputs, given.len())?;
        for (proxy, shape) in inputs.iter().zip(wanted).chain(outputs.iter().zip(given)) {
            s.equals(&proxy.datum_type, f32::datum_type())?;
            let shape: TVec<TDim> = shape.iter().map(|d| d.to_dim()).collect();
            s.equals(&proxy.shape, shape)?;
        }
        Ok(())
    }
}

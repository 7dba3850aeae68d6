//! Fused calls: pieces of a graph for which the engine has a kernel of its own.
//!
//! A call is written as a call of an ONNX *model-local function* in the domain [`DOMAIN`], whose body is
//! ordinary operators. A runtime that does not know the domain inlines the body and computes the same
//! values; the engine reads the call's attributes instead and runs one kernel. So a file stays portable,
//! and the body is the kernel's oracle. One function is written for every distinct geometry.
//!
//! This crate declares calls and runs none: a [`Call`] is an operator of tract's typed graph that knows
//! the shapes that go in and come out, and how to write its body. All tensors are float; feature maps
//! are channels last unless a call says otherwise.

mod attributes;
mod batch_norm;
mod clip;
mod convolution;
mod gradient;
mod layer_norm;
mod load;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod tests;

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::Cost;

pub use batch_norm::BatchNorm;
pub use clip::{Clip, Clipped};
pub use convolution::Convolution;
pub use gradient::Shaped;
pub use layer_norm::{LayerNorm, layer_norms};
pub(crate) use load::read_shapes;
pub use load::{inline_where, read};

use crate::graph::Graph;
use crate::onnx::{proto, write};
use attributes::Attributes;

/// Domain of the functions.
pub const DOMAIN: &str = "sedge";
/// Version of the domain.
pub const VERSION: i64 = 1;
/// Attribute of a call that names its kernel.
const KERNEL: &str = "kernel";

/// One fused call: a kernel's name and the numbers that it was written for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Kernel `[out, channels / groups, k...]` and output gradient to input gradient.
    ConvolutionInputGradient(Convolution),
    /// Input and output gradient to kernel gradient `[out, channels / groups, k...]`.
    ConvolutionWeightGradient(Convolution),
    /// `x`, scale `[c]` and shift `[c]` to normalised (and clipped) value, mean `[c]` and biased variance
    /// `[c]` of each channel of this batch.
    BatchNorm(BatchNorm),
    /// `x`, scale, shift, mean, variance and output gradient to the gradients of `x`, scale and shift.
    BatchNormGradient(BatchNorm),
    /// Clipped value and its gradient to the gradient of what was clipped.
    ClipGradient(Clipped),
    /// `x`, and scale and shift where it is affine, to the normalised value.
    LayerNorm(LayerNorm),
    /// `x`, the scale where it is affine, and the output gradient to the gradients of `x`, scale and shift.
    LayerNormGradient(LayerNorm),
    /// Softmax over the last axis and its gradient to the gradient of what it was taken of.
    SoftmaxGradient(Shaped),
    /// `x` and the gradient of its Gaussian error linear unit to the gradient of `x`.
    GeluGradient(Shaped),
    /// A value to itself, through which no gradient passes: said in steps that are left
    /// [open](crate::compile::open) at their gradients.
    StopGradient(Shaped),
}

// Bounds and epsilon are checked to be numbers when a call is made or read.
impl Eq for Call {}

impl Call {
    /// The kernel's name, which is also the stem of the function's.
    pub fn kernel(&self) -> &'static str {
        match self {
            Self::ConvolutionInputGradient(_) => "ConvolutionInputGradient",
            Self::ConvolutionWeightGradient(_) => "ConvolutionWeightGradient",
            Self::BatchNorm(_) => "BatchNorm",
            Self::BatchNormGradient(_) => "BatchNormGradient",
            Self::ClipGradient(_) => "ClipGradient",
            Self::LayerNorm(_) => "LayerNorm",
            Self::LayerNormGradient(_) => "LayerNormGradient",
            Self::SoftmaxGradient(_) => "SoftmaxGradient",
            Self::GeluGradient(_) => "GeluGradient",
            Self::StopGradient(_) => "StopGradient",
        }
    }

    /// Shapes of the inputs, in order.
    pub fn inputs(&self) -> Vec<Vec<usize>> {
        match self {
            Self::ConvolutionInputGradient(c) => vec![c.kernel_shape(), c.output_shape()],
            Self::ConvolutionWeightGradient(c) => vec![c.input_shape(), c.output_shape()],
            Self::BatchNorm(n) => vec![n.shape.clone(), n.row(), n.row()],
            Self::BatchNormGradient(n) => {
                vec![n.shape.clone(), n.row(), n.row(), n.row(), n.row(), n.shape.clone()]
            }
            Self::ClipGradient(c) => vec![c.shape.clone(), c.shape.clone()],
            Self::LayerNorm(n) => [vec![n.shape.clone()], n.rows()].concat(),
            Self::LayerNormGradient(n) => {
                let scale = n.rows().into_iter().take(1);
                [n.shape.clone()].into_iter().chain(scale).chain([n.shape.clone()]).collect()
            }
            Self::SoftmaxGradient(s) | Self::GeluGradient(s) => vec![s.shape.clone(), s.shape.clone()],
            Self::StopGradient(s) => vec![s.shape.clone()],
        }
    }

    /// Shapes of the outputs, in order.
    pub fn outputs(&self) -> Vec<Vec<usize>> {
        match self {
            Self::ConvolutionInputGradient(c) => vec![c.input_shape()],
            Self::ConvolutionWeightGradient(c) => vec![c.kernel_shape()],
            Self::BatchNorm(n) | Self::BatchNormGradient(n) => vec![n.shape.clone(), n.row(), n.row()],
            Self::ClipGradient(c) => vec![c.shape.clone()],
            Self::LayerNorm(n) => vec![n.shape.clone()],
            Self::LayerNormGradient(n) => [vec![n.shape.clone()], n.rows()].concat(),
            Self::SoftmaxGradient(s) | Self::GeluGradient(s) | Self::StopGradient(s) => {
                vec![s.shape.clone()]
            }
        }
    }

    /// Multiply-adds, zero for what only passes over values.
    pub fn multiply_adds(&self) -> u64 {
        match self {
            Self::ConvolutionInputGradient(c) | Self::ConvolutionWeightGradient(c) => c.multiply_adds(),
            Self::BatchNorm(_)
            | Self::BatchNormGradient(_)
            | Self::ClipGradient(_)
            | Self::LayerNorm(_)
            | Self::LayerNormGradient(_)
            | Self::SoftmaxGradient(_)
            | Self::GeluGradient(_)
            | Self::StopGradient(_) => 0,
        }
    }

    /// Wires the call's meaning in ordinary operators.
    fn body(&self, graph: &mut Graph, inputs: &[OutletId]) -> TractResult<Vec<OutletId>> {
        match self {
            Self::ConvolutionInputGradient(c) => c.input_gradient(graph, inputs),
            Self::ConvolutionWeightGradient(c) => c.weight_gradient(graph, inputs),
            Self::BatchNorm(n) => n.forward(graph, inputs),
            Self::BatchNormGradient(n) => n.backward(graph, inputs),
            Self::ClipGradient(c) => c.backward(graph, inputs),
            Self::LayerNorm(n) => n.forward(graph, inputs),
            Self::LayerNormGradient(n) => n.backward(graph, inputs),
            Self::SoftmaxGradient(s) => s.softmax(graph, inputs),
            Self::GeluGradient(s) => s.gelu(graph, inputs),
            Self::StopGradient(_) => Ok(inputs.to_vec()),
        }
    }

    fn attributes(&self) -> Vec<pb::AttributeProto> {
        let mut attributes = match self {
            Self::ConvolutionInputGradient(c) | Self::ConvolutionWeightGradient(c) => c.attributes(),
            Self::BatchNorm(n) | Self::BatchNormGradient(n) => n.attributes(),
            Self::ClipGradient(c) => c.attributes(),
            Self::LayerNorm(n) | Self::LayerNormGradient(n) => n.attributes(),
            Self::SoftmaxGradient(s) | Self::GeluGradient(s) | Self::StopGradient(s) => s.attributes(),
        };
        attributes.push(proto::string(KERNEL, self.kernel()));
        attributes
    }

    /// The call that `node`, a node of the domain, speaks of.
    ///
    /// # Errors
    /// When the kernel is unknown, or an attribute is missing or out of range.
    pub fn of_node(node: &pb::NodeProto) -> TractResult<Self> {
        let attributes = Attributes(&node.attribute);
        Ok(match attributes.string(KERNEL)? {
            "ConvolutionInputGradient" => Self::ConvolutionInputGradient(Convolution::read(&attributes)?),
            "ConvolutionWeightGradient" => Self::ConvolutionWeightGradient(Convolution::read(&attributes)?),
            "BatchNorm" => Self::BatchNorm(BatchNorm::read(&attributes)?),
            "BatchNormGradient" => Self::BatchNormGradient(BatchNorm::read(&attributes)?),
            "ClipGradient" => Self::ClipGradient(Clipped::read(&attributes)?),
            "LayerNorm" => Self::LayerNorm(LayerNorm::read(&attributes)?),
            "LayerNormGradient" => Self::LayerNormGradient(LayerNorm::read(&attributes)?),
            "SoftmaxGradient" => Self::SoftmaxGradient(Shaped::read(&attributes)?),
            "GeluGradient" => Self::GeluGradient(Shaped::read(&attributes)?),
            "StopGradient" => Self::StopGradient(Shaped::read(&attributes)?),
            other => bail!("`{}` calls the kernel `{other}`, which this version does not know", node.name),
        })
    }
}

impl Graph {
    /// Adds a call; gives its outputs.
    pub(crate) fn call(&mut self, call: Call, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let name = self.fresh_name(call.kernel());
        self.model.wire_node(name, call, inputs)
    }
}

/// The functions that a file needs, collected while its calls are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions(Vec<(Call, pb::FunctionProto)>);

impl Functions {
    /// The node that calls `call`, whose function is added unless an equal call added it before.
    pub(crate) fn node(
        &mut self,
        call: &Call,
        name: String,
        input: Vec<String>,
        output: Vec<String>,
    ) -> TractResult<pb::NodeProto> {
        let known = self.0.iter().find(|(other, _)| other == call).and_then(|(_, f)| f.name.clone());
        let function = match known {
            Some(name) => name,
            None => {
                let name = format!("{}_{}", call.kernel(), self.0.len() + 1);
                self.0.push((call.clone(), function(call, &name)?));
                name
            }
        };
        Ok(pb::NodeProto {
            name,
            op_type: function,
            domain: DOMAIN.into(),
            input,
            output,
            attribute: call.attributes(),
            ..Default::default()
        })
    }

    /// Adds what was collected to `model`.
    pub(crate) fn add_to(self, model: &mut pb::ModelProto) {
        if self.0.is_empty() {
            return;
        }
        model.opset_import.push(pb::OperatorSetIdProto { domain: DOMAIN.into(), version: VERSION });
        model.functions.extend(self.0.into_iter().map(|(_, function)| function));
    }
}

/// The call's body as the ONNX function `name`.
fn function(call: &Call, name: &str) -> TractResult<pb::FunctionProto> {
    let mut graph = Graph::new(TypedModel::default());
    let inputs = call
        .inputs()
        .iter()
        .enumerate()
        .map(|(i, shape)| graph.source(&format!("input_{i}"), shape))
        .collect::<TractResult<Vec<_>>>()?;
    let outputs = call.body(&mut graph, &inputs)?;
    for (outlet, wanted) in outputs.iter().zip(call.outputs()) {
        let found = graph.shape(*outlet)?;
        ensure!(*found == *wanted, "the body of {name} gives {found:?}, not {wanted:?}");
    }
    graph.model.select_output_outlets(&outputs)?;
    let names: Vec<String> = (0..outputs.len()).map(|i| format!("output_{i}")).collect();
    let model = graph.model.into_decluttered()?;
    let body = write::write(&model, name, &names)?;
    let attribute = call.attributes().into_iter().map(|a| a.name).collect();
    proto::function(body, DOMAIN, attribute).context("a body without a graph")
}

impl Op for Call {
    fn name(&self) -> StaticName {
        self.kernel().into()
    }

    op_as_typed_op!();
}

impl EvalOp for Call {
    not_out_of_plan!();
}

impl TypedOp for Call {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let wanted = self.inputs();
        ensure!(inputs.len() == wanted.len(), "{} takes {} inputs", self.kernel(), wanted.len());
        for (i, (fact, shape)) in inputs.iter().zip(&wanted).enumerate() {
            let found = fact.shape.as_concrete();
            ensure!(
                fact.datum_type == f32::datum_type() && found == Some(shape.as_slice()),
                "input {i} of {} is {fact:?}; its attributes speak of floats of shape {shape:?}",
                self.kernel()
            );
        }
        Ok(self.outputs().iter().map(f32::fact).collect())
    }

    fn cost(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        Ok(tvec!((Cost::FMA(f32::datum_type()), self.multiply_adds().to_dim())))
    }
}

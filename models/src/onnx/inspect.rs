//! What a person wants to know of a model without running it: what goes in, what comes out, what
//! it is made of.

use std::collections::BTreeMap;

use prost::Message;
use serde::Serialize;
use tract_onnx::pb::{
    GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as Dim, type_proto,
};

use super::check::default_opset;

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueSummary {
    /// Its name.
    pub name: String,
    /// Its data type in lower case (`float`, `int64`), `unknown` when not stated.
    pub data_type: String,
    /// Its dimensions, each a number, a symbol, or `?`; `None` when not even the rank is stated.
    pub shape: Option<Vec<String>>,
}

/// A model in a few numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OnnxSummary {
    /// IR version.
    pub ir: i64,
    /// Version of the default operator set.
    pub opset: i64,
    /// Producer and its version, as stated.
    pub producer: String,
    /// Inputs, those with an initializer left out.
    pub inputs: Vec<ValueSummary>,
    /// Outputs.
    pub outputs: Vec<ValueSummary>,
    /// Nodes by operator, those of subgraphs included.
    pub operators: BTreeMap<String, usize>,
    /// Values of the floating-point constants: weights, and what else is stored as one.
    pub parameters: usize,
    /// Size of the encoded model in bytes.
    pub bytes: usize,
}

impl OnnxSummary {
    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.operators.values().sum()
    }
}

/// Summarises a model that [`super::read::parse`] accepted.
pub fn inspect(model: &ModelProto) -> OnnxSummary {
    let mut summary = OnnxSummary {
        ir: model.ir_version,
        opset: default_opset(model).unwrap_or(0),
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_string(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        operators: BTreeMap::new(),
        parameters: 0,
        bytes: model.encoded_len(),
    };
    if let Some(graph) = &model.graph {
        let free = graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name == i.name));
        summary.inputs = free.map(value).collect();
        summary.outputs = graph.output.iter().map(value).collect();
        count(graph, &mut summary);
    }
    summary
}

fn count(graph: &GraphProto, summary: &mut OnnxSummary) {
    summary.parameters += graph.initializer.iter().map(parameters).sum::<usize>();
    for node in &graph.node {
        *summary.operators.entry(node.op_type.clone()).or_default() += 1;
        for attribute in &node.attribute {
            summary.parameters += attribute.t.iter().chain(&attribute.tensors).map(parameters).sum::<usize>();
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                count(inner, summary);
            }
        }
    }
}

fn parameters(tensor: &TensorProto) -> usize {
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float | DataType::Float16 | DataType::Double) => {
            tensor.dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)).fold(1, usize::saturating_mul)
        }
        _ => 0,
    }
}

fn value(value: &ValueInfoProto) -> ValueSummary {
    let mut summary = ValueSummary { name: value.name.clone(), data_type: "unknown".into(), shape: None };
    if let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &value.r#type {
        if let Ok(data_type) = DataType::try_from(tensor.elem_type) {
            summary.data_type = data_type.as_str_name().to_ascii_lowercase();
        }
        summary.shape = tensor.shape.as_ref().map(|shape| {
            shape
                .dim
                .iter()
                .map(|dim| match &dim.value {
                    Some(Dim::DimValue(n)) => n.to_string(),
                    Some(Dim::DimParam(symbol)) if !symbol.is_empty() => symbol.clone(),
                    _ => "?".into(),
                })
                .collect()
        });
    }
    summary
}

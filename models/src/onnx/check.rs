//! What must hold of a decoded model before it is used: versions, tensor lengths, and a graph in
//! single-assignment form in which every value read was made before.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    tensor_proto::{DataLocation, DataType},
    tensor_shape_proto::dimension::Value as Dim,
    type_proto,
};

use super::error::OnnxError;
use super::read::{IR_VERSIONS, MAX_ELEMENTS, MAX_NODES, OPSETS};
use crate::fused;

/// Whether a model, read or written, is one that [`super::read::parse`] gives.
pub(crate) fn model(model: &ModelProto) -> Result<(), OnnxError> {
    if !IR_VERSIONS.contains(&model.ir_version) {
        let (min, max) = (*IR_VERSIONS.start(), *IR_VERSIONS.end());
        return Err(OnnxError::IrVersion { found: model.ir_version, min, max });
    }
    let opset = default_opset(model);
    if !opset.is_some_and(|version| OPSETS.contains(&version)) {
        return Err(OnnxError::Opset { found: opset, min: *OPSETS.start(), max: *OPSETS.end() });
    }
    if !model.training_info.is_empty() {
        return Err(unsupported("the model", "training_info", "Export for inference"));
    }
    let graph = model.graph.as_ref().ok_or(OnnxError::NoGraph)?;
    let mut scope = Scope { names: HashSet::new(), nodes: 0 };
    functions(model, graph, &mut scope)?;
    scope.graph(graph, true)
}

/// Local functions are read in our own domain only: bodies of fused calls, which call no others. What
/// the graph would hold once they were inlined counts as its nodes.
fn functions<'a>(
    model: &'a ModelProto,
    graph: &'a GraphProto,
    scope: &mut Scope<'a>,
) -> Result<(), OnnxError> {
    let mut known = HashMap::with_capacity(model.functions.len());
    for function in &model.functions {
        if function.domain() != fused::DOMAIN {
            return Err(unsupported("the model", "local functions", "Inline them before saving"));
        }
        if function.node.iter().any(|node| node.domain == fused::DOMAIN) {
            return Err(unsupported(&format!("function `{}`", function.name()), "calls", "Inline them"));
        }
        if known.insert(function.name(), function.node.len()).is_some() {
            let place = "as a function".into();
            return Err(OnnxError::Duplicate { name: function.name().into(), place });
        }
        scope.function(function)?;
    }
    for call in graph.node.iter().filter(|node| node.domain == fused::DOMAIN) {
        let Some(nodes) = known.get(call.op_type.as_str()) else {
            return Err(OnnxError::Undefined { place: place(call), value: call.op_type.clone() });
        };
        scope.nodes += nodes;
    }
    Ok(())
}

/// Version of the default operator set, if one is stated.
pub(crate) fn default_opset(model: &ModelProto) -> Option<i64> {
    model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map(|o| o.version)
}

fn unsupported(place: &str, what: &'static str, mend: &'static str) -> OnnxError {
    OnnxError::Unsupported { place: place.into(), what, mend }
}

/// Names visible at the point reached, and nodes seen so far.
struct Scope<'a> {
    names: HashSet<&'a str>,
    nodes: usize,
}

impl<'a> Scope<'a> {
    /// Checks one graph; the names it adds are taken back at its end, so that a sibling subgraph may
    /// use them again. Depth was limited before decoding.
    fn graph(&mut self, graph: &'a GraphProto, outermost: bool) -> Result<(), OnnxError> {
        self.nodes += graph.node.len();
        if self.nodes > MAX_NODES {
            return Err(OnnxError::TooManyNodes { found: self.nodes, limit: MAX_NODES });
        }
        if !graph.sparse_initializer.is_empty() {
            return Err(unsupported("the graph", "sparse initializers", "Store them as dense tensors"));
        }
        let mut added = Vec::new();
        for input in &graph.input {
            self.define(&input.name, || "as a graph input".into(), &mut added)?;
            if outermost {
                value_type("input", input)?;
            }
        }
        self.initializers(graph, &mut added)?;
        for node in &graph.node {
            self.node(node, &mut added)?;
        }
        for output in &graph.output {
            if !self.names.contains(output.name.as_str()) {
                let place = "the list of graph outputs".into();
                return Err(OnnxError::Undefined { place, value: output.name.clone() });
            }
            if outermost {
                value_type("output", output)?;
            }
        }
        for name in added {
            self.names.remove(name);
        }
        Ok(())
    }

    /// Checks one function, which sees nothing but its inputs.
    fn function(&mut self, function: &'a FunctionProto) -> Result<(), OnnxError> {
        self.nodes += function.node.len();
        if self.nodes > MAX_NODES {
            return Err(OnnxError::TooManyNodes { found: self.nodes, limit: MAX_NODES });
        }
        let mut added = Vec::new();
        for input in &function.input {
            self.define(input, || format!("as an input of function `{}`", function.name()), &mut added)?;
        }
        for node in &function.node {
            self.node(node, &mut added)?;
        }
        for output in &function.output {
            if !self.names.contains(output.as_str()) {
                let place = format!("function `{}`", function.name());
                return Err(OnnxError::Undefined { place, value: output.clone() });
            }
        }
        for name in added {
            self.names.remove(name);
        }
        Ok(())
    }

    /// An initializer may carry an input's name (it is then that input's default), but only once.
    fn initializers(&mut self, graph: &'a GraphProto, added: &mut Vec<&'a str>) -> Result<(), OnnxError> {
        let inputs: HashSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
        let mut seen = HashSet::with_capacity(graph.initializer.len());
        for tensor in &graph.initializer {
            self::tensor(tensor, &tensor.name)?;
            let name = tensor.name.as_str();
            if !seen.insert(name) {
                return Err(OnnxError::Duplicate { name: name.into(), place: "as an initializer".into() });
            }
            if !inputs.contains(name) {
                self.define(name, || "as an initializer".into(), added)?;
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &'a NodeProto, added: &mut Vec<&'a str>) -> Result<(), OnnxError> {
        for input in node.input.iter().filter(|i| !i.is_empty()) {
            if !self.names.contains(input.as_str()) {
                return Err(OnnxError::Undefined { place: place(node), value: input.clone() });
            }
        }
        let mut attributes = HashSet::with_capacity(node.attribute.len());
        for attribute in &node.attribute {
            if !attributes.insert(attribute.name.as_str()) {
                let place = format!("as an attribute of {}", place(node));
                return Err(OnnxError::Duplicate { name: attribute.name.clone(), place });
            }
            self.attribute(node, attribute)?;
        }
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            self.define(output, || format!("as an output of {}", place(node)), added)?;
        }
        Ok(())
    }

    fn attribute(&mut self, node: &'a NodeProto, attribute: &'a AttributeProto) -> Result<(), OnnxError> {
        if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
            return Err(unsupported(&place(node), "a sparse tensor", "Store it as a dense tensor"));
        }
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            self::tensor(tensor, &format!("{} of {}", attribute.name, place(node)))?;
        }
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            self.graph(graph, false)?;
        }
        Ok(())
    }

    fn define(
        &mut self,
        name: &'a str,
        place: impl FnOnce() -> String,
        added: &mut Vec<&'a str>,
    ) -> Result<(), OnnxError> {
        if name.is_empty() {
            return Err(OnnxError::NoName { place: format!("a value used {}", place()) });
        }
        if !self.names.insert(name) {
            return Err(OnnxError::Duplicate { name: name.into(), place: place() });
        }
        added.push(name);
        Ok(())
    }
}

/// A node in words.
pub(crate) fn place(node: &NodeProto) -> String {
    if node.name.is_empty() {
        let first = node.output.first().map_or("", String::as_str);
        format!("the {} node that makes `{first}`", node.op_type)
    } else {
        format!("the {} node `{}`", node.op_type, node.name)
    }
}

fn value_type(what: &'static str, value: &ValueInfoProto) -> Result<(), OnnxError> {
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &value.r#type else {
        return Err(OnnxError::NoType { what, name: value.name.clone() });
    };
    data_type(&value.name, tensor.elem_type)?;
    let dims: Vec<i64> = tensor
        .shape
        .iter()
        .flat_map(|shape| &shape.dim)
        .map(|dim| if let Some(Dim::DimValue(n)) = dim.value { n } else { 1 })
        .collect();
    elements(&value.name, &dims)?;
    Ok(())
}

/// Number of values of a shape, within [`MAX_ELEMENTS`] even where a zero makes the product zero.
fn elements(tensor: &str, dims: &[i64]) -> Result<usize, OnnxError> {
    let fault = || OnnxError::Dims { tensor: tensor.into(), dims: dims.to_vec(), limit: MAX_ELEMENTS };
    let mut bound = 1usize;
    for &dim in dims {
        let dim = usize::try_from(dim).map_err(|_| fault())?;
        bound = bound.checked_mul(dim.max(1)).filter(|n| *n <= MAX_ELEMENTS).ok_or_else(fault)?;
    }
    Ok(if dims.contains(&0) { 0 } else { bound })
}

/// A data type that the engine reads, or an error that names it.
fn data_type(tensor: &str, code: i32) -> Result<DataType, OnnxError> {
    let fault = |data_type: String| OnnxError::DataType { tensor: tensor.into(), data_type };
    let known = DataType::try_from(code).map_err(|_| fault(format!("number {code}")))?;
    if width(known).is_none() && known != DataType::String {
        return Err(fault(known.as_str_name().into()));
    }
    Ok(known)
}

/// Bytes of one value of raw data.
pub(super) fn width(data_type: DataType) -> Option<usize> {
    Some(match data_type {
        DataType::Bool | DataType::Uint8 | DataType::Int8 => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        _ => return None,
    })
}

/// Entries in the typed field that ONNX assigns to a data type.
fn typed_entries(tensor: &TensorProto, data_type: DataType) -> usize {
    match data_type {
        DataType::Float => tensor.float_data.len(),
        DataType::Double => tensor.double_data.len(),
        DataType::Int64 => tensor.int64_data.len(),
        DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.len(),
        DataType::String => tensor.string_data.len(),
        _ => tensor.int32_data.len(),
    }
}

fn tensor(tensor: &TensorProto, name: &str) -> Result<(), OnnxError> {
    if name.is_empty() {
        return Err(OnnxError::NoName { place: "an initializer".into() });
    }
    let external = tensor.data_location == Some(DataLocation::External as i32);
    if external || !tensor.external_data.is_empty() {
        return Err(OnnxError::ExternalData { tensor: name.into() });
    }
    if tensor.segment.is_some() {
        return Err(unsupported(&format!("tensor `{name}`"), "segments", "Store it in one piece"));
    }
    let data_type = data_type(name, tensor.data_type)?;
    let elements = elements(name, &tensor.dims)?;
    let (wanted, found) = match width(data_type) {
        Some(width) if !tensor.raw_data.is_empty() => (elements.saturating_mul(width), tensor.raw_data.len()),
        None if !tensor.raw_data.is_empty() => {
            return Err(unsupported(&format!("tensor `{name}`"), "raw strings", "Use string_data"));
        }
        _ => (elements, typed_entries(tensor, data_type)),
    };
    if wanted != found {
        let (dims, data_type) = (tensor.dims.clone(), data_type.as_str_name());
        return Err(OnnxError::DataLength { tensor: name.into(), dims, data_type, wanted, found });
    }
    Ok(())
}

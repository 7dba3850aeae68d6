//! What a graph may cost, checked before tract sees it. tract folds constants, and allocates for them,
//! while it reads; its work grows faster than the number of nodes; and a size that a file merely states
//! (`ConstantOfShape`, `Expand`, a pad) can ask for more memory than there is, which no `catch_unwind`
//! turns into an error. So [`check`] walks the graph once, bounds every value from above, and refuses
//! what is too large or cannot be bounded: an operator that it does not know, a size that depends on data.
//!
//! The walk allocates in proportion to the file, and runs nothing.

mod error;
mod products;
mod rules;
mod shapes;
mod site;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod value;
mod windows;

use std::collections::HashMap;

use tract_onnx::pb::{
    GraphProto, ModelProto, TypeProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as Dim, type_proto,
};

pub use error::LimitError;
use site::Site;
use value::Value;

use crate::onnx::read::MAX_ELEMENTS;

/// Most nodes of a graph that is compiled or run. A large vision transformer exported with a dynamic batch
/// has some three thousand, a step of all layers of MobileNetV2 as many.
pub const MAX_GRAPH_NODES: usize = 8192;
/// Most axes of a value.
pub const MAX_RANK: usize = 8;
/// Most values summed over all that a graph computes, as if nothing were ever freed.
pub const MAX_TOTAL_ELEMENTS: usize = 1 << 33;
/// Most values that one convolution or pool reads, a patch for each position, when written out.
pub const MAX_PATCH_ELEMENTS: usize = 1 << 30;
/// Most values computed from constants alone, which are computed while loading, beside four times what
/// the file stores.
pub const MAX_FOLDED_ELEMENTS: usize = 1 << 24;
/// Most multiplications and additions spent on constants while loading.
pub const MAX_FOLDED_WORK: usize = 1 << 32;
/// Most multiplications and additions of one run of the graph.
pub const MAX_WORK: usize = 1 << 43;
/// Longest symbolic dimension, in bytes.
pub const MAX_SYMBOL_BYTES: usize = 256;
/// Deepest parentheses in a symbolic dimension.
pub const MAX_SYMBOL_DEPTH: usize = 4;
/// Largest extent of a window, a stride, a dilation or a pad.
pub const MAX_WINDOW: usize = 1 << 14;
/// Most rows of a batch that is trained on: contrastive losses compare every row with every other.
pub const MAX_BATCH: usize = 1 << 12;
/// Most values of one embedding that is trained on: heads and losses hold matrices of its square.
pub const MAX_EMBEDDING: usize = 1 << 13;

/// What one run of a graph costs, from above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nodes.
    pub nodes: usize,
    /// Values computed, summed over all nodes.
    pub elements: usize,
    /// Of these, values that depend on constants alone.
    pub folded: usize,
    /// Multiplications and additions.
    pub work: usize,
}

/// Bounds every value of `model`, which [`crate::onnx::read::parse`] accepted; `batch` stands for a symbolic
/// leading dimension of the first input.
///
/// # Errors
/// [`LimitError`] when the graph has too many nodes, holds subgraphs, has an input of unknown shape, uses an
/// operator whose output cannot be bounded, or exceeds one of the limits of this module.
pub fn check(model: &ModelProto, batch: Option<usize>) -> Result<Cost, LimitError> {
    let Some(graph) = &model.graph else { return Ok(Cost::default()) };
    if graph.node.len() > MAX_GRAPH_NODES {
        return Err(LimitError::Nodes { found: graph.node.len(), limit: MAX_GRAPH_NODES });
    }
    for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        symbols(value)?;
    }
    let opset = crate::onnx::default_opset(model).unwrap_or(0);
    Walk::new(graph, batch)?.run(graph, opset)
}

/// Bounds an embedding `[batch, dim]` before an objective makes matrices of its extents.
///
/// # Errors
/// [`LimitError::Embedding`] when the batch is beyond [`MAX_BATCH`], or `dim` beyond [`MAX_EMBEDDING`].
pub fn check_embedding(shape: &[usize]) -> Result<(), LimitError> {
    match shape {
        &[batch, dim] if (1..=MAX_BATCH).contains(&batch) && (1..=MAX_EMBEDDING).contains(&dim) => Ok(()),
        _ => Err(LimitError::Embedding { found: shape.to_vec(), batch: MAX_BATCH, dim: MAX_EMBEDDING }),
    }
}

struct Walk<'a> {
    values: HashMap<&'a str, Value>,
    stored: usize,
    folded_work: usize,
    cost: Cost,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a GraphProto, batch: Option<usize>) -> Result<Self, LimitError> {
        let mut values = HashMap::new();
        let mut stored = 0usize;
        for tensor in &graph.initializer {
            let value = Value::of_tensor(tensor);
            value.check_rank(|| format!("initializer `{}`", tensor.name))?;
            stored = stored.saturating_add(value.elements);
            values.insert(tensor.name.as_str(), value);
        }
        let mut batch = batch;
        for input in &graph.input {
            if !values.contains_key(input.name.as_str()) {
                let value = Value::of_shape(input_shape(input, batch.take())?);
                value.check_rank(|| format!("input `{}`", input.name))?;
                values.insert(&input.name, value);
            }
        }
        Ok(Self { values, stored, folded_work: 0, cost: Cost::default() })
    }

    fn run(mut self, graph: &'a GraphProto, opset: i64) -> Result<Cost, LimitError> {
        for node in &graph.node {
            let inputs = node.input.iter().map(|name| self.values.get(name.as_str())).collect();
            let site = Site::new(node, inputs, opset)?;
            let constant = site.is_constant();
            let mut bounds = rules::outputs(&site)?;
            let place = || crate::onnx::place(node);
            bounds.values.truncate(node.output.len());
            // Outputs beyond those that the rule speaks of (a mask, statistics) are no larger than the first.
            while bounds.values.len() < node.output.len() {
                let Some(first) = bounds.values.first() else { break };
                bounds.values.push(Value::unshaped(first.elements));
            }
            for value in &mut bounds.values {
                value.constant = value.constant || constant;
                value.check_rank(place)?;
                if value.elements > MAX_ELEMENTS {
                    let (found, limit) = (value.elements, MAX_ELEMENTS);
                    return Err(LimitError::Elements { place: place(), found, limit });
                }
            }
            self.charge(&bounds, place)?;
            for (name, value) in node.output.iter().zip(bounds.values).filter(|(name, _)| !name.is_empty()) {
                self.values.insert(name, value);
            }
        }
        self.cost.nodes = graph.node.len();
        Ok(self.cost)
    }

    fn charge(&mut self, bounds: &rules::Bounds, place: impl Fn() -> String) -> Result<(), LimitError> {
        let cost = &mut self.cost;
        let is_constant = bounds.values.iter().all(|value| value.constant);
        let elements = bounds.values.iter().fold(0usize, |sum, value| sum.saturating_add(value.elements));
        cost.elements = cost.elements.saturating_add(elements);
        cost.work = cost.work.saturating_add(bounds.work.max(elements));
        if is_constant {
            cost.folded = cost.folded.saturating_add(elements);
            self.folded_work = self.folded_work.saturating_add(bounds.work.max(elements));
        }
        let folded_limit = MAX_FOLDED_ELEMENTS.saturating_add(self.stored.saturating_mul(4));
        for (what, found, limit) in [
            ("values in all", cost.elements, MAX_TOTAL_ELEMENTS),
            ("values computed from constants", cost.folded, folded_limit),
            ("operations on constants", self.folded_work, MAX_FOLDED_WORK),
            ("operations", cost.work, MAX_WORK),
            ("values in patches", bounds.patches, MAX_PATCH_ELEMENTS),
        ] {
            if found > limit {
                return Err(LimitError::Budget { place: place(), what, found, limit });
            }
        }
        Ok(())
    }
}

/// The shape of a graph input; `batch` stands for a symbolic leading dimension.
fn input_shape(input: &ValueInfoProto, batch: Option<usize>) -> Result<Vec<usize>, LimitError> {
    let fault = || LimitError::Input { name: input.name.clone() };
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &input.r#type else {
        return Err(fault());
    };
    let dims = &tensor.shape.as_ref().ok_or_else(fault)?.dim;
    if DataType::try_from(tensor.elem_type) == Ok(DataType::String) {
        return Err(fault());
    }
    dims.iter()
        .enumerate()
        .map(|(axis, dim)| match dim.value {
            Some(Dim::DimValue(extent)) => usize::try_from(extent).ok().filter(|e| *e > 0).ok_or_else(fault),
            _ if axis == 0 => batch.filter(|b| *b > 0).ok_or_else(fault),
            _ => Err(fault()),
        })
        .collect()
}

/// Symbolic dimensions are expressions; tract reads them by recursive descent.
fn symbols(value: &ValueInfoProto) -> Result<(), LimitError> {
    let Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. }) = &value.r#type else {
        return Ok(());
    };
    for dim in tensor.shape.iter().flat_map(|shape| &shape.dim) {
        let Some(Dim::DimParam(symbol)) = &dim.value else { continue };
        let mut depth = 0usize;
        let mut deepest = 0;
        let mut signs = 0usize;
        for byte in symbol.bytes() {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                b'-' => signs += 1,
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        if symbol.len() > MAX_SYMBOL_BYTES || deepest > MAX_SYMBOL_DEPTH || signs > 2 * MAX_SYMBOL_DEPTH {
            return Err(LimitError::Symbol { name: value.name.clone(), bytes: symbol.len() });
        }
    }
    Ok(())
}

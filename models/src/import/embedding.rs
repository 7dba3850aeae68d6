//! One row a sample. Feature maps are averaged over their positions, tokens give the class token when there
//! is one and their mean otherwise, and what is a row already stays.

use std::collections::HashMap;

use tract_onnx::pb;

use super::ImportError;
use super::draft::{Draft, attribute};
use super::shapes::Shapes;
use super::weights::Found;
use crate::onnx::proto;
use crate::selection::Kind;

/// How the axes behind the batch are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `[batch, channels, positions...]`.
    Channels,
    /// `[batch, positions..., channels]`.
    Tokens,
}

/// Operators that leave the layout as it is.
const TRANSPARENT: [&str; 22] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Relu",
    "Clip",
    "HardSwish",
    "HardSigmoid",
    "Sigmoid",
    "Tanh",
    "Elu",
    "Selu",
    "LeakyRelu",
    "PRelu",
    "Gelu",
    "Erf",
    "Identity",
    "Cast",
    "Max",
    "Min",
    "Softplus",
    "Mish",
];

/// Makes the first output of `draft` `[batch, width]`, and gives the width. `shapes` gains the shapes of
/// what is added.
pub(super) fn row(draft: &mut Draft, shapes: &mut Shapes, weights: &[Found]) -> Result<usize, ImportError> {
    let output = draft.graph.output.first().map(|o| o.name.clone()).unwrap_or_default();
    let fault = |shape: &[usize], reason: &str| ImportError::Embedding {
        output: output.clone(),
        shape: shape.to_vec(),
        reason: reason.into(),
    };
    let Some(shape) = shapes.get(&output).cloned() else {
        return Err(fault(&[], "its shape could not be told; name another value with `output`"));
    };
    let (batch, width, nodes) = match shape.as_slice() {
        &[batch, width] => {
            note_linear(draft, &output, width);
            (batch, width, vec![])
        }
        [_] | [] => return Err(fault(&shape, "it is one number a sample; name a wider value with `output`")),
        &[batch, a, .., z] => {
            let layout = layout(draft, &output, shapes);
            let width = if layout == Layout::Tokens { z } else { a };
            let nodes = reduce(draft, &output, &shape, layout, has_class_token(weights, width));
            (batch, width, nodes)
        }
    };
    if width == 0 {
        return Err(fault(&shape, "it is empty; name another value with `output`"));
    }
    let row = nodes.last().and_then(|n| n.output.first()).cloned().unwrap_or_else(|| output.clone());
    let end = draft.graph.node.len();
    draft.insert(HashMap::from([(end, nodes)]));
    shapes.insert(row.clone(), vec![batch, width]);
    if let Some(first) = draft.graph.output.first_mut() {
        *first = proto::value_info(&row, &[batch, width]);
    }
    Ok(width)
}

/// Whether a learnt row of that width is joined in front of the tokens.
fn has_class_token(weights: &[Found], width: usize) -> bool {
    weights.iter().any(|w| w.kind == Kind::Embedding && w.shape == [1, 1, width])
}

fn reduce(
    draft: &mut Draft,
    output: &str,
    shape: &[usize],
    layout: Layout,
    has_class_token: bool,
) -> Vec<pb::NodeProto> {
    let rank = shape.len() as i64;
    let positions = match layout {
        Layout::Channels => shape.iter().skip(2).product::<usize>(),
        Layout::Tokens => shape.iter().skip(1).rev().skip(1).product(),
    };
    match layout {
        Layout::Tokens if has_class_token && rank == 3 => {
            draft.note(format!(
                "`{output}` {shape:?} gives tokens; the embedding is the class token, the first"
            ));
            let index = draft.integer(output, &[0]);
            if let Some(scalar) = draft.graph.initializer.last_mut() {
                scalar.dims.clear();
            }
            vec![draft.operator(output, "Gather", &[output, &index], vec![proto::int("axis", 1)])]
        }
        Layout::Tokens => {
            let axes: Vec<i64> = (1..rank - 1).collect();
            draft.note(format!("`{output}` {shape:?} gives tokens; the embedding is their mean"));
            vec![draft.mean(output, output, &axes, false)]
        }
        Layout::Channels => {
            let flat = vec![proto::int("axis", 1)];
            if positions == 1 {
                draft.note(format!("`{output}` {shape:?} was flattened"));
                return vec![draft.operator(output, "Flatten", &[output], flat)];
            }
            draft.note(format!(
                "`{output}` {shape:?} is a feature map; the embedding is its mean over positions"
            ));
            let pooled = draft.operator(output, "GlobalAveragePool", &[output], vec![]);
            let name = pooled.output.first().cloned().unwrap_or_default();
            vec![pooled, draft.operator(output, "Flatten", &[&name], flat)]
        }
    }
}

/// The layout of `output`, told by what made it.
fn layout(draft: &Draft, output: &str, shapes: &Shapes) -> Layout {
    let makers = draft.makers();
    let mut at = output;
    // At most once through every node.
    for _ in 0..=draft.graph.node.len() {
        let Some(node) = makers.get(at).and_then(|&i| draft.graph.node.get(i)) else { break };
        let op = node.op_type.as_str();
        if op == "MatMul" || op == "Gemm" || op.ends_with("LayerNormalization") || op == "Softmax" {
            return Layout::Tokens;
        }
        if op == "Transpose" {
            let rank = attribute(node, "perm").map_or(0, |p| p.ints.len() as i64);
            let to_last: Vec<i64> = std::iter::once(0).chain(2..rank).chain([1]).collect();
            let is_to_last = attribute(node, "perm").is_some_and(|p| rank > 2 && p.ints == to_last);
            return if is_to_last { Layout::Tokens } else { Layout::Channels };
        }
        if !TRANSPARENT.contains(&op) {
            break;
        }
        // An operand that is computed (weights have no maker) and not a statistic or gate of its own.
        let same = |i: &&String| makers.contains_key(*i) && shapes.get(*i) == shapes.get(at);
        match node.input.iter().rev().find(same) {
            Some(input) => at = input,
            None => break,
        }
    }
    Layout::Channels
}

/// Says so when the embedding is what a linear layer gives: it may be a classifier.
fn note_linear(draft: &mut Draft, output: &str, width: usize) {
    let makers = draft.makers();
    let mut node = makers.get(output).and_then(|&i| draft.graph.node.get(i));
    while let Some(current) = node.filter(|n| ["Identity", "Softmax", "Add"].contains(&n.op_type.as_str())) {
        let computed = current.input.iter().rev().find_map(|i| makers.get(i));
        node = computed.and_then(|&i| draft.graph.node.get(i));
    }
    let Some(linear) = node.filter(|n| ["Gemm", "MatMul"].contains(&n.op_type.as_str())) else { return };
    let features = linear.input.first().cloned().unwrap_or_default();
    draft.note(format!(
        "the embedding is what a linear layer gives, {width} values; should these be class scores, the \
         features before them are called `{features}`"
    ));
}

//! What a stored array is to the node that reads it: kernel, matrix, bias, part of a normalisation,
//! embedding. Told from the operators, so that it holds whatever the exporter called them.

use std::collections::HashMap;

use tract_onnx::pb;

use crate::selection::Kind;

/// What a float constant is where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Trained.
    Weight(Kind),
    /// Running mean of a batch norm.
    Mean,
    /// Running variance of a batch norm.
    Variance,
}

/// A constant as far as its role depends on it.
pub(super) struct Stored<'a> {
    pub(super) shape: &'a [usize],
    /// Whether it is a `Constant` node in a file that keeps its weights as initializers: a number that
    /// the traced program computed.
    pub(super) is_incidental: bool,
}

/// The graph, to ask for roles.
pub(super) struct Roles<'a> {
    pub(super) graph: &'a pb::GraphProto,
    pub(super) makers: &'a HashMap<String, usize>,
    pub(super) readers: &'a HashMap<String, Vec<(usize, usize)>>,
}

/// How many reshapes and copies lie between a constant and the operator that tells its role, at most.
const MAX_DEPTH: usize = 4;

impl Roles<'_> {
    /// The role of `stored` as input `slot` of node `at`; `None` when it is no weight.
    pub(super) fn role(&self, stored: &Stored<'_>, at: usize, slot: usize) -> Option<Role> {
        self.look(stored, at, slot, MAX_DEPTH)
    }

    fn look(&self, stored: &Stored<'_>, at: usize, slot: usize, depth: usize) -> Option<Role> {
        use Kind::{Bias, Embedding, Kernel, Matrix, NormScale, NormShift, Other};
        let node = self.graph.node.get(at)?;
        let kind = match (node.op_type.as_str(), slot) {
            ("Conv" | "ConvTranspose", 1) => Kernel,
            ("Conv" | "ConvTranspose" | "Gemm", 2) => Bias,
            ("Gemm" | "MatMul", 0 | 1) => Matrix,
            ("Einsum", _) if !stored.is_incidental => Matrix,
            ("BatchNormalization", 3) => return Some(Role::Mean),
            ("BatchNormalization", 4) => return Some(Role::Variance),
            ("BatchNormalization" | "LayerNormalization", 1) => NormScale,
            ("BatchNormalization" | "LayerNormalization", 2) => NormShift,
            _ if stored.is_incidental => return None,
            ("InstanceNormalization" | "GroupNormalization" | "RMSNormalization", 1) => NormScale,
            ("InstanceNormalization" | "GroupNormalization", 2) => NormShift,
            ("PRelu", 1) => Other,
            ("Gather", 0) | ("Concat", _) => Embedding,
            ("Add", _) => self.added(stored, node, slot)?,
            ("Mul", _) => self.multiplied(stored, node, slot)?,
            // Batch norm by the statistics of the batch: scale / deviation, shift - mean * slope.
            ("Div", 0) if self.is_made_by(node, slot, "Sqrt") => NormScale,
            ("Sub", 0) if self.is_made_by(node, slot, "Mul") => NormShift,
            ("Reshape" | "Unsqueeze" | "Squeeze" | "Flatten" | "Expand" | "Tile" | "Cast" | "Slice", 0)
                if depth > 0 =>
            {
                let &(next, input) = self.readers.get(node.output.first()?)?.first()?;
                return self.look(stored, next, input, depth - 1);
            }
            _ => return None,
        };
        Some(Role::Weight(kind))
    }

    fn added(&self, stored: &Stored<'_>, node: &pb::NodeProto, slot: usize) -> Option<Kind> {
        let extents = stored.shape.iter().filter(|&&d| d > 1).count();
        let other = self.other(node, slot);
        let follows_scale = other
            .is_some_and(|other| other.op_type == "Mul" && (0..2).any(|input| self.normalised(other, input)));
        match extents {
            0 => None,
            _ if follows_scale => Some(Kind::NormShift),
            1 => Some(Kind::Bias),
            _ => Some(Kind::Embedding),
        }
    }

    fn multiplied(&self, stored: &Stored<'_>, node: &pb::NodeProto, slot: usize) -> Option<Kind> {
        if stored.shape.iter().all(|&d| d == 1) {
            return None;
        }
        let scales = self.normalised(node, slot);
        Some(if scales { Kind::NormScale } else { Kind::Other })
    }

    fn is_made_by(&self, node: &pb::NodeProto, slot: usize, op: &str) -> bool {
        self.other(node, slot).is_some_and(|other| other.op_type == op)
    }

    /// The node that makes the other operand.
    fn other(&self, node: &pb::NodeProto, slot: usize) -> Option<&pb::NodeProto> {
        let name = node.input.get(1_usize.checked_sub(slot)?)?;
        self.graph.node.get(*self.makers.get(name)?)
    }

    /// Whether the operand other than `slot` was just brought to mean zero and variance one.
    fn normalised(&self, node: &pb::NodeProto, slot: usize) -> bool {
        let mut other = self.other(node, slot);
        // A group norm is written as an instance norm between reshapes.
        if let Some(reshape) = other.filter(|n| n.op_type == "Reshape") {
            other = reshape.input.first().and_then(|x| self.graph.node.get(*self.makers.get(x)?));
        }
        other.is_some_and(|n| {
            ["Div", "LayerNormalization", "InstanceNormalization"].contains(&n.op_type.as_str())
        })
    }
}

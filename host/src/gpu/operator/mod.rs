//! The operators, one file a family: what a node of the file says is read once, what it does is one call of
//! burn's or few. They are those that the compiler of `sedge-models` writes and no others; [`Operator::read`] is
//! the table, and what is not in it is an error that names the node.

mod convolution;
mod elementwise;
mod gather;
mod movement;
mod pair;
mod pool;
mod product;
mod reduce;

use burn_backend::AutodiffBackend;
use burn_backend::tensor::FloatTensor;
use sedge_models::fused::DOMAIN;

use super::program::{Node, Place, Result, Value};

/// One node's operator, with all that its attributes say.
#[derive(Debug)]
pub(super) enum Operator {
    Elementwise(elementwise::Elementwise),
    Pair(pair::Pair),
    Movement(movement::Movement),
    Gather(gather::Gather),
    Reduce(reduce::Reduce),
    Product(product::Product),
    Convolution(convolution::Convolution),
    Pool(pool::Pool),
    StopGradient,
}

impl Operator {
    /// Reads the operator of `node`.
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        if node.proto.domain == DOMAIN {
            // All other calls were inlined.
            return Ok(Self::StopGradient);
        }
        Ok(match node.proto.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Pow" | "And" | "Or" | "Xor" | "Equal"
            | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => Self::Pair(pair::Pair::read(node)?),
            "Reshape" | "Transpose" | "Slice" | "Concat" | "Expand" | "Tile" | "Pad" | "Identity"
            | "Where" => Self::Movement(movement::Movement::read(node)?),
            "Gather" | "GatherElements" | "GatherND" => Self::Gather(gather::Gather::read(node)?),
            "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "CumSum" | "Softmax" | "LogSoftmax" => {
                Self::Reduce(reduce::Reduce::read(node)?)
            }
            "Einsum" => Self::Product(product::Product::read(node)?),
            "Conv" | "ConvTranspose" => Self::Convolution(convolution::Convolution::read(node)?),
            "MaxPool" | "AveragePool" => Self::Pool(pool::Pool::read(node)?),
            _ => Self::Elementwise(elementwise::Elementwise::read(node)?),
        })
    }

    /// Runs it; gives its only output.
    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        match self {
            Self::Elementwise(op) => op.run(operands, place),
            Self::Pair(op) => op.run(operands, place),
            Self::Movement(op) => op.run(operands, place),
            Self::Gather(op) => op.run(operands),
            Self::Reduce(op) => op.run(operands).map(Value::Float),
            Self::Product(op) => op.run(operands, place).map(Value::Float),
            Self::Convolution(op) => op.run(operands, place).map(Value::Float),
            Self::Pool(op) => op.run(operands, place).map(Value::Float),
            Self::StopGradient => operands.value(0).map(Value::detached),
        }
    }
}

/// What a node is given. Values that nothing else reads are handed over, so that their memory may be written to.
pub(super) struct Operands<A: AutodiffBackend>(pub(super) Vec<Option<Value<A>>>);

impl<A: AutodiffBackend> Operands<A> {
    fn optional(&mut self, at: usize) -> Option<Value<A>> {
        self.0.get_mut(at).and_then(Option::take)
    }

    fn value(&mut self, at: usize) -> Result<Value<A>> {
        self.optional(at).ok_or_else(|| format!("operand {at} is missing"))
    }

    fn float(&mut self, at: usize) -> Result<FloatTensor<A>> {
        self.value(at)?.float()
    }
}

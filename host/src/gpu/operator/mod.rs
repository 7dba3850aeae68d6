//! The operators, one file a family: what a node of the file says is read once, what it does is one call of
//! burn's or few. [`Operator::read`] is the table.

mod call;
mod convolution;
mod elementwise;
mod gather;
mod movement;
mod norm;
mod pair;
mod pool;
mod product;
mod reduce;

use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;
use sedge_models::fused::DOMAIN;

pub(super) use call::is_known;

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
    Norm(norm::Norm),
    Call(call::Call),
}

impl Operator {
    /// Reads the operator of `node`.
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        if node.proto.domain == DOMAIN {
            return call::Call::read(node).map(Self::Call);
        }
        Ok(match node.proto.op_type.as_str() {
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Pow" | "And" | "Or" | "Xor" | "Equal"
            | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => Self::Pair(pair::Pair::read(node)?),
            "Reshape" | "Flatten" | "Unsqueeze" | "Squeeze" | "Transpose" | "Slice" | "Concat" | "Expand"
            | "Tile" | "Pad" | "Identity" | "Where" => Self::Movement(movement::Movement::read(node)?),
            "Gather" | "GatherElements" | "GatherND" => Self::Gather(gather::Gather::read(node)?),
            "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "CumSum" | "Softmax"
            | "LogSoftmax" => Self::Reduce(reduce::Reduce::read(node)?),
            "Einsum" | "MatMul" | "Gemm" => Self::Product(product::Product::read(node)?),
            "Conv" | "ConvTranspose" => Self::Convolution(convolution::Convolution::read(node)?),
            "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => {
                Self::Pool(pool::Pool::read(node)?)
            }
            "BatchNormalization" | "LayerNormalization" => Self::Norm(norm::Norm::read(node)?),
            _ => Self::Elementwise(elementwise::Elementwise::read(node)?),
        })
    }

    /// Runs it; gives one value an output.
    pub(super) fn run<B: Backend>(
        &self,
        operands: Operands<B>,
        place: &Place<B>,
    ) -> Result<Vec<Value<B>>> {
        match self {
            Self::Elementwise(op) => op.run(operands, place).map(one),
            Self::Pair(op) => op.run(operands, place).map(one),
            Self::Movement(op) => op.run(operands, place).map(one),
            Self::Gather(op) => op.run(operands).map(one),
            Self::Reduce(op) => op.run(operands).map(float),
            Self::Product(op) => op.run(operands, place).map(float),
            Self::Convolution(op) => op.run(operands, place).map(float),
            Self::Pool(op) => op.run(operands, place).map(float),
            Self::Norm(op) => op.run(operands).map(float),
            Self::Call(op) => op.run(operands, place).map(|all| all.into_iter().map(Value::Float).collect()),
        }
    }
}

fn one<B: Backend>(value: Value<B>) -> Vec<Value<B>> {
    vec![value]
}

fn float<B: Backend>(value: FloatTensor<B>) -> Vec<Value<B>> {
    vec![Value::Float(value)]
}

/// What a node is given. Values that nothing else reads are handed over, so that their memory may be written to.
pub(super) struct Operands<B: Backend>(pub(super) Vec<Option<Value<B>>>);

impl<B: Backend> Operands<B> {
    fn optional(&mut self, at: usize) -> Option<Value<B>> {
        self.0.get_mut(at).and_then(Option::take)
    }

    fn value(&mut self, at: usize) -> Result<Value<B>> {
        self.optional(at).ok_or_else(|| format!("operand {at} is missing"))
    }

    fn float(&mut self, at: usize) -> Result<FloatTensor<B>> {
        self.value(at)?.float()
    }

    /// The first `N` operands, all floats.
    fn floats<const N: usize>(&mut self) -> Result<[FloatTensor<B>; N]> {
        let all = (0..N).map(|at| self.float(at)).collect::<Result<Vec<_>>>()?;
        all.try_into().map_err(|_| format!("{N} operands are wanted"))
    }
}

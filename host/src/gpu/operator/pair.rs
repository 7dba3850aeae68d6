//! Functions of two values, element by element, the smaller shape stretched to the larger. A constant number
//! on one side is not made a tensor.

use burn_backend::Backend;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::tensor::{FloatTensor, IntTensor};
use burn_backend::TensorMetadata;

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value, common};

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    function: Function,
    number: Option<(Side, f32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    And,
    Or,
    Xor,
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Pair {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let function = match node.proto.op_type.as_str() {
            "Add" => Function::Add,
            "Sub" => Function::Sub,
            "Mul" => Function::Mul,
            "Div" => Function::Div,
            "Max" => Function::Max,
            "Min" => Function::Min,
            "Pow" => Function::Pow,
            "And" => Function::And,
            "Or" => Function::Or,
            "Xor" => Function::Xor,
            "Equal" => Function::Equal,
            "Less" => Function::Less,
            "LessOrEqual" => Function::LessOrEqual,
            "Greater" => Function::Greater,
            "GreaterOrEqual" => Function::GreaterOrEqual,
            _ => return Err("the operator is not known here".into()),
        };
        if node.proto.input.len() != 2 {
            return Err(format!("it has {} operands, of which two are read", node.proto.input.len()));
        }
        let right = node.operand_number(1).map(|number| (Side::Right, number));
        let number = right.or_else(|| {
            // Few functions have a form with the number in front.
            let turns = matches!(function, Function::Add | Function::Mul | Function::Max | Function::Min);
            let turned = turns || matches!(function, Function::Sub | Function::Div);
            turned.then(|| node.operand_number(0)).flatten().map(|number| (Side::Left, number))
        });
        Ok(Self { function, number })
    }

    pub(super) fn run<B: Backend>(&self, mut operands: Operands<B>, place: &Place<B>) -> Result<Value<B>> {
        if let Some((side, number)) = self.number {
            let x = operands.float(if side == Side::Left { 1 } else { 0 })?;
            return self.with_number(x, side, number, place);
        }
        let (a, b) = (operands.value(0)?, operands.value(1)?);
        let shape = common(&a.shape(), &b.shape())?;
        let (a, b) = (a.lifted(shape.len())?, b.lifted(shape.len())?);
        match (a, b) {
            (Value::Float(a), Value::Float(b)) => self.floats(a, b, place),
            (Value::Int(a), Value::Int(b)) => self.ints(a, b, place),
            (Value::Bool(a), Value::Bool(b)) => match self.function {
                Function::And => Ok(Value::Bool(B::bool_and(a, b))),
                Function::Or => Ok(Value::Bool(B::bool_or(a, b))),
                Function::Xor => Ok(Value::Bool(B::bool_xor(a, b))),
                Function::Equal => Ok(Value::Bool(B::bool_equal(a, b))),
                _ => Err("arithmetic on truth values".into()),
            },
            _ => Err("two operands of different kinds".into()),
        }
    }

    fn with_number<B: Backend>(
        &self,
        x: FloatTensor<B>,
        side: Side,
        number: f32,
        place: &Place<B>,
    ) -> Result<Value<B>> {
        let n = number.into();
        let bools = place.bools;
        Ok(match (self.function, side) {
            (Function::Add, _) => Value::Float(B::float_add_scalar(x, n)),
            (Function::Mul, _) => Value::Float(B::float_mul_scalar(x, n)),
            (Function::Max, _) => Value::Float(B::float_clamp_min(x, n)),
            (Function::Min, _) => Value::Float(B::float_clamp_max(x, n)),
            (Function::Sub, Side::Right) => Value::Float(B::float_sub_scalar(x, n)),
            (Function::Sub, Side::Left) => Value::Float(B::float_add_scalar(B::float_neg(x), n)),
            (Function::Div, Side::Right) => Value::Float(B::float_div_scalar(x, n)),
            (Function::Div, Side::Left) => Value::Float(B::float_mul_scalar(B::float_recip(x), n)),
            (Function::Pow, Side::Right) => Value::Float(power::<B>(x, number)),
            (Function::Equal, _) => Value::Bool(B::float_equal_elem(x, n, bools)),
            (Function::Less, Side::Right) => Value::Bool(B::float_lower_elem(x, n, bools)),
            (Function::LessOrEqual, Side::Right) => Value::Bool(B::float_lower_equal_elem(x, n, bools)),
            (Function::Greater, Side::Right) => Value::Bool(B::float_greater_elem(x, n, bools)),
            (Function::GreaterOrEqual, Side::Right) => Value::Bool(B::float_greater_equal_elem(x, n, bools)),
            (function, side) => return Err(format!("{function:?} of floats with a number ({side:?})")),
        })
    }

    fn floats<B: Backend>(&self, a: FloatTensor<B>, b: FloatTensor<B>, place: &Place<B>) -> Result<Value<B>> {
        Ok(match self.function {
            Function::Add => Value::Float(B::float_add(a, b)),
            Function::Sub => Value::Float(B::float_sub(a, b)),
            Function::Mul => Value::Float(B::float_mul(a, b)),
            Function::Div => Value::Float(B::float_div(a, b)),
            Function::Pow => Value::Float(B::float_powf(a, b)),
            Function::Max | Function::Min => Value::Float(self.extreme(a, b, place)?),
            Function::Equal => Value::Bool(B::float_equal(a, b, place.bools)),
            Function::Less => Value::Bool(B::float_lower(a, b, place.bools)),
            Function::LessOrEqual => Value::Bool(B::float_lower_equal(a, b, place.bools)),
            Function::Greater => Value::Bool(B::float_greater(a, b, place.bools)),
            Function::GreaterOrEqual => Value::Bool(B::float_greater_equal(a, b, place.bools)),
            Function::And | Function::Or | Function::Xor => return Err("logic on floats".into()),
        })
    }

    /// The larger or the smaller of two. A value that is not a number wins, so that none is hidden.
    fn extreme<B: Backend>(
        &self,
        a: FloatTensor<B>,
        b: FloatTensor<B>,
        place: &Place<B>,
    ) -> Result<FloatTensor<B>> {
        let shape = common(&Value::<B>::Float(a.clone()).shape(), &Value::<B>::Float(b.clone()).shape())?;
        let a = Value::<B>::Float(a).expand(&shape)?.float()?;
        let b = Value::<B>::Float(b).expand(&shape)?.float()?;
        let second = match self.function {
            Function::Max => B::float_lower(a.clone(), b.clone(), place.bools),
            _ => B::float_greater(a.clone(), b.clone(), place.bools),
        };
        let broken = B::float_is_nan(b.clone(), place.bools);
        Ok(B::float_mask_where(a, B::bool_or(second, broken), b))
    }

    fn ints<B: Backend>(&self, a: IntTensor<B>, b: IntTensor<B>, place: &Place<B>) -> Result<Value<B>> {
        Ok(match self.function {
            Function::Add => Value::Int(B::int_add(a, b)),
            Function::Sub => Value::Int(B::int_sub(a, b)),
            Function::Mul => Value::Int(B::int_mul(a, b)),
            Function::Div => Value::Int(B::int_div(a, b)),
            Function::Equal => Value::Bool(B::int_equal(a, b, place.bools)),
            Function::Less => Value::Bool(B::int_lower(a, b, place.bools)),
            Function::LessOrEqual => Value::Bool(B::int_lower_equal(a, b, place.bools)),
            Function::Greater => Value::Bool(B::int_greater(a, b, place.bools)),
            Function::GreaterOrEqual => Value::Bool(B::int_greater_equal(a, b, place.bools)),
            function => return Err(format!("{function:?} of integers {:?}", a.shape())),
        })
    }
}

/// `x` to the power of a number. Whole ones are products, as a power of a negative base by way of logarithms
/// is no number on every device.
fn power<B: Backend>(x: FloatTensor<B>, exponent: f32) -> FloatTensor<B> {
    match exponent {
        1.0 => x,
        2.0 => B::float_mul(x.clone(), x),
        3.0 => B::float_mul(B::float_mul(x.clone(), x.clone()), x),
        0.5 => B::float_sqrt(x),
        -1.0 => B::float_recip(x),
        exponent => B::float_powf_scalar(x, exponent.into()),
    }
}

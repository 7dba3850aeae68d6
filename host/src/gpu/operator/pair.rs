//! Functions of two values, element by element, the smaller shape stretched to the larger. A constant number
//! on one side is not made a tensor.

use burn_backend::tensor::{FloatTensor, IntTensor};
use burn_backend::{AutodiffBackend, TensorMetadata};

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value, common};

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::gpu) struct Pair {
    function: Function,
    number: Option<Number>,
}

/// An operand that is a constant number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Number {
    side: Side,
    value: f32,
    /// Its axes, all of extent one.
    rank: usize,
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
        let number = |at: usize, side: Side| {
            let (value, rank) = node.operand_number(at)?;
            Some(Number { side, value, rank })
        };
        // Few functions have a form with the number in front.
        let in_front = matches!(
            function,
            Function::Add | Function::Mul | Function::Max | Function::Min | Function::Sub | Function::Div
        );
        let left = || if in_front { number(0, Side::Left) } else { None };
        Ok(Self { function, number: number(1, Side::Right).or_else(left) })
    }

    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        if let Some(Number { side, value, rank }) = self.number {
            let x = operands.value(if side == Side::Left { 1 } else { 0 })?;
            return self.with_number(x.lifted(rank)?.float()?, side, value, place);
        }
        let (a, b) = (operands.value(0)?, operands.value(1)?);
        let shape = common(&a.shape(), &b.shape())?;
        let (a, b) = (a.lifted(shape.len())?, b.lifted(shape.len())?);
        match (a, b) {
            (Value::Float(a), Value::Float(b)) => self.floats(a, b, place),
            (Value::Int(a), Value::Int(b)) => self.ints(a, b, place),
            (Value::Bool(a), Value::Bool(b)) => match self.function {
                Function::And => Ok(Value::Bool(A::bool_and(a, b))),
                Function::Or => Ok(Value::Bool(A::bool_or(a, b))),
                Function::Xor => Ok(Value::Bool(A::bool_xor(a, b))),
                Function::Equal => Ok(Value::Bool(A::bool_equal(a, b))),
                _ => Err("arithmetic on truth values".into()),
            },
            _ => Err("two operands of different kinds".into()),
        }
    }

    fn with_number<A: AutodiffBackend>(
        &self,
        x: FloatTensor<A>,
        side: Side,
        number: f32,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        let n = number.into();
        let bools = place.bools;
        Ok(match (self.function, side) {
            (Function::Add, _) => Value::Float(A::float_add_scalar(x, n)),
            (Function::Mul, _) => Value::Float(A::float_mul_scalar(x, n)),
            (Function::Max, _) if number == 0.0 => Value::Float(A::relu(x)),
            (Function::Max, _) => Value::Float(A::float_clamp_min(x, n)),
            (Function::Min, _) => Value::Float(A::float_clamp_max(x, n)),
            (Function::Sub, Side::Right) => Value::Float(A::float_sub_scalar(x, n)),
            (Function::Sub, Side::Left) => Value::Float(A::float_add_scalar(A::float_neg(x), n)),
            (Function::Div, Side::Right) => Value::Float(A::float_div_scalar(x, n)),
            (Function::Div, Side::Left) => Value::Float(A::float_mul_scalar(A::float_recip(x), n)),
            (Function::Pow, Side::Right) => Value::Float(power::<A>(x, number)),
            (Function::Equal, _) => Value::Bool(A::float_equal_elem(x, n, bools)),
            (Function::Less, Side::Right) => Value::Bool(A::float_lower_elem(x, n, bools)),
            (Function::LessOrEqual, Side::Right) => Value::Bool(A::float_lower_equal_elem(x, n, bools)),
            (Function::Greater, Side::Right) => Value::Bool(A::float_greater_elem(x, n, bools)),
            (Function::GreaterOrEqual, Side::Right) => Value::Bool(A::float_greater_equal_elem(x, n, bools)),
            (function, side) => return Err(format!("{function:?} of floats with a number ({side:?})")),
        })
    }

    fn floats<A: AutodiffBackend>(
        &self,
        a: FloatTensor<A>,
        b: FloatTensor<A>,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        Ok(match self.function {
            Function::Add => Value::Float(A::float_add(a, b)),
            Function::Sub => Value::Float(A::float_sub(a, b)),
            Function::Mul => Value::Float(A::float_mul(a, b)),
            Function::Div => Value::Float(A::float_div(a, b)),
            Function::Pow => Value::Float(A::float_powf(a, b)),
            Function::Max | Function::Min => Value::Float(self.extreme(a, b, place)?),
            Function::Equal => Value::Bool(A::float_equal(a, b, place.bools)),
            Function::Less => Value::Bool(A::float_lower(a, b, place.bools)),
            Function::LessOrEqual => Value::Bool(A::float_lower_equal(a, b, place.bools)),
            Function::Greater => Value::Bool(A::float_greater(a, b, place.bools)),
            Function::GreaterOrEqual => Value::Bool(A::float_greater_equal(a, b, place.bools)),
            Function::And | Function::Or | Function::Xor => return Err("logic on floats".into()),
        })
    }

    /// The larger or the smaller of two. A value that is not a number wins, so that none is hidden.
    fn extreme<A: AutodiffBackend>(
        &self,
        a: FloatTensor<A>,
        b: FloatTensor<A>,
        place: &Place<A>,
    ) -> Result<FloatTensor<A>> {
        let shape = common(&Value::<A>::Float(a.clone()).shape(), &Value::<A>::Float(b.clone()).shape())?;
        let a = Value::<A>::Float(a).expand(&shape)?.float()?;
        let b = Value::<A>::Float(b).expand(&shape)?.float()?;
        let second = match self.function {
            Function::Max => A::float_lower(a.clone(), b.clone(), place.bools),
            _ => A::float_greater(a.clone(), b.clone(), place.bools),
        };
        let broken = A::float_is_nan(b.clone(), place.bools);
        Ok(A::float_mask_where(a, A::bool_or(second, broken), b))
    }

    fn ints<A: AutodiffBackend>(
        &self,
        a: IntTensor<A>,
        b: IntTensor<A>,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        Ok(match self.function {
            Function::Add => Value::Int(A::int_add(a, b)),
            Function::Sub => Value::Int(A::int_sub(a, b)),
            Function::Mul => Value::Int(A::int_mul(a, b)),
            Function::Div => Value::Int(A::int_div(a, b)),
            Function::Equal => Value::Bool(A::int_equal(a, b, place.bools)),
            Function::Less => Value::Bool(A::int_lower(a, b, place.bools)),
            Function::LessOrEqual => Value::Bool(A::int_lower_equal(a, b, place.bools)),
            Function::Greater => Value::Bool(A::int_greater(a, b, place.bools)),
            Function::GreaterOrEqual => Value::Bool(A::int_greater_equal(a, b, place.bools)),
            function => return Err(format!("{function:?} of integers {:?}", a.shape())),
        })
    }
}

/// `x` to the power of a number. Whole ones are products, as a power of a negative base by way of logarithms
/// is no number on every device.
fn power<A: AutodiffBackend>(x: FloatTensor<A>, exponent: f32) -> FloatTensor<A> {
    match exponent {
        1.0 => x,
        2.0 => A::float_mul(x.clone(), x),
        3.0 => A::float_mul(A::float_mul(x.clone(), x.clone()), x),
        0.5 => A::float_sqrt(x),
        -1.0 => A::float_recip(x),
        exponent => A::float_powf_scalar(x, exponent.into()),
    }
}

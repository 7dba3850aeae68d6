//! Functions of one value, element by element.

use burn_backend::tensor::FloatTensor;
use burn_backend::{AutodiffBackend, FloatDType};

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value};

/// A function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::gpu) enum Elementwise {
    Float(Function),
    Leaky(f32),
    Not,
    ToFloat,
    ToInt,
    ToBool,
}

/// A function of a float that has no numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gpu) enum Function {
    Exp,
    Log,
    Sqrt,
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Reciprocal,
    Tanh,
    Sigmoid,
    Erf,
    HardSwish,
    Sin,
    Cos,
}

const FUNCTIONS: [(&str, Function); 16] = [
    ("Exp", Function::Exp),
    ("Log", Function::Log),
    ("Sqrt", Function::Sqrt),
    ("Neg", Function::Neg),
    ("Abs", Function::Abs),
    ("Sign", Function::Sign),
    ("Floor", Function::Floor),
    ("Ceil", Function::Ceil),
    ("Round", Function::Round),
    ("Reciprocal", Function::Reciprocal),
    ("Tanh", Function::Tanh),
    ("Sigmoid", Function::Sigmoid),
    ("Erf", Function::Erf),
    ("HardSwish", Function::HardSwish),
    ("Sin", Function::Sin),
    ("Cos", Function::Cos),
];

// Data types as ONNX numbers them.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
const BOOL: i64 = 9;

impl Elementwise {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let operator = node.proto.op_type.as_str();
        if let Some((_, function)) = FUNCTIONS.iter().find(|(name, _)| *name == operator) {
            return Ok(Self::Float(*function));
        }
        match operator {
            "LeakyRelu" => Ok(Self::Leaky(node.float("alpha", 0.01))),
            "Not" => Ok(Self::Not),
            "Cast" => match node.int("to", 0) {
                FLOAT => Ok(Self::ToFloat),
                INT64 => Ok(Self::ToInt),
                BOOL => Ok(Self::ToBool),
                other => Err(format!("a cast to data type {other}")),
            },
            _ => Err("the operator is not known here".into()),
        }
    }

    pub(super) fn run<A: AutodiffBackend>(
        &self,
        mut operands: Operands<A>,
        place: &Place<A>,
    ) -> Result<Value<A>> {
        let x = operands.value(0)?;
        Ok(match *self {
            Self::Float(function) => Value::Float(function.of::<A>(x.float()?)),
            Self::Leaky(slope) => Value::Float(A::leaky_relu(x.float()?, slope.into())),
            Self::Not => Value::Bool(A::bool_not(x.bool()?)),
            Self::ToFloat => match x {
                Value::Float(x) => Value::Float(x),
                Value::Int(x) => Value::Float(A::int_into_float(x, FloatDType::F32)),
                Value::Bool(x) => Value::Float(A::bool_into_float(x, FloatDType::F32)),
            },
            Self::ToInt => match x {
                Value::Float(x) => Value::Int(A::float_into_int(x, place.ints)),
                Value::Int(x) => Value::Int(x),
                Value::Bool(x) => Value::Int(A::bool_into_int(x, place.ints)),
            },
            Self::ToBool => match x {
                Value::Float(x) => Value::Bool(A::float_not_equal_elem(x, 0.0_f32.into(), place.bools)),
                Value::Int(x) => Value::Bool(A::int_not_equal_elem(x, 0_i64.into(), place.bools)),
                Value::Bool(x) => Value::Bool(x),
            },
        })
    }
}

impl Function {
    fn of<A: AutodiffBackend>(self, x: FloatTensor<A>) -> FloatTensor<A> {
        match self {
            Self::Exp => A::float_exp(x),
            Self::Log => A::float_log(x),
            Self::Sqrt => A::float_sqrt(x),
            Self::Neg => A::float_neg(x),
            Self::Abs => A::float_abs(x),
            Self::Sign => A::float_sign(x),
            Self::Floor => A::float_floor(x),
            Self::Ceil => A::float_ceil(x),
            Self::Round => A::float_round(x),
            Self::Reciprocal => A::float_recip(x),
            Self::Tanh => A::float_tanh(x),
            Self::Sigmoid => A::sigmoid(x),
            Self::Erf => A::float_erf(x),
            Self::HardSwish => hard_swish::<A>(x),
            Self::Sin => A::float_sin(x),
            Self::Cos => A::float_cos(x),
        }
    }
}

/// `x` times `x / 6 + 1 / 2` held between zero and one.
fn hard_swish<A: AutodiffBackend>(x: FloatTensor<A>) -> FloatTensor<A> {
    let line = A::float_mul_scalar(x.clone(), (1.0_f32 / 6.0).into());
    let line = A::float_add_scalar(line, 0.5_f32.into());
    A::float_mul(x, A::float_clamp_max(A::relu(line), 1.0_f32.into()))
}

//! Functions of one value, element by element.

use burn_backend::Backend;
use burn_backend::FloatDType;
use burn_backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::tensor::FloatTensor;

use super::Operands;
use crate::gpu::program::{Node, Place, Result, Value};

/// A function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Elementwise {
    Float(Function),
    Clip { low: Option<f32>, high: Option<f32> },
    Leaky(f32),
    HardSigmoid { alpha: f32, beta: f32 },
    Not,
    ToFloat,
    ToInt,
    ToBool,
}

/// A function of a float that has no numbers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
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
    Relu,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
}

const FUNCTIONS: [(&str, Function); 26] = [
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
    ("Relu", Function::Relu),
    ("Sin", Function::Sin),
    ("Cos", Function::Cos),
    ("Tan", Function::Tan),
    ("Asin", Function::Asin),
    ("Acos", Function::Acos),
    ("Atan", Function::Atan),
    ("Sinh", Function::Sinh),
    ("Cosh", Function::Cosh),
    ("Asinh", Function::Asinh),
    ("Acosh", Function::Acosh),
    ("Atanh", Function::Atanh),
];

// Data types as ONNX numbers them.
const FLOAT: i64 = 1;
const INT32: i64 = 6;
const INT64: i64 = 7;
const BOOL: i64 = 9;

impl Elementwise {
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        let operator = node.proto.op_type.as_str();
        if let Some((_, function)) = FUNCTIONS.iter().find(|(name, _)| *name == operator) {
            return Ok(Self::Float(*function));
        }
        match operator {
            "Clip" => {
                let bound = |at: usize| match node.operand_number(at) {
                    None if node.has(at) => Err("a bound that is no constant number".to_string()),
                    bound => Ok(bound),
                };
                Ok(Self::Clip { low: bound(1)?, high: bound(2)? })
            }
            "LeakyRelu" => Ok(Self::Leaky(node.float("alpha", 0.01))),
            "HardSigmoid" => {
                Ok(Self::HardSigmoid { alpha: node.float("alpha", 0.2), beta: node.float("beta", 0.5) })
            }
            "Not" => Ok(Self::Not),
            "Cast" => match node.int("to", 0) {
                FLOAT => Ok(Self::ToFloat),
                INT32 | INT64 => Ok(Self::ToInt),
                BOOL => Ok(Self::ToBool),
                other => Err(format!("a cast to data type {other}")),
            },
            _ => Err("the operator is not known here".into()),
        }
    }

    pub(super) fn run<B: Backend>(&self, mut operands: Operands<B>, place: &Place<B>) -> Result<Value<B>> {
        let x = operands.value(0)?;
        Ok(match *self {
            Self::Float(function) => Value::Float(function.of::<B>(x.float()?)),
            Self::Clip { low, high } => Value::Float(clip::<B>(x.float()?, low, high)),
            Self::Leaky(slope) => Value::Float(B::leaky_relu(x.float()?, slope.into())),
            Self::HardSigmoid { alpha, beta } => Value::Float(hard_sigmoid::<B>(x.float()?, alpha, beta)),
            Self::Not => Value::Bool(B::bool_not(x.bool()?)),
            Self::ToFloat => match x {
                Value::Float(x) => Value::Float(x),
                Value::Int(x) => Value::Float(B::int_into_float(x, FloatDType::F32)),
                Value::Bool(x) => Value::Float(B::bool_into_float(x, FloatDType::F32)),
            },
            Self::ToInt => match x {
                Value::Float(x) => Value::Int(B::float_into_int(x, place.ints)),
                Value::Int(x) => Value::Int(x),
                Value::Bool(x) => Value::Int(B::bool_into_int(x, place.ints)),
            },
            Self::ToBool => match x {
                Value::Float(x) => Value::Bool(B::float_not_equal_elem(x, 0.0_f32.into(), place.bools)),
                Value::Int(x) => Value::Bool(B::int_not_equal_elem(x, 0_i64.into(), place.bools)),
                Value::Bool(x) => Value::Bool(x),
            },
        })
    }
}

impl Function {
    fn of<B: Backend>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Exp => B::float_exp(x),
            Self::Log => B::float_log(x),
            Self::Sqrt => B::float_sqrt(x),
            Self::Neg => B::float_neg(x),
            Self::Abs => B::float_abs(x),
            Self::Sign => B::float_sign(x),
            Self::Floor => B::float_floor(x),
            Self::Ceil => B::float_ceil(x),
            Self::Round => B::float_round(x),
            Self::Reciprocal => B::float_recip(x),
            Self::Tanh => B::float_tanh(x),
            Self::Sigmoid => B::sigmoid(x),
            Self::Erf => B::float_erf(x),
            Self::HardSwish => {
                let gate = hard_sigmoid::<B>(x.clone(), 1.0 / 6.0, 0.5);
                B::float_mul(x, gate)
            }
            Self::Relu => B::relu(x),
            Self::Sin => B::float_sin(x),
            Self::Cos => B::float_cos(x),
            Self::Tan => B::float_tan(x),
            Self::Asin => B::float_asin(x),
            Self::Acos => B::float_acos(x),
            Self::Atan => B::float_atan(x),
            Self::Sinh => B::float_sinh(x),
            Self::Cosh => B::float_cosh(x),
            Self::Asinh => B::float_asinh(x),
            Self::Acosh => B::float_acosh(x),
            Self::Atanh => B::float_atanh(x),
        }
    }
}

/// `min(max(x, low), high)`.
pub(super) fn clip<B: Backend>(x: FloatTensor<B>, low: Option<f32>, high: Option<f32>) -> FloatTensor<B> {
    match (low, high) {
        (None, None) => x,
        (Some(0.0), None) => B::relu(x),
        (Some(low), None) => B::float_clamp_min(x, low.into()),
        (None, Some(high)) => B::float_clamp_max(x, high.into()),
        (Some(low), Some(high)) => B::float_clamp(x, low.into(), high.into()),
    }
}

fn hard_sigmoid<B: Backend>(x: FloatTensor<B>, alpha: f32, beta: f32) -> FloatTensor<B> {
    let line = B::float_add_scalar(B::float_mul_scalar(x, alpha.into()), beta.into());
    clip::<B>(line, Some(0.0), Some(1.0))
}

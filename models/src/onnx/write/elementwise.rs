//! Operators of one or two values, element by element.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math::PowConst;
use tract_onnx::tract_core::ops::nn::LeakyRelu;
use tract_onnx::tract_core::ops::nn::gelu_approximate::GeluApproximate;

use super::{Writer, proto};

impl Writer<'_> {
    pub(super) fn pair(&mut self, op: &TypedBinOp, inputs: &[String]) -> TractResult<String> {
        let name = match op.0.name() {
            name @ ("Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Pow" | "And" | "Or" | "Xor") => name,
            "Eq" => "Equal",
            "LT" => "Less",
            "GT" => "Greater",
            "LTE" => "LessOrEqual",
            "GTE" => "GreaterOrEqual",
            "NE" => {
                let equal = self.node("Equal", inputs, vec![]);
                return Ok(self.node("Not", &[equal], vec![]));
            }
            name => bail!("no ONNX form for {name} of two values"),
        };
        Ok(self.node(name, inputs, vec![]))
    }

    pub(super) fn element(&mut self, op: &ElementWiseOp, inputs: &[String]) -> TractResult<String> {
        let [x] = inputs else { bail!("a function of {} values", inputs.len()) };
        if let Some(leaky) = op.0.downcast_ref::<LeakyRelu>() {
            return Ok(self.node("LeakyRelu", inputs, vec![proto::float("alpha", leaky.alpha)]));
        }
        if let Some(power) = op.0.downcast_ref::<PowConst>() {
            return Ok(self.with_number("Pow", x, power.exponent));
        }
        if let Some(gelu) = op.0.downcast_ref::<GeluApproximate>() {
            return Ok(self.gelu_approximate(x, if gelu.fast_impl { 2.0 } else { 3.0 }));
        }
        let name = match &*op.0.name() {
            "Exp" => "Exp",
            "Ln" => "Log",
            "Sqrt" => "Sqrt",
            "Neg" => "Neg",
            "Abs" => "Abs",
            "Sign" => "Sign",
            "Floor" => "Floor",
            "Ceil" => "Ceil",
            "RoundHalfToEven" => "Round",
            "Recip" => "Reciprocal",
            "Tanh" => "Tanh",
            "Sigmoid" => "Sigmoid",
            "Erf" => "Erf",
            "HardSwish" => "HardSwish",
            "Not" => "Not",
            "Sin" => "Sin",
            "Cos" => "Cos",
            "Tan" => "Tan",
            "Asin" => "Asin",
            "Acos" => "Acos",
            "Atan" => "Atan",
            "Sinh" => "Sinh",
            "Cosh" => "Cosh",
            "Asinh" => "Asinh",
            "Acosh" => "Acosh",
            "Atanh" => "Atanh",
            "Rsqrt" => {
                let root = self.node("Sqrt", inputs, vec![]);
                return Ok(self.node("Reciprocal", &[root], vec![]));
            }
            "Square" => return Ok(self.square(x)),
            "Silu" => {
                let gate = self.node("Sigmoid", inputs, vec![]);
                return Ok(self.node("Mul", &[gate, x.clone()], vec![]));
            }
            "GeluExact" => return Ok(self.gelu_exact(x)),
            name => bail!("no ONNX form for {name}"),
        };
        Ok(self.node(name, inputs, vec![]))
    }

    pub(super) fn square(&mut self, x: &str) -> String {
        self.node("Mul", &[x.into(), x.into()], vec![])
    }

    /// The chain that opset 17 has in place of an operator, and that tract recognises.
    fn gelu_exact(&mut self, x: &str) -> String {
        let scaled = self.with_number("Mul", x, FRAC_1_SQRT_2);
        let error = self.node("Erf", &[scaled], vec![]);
        let gate = self.with_number("Add", &error, 1.0);
        let half = self.with_number("Mul", x, 0.5);
        self.node("Mul", &[half, gate], vec![])
    }

    fn gelu_approximate(&mut self, x: &str, exponent: f32) -> String {
        let power = self.with_number("Pow", x, exponent);
        let scaled = self.with_number("Mul", &power, 0.044_715);
        let inner = self.node("Add", &[x.into(), scaled], vec![]);
        let inner = self.with_number("Mul", &inner, (2.0 / PI).sqrt());
        let bent = self.node("Tanh", &[inner], vec![]);
        let gate = self.with_number("Add", &bent, 1.0);
        let half = self.with_number("Mul", x, 0.5);
        self.node("Mul", &[half, gate], vec![])
    }

    pub(super) fn cast(&mut self, op: &Cast, inputs: &[String]) -> TractResult<String> {
        let to = match op.to {
            DatumType::F32 => DataType::Float,
            // tract reads a cast to 64-bit integers as one to its symbolic integers.
            DatumType::I64 | DatumType::TDim => DataType::Int64,
            DatumType::Bool => DataType::Bool,
            other => bail!("no ONNX form for a cast to {other:?}"),
        };
        Ok(self.node("Cast", inputs, vec![proto::int("to", i64::from(to as i32))]))
    }
}

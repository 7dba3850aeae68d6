//! Functions of values or rows that tract has operators for and that take long: the softmax and the
//! Gaussian error linear unit.

use sedge_kernels::{Threads, gelu, softmax};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{Softmax, SoftmaxKind};

/// A function of one value of some shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Activation {
    function: Function,
    pub(super) shape: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    /// Over the last axis.
    Softmax,
    Gelu,
}

/// The function that node `id` computes, `None` when there is no kernel for it.
pub(super) fn of(model: &TypedModel, id: usize) -> TractResult<Option<Activation>> {
    let node = model.node(id);
    let (Some(fact), [_]) = (node.outputs.first().map(|o| &o.fact), node.inputs.as_slice()) else {
        return Ok(None);
    };
    let Some(shape) = fact.shape.as_concrete().filter(|_| fact.datum_type == f32::datum_type()) else {
        return Ok(None);
    };
    let function = if let Some(op) = node.op_as::<Softmax>() {
        let is_last = op.axes.len() == 1 && op.axes.first().map(|axis| axis + 1) == Some(shape.len());
        (is_last && op.kind == SoftmaxKind::Softmax).then_some(Function::Softmax)
    } else {
        let is_gelu = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.name() == "GeluExact");
        is_gelu.then_some(Function::Gelu)
    };
    Ok(function.map(|function| Activation { function, shape: shape.to_vec() }))
}

impl Activation {
    pub(super) fn name(&self) -> &'static str {
        match self.function {
            Function::Softmax => "SoftmaxRows",
            Function::Gelu => "Gelu",
        }
    }

    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: &Threads,
    ) -> TractResult<()> {
        let ([x], [y]) = (inputs, outputs) else { bail!("a function of {} values", inputs.len()) };
        match self.function {
            Function::Softmax => softmax::forward(threads, self.shape.last().copied().unwrap_or(1), x, y)?,
            Function::Gelu => gelu::forward(threads, x, y)?,
        }
        Ok(())
    }
}

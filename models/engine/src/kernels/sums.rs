//! Sums over all axes but the last ones, such as the gradient of a bias.

use sedge_kernels::{Threads, elementwise};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::{Found, Work};

/// Fewer values than these are not worth a kernel.
const FEWEST: usize = 4096;

/// The sum of each column of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColumnSums {
    columns: usize,
    pub(super) shape: Vec<usize>,
}

/// The kernel for the reduction of node `id`, `None` when it sums anything but leading axes.
pub(super) fn of(model: &TypedModel, id: usize, op: &Reduce) -> TractResult<Option<Found>> {
    let (node, end) = (model.node(id), OutletId::new(id, 0));
    let [mut x] = *node.inputs.as_slice() else { return Ok(None) };
    let fact = model.outlet_fact(x)?;
    let (Some(input), Some(shape)) = (fact.shape.as_concrete(), model.outlet_fact(end)?.shape.as_concrete())
    else {
        return Ok(None);
    };
    let leading = op.axes.iter().copied().eq(0..op.axes.len()) && op.axes.len() < input.len();
    if !leading
        || op.reducer != Reducer::Sum
        || fact.datum_type != f32::datum_type()
        || input.iter().product::<usize>() < FEWEST
    {
        return Ok(None);
    }
    let columns = input[op.axes.len()..].iter().product();
    // Another shape of the same values, made by a copy where they have other readers.
    while let Some(AxisOp::Reshape(..) | AxisOp::Add(_) | AxisOp::Rm(_)) = model.node(x.node).op_as() {
        x = model.node(x.node).inputs[0];
    }
    let work = Work::Sums(ColumnSums { columns, shape: shape.to_vec() });
    Ok(Some(Found { work, inputs: tvec!(x), end, channels: shape.len().saturating_sub(1) }))
}

impl ColumnSums {
    pub(super) fn name(&self) -> &'static str {
        "ColumnSums"
    }

    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: &Threads,
    ) -> TractResult<()> {
        let ([x], [out]) = (inputs, outputs) else { bail!("sums of {} operands", inputs.len()) };
        ensure!(out.len() == self.columns, "{} sums of {} columns", out.len(), self.columns);
        Ok(elementwise::column_sums(threads, x, out)?)
    }
}

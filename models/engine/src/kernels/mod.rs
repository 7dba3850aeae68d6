//! Operators that run as kernels of `sedge-kernels`: a file's fused calls, and tract's convolutions and
//! products together with the bias and clip that follow them. What no kernel covers stays tract's.

mod activation;
mod calls;
mod convolution;
mod product;
mod strided;
mod sums;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sedge_kernels::Threads;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::Conv;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::nn::Reduce;

pub(crate) use calls::has_kernel;

/// Puts kernels in the place of the operators of `model` that they cover, to run on `threads`.
///
/// # Errors
/// When the model holds a fused call that has no kernel.
pub(crate) fn bind(model: &mut TypedModel, threads: &Arc<Threads>) -> TractResult<()> {
    for id in model.eval_order()? {
        if let Some(call) = model.node(id).op_as() {
            let work = Work::Call(calls::of(call, &model.node(id).name)?);
            model.node_mut(id).op = Box::new(Kernel { work, threads: threads.clone() });
        } else if let Some(activation) = activation::of(model, id)? {
            let work = Work::Activation(activation);
            model.node_mut(id).op = Box::new(Kernel { work, threads: threads.clone() });
        } else if let Some(conv) = model.node(id).op_as::<Conv>().cloned()
            && let Some(found) = convolution::of(model, id, &conv, threads)?
        {
            replace(model, id, found, threads)?;
        }
    }
    // Axes that were moved around channels-first convolutions meet, and cancel, only now.
    model.compact()?;
    model.declutter()?;
    for id in model.eval_order()? {
        if let Some(einsum) = model.node(id).op_as::<EinSum>().cloned()
            && let Some(found) = match strided::of(model, id, &einsum)? {
                Some(found) => Some(found),
                None => product::of(model, id, &einsum, threads)?,
            }
        {
            replace(model, id, found, threads)?;
        } else if let Some(reduce) = model.node(id).op_as::<Reduce>()
            && let Some(found) = sums::of(model, id, reduce)?
        {
            replace(model, id, found, threads)?;
        }
    }
    model.compact()
}

/// Bytes of the constants that the kernels of `model` hold in place of the graph.
pub(crate) fn packed_bytes(model: &TypedModel) -> u64 {
    let kernels = model.nodes().iter().filter_map(|node| node.op_as::<Kernel>());
    let bytes = kernels.map(|kernel| match &kernel.work {
        Work::Convolution(forward) => forward.packed_bytes() as u64,
        Work::Call(_) | Work::Product(_) | Work::Sums(_) | Work::Strided(_) | Work::Activation(_) => 0,
    });
    bytes.sum()
}

/// What a kernel is to do in the place of some nodes.
struct Found {
    work: Work,
    inputs: TVec<OutletId>,
    /// The last value of the nodes replaced.
    end: OutletId,
    /// The axis that holds channels in the graph; for the kernel they are the last.
    channels: usize,
}

fn replace(model: &mut TypedModel, id: usize, found: Found, threads: &Arc<Threads>) -> TractResult<()> {
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &found.inputs)?;
    let kernel = Kernel { work: found.work, threads: threads.clone() };
    let name = format!("{}.kernel", model.node(id).name);
    let last = model.outlet_fact(found.end)?.rank().saturating_sub(1);
    if found.channels != last {
        let axis = AxisOp::Move(found.channels, last);
        inputs[0] = patch.wire_node(format!("{name}.last"), axis, &inputs[..1])?[0];
    }
    let mut output = patch.wire_node(&name, kernel, &inputs)?[0];
    if found.channels != last {
        let axis = AxisOp::Move(last, found.channels);
        output = patch.wire_node(format!("{name}.first"), axis, &[output])?[0];
    }
    patch.shunt_outside(model, found.end, output)?;
    patch.apply(model)
}

/// Everything that a kernel can do.
#[derive(Clone, Debug, PartialEq)]
enum Work {
    Call(calls::Bound),
    Convolution(convolution::Forward),
    Product(product::MatrixProduct),
    Sums(sums::ColumnSums),
    Strided(strided::Strided),
    Activation(activation::Activation),
}

impl Work {
    fn name(&self) -> &'static str {
        match self {
            Self::Call(call) => call.name(),
            Self::Convolution(forward) => forward.name(),
            Self::Product(product) => product.name(),
            Self::Sums(sums) => sums.name(),
            Self::Strided(_) => "StridedProduct",
            Self::Activation(activation) => activation.name(),
        }
    }

    fn shapes(&self) -> Vec<Vec<usize>> {
        match self {
            Self::Call(call) => call.shapes(),
            Self::Convolution(forward) => vec![forward.shape.clone()],
            Self::Product(product) => vec![product.shape.clone()],
            Self::Sums(sums) => vec![sums.shape.clone()],
            Self::Strided(product) => vec![product.shape.clone()],
            Self::Activation(activation) => vec![activation.shape.clone()],
        }
    }
}

/// Work bound to its threads.
#[derive(Clone, Debug)]
struct Kernel {
    work: Work,
    threads: Arc<Threads>,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.work == other.work && Arc::ptr_eq(&self.threads, &other.threads)
    }
}

// The only floats are bounds and epsilons, which are numbers.
impl Eq for Kernel {}

impl Op for Kernel {
    fn name(&self) -> StaticName {
        self.work.name().into()
    }

    op_as_typed_op!();
}

impl TypedOp for Kernel {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(self.work.shapes().iter().map(f32::fact).collect())
    }
}

impl EvalOp for Kernel {
    not_out_of_plan!();

    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        if let Work::Call(call) = &self.work
            && let Some(output) = call.run_in_place(&mut inputs, &self.threads)?
        {
            return Ok(tvec!(output.into_tvalue()));
        }
        let views = inputs.iter().map(|i| i.try_as_plain_ram()).collect::<TractResult<Vec<_>>>()?;
        let slices = views.iter().map(|v| v.as_slice::<f32>()).collect::<TractResult<Vec<_>>>()?;
        let shapes = self.work.shapes();
        let mut outputs = shapes.iter().map(|shape| unwritten(shape)).collect::<TractResult<Vec<_>>>()?;
        {
            let mut views =
                outputs.iter_mut().map(|o| o.try_as_plain_ram_mut()).collect::<TractResult<Vec<_>>>()?;
            let mut results =
                views.iter_mut().map(|v| v.as_slice_mut::<f32>()).collect::<TractResult<Vec<_>>>()?;
            match &self.work {
                Work::Call(call) => call.run(&slices, &mut results, &self.threads)?,
                Work::Convolution(forward) => forward.run(&slices, &mut results, &self.threads)?,
                Work::Product(product) => product.run(&slices, &mut results, &self.threads)?,
                Work::Sums(sums) => sums.run(&slices, &mut results, &self.threads)?,
                Work::Strided(product) => product.run(&slices, &mut results, &self.threads)?,
                Work::Activation(activation) => activation.run(&slices, &mut results, &self.threads)?,
            }
        }
        Ok(outputs.into_iter().map(|o| o.into_tvalue()).collect())
    }
}

/// A tensor for a kernel to fill. Zeroing it first would cost one more pass over every map.
#[allow(unsafe_code, reason = "memory that is written before it is read needs no values")]
fn unwritten(shape: &[usize]) -> TractResult<Tensor> {
    // SAFETY: every bit pattern is a float. Each kernel writes the whole of each output, or refuses its
    // operands with an error, upon which the tensor is dropped unread.
    unsafe { Tensor::uninitialized::<f32>(shape) }
}

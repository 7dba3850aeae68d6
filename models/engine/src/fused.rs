//! Fused calls as kernels. A file's calls are declared by `sedge-models`; here each gets the kernel of
//! `sedge-kernels` that it names. A call without a kernel is inlined before tract reads it, and so are
//! all when the engine is asked for ordinary operators only.

use std::sync::Arc;

use sedge_kernels::depthwise::{self, Axis, Depthwise};
use sedge_kernels::norm::{self, Gradients, Parameters, Statistics};
use sedge_kernels::{Threads, elementwise};
use sedge_models::fused::{BatchNorm, Call, Convolution};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

/// Whether there is a kernel for `call`.
pub(crate) fn has_kernel(call: &Call) -> bool {
    match call {
        Call::ConvolutionInputGradient(c) | Call::ConvolutionWeightGradient(c) => is_depthwise(c),
        Call::BatchNorm(n) | Call::BatchNormGradient(n) => n.axis + 1 == n.shape.len(),
        Call::ClipGradient(_) => true,
    }
}

fn is_depthwise(c: &Convolution) -> bool {
    c.is_depthwise() && c.kernel.iter().all(|k| *k <= depthwise::MAX_KERNEL)
}

/// Gives every call of `model` its kernel, to run on `threads`.
pub(crate) fn bind(model: &mut TypedModel, threads: &Arc<Threads>) -> TractResult<()> {
    for id in model.eval_order()? {
        let Some(call) = model.node(id).op_as::<Call>().cloned() else { continue };
        ensure!(has_kernel(&call), "no kernel for `{}` ({})", model.node(id).name, call.kernel());
        model.node_mut(id).op = Box::new(Kernel { call, threads: threads.clone() });
    }
    Ok(())
}

/// A call bound to its kernel.
#[derive(Clone, Debug)]
struct Kernel {
    call: Call,
    threads: Arc<Threads>,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.call == other.call && Arc::ptr_eq(&self.threads, &other.threads)
    }
}

impl Eq for Kernel {}

impl Op for Kernel {
    fn name(&self) -> StaticName {
        self.call.kernel().into()
    }

    op_as_typed_op!();
}

impl TypedOp for Kernel {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.call.output_facts(inputs)
    }
}

impl EvalOp for Kernel {
    not_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let wanted = self.call.inputs();
        ensure!(inputs.len() == wanted.len(), "{} inputs for {}", inputs.len(), self.call.kernel());
        let views = inputs.iter().map(|i| i.try_as_plain_ram()).collect::<TractResult<Vec<_>>>()?;
        let slices = views.iter().map(|v| v.as_slice::<f32>()).collect::<TractResult<Vec<_>>>()?;
        let mut outputs = self
            .call
            .outputs()
            .iter()
            .map(|shape| Tensor::zero::<f32>(shape))
            .collect::<TractResult<Vec<_>>>()?;
        {
            let mut views =
                outputs.iter_mut().map(|o| o.try_as_plain_ram_mut()).collect::<TractResult<Vec<_>>>()?;
            let mut results =
                views.iter_mut().map(|v| v.as_slice_mut::<f32>()).collect::<TractResult<Vec<_>>>()?;
            self.run(&slices, &mut results)?;
        }
        Ok(outputs.into_iter().map(|o| o.into_tvalue()).collect())
    }
}

impl Kernel {
    fn run(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> TractResult<()> {
        let threads = &*self.threads;
        match (&self.call, inputs, outputs) {
            (Call::ConvolutionInputGradient(c), [kernel, dy], [dx]) => {
                depthwise::input_gradient(threads, &geometry(c), kernel, dy, dx)?;
            }
            (Call::ConvolutionWeightGradient(c), [x, dy], [dkernel]) => {
                depthwise::weight_gradient(threads, &geometry(c), x, dy, dkernel)?;
            }
            (Call::BatchNorm(n), [x, scale, shift], [y, mean, variance]) => {
                let statistics = Statistics { mean, variance };
                norm::forward(threads, &shape(n), x, Parameters { scale, shift }, y, statistics)?;
            }
            (Call::BatchNormGradient(n), [x, scale, shift, mean, variance, dy], [dx, dscale, dshift]) => {
                let gradients = Gradients { x: dx, scale: dscale, shift: dshift };
                let parameters = Parameters { scale, shift };
                norm::backward(threads, &shape(n), x, parameters, mean, variance, dy, gradients)?;
            }
            (Call::ClipGradient(c), [y, dy], [dx]) => {
                elementwise::clip_gradient(threads, y, dy, c.clip.bounds(), dx)?;
            }
            (call, inputs, outputs) => {
                bail!("{} of {} inputs and {} outputs", call.kernel(), inputs.len(), outputs.len())
            }
        }
        Ok(())
    }
}

fn shape(n: &BatchNorm) -> norm::BatchNorm {
    norm::BatchNorm { rows: n.count(), channels: n.channels(), epsilon: n.epsilon, bounds: n.clip.bounds() }
}

fn geometry(c: &Convolution) -> Depthwise {
    let output = c.output();
    let axis = |i: usize| Axis {
        input: c.extent[i],
        output: output[i],
        kernel: c.kernel[i],
        stride: c.stride[i],
        dilation: c.dilation[i],
        before: c.before[i],
    };
    let flat = Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0 };
    // A call has one or two axes.
    let (rows, columns) = if c.kernel.len() == 2 { (axis(0), axis(1)) } else { (flat, axis(0)) };
    Depthwise { batch: c.batch, channels: c.channels, rows, columns }
}

//! Fused calls as kernels. A file's calls are declared by `sedge-models`; here each gets the kernel of
//! `sedge-kernels` that it names. A call without a kernel is inlined before tract reads it, and so are
//! all when the engine is asked for ordinary operators only.

use sedge_kernels::convolution::{self, Direction, Geometry, PackedKernel};
use sedge_kernels::norm::{self, Gradients, Parameters, Statistics};
use sedge_kernels::{Threads, depthwise, elementwise, gelu, layer_norm, softmax};
use sedge_models::fused::{BatchNorm, Call, LayerNorm};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use super::convolution::geometry;

/// Whether there is a kernel for `call`.
pub(crate) fn has_kernel(call: &Call) -> bool {
    match call {
        Call::ConvolutionInputGradient(_) | Call::ConvolutionWeightGradient(_) | Call::ClipGradient(_) => {
            true
        }
        Call::LayerNorm(_)
        | Call::LayerNormGradient(_)
        | Call::SoftmaxGradient(_)
        | Call::GeluGradient(_) => true,
        Call::BatchNorm(n) | Call::BatchNormGradient(n) => n.axis + 1 == n.shape.len(),
        Call::StopGradient(_) => false,
    }
}

/// The call of the node `name` with its kernel.
pub(super) fn of(call: &Call, name: &str) -> TractResult<Bound> {
    ensure!(has_kernel(call), "no kernel for `{name}` ({})", call.kernel());
    Ok(Bound(call.clone()))
}

/// A call that has a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound(Call);

impl Bound {
    pub(super) fn name(&self) -> &'static str {
        self.0.kernel()
    }

    pub(super) fn shapes(&self) -> Vec<Vec<usize>> {
        self.0.outputs()
    }

    /// Runs the call in the place of an input that nothing reads any more; `None` where it cannot.
    pub(super) fn run_in_place(
        &self,
        inputs: &mut TVec<TValue>,
        threads: &Threads,
    ) -> TractResult<Option<Tensor>> {
        let (Call::ClipGradient(c), [y, dy]) = (&self.0, inputs.as_slice()) else { return Ok(None) };
        if !dy.is_exclusive() || dy.shape() != y.shape() {
            return Ok(None);
        }
        let (Some(dy), Some(y)) = (inputs.pop(), inputs.pop()) else { return Ok(None) };
        let mut dx = dy.into_tensor();
        let y = y.try_as_plain_ram()?;
        let mut values = dx.try_as_plain_ram_mut()?;
        let bounds = c.clip.bounds();
        elementwise::clip_gradient_in_place(threads, y.as_slice()?, bounds, values.as_slice_mut()?)?;
        Ok(Some(dx))
    }

    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: &Threads,
    ) -> TractResult<()> {
        match (&self.0, inputs, outputs) {
            (Call::ConvolutionInputGradient(c), [kernel, dy], [dx]) => {
                input_gradient(threads, &geometry(c), c.is_depthwise(), kernel, dy, dx)
            }
            (Call::ConvolutionWeightGradient(c), [x, dy], [dkernel]) => {
                weight_gradient(threads, &geometry(c), c.is_depthwise(), x, dy, dkernel)
            }
            (Call::BatchNorm(n), [x, scale, shift], [y, mean, variance]) => {
                let statistics = Statistics { mean, variance };
                Ok(norm::forward(threads, &shape(n), x, Parameters { scale, shift }, y, statistics)?)
            }
            (Call::BatchNormGradient(n), [x, scale, shift, mean, variance, dy], [dx, dscale, dshift]) => {
                let gradients = Gradients { x: dx, scale: dscale, shift: dshift };
                let parameters = Parameters { scale, shift };
                Ok(norm::backward(threads, &shape(n), x, parameters, mean, variance, dy, gradients)?)
            }
            (Call::ClipGradient(c), [y, dy], [dx]) => {
                Ok(elementwise::clip_gradient(threads, y, dy, c.clip.bounds(), dx)?)
            }
            (Call::LayerNorm(n), [x, affine @ ..], [y]) => {
                let affine = if let [scale, shift] = *affine { Some((scale, shift)) } else { None };
                Ok(layer_norm::forward(threads, &layer(n), x, affine, y)?)
            }
            (Call::LayerNormGradient(n), [x, dy], [dx]) => {
                Ok(layer_norm::backward(threads, &layer(n), x, dy, dx, None)?)
            }
            (Call::LayerNormGradient(n), [x, scale, dy], [dx, dscale, dshift]) => {
                let affine = Some((*scale, &mut **dscale, &mut **dshift));
                Ok(layer_norm::backward(threads, &layer(n), x, dy, dx, affine)?)
            }
            (Call::SoftmaxGradient(s), [y, dy], [dx]) => {
                Ok(softmax::backward(threads, s.columns(), y, dy, dx)?)
            }
            (Call::GeluGradient(_), [x, dy], [dx]) => Ok(gelu::backward(threads, x, dy, dx)?),
            (call, inputs, outputs) => {
                bail!("{} of {} inputs and {} outputs", call.kernel(), inputs.len(), outputs.len())
            }
        }
    }
}

fn input_gradient(
    threads: &Threads,
    geometry: &Geometry,
    depthwise: bool,
    kernel: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> TractResult<()> {
    if depthwise {
        return Ok(depthwise::input_gradient(threads, geometry, kernel, dy, dx)?);
    }
    let kernel = PackedKernel::new(geometry, Direction::InputGradient, kernel, threads)?;
    Ok(convolution::input_gradient(dy, &kernel, dx, false, threads)?)
}

fn weight_gradient(
    threads: &Threads,
    geometry: &Geometry,
    depthwise: bool,
    x: &[f32],
    dy: &[f32],
    dkernel: &mut [f32],
) -> TractResult<()> {
    if depthwise {
        return Ok(depthwise::weight_gradient(threads, geometry, x, dy, dkernel)?);
    }
    Ok(convolution::weight_gradient(x, dy, geometry, dkernel, None, false, threads)?)
}

fn shape(n: &BatchNorm) -> norm::BatchNorm {
    norm::BatchNorm { rows: n.count(), channels: n.channels(), epsilon: n.epsilon, bounds: n.clip.bounds() }
}

fn layer(n: &LayerNorm) -> layer_norm::LayerNorm {
    layer_norm::LayerNorm { columns: n.columns(), epsilon: n.epsilon }
}

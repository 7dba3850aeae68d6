//! Depthwise convolution: every channel is filtered by a kernel of its own (Chollet 2017), forward and
//! both gradients.
//!
//! Forward and input gradient are one loop: each position of the result sums what its taps
//! read, and only the list of taps differs. The weight gradient sums over positions instead.
//! Neighbouring channels fill a vector; none of it moves data first.

mod gather;
#[cfg(test)]
mod tests;
mod weight;

use crate::convolution::Geometry;
use crate::error::check_length;
use crate::{KernelError, Threads};
use gather::Taps;

/// One axis of a geometry.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

/// The vertical and horizontal axis of a geometry that [`check`] passed.
fn axes(geometry: &Geometry) -> [Axis; 2] {
    let output = geometry.output();
    [0, 1].map(|i| Axis {
        input: geometry.input[i],
        output: output[i],
        kernel: geometry.kernel[i],
        stride: geometry.stride[i],
        dilation: geometry.dilation[i],
        before: geometry.pad_before[i],
    })
}

fn check(kernel: &'static str, geometry: &Geometry) -> Result<(), KernelError> {
    geometry.check(kernel)?;
    let Geometry { channels_in, channels_out, groups, .. } = *geometry;
    if groups == channels_in && groups == channels_out {
        return Ok(());
    }
    Err(KernelError::Geometry {
        kernel,
        argument: "groups",
        value: vec![groups, channels_in, channels_out],
        reason: "must be as many as the channels in and out: other convolutions are dense",
    })
}

/// `y = clamp(x * kernel + bias, low, high)`, with `bias` of one value a channel.
///
/// # Errors
/// When the geometry is none, or a slice does not have its length.
#[allow(clippy::too_many_arguments, reason = "the operands of a convolution, none of which belong together")]
pub fn forward(
    threads: &Threads,
    geometry: &Geometry,
    x: &[f32],
    kernel: &[f32],
    bias: Option<&[f32]>,
    (low, high): (f32, f32),
    y: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "depthwise convolution";
    check(NAME, geometry)?;
    check_length(NAME, "x", x.len(), &geometry.input_shape())?;
    check_length(NAME, "kernel", kernel.len(), &geometry.kernel_shape())?;
    check_length(NAME, "y", y.len(), &geometry.output_shape())?;
    if let Some(bias) = bias {
        check_length(NAME, "bias", bias.len(), &[geometry.channels_out])?;
    }
    let [rows, columns] = axes(geometry);
    let taps = (Taps::forward(&rows), Taps::forward(&columns));
    gather::run(threads, geometry.channels_in, &taps, x, kernel, bias, (low, high), y);
    Ok(())
}

/// Gradient of the input from the kernel and the output's gradient `dy`.
///
/// # Errors
/// As [`forward`].
pub fn input_gradient(
    threads: &Threads,
    geometry: &Geometry,
    kernel: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "depthwise input gradient";
    check(NAME, geometry)?;
    check_length(NAME, "kernel", kernel.len(), &geometry.kernel_shape())?;
    check_length(NAME, "dy", dy.len(), &geometry.output_shape())?;
    check_length(NAME, "dx", dx.len(), &geometry.input_shape())?;
    let [rows, columns] = axes(geometry);
    let taps = (Taps::backward(&rows), Taps::backward(&columns));
    let unclipped = (f32::NEG_INFINITY, f32::INFINITY);
    gather::run(threads, geometry.channels_in, &taps, dy, kernel, None, unclipped, dx);
    Ok(())
}

/// Gradient of the kernel from the input and the output's gradient `dy`.
///
/// # Errors
/// As [`forward`].
pub fn weight_gradient(
    threads: &Threads,
    geometry: &Geometry,
    x: &[f32],
    dy: &[f32],
    dkernel: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "depthwise weight gradient";
    check(NAME, geometry)?;
    check_length(NAME, "x", x.len(), &geometry.input_shape())?;
    check_length(NAME, "dy", dy.len(), &geometry.output_shape())?;
    check_length(NAME, "dkernel", dkernel.len(), &geometry.kernel_shape())?;
    weight::run(threads, geometry, x, dy, dkernel);
    Ok(())
}

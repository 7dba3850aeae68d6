//! Depthwise convolution: every channel is filtered by a kernel of its own (Chollet 2017), forward and
//! both gradients.
//!
//! Forward and input gradient are one loop, [`gather`]: each position of the result sums what its taps
//! read, and only the list of taps differs. The weight gradient ([`weight`]) sums over positions instead.
//! Neighbouring channels fill a vector; none of it moves data first.

mod gather;
#[cfg(test)]
mod tests;
mod weight;

use crate::error::KernelError;
use crate::threads::Threads;
use gather::Taps;

/// Longest kernel side.
pub const MAX_KERNEL: usize = 64;
/// Most values of one map.
const MAX_VALUES: usize = 1 << 31;

/// One axis of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Positions of the input.
    pub input: usize,
    /// Positions of the output.
    pub output: usize,
    /// Taps of the kernel.
    pub kernel: usize,
    /// Input positions from one output position to the next.
    pub stride: usize,
    /// Input positions from one tap to the next.
    pub dilation: usize,
    /// Zero positions in front of the input. Those behind follow from the output.
    pub before: usize,
}

/// A depthwise convolution of `x` `[batch, h, w, channels]` by `[channels, 1, kh, kw]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    /// Samples.
    pub batch: usize,
    /// Channels, in and out.
    pub channels: usize,
    /// The vertical axis; of one position and one tap in one-dimensional convolutions.
    pub rows: Axis,
    /// The horizontal axis.
    pub columns: Axis,
}

impl Depthwise {
    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.rows.input * self.columns.input * self.channels
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.rows.output * self.columns.output * self.channels
    }

    /// Values of the kernel.
    pub fn kernel_len(&self) -> usize {
        self.channels * self.rows.kernel * self.columns.kernel
    }

    fn check(&self, kernel: &'static str) -> Result<(), KernelError> {
        for (argument, axis) in [("rows", self.rows), ("columns", self.columns)] {
            let value = vec![axis.input, axis.output, axis.kernel, axis.stride, axis.dilation, axis.before];
            let refuse = |reason| Err(KernelError::Geometry { kernel, argument, value, reason });
            if axis.kernel == 0 || axis.kernel > MAX_KERNEL {
                return refuse("has a kernel of no taps, or of more than 64");
            }
            if axis.stride == 0 || axis.dilation == 0 {
                return refuse("has a stride or dilation of zero");
            }
            if [axis.stride, axis.dilation, axis.before].iter().any(|v| *v > MAX_VALUES) {
                return refuse("has a stride, dilation or padding beyond any map");
            }
        }
        let (rows, columns) = (self.rows, self.columns);
        for shape in [
            [self.batch, rows.input, columns.input, self.channels],
            [self.batch, rows.output, columns.output, self.channels],
        ] {
            let values = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            if values.is_none_or(|n| n > MAX_VALUES) {
                let (value, reason) = (shape.to_vec(), "holds too many values");
                return Err(KernelError::Geometry { kernel, argument: "shape", value, reason });
            }
        }
        Ok(())
    }

    fn input(&self) -> [usize; 4] {
        [self.batch, self.rows.input, self.columns.input, self.channels]
    }

    fn output(&self) -> [usize; 4] {
        [self.batch, self.rows.output, self.columns.output, self.channels]
    }

    fn kernel(&self) -> [usize; 4] {
        [self.channels, 1, self.rows.kernel, self.columns.kernel]
    }
}

/// Refuses a slice that does not fill its shape.
pub(crate) fn fills(
    kernel: &'static str,
    argument: &'static str,
    shape: &[usize],
    actual: usize,
) -> Result<(), KernelError> {
    let expected = shape.iter().product();
    if actual == expected {
        return Ok(());
    }
    Err(KernelError::Length { kernel, argument, shape: shape.to_vec(), expected, actual })
}

/// `y = clamp(x * kernel + bias, low, high)`, with `bias` of one value a channel.
///
/// # Errors
/// When the geometry is none, or a slice does not have its length.
#[allow(clippy::too_many_arguments, reason = "the operands of a convolution, none of which belong together")]
pub fn forward(
    threads: &Threads,
    geometry: &Depthwise,
    x: &[f32],
    kernel: &[f32],
    bias: Option<&[f32]>,
    (low, high): (f32, f32),
    y: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "depthwise convolution";
    geometry.check(NAME)?;
    fills(NAME, "x", &geometry.input(), x.len())?;
    fills(NAME, "kernel", &geometry.kernel(), kernel.len())?;
    fills(NAME, "y", &geometry.output(), y.len())?;
    if let Some(bias) = bias {
        fills(NAME, "bias", &[geometry.channels], bias.len())?;
    }
    let taps = (Taps::forward(&geometry.rows), Taps::forward(&geometry.columns));
    gather::run(threads, geometry.channels, &taps, x, kernel, bias, (low, high), y);
    Ok(())
}

/// Gradient of the input from the kernel and the output's gradient `dy`.
///
/// # Errors
/// As [`forward`].
pub fn input_gradient(
    threads: &Threads,
    geometry: &Depthwise,
    kernel: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "depthwise input gradient";
    geometry.check(NAME)?;
    fills(NAME, "kernel", &geometry.kernel(), kernel.len())?;
    fills(NAME, "dy", &geometry.output(), dy.len())?;
    fills(NAME, "dx", &geometry.input(), dx.len())?;
    let taps = (Taps::backward(&geometry.rows), Taps::backward(&geometry.columns));
    let unclipped = (f32::NEG_INFINITY, f32::INFINITY);
    gather::run(threads, geometry.channels, &taps, dy, kernel, None, unclipped, dx);
    Ok(())
}

/// Gradient of the kernel from the input and the output's gradient `dy`.
///
/// # Errors
/// As [`forward`].
pub fn weight_gradient(
    threads: &Threads,
    geometry: &Depthwise,
    x: &[f32],
    dy: &[f32],
    dkernel: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "depthwise weight gradient";
    geometry.check(NAME)?;
    fills(NAME, "x", &geometry.input(), x.len())?;
    fills(NAME, "dy", &geometry.output(), dy.len())?;
    fills(NAME, "dkernel", &geometry.kernel(), dkernel.len())?;
    weight::run(threads, geometry, x, dy, dkernel);
    Ok(())
}

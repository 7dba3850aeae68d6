//! The shapes of a convolution.

use crate::KernelError;
use crate::error::limit;

/// Largest size, stride, dilation, padding and count of channels.
pub const MAX_SIZE: usize = 1 << 20;

/// Largest stride: the input gradient has a phase for each step of it.
pub const MAX_STRIDE: usize = 256;

/// The shapes of a convolution; pairs are height, width. One dimension is a height of 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Size of an input image.
    pub input: [usize; 2],
    /// Channels of the input, a multiple of the groups.
    pub channels_in: usize,
    /// Channels of the output, a multiple of the groups.
    pub channels_out: usize,
    /// Groups of channels, each convolved by itself.
    pub groups: usize,
    /// Size of the kernel.
    pub kernel: [usize; 2],
    /// Input positions from one output position to the next.
    pub stride: [usize; 2],
    /// Input positions from one tap of the kernel to the next.
    pub dilation: [usize; 2],
    /// Zeros before the input.
    pub pad_before: [usize; 2],
    /// Zeros after the input.
    pub pad_after: [usize; 2],
}

impl Geometry {
    /// A convolution with stride, dilation and groups of 1 and no padding.
    pub fn new(
        batch: usize,
        input: [usize; 2],
        channels_in: usize,
        channels_out: usize,
        kernel: [usize; 2],
    ) -> Self {
        let ones = [1, 1];
        let none = [0, 0];
        Self {
            batch,
            input,
            channels_in,
            channels_out,
            groups: 1,
            kernel,
            stride: ones,
            dilation: ones,
            pad_before: none,
            pad_after: none,
        }
    }

    /// Size of an output image; zero where the kernel does not fit.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let padded =
                self.input[axis].saturating_add(self.pad_before[axis]).saturating_add(self.pad_after[axis]);
            let reach = self.kernel[axis].saturating_sub(1).saturating_mul(self.dilation[axis]);
            padded.checked_sub(reach.saturating_add(1)).map_or(0, |left| left / self.stride[axis].max(1) + 1)
        })
    }

    /// Shape of the input, `[batch, height, width, channels]`.
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.input[0], self.input[1], self.channels_in]
    }

    /// Shape of the output, `[batch, height, width, channels]`.
    pub fn output_shape(&self) -> [usize; 4] {
        let [height, width] = self.output();
        [self.batch, height, width, self.channels_out]
    }

    /// Shape of the kernel, `[out, in / groups, height, width]`.
    pub fn kernel_shape(&self) -> [usize; 4] {
        let channels = self.channels_in.checked_div(self.groups).unwrap_or(0);
        [self.channels_out, channels, self.kernel[0], self.kernel[1]]
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    pub(super) fn group_in(&self) -> usize {
        self.channels_in / self.groups
    }

    pub(super) fn group_out(&self) -> usize {
        self.channels_out / self.groups
    }

    /// Refuses what no kernel here takes. Afterwards no size of the geometry is zero, and no product
    /// of them that a kernel forms overflows.
    pub(crate) fn check(&self, kernel: &'static str) -> Result<(), KernelError> {
        let positive = "must be 1 to 2^20";
        let sizes: [(&'static str, &[usize], usize, &'static str); 10] = [
            ("batch", &[self.batch], 1, positive),
            ("input", &self.input, 1, positive),
            ("channels_in", &[self.channels_in], 1, positive),
            ("channels_out", &[self.channels_out], 1, positive),
            ("groups", &[self.groups], 1, positive),
            ("kernel", &self.kernel, 1, positive),
            ("stride", &self.stride, 1, positive),
            ("dilation", &self.dilation, 1, positive),
            ("pad_before", &self.pad_before, 0, "must be at most 2^20"),
            ("pad_after", &self.pad_after, 0, "must be at most 2^20"),
        ];
        let refuse = |argument, value: &[usize], reason| {
            Err(KernelError::Geometry { kernel, argument, value: value.to_vec(), reason })
        };
        for (argument, value, least, reason) in sizes {
            if value.iter().any(|size| *size < least || *size > MAX_SIZE) {
                return refuse(argument, value, reason);
            }
        }
        for (argument, channels) in [("channels_in", self.channels_in), ("channels_out", self.channels_out)] {
            if !channels.is_multiple_of(self.groups) {
                return refuse(argument, &[channels, self.groups], "must be a multiple of `groups`");
            }
        }
        if self.stride.iter().any(|stride| *stride > MAX_STRIDE) {
            return refuse("stride", &self.stride, "must be at most 256");
        }
        if self.output().contains(&0) {
            return refuse(
                "kernel",
                &self.kernel,
                "reaches beyond the padded input: pad more or dilate less",
            );
        }
        limit(kernel, "input", &self.input_shape())?;
        limit(kernel, "output", &self.output_shape())?;
        limit(kernel, "kernel", &self.kernel_shape())?;
        Ok(())
    }
}

//! Gradients of a convolution as calls. The bodies are the plain lowerings of `autodiff/convolution`.

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::attributes::{Attributes, bounded};
use crate::autodiff::convolution as lowering;
use crate::graph::Graph;
use crate::onnx::proto;

/// The numbers of one convolution over channels-last maps `[batch, extent..., channels]`, with a kernel
/// `[out, channels / groups, k...]`. Spatial lists have one entry an axis, and one or two axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Samples.
    pub batch: usize,
    /// Channels in, all groups together.
    pub channels: usize,
    /// Channels out.
    pub out: usize,
    /// Channel groups: one is dense, `channels` (with as many out) depthwise.
    pub groups: usize,
    /// Kernel extent.
    pub kernel: Vec<usize>,
    /// Stride.
    pub stride: Vec<usize>,
    /// Distance of the kernel's taps.
    pub dilation: Vec<usize>,
    /// Spatial extent of the input.
    pub extent: Vec<usize>,
    /// Zero padding in front.
    pub before: Vec<usize>,
    /// Zero padding behind.
    pub after: Vec<usize>,
}

impl Convolution {
    /// The convolution that `op` does to an input of channels-last shape `input`; `None` when it is one
    /// that no call covers.
    pub fn of(op: &Conv, input: &[usize]) -> Option<Self> {
        let spec = &op.pool_spec;
        let rank = spec.rank();
        let plain = op.q_params.is_none()
            && op.kernel_fmt == KernelFormat::OIHW
            && spec.data_format.has_n()
            && (1..=2).contains(&rank)
            && input.len() == rank + 2;
        if !plain {
            return None;
        }
        let extent = input[1..=rank].to_vec();
        let padding = spec.computed_padding(&extent);
        let this = Self {
            batch: input[0],
            channels: spec.input_channels,
            out: spec.output_channels,
            groups: op.group,
            kernel: spec.kernel_shape.to_vec(),
            stride: spec.strides().to_vec(),
            dilation: spec.dilations().to_vec(),
            extent,
            before: padding.iter().map(|p| p.pad_before).collect(),
            after: padding.iter().map(|p| p.pad_after).collect(),
        };
        this.check().ok().map(|()| this)
    }

    /// Whether every channel has a kernel of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.channels && self.channels == self.out
    }

    /// Spatial extent of the output.
    pub fn output(&self) -> Vec<usize> {
        (0..self.kernel.len()).map(|i| (self.padded(i) - self.reach(i)) / self.stride[i] + 1).collect()
    }

    /// Input positions along an axis, padding included.
    fn padded(&self, axis: usize) -> usize {
        self.extent[axis] + self.before[axis] + self.after[axis]
    }

    /// Input positions that one output position spans.
    fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// `[batch, extent..., channels]`.
    pub fn input_shape(&self) -> Vec<usize> {
        [&[self.batch], self.extent.as_slice(), &[self.channels]].concat()
    }

    /// `[batch, output..., out]`.
    pub fn output_shape(&self) -> Vec<usize> {
        [&[self.batch], self.output().as_slice(), &[self.out]].concat()
    }

    /// `[out, channels / groups, k...]`.
    pub fn kernel_shape(&self) -> Vec<usize> {
        [&[self.out, self.channels / self.groups], self.kernel.as_slice()].concat()
    }

    fn check(&self) -> TractResult<()> {
        let rank = self.kernel.len();
        ensure!((1..=2).contains(&rank), "a convolution over {rank} axes");
        let lists = [&self.stride, &self.dilation, &self.extent, &self.before, &self.after];
        ensure!(lists.iter().all(|l| l.len() == rank), "a convolution whose lists differ in length");
        let positive = [&self.kernel, &self.stride, &self.dilation, &self.extent];
        ensure!(positive.iter().all(|l| l.iter().all(|v| *v > 0)), "a convolution of extent zero");
        ensure!(
            self.groups > 0
                && self.channels.is_multiple_of(self.groups)
                && self.out.is_multiple_of(self.groups),
            "{} groups of {} channels in and {} out",
            self.groups,
            self.channels,
            self.out
        );
        bounded(&self.input_shape())?;
        bounded(&self.kernel_shape())?;
        for i in 0..rank {
            // The bounds above keep these far from overflow, dilation and padding excepted.
            let reach = (self.kernel[i] - 1).checked_mul(self.dilation[i]);
            ensure!(
                reach.is_some_and(|r| r < self.padded(i)),
                "a kernel that reaches beyond the padded input along axis {i}"
            );
        }
        bounded(&self.output_shape())
    }

    pub(super) fn attributes(&self) -> Vec<pb::AttributeProto> {
        let list =
            |name: &str, values: &[usize]| proto::ints(name, values.iter().map(|&v| v as i64).collect());
        vec![
            proto::ints("channels", vec![self.channels as i64, self.out as i64]),
            proto::int("batch", self.batch as i64),
            proto::int("group", self.groups as i64),
            list("kernel_shape", &self.kernel),
            list("strides", &self.stride),
            list("dilations", &self.dilation),
            list("extent", &self.extent),
            list("pads", &[self.before.as_slice(), &self.after].concat()),
        ]
    }

    pub(super) fn read(attributes: &Attributes<'_>) -> TractResult<Self> {
        let channels = attributes.sizes("channels")?;
        let [channels, out] = *channels.as_slice() else { bail!("`channels` must be [in, out]") };
        let mut before = attributes.sizes("pads")?;
        let after = before.split_off(before.len() / 2);
        let this = Self {
            batch: attributes.size("batch")?,
            channels,
            out,
            groups: attributes.size("group")?,
            kernel: attributes.sizes("kernel_shape")?,
            stride: attributes.sizes("strides")?,
            dilation: attributes.sizes("dilations")?,
            extent: attributes.sizes("extent")?,
            before,
            after,
        };
        this.check()?;
        Ok(this)
    }

    fn op(&self) -> Conv {
        let pool_spec = PoolSpec {
            data_format: DataFormat::NHWC,
            kernel_shape: self.kernel.as_slice().into(),
            padding: PaddingSpec::Explicit(self.before.as_slice().into(), self.after.as_slice().into()),
            dilations: Some(self.dilation.as_slice().into()),
            strides: Some(self.stride.as_slice().into()),
            input_channels: self.channels,
            output_channels: self.out,
        };
        Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: self.groups, q_params: None }
    }

    pub(super) fn input_gradient(
        &self,
        graph: &mut Graph,
        inputs: &[OutletId],
    ) -> TractResult<Vec<OutletId>> {
        let [kernel, gradient] = *inputs else { bail!("an input gradient of {} inputs", inputs.len()) };
        Ok(vec![lowering::input_gradient(graph, &self.op(), &self.input_shape(), kernel, gradient)?])
    }

    pub(super) fn weight_gradient(
        &self,
        graph: &mut Graph,
        inputs: &[OutletId],
    ) -> TractResult<Vec<OutletId>> {
        let [x, gradient] = *inputs else { bail!("a weight gradient of {} inputs", inputs.len()) };
        Ok(vec![lowering::weight_gradient(graph, &self.op(), &self.kernel_shape(), x, gradient)?])
    }
}

//! Convolution and its transpose, one- and two-dimensional, dense, grouped and depthwise, strided and
//! dilated, channels last. Its three gradients (bias here, input and weight in files of their own) are
//! written as convolutions and products again, in the forms that tract runs fastest; each form was
//! chosen by measurement.

mod input;
mod weight;

pub(super) use input::{gradient as input_gradient, interleave, unravel};
pub(super) use weight::{Patches, offsets};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{Site, Tape};
use crate::graph::Graph;

/// First spatial axis of a channels-last tensor.
pub(super) const SPATIAL: usize = 1;

/// The numbers of one convolution. Spatial lists have one entry an axis.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    /// Channels in, all groups together.
    pub(super) channels: usize,
    /// Channels out, all groups together.
    pub(super) out: usize,
    pub(super) groups: usize,
    pub(super) kernel: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    /// Spatial extent of the input.
    pub(super) extent: Vec<usize>,
    /// Spatial extent of the output.
    pub(super) output: Vec<usize>,
    /// Zero padding before and after.
    pub(super) before: Vec<usize>,
    pub(super) after: Vec<usize>,
}

impl Geometry {
    /// From a window that moves over a channels-last `input` and gives `output`.
    pub(super) fn new(
        spec: &PoolSpec,
        groups: usize,
        input: &[usize],
        output: &[usize],
    ) -> TractResult<Self> {
        let rank = spec.rank();
        ensure!((1..=2).contains(&rank), "{rank} spatial axes, the rule covers one and two");
        ensure!(input.len() == rank + 2, "an input of shape {input:?} under a window of {rank} axes");
        let extent = input[SPATIAL..SPATIAL + rank].to_vec();
        let padding = spec.computed_padding(&extent);
        Ok(Self {
            batch: input[0],
            channels: spec.input_channels,
            out: spec.output_channels,
            groups: groups.max(1),
            kernel: spec.kernel_shape.to_vec(),
            stride: spec.strides().to_vec(),
            dilation: spec.dilations().to_vec(),
            extent,
            output: output[SPATIAL..SPATIAL + rank].to_vec(),
            before: padding.iter().map(|p| p.pad_before).collect(),
            after: padding.iter().map(|p| p.pad_after).collect(),
        })
    }

    pub(super) fn rank(&self) -> usize {
        self.kernel.len()
    }

    pub(super) fn channel_axis(&self) -> usize {
        SPATIAL + self.rank()
    }

    /// Number of taps of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Channels that one output channel sees.
    fn channels_per_group(&self) -> usize {
        self.channels / self.groups
    }

    fn out_per_group(&self) -> usize {
        self.out / self.groups
    }
}

/// A stride-one convolution with explicit padding.
fn convolution(
    data_format: DataFormat,
    kernel_fmt: KernelFormat,
    kernel: &[usize],
    padding: (&[usize], &[usize]),
    channels: (usize, usize),
    group: usize,
) -> Conv {
    let pool_spec = PoolSpec {
        data_format,
        kernel_shape: kernel.into(),
        padding: PaddingSpec::Explicit(padding.0.into(), padding.1.into()),
        dilations: None,
        strides: None,
        input_channels: channels.0,
        output_channels: channels.1,
    };
    Conv { pool_spec, kernel_fmt, group, q_params: None }
}

/// How an operator lays out its feature maps, and the way to batch first and channels last and back.
/// Decluttering may prefer channels first here and there, and drops a batch axis of extent one; the
/// rules themselves know one layout.
pub(super) struct Layout {
    batched: bool,
    channel: usize,
    last: usize,
}

impl Layout {
    pub(super) fn new(format: DataFormat, rank: usize) -> Self {
        let last = if format.has_n() { rank - 1 } else { rank };
        Self { batched: format.has_n(), channel: if format.c_is_last() { last } else { 1 }, last }
    }

    pub(super) fn to_last(&self, graph: &mut Graph, mut value: OutletId) -> TractResult<OutletId> {
        if !self.batched {
            value = graph.node(AxisOp::Add(0), &[value])?;
        }
        graph.move_axis(value, self.channel, self.last)
    }

    pub(super) fn back(&self, graph: &mut Graph, value: OutletId) -> TractResult<OutletId> {
        let value = graph.move_axis(value, self.last, self.channel)?;
        if self.batched { Ok(value) } else { graph.node(AxisOp::Rm(0), &[value]) }
    }

    /// The shape that [`Layout::to_last`] gives a value of `shape`.
    pub(super) fn shape_last(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if !self.batched {
            shape.insert(0, 1);
        }
        let channels = shape.remove(self.channel);
        shape.push(channels);
        shape
    }
}

pub(super) fn rule(tape: &mut Tape<'_>, op: &Conv, site: &Site) -> TractResult<()> {
    let [x, kernel, bias] = *site.inputs.as_slice() else {
        bail!("a convolution of {} inputs", site.inputs.len())
    };
    ensure!(op.q_params.is_none(), "a quantised convolution");
    ensure!(op.kernel_fmt == KernelFormat::OIHW, "a kernel in {:?} order", op.kernel_fmt);
    let layout = Layout::new(op.pool_spec.data_format, site.shape.len());
    let x_shape = layout.shape_last(&tape.graph.shape(x)?);
    let y_shape = layout.shape_last(&site.shape);
    let geometry = Geometry::new(&op.pool_spec, op.group, &x_shape, &y_shape)?;
    let full = tape.full(site.gradient, &site.shape)?;
    let gradient = layout.to_last(tape.graph, full)?;
    bias_gradient(tape, gradient, bias, geometry.out)?;
    if tape.needs(x) {
        let d = input::gradient(tape.graph, &geometry, kernel, gradient)?;
        let d = layout.back(tape.graph, d)?;
        tape.give(x, d)?;
    }
    if tape.needs(kernel) {
        let source = layout.to_last(tape.graph, x)?;
        let d = weight::gradient(tape.graph, &geometry, source, gradient)?;
        let shape = tape.graph.shape(kernel)?;
        let d = tape.graph.reshape(d, &shape)?;
        tape.give(kernel, d)?;
    }
    Ok(())
}

/// Gives `bias` the sum of the channels-last `gradient` over batch and positions.
fn bias_gradient(
    tape: &mut Tape<'_>,
    gradient: OutletId,
    bias: OutletId,
    channels: usize,
) -> TractResult<()> {
    if !tape.needs(bias) {
        return Ok(());
    }
    let shape = tape.graph.shape(bias)?;
    ensure!(shape.iter().product::<usize>() == channels, "a bias of shape {shape:?}");
    let positions = tape.graph.shape(gradient)?.iter().product::<usize>() / channels.max(1);
    let rows = tape.graph.reshape(gradient, &[positions, channels])?;
    let total = tape.graph.sum(rows, &[0])?;
    let d = tape.graph.reshape(total, &shape)?;
    tape.give(bias, d)
}

/// A transposed convolution is the input gradient of a convolution, so the gradients of its input and
/// kernel are that convolution itself and its kernel gradient, with input and output in swapped roles.
pub(super) fn transposed_rule(tape: &mut Tape<'_>, op: &Deconv, site: &Site) -> TractResult<()> {
    let [x, kernel, bias] = *site.inputs.as_slice() else {
        bail!("a transposed convolution of {} inputs", site.inputs.len())
    };
    ensure!(op.kernel_format == KernelFormat::OIHW, "a kernel in {:?} order", op.kernel_format);
    ensure!(
        matches!(op.pool_spec.padding, PaddingSpec::Explicit(..) | PaddingSpec::Valid),
        "padding {:?}",
        op.pool_spec.padding
    );
    let layout = Layout::new(op.pool_spec.data_format, site.shape.len());
    let x_shape = layout.shape_last(&tape.graph.shape(x)?);
    let y_shape = layout.shape_last(&site.shape);
    let spec = PoolSpec {
        data_format: DataFormat::NHWC,
        input_channels: op.pool_spec.output_channels,
        output_channels: op.pool_spec.input_channels,
        ..op.pool_spec.clone()
    };
    let geometry = Geometry::new(&spec, op.group, &y_shape, &x_shape)?;
    let full = tape.full(site.gradient, &site.shape)?;
    let gradient = layout.to_last(tape.graph, full)?;
    bias_gradient(tape, gradient, bias, geometry.channels)?;
    let (groups, inner, outer) = (geometry.groups, geometry.channels_per_group(), geometry.out_per_group());
    let kernel_shape = tape.graph.shape(kernel)?;
    if tape.needs(x) {
        // `[group * out, in, k...]` to the `[group * in, out, k...]` of the convolution.
        let split = tape.graph.reshape(kernel, &[groups, inner, outer, geometry.taps()])?;
        let swapped = tape.graph.move_axis(split, 1, 2)?;
        let shape: Vec<usize> =
            [geometry.out, inner].into_iter().chain(geometry.kernel.iter().copied()).collect();
        let forward = tape.graph.reshape(swapped, &shape)?;
        let conv = Conv { pool_spec: spec, kernel_fmt: KernelFormat::OIHW, group: op.group, q_params: None };
        let no_bias = tape.graph.scalar(0.0, 0)?;
        let d = tape.graph.node(conv, &[gradient, forward, no_bias])?;
        let d = layout.back(tape.graph, d)?;
        tape.give(x, d)?;
    }
    if tape.needs(kernel) {
        let source = layout.to_last(tape.graph, x)?;
        let d = weight::gradient(tape.graph, &geometry, gradient, source)?;
        let d = tape.graph.reshape(d, &[groups, outer, inner, geometry.taps()])?;
        let d = tape.graph.move_axis(d, 1, 2)?;
        let d = tape.graph.reshape(d, &kernel_shape)?;
        tape.give(kernel, d)?;
    }
    Ok(())
}

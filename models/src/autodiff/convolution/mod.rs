//! Convolution, one- and two-dimensional, dense and depthwise, channels last. Its three gradients
//! (bias here, input and weight in files of their own) are written as convolutions and products
//! again, in the forms that tract runs fastest; each form was chosen by measurement.

mod input;
mod weight;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{Site, Tape};
use crate::fused::{Call, Convolution};
use crate::graph::Graph;

/// First spatial axis of a channels-last tensor.
const SPATIAL: usize = 1;

/// The numbers of one convolution. Spatial lists have one entry an axis.
struct Geometry {
    batch: usize,
    /// Channels in, all groups together.
    channels: usize,
    /// Channels out.
    out: usize,
    depthwise: bool,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    /// Spatial extent of the input.
    extent: Vec<usize>,
    /// Spatial extent of the output.
    output: Vec<usize>,
    /// Zero padding before and after.
    before: Vec<usize>,
    after: Vec<usize>,
}

impl Geometry {
    fn new(op: &Conv, input: &[usize], kernel: &[usize], output: &[usize]) -> TractResult<Self> {
        let spec = &op.pool_spec;
        ensure!(op.q_params.is_none(), "a quantised convolution");
        ensure!(op.kernel_fmt == KernelFormat::OIHW, "a kernel in {:?} order", op.kernel_fmt);
        ensure!(spec.data_format.has_n(), "data in {:?} order", spec.data_format);
        ensure!(spec.dilations().iter().all(|d| *d == 1), "dilation {:?}", spec.dilations());
        let rank = spec.rank();
        ensure!((1..=2).contains(&rank), "{rank} spatial axes");
        let extent = input[SPATIAL..SPATIAL + rank].to_vec();
        let padding = spec.computed_padding(&extent);
        let (channels, out) = (spec.input_channels, spec.output_channels);
        let depthwise = op.group > 1 && op.group == channels && channels == out;
        ensure!(depthwise || op.group == 1, "{} groups of {channels} channels", op.group);
        Ok(Self {
            batch: input[0],
            channels,
            out,
            depthwise,
            kernel: kernel[2..].to_vec(),
            stride: spec.strides().to_vec(),
            extent,
            output: output[SPATIAL..SPATIAL + rank].to_vec(),
            before: padding.iter().map(|p| p.pad_before).collect(),
            after: padding.iter().map(|p| p.pad_after).collect(),
        })
    }

    fn rank(&self) -> usize {
        self.kernel.len()
    }

    fn channel_axis(&self) -> usize {
        SPATIAL + self.rank()
    }

    /// Number of taps of the kernel.
    fn taps(&self) -> usize {
        self.kernel.iter().product()
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

pub(super) fn rule(tape: &mut Tape<'_>, op: &Conv, site: &Site) -> TractResult<()> {
    let [x, kernel, bias] = *site.inputs.as_slice() else {
        bail!("a convolution of {} inputs", site.inputs.len())
    };
    let full = tape.full(site.gradient, &site.shape)?;
    // Decluttering may prefer channels first here and there; the rule itself knows one layout.
    let last = site.shape.len() - 1;
    let first = op.pool_spec.data_format == DataFormat::NCHW;
    let channel = if first { 1 } else { last };
    let gradient = tape.graph.move_axis(full, channel, last)?;
    let source = if tape.needs(kernel) { tape.graph.move_axis(x, channel, last)? } else { x };
    let mut x_shape = tape.graph.shape(x)?;
    let channels = x_shape.remove(channel);
    x_shape.push(channels);
    let (y_shape, kernel_shape) = (tape.graph.shape(gradient)?, tape.graph.shape(kernel)?);
    let geometry = Geometry::new(op, &x_shape, &kernel_shape, &y_shape)?;
    let covered = Convolution::of(op, &x_shape);

    if tape.needs(bias) {
        let shape = tape.graph.shape(bias)?;
        ensure!(shape.iter().product::<usize>() == geometry.out, "a bias of shape {shape:?}");
        let positions = y_shape.iter().product::<usize>() / geometry.out;
        let rows = tape.graph.reshape(gradient, &[positions, geometry.out])?;
        let total = tape.graph.sum(rows, &[0])?;
        let d = tape.graph.reshape(total, &shape)?;
        tape.give(bias, d)?;
    }
    if tape.needs(x) {
        let d = match &covered {
            Some(call) => {
                let call = Call::ConvolutionInputGradient(call.clone());
                tape.graph.call(call, &[kernel, gradient])?[0]
            }
            None => input::gradient(tape.graph, &geometry, kernel, gradient)?,
        };
        let d = tape.graph.move_axis(d, last, channel)?;
        tape.give(x, d)?;
    }
    if tape.needs(kernel) {
        let d = match covered {
            Some(call) => {
                let call = Call::ConvolutionWeightGradient(call);
                tape.graph.call(call, &[source, gradient])?[0]
            }
            None => lowered_weight_gradient(tape.graph, &geometry, &kernel_shape, source, gradient)?,
        };
        tape.give(kernel, d)?;
    }
    Ok(())
}

fn lowered_weight_gradient(
    graph: &mut Graph,
    geometry: &Geometry,
    kernel_shape: &[usize],
    x: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let d = if geometry.depthwise {
        weight::depthwise(graph, geometry, x, gradient)?
    } else {
        weight::dense(graph, geometry, x, gradient)?
    };
    graph.reshape(d, kernel_shape)
}

/// The gradient of `op`'s input, of channels-last shape `input`, in ordinary operators.
pub(crate) fn input_gradient(
    graph: &mut Graph,
    op: &Conv,
    input: &[usize],
    kernel: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let (kernel_shape, output) = (graph.shape(kernel)?, graph.shape(gradient)?);
    let geometry = Geometry::new(op, input, &kernel_shape, &output)?;
    input::gradient(graph, &geometry, kernel, gradient)
}

/// The gradient of `op`'s kernel, of shape `kernel`, in ordinary operators.
pub(crate) fn weight_gradient(
    graph: &mut Graph,
    op: &Conv,
    kernel: &[usize],
    x: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let (input, output) = (graph.shape(x)?, graph.shape(gradient)?);
    let geometry = Geometry::new(op, &input, kernel, &output)?;
    lowered_weight_gradient(graph, &geometry, kernel, x, gradient)
}

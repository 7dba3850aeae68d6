//! Gradient of a convolution with respect to its kernel.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::KernelFormat;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{Geometry, SPATIAL, convolution};
use crate::graph::Graph;

/// The gradient of the kernel, `[out, in / groups, taps]`, from the channels-last input and the
/// gradient of the channels-last output.
pub(super) fn gradient(
    graph: &mut Graph,
    geometry: &Geometry,
    x: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    if geometry.groups == 1 {
        dense(graph, geometry, x, gradient)
    } else if geometry.channels_per_group() == 1 {
        depthwise(graph, geometry, x, gradient)
    } else {
        grouped(graph, geometry, x, gradient)
    }
}

/// A depthwise kernel's gradient as one convolution: the batch becomes one more spatial axis of `x`
/// `[1, n, h, w, c]`, `dy` is the kernel `[n, ho, wo, 1, c]`, and the forward stride and dilation swap
/// roles. The output has the kernel's extent. With several output channels to an input channel, `x` is
/// repeated for each.
fn depthwise(
    graph: &mut Graph,
    geometry: &Geometry,
    x: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let rank = geometry.rank();
    let x = repeat_channels(graph, geometry, x)?;
    let x_shape = graph.shape(x)?;
    let as_one: Vec<usize> = std::iter::once(1).chain(x_shape.iter().copied()).collect();
    let x = graph.reshape(x, &as_one)?;
    let extents: Vec<usize> =
        std::iter::once(geometry.batch).chain(geometry.output.iter().copied()).collect();
    let kernel_shape: Vec<usize> = extents.iter().copied().chain([geometry.out, 1]).collect();
    let kernel = graph.reshape(gradient, &kernel_shape)?;

    let before: Vec<usize> = std::iter::once(0).chain(geometry.before.iter().copied()).collect();
    let mut after = vec![0];
    for i in 0..rank {
        let reach = (geometry.output[i] - 1) * geometry.stride[i];
        let span = reach + (geometry.kernel[i] - 1) * geometry.dilation[i] + 1;
        after.push(span.saturating_sub(geometry.extent[i] + geometry.before[i]));
    }
    let (channels, padding) = ((geometry.out, geometry.out), (before.as_slice(), after.as_slice()));
    let mut op = convolution(DataFormat::NHWC, KernelFormat::HWIO, &extents, padding, channels, geometry.out);
    op.pool_spec.dilations = Some(std::iter::once(1).chain(geometry.stride.iter().copied()).collect());
    op.pool_spec.strides = Some(std::iter::once(1).chain(geometry.dilation.iter().copied()).collect());
    let no_bias = graph.scalar(0.0, 0)?;
    let mut d = graph.node(op, &[x, kernel, no_bias])?;
    for i in 0..rank {
        // Rows of `x` that the stride never reached would add outputs beyond the kernel.
        d = graph.slice(d, 2 + i, 0, geometry.kernel[i])?;
    }
    let d = graph.reshape(d, &[geometry.taps(), geometry.out])?;
    graph.move_axis(d, 0, 1)
}

/// Every channel as often as output channels read it.
fn repeat_channels(graph: &mut Graph, geometry: &Geometry, x: OutletId) -> TractResult<OutletId> {
    let times = geometry.out_per_group();
    if times == 1 {
        return Ok(x);
    }
    let copies: Vec<i64> =
        (0..geometry.channels).flat_map(|channel| std::iter::repeat_n(channel as i64, times)).collect();
    graph.gather(x, geometry.channel_axis(), &copies)
}

/// A dense kernel's gradient as one matrix product of `dy` with the patches of `x`, which are built by
/// slicing `x` once a tap.
fn dense(graph: &mut Graph, geometry: &Geometry, x: OutletId, gradient: OutletId) -> TractResult<OutletId> {
    let columns = columns(graph, geometry, x)?;
    let spatial = spatial_axes(geometry);
    let d = graph.einsum(&format!("n{spatial}k,n{spatial}o->ko"), columns, gradient)?;
    let d = graph.reshape(d, &[geometry.taps(), geometry.channels, geometry.out])?;
    let d = graph.move_axis(d, 2, 0)?;
    graph.move_axis(d, 1, 2)
}

/// The same for groups: a matrix product for each of them, as one product with a group axis.
fn grouped(graph: &mut Graph, geometry: &Geometry, x: OutletId, gradient: OutletId) -> TractResult<OutletId> {
    let columns = columns(graph, geometry, x)?;
    let (groups, inner, outer) = (geometry.groups, geometry.channels_per_group(), geometry.out_per_group());
    let positions = geometry.batch * geometry.output.iter().product::<usize>();
    let columns = graph.reshape(columns, &[positions, geometry.taps(), groups, inner])?;
    let gradient = graph.reshape(gradient, &[positions, groups, outer])?;
    let d = graph.einsum("ptgi,pgo->goit", columns, gradient)?;
    graph.reshape(d, &[geometry.out, inner, geometry.taps()])
}

fn spatial_axes(geometry: &Geometry) -> &'static str {
    if geometry.rank() == 1 { "h" } else { "hw" }
}

/// The patches of `x`, `[n, ho.., taps * c]`.
fn columns(graph: &mut Graph, geometry: &Geometry, x: OutletId) -> TractResult<OutletId> {
    let mut patches = Patches::new(graph, geometry, x, 0.0)?;
    let mut taps = vec![];
    for offset in offsets(&geometry.kernel) {
        taps.push(patches.tap(graph, geometry, &offset)?);
    }
    graph.concat(geometry.channel_axis(), &taps)
}

/// All positions within `kernel`, row-major.
pub(in crate::autodiff) fn offsets(kernel: &[usize]) -> Vec<Vec<usize>> {
    kernel.iter().fold(vec![vec![]], |all, &extent| {
        all.iter().flat_map(|head| (0..extent).map(move |k| [head.as_slice(), &[k]].concat())).collect()
    })
}

/// The padded input, split into its stride phases as taps ask for them, so that every tap is a plain
/// slice of one phase.
pub(in crate::autodiff) struct Patches {
    padded: OutletId,
    phases: HashMap<Vec<usize>, OutletId>,
}

impl Patches {
    /// `x` is padded with `fill`.
    pub(in crate::autodiff) fn new(
        graph: &mut Graph,
        geometry: &Geometry,
        x: OutletId,
        fill: f32,
    ) -> TractResult<Self> {
        let mut padded = x;
        for i in 0..geometry.rank() {
            // The last window may overhang the padding (a pool that rounds its output up), or end early.
            let reach = (geometry.output[i] - 1) * geometry.stride[i];
            let span = reach + (geometry.kernel[i] - 1) * geometry.dilation[i] + 1;
            let length = (geometry.before[i] + geometry.extent[i] + geometry.after[i]).max(span);
            let whole = length.next_multiple_of(geometry.stride[i]);
            let after = whole - geometry.before[i] - geometry.extent[i];
            padded = graph.pad_axis_with(padded, SPATIAL + i, geometry.before[i], after, fill)?;
        }
        Ok(Self { padded, phases: HashMap::new() })
    }

    /// For every output position the input that the kernel's tap `offset` meets: `[n, ho.., c]`.
    pub(in crate::autodiff) fn tap(
        &mut self,
        graph: &mut Graph,
        geometry: &Geometry,
        offset: &[usize],
    ) -> TractResult<OutletId> {
        let offset: Vec<usize> = offset.iter().zip(&geometry.dilation).map(|(k, d)| k * d).collect();
        let mut tap = self.phase(graph, geometry, &offset)?;
        for (i, &at) in offset.iter().enumerate() {
            let start = at / geometry.stride[i];
            tap = graph.slice(tap, SPATIAL + i, start, start + geometry.output[i])?;
        }
        Ok(tap)
    }

    fn phase(&mut self, graph: &mut Graph, geometry: &Geometry, offset: &[usize]) -> TractResult<OutletId> {
        let mut current = self.padded;
        let mut key = vec![];
        for (i, &at) in offset.iter().enumerate() {
            let stride = geometry.stride[i];
            key.push(at % stride);
            if stride == 1 {
                continue;
            }
            if let Some(&known) = self.phases.get(&key) {
                current = known;
                continue;
            }
            let axis = SPATIAL + i;
            let mut shape = graph.shape(current)?;
            shape[axis] /= stride;
            shape.insert(axis + 1, stride);
            let split = graph.reshape(current, &shape)?;
            let picked = graph.slice(split, axis + 1, key[i], key[i] + 1)?;
            shape.remove(axis + 1);
            current = graph.reshape(picked, &shape)?;
            self.phases.insert(key.clone(), current);
        }
        Ok(current)
    }
}

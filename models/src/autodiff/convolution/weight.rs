//! Gradient of a convolution with respect to its kernel.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::KernelFormat;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{Geometry, SPATIAL, convolution};
use crate::graph::Graph;

/// A depthwise kernel's gradient as one convolution: the batch becomes one more spatial axis of `x`
/// `[1, n, h, w, c]`, `dy` is the kernel `[n, ho, wo, 1, c]`, and the forward stride is the dilation.
/// The output has the kernel's extent. Gives `[channels, taps]`.
pub(super) fn depthwise(
    graph: &mut Graph,
    geometry: &Geometry,
    x: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let rank = geometry.rank();
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
        let span = (geometry.output[i] - 1) * geometry.stride[i] + geometry.kernel[i];
        after.push(span.saturating_sub(geometry.extent[i] + geometry.before[i]));
    }
    let channels = (geometry.channels, geometry.channels);
    let padding = (before.as_slice(), after.as_slice());
    let mut op =
        convolution(DataFormat::NHWC, KernelFormat::HWIO, &extents, padding, channels, geometry.channels);
    op.pool_spec.dilations = Some(std::iter::once(1).chain(geometry.stride.iter().copied()).collect());
    let no_bias = graph.scalar(0.0, 0)?;
    let mut d = graph.node(op, &[x, kernel, no_bias])?;
    for i in 0..rank {
        // Rows of `x` that the stride never reached would add outputs beyond the kernel.
        d = graph.slice(d, 2 + i, 0, geometry.kernel[i])?;
    }
    let d = graph.reshape(d, &[geometry.taps(), geometry.channels])?;
    graph.move_axis(d, 0, 1)
}

/// A dense kernel's gradient as one matrix product of `dy` with the patches of `x`, which are built by
/// slicing `x` once a tap. Gives `[out, channels, taps]`.
pub(super) fn dense(
    graph: &mut Graph,
    geometry: &Geometry,
    x: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let mut patches = Patches::new(graph, geometry, x)?;
    let mut taps = vec![];
    for offset in offsets(&geometry.kernel) {
        taps.push(patches.tap(graph, geometry, &offset)?);
    }
    let columns = graph.concat(geometry.channel_axis(), &taps)?;
    let spatial = if geometry.rank() == 1 { "h" } else { "hw" };
    let d = graph.einsum(&format!("n{spatial}k,n{spatial}o->ko"), columns, gradient)?;
    let d = graph.reshape(d, &[geometry.taps(), geometry.channels, geometry.out])?;
    let d = graph.move_axis(d, 2, 0)?;
    graph.move_axis(d, 1, 2)
}

fn offsets(kernel: &[usize]) -> Vec<Vec<usize>> {
    kernel.iter().fold(vec![vec![]], |all, &extent| {
        all.iter().flat_map(|head| (0..extent).map(move |k| [head.as_slice(), &[k]].concat())).collect()
    })
}

/// The padded input, split into its stride phases as taps ask for them, so that every tap is a plain
/// slice of one phase.
struct Patches {
    padded: OutletId,
    phases: HashMap<Vec<usize>, OutletId>,
}

impl Patches {
    fn new(graph: &mut Graph, geometry: &Geometry, x: OutletId) -> TractResult<Self> {
        let mut padded = x;
        for i in 0..geometry.rank() {
            let length = geometry.before[i] + geometry.extent[i] + geometry.after[i];
            let whole = length.next_multiple_of(geometry.stride[i]);
            padded = graph.pad_axis(
                padded,
                SPATIAL + i,
                geometry.before[i],
                geometry.after[i] + whole - length,
            )?;
        }
        Ok(Self { padded, phases: HashMap::new() })
    }

    /// For every output position the input that the kernel's tap `offset` meets: `[n, ho.., c]`.
    fn tap(&mut self, graph: &mut Graph, geometry: &Geometry, offset: &[usize]) -> TractResult<OutletId> {
        let mut tap = self.phase(graph, geometry, offset)?;
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

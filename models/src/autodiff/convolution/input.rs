//! Gradient of a convolution with respect to its input.
//!
//! With stride `s`, dilation `d` and padding `p`, input position `s*q + r` (phase `r`) receives
//! `dy[o] * w[k]` from every pair with `s*o + d*k = s*q + r + p`. So each phase is a small stride-one
//! convolution of `dy` with the taps `d*k = r + p (mod s)`, and the phases interleave. From one such
//! tap to the next `o` moves by `d / gcd(s, d)`, which is the dilation of that convolution. Stride one
//! is the case of one phase: the well-known convolution with the flipped, transposed kernel. Inserting
//! zeros instead would multiply most of them for nothing.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::KernelFormat;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::{Geometry, SPATIAL, convolution};
use crate::graph::Graph;

/// The taps of one phase of one axis.
struct Phase {
    /// Kernel positions, descending, so that the output positions they read ascend.
    taps: Vec<usize>,
    /// Output position that the first tap reads, relative to `q`.
    first: isize,
    /// How far the output position moves from one tap to the next.
    dilation: usize,
}

impl Phase {
    fn new(geometry: &Geometry, axis: usize, phase: usize) -> Self {
        let (stride, dilation) = (geometry.stride[axis], geometry.dilation[axis]);
        let reach = phase + geometry.before[axis];
        let taps: Vec<usize> =
            (0..geometry.kernel[axis]).rev().filter(|k| k * dilation % stride == reach % stride).collect();
        let first = taps
            .first()
            .map_or(0, |&k| (reach as isize - (k * dilation) as isize).div_euclid(stride as isize));
        Self { taps, first, dilation: dilation / gcd(stride, dilation) }
    }

    /// Output positions from the first tap to the last, both included.
    fn span(&self) -> usize {
        self.taps.len().saturating_sub(1) * self.dilation + 1
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The gradient of the channels-last input `[n, h.., c]`, from the `kernel` `[out, c / groups, k...]`
/// and the gradient of the output `[n, ho.., out]`.
pub(in crate::autodiff) fn gradient(
    graph: &mut Graph,
    geometry: &Geometry,
    kernel: OutletId,
    gradient: OutletId,
) -> TractResult<OutletId> {
    let rank = geometry.rank();
    let kernel = transposed_kernel(graph, geometry, kernel)?;
    let quotients: Vec<usize> = (0..rank).map(|i| geometry.extent[i].div_ceil(geometry.stride[i])).collect();
    let mut parts = vec![];
    for index in 0..geometry.stride.iter().product::<usize>() {
        let phases: Vec<Phase> = unravel(index, &geometry.stride)
            .iter()
            .enumerate()
            .map(|(i, &r)| Phase::new(geometry, i, r))
            .collect();
        parts.push(one_phase(graph, geometry, kernel, gradient, &phases, &quotients)?);
    }
    let mut d = interleave(graph, &geometry.stride, 0, &parts)?;
    let mut shape = vec![geometry.batch];
    shape.extend((0..rank).map(|i| quotients[i] * geometry.stride[i]));
    shape.push(geometry.channels);
    d = graph.reshape(d, &shape)?;
    for i in 0..rank {
        d = graph.slice(d, SPATIAL + i, 0, geometry.extent[i])?;
    }
    Ok(d)
}

/// `[out, in / groups, k...]` to `[in, out / groups, taps]`.
fn transposed_kernel(graph: &mut Graph, geometry: &Geometry, kernel: OutletId) -> TractResult<OutletId> {
    let (inner, outer) = (geometry.channels_per_group(), geometry.out_per_group());
    let taps = geometry.taps();
    if inner == 1 || outer == 1 {
        return graph.reshape(kernel, &[geometry.channels, outer, taps]);
    }
    let split = graph.reshape(kernel, &[geometry.groups, outer, inner, taps])?;
    let swapped = graph.move_axis(split, 2, 1)?;
    graph.reshape(swapped, &[geometry.channels, outer, taps])
}

fn one_phase(
    graph: &mut Graph,
    geometry: &Geometry,
    kernel: OutletId,
    gradient: OutletId,
    phases: &[Phase],
    quotients: &[usize],
) -> TractResult<OutletId> {
    let extents: Vec<usize> = phases.iter().map(|p| p.taps.len()).collect();
    let reads: Vec<Read> =
        phases.iter().enumerate().map(|(i, p)| Read::new(p, quotients[i], geometry.output[i])).collect();
    if extents.contains(&0) || reads.iter().any(Read::is_empty) {
        // Input positions that no output saw, as a stride beyond the kernel leaves them.
        let mut shape = vec![geometry.batch];
        shape.extend(quotients);
        shape.push(geometry.channels);
        let zero = graph.scalar(0.0, shape.len())?;
        return graph.broadcast(zero, &shape);
    }
    let kernel = select_taps(graph, geometry, kernel, phases, &extents)?;
    let mut window = gradient;
    for (i, read) in reads.iter().enumerate() {
        window = graph.slice(window, SPATIAL + i, read.start, read.stop)?;
    }
    let before: Vec<usize> = reads.iter().map(|r| r.before).collect();
    let after: Vec<usize> = reads.iter().map(|r| r.after).collect();
    let (channels, padding) = ((geometry.out, geometry.channels), (before.as_slice(), after.as_slice()));
    let mut op =
        convolution(DataFormat::NHWC, KernelFormat::OIHW, &extents, padding, channels, geometry.groups);
    op.pool_spec.dilations = Some(phases.iter().map(|p| p.dilation).collect());
    let no_bias = graph.scalar(0.0, 0)?;
    graph.node(op, &[window, kernel, no_bias])
}

/// The output positions that one phase reads along one axis, and the zeros around them.
struct Read {
    start: usize,
    stop: usize,
    before: usize,
    after: usize,
}

impl Read {
    fn new(phase: &Phase, quotient: usize, available: usize) -> Self {
        let end = phase.first + (quotient + phase.span()) as isize - 1;
        let clamp = |at: isize| at.clamp(0, available as isize);
        let (start, stop) = (clamp(phase.first), clamp(end));
        let (before, after) = (start - phase.first, end - stop);
        Self { start: start as usize, stop: stop as usize, before: before as usize, after: after as usize }
    }

    fn is_empty(&self) -> bool {
        self.stop <= self.start
    }
}

/// The kernel reduced to the taps of the phases, in their order.
fn select_taps(
    graph: &mut Graph,
    geometry: &Geometry,
    kernel: OutletId,
    phases: &[Phase],
    extents: &[usize],
) -> TractResult<OutletId> {
    let mut indices = vec![0i64];
    for (i, phase) in phases.iter().enumerate() {
        let width = geometry.kernel[i] as i64;
        indices = indices
            .iter()
            .flat_map(|&base| phase.taps.iter().map(move |&k| base * width + k as i64))
            .collect();
    }
    let shape = graph.shape(kernel)?;
    let in_order =
        indices.iter().enumerate().all(|(i, &k)| i as i64 == k) && indices.len() == geometry.taps();
    let selected = if in_order { kernel } else { graph.gather(kernel, 2, &indices)? };
    let target: Vec<usize> = shape[..2].iter().chain(extents).copied().collect();
    graph.reshape(selected, &target)
}

/// Joins phases, row-major over `stride`: each spatial axis gains an axis of its phases right after it.
pub(in crate::autodiff) fn interleave(
    graph: &mut Graph,
    stride: &[usize],
    level: usize,
    parts: &[OutletId],
) -> TractResult<OutletId> {
    let [one] = parts else {
        let per_phase = parts.len() / stride[level];
        let axis = SPATIAL + level + 1;
        let mut rows = vec![];
        for chunk in parts.chunks(per_phase) {
            let inner = interleave(graph, stride, level + 1, chunk)?;
            rows.push(graph.node(AxisOp::Add(axis), &[inner])?);
        }
        return graph.concat(axis, &rows);
    };
    Ok(*one)
}

pub(in crate::autodiff) fn unravel(mut index: usize, extents: &[usize]) -> Vec<usize> {
    let mut position = vec![0; extents.len()];
    for (i, &extent) in extents.iter().enumerate().rev() {
        position[i] = index % extent;
        index /= extent;
    }
    position
}

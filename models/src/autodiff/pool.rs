//! Pooling. Windows are the taps of a depthwise convolution without weights, so the geometry and the
//! ways to slice and interleave are the convolution's.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PaddingSpec, PoolSpec, SumPool};

use super::convolution::{Geometry, Layout, Patches, SPATIAL, input_gradient, interleave, offsets, unravel};
use super::{Site, Tape};
use crate::graph::Graph;

/// The gradient of a maximum goes to the first element of the window, in row-major order, that attains
/// it, as PyTorch has it. ONNX has no operator that undoes a pooling, so the taps are visited in that
/// order: each takes what is left of the gradient where it equals the maximum. With `miss` zero where
/// it does and one elsewhere, what is left after a tap is `left * miss`, exact in floating point.
pub(super) fn max_rule(tape: &mut Tape<'_>, op: &MaxPool, site: &Site) -> TractResult<()> {
    ensure!(op.with_index_outputs.is_none(), "a maximum whose index is used");
    let window = Window::new(tape, &op.pool_spec, site)?;
    let graph = &mut *tape.graph;
    let x = window.layout.to_last(graph, site.inputs[0])?;
    let y = window.layout.to_last(graph, site.output)?;
    let mut patches = Patches::new(graph, &window.geometry, x, f32::MIN)?;
    let offsets = offsets(&window.geometry.kernel);
    let mut parts = vec![];
    let mut left = window.gradient;
    for (i, offset) in offsets.iter().enumerate() {
        // The last tap takes whatever no other took.
        if i + 1 == offsets.len() {
            parts.push(left);
            break;
        }
        let tap = patches.tap(graph, &window.geometry, offset)?;
        let distance = graph.sub(y, tap)?;
        let miss = graph.step_of_ramp(distance)?;
        let after = graph.mul(left, miss)?;
        parts.push(graph.sub(left, after)?);
        left = after;
    }
    let d = spread(graph, &window.geometry, &offsets, &parts)?;
    let d = window.layout.back(graph, d)?;
    tape.give(site.inputs[0], d)
}

/// The gradient of a sum or mean goes to every element of the window alike, divided by what the mean
/// was divided by.
pub(super) fn sum_rule(tape: &mut Tape<'_>, op: &SumPool, site: &Site) -> TractResult<()> {
    let window = Window::new(tape, &op.pool_spec, site)?;
    let (geometry, graph) = (&window.geometry, &mut *tape.graph);
    let mut gradient = window.gradient;
    if op.normalize {
        let share = shares(op, geometry)?;
        let share = graph.constant(share)?;
        gradient = graph.mul(gradient, share)?;
    }
    let d = if is_tiling(geometry) {
        tile(graph, geometry, gradient)?
    } else {
        let ones = graph.scalar(1.0, 2 + geometry.rank())?;
        let shape: Vec<usize> =
            [geometry.channels, 1].into_iter().chain(geometry.kernel.iter().copied()).collect();
        let kernel = graph.broadcast(ones, &shape)?;
        input_gradient(graph, geometry, kernel, gradient)?
    };
    let d = window.layout.back(graph, d)?;
    tape.give(site.inputs[0], d)
}

/// What both rules begin with.
struct Window {
    layout: Layout,
    geometry: Geometry,
    /// Gradient of the output, channels last.
    gradient: OutletId,
}

impl Window {
    fn new(tape: &mut Tape<'_>, spec: &PoolSpec, site: &Site) -> TractResult<Self> {
        let layout = Layout::new(spec.data_format, site.shape.len());
        let x_shape = layout.shape_last(&tape.graph.shape(site.inputs[0])?);
        let y_shape = layout.shape_last(&site.shape);
        let geometry = Geometry::new(spec, spec.input_channels, &x_shape, &y_shape)?;
        let full = tape.full(site.gradient, &site.shape)?;
        let gradient = layout.to_last(tape.graph, full)?;
        Ok(Self { layout, geometry, gradient })
    }
}

/// One over the number of elements in each window, `[1, ho.., 1]`. Padding counts where the operator
/// says so, but never what overhangs it.
fn shares(op: &SumPool, geometry: &Geometry) -> TractResult<Tensor> {
    let counts: Vec<Vec<usize>> = (0..geometry.rank()).map(|axis| axis_counts(op, geometry, axis)).collect();
    let mut shape = vec![1];
    shape.extend(&geometry.output);
    shape.push(1);
    let positions: usize = geometry.output.iter().product();
    let values: Vec<f32> = (0..positions)
        .map(|index| {
            let position = unravel(index, &geometry.output);
            let count: usize = position.iter().zip(&counts).map(|(&at, counts)| counts[at]).product();
            1.0 / count.max(1) as f32
        })
        .collect();
    Tensor::from_shape(&shape, &values)
}

/// The elements along one axis that each output position counts.
fn axis_counts(op: &SumPool, geometry: &Geometry, axis: usize) -> Vec<usize> {
    let (before, extent) = (geometry.before[axis], geometry.extent[axis]);
    let counted = |position: usize| match (&op.pool_spec.padding, op.count_include_pad) {
        (PaddingSpec::ExplicitOnnxPool(_, after, true), true) => position < before + extent + after[axis],
        (_, true) => true,
        (_, false) => (before..before + extent).contains(&position),
    };
    (0..geometry.output[axis])
        .map(|at| {
            let start = at * geometry.stride[axis];
            (0..geometry.kernel[axis]).filter(|k| counted(start + k * geometry.dilation[axis])).count()
        })
        .collect()
}

/// Whether the windows lie side by side without padding, so that every element is in at most one.
fn is_tiling(geometry: &Geometry) -> bool {
    geometry.kernel == geometry.stride
        && geometry.dilation.iter().all(|d| *d == 1)
        && geometry.before.iter().all(|p| *p == 0)
        && (0..geometry.rank()).all(|i| geometry.output[i] * geometry.stride[i] <= geometry.extent[i])
}

/// The gradient stretched over windows that lie side by side.
fn tile(graph: &mut Graph, geometry: &Geometry, gradient: OutletId) -> TractResult<OutletId> {
    let (mut apart, mut stretched, mut shape) =
        (vec![geometry.batch], vec![geometry.batch], vec![geometry.batch]);
    for (&output, &kernel) in geometry.output.iter().zip(&geometry.kernel) {
        apart.extend([output, 1]);
        stretched.extend([output, kernel]);
        shape.push(output * kernel);
    }
    for list in [&mut apart, &mut stretched, &mut shape] {
        list.push(geometry.channels);
    }
    let gradient = graph.reshape(gradient, &apart)?;
    let gradient = graph.broadcast(gradient, &stretched)?;
    let mut d = graph.reshape(gradient, &shape)?;
    for (i, &extent) in geometry.extent.iter().enumerate() {
        d = graph.fit_axis(d, SPATIAL + i, extent)?;
    }
    Ok(d)
}

/// Adds up what each tap gives to the positions it met. As in the input gradient of a convolution,
/// position `s*q + r` is met by the taps `d*k = r + p (mod s)`: each phase `r` is a sum of shifted
/// parts, and the phases interleave.
fn spread(
    graph: &mut Graph,
    geometry: &Geometry,
    offsets: &[Vec<usize>],
    parts: &[OutletId],
) -> TractResult<OutletId> {
    let rank = geometry.rank();
    let quotients: Vec<usize> = (0..rank).map(|i| geometry.extent[i].div_ceil(geometry.stride[i])).collect();
    let mut shape = vec![geometry.batch];
    shape.extend(&quotients);
    shape.push(geometry.channels);
    let mut phases = vec![];
    for index in 0..geometry.stride.iter().product::<usize>() {
        let phase = unravel(index, &geometry.stride);
        let mut sum = None;
        for (offset, &part) in offsets.iter().zip(parts) {
            let Some(shift) = shift(geometry, &phase, offset) else { continue };
            let moved = shifted(graph, geometry, part, &shift, &quotients)?;
            sum = Some(match sum {
                Some(sum) => graph.add(sum, moved)?,
                None => moved,
            });
        }
        let zero = graph.scalar(0.0, shape.len())?;
        phases.push(graph.broadcast(sum.unwrap_or(zero), &shape)?);
    }
    let d = interleave(graph, &geometry.stride, 0, &phases)?;
    for (i, stride) in geometry.stride.iter().enumerate() {
        shape[SPATIAL + i] *= stride;
    }
    let mut d = graph.reshape(d, &shape)?;
    for (i, &extent) in geometry.extent.iter().enumerate() {
        d = graph.slice(d, SPATIAL + i, 0, extent)?;
    }
    Ok(d)
}

/// By how many output positions `o` lies ahead of `q`, for a tap that meets the phase.
fn shift(geometry: &Geometry, phase: &[usize], offset: &[usize]) -> Option<Vec<isize>> {
    let along = |(i, (&r, &k)): (usize, (&usize, &usize))| {
        let distance = (r + geometry.before[i]) as isize - (k * geometry.dilation[i]) as isize;
        let stride = geometry.stride[i] as isize;
        (distance.rem_euclid(stride) == 0).then(|| distance.div_euclid(stride))
    };
    phase.iter().zip(offset).enumerate().map(along).collect()
}

/// `part` at position `q + shift` for every `q` below `quotients`, zero where there is none.
fn shifted(
    graph: &mut Graph,
    geometry: &Geometry,
    mut part: OutletId,
    shift: &[isize],
    quotients: &[usize],
) -> TractResult<OutletId> {
    for (i, &shift) in shift.iter().enumerate() {
        let (available, end) = (geometry.output[i] as isize, shift + quotients[i] as isize);
        let (start, stop) = (shift.clamp(0, available), end.clamp(0, available));
        let (before, after) = ((start - shift).min(quotients[i] as isize), (end - stop).max(0));
        if stop <= start {
            let mut shape = graph.shape(part)?;
            shape[SPATIAL + i] = quotients[i];
            let zero = graph.scalar(0.0, shape.len())?;
            part = graph.broadcast(zero, &shape)?;
            continue;
        }
        part = graph.slice(part, SPATIAL + i, start as usize, stop as usize)?;
        part = graph.pad_axis(part, SPATIAL + i, before as usize, after as usize)?;
    }
    Ok(part)
}

//! The gradient of a convolution's input: for each input position, the outputs that read it.

use super::geometry::Geometry;
use super::kernel::{Direction, PackedKernel, Part};
use super::patches::Patches;
use crate::error::check_length;
use crate::product::left::in_place;
use crate::product::multiply::{Lines, multiply};
use crate::product::tile::Finish;
use crate::threads::run_length;
use crate::{KernelError, Threads};

/// Writes to `dx` the gradient of the input, given `dy` of the output, or adds it if `accumulate`.
///
/// A transposed convolution by gathering: no position is visited twice and no zero is inserted
/// between strides. Threads share out whole images. Works in 60 KiB for each thread.
///
/// # Errors
/// When a slice does not have the length of its shape, or `kernel` is packed for the forward pass.
pub fn input_gradient(
    dy: &[f32],
    kernel: &PackedKernel,
    dx: &mut [f32],
    accumulate: bool,
    threads: &Threads,
) -> Result<(), KernelError> {
    let name = "convolution input gradient";
    let parts = kernel.parts(name, Direction::InputGradient)?;
    let geometry = kernel.geometry();
    check_length(name, "dy", dy.len(), &geometry.output_shape())?;
    check_length(name, "dx", dx.len(), &geometry.input_shape())?;
    let channels = geometry.channels_in;
    let image = geometry.input[0] * geometry.input[1] * channels;
    let run = run_length(geometry.batch, threads.count(), 1);
    let pieces = dx.chunks_mut(run * image).enumerate().collect();
    threads.for_each(pieces, |(index, dx): (usize, &mut [f32])| {
        let mut lines = Lines::new(threads);
        // All phases and groups of an image while what they read is near.
        for (offset, dx) in dx.chunks_mut(image).enumerate() {
            for part in parts {
                image_gradient(dy, geometry, part, index * run + offset, dx, accumulate, &mut lines);
            }
        }
    });
    Ok(())
}

/// One phase of one group of the image `image`, which `dx` holds.
fn image_gradient(
    dy: &[f32],
    geometry: &Geometry,
    part: &Part,
    image: usize,
    dx: &mut [f32],
    accumulate: bool,
    lines: &mut Lines<'_>,
) {
    let Some([vertical, horizontal]) = &part.phases else { return };
    let group = geometry.group_out();
    let patches = Patches {
        source: dy,
        axes: [vertical.axis, horizontal.axis],
        channels: geometry.channels_out,
        offset: part.group * group,
        width: group,
        in_place: part.layout.depth > group || in_place(part.layout.columns),
    };
    let first = image * patches.rows();
    let offset = part.group * geometry.group_in();
    let place = |row| {
        let row: usize = row - first;
        let y = vertical.first + row / horizontal.axis.rows * geometry.stride[0];
        let x = horizontal.first + row % horizontal.axis.rows * geometry.stride[1];
        (y * geometry.input[1] + x) * geometry.channels_in + offset
    };
    let finish = Finish { accumulate, bias: None, clip: None };
    let rows = first..first + patches.rows();
    multiply(&patches, rows, part.packed(), dx, place, finish, lines);
}

//! The convolution itself: patches times weights.

use super::kernel::{Direction, PackedKernel, forward_axes};
use super::patches::Patches;
use crate::error::check_length;
use crate::product::left::in_place;
use crate::product::multiply::{Lines, multiply};
use crate::product::tile::Finish;
use crate::threads::run_length;
use crate::{KernelError, Threads};

/// Output positions that all groups compute before the next.
const GROUPED_ROWS: usize = 192;

/// Convolves `x`, adds `bias`, and keeps the result within `clip`, both bounds included.
///
/// `x` and `out` have the input's and output's shape of the kernel's geometry, `bias` one value a
/// channel of the output. A NaN is not clipped. Works in 60 KiB for each thread.
///
/// # Errors
/// When a slice does not have the length of its shape, or `kernel` is packed for the gradient.
pub fn forward(
    x: &[f32],
    kernel: &PackedKernel,
    bias: Option<&[f32]>,
    clip: Option<(f32, f32)>,
    out: &mut [f32],
    threads: &Threads,
) -> Result<(), KernelError> {
    let name = "convolution";
    let parts = kernel.parts(name, Direction::Forward)?;
    let geometry = kernel.geometry();
    check_length(name, "x", x.len(), &geometry.input_shape())?;
    check_length(name, "out", out.len(), &geometry.output_shape())?;
    if let Some(bias) = bias {
        check_length(name, "bias", bias.len(), &[geometry.channels_out])?;
    }
    let axes = forward_axes(geometry);
    let channels = geometry.channels_out;
    let run = run_length(out.len() / channels, threads.count(), 1);
    let pieces = out.chunks_mut(run * channels).enumerate().collect();
    threads.for_each(pieces, |(index, out): (usize, &mut [f32])| {
        let mut lines = Lines::new(threads);
        // Every group reads its part of the same cache lines: one after the other while they are near.
        let step = if parts.len() > 1 { GROUPED_ROWS } else { run };
        for (chunk, out) in out.chunks_mut(step * channels).enumerate() {
            let start = index * run + chunk * step;
            let rows = start..start + out.len() / channels;
            for part in parts {
                let width = geometry.group_in();
                let patches = Patches {
                    source: x,
                    axes,
                    channels: geometry.channels_in,
                    offset: part.group * width,
                    width,
                    in_place: geometry.taps() > 1 || in_place(part.layout.columns),
                };
                let offset = part.group * geometry.group_out();
                let bias = bias.and_then(|bias| bias.get(offset..));
                let place = |row| (row - start) * channels + offset;
                let finish = Finish { accumulate: false, bias, clip };
                multiply(&patches, rows.clone(), part.packed(), out, place, finish, &mut lines);
            }
        }
    });
    Ok(())
}

//! The gradient of a depthwise kernel: tap by tap, the sum over all positions of input times output
//! gradient. A row's sums stay in registers; rows are added up in an order fixed by the shape.

use super::gather::lanes;
use super::{Axis, axes};
use crate::Threads;
use crate::convolution::Geometry;
use crate::simd::{Instructions, Task};

/// Sums are cut into at most this many, by samples, whatever the number of threads.
const PARTS: usize = 16;

pub(super) fn run(threads: &Threads, geometry: &Geometry, x: &[f32], dy: &[f32], dkernel: &mut [f32]) {
    let length = dkernel.len();
    let samples = geometry.batch.div_ceil(PARTS).max(1);
    let count = geometry.batch.div_ceil(samples);
    let mut sums = vec![0.0f32; count * length];
    let parts: Vec<(usize, &mut [f32])> = sums.chunks_mut(length).enumerate().collect();
    threads.for_each(parts, |(part, sums)| {
        let first = part * samples;
        let range = first..(first + samples).min(geometry.batch);
        threads.level().run(Part { geometry, x, dy, range, sums });
    });
    let taps = geometry.kernel.iter().product();
    for (channel, dkernel) in dkernel.chunks_exact_mut(taps).enumerate() {
        for (tap, d) in dkernel.iter_mut().enumerate() {
            let at = tap * geometry.channels_in + channel;
            *d = sums.iter().skip(at).step_by(length).sum();
        }
    }
}

/// A run of samples; `sums` is `[taps, channels]`.
struct Part<'a> {
    geometry: &'a Geometry,
    x: &'a [f32],
    dy: &'a [f32],
    range: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl Task for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let channels = self.geometry.channels_in;
        let [rows, columns] = axes(self.geometry);
        let (x_row, dy_row) = (columns.input * channels, columns.output * channels);
        for n in self.range {
            for out in 0..rows.output {
                let dy = (n * rows.output + out) * dy_row;
                let dy = &self.dy[dy..dy + dy_row];
                for (tap, sums) in self.sums.chunks_exact_mut(columns.kernel * channels).enumerate() {
                    let from = (out * rows.stride + tap * rows.dilation).checked_sub(rows.before);
                    let Some(from) = from.filter(|from| *from < rows.input) else { continue };
                    let x = (n * rows.input + from) * x_row;
                    row::<I>(&columns, channels, &self.x[x..x + x_row], dy, sums);
                }
            }
        }
    }
}

/// Adds what one row of the output gives to one row of the kernel.
#[inline(always)]
fn row<I: Instructions>(axis: &Axis, channels: usize, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    let mut tap = 0;
    while tap < axis.kernel {
        match axis.kernel - tap {
            5.. => {
                taps::<I, 5>(axis, tap, channels, x, dy, sums);
                tap += 5;
            }
            3 | 4 => {
                taps::<I, 3>(axis, tap, channels, x, dy, sums);
                tap += 3;
            }
            _ => {
                taps::<I, 1>(axis, tap, channels, x, dy, sums);
                tap += 1;
            }
        }
    }
}

/// `K` neighbouring taps, all channels.
#[inline(always)]
fn taps<I: Instructions, const K: usize>(
    axis: &Axis,
    tap: usize,
    channels: usize,
    x: &[f32],
    dy: &[f32],
    sums: &mut [f32],
) {
    let ranges: [Range; K] = std::array::from_fn(|k| Range::of(axis, tap + k));
    let sums = &mut sums[tap * channels..(tap + K) * channels];
    let mut channel = 0;
    while channel + 16 <= channels {
        block::<I, K, 16>(axis, &ranges, (channel, channels), x, dy, sums);
        channel += 16;
    }
    while channel + 4 <= channels {
        block::<I, K, 4>(axis, &ranges, (channel, channels), x, dy, sums);
        channel += 4;
    }
    while channel < channels {
        block::<I, K, 1>(axis, &ranges, (channel, channels), x, dy, sums);
        channel += 1;
    }
}

/// The output positions `start..end` whose tap meets the input; the one at `start` meets `first`.
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    end: usize,
    /// Reach of the tap, padding not yet taken off.
    reach: usize,
}

impl Range {
    fn of(axis: &Axis, tap: usize) -> Self {
        let reach = tap * axis.dilation;
        let start = axis.before.saturating_sub(reach).div_ceil(axis.stride);
        let end = (axis.input + axis.before).saturating_sub(reach).div_ceil(axis.stride).min(axis.output);
        Self { start: start.min(end), end, reach }
    }
}

#[inline(always)]
fn block<I: Instructions, const K: usize, const L: usize>(
    axis: &Axis,
    ranges: &[Range; K],
    (channel, channels): (usize, usize),
    x: &[f32],
    dy: &[f32],
    sums: &mut [f32],
) {
    let mut sum = [[0.0; L]; K];
    for (k, sum) in sum.iter_mut().enumerate() {
        *sum = lanes::<L>(sums, k * channels + channel);
    }
    let start = ranges.iter().fold(0, |m, r| m.max(r.start)).min(axis.output);
    let end = ranges.iter().fold(axis.output, |m, r| m.min(r.end)).max(start);
    for out in (0..start).chain(end..axis.output) {
        let d = lanes::<L>(dy, out * channels + channel);
        for (range, sum) in ranges.iter().zip(&mut sum) {
            if range.start <= out && out < range.end {
                let from = (out * axis.stride + range.reach - axis.before) * channels + channel;
                add::<I, L>(sum, &lanes(x, from), &d);
            }
        }
    }
    // Between the edges every tap meets the input.
    let mut from = [0; K];
    for (from, range) in from.iter_mut().zip(ranges) {
        *from = (start * axis.stride + range.reach).saturating_sub(axis.before) * channels + channel;
    }
    let step = axis.stride * channels;
    for (moved, out) in (start..end).enumerate() {
        let d = lanes::<L>(dy, out * channels + channel);
        for k in 0..K {
            add::<I, L>(&mut sum[k], &lanes(x, from[k] + moved * step), &d);
        }
    }
    for (k, sum) in sum.iter().enumerate() {
        let at = k * channels + channel;
        sums[at..at + L].copy_from_slice(sum);
    }
}

#[inline(always)]
fn add<I: Instructions, const L: usize>(sum: &mut [f32; L], x: &[f32; L], d: &[f32; L]) {
    for l in 0..L {
        sum[l] = I::mul_add(x[l], d[l], sum[l]);
    }
}

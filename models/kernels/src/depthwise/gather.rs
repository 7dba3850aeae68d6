//! Every position of a result sums, over the taps that reach it, a position of the source times a weight.

use super::Axis;
use crate::simd::{Instructions, Task};
use crate::threads::{Threads, run_length};

/// For every position of the result along one axis: which taps reach it, and from where.
pub(super) struct Taps {
    /// Positions of the source.
    source: usize,
    /// Taps of the kernel.
    kernel: usize,
    /// `pairs[starts[i]..starts[i + 1]]` belong to position `i`.
    starts: Vec<usize>,
    pairs: Vec<Tap>,
}

#[derive(Clone, Copy)]
struct Tap {
    weight: usize,
    source: usize,
}

impl Taps {
    /// Output position `o` reads input `o * stride + k * dilation - before`.
    pub(super) fn forward(axis: &Axis) -> Self {
        Self::new(axis.input, axis.kernel, axis.output, |o, k| {
            (o * axis.stride + k * axis.dilation).checked_sub(axis.before)
        })
    }

    /// Input position `i` receives from output `(i + before - k * dilation) / stride` where that is whole.
    pub(super) fn backward(axis: &Axis) -> Self {
        Self::new(axis.output, axis.kernel, axis.input, |i, k| {
            let reach = (i + axis.before).checked_sub(k * axis.dilation)?;
            reach.is_multiple_of(axis.stride).then_some(reach / axis.stride)
        })
    }

    fn new(
        source: usize,
        kernel: usize,
        result: usize,
        from: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let (mut starts, mut pairs) = (vec![0], vec![]);
        for position in 0..result {
            let reached = |weight| from(position, weight).map(|source| Tap { weight, source });
            pairs.extend((0..kernel).filter_map(reached).filter(|tap| tap.source < source));
            starts.push(pairs.len());
        }
        Self { source, kernel, starts, pairs }
    }

    fn positions(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    fn at(&self, position: usize) -> &[Tap] {
        &self.pairs[self.starts[position]..self.starts[position + 1]]
    }

    /// The same with positions and weights as distances between values.
    fn scaled(&self, source: usize, weight: usize) -> Vec<Tap> {
        let scaled = |tap: &Tap| Tap { weight: tap.weight * weight, source: tap.source * source };
        self.pairs.iter().map(scaled).collect()
    }
}

/// Fills `result` `[n, rows, columns, channels]`.
#[allow(clippy::too_many_arguments, reason = "the operands of a convolution, none of which belong together")]
pub(super) fn run(
    threads: &Threads,
    channels: usize,
    (rows, columns): &(Taps, Taps),
    source: &[f32],
    kernel: &[f32],
    bias: Option<&[f32]>,
    bounds: (f32, f32),
    result: &mut [f32],
) {
    let row = columns.positions() * channels;
    if result.is_empty() {
        return;
    }
    let weights = taps_first(kernel, channels);
    let no_bias = vec![0.0; channels];
    let bias = bias.unwrap_or(&no_bias);
    // Scaled once: the inner loop then adds no products to its addresses.
    let columns =
        Taps { pairs: columns.scaled(channels, channels), starts: columns.starts.clone(), ..*columns };
    let length = run_length(result.len() / row, 4 * threads.count(), 1);
    let parts: Vec<(usize, &mut [f32])> = result.chunks_mut(length * row).enumerate().collect();
    threads.for_each(parts, |(part, result)| {
        let first = part * length;
        let weights = &weights;
        threads.level().run(Part {
            channels,
            rows,
            columns: &columns,
            source,
            weights,
            bias,
            bounds,
            first,
            result,
        });
    });
}

/// `[channels, taps]` to `[taps, channels]`.
fn taps_first(kernel: &[f32], channels: usize) -> Vec<f32> {
    let taps = kernel.len() / channels.max(1);
    let mut weights = vec![0.0; kernel.len()];
    for (channel, kernel) in kernel.chunks_exact(taps.max(1)).enumerate() {
        for (tap, weight) in kernel.iter().enumerate() {
            weights[tap * channels + channel] = *weight;
        }
    }
    weights
}

/// A run of rows of the result, all samples' rows counted through.
struct Part<'a> {
    channels: usize,
    rows: &'a Taps,
    columns: &'a Taps,
    source: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    bounds: (f32, f32),
    first: usize,
    result: &'a mut [f32],
}

impl Task for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let channels = self.channels;
        let row_of_source = self.columns.source * channels;
        let row_of_weights = self.columns.kernel * channels;
        let sample = self.rows.source * row_of_source;
        let mut taps = Vec::with_capacity(self.rows.kernel);
        for (at, result) in self.result.chunks_mut(self.columns.positions() * channels).enumerate() {
            let (n, row) =
                ((self.first + at) / self.rows.positions(), (self.first + at) % self.rows.positions());
            taps.clear();
            taps.extend(self.rows.at(row).iter().map(|tap| {
                let source = n * sample + tap.source * row_of_source;
                let weights = tap.weight * row_of_weights;
                let source = &self.source[source..source + row_of_source];
                (source, &self.weights[weights..weights + row_of_weights])
            }));
            let row = Row { taps: &taps, columns: self.columns, bias: self.bias, bounds: self.bounds };
            let mut channel = 0;
            // Whole vectors, then what is left in ever smaller ones.
            while channel + 16 <= channels {
                row.block::<I, 16>(channel, channels, result);
                channel += 16;
            }
            while channel + 4 <= channels {
                row.block::<I, 4>(channel, channels, result);
                channel += 4;
            }
            while channel < channels {
                row.block::<I, 1>(channel, channels, result);
                channel += 1;
            }
        }
    }
}

/// What one row of the result reads: for each vertical tap a row of the source and a row of weights.
struct Row<'a> {
    taps: &'a [(&'a [f32], &'a [f32])],
    columns: &'a Taps,
    bias: &'a [f32],
    bounds: (f32, f32),
}

impl Row<'_> {
    /// `L` neighbouring channels of the row.
    #[inline(always)]
    fn block<I: Instructions, const L: usize>(&self, channel: usize, channels: usize, result: &mut [f32]) {
        let bias = lanes::<L>(self.bias, channel);
        let (low, high) = self.bounds;
        for (column, result) in result.chunks_exact_mut(channels).enumerate() {
            let mut sum = bias;
            let across = self.columns.at(column);
            for (source, weights) in self.taps {
                for tap in across {
                    let source = lanes::<L>(source, tap.source + channel);
                    let weights = lanes::<L>(weights, tap.weight + channel);
                    for l in 0..L {
                        sum[l] = I::mul_add(source[l], weights[l], sum[l]);
                    }
                }
            }
            for l in 0..L {
                let raised = if sum[l] > low { sum[l] } else { low };
                sum[l] = if raised < high { raised } else { high };
            }
            result[channel..channel + L].copy_from_slice(&sum);
        }
    }
}

/// `L` values from `at` on.
#[inline(always)]
pub(super) fn lanes<const L: usize>(values: &[f32], at: usize) -> [f32; L] {
    let mut lanes = [0.0; L];
    lanes.copy_from_slice(&values[at..at + L]);
    lanes
}

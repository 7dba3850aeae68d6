//! Every position of a result sums, over the taps that reach it, a position of the source times a weight.

use super::Axis;
use crate::Threads;
use crate::elementwise::clamp;
use crate::simd::{Instructions, Task};
use crate::threads::run_length;

/// For every position of the result along one axis: which taps reach it, and from where.
pub(super) struct Taps {
    /// Positions of the source.
    source: usize,
    /// Taps of the kernel.
    kernel: usize,
    /// `pairs[starts[i]..starts[i + 1]]` belong to position `i`.
    starts: Vec<usize>,
    pairs: Vec<Tap>,
    runs: Vec<Run>,
}

#[derive(Clone, Copy)]
struct Tap {
    weight: usize,
    source: usize,
}

/// Positions `first`, `first + hop`, ... that the same taps reach, each time from `step` further on.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    count: usize,
    hop: usize,
    step: usize,
}

impl Taps {
    /// Output position `o` reads input `o * stride + k * dilation - before`.
    pub(super) fn forward(axis: &Axis) -> Self {
        let from = |o: usize, k: usize| (o * axis.stride + k * axis.dilation).checked_sub(axis.before);
        Self::new(axis.input, axis.kernel, axis.output, (1, axis.stride), from)
    }

    /// Input position `i` receives from output `(i + before - k * dilation) / stride` where that is whole.
    pub(super) fn backward(axis: &Axis) -> Self {
        let from = |i: usize, k: usize| {
            let reach = (i + axis.before).checked_sub(k * axis.dilation)?;
            reach.is_multiple_of(axis.stride).then_some(reach / axis.stride)
        };
        Self::new(axis.output, axis.kernel, axis.input, (axis.stride, 1), from)
    }

    fn new(
        source: usize,
        kernel: usize,
        result: usize,
        (hop, step): (usize, usize),
        from: impl Fn(usize, usize) -> Option<usize>,
    ) -> Self {
        let (mut starts, mut pairs) = (vec![0], vec![]);
        for position in 0..result {
            let reached = |weight| from(position, weight).map(|source| Tap { weight, source });
            pairs.extend((0..kernel).filter_map(reached).filter(|tap| tap.source < source));
            starts.push(pairs.len());
        }
        let mut taps = Self { source, kernel, starts, pairs, runs: vec![] };
        for phase in 0..hop.min(result) {
            let mut first = phase;
            while first < result {
                let alike = |at: &usize| taps.weights(*at).eq(taps.weights(first));
                let count = (first..result).step_by(hop).take_while(alike).count();
                taps.runs.push(Run { first, count, hop, step });
                first += count * hop;
            }
        }
        taps
    }

    fn weights(&self, position: usize) -> impl Iterator<Item = usize> {
        self.at(position).iter().map(|tap| tap.weight)
    }

    fn positions(&self) -> usize {
        self.starts.len() - 1
    }

    #[inline(always)]
    fn at(&self, position: usize) -> &[Tap] {
        &self.pairs[self.starts[position]..self.starts[position + 1]]
    }

    /// The same with every place as a distance between values of maps with so many channels.
    fn scaled(&self, channels: usize) -> Self {
        let tap = |tap: &Tap| Tap { weight: tap.weight * channels, source: tap.source * channels };
        let run = |run: &Run| Run { step: run.step * channels, ..*run };
        Self {
            source: self.source,
            kernel: self.kernel,
            starts: self.starts.clone(),
            pairs: self.pairs.iter().map(tap).collect(),
            runs: self.runs.iter().map(run).collect(),
        }
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
    let weights = &taps_first(kernel, channels);
    let no_bias = vec![0.0; channels];
    let bias = bias.unwrap_or(&no_bias);
    // Scaled once: the inner loop then adds no products to its addresses.
    let columns = columns.scaled(channels);
    let length = run_length(result.len() / row, 4 * threads.count(), 1);
    let parts: Vec<(usize, &mut [f32])> = result.chunks_mut(length * row).enumerate().collect();
    threads.for_each(parts, |(part, result)| {
        let first = part * length;
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
            row.fill::<I>(channels, result);
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
    #[inline(always)]
    fn fill<I: Instructions>(&self, channels: usize, result: &mut [f32]) {
        for run in &self.columns.runs {
            let taps = self.columns.at(run.first);
            match *taps {
                [a] => self.run::<I>(run, &[a], channels, result),
                [a, b] => self.run::<I>(run, &[a, b], channels, result),
                [a, b, c] => self.run::<I>(run, &[a, b, c], channels, result),
                [a, b, c, d, e] => self.run::<I>(run, &[a, b, c, d, e], channels, result),
                _ => self.run::<I>(run, taps, channels, result),
            }
        }
    }

    /// A run, four positions at a time; inlined for each number of taps.
    #[inline(always)]
    fn run<I: Instructions>(&self, run: &Run, taps: &[Tap], channels: usize, result: &mut [f32]) {
        let mut at = 0;
        while at + 4 <= run.count {
            self.channels::<I, 4>(run, at, taps, channels, result);
            at += 4;
        }
        while at < run.count {
            self.channels::<I, 1>(run, at, taps, channels, result);
            at += 1;
        }
    }

    /// All channels of `P` positions: whole vectors, then what is left in ever smaller ones.
    #[inline(always)]
    fn channels<I: Instructions, const P: usize>(
        &self,
        run: &Run,
        at: usize,
        taps: &[Tap],
        channels: usize,
        result: &mut [f32],
    ) {
        let mut channel = 0;
        while channel + 16 <= channels {
            self.positions::<I, 16, P>(run, at, taps, (channel, channels), result);
            channel += 16;
        }
        while channel + 4 <= channels {
            self.positions::<I, 4, P>(run, at, taps, (channel, channels), result);
            channel += 4;
        }
        while channel < channels {
            self.positions::<I, 1, P>(run, at, taps, (channel, channels), result);
            channel += 1;
        }
    }

    /// `P` positions of a run, which share what they read of the weights.
    #[inline(always)]
    fn positions<I: Instructions, const L: usize, const P: usize>(
        &self,
        run: &Run,
        at: usize,
        taps: &[Tap],
        (channel, channels): (usize, usize),
        result: &mut [f32],
    ) {
        let mut sums = [lanes::<L>(self.bias, channel); P];
        for (source, weights) in self.taps {
            for tap in taps {
                let weights = lanes::<L>(weights, tap.weight + channel);
                for (p, sum) in sums.iter_mut().enumerate() {
                    let source = lanes::<L>(source, tap.source + (at + p) * run.step + channel);
                    for l in 0..L {
                        sum[l] = I::mul_add(source[l], weights[l], sum[l]);
                    }
                }
            }
        }
        for (p, sum) in sums.iter().enumerate() {
            let place = (run.first + (at + p) * run.hop) * channels + channel;
            for (result, sum) in result[place..place + L].iter_mut().zip(sum) {
                *result = clamp(*sum, self.bounds);
            }
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

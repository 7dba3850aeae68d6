//! The second pass of either direction: every value by itself, given its channel's numbers.

use super::BatchNorm;
use crate::elementwise::clamp;
use crate::simd::{Instructions, Task};
use crate::threads::{Threads, run_length};

/// Channels are repeated until a row holds this many values, so that a loop over one row fills vectors.
const WIDE: usize = 64;

/// `y = (x - mean) * slope + shift`, one value a channel each.
pub(super) struct Line<'a> {
    pub(super) mean: &'a [f32],
    pub(super) slope: &'a [f32],
    pub(super) shift: &'a [f32],
}

/// `dx = slope g - base - (x - mean) tilt`, one value a channel each.
pub(super) struct Pull {
    pub(super) base: Vec<f32>,
    pub(super) tilt: Vec<f32>,
}

/// How many rows are taken as one.
pub(super) fn repeats(channels: usize) -> usize {
    if channels >= WIDE { 1 } else { WIDE.div_ceil(channels.max(1)) }
}

pub(super) fn widened(row: &[f32]) -> Vec<f32> {
    row.repeat(repeats(row.len()))
}

/// [`Line`] with its rows widened.
pub(super) struct WideLine {
    pub(super) mean: Vec<f32>,
    pub(super) slope: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl WideLine {
    pub(super) fn new(line: &Line<'_>) -> Self {
        Self { mean: widened(line.mean), slope: widened(line.slope), shift: widened(line.shift) }
    }
}

fn part_length(threads: &Threads, norm: &BatchNorm) -> usize {
    let wide = norm.channels * repeats(norm.channels);
    run_length(norm.rows * norm.channels, threads.count(), wide).max(1)
}

pub(super) fn forward(threads: &Threads, norm: &BatchNorm, line: &Line<'_>, x: &[f32], y: &mut [f32]) {
    let line = WideLine::new(line);
    let length = part_length(threads, norm);
    let parts = y.chunks_mut(length).zip(x.chunks(length)).collect();
    threads.for_each(parts, |(y, x)| {
        threads.level().run(Forward { line: &line, bounds: norm.bounds, x, y });
    });
}

struct Forward<'a> {
    line: &'a WideLine,
    bounds: (f32, f32),
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let WideLine { mean, slope, shift } = self.line;
        let wide = mean.len().max(1);
        for (y, x) in self.y.chunks_mut(wide).zip(self.x.chunks(wide)) {
            let rows = mean.iter().zip(slope).zip(shift);
            for ((y, x), ((mean, slope), shift)) in y.iter_mut().zip(x).zip(rows) {
                *y = clamp(I::mul_add(x - mean, *slope, *shift), self.bounds);
            }
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the operands of a batch norm, none of which belong together")]
pub(super) fn backward(
    threads: &Threads,
    norm: &BatchNorm,
    line: &Line<'_>,
    pull: &Pull,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let line = WideLine::new(line);
    let pull = Pull { base: widened(&pull.base), tilt: widened(&pull.tilt) };
    let length = part_length(threads, norm);
    let parts = dx.chunks_mut(length).zip(x.chunks(length).zip(dy.chunks(length))).collect();
    threads.for_each(parts, |(dx, (x, dy))| {
        threads.level().run(Backward { line: &line, pull: &pull, bounds: norm.bounds, x, dy, dx });
    });
}

struct Backward<'a> {
    line: &'a WideLine,
    pull: &'a Pull,
    bounds: (f32, f32),
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let WideLine { mean, slope, shift } = self.line;
        let Pull { base, tilt } = self.pull;
        let wide = mean.len().max(1);
        let maps = self.dx.chunks_mut(wide).zip(self.x.chunks(wide)).zip(self.dy.chunks(wide));
        for ((dx, x), dy) in maps {
            let rows = mean.iter().zip(slope).zip(shift).zip(base).zip(tilt);
            for (((dx, x), dy), ((((mean, slope), shift), base), tilt)) in
                dx.iter_mut().zip(x).zip(dy).zip(rows)
            {
                let centred = x - mean;
                let g = passed::<I>(centred, *slope, *shift, self.bounds, *dy);
                *dx = I::mul_add(-centred, *tilt, I::mul_add(g, *slope, -base));
            }
        }
    }
}

/// `dy` where the normalised value lies strictly inside the bounds, zero elsewhere.
#[inline(always)]
pub(super) fn passed<I: Instructions>(
    centred: f32,
    slope: f32,
    shift: f32,
    (low, high): (f32, f32),
    dy: f32,
) -> f32 {
    let y = I::mul_add(centred, slope, shift);
    if (y > low) & (y < high) { dy } else { 0.0 }
}

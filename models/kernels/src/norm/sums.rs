//! The first pass of either direction: sums over the rows, channel by channel.

use super::BatchNorm;
use super::apply::{Line, WideLine, passed, repeats, widened};
use crate::simd::{Instructions, Task};
use crate::threads::Threads;

/// Values of one chunk, about. It stays in the second-level cache, and few enough rows are added up in
/// single precision.
const CHUNK: usize = 1 << 14;

/// Two sums for each channel of each chunk.
struct Chunks {
    /// Values of a chunk but the last: whole rows, a whole number of widened ones.
    length: usize,
    /// Columns of a widened row.
    wide: usize,
    /// `[chunks, 2, wide]`.
    sums: Vec<f32>,
}

impl Chunks {
    fn new(norm: &BatchNorm) -> Self {
        let wide = norm.channels * repeats(norm.channels);
        let length = (CHUNK / wide.max(1)).max(1) * wide.max(1);
        let count = (norm.rows * norm.channels).div_ceil(length);
        Self { length, wide, sums: vec![0.0; count * 2 * wide] }
    }

    /// For each chunk its rows, and its two sums of each channel in double precision.
    fn each(&self, norm: &BatchNorm, mut visit: impl FnMut(usize, usize, usize, f64, f64)) {
        let values = norm.rows * norm.channels;
        for (chunk, sums) in self.sums.chunks_exact(2 * self.wide.max(1)).enumerate() {
            let rows = (values - chunk * self.length).min(self.length) / norm.channels;
            let (first, second) = sums.split_at(self.wide);
            for channel in 0..norm.channels {
                let total = |row: &[f32]| -> f64 {
                    row.iter().skip(channel).step_by(norm.channels).map(|v| f64::from(*v)).sum()
                };
                visit(chunk, rows, channel, total(first), total(second));
            }
        }
    }
}

/// Mean and biased variance of every channel.
pub(super) fn moments(
    threads: &Threads,
    norm: &BatchNorm,
    x: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    if x.is_empty() {
        mean.fill(0.0);
        variance.fill(0.0);
        return;
    }
    let mut chunks = Chunks::new(norm);
    let (length, wide, channels) = (chunks.length, chunks.wide, norm.channels);
    let parts = chunks.sums.chunks_exact_mut(2 * wide).zip(x.chunks(length)).collect();
    threads.for_each(parts, |(sums, x)| {
        let origin = widened(&x[..channels]);
        threads.level().run(Moments { origin: &origin, x, sums });
    });
    // Mean and summed squares about it of the rows joined so far.
    let mut joined = vec![(0.0f64, 0.0f64, 0.0f64); channels];
    chunks.each(norm, |chunk, rows, channel, sum, square| {
        let n = rows as f64;
        let origin = f64::from(x[chunk * length + channel]);
        let (mean, spread) = (origin + sum / n, square - sum * sum / n);
        let (count, so_far, total) = joined[channel];
        let apart = mean - so_far;
        let all = count + n;
        joined[channel] = (all, so_far + apart * n / all, total + spread + apart * apart * count * n / all);
    });
    for (channel, (count, centre, spread)) in joined.into_iter().enumerate() {
        mean[channel] = centre as f32;
        variance[channel] = (spread / count).max(0.0) as f32;
    }
}

/// Sum and sum of squares about `origin`.
struct Moments<'a> {
    origin: &'a [f32],
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl Task for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let wide = self.origin.len();
        let (sums, squares) = self.sums.split_at_mut(wide);
        let fours = self.x.chunks_exact(4 * wide);
        let rest = fours.remainder();
        for rows in fours {
            let (a, b) = rows.split_at(2 * wide);
            let ((a, b), (c, d)) = (a.split_at(wide), b.split_at(wide));
            let values = a.iter().zip(b).zip(c.iter().zip(d));
            let totals = sums.iter_mut().zip(squares.iter_mut()).zip(self.origin);
            for (((sum, square), origin), ((a, b), (c, d))) in totals.zip(values) {
                let (a, b, c, d) = (a - origin, b - origin, c - origin, d - origin);
                *sum += (a + b) + (c + d);
                *square += I::mul_add(a, a, b * b) + I::mul_add(c, c, d * d);
            }
        }
        for row in rest.chunks(wide) {
            let totals = sums.iter_mut().zip(squares.iter_mut()).zip(self.origin);
            for (((sum, square), origin), x) in totals.zip(row) {
                let x = x - origin;
                *sum += x;
                *square = I::mul_add(x, x, *square);
            }
        }
    }
}

/// For every channel the sums of `g` and of `g (x - mean)`, with `g` what the clip passes of `dy`.
pub(super) fn gradients(
    threads: &Threads,
    norm: &BatchNorm,
    line: &Line<'_>,
    x: &[f32],
    dy: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let (mut totals, mut products) = (vec![0.0f64; norm.channels], vec![0.0f64; norm.channels]);
    if x.is_empty() {
        return (totals, products);
    }
    let line = WideLine::new(line);
    let mut chunks = Chunks::new(norm);
    let (length, wide) = (chunks.length, chunks.wide);
    let maps = x.chunks(length).zip(dy.chunks(length));
    let parts = chunks.sums.chunks_exact_mut(2 * wide).zip(maps).collect();
    threads.for_each(parts, |(sums, (x, dy))| {
        threads.level().run(Products { line: &line, bounds: norm.bounds, x, dy, sums });
    });
    chunks.each(norm, |_, _, channel, total, product| {
        totals[channel] += total;
        products[channel] += product;
    });
    (totals, products)
}

struct Products<'a> {
    line: &'a WideLine,
    bounds: (f32, f32),
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
}

impl Task for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let WideLine { mean, slope, shift } = self.line;
        let wide = mean.len();
        let (totals, products) = self.sums.split_at_mut(wide);
        let bounds = self.bounds;
        let fours = self.x.chunks_exact(4 * wide).zip(self.dy.chunks_exact(4 * wide));
        let done = self.x.len() / (4 * wide) * (4 * wide);
        for (x, dy) in fours {
            let (xa, xb) = x.split_at(2 * wide);
            let ((xa, xb), (xc, xd)) = (xa.split_at(wide), xb.split_at(wide));
            let (ya, yb) = dy.split_at(2 * wide);
            let ((ya, yb), (yc, yd)) = (ya.split_at(wide), yb.split_at(wide));
            let xs = xa.iter().zip(xb).zip(xc.iter().zip(xd));
            let ys = ya.iter().zip(yb).zip(yc.iter().zip(yd));
            let rows = mean.iter().zip(slope).zip(shift);
            let sums = totals.iter_mut().zip(products.iter_mut());
            for ((sums, rows), (xs, ys)) in sums.zip(rows).zip(xs.zip(ys)) {
                let ((total, product), ((mean, slope), shift)) = (sums, rows);
                let (((xa, xb), (xc, xd)), ((ya, yb), (yc, yd))) = (xs, ys);
                let (xa, xb, xc, xd) = (xa - mean, xb - mean, xc - mean, xd - mean);
                let a = passed::<I>(xa, *slope, *shift, bounds, *ya);
                let b = passed::<I>(xb, *slope, *shift, bounds, *yb);
                let c = passed::<I>(xc, *slope, *shift, bounds, *yc);
                let d = passed::<I>(xd, *slope, *shift, bounds, *yd);
                *total += (a + b) + (c + d);
                *product += I::mul_add(a, xa, b * xb) + I::mul_add(c, xc, d * xd);
            }
        }
        for (x, dy) in self.x[done..].chunks(wide).zip(self.dy[done..].chunks(wide)) {
            let rows = mean.iter().zip(slope).zip(shift);
            let sums = totals.iter_mut().zip(products.iter_mut());
            for (((total, product), ((mean, slope), shift)), (x, dy)) in sums.zip(rows).zip(x.iter().zip(dy))
            {
                let x = x - mean;
                let g = passed::<I>(x, *slope, *shift, bounds, *dy);
                *total += g;
                *product = I::mul_add(g, x, *product);
            }
        }
    }
}

//! Operators that treat every value alike.

use crate::error::check_length;
use crate::simd::{Instructions, Task};
use crate::threads::run_length;
use crate::{KernelError, Threads};

/// `min(max(value, low), high)`; what is not a number becomes `low`.
#[inline(always)]
pub(crate) fn clamp(value: f32, (low, high): (f32, f32)) -> f32 {
    let raised = if value > low { value } else { low };
    if raised < high { raised } else { high }
}

/// Gradient of a clip from its clipped value: `dx = dy` where `y` lies strictly between the bounds, zero
/// elsewhere.
///
/// # Errors
/// When the slices differ in length.
pub fn clip_gradient(
    threads: &Threads,
    y: &[f32],
    dy: &[f32],
    bounds: (f32, f32),
    dx: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "clip gradient";
    check_length(NAME, "dy", dy.len(), &[y.len()])?;
    check_length(NAME, "dx", dx.len(), &[y.len()])?;
    let length = run_length(dx.len(), threads.count(), 1024).max(1);
    let parts = dx.chunks_mut(length).zip(y.chunks(length).zip(dy.chunks(length))).collect();
    threads.for_each(parts, |(dx, (y, dy))| threads.level().run(ClipGradient { y, dy, bounds, dx }));
    Ok(())
}

/// [`clip_gradient`] of the gradient `dx` in its own place.
///
/// # Errors
/// When the slices differ in length.
pub fn clip_gradient_in_place(
    threads: &Threads,
    y: &[f32],
    bounds: (f32, f32),
    dx: &mut [f32],
) -> Result<(), KernelError> {
    check_length("clip gradient", "dx", dx.len(), &[y.len()])?;
    let length = run_length(dx.len(), threads.count(), 1024).max(1);
    let parts = dx.chunks_mut(length).zip(y.chunks(length)).collect();
    threads.for_each(parts, |(dx, y)| threads.level().run(ClipInPlace { y, bounds, dx }));
    Ok(())
}

struct ClipInPlace<'a> {
    y: &'a [f32],
    bounds: (f32, f32),
    dx: &'a mut [f32],
}

impl Task for ClipInPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let (low, high) = self.bounds;
        for (dx, y) in self.dx.iter_mut().zip(self.y) {
            *dx = if (*y > low) & (*y < high) { *dx } else { 0.0 };
        }
    }
}

/// Most runs of rows that are summed apart, and fewest rows of one.
const MAX_RUNS: usize = 64;
const RUN_ROWS: usize = 512;

/// Rows whose sum is added as one, so that rounding grows with their number and not with that of all rows.
const BLOCK_ROWS: usize = 64;

/// Writes to `out` the sum of each column of `x`, a matrix stored row by row with as many columns.
///
/// # Errors
/// When `x` is no whole number of rows.
pub fn column_sums(threads: &Threads, x: &[f32], out: &mut [f32]) -> Result<(), KernelError> {
    let columns = out.len();
    let rows = x.len().checked_div(columns).unwrap_or(0);
    check_length("column sums", "x", x.len(), &[rows, columns])?;
    out.fill(0.0);
    if x.is_empty() {
        return Ok(());
    }
    // Cut by the shape alone: sums cross the cuts.
    let run = rows.div_ceil((rows / RUN_ROWS).clamp(1, MAX_RUNS));
    let mut sums = threads.scratch(2 * columns * rows.div_ceil(run));
    let parts = sums.chunks_exact_mut(2 * columns).zip(x.chunks(run * columns)).collect();
    threads.for_each(parts, |(sums, x): (&mut [f32], &[f32])| {
        let (sums, block) = sums.split_at_mut(columns);
        threads.level().run(ColumnSums { x, sums, block });
    });
    for sums in sums.chunks_exact(2 * columns) {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
    }
    Ok(())
}

struct ColumnSums<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
    block: &'a mut [f32],
}

impl Task for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let columns = self.sums.len();
        self.sums.fill(0.0);
        for rows in self.x.chunks(BLOCK_ROWS * columns) {
            self.block.fill(0.0);
            for row in rows.chunks_exact(columns) {
                self.block.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            self.sums.iter_mut().zip(&*self.block).for_each(|(sum, block)| *sum += block);
        }
    }
}

struct ClipGradient<'a> {
    y: &'a [f32],
    dy: &'a [f32],
    bounds: (f32, f32),
    dx: &'a mut [f32],
}

impl Task for ClipGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let (low, high) = self.bounds;
        for ((dx, y), dy) in self.dx.iter_mut().zip(self.y).zip(self.dy) {
            // Both comparisons without a branch between them.
            *dx = if (*y > low) & (*y < high) { *dy } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_passes_gradients_strictly_inside() {
        let y = [0.0, 0.5, 6.0, 3.0, 5.9, 0.0];
        let dy = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        for count in 1..=3 {
            let mut dx = [9.0; 6];
            clip_gradient(&Threads::new(count).unwrap(), &y, &dy, (0.0, 6.0), &mut dx).unwrap();
            assert_eq!(dx, [0.0, 2.0, 0.0, 4.0, 5.0, 0.0]);
            let mut dx = dy;
            clip_gradient_in_place(&Threads::new(count).unwrap(), &y, (0.0, 6.0), &mut dx).unwrap();
            assert_eq!(dx, [0.0, 2.0, 0.0, 4.0, 5.0, 0.0]);
        }
    }

    #[test]
    fn columns_are_summed_alike_on_any_number_of_threads() {
        for (rows, columns) in [(1, 1), (3, 5), (64, 16), (1000, 7), (5000, 33)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.4).collect();
            let mut one = vec![9.0; columns];
            column_sums(&Threads::new(1).unwrap(), &x, &mut one).unwrap();
            for (column, sum) in one.iter().enumerate() {
                let wanted: f64 = x.iter().skip(column).step_by(columns).map(|v| f64::from(*v)).sum();
                assert!((f64::from(*sum) - wanted).abs() < 1e-3, "{sum}, not {wanted}");
            }
            for count in 2..=3 {
                let mut out = vec![9.0; columns];
                column_sums(&Threads::new(count).unwrap(), &x, &mut out).unwrap();
                assert_eq!(out, one);
            }
        }
        assert!(column_sums(&Threads::new(1).unwrap(), &[1.0; 5], &mut [0.0; 2]).is_err());
        assert!(column_sums(&Threads::new(1).unwrap(), &[1.0; 5], &mut []).is_err());
    }

    #[test]
    fn lengths_must_agree() {
        let threads = Threads::new(1).unwrap();
        assert!(clip_gradient(&threads, &[1.0], &[1.0, 2.0], (0.0, 1.0), &mut [0.0]).is_err());
    }
}

//! The softmax of rows, and its gradient.

use crate::error::check_length;
use crate::exponential::exp;
use crate::lanes::{dot, largest, sum};
use crate::simd::{Instructions, Task};
use crate::threads::run_length;
use crate::{KernelError, Threads};

/// `y = exp(x - max) / sum` of each row of `columns` values.
///
/// # Errors
/// When the slices differ in length or hold no whole rows.
pub fn forward(threads: &Threads, columns: usize, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    const NAME: &str = "softmax";
    let rows = x.len() / columns.max(1);
    check_length(NAME, "x", x.len(), &[rows, columns])?;
    check_length(NAME, "y", y.len(), &[rows, columns])?;
    let length = (run_length(rows, threads.count(), 1) * columns).max(1);
    let parts = y.chunks_mut(length).zip(x.chunks(length)).collect();
    threads.for_each(parts, |(y, x)| threads.level().run(Forward { columns, x, y }));
    Ok(())
}

/// `dx = y (dy - sum(y dy))` of each row of `columns` values.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    threads: &Threads,
    columns: usize,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "softmax gradient";
    let rows = y.len() / columns.max(1);
    for (argument, length) in [("y", y.len()), ("dy", dy.len()), ("dx", dx.len())] {
        check_length(NAME, argument, length, &[rows, columns])?;
    }
    let length = (run_length(rows, threads.count(), 1) * columns).max(1);
    let parts = dx.chunks_mut(length).zip(y.chunks(length).zip(dy.chunks(length))).collect();
    threads.for_each(parts, |(dx, (y, dy))| threads.level().run(Backward { columns, y, dy, dx }));
    Ok(())
}

struct Forward<'a> {
    columns: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let rows = self.x.chunks_exact(self.columns);
        for (y, x) in self.y.chunks_exact_mut(self.columns).zip(rows) {
            let peak = largest(x);
            for (y, x) in y.iter_mut().zip(x) {
                *y = exp::<I>(x - peak);
            }
            let share = 1.0 / sum(y);
            y.iter_mut().for_each(|y| *y *= share);
        }
    }
}

struct Backward<'a> {
    columns: usize,
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let rows = self.y.chunks_exact(self.columns).zip(self.dy.chunks_exact(self.columns));
        for (dx, (y, dy)) in self.dx.chunks_exact_mut(self.columns).zip(rows) {
            let total = dot::<I>(y, dy);
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                *dx = y * (dy - total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::test_support::{assert_close, levels, random};

    #[test]
    fn rows_match_the_definition_at_every_level_and_on_any_threads() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (rows, columns) in [(1, 1), (7, 3), (5, 16), (9, 65), (33, 130)] {
            let x: Vec<f32> = random(&mut rng, rows * columns).iter().map(|x| 30.0 * x).collect();
            let dy = random(&mut rng, rows * columns);
            let mut wanted = vec![];
            let mut slopes = vec![];
            for (x, dy) in x.chunks(columns).zip(dy.chunks(columns)) {
                let peak = x.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
                let powers: Vec<f64> = x.iter().map(|x| f64::from(x - peak).exp()).collect();
                let total: f64 = powers.iter().sum();
                let shares: Vec<f64> = powers.iter().map(|p| p / total).collect();
                let mean: f64 = shares.iter().zip(dy).map(|(s, d)| s * f64::from(*d)).sum();
                slopes.extend(shares.iter().zip(dy).map(|(s, d)| s * (f64::from(*d) - mean)));
                wanted.extend(shares);
            }
            for level in levels() {
                let run = |count| {
                    let threads = Threads::with_level(count, level).unwrap();
                    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                    forward(&threads, columns, &x, &mut y).unwrap();
                    backward(&threads, columns, &y, &dy, &mut dx).unwrap();
                    (y, dx)
                };
                let one = run(1);
                assert!(one == run(2) && one == run(3), "threads differ");
                assert_close(&one.0, &wanted, &format!("{level:?} {rows} {columns}"));
                assert_close(&one.1, &slopes, &format!("{level:?} {rows} {columns}"));
            }
        }
    }

    #[test]
    fn refuses_broken_rows() {
        let threads = Threads::new(1).unwrap();
        assert!(forward(&threads, 2, &[1.0; 3], &mut [0.0; 3]).is_err());
        assert!(forward(&threads, 0, &[1.0; 3], &mut [0.0; 3]).is_err());
        assert!(backward(&threads, 2, &[1.0; 4], &[1.0; 2], &mut [0.0; 4]).is_err());
        forward(&threads, 2, &[], &mut []).unwrap();
    }
}

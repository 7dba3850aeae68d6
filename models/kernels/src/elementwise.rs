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
        }
    }

    #[test]
    fn lengths_must_agree() {
        let threads = Threads::new(1).unwrap();
        assert!(clip_gradient(&threads, &[1.0], &[1.0, 2.0], (0.0, 1.0), &mut [0.0]).is_err());
    }
}

//! The Gaussian error linear unit `x P(x)`, with the distribution `P` of the standard normal (Hendrycks &
//! Gimpel 2016, section 2), and its gradient.
//!
//! `P` is computed to 3e-7 from the error function's approximation 7.1.26 of Abramowitz & Stegun, which
//! shares its exponential with the density that the gradient needs.

use crate::error::check_length;
use crate::exponential::exp;
use crate::simd::{Instructions, Task};
use crate::threads::run_length;
use crate::{KernelError, Threads};

/// Fewest values of a thread.
const GRAIN: usize = 1024;
/// `1 / sqrt(2 pi)`.
const PEAK: f32 = 0.398_942_3;

/// Distribution and density of the standard normal at `x`.
#[inline(always)]
fn normal<I: Instructions>(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    let bell = exp::<I>(-0.5 * x * x);
    let t = 1.0 / I::mul_add(x.abs(), P, 1.0);
    // Half of the book's, for the distribution is half of the error function and one half.
    let mut sum = 0.530_702_7;
    for coefficient in [-0.726_576, 0.710_706_9, -0.142_248_37, 0.127_414_8] {
        sum = I::mul_add(sum, t, coefficient);
    }
    let tail = sum * t * bell;
    (if x > 0.0 { 1.0 - tail } else { tail }, bell * PEAK)
}

/// `y = x P(x)`.
///
/// # Errors
/// When the slices differ in length.
pub fn forward(threads: &Threads, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    check_length("gelu", "y", y.len(), &[x.len()])?;
    let length = run_length(x.len(), threads.count(), GRAIN).max(1);
    let parts = y.chunks_mut(length).zip(x.chunks(length)).collect();
    threads.for_each(parts, |(y, x)| threads.level().run(Forward { x, y }));
    Ok(())
}

/// `dx = dy (P(x) + x p(x))`, with the density `p`.
///
/// # Errors
/// When the slices differ in length.
pub fn backward(threads: &Threads, x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), KernelError> {
    const NAME: &str = "gelu gradient";
    check_length(NAME, "dy", dy.len(), &[x.len()])?;
    check_length(NAME, "dx", dx.len(), &[x.len()])?;
    let length = run_length(x.len(), threads.count(), GRAIN).max(1);
    let parts = dx.chunks_mut(length).zip(x.chunks(length).zip(dy.chunks(length))).collect();
    threads.for_each(parts, |(dx, (x, dy))| threads.level().run(Backward { x, dy, dx }));
    Ok(())
}

struct Forward<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = x * normal::<I>(*x).0;
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        for ((dx, x), dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            let (distribution, density) = normal::<I>(*x);
            *dx = dy * I::mul_add(*x, density, distribution);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::levels;

    /// Distribution of the standard normal: Simpson's rule over its density, from zero.
    fn distribution(x: f64) -> f64 {
        let steps = 2000;
        let width = x / f64::from(steps);
        let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let inner = (1..steps).map(|i| if i % 2 == 1 { 4.0 } else { 2.0 } * density(f64::from(i) * width));
        0.5 + (density(0.0) + inner.sum::<f64>() + density(x)) * width / 3.0
    }

    #[test]
    fn values_and_slopes_are_those_of_float64() {
        let x: Vec<f32> = (-600..=600).map(|i| i as f32 * 0.0173).collect();
        let dy: Vec<f32> = (0..x.len()).map(|i| 1.0 - (i % 5) as f32 * 0.5).collect();
        for level in levels() {
            let run = |count| {
                let threads = Threads::with_level(count, level).unwrap();
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                forward(&threads, &x, &mut y).unwrap();
                backward(&threads, &x, &dy, &mut dx).unwrap();
                (y, dx)
            };
            let (y, dx) = run(1);
            assert!((y.clone(), dx.clone()) == run(2) && (y.clone(), dx.clone()) == run(3));
            for i in 0..x.len() {
                let at = f64::from(x[i]);
                let wanted = distribution(at);
                let slope = wanted + at * (-0.5 * at * at).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let bound = 3e-7 * (1.0 + at.abs());
                assert!((f64::from(y[i]) - at * wanted).abs() < bound, "{level:?}: gelu({at}) is {}", y[i]);
                let error = (f64::from(dx[i]) - f64::from(dy[i]) * slope).abs();
                assert!(error < bound, "{level:?}: slope at {at}: {}", dx[i]);
            }
        }
    }

    #[test]
    fn lengths_must_agree_and_may_be_none() {
        let threads = Threads::new(2).unwrap();
        assert!(forward(&threads, &[1.0], &mut []).is_err());
        assert!(backward(&threads, &[1.0], &[], &mut [0.0]).is_err());
        forward(&threads, &[], &mut []).unwrap();
    }
}

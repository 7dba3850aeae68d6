//! Batch normalisation by the statistics of the batch, and its gradient (Ioffe & Szegedy 2015, algorithm 1
//! and section 3), with the clip that follows. Both directions read their maps twice and write once: one
//! pass for the sums, one for the result. The backward pass recomputes what it needs of the forward one
//! from `x`, bit for bit, instead of reading it.
//!
//! Sums run over chunks of rows cut by the shape alone, in single precision about the first row's value
//! (so that a large mean costs no digits), and are joined in double precision (Chan, Golub & LeVeque
//! 1983, equation 2.1).

mod apply;
mod sums;
#[cfg(test)]
mod tests;

use crate::error::check_length;
use crate::{KernelError, Threads};

/// Shape and constants of one batch norm over `[rows, channels]`, all positions of all samples as rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Values of one channel.
    pub rows: usize,
    /// Channels.
    pub channels: usize,
    /// Added to a variance before its root.
    pub epsilon: f32,
    /// Lower and upper bound of the result; infinite for none.
    pub bounds: (f32, f32),
}

/// One value a channel each.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    /// Factor of the normalised value.
    pub scale: &'a [f32],
    /// Added to it.
    pub shift: &'a [f32],
}

/// Statistics of a batch, one value a channel each.
#[derive(Debug)]
pub struct Statistics<'a> {
    /// Mean.
    pub mean: &'a mut [f32],
    /// Biased variance.
    pub variance: &'a mut [f32],
}

impl BatchNorm {
    fn check(
        &self,
        kernel: &'static str,
        maps: &[(&'static str, usize)],
        rows: &[(&'static str, usize)],
    ) -> Result<(), KernelError> {
        for &(name, length) in maps {
            check_length(kernel, name, length, &[self.rows, self.channels])?;
        }
        for &(name, length) in rows {
            check_length(kernel, name, length, &[self.channels])?;
        }
        Ok(())
    }
}

/// Normalises `x` into `y`, and tells the statistics it used.
///
/// # Errors
/// When a slice does not have its length.
pub fn forward(
    threads: &Threads,
    norm: &BatchNorm,
    x: &[f32],
    parameters: Parameters<'_>,
    y: &mut [f32],
    statistics: Statistics<'_>,
) -> Result<(), KernelError> {
    let Statistics { mean, variance } = statistics;
    let Parameters { scale, shift } = parameters;
    let rows =
        [("scale", scale.len()), ("shift", shift.len()), ("mean", mean.len()), ("variance", variance.len())];
    norm.check("batch norm", &[("x", x.len()), ("y", y.len())], &rows)?;
    sums::moments(threads, norm, x, mean, variance);
    let slope = slopes(norm, scale, variance);
    let line = apply::Line { mean, slope: &slope, shift };
    apply::forward(threads, norm, &line, x, y);
    Ok(())
}

/// Where a batch norm's gradients go.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Of `x`.
    pub x: &'a mut [f32],
    /// Of the scale.
    pub scale: &'a mut [f32],
    /// Of the shift.
    pub shift: &'a mut [f32],
}

/// The gradients from that of the (clipped) result, `dy`. `mean` and `variance` are [`forward`]'s.
///
/// With `g` the gradient before the clip and `h` the normalised `x`: `dshift = sum g`,
/// `dscale = sum g h`, `dx = slope (g - (dshift + h dscale) / rows)`.
///
/// # Errors
/// As [`forward`].
#[allow(clippy::too_many_arguments, reason = "the operands of a batch norm, none of which belong together")]
pub fn backward(
    threads: &Threads,
    norm: &BatchNorm,
    x: &[f32],
    parameters: Parameters<'_>,
    mean: &[f32],
    variance: &[f32],
    dy: &[f32],
    gradients: Gradients<'_>,
) -> Result<(), KernelError> {
    let Parameters { scale, shift } = parameters;
    let Gradients { x: dx, scale: dscale, shift: dshift } = gradients;
    let maps = [("x", x.len()), ("dy", dy.len()), ("dx", dx.len())];
    let rows = [
        ("scale", scale.len()),
        ("shift", shift.len()),
        ("mean", mean.len()),
        ("variance", variance.len()),
        ("dscale", dscale.len()),
        ("dshift", dshift.len()),
    ];
    norm.check("batch norm gradient", &maps, &rows)?;
    let slope = slopes(norm, scale, variance);
    let line = apply::Line { mean, slope: &slope, shift };
    let (total, product) = sums::gradients(threads, norm, &line, x, dy);
    let count = norm.rows.max(1) as f64;
    let mut pull = apply::Pull { base: vec![0.0; norm.channels], tilt: vec![0.0; norm.channels] };
    for c in 0..norm.channels {
        let inverse = 1.0 / (f64::from(variance[c]) + f64::from(norm.epsilon)).sqrt();
        dshift[c] = total[c] as f32;
        dscale[c] = (product[c] * inverse) as f32;
        let slope = f64::from(slope[c]);
        pull.base[c] = (slope * total[c] / count) as f32;
        pull.tilt[c] = (slope * product[c] * inverse * inverse / count) as f32;
    }
    apply::backward(threads, norm, &line, &pull, x, dy, dx);
    Ok(())
}

/// `scale / sqrt(variance + epsilon)`.
fn slopes(norm: &BatchNorm, scale: &[f32], variance: &[f32]) -> Vec<f32> {
    let slope = |(scale, variance): (&f32, &f32)| {
        (f64::from(*scale) / (f64::from(*variance) + f64::from(norm.epsilon)).sqrt()) as f32
    };
    scale.iter().zip(variance).map(slope).collect()
}

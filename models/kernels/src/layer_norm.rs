//! Layer normalisation (Ba, Kiros & Hinton 2016, equation 4) and its gradient. The backward pass finds
//! mean and deviation of a row again, which costs less than storing and reading them.

use crate::error::check_length;
use crate::lanes::{dot, sum};
use crate::simd::{Instructions, Task};
use crate::threads::run_length;
use crate::{KernelError, Threads};

/// Rows whose gradients of scale and shift are summed together, in single precision.
const CHUNK: usize = 128;

/// Shape and constant of one layer norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Values of a row, which are normalised together.
    pub columns: usize,
    /// Added to a variance before its root.
    pub epsilon: f32,
}

/// Scale and shift, one value a column each.
pub type Affine<'a> = (&'a [f32], &'a [f32]);

impl LayerNorm {
    fn check(
        &self,
        name: &'static str,
        maps: &[(&'static str, usize)],
        rows: usize,
    ) -> Result<(), KernelError> {
        maps.iter()
            .try_for_each(|(argument, length)| check_length(name, argument, *length, &[rows, self.columns]))
    }

    fn rows(&self, length: usize) -> usize {
        length / self.columns.max(1)
    }
}

/// Normalises each row of `x` into `y`, then scales and shifts.
///
/// # Errors
/// When a slice does not have its length.
pub fn forward(
    threads: &Threads,
    norm: &LayerNorm,
    x: &[f32],
    affine: Option<Affine<'_>>,
    y: &mut [f32],
) -> Result<(), KernelError> {
    const NAME: &str = "layer norm";
    let rows = norm.rows(x.len());
    norm.check(NAME, &[("x", x.len()), ("y", y.len())], rows)?;
    if let Some((scale, shift)) = affine {
        norm.check(NAME, &[("scale", scale.len()), ("shift", shift.len())], 1)?;
    }
    let length = (run_length(rows, threads.count(), 1) * norm.columns).max(1);
    let parts = y.chunks_mut(length).zip(x.chunks(length)).collect();
    threads.for_each(parts, |(y, x)| threads.level().run(Forward { norm: *norm, x, affine, y }));
    Ok(())
}

/// The gradient of `x` from that of the result, `dy`; where there is a scale, it and the shift have
/// gradients as well, `(scale, dscale, dshift)`.
///
/// With `h` the normalised `x`, `g = dy scale` and `r` the inverse deviation:
/// `dx = r (g - mean(g) - h mean(g h))`, `dscale = sum dy h`, `dshift = sum dy` over the rows.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    threads: &Threads,
    norm: &LayerNorm,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    affine: Option<(&[f32], &mut [f32], &mut [f32])>,
) -> Result<(), KernelError> {
    const NAME: &str = "layer norm gradient";
    let columns = norm.columns;
    let rows = norm.rows(x.len());
    norm.check(NAME, &[("x", x.len()), ("dy", dy.len()), ("dx", dx.len())], rows)?;
    if let Some((scale, dscale, dshift)) = &affine {
        let sizes = [("scale", scale.len()), ("dscale", dscale.len()), ("dshift", dshift.len())];
        norm.check(NAME, &sizes, 1)?;
    }
    let scale = affine.as_ref().map(|(scale, ..)| *scale);
    // Cut by the shape alone, for sums cross these cuts.
    let length = (CHUNK * columns).max(1);
    let chunks = x.len().div_ceil(length);
    let mut sums = threads.scratch(2 * columns * chunks);
    let inputs = x.chunks(length).zip(dy.chunks(length));
    let outputs = dx.chunks_mut(length).zip(sums.chunks_mut((2 * columns).max(1)));
    let parts = inputs.zip(outputs).collect();
    threads.for_each(parts, |((x, dy), (dx, sums))| {
        threads.level().run(Backward { norm: *norm, x, scale, dy, dx, sums });
    });
    if let Some((_, dscale, dshift)) = affine {
        let total = |column: usize| {
            sums.chunks((2 * columns).max(1))
                .filter_map(|s| s.get(column))
                .map(|v| f64::from(*v))
                .sum::<f64>()
        };
        for (column, (dscale, dshift)) in dscale.iter_mut().zip(dshift).enumerate() {
            *dscale = total(column) as f32;
            *dshift = total(columns + column) as f32;
        }
    }
    Ok(())
}

/// The mean of a row; the row less its mean goes to `centred`, and the inverse deviation is returned.
#[inline(always)]
fn centre<I: Instructions>(norm: LayerNorm, x: &[f32], centred: &mut [f32]) -> f32 {
    let share = 1.0 / norm.columns as f32;
    let mean = sum(x) * share;
    for (c, x) in centred.iter_mut().zip(x) {
        *c = x - mean;
    }
    1.0 / (dot::<I>(centred, centred) * share + norm.epsilon).sqrt()
}

struct Forward<'a> {
    norm: LayerNorm,
    x: &'a [f32],
    affine: Option<Affine<'a>>,
    y: &'a mut [f32],
}

impl Task for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let columns = self.norm.columns.max(1);
        for (y, x) in self.y.chunks_exact_mut(columns).zip(self.x.chunks_exact(columns)) {
            let inverse = centre::<I>(self.norm, x, y);
            match self.affine {
                Some((scale, shift)) => {
                    for ((y, scale), shift) in y.iter_mut().zip(scale).zip(shift) {
                        *y = I::mul_add(*y * inverse, *scale, *shift);
                    }
                }
                None => y.iter_mut().for_each(|y| *y *= inverse),
            }
        }
    }
}

/// One chunk of rows; `sums` are those of `dy h` and of `dy`, one after the other.
struct Backward<'a> {
    norm: LayerNorm,
    x: &'a [f32],
    scale: Option<&'a [f32]>,
    dy: &'a [f32],
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Task for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self) {
        let columns = self.norm.columns.max(1);
        self.sums.fill(0.0);
        let (products, totals) = self.sums.split_at_mut(columns);
        let share = 1.0 / columns as f32;
        let mut pulled = vec![0.0; columns];
        let rows = self.x.chunks_exact(columns).zip(self.dy.chunks_exact(columns));
        for (dx, (x, dy)) in self.dx.chunks_exact_mut(columns).zip(rows) {
            let inverse = centre::<I>(self.norm, x, dx);
            let gradient = match self.scale {
                Some(scale) => {
                    for ((((p, t), g), (h, dy)), scale) in products
                        .iter_mut()
                        .zip(totals.iter_mut())
                        .zip(&mut pulled)
                        .zip(dx.iter_mut().zip(dy))
                        .zip(scale)
                    {
                        *h *= inverse;
                        *p = I::mul_add(*dy, *h, *p);
                        *t += dy;
                        *g = dy * scale;
                    }
                    &pulled[..]
                }
                None => {
                    dx.iter_mut().for_each(|h| *h *= inverse);
                    dy
                }
            };
            let base = sum(gradient) * share;
            let tilt = dot::<I>(gradient, dx) * share;
            for (h, g) in dx.iter_mut().zip(gradient) {
                *h = inverse * I::mul_add(-tilt, *h, g - base);
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

    /// `y`, `dx`, `dscale`, `dshift` in float64.
    fn reference(norm: &LayerNorm, x: &[f32], (scale, shift): Affine<'_>, dy: &[f32]) -> [Vec<f64>; 4] {
        let n = norm.columns;
        let (mut y, mut dx, mut dscale, mut dshift) = (vec![], vec![], vec![0.0; n], vec![0.0; n]);
        for (x, dy) in x.chunks(n).zip(dy.chunks(n)) {
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n as f64;
            let inverse = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
            let h: Vec<f64> = x.iter().map(|x| (f64::from(*x) - mean) * inverse).collect();
            let g: Vec<f64> = dy.iter().zip(scale).map(|(d, s)| f64::from(*d) * f64::from(*s)).collect();
            let base = g.iter().sum::<f64>() / n as f64;
            let tilt = g.iter().zip(&h).map(|(g, h)| g * h).sum::<f64>() / n as f64;
            for i in 0..n {
                y.push(h[i] * f64::from(scale[i]) + f64::from(shift[i]));
                dx.push(inverse * (g[i] - base - h[i] * tilt));
                dscale[i] += f64::from(dy[i]) * h[i];
                dshift[i] += f64::from(dy[i]);
            }
        }
        [y, dx, dscale, dshift]
    }

    #[test]
    fn both_directions_match_the_definition_at_every_level_and_on_any_threads() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (rows, columns, plain) in [(3, 5, false), (9, 96, false), (300, 40, true), (300, 33, false)] {
            let norm = LayerNorm { columns, epsilon: 1e-3 };
            let x: Vec<f32> = random(&mut rng, rows * columns).iter().map(|x| 3.0 + x).collect();
            let dy = random(&mut rng, rows * columns);
            let (mut scale, mut shift) = (random(&mut rng, columns), random(&mut rng, columns));
            if plain {
                (scale, shift) = (vec![1.0; columns], vec![0.0; columns]);
            }
            let expected = reference(&norm, &x, (&scale, &shift), &dy);
            for level in levels() {
                let run = |count| {
                    let threads = Threads::with_level(count, level).unwrap();
                    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                    let (mut dscale, mut dshift) = (vec![0.0; columns], vec![0.0; columns]);
                    let affine = (!plain).then_some((scale.as_slice(), shift.as_slice()));
                    forward(&threads, &norm, &x, affine, &mut y).unwrap();
                    let gradients = (scale.as_slice(), dscale.as_mut_slice(), dshift.as_mut_slice());
                    backward(&threads, &norm, &x, &dy, &mut dx, (!plain).then_some(gradients)).unwrap();
                    [y, dx, dscale, dshift]
                };
                let one = run(1);
                assert!(one == run(2) && one == run(3), "threads differ");
                for (found, wanted) in one.iter().zip(&expected).take(if plain { 2 } else { 4 }) {
                    assert_close(found, wanted, &format!("{level:?} {rows} {columns}"));
                }
            }
        }
    }

    #[test]
    fn refuses_slices_of_another_length() {
        let threads = Threads::new(1).unwrap();
        let norm = LayerNorm { columns: 2, epsilon: 0.0 };
        assert!(forward(&threads, &norm, &[1.0; 3], None, &mut [0.0; 3]).is_err());
        assert!(forward(&threads, &norm, &[1.0; 4], Some((&[1.0], &[1.0; 2])), &mut [0.0; 4]).is_err());
        assert!(backward(&threads, &norm, &[1.0; 4], &[1.0; 2], &mut [0.0; 4], None).is_err());
    }
}

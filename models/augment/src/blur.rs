//! Gaussian blur of channels-first planes: separable, with a kernel of three deviations and the
//! edge pixels repeated outwards.

/// Half-width of the largest kernel: a blur of more than ten pixels leaves nothing to learn from.
const MAX_RADIUS: usize = 32;

/// Largest deviation, in pixels, whose kernel fits.
pub(crate) const MAX_SIGMA: f32 = 10.0;

/// Blurs every `[height, width]` plane of `values` in place with deviation `sigma` pixels.
pub(crate) fn gaussian(values: &mut [f32], width: usize, height: usize, sigma: f32) {
    if sigma <= 0.0 || values.is_empty() {
        return;
    }
    let kernel = kernel(sigma);
    let radius = kernel.len() / 2;
    let mut padded = vec![0.0f32; width + 2 * radius];
    let mut across = vec![0.0f32; width * height];
    for plane in values.chunks_exact_mut(width * height) {
        for (row, blurred) in plane.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            padded[..radius].fill(row[0]);
            padded[radius..][..width].copy_from_slice(row);
            padded[radius + width..].fill(row[width - 1]);
            blurred.fill(0.0);
            for (shift, weight) in kernel.iter().enumerate() {
                add_scaled(blurred, &padded[shift..][..width], *weight);
            }
        }
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            row.fill(0.0);
            for (shift, weight) in kernel.iter().enumerate() {
                let from = (y + shift).saturating_sub(radius).min(height - 1);
                add_scaled(row, &across[from * width..][..width], *weight);
            }
        }
    }
}

fn add_scaled(target: &mut [f32], source: &[f32], weight: f32) {
    for (t, s) in target.iter_mut().zip(source) {
        *t += weight * s;
    }
}

/// Odd, symmetric, sums to one.
fn kernel(sigma: f32) -> Vec<f32> {
    let radius = (libm::ceilf(3.0 * sigma) as usize).clamp(1, MAX_RADIUS);
    let weight = |i: usize| {
        let x = (i as f32 - radius as f32) / sigma;
        libm::expf(-0.5 * x * x)
    };
    let sum: f32 = (0..=2 * radius).map(weight).sum();
    (0..=2 * radius).map(|i| weight(i) / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_gaussian() {
        let (w, h, sigma) = (21usize, 17usize, 1.3f32);
        let mut image = vec![0.0; w * h];
        image[8 * w + 10] = 1.0;
        gaussian(&mut image, w, h, sigma);
        let weight = |d: f64| (-0.5 * (d / f64::from(sigma)).powi(2)).exp();
        let radius = (3.0 * sigma).ceil();
        let total: f64 = (-(radius as i32)..=radius as i32).map(|d| weight(f64::from(d))).sum();
        for y in 0..h {
            for x in 0..w {
                let (dx, dy) = (x as f64 - 10.0, y as f64 - 8.0);
                let inside = dx.abs() <= f64::from(radius) && dy.abs() <= f64::from(radius);
                let wanted = if inside { weight(dx) * weight(dy) / (total * total) } else { 0.0 };
                assert!((f64::from(image[y * w + x]) - wanted).abs() < 1e-6, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_flat_image_stays_flat_to_its_edges_whatever_the_kernel() {
        for sigma in [0.05, 0.7, MAX_SIGMA, 1e6] {
            let mut image = vec![0.25; 3 * 6 * 4];
            gaussian(&mut image, 6, 4, sigma);
            assert!(image.iter().all(|v| (v - 0.25).abs() < 1e-5), "{sigma}");
        }
    }
}

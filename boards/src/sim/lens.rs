//! The lens and what sticks to it: vignette, smudges and blur, fixed to the robot.

use rand::RngExt;

use super::random::{Purpose, generator};

/// Smudges on a dirty lens.
const SMUDGES: usize = 7;

/// Coarse cells along a side of the blurred copy that shows through dirt.
const BLUR: usize = 12;

/// Colour that dirt scatters into the sensor, as a share of the image's mean light.
const DIRT: [f32; 3] = [0.85, 0.78, 0.66];

/// Per-pixel optics of a square image.
#[derive(Debug)]
pub(super) struct Lens {
    side: usize,
    vignette: Vec<f32>,
    /// Opacity of the dirt, from 0 to 1; empty on a clean lens.
    dirt: Vec<f32>,
}

impl Lens {
    /// A lens for images of `side` pixels, dirty by `strength` with this robot's smudges.
    pub fn new(side: usize, robot_seed: u64, strength: f32) -> Self {
        let place =
            |i: usize| (((i % side) as f32 + 0.5) / side as f32, ((i / side) as f32 + 0.5) / side as f32);
        let vignette = (0..side * side).map(|i| {
            let (x, y) = place(i);
            let from_axis = (x - 0.5) * (x - 0.5) + (y - 0.5) * (y - 0.5);
            // Natural falloff of the fourth power of the cosine, for this field of view.
            let cosine = 1.0 / (1.0 + 0.9 * from_axis);
            cosine * cosine
        });
        let vignette = vignette.collect();
        let mut rng = generator(robot_seed, Purpose::Lens);
        let smudges: Vec<[f32; 5]> = (0..SMUDGES)
            .map(|_| {
                let (x, y) = (rng.random_range(0.0..1.0), rng.random_range(0.0..1.0));
                let (wide, tall) = (rng.random_range(0.06..0.18), rng.random_range(0.05..0.16));
                [x, y, wide, tall, rng.random_range(0.55..0.95)]
            })
            .collect();
        let opacity = |i: usize| {
            let (px, py) = place(i);
            let clear: f32 = smudges
                .iter()
                .map(|&[x, y, wide, tall, opacity]| {
                    let (dx, dy) = ((px - x) / wide, (py - y) / tall);
                    1.0 - strength * opacity / (1.0 + (dx * dx + dy * dy) * (dx * dx + dy * dy))
                })
                .product();
            1.0 - clear
        };
        let dirt = if strength > 0.0 { (0..side * side).map(opacity).collect() } else { Vec::new() };
        Self { side, vignette, dirt }
    }

    /// Passes an image (linear light, row by row) through the lens.
    pub fn pass(&self, image: &mut [[f32; 3]]) {
        if !self.dirt.is_empty() {
            let (blurred, mean) = self.blur(image);
            for (i, (pixel, &dirt)) in image.iter_mut().zip(&self.dirt).enumerate() {
                let soft = self.soft(&blurred, i);
                for (c, channel) in pixel.iter_mut().enumerate() {
                    // Half of what dirt stops arrives unfocused, half is stray light.
                    let veil = 0.5 * soft[c] + 0.5 * mean * DIRT[c];
                    *channel += (veil - *channel) * dirt;
                }
            }
        }
        for (pixel, &kept) in image.iter_mut().zip(&self.vignette) {
            *pixel = pixel.map(|channel| channel * kept);
        }
    }

    /// Means over coarse cells, and the mean of all.
    fn blur(&self, image: &[[f32; 3]]) -> ([[f32; 3]; BLUR * BLUR], f32) {
        let mut sums = [[0.0f32; 3]; BLUR * BLUR];
        let mut counts = [0.0f32; BLUR * BLUR];
        for (i, pixel) in image.iter().enumerate() {
            let coarse = |at: usize| at * BLUR / self.side;
            let cell = coarse(i / self.side) * BLUR + coarse(i % self.side);
            if let (Some(sum), Some(count)) = (sums.get_mut(cell), counts.get_mut(cell)) {
                sum.iter_mut().zip(pixel).for_each(|(s, p)| *s += p);
                *count += 1.0;
            }
        }
        let total: f32 = sums.iter().flatten().sum();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum = sum.map(|s| s / count.max(1.0));
        }
        (sums, total / (3 * image.len().max(1)) as f32)
    }

    /// The blurred copy at a pixel, interpolated between coarse cells.
    fn soft(&self, blurred: &[[f32; 3]; BLUR * BLUR], pixel: usize) -> [f32; 3] {
        let split = |at: usize| {
            let coarse =
                ((at as f32 + 0.5) * BLUR as f32 / self.side as f32 - 0.5).clamp(0.0, (BLUR - 1) as f32);
            let cell = (coarse as usize).min(BLUR - 2);
            (cell, coarse - cell as f32)
        };
        let ((x, fx), (y, fy)) = (split(pixel % self.side), split(pixel / self.side));
        let at = |x: usize, y: usize| blurred.get(y * BLUR + x).copied().unwrap_or_default();
        let (a, b, c, d) = (at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1));
        [0, 1, 2].map(|k: usize| {
            let (top, bottom) = (a[k] + (b[k] - a[k]) * fx, c[k] + (d[k] - c[k]) * fx);
            top + (bottom - top) * fy
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<[f32; 3]> {
        (0..64 * 64).map(|i| if (i / 4 + i / 256) % 2 == 0 { [0.1; 3] } else { [0.9; 3] }).collect()
    }

    #[test]
    fn a_clean_lens_darkens_corners_only() {
        let mut image = vec![[1.0; 3]; 64 * 64];
        Lens::new(64, 1, 0.0).pass(&mut image);
        assert!(image[32 * 64 + 32][0] > 0.99 && image[0][0] < 0.6);
    }

    #[test]
    fn dirt_takes_contrast_where_it_sits_and_belongs_to_the_robot() {
        let contrast = |robot, strength| {
            let mut image = checks();
            Lens::new(64, robot, strength).pass(&mut image);
            let mut clean = checks();
            Lens::new(64, robot, 0.0).pass(&mut clean);
            let changed = image.iter().zip(&clean).filter(|(a, b)| (a[0] - b[0]).abs() > 0.1).count();
            (changed, image)
        };
        let (none, _) = contrast(1, 0.0);
        let (some, first) = contrast(1, 1.0);
        assert_eq!(none, 0);
        assert!((400..4000).contains(&some), "{some} pixels changed");
        assert_ne!(first, contrast(2, 1.0).1);
        assert_eq!(first, contrast(1, 1.0).1);
    }
}

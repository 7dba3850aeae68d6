//! Cuts a box out of an 8-bit RGB image and resizes it in one pass.
//!
//! The filter is the triangle: bilinear interpolation when the box grows, and a weighted average
//! over the covered area when it shrinks, its width following the scale, so that fine texture is
//! averaged rather than aliased. This is the convention of Pillow's `BILINEAR` and of torchvision
//! with `antialias=True`, pixel centres at half coordinates. Separable; source rows are resampled
//! one at a time and added where they belong, so the memory used is one row and two tables.

use crate::image::{ImageSource, Size};

/// A box in source pixels, `x` to the right and `y` down, within the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Region {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// The source positions and weights of every output position along one axis.
struct Taps {
    /// For each output position: first source position, and where its weights begin.
    positions: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Taps {
    /// Weights that bring `from .. from + extent` of `source` positions to `out` positions; each
    /// output's weights sum to `gain`.
    fn new(source: usize, from: f64, extent: f64, out: usize, gain: f64) -> Self {
        let step = extent / out as f64;
        let support = step.max(1.0);
        let mut positions = Vec::with_capacity(out + 1);
        let mut weights = Vec::with_capacity(out * (2 * support as usize + 2));
        for i in 0..out {
            let centre = from + (i as f64 + 0.5) * step;
            let first = (centre - support - 0.5).ceil().max(0.0) as usize;
            let first = first.min(source - 1);
            let last = (centre + support - 0.5).floor().max(0.0) as usize;
            let last = last.clamp(first, source - 1);
            positions.push((first, weights.len()));
            let weight = |p: usize| (1.0 - ((p as f64 + 0.5 - centre) / support).abs()).max(0.0);
            let sum: f64 = (first..=last).map(weight).sum();
            // A pixel centre lies within half a pixel of any point of the image, so the sum is
            // positive but for rounding at the very edge, where the edge pixel stands alone.
            let scale = if sum > 0.0 { gain / sum } else { gain };
            weights.extend((first..=last).map(|p| if sum > 0.0 { weight(p) * scale } else { scale } as f32));
        }
        positions.push((source, weights.len()));
        Self { positions, weights }
    }

    /// First source position and weights of output position `i`.
    fn of(&self, i: usize) -> (usize, &[f32]) {
        let (first, begin) = self.positions[i];
        (first, &self.weights[begin..self.positions[i + 1].1])
    }
}

/// Fills `out` (`[3, height, width]`, 0..1) with `region` of `source`, mirrored when `flip`.
///
/// The caller has checked that `out` holds `size` and that both sizes are at least one.
pub(crate) fn resample(source: &ImageSource<'_>, region: Region, flip: bool, size: Size, out: &mut [f32]) {
    let Size { width, height } = size;
    let columns = Taps::new(source.width(), region.x, region.width, width, 1.0 / 255.0);
    let rows = Taps::new(source.height(), region.y, region.height, height, 1.0);
    let mut line = vec![0.0f32; 3 * width];
    out.fill(0.0);

    // Output rows `begin..end` are those that the source row at hand contributes to; both ends
    // only move down, as the rows' supports do.
    let (first, _) = rows.of(0);
    let (mut begin, mut end) = (0, 0);
    for y in first..source.height() {
        while begin < height
            && y >= {
                let (f, w) = rows.of(begin);
                f + w.len()
            }
        {
            begin += 1;
        }
        if begin == height {
            break;
        }
        while end < height && rows.of(end).0 <= y {
            end += 1;
        }
        squeeze_row(source.row(y), &columns, flip, &mut line);
        for target in begin..end {
            let (first, weights) = rows.of(target);
            let Some(&weight) = weights.get(y - first) else { continue };
            for (plane, line) in out.chunks_exact_mut(width * height).zip(line.chunks_exact(width)) {
                for (o, l) in plane[target * width..][..width].iter_mut().zip(line) {
                    *o += weight * l;
                }
            }
        }
    }
}

/// Resamples one interleaved source row into three rows of `line`, one a channel.
fn squeeze_row(row: &[u8], columns: &Taps, flip: bool, line: &mut [f32]) {
    let width = line.len() / 3;
    let (pixels, _) = row.as_chunks::<3>();
    let (red, rest) = line.split_at_mut(width);
    let (green, blue) = rest.split_at_mut(width);
    for i in 0..width {
        let (first, weights) = columns.of(i);
        let (mut r, mut g, mut b) = (0.0f32, 0.0f32, 0.0f32);
        for (pixel, weight) in pixels[first..].iter().zip(weights) {
            r += weight * f32::from(pixel[0]);
            g += weight * f32::from(pixel[1]);
            b += weight * f32::from(pixel[2]);
        }
        let at = if flip { width - 1 - i } else { i };
        (red[at], green[at], blue[at]) = (r, g, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};

    /// The definition, in double precision and two dimensions at once.
    fn naive(source: &ImageSource<'_>, region: Region, flip: bool, size: Size) -> Vec<f64> {
        let (sx, sy) = (region.width / size.width as f64, region.height / size.height as f64);
        let triangle = |x: f64| (1.0 - x.abs()).max(0.0);
        let mut out = Vec::new();
        for c in 0..3 {
            for y in 0..size.height {
                for x in 0..size.width {
                    let x = if flip { size.width - 1 - x } else { x };
                    let (cx, cy) = (region.x + (x as f64 + 0.5) * sx, region.y + (y as f64 + 0.5) * sy);
                    let (mut sum, mut total) = (0.0, 0.0);
                    for v in 0..source.height() {
                        for u in 0..source.width() {
                            let w = triangle((u as f64 + 0.5 - cx) / sx.max(1.0))
                                * triangle((v as f64 + 0.5 - cy) / sy.max(1.0));
                            sum += w * f64::from(source.row(v)[3 * u + c]) / 255.0;
                            total += w;
                        }
                    }
                    out.push(sum / total);
                }
            }
        }
        out
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_definition(
            (w, h) in (1usize..24, 1usize..24),
            (ow, oh) in (1usize..20, 1usize..20),
            (fx, fy, fw, fh) in (0.0f64..1.0, 0.0f64..1.0, 0.05f64..1.0, 0.05f64..1.0),
            flip: bool,
        ) {
            let rgb = noise(7, w * h * 3);
            let source = ImageSource::new(&rgb, w, h).unwrap();
            let (width, height) = (fw * w as f64, fh * h as f64);
            let region = Region { x: fx * (w as f64 - width), y: fy * (h as f64 - height), width, height };
            let size = Size { width: ow, height: oh };
            let mut out = vec![9.0; 3 * ow * oh];
            resample(&source, region, flip, size, &mut out);
            for (i, (got, wanted)) in out.iter().zip(naive(&source, region, flip, size)).enumerate() {
                prop_assert!((f64::from(*got) - wanted).abs() < 2e-5, "at {i}: {got} {wanted}");
            }
        }
    }

    #[test]
    fn the_whole_image_at_its_own_size_is_itself() {
        let rgb = noise(3, 8 * 5 * 3);
        let source = ImageSource::new(&rgb, 8, 5).unwrap();
        let mut out = vec![0.0; rgb.len()];
        let region = Region { x: 0.0, y: 0.0, width: 8.0, height: 5.0 };
        resample(&source, region, false, Size { width: 8, height: 5 }, &mut out);
        for (i, value) in out.iter().enumerate() {
            let (c, pixel) = (i / 40, i % 40);
            assert!((value - f32::from(rgb[3 * pixel + c]) / 255.0).abs() < 1e-6);
        }
    }
}

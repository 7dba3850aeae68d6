//! Brightness, contrast, saturation, hue and grey on RGB planes, as torchvision's `ColorJitter`
//! defines them: blends with black, with the mean grey, with each pixel's grey, and a turn of the
//! HSV hue, each clamped to 0..1 and applied in the order drawn. Loops hold no branches, so that
//! the compiler makes vectors of them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::random::uniform;

/// Weights of red, green and blue in grey (ITU-R BT.601).
const GREY: [f32; 3] = [0.299, 0.587, 0.114];

/// One colour operation with its drawn strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ColourOp {
    /// Multiplies by the factor.
    Brightness(f32),
    /// Blends with the image's mean grey; 1 leaves it.
    Contrast(f32),
    /// Blends with each pixel's grey; 1 leaves it, 0 is grey.
    Saturation(f32),
    /// Turns the hue by a fraction of the circle, -0.5 to 0.5.
    Hue(f32),
}

/// Draws the four operations within the given strengths, in random order.
pub(crate) fn draw(rng: &mut ChaCha8Rng, [brightness, contrast, saturation, hue]: [f32; 4]) -> [ColourOp; 4] {
    let mut factor = |strength: f32| uniform(rng, (1.0 - strength).max(0.0), 1.0 + strength);
    let mut ops = [
        ColourOp::Brightness(factor(brightness)),
        ColourOp::Contrast(factor(contrast)),
        ColourOp::Saturation(factor(saturation)),
        ColourOp::Hue(uniform(rng, -hue, hue)),
    ];
    for last in (1..ops.len()).rev() {
        ops.swap(last, rng.random_range(0..=last));
    }
    ops
}

/// Applies one operation to `[3, ...]` values in 0..1.
pub(crate) fn apply(values: &mut [f32], op: ColourOp) {
    match op {
        ColourOp::Brightness(factor) => blend(values, factor, 0.0),
        ColourOp::Contrast(factor) => {
            let mean = mean_grey(values);
            blend(values, factor, (1.0 - factor) * mean);
        }
        ColourOp::Saturation(factor) => saturate(values, factor),
        ColourOp::Hue(turn) => turn_hue(values, turn),
    }
}

/// Replaces every pixel by its grey.
pub(crate) fn to_grey(values: &mut [f32]) {
    saturate(values, 0.0);
}

fn blend(values: &mut [f32], factor: f32, offset: f32) {
    for value in values {
        *value = (*value * factor + offset).clamp(0.0, 1.0);
    }
}

fn mean_grey(values: &[f32]) -> f32 {
    let plane = values.len() / 3;
    if plane == 0 {
        return 0.0;
    }
    // Partial sums, because one running f32 sum over a large image loses its last digits.
    let sum = |plane: &[f32]| plane.chunks(256).map(|part| f64::from(part.iter().sum::<f32>())).sum::<f64>();
    let grey: f64 =
        values.chunks_exact(plane).zip(GREY).map(|(plane, weight)| f64::from(weight) * sum(plane)).sum();
    (grey / plane as f64) as f32
}

fn saturate(values: &mut [f32], factor: f32) {
    for_pixels(values, |[r, g, b]| {
        let grey = (1.0 - factor) * (GREY[0] * r + GREY[1] * g + GREY[2] * b);
        [r, g, b].map(|v| (factor * v + grey).clamp(0.0, 1.0))
    });
}

/// HSV without its branches: hue in sixths of the circle, and each channel as `value - chroma *
/// ramp(hue + offset)` with a trapezoid for a ramp (Smith, 1978, in closed form).
fn turn_hue(values: &mut [f32], turn: f32) {
    let sixths = turn * 6.0;
    let sixths = if sixths < 0.0 { sixths + 6.0 } else { sixths };
    for_pixels(values, |[r, g, b]| {
        let max = r.max(g).max(b);
        let chroma = max - r.min(g).min(b);
        let scale = if chroma > 0.0 { 1.0 / chroma } else { 0.0 };
        let from_green_or_blue = if max == g { 2.0 + (b - r) * scale } else { 4.0 + (r - g) * scale };
        let hue = if max == r { (g - b) * scale } else { from_green_or_blue } + sixths;
        let hue = if hue < 0.0 { hue + 6.0 } else { hue };
        let hue = if hue >= 6.0 { hue - 6.0 } else { hue };
        [5.0, 3.0, 1.0].map(|offset| {
            let k = hue + offset;
            let k = if k >= 6.0 { k - 6.0 } else { k };
            (max - chroma * k.min(4.0 - k).clamp(0.0, 1.0)).clamp(0.0, 1.0)
        })
    });
}

fn for_pixels(values: &mut [f32], change: impl Fn([f32; 3]) -> [f32; 3]) {
    let plane = values.len() / 3;
    let (red, rest) = values.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        [*r, *g, *b] = change([*r, *g, *b]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    /// Rows of `operation, strength, r, g, b, wanted r, g, b` made by `goldens/colour.py`, whose
    /// hue is Python's own `colorsys`.
    const GOLDENS: &str = include_str!("../goldens/colour.csv");

    #[test]
    fn agrees_with_colorsys() {
        let mut rows = 0;
        for line in GOLDENS.lines().skip(1) {
            let (name, numbers) = line.split_once(',').unwrap();
            let n: Vec<f32> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
            let op = match name {
                "brightness" => ColourOp::Brightness(n[0]),
                "contrast" => ColourOp::Contrast(n[0]),
                "saturation" => ColourOp::Saturation(n[0]),
                "hue" => ColourOp::Hue(n[0]),
                other => panic!("unknown operation {other}"),
            };
            let mut pixel = [n[1], n[2], n[3]];
            apply(&mut pixel, op);
            for (got, wanted) in pixel.iter().zip(&n[4..]) {
                assert!((got - wanted).abs() < 3e-6, "{line}: {pixel:?}");
            }
            rows += 1;
        }
        assert!(rows > 100, "{rows}");
    }

    #[test]
    fn contrast_moves_away_from_the_grey_of_the_whole_image() {
        // Two pixels, black and white: mean grey one half.
        let mut values = [0.25, 0.75, 0.25, 0.75, 0.25, 0.75];
        apply(&mut values, ColourOp::Contrast(0.5));
        for (got, wanted) in values.iter().zip([0.375, 0.625].iter().cycle()) {
            assert!((got - wanted).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn every_order_and_the_whole_range_is_drawn() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut first = [0; 4];
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for _ in 0..4000 {
            let ops = draw(&mut rng, [0.4, 0.3, 0.2, 0.1]);
            for (place, op) in ops.iter().enumerate() {
                let which = match op {
                    ColourOp::Brightness(f) => {
                        (low, high) = (low.min(*f), high.max(*f));
                        0
                    }
                    ColourOp::Contrast(f) => {
                        assert!((0.7..=1.3).contains(f));
                        1
                    }
                    ColourOp::Saturation(f) => {
                        assert!((0.8..=1.2).contains(f));
                        2
                    }
                    ColourOp::Hue(f) => {
                        assert!((-0.1..=0.1).contains(f));
                        3
                    }
                };
                first[which] += usize::from(place == 0);
            }
        }
        assert!(first.iter().all(|n| (850..1150).contains(n)), "{first:?}");
        assert!((0.6..0.61).contains(&low) && (1.39..=1.4).contains(&high), "{low} {high}");
    }

    #[test]
    fn grey_has_three_equal_channels() {
        let mut pixel = [0.9, 0.2, 0.4];
        to_grey(&mut pixel);
        assert!((pixel[0] - (0.299 * 0.9 + 0.587 * 0.2 + 0.114 * 0.4)).abs() < 1e-6);
        assert_eq!(pixel, [pixel[0]; 3]);
    }
}

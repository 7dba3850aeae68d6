//! Textures: squares of texels that repeat, with coarser copies for looking from afar.
//!
//! Procedures are too slow to run for every pixel of every frame, so they are baked once when the
//! building is made. The coarser copies (a mipmap, Williams 1983) keep distant bricks from turning
//! into noise that no real camera would see.

/// Red, green, blue and coverage, in display (gamma) space.
pub(super) type Texel = [u8; 4];

#[derive(Clone, Debug)]
pub(super) struct Texture {
    log2_side: u32,
    levels: Vec<Vec<Texel>>,
}

impl Texture {
    /// Bakes `2^log2_side` texels a side from `paint(u, v)`, which gives RGBA from 0 to 1; `u` runs
    /// right and `v` down, both in [0, 1).
    pub fn bake(log2_side: u32, paint: impl Fn(f32, f32) -> [f32; 4]) -> Self {
        let side = 1usize << log2_side;
        let step = 1.0 / side as f32;
        let mut finest = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                let rgba = paint((x as f32 + 0.5) * step, (y as f32 + 0.5) * step);
                finest.push(rgba.map(|channel| (channel * 255.0 + 0.5) as u8));
            }
        }
        let mut levels = vec![finest];
        for level in 0..log2_side {
            let half = levels.last().map(|finer| halve(finer, side >> level)).unwrap_or_default();
            levels.push(half);
        }
        Self { log2_side, levels }
    }

    /// The texel at `u`, `v` (any numbers; the texture repeats) in the copy whose texels are
    /// nearest in size to `footprint`, the length in texture units that one pixel covers.
    #[inline]
    pub fn sample(&self, u: f32, v: f32, footprint: f32) -> Texel {
        let texels = footprint * (1u32 << self.log2_side) as f32;
        // The exponent of a float is the floor of its logarithm; half a level up rounds it.
        let exponent = ((texels * 1.414).to_bits() >> 23) as i32 - 127;
        let level = exponent.clamp(0, self.log2_side as i32) as u32;
        self.texel(u, v, level)
    }

    #[inline]
    fn texel(&self, u: f32, v: f32, level: u32) -> Texel {
        let bits = self.log2_side - level;
        let (side, mask) = ((1u32 << bits) as f32, (1i32 << bits) - 1);
        let x = (floor(u * side) & mask) as usize;
        let y = (floor(v * side) & mask) as usize;
        let texel = self.levels.get(level as usize).and_then(|texels| texels.get((y << bits) | x));
        texel.copied().unwrap_or_default()
    }

    /// Mean of the colours, each from 0 to 1.
    pub fn mean(&self) -> [f32; 3] {
        let [r, g, b, _] = self.texel(0.0, 0.0, self.log2_side);
        [r, g, b].map(|channel| f32::from(channel) / 255.0)
    }
}

/// Floor to an integer; `f32::floor` is a library call without SSE4.1, this is two instructions.
#[inline]
pub(super) fn floor(value: f32) -> i32 {
    let truncated = value as i32;
    truncated.wrapping_sub(i32::from(value < truncated as f32))
}

fn halve(finer: &[Texel], side: usize) -> Vec<Texel> {
    let half = side / 2;
    let at = |x: usize, y: usize| finer.get(y * side + x).copied().unwrap_or_default();
    let mut coarser = Vec::with_capacity(half * half);
    for y in 0..half {
        for x in 0..half {
            let four =
                [at(2 * x, 2 * y), at(2 * x + 1, 2 * y), at(2 * x, 2 * y + 1), at(2 * x + 1, 2 * y + 1)];
            coarser.push(average(four));
        }
    }
    coarser
}

/// Mean colour weighted by coverage, so that the void around an object does not darken its edge.
fn average(four: [Texel; 4]) -> Texel {
    let cover: u32 = four.iter().map(|t| u32::from(t[3])).sum();
    let channel = |c: usize| {
        let weighted: u32 = four.iter().map(|t| u32::from(t[c]) * u32::from(t[3])).sum();
        ((weighted + cover / 2) / cover.max(1)) as u8
    };
    [channel(0), channel(1), channel(2), (cover / 4) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_sharp_far_is_the_mean() {
        // Left half black, right half white.
        let texture = Texture::bake(4, |u, _| {
            let c = if u < 0.5 { 0.0 } else { 1.0 };
            [c, c, c, 1.0]
        });
        assert_eq!(texture.sample(0.25, 0.3, 0.01)[0], 0);
        assert_eq!(texture.sample(0.75, 0.3, 0.01)[0], 255);
        let far = texture.sample(0.25, 0.3, 1.0)[0];
        assert!((126..=129).contains(&far), "{far}");
        assert!((texture.mean()[0] - 0.5).abs() < 0.01);
    }

    #[test]
    fn it_repeats_in_both_directions() {
        let texture = Texture::bake(5, |u, v| [u, v, u * v, 1.0]);
        for (u, v) in [(0.1, 0.9), (0.5, 0.26), (0.99, 0.01)] {
            assert_eq!(texture.sample(u, v, 0.0), texture.sample(u - 3.0, v + 2.0, 0.0));
        }
    }

    #[test]
    fn odd_numbers_do_not_panic() {
        let texture = Texture::bake(3, |_, _| [0.5; 4]);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            assert_eq!(texture.sample(value, -value, value), [128; 4]);
        }
    }

    #[test]
    fn floor_is_floor() {
        for value in [-2.5f32, -2.0, -0.1, 0.0, 0.9, 3.0, 1e6] {
            assert_eq!(floor(value), libm::floorf(value) as i32);
        }
    }

    #[test]
    fn voids_do_not_bleed_into_coarser_copies() {
        let texture = Texture::bake(3, |u, _| if u < 0.5 { [1.0, 0.0, 0.0, 1.0] } else { [0.0; 4] });
        let [red, green, _, cover] = texture.sample(0.0, 0.0, 1.0);
        assert_eq!((red, green), (255, 0));
        assert!((126..=128).contains(&cover));
    }
}

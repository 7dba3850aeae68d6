//! What walls, floors, decor and objects look like: small procedures from a point to a tone.
//!
//! A surface pattern answers with a brightness and a blend between two colours. Baking scales the
//! result so that its mean is exactly the wanted base colour: rooms that share a base colour then
//! differ in structure alone, and no encoder can tell them apart by their average.

use super::random::{hash, hash_unit};
use super::texture::Texture;

/// Brightness, and how much of the second colour (0 to 1).
type Tone = (f32, f32);

/// Structure of a wall or ceiling. The number with a kind is how many repeats a texture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Plaster,
    Brick(i32),
    Blocks(i32),
    Uprights(i32),
    Bands(i32),
    Panels(i32),
    Checks(i32),
    Stones(i32),
    Dots(i32),
    Zigzag(i32),
}

/// Structure of a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Tiles(i32),
    Pile,
    Boards(i32),
    Pebbles(i32),
}

const SURFACE_LOG2: u32 = 7;

/// How far from the mean the tones of a pattern may go.
const CONTRAST: f32 = 0.75;

/// Share of a wall's height, from the top, above its dado.
const DADO: f32 = 0.62;

/// A ceiling or pillar of mean colour `base`, parts of it leaning to `second`.
pub(super) fn surface(pattern: Pattern, seed: u32, base: [f32; 3], second: [f32; 3]) -> Texture {
    level(base, second, |u, v| wall_tone(pattern, u, v, seed))
}

/// A wall of mean colour `base`, its dado brighter or darker by `low` and the rest by `high`.
pub(super) fn wall(
    pattern: Pattern,
    seed: u32,
    base: [f32; 3],
    second: [f32; 3],
    (low, high): (f32, f32),
) -> Texture {
    level(base, second, |u, v| {
        let (brightness, blend) = wall_tone(pattern, u, v, seed);
        match v - DADO {
            below if below > 0.025 => (brightness * low, blend),
            // A rail where the two meet.
            below if below > 0.0 => (0.5, 0.0),
            _ => (brightness * high, blend),
        }
    })
}

/// A floor of mean colour `base`.
pub(super) fn ground(ground: Ground, seed: u32, base: [f32; 3], second: [f32; 3]) -> Texture {
    level(base, second, |u, v| ground_tone(ground, u, v, seed))
}

/// Bakes twice: the first mean tells how to scale the second to `base`.
fn level(base: [f32; 3], second: [f32; 3], tone: impl Fn(f32, f32) -> Tone) -> Texture {
    let paint = |scale: [f32; 3]| {
        Texture::bake(SURFACE_LOG2, |u, v| {
            let (brightness, blend) = tone(u, v);
            let (brightness, blend) = (1.0 + CONTRAST * (brightness - 1.0), CONTRAST * blend);
            let mix = |c: usize| (base[c] + (second[c] - base[c]) * blend) * brightness * scale[c];
            [mix(0), mix(1), mix(2), 1.0]
        })
    };
    let first = paint([0.8; 3]).mean();
    let scale = [0, 1, 2].map(|c: usize| (0.8 * base[c] / first[c].max(0.05)).clamp(0.3, 3.0));
    paint(scale)
}

fn wall_tone(pattern: Pattern, u: f32, v: f32, seed: u32) -> Tone {
    let grain = 0.9 + 0.2 * clouds(u, v, 8, seed);
    let (brightness, blend) = match pattern {
        Pattern::Plaster => (0.6 + 0.8 * clouds(u, v, 3, seed ^ 1), 0.6 * clouds(u, v, 2, seed ^ 2)),
        Pattern::Brick(rows) => bricks(u, v, rows, rows / 2, seed, 0.09),
        Pattern::Blocks(rows) => bricks(u, v, rows, rows, seed, 0.05),
        Pattern::Uprights(count) => stripe(u, count, seed),
        Pattern::Bands(count) => stripe(v, count, seed),
        Pattern::Panels(count) => panels(u, v, count),
        Pattern::Checks(count) => {
            let odd = (cell(u, count) + cell(v, count)) & 1;
            if odd == 1 { (0.75, 1.0) } else { (1.2, 0.0) }
        }
        Pattern::Stones(count) => {
            let (edge, id) = stones(u, v, count, seed);
            if edge < 0.12 { (0.55, 0.0) } else { (0.8 + 0.5 * unit(id), unit(id >> 8)) }
        }
        Pattern::Dots(count) => {
            let shift = if cell(v, count) & 1 == 1 { 0.5 / count as f32 } else { 0.0 };
            let (x, y) = (within(u + shift, count) - 0.5, within(v, count) - 0.5);
            if x * x + y * y < 0.07 { (0.7, 1.0) } else { (1.1, 0.0) }
        }
        Pattern::Zigzag(count) => {
            let fold = (within(u, count) - 0.5).abs() / count as f32;
            stripe(v + fold, count, seed)
        }
    };
    (brightness * grain, blend)
}

fn ground_tone(ground: Ground, u: f32, v: f32, seed: u32) -> Tone {
    match ground {
        Ground::Tiles(count) => {
            let (x, y) = (within(u, count), within(v, count));
            let grout = x.min(y) < 0.07;
            let own = hash_unit(cell(u, count), cell(v, count), seed);
            let odd = ((cell(u, count) + cell(v, count)) & 1) as f32;
            if grout { (0.55, 0.0) } else { (0.9 + 0.2 * own, 0.7 * odd) }
        }
        Ground::Pile => (0.7 + 0.6 * clouds(u, v, 16, seed), 0.8 * clouds(u, v, 4, seed ^ 3)),
        Ground::Boards(count) => {
            let board = cell(u, count);
            let seam = within(u, count) < 0.06;
            let end = (v + hash_unit(board, 0, seed)).rem_euclid(1.0) < 0.015;
            let grain = value_noise(u * 4.0, v, 16, seed ^ (board as u32).wrapping_mul(77));
            let own = hash_unit(board, 9, seed);
            if seam || end { (0.5, 0.0) } else { (0.75 + 0.3 * own + 0.2 * grain, own) }
        }
        Ground::Pebbles(count) => {
            let (edge, id) = stones(u, v, count, seed);
            (0.5 + 0.7 * unit(id) + 0.5 * edge.min(0.4), unit(id >> 8))
        }
    }
}

fn bricks(u: f32, v: f32, rows: i32, columns: i32, seed: u32, mortar: f32) -> Tone {
    let columns = columns.max(1);
    let row = cell(v, rows);
    let shifted = u + if row & 1 == 1 { 0.5 / columns as f32 } else { 0.0 };
    let (x, y) = (within(shifted, columns), within(v, rows));
    if x < mortar * columns as f32 / rows as f32 || y < mortar * 1.6 {
        return (1.45, 0.0);
    }
    let own = hash(cell(shifted, columns), row, seed);
    (0.7 + 0.45 * unit(own), unit(own >> 8))
}

fn stripe(along: f32, count: i32, seed: u32) -> Tone {
    let width = 0.3 + 0.4 * hash_unit(3, 5, seed);
    if within(along, count) < width { (0.72, 1.0) } else { (1.2, 0.0) }
}

/// Raised panels: light from above left catches two edges and leaves two in shadow.
fn panels(u: f32, v: f32, count: i32) -> Tone {
    let (x, y) = (within(u, count), within(v, count));
    let bevel = 0.1;
    if x < bevel || y < bevel {
        (1.45, 0.0)
    } else if x > 1.0 - bevel || y > 1.0 - bevel {
        (0.5, 0.0)
    } else {
        (0.95, 0.35)
    }
}

/// Distance to the border between the nearest two feature points, and the nearest one's hash
/// (Worley, *A cellular texture basis function*, 1996).
fn stones(u: f32, v: f32, count: i32, seed: u32) -> (f32, u32) {
    let (x, y) = (u * count as f32, v * count as f32);
    let (cx, cy) = (cell(u, count), cell(v, count));
    let (mut nearest, mut second, mut id) = (9.0f32, 9.0f32, 0);
    for dy in -1..=1 {
        for dx in -1..=1 {
            let own = hash((cx + dx).rem_euclid(count), (cy + dy).rem_euclid(count), seed);
            let px = (cx + dx) as f32 + 0.15 + 0.7 * unit(own) - x;
            let py = (cy + dy) as f32 + 0.15 + 0.7 * unit(own >> 8) - y;
            let distance = libm::sqrtf(px * px + py * py);
            if distance < nearest {
                (second, nearest, id) = (nearest, distance, own);
            } else {
                second = second.min(distance);
            }
        }
    }
    (second - nearest, hash(id as i32, 1, seed))
}

/// Three octaves of [`value_noise`], about 0 to 1.
pub(super) fn clouds(u: f32, v: f32, period: i32, seed: u32) -> f32 {
    0.5 * value_noise(u, v, period, seed)
        + 0.3 * value_noise(u, v, 2 * period, seed ^ 0x51)
        + 0.2 * value_noise(u, v, 4 * period, seed ^ 0xA7)
}

/// Random values on a lattice of `period` points a side, smoothly joined; repeats.
fn value_noise(u: f32, v: f32, period: i32, seed: u32) -> f32 {
    let (cx, cy) = (cell(u, period), cell(v, period));
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (smooth(within(u, period)), smooth(within(v, period)));
    let at = |x: i32, y: i32| hash_unit(x.rem_euclid(period), y.rem_euclid(period), seed);
    let top = at(cx, cy) + (at(cx + 1, cy) - at(cx, cy)) * fx;
    let bottom = at(cx, cy + 1) + (at(cx + 1, cy + 1) - at(cx, cy + 1)) * fx;
    top + (bottom - top) * fy
}

fn cell(along: f32, count: i32) -> i32 {
    libm::floorf(along * count as f32) as i32
}

fn within(along: f32, count: i32) -> f32 {
    let scaled = along * count as f32;
    scaled - libm::floorf(scaled)
}

/// The low byte of a hash as a number from 0 to 1.
pub(super) fn unit(bits: u32) -> f32 {
    (bits & 0xFF) as f32 / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALLS: [Pattern; 10] = [
        Pattern::Plaster,
        Pattern::Brick(8),
        Pattern::Blocks(4),
        Pattern::Uprights(6),
        Pattern::Bands(5),
        Pattern::Panels(3),
        Pattern::Checks(4),
        Pattern::Stones(5),
        Pattern::Dots(4),
        Pattern::Zigzag(4),
    ];

    #[test]
    fn every_wall_has_the_base_colour_on_average() {
        let (base, second) = ([0.5, 0.45, 0.4], [0.3, 0.4, 0.6]);
        for pattern in WALLS {
            let mean = surface(pattern, 7, base, second).mean();
            for (m, b) in mean.iter().zip(base) {
                assert!((m - b).abs() < 0.03, "{pattern:?}: {mean:?}");
            }
        }
    }

    #[test]
    fn every_pattern_has_contrast_and_is_its_own() {
        let pixels = |pattern| {
            let texture = surface(pattern, 7, [0.5; 3], [0.5; 3]);
            let at =
                |i: usize| f32::from(texture.sample((i % 32) as f32 / 32.0, (i / 32) as f32 / 32.0, 0.0)[0]);
            (0..1024).map(at).collect::<Vec<f32>>()
        };
        let all: Vec<Vec<f32>> = WALLS.iter().map(|&pattern| pixels(pattern)).collect();
        for (i, a) in all.iter().enumerate() {
            let mean = a.iter().sum::<f32>() / 1024.0;
            let spread = (a.iter().map(|p| (p - mean) * (p - mean)).sum::<f32>() / 1024.0).sqrt();
            assert!(spread > 8.0, "{:?}: {spread}", WALLS[i]);
            for (j, b) in all.iter().enumerate().take(i) {
                let apart = a.iter().zip(b).map(|(p, q)| (p - q).abs()).sum::<f32>() / 1024.0;
                assert!(apart > 5.0, "{:?} and {:?}: {apart}", WALLS[i], WALLS[j]);
            }
        }
    }
}

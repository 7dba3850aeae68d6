//! Things in rooms: objects that stand on the floor, and decor that hangs on walls.
//!
//! Each kind is painted once per room from a seed, into a texture whose coverage cuts the object
//! out. Rooms differ in which kinds they hold and how many, not in kinds of their own.

use super::pattern::{clouds, unit};
use super::random::{hash, hash_unit};
use super::texture::Texture;

/// An object that stands on the floor and always faces the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThingKind {
    Crate,
    Barrel,
    Plant,
    Chair,
    Cone,
    Lamp,
}

impl ThingKind {
    pub const ALL: [Self; 6] = [Self::Crate, Self::Barrel, Self::Plant, Self::Chair, Self::Cone, Self::Lamp];

    /// Width and height in metres.
    pub const fn size(self) -> (f32, f32) {
        match self {
            Self::Crate => (0.55, 0.55),
            Self::Barrel => (0.5, 0.8),
            Self::Plant => (0.7, 1.3),
            Self::Chair => (0.5, 1.0),
            Self::Cone => (0.4, 0.6),
            Self::Lamp => (0.5, 1.7),
        }
    }

    /// The object as a cut-out.
    pub fn paint(self, seed: u32) -> Texture {
        let tint = 0.85 + 0.3 * hash_unit(1, 2, seed);
        Texture::bake(6, |u, v| {
            let [r, g, b, cover] = match self {
                Self::Crate => wooden_crate(u, v),
                Self::Barrel => barrel(u, v),
                Self::Plant => plant(u, v, seed),
                Self::Chair => chair(u, v),
                Self::Cone => cone(u, v),
                Self::Lamp => lamp(u, v),
            };
            [r * tint, g * tint, b * tint, cover]
        })
    }
}

/// What hangs on a wall, in a frame half a metre wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecorKind {
    Window,
    Picture,
    Shelf,
    Vent,
    Board,
}

impl DecorKind {
    pub const ALL: [Self; 5] = [Self::Window, Self::Picture, Self::Shelf, Self::Vent, Self::Board];

    /// Heights above the floor in metres between which it hangs.
    pub const fn span(self) -> (f32, f32) {
        match self {
            Self::Window => (0.9, 2.1),
            Self::Picture => (1.1, 1.7),
            Self::Shelf => (0.3, 1.9),
            Self::Vent => (0.2, 0.6),
            Self::Board => (0.8, 1.6),
        }
    }

    /// The decor; coverage is full but for a margin at the sides.
    pub fn paint(self, seed: u32) -> Texture {
        Texture::bake(6, |u, v| {
            let edge = u.min(1.0 - u).min(v.min(1.0 - v));
            let [r, g, b] = match self {
                Self::Window => window(u, v, edge),
                Self::Picture => picture(u, v, edge, seed),
                Self::Shelf => shelf(u, v, edge, seed),
                Self::Vent => grey(if edge < 0.08 || (v * 6.0).fract() < 0.5 { 0.62 } else { 0.16 }),
                Self::Board => grey(if edge < 0.06 { 0.5 } else { 0.2 + 0.12 * clouds(u, v, 4, seed) }),
            };
            let margin = if self == Self::Shelf { 0.0 } else { 0.06 };
            [r, g, b, if u < margin || u > 1.0 - margin { 0.0 } else { 1.0 }]
        })
    }
}

const VOID: [f32; 4] = [0.0; 4];

fn grey(value: f32) -> [f32; 3] {
    [value; 3]
}

fn shade([r, g, b]: [f32; 3], light: f32) -> [f32; 4] {
    [r * light, g * light, b * light, 1.0]
}

fn wooden_crate(u: f32, v: f32) -> [f32; 4] {
    let edge = u.min(1.0 - u).min(v.min(1.0 - v));
    let brace = (u - v).abs() < 0.08;
    let seam = (u * 4.0).fract() < 0.08;
    let light = if edge < 0.1 || brace { 1.1 } else { 0.8 };
    shade([0.58, 0.44, 0.28], if seam && edge >= 0.1 && !brace { 0.45 } else { light })
}

fn barrel(u: f32, v: f32) -> [f32; 4] {
    let bulge = 0.5 - 0.35 * (v - 0.5) * (v - 0.5);
    let across = (u - 0.5) / bulge;
    if across.abs() > 0.98 {
        return VOID;
    }
    let round = libm::sqrtf(1.0 - across * across);
    let band = [0.12, 0.36, 0.64, 0.88].iter().any(|at| (v - at).abs() < 0.03);
    shade(if band { [0.28; 3] } else { [0.30, 0.42, 0.56] }, 0.45 + 0.65 * round)
}

fn plant(u: f32, v: f32, seed: u32) -> [f32; 4] {
    if v > 0.74 {
        let wide = 0.28 - 0.25 * (v - 0.74);
        return if (u - 0.5).abs() < wide { shade([0.6, 0.36, 0.25], 1.2 - u) } else { VOID };
    }
    let (x, y) = (u - 0.5, (v - 0.38) * 0.9);
    let ragged = 0.22 + 0.3 * clouds(u, v, 6, seed);
    if libm::sqrtf(x * x + y * y) > ragged {
        return VOID;
    }
    shade([0.24, 0.46, 0.2], 0.5 + 0.9 * clouds(u, v, 12, seed ^ 5))
}

fn chair(u: f32, v: f32) -> [f32; 4] {
    let leg = v > 0.58 && ((u - 0.14).abs() < 0.05 || (u - 0.86).abs() < 0.05);
    let seat = (0.52..0.62).contains(&v) && (0.06..0.94).contains(&u);
    let post = v <= 0.55 && ((u - 0.18).abs() < 0.05 || (u - 0.82).abs() < 0.05);
    let back = (0.04..0.32).contains(&v) && (0.15..0.85).contains(&u);
    match (seat || back, leg || post) {
        (true, _) => shade([0.62, 0.22, 0.2], 1.1 - 0.4 * v),
        (_, true) => shade([0.3, 0.24, 0.2], 0.9),
        _ => VOID,
    }
}

fn cone(u: f32, v: f32) -> [f32; 4] {
    let base = v > 0.92;
    let wide = if base { 0.48 } else { 0.06 + 0.32 * v };
    if (u - 0.5).abs() > wide {
        return VOID;
    }
    let white = (0.35..0.5).contains(&v) || (0.65..0.78).contains(&v);
    shade(if white { [0.9; 3] } else { [0.85, 0.36, 0.12] }, 1.15 - 0.5 * u)
}

fn lamp(u: f32, v: f32) -> [f32; 4] {
    let across = (u - 0.5).abs();
    if v < 0.25 && across < 0.22 + 0.8 * v {
        return [1.0, 0.93, 0.72, 1.0];
    }
    let foot = v > 0.96 && across < 0.35;
    if across < 0.05 || foot { shade(grey(0.2), 1.0) } else { VOID }
}

fn window(u: f32, v: f32, edge: f32) -> [f32; 3] {
    if edge < 0.1 || (u - 0.5).abs() < 0.04 || (v - 0.5).abs() < 0.03 {
        return [0.8, 0.78, 0.74];
    }
    if v > 0.7 { [0.45, 0.58, 0.42] } else { [0.62, 0.78, 0.92] }
}

fn picture(u: f32, v: f32, edge: f32, seed: u32) -> [f32; 3] {
    if edge < 0.1 {
        return [0.25, 0.18, 0.12];
    }
    let block = hash((u * 3.0) as i32, (v * 3.0) as i32, seed);
    [unit(block), unit(block >> 8), unit(block >> 16)].map(|channel| 0.2 + 0.65 * channel)
}

/// Four boards of books, whose widths and colours are drawn from the seed.
fn shelf(u: f32, v: f32, edge: f32, seed: u32) -> [f32; 3] {
    let row = (v * 4.0) as i32;
    let down = (v * 4.0).fract();
    if edge < 0.05 || down > 0.85 {
        return [0.42, 0.3, 0.2];
    }
    let book = hash((u * 9.0) as i32, row, seed);
    if down < 0.1 + 0.35 * unit(book >> 24) {
        return [0.12, 0.1, 0.08];
    }
    [unit(book), unit(book >> 8), unit(book >> 16)].map(|channel| 0.25 + 0.45 * channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_cut_out_and_stand_on_their_lower_edge() {
        for kind in ThingKind::ALL {
            let texture = kind.paint(3);
            let cover =
                |v: f32| (0..64).filter(|&x| texture.sample(x as f32 / 64.0, v, 0.0)[3] > 128).count();
            assert!(cover(0.985) > 4, "{kind:?} floats");
            let covered: usize = (0..64).map(|y| cover((y as f32 + 0.5) / 64.0)).sum();
            assert!(covered > 400, "{kind:?} covers {covered} texels");
        }
    }

    #[test]
    fn decor_hangs_within_the_wall() {
        for kind in DecorKind::ALL {
            let (low, high) = kind.span();
            assert!(0.0 < low && low < high && high < super::super::world::WALL_HEIGHT, "{kind:?}");
        }
    }
}

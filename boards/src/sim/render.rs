//! From a pose to light: one ray per column, as in Wolfenstein 3D and its kin.
//!
//! Each column's ray finds the first wall; everything else in the column follows from similar
//! triangles. Objects are cut-outs sorted far to near. The result is linear light at twice the
//! camera's resolution, which the camera averages: without that, edges crawl as they never do
//! behind a lens.

use super::ray::{Hit, View, cast};
use super::texture::{Texel, Texture};
use super::things::{DecorKind, ThingKind};
use super::world::{CELL, Solid, WALL_HEIGHT, World};

/// Rendered pixels along each side of one camera pixel.
pub(super) const OVERSAMPLING: usize = 2;

/// Height of the camera above the floor in metres.
const EYE: f32 = 0.6;

/// Tangent of half the field of view (76°, square).
const TAN_HALF_VIEW: f32 = 0.78;

/// Metres of wall that one texture covers.
const WALL_TEXTURE: f32 = 2.5;
const FLOOR_TEXTURE: f32 = 2.0;

/// What the air does to light: per metre extinction, and the colour of what it scatters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Air {
    pub extinction: f32,
    pub glow: [f32; 3],
}

/// A renderer for square images, with its buffers and the textures of all things.
#[derive(Debug)]
pub(super) struct Renderer {
    side: usize,
    /// Column by column from the left, each from the top: linear light, red, green, blue.
    light: Vec<[f32; 3]>,
    depth: Vec<f32>,
    rows: Vec<Row>,
    sprites: Vec<Texture>,
    linear: [f32; 256],
    /// Share of light that survives the air, by distance in tenths of a metre.
    transmission: Vec<f32>,
    queue: Vec<Sprite>,
}

/// What a row of pixels sees where it meets floor or ceiling: distance along the camera's axis.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    distance: f32,
    footprint: f32,
}

/// What all columns of one image share.
#[derive(Clone, Copy)]
struct Scene<'a> {
    world: &'a World,
    view: View,
    air: Air,
    /// Focal length in rendered pixels.
    focal: f32,
    /// Row of the horizon.
    horizon: f32,
}

#[derive(Clone, Copy, Debug)]
struct Sprite {
    depth: f32,
    lateral: f32,
    kind: ThingKind,
    light: f32,
}

impl Renderer {
    /// For images of `pixels` a side, before oversampling.
    pub fn new(pixels: usize, building_seed: u64) -> Self {
        let side = pixels * OVERSAMPLING;
        let mut linear = [0.0; 256];
        for (value, slot) in linear.iter_mut().enumerate() {
            *slot = libm::powf(value as f32 / 255.0, 2.2);
        }
        let seed = (building_seed ^ (building_seed >> 32)) as u32;
        Self {
            side,
            light: vec![[0.0; 3]; side * side],
            depth: vec![0.0; side],
            rows: vec![Row::default(); side],
            sprites: ThingKind::ALL.iter().map(|kind| kind.paint(seed ^ 0x5EED)).collect(),
            linear,
            transmission: Vec::new(),
            queue: Vec::new(),
        }
    }

    /// Rendered pixels along a side.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Linear light, column by column from the left, each from the top; full white is about 1.
    pub fn render(&mut self, world: &World, view: View, air: Air) -> &[[f32; 3]] {
        self.prepare_air(air);
        let focal = self.side as f32 * 0.5 / TAN_HALF_VIEW;
        let horizon = self.side as f32 * 0.5 - focal * libm::tanf(view.pitch);
        let scene = Scene { world, view, air, focal, horizon };
        self.prepare_rows(&scene);
        let (sin, cos) = (libm::sinf(view.heading), libm::cosf(view.heading));
        for column in 0..self.side {
            let across = ((column as f32 + 0.5) / self.side as f32 * 2.0 - 1.0) * TAN_HALF_VIEW;
            // Right of a heading is (sin, -cos) with y to the left.
            self.draw_column(&scene, (cos + sin * across, sin - cos * across), column);
        }
        self.draw_things(&scene, (sin, cos));
        &self.light
    }

    fn prepare_air(&mut self, air: Air) {
        self.transmission.clear();
        self.transmission.extend((0..320).map(|tenth| libm::expf(-air.extinction * tenth as f32 * 0.1)));
    }

    fn prepare_rows(&mut self, &Scene { focal, horizon, .. }: &Scene<'_>) {
        for (y, row) in self.rows.iter_mut().enumerate() {
            let below = y as f32 + 0.5 - horizon;
            let height = if below > 0.0 { EYE } else { WALL_HEIGHT - EYE };
            let distance = height * focal / below.abs().max(0.25);
            // Between the width of a pixel on the ground and its length, which grows as the square.
            let (wide, long) = (distance / focal, distance * distance / (height * focal));
            *row = Row { distance, footprint: libm::sqrtf(wide * long) / FLOOR_TEXTURE };
        }
    }

    fn draw_column(&mut self, scene: &Scene<'_>, ray: (f32, f32), column: usize) {
        let &Scene { world, view, focal, horizon, air } = scene;
        let hit = cast(world, view, ray);
        let top = horizon - (WALL_HEIGHT - EYE) * focal / hit.distance;
        let bottom = horizon + EYE * focal / hit.distance;
        let clamp = |edge: f32| (libm::rintf(edge).max(0.0) as usize).min(self.side);
        let (top_row, bottom_row) = (clamp(top), clamp(bottom));
        if let Some(depth) = self.depth.get_mut(column) {
            *depth = hit.distance;
        }
        let paint = Paint { linear: &self.linear, transmission: &self.transmission, air };
        let Some(pixels) = self.light.get_mut(column * self.side..(column + 1) * self.side) else { return };
        let (above, rest) = pixels.split_at_mut(top_row);
        let (wall, below) = rest.split_at_mut(bottom_row.saturating_sub(top_row));
        let (rows_above, rows_rest) = self.rows.split_at(top_row);
        for (pixel, row) in above.iter_mut().zip(rows_above) {
            *pixel = paint.level(scene, ray, *row, true);
        }
        paint.wall(scene, ray, &hit, (top, top_row), wall);
        let rows_below = rows_rest.get(wall.len()..).unwrap_or_default();
        for (pixel, row) in below.iter_mut().zip(rows_below) {
            *pixel = paint.level(scene, ray, *row, false);
        }
    }

    fn draw_things(&mut self, scene: &Scene<'_>, (sin, cos): (f32, f32)) {
        let Scene { world, view, .. } = scene;
        let mut queue = core::mem::take(&mut self.queue);
        queue.clear();
        for thing in &world.things {
            let (dx, dy) = (thing.x - view.x, thing.y - view.y);
            let (depth, lateral) = (dx * cos + dy * sin, dx * sin - dy * cos);
            if depth > 0.12 && depth < 20.0 && lateral.abs() < depth * TAN_HALF_VIEW + 0.5 {
                let light = lamp(world, thing.room, thing.x, thing.y);
                queue.push(Sprite { depth, lateral, kind: thing.kind, light });
            }
        }
        queue.sort_by(|a, b| b.depth.total_cmp(&a.depth));
        for sprite in &queue {
            self.draw_sprite(scene, sprite);
        }
        self.queue = queue;
    }

    fn draw_sprite(&mut self, &Scene { focal, horizon, air, .. }: &Scene<'_>, sprite: &Sprite) {
        let Some(texture) = self.sprites.get(sprite.kind as usize) else { return };
        let (width, height) = sprite.kind.size();
        let scale = focal / sprite.depth;
        let (wide, tall) = (width * scale, height * scale);
        let left = self.side as f32 * 0.5 + sprite.lateral * scale - 0.5 * wide;
        let foot = horizon + EYE * scale;
        let clamp = |edge: f32| (libm::rintf(edge).max(0.0) as usize).min(self.side);
        let (first, last) = (clamp(left), clamp(left + wide));
        let (top, bottom) = (clamp(foot - tall), clamp(foot));
        let paint = Paint { linear: &self.linear, transmission: &self.transmission, air };
        for column in first..last {
            if self.depth.get(column).is_none_or(|&wall| wall < sprite.depth) {
                continue;
            }
            let u = (column as f32 + 0.5 - left) / wide;
            let start = column * self.side;
            let Some(pixels) = self.light.get_mut(start + top..start + bottom.max(top)) else { continue };
            for (row, pixel) in pixels.iter_mut().enumerate() {
                let v = 1.0 - (foot - (top + row) as f32 - 0.5) / tall;
                // Never the neighbouring repeat: an object has edges.
                let texel = texture.sample(u.clamp(0.0, 0.999), v.clamp(0.0, 0.999), 1.0 / tall);
                let cover = f32::from(texel[3]) / 255.0;
                if cover > 0.02 {
                    let lit = paint.lit(texel, sprite.light, sprite.depth);
                    *pixel = mix(*pixel, lit, cover);
                }
            }
        }
    }
}

/// How texels become light.
struct Paint<'a> {
    linear: &'a [f32; 256],
    transmission: &'a [f32],
    air: Air,
}

impl Paint<'_> {
    /// Light from a texel under `light`, through `distance` metres of air.
    #[inline]
    fn lit(&self, texel: Texel, light: f32, distance: f32) -> [f32; 3] {
        let [r, g, b, _] = texel;
        let value = |channel: u8| self.linear[usize::from(channel)] * light;
        let colour = [value(r), value(g), value(b)];
        if self.air.extinction <= 0.0 {
            return colour;
        }
        let tenth = (distance * 10.0) as usize;
        let kept = self.transmission.get(tenth).copied().unwrap_or(0.0);
        mix(self.air.glow, colour, kept)
    }

    /// Floor or ceiling along a row.
    #[inline]
    fn level(&self, scene: &Scene<'_>, ray: (f32, f32), row: Row, is_ceiling: bool) -> [f32; 3] {
        let Scene { world, view, .. } = scene;
        let (x, y) = (view.x + ray.0 * row.distance, view.y + ray.1 * row.distance);
        let cell = world.at(x, y);
        let Some(room) = world.rooms.get(usize::from(cell.room)) else { return [0.0; 3] };
        let texture = if is_ceiling { &room.style.ceiling } else { &room.style.floor };
        let texel = texture.sample(x / FLOOR_TEXTURE, y / FLOOR_TEXTURE, row.footprint);
        self.lit(texel, lamp(world, cell.room, x, y), row.distance)
    }

    /// The wall's part of a column: `top` is where the wall begins, in pixels, and the row drawn
    /// first.
    fn wall(
        &self,
        &Scene { world, view, focal, .. }: &Scene<'_>,
        ray: (f32, f32),
        hit: &Hit,
        (top, top_row): (f32, usize),
        pixels: &mut [[f32; 3]],
    ) {
        let Some(room) = world.rooms.get(usize::from(hit.before.room)) else { return };
        let style = &room.style;
        let (x, y) = (view.x + ray.0 * hit.distance, view.y + ray.1 * hit.distance);
        // Faces differ a little in brightness, or corners would vanish.
        let shade = [0.92, 0.80, 1.0, 0.86][usize::from(hit.face & 3)];
        let light = lamp(world, hit.before.room, x, y) * shade;
        let texture = match hit.cell.solid {
            Solid::Pillar => &style.pillar,
            _ if hit.face == style.accent_face => &style.accent,
            _ => &style.wall,
        };
        let has_decor = hit.cell.solid == Solid::Wall && hit.cell.decor & (1 << hit.face) != 0;
        let footprint = hit.distance / (focal * WALL_TEXTURE);
        let metres = hit.distance / focal;
        for (row, pixel) in pixels.iter_mut().enumerate() {
            let down = ((top_row + row) as f32 + 0.5 - top) * metres;
            let mut texel = texture.sample(hit.along / WALL_TEXTURE, down / WALL_HEIGHT, footprint);
            if has_decor {
                texel = decorated(texel, &style.decor, style.decor_kind, hit.along, down, footprint);
            }
            // Corners with floor and ceiling get less light.
            let corner = down.min(WALL_HEIGHT - down).clamp(0.0, 0.3) / 0.3;
            *pixel = self.lit(texel, light * (0.72 + 0.28 * corner), hit.distance);
        }
    }
}

/// The wall's texel, or the decor's where one hangs.
fn decorated(wall: Texel, decor: &Texture, kind: DecorKind, along: f32, down: f32, footprint: f32) -> Texel {
    let (low, high) = kind.span();
    let height = WALL_HEIGHT - down;
    if height <= low || height >= high {
        return wall;
    }
    let texel = decor.sample(along / CELL, (high - height) / (high - low), footprint * WALL_TEXTURE / CELL);
    if texel[3] > 127 { texel } else { wall }
}

/// Light of the room's lamp at a point: falls off from the middle, never to nothing.
#[inline]
fn lamp(world: &World, room: u16, x: f32, y: f32) -> f32 {
    let Some(room) = world.rooms.get(usize::from(room)) else { return 0.0 };
    let (cx, cy) = room.centre();
    let (dx, dy) = (x - cx, y - cy);
    room.style.light * (0.55 + 0.6 / (1.0 + 0.22 * (dx * dx + dy * dy)))
}

#[inline]
fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    let [fr, fg, fb] = from;
    let [tr, tg, tb] = to;
    [fr + (tr - fr) * share, fg + (tg - fg) * share, fb + (tb - fb) * share]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fog_hides_what_is_far_and_spares_what_is_near() {
        let world = World::new(3, 6);
        let (x, y) = world.rooms[0].centre();
        let view = View { x, y, heading: 0.4, pitch: 0.0 };
        let mut renderer = Renderer::new(64, 3);
        let clear = renderer.render(&world, view, Air::default()).to_vec();
        let air = Air { extinction: 0.6, glow: [0.5; 3] };
        let foggy = renderer.render(&world, view, air).to_vec();
        let change = |row: usize| {
            (0..128).map(|c| (clear[c * 128 + row][0] - foggy[c * 128 + row][0]).abs()).sum::<f32>() / 128.0
        };
        // The horizon is far; the lowest row is the floor at the robot's feet.
        assert!(change(64) > 1.5 * change(127), "{} {}", change(64), change(127));
        // Koschmieder's law (1924) for what stands at the wall's distance; objects stand nearer.
        let obeys = |column: usize| {
            let (clear, foggy) = (clear[column * 128 + 64][0], foggy[column * 128 + 64][0]);
            (foggy - 0.5 - (clear - 0.5) * (-0.6 * renderer.depth[column]).exp()).abs() < 0.02
        };
        assert!((0..128).filter(|&column| obeys(column)).count() > 80);
    }

    #[test]
    fn a_nod_moves_the_horizon_up() {
        let world = World::new(3, 1);
        let (x, y) = world.rooms[0].centre();
        let mut renderer = Renderer::new(64, 3);
        let mut horizon_row = |pitch| {
            renderer.render(&world, View { x, y, heading: 0.0, pitch }, Air::default());
            let rows = renderer.rows.iter().enumerate();
            rows.max_by(|a, b| a.1.distance.total_cmp(&b.1.distance)).map_or(0, |(row, _)| row)
        };
        // 0.1 rad is tan(0.1) of a focal length of 82 rendered pixels.
        assert_eq!(horizon_row(0.0).abs_diff(horizon_row(0.1)), 8);
        assert!(horizon_row(0.1) < horizon_row(0.0));
    }
}

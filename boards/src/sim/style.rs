//! What makes a room itself: structure of its walls, its floor, its decor and its mix of objects.
//!
//! Base colours are few and shared between rooms on purpose. A room is to be known by its bricks
//! and its shelves, as rooms are, and not by a mean colour that any classifier could read.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::pattern::{self, Ground, Pattern};
use super::random::{Purpose, generator};
use super::texture::Texture;
use super::things::{DecorKind, ThingKind};
use super::world::FloorKind;

/// Base colours of walls (display space); a building uses three of them. They differ by little more
/// than the camera's white balance drifts.
const WALL_COLOURS: [[f32; 3]; 5] =
    [[0.55, 0.52, 0.47], [0.51, 0.53, 0.49], [0.50, 0.52, 0.54], [0.55, 0.51, 0.49], [0.52, 0.52, 0.52]];

const PALETTES: usize = 3;

/// The colour that parts of a wall lean to, whatever its base.
const SECOND_COLOURS: [[f32; 3]; 3] = [[0.40, 0.39, 0.38], [0.62, 0.60, 0.57], [0.44, 0.40, 0.36]];

/// Brightness of floor, of the wall's lower part, of its upper part and of the ceiling, around 1.
/// Each sums to about the same: where light and dark lie differs, how much there is of them hardly.
const PROFILES: [[f32; 4]; 6] = [
    [0.75, 1.00, 1.00, 1.30],
    [1.30, 1.00, 1.00, 0.70],
    [0.80, 1.30, 0.90, 1.00],
    [1.25, 0.72, 1.12, 0.95],
    [1.00, 0.70, 1.15, 1.20],
    [1.05, 1.30, 0.88, 0.75],
];

/// The textures and habits of one room.
#[derive(Clone, Debug)]
pub(super) struct RoomStyle {
    pub floor_kind: FloorKind,
    /// Three walls wear this.
    pub wall: Texture,
    /// One wall wears this.
    pub accent: Texture,
    /// Which one: 0 to 3 for faces towards -x, +x, -y, +y.
    pub accent_face: u8,
    pub floor: Texture,
    pub ceiling: Texture,
    pub pillar: Texture,
    pub decor_kind: DecorKind,
    pub decor: Texture,
    /// Share of wall cells with decor.
    pub decor_share: f64,
    pub pillars: usize,
    /// The kinds of object here, commonest first.
    pub kinds: [ThingKind; 3],
    pub things: usize,
    /// Brightness of the room's light.
    pub light: f32,
}

/// The styles of `rooms` rooms.
pub(super) fn styles(building_seed: u64, rooms: usize) -> Vec<RoomStyle> {
    let mut rng = generator(building_seed, Purpose::Style);
    let colours = shuffled(WALL_COLOURS, &mut rng);
    let walls = shuffled(wall_patterns(), &mut rng);
    let profiles = shuffled(PROFILES, &mut rng);
    let decor = shuffled(DecorKind::ALL, &mut rng);
    let floors = shuffled(FloorKind::ALL, &mut rng);
    (0..rooms)
        .map(|room| {
            // The accent wall wears another room's colour.
            let bases = [colours[room % PALETTES], colours[(room + 1) % PALETTES]];
            let main = walls[room % walls.len()];
            // Accents come from the same list, so that a texture alone does not name a room either.
            let accent = walls[(room * 5 + 3) % walls.len()];
            let kind = decor[room % decor.len()];
            let floor = floors[room % floors.len()];
            style(&mut rng, bases, [main, accent], kind, floor, profiles[room % profiles.len()])
        })
        .collect()
}

fn style(
    rng: &mut ChaCha8Rng,
    [base, accent_base]: [[f32; 3]; 2],
    [main, accent]: [Pattern; 2],
    decor_kind: DecorKind,
    floor_kind: FloorKind,
    [under, low, high, over]: [f32; 4],
) -> RoomStyle {
    let second = SECOND_COLOURS[rng.random_range(0..SECOND_COLOURS.len())];
    let [a, b, c, ..] = shuffled(ThingKind::ALL, rng);
    let (ground, floor_base, floor_second) = floor_look(floor_kind, rng);
    let ceiling = [Pattern::Plaster, Pattern::Panels(4), Pattern::Bands(3), Pattern::Checks(2)];
    let ceiling = ceiling[rng.random_range(0..ceiling.len())];
    RoomStyle {
        floor_kind,
        wall: pattern::wall(main, rng.next_u32(), base, second, (low, high)),
        accent: pattern::wall(accent, rng.next_u32(), accent_base, second, (low, high)),
        accent_face: rng.random_range(0..4),
        floor: pattern::ground(ground, rng.next_u32(), floor_base.map(|c| c * under), floor_second),
        ceiling: pattern::surface(
            ceiling,
            rng.next_u32(),
            [0.58, 0.57, 0.56].map(|c| c * over),
            [0.50, 0.50, 0.49],
        ),
        pillar: pattern::surface(main, rng.next_u32(), second, base),
        decor_kind,
        decor: decor_kind.paint(rng.next_u32()),
        decor_share: rng.random_range(0.12..0.3),
        pillars: rng.random_range(0..=2),
        kinds: [a, b, c],
        things: rng.random_range(4..=8),
        light: rng.random_range(0.9..1.1),
    }
}

/// Wall structures, each at a scale of its own.
const fn wall_patterns() -> [Pattern; 10] {
    [
        Pattern::Plaster,
        Pattern::Brick(10),
        Pattern::Blocks(5),
        Pattern::Uprights(7),
        Pattern::Bands(5),
        Pattern::Panels(3),
        Pattern::Checks(5),
        Pattern::Stones(6),
        Pattern::Dots(5),
        Pattern::Zigzag(5),
    ]
}

/// Floors come in two base colours for four kinds.
fn floor_look(kind: FloorKind, rng: &mut ChaCha8Rng) -> (Ground, [f32; 3], [f32; 3]) {
    let (cool, warm) = ([0.44, 0.44, 0.43], [0.46, 0.43, 0.40]);
    match kind {
        FloorKind::Tile => (Ground::Tiles(rng.random_range(4..=6)), cool, [0.62; 3]),
        FloorKind::Carpet => (Ground::Pile, warm, [0.40, 0.38, 0.42]),
        FloorKind::Wood => (Ground::Boards(rng.random_range(8..=12)), warm, [0.53, 0.44, 0.35]),
        FloorKind::Gravel => (Ground::Pebbles(rng.random_range(14..=20)), cool, [0.52, 0.50, 0.46]),
    }
}

/// Fisher and Yates' shuffle, whose order depends on the generator alone.
fn shuffled<T, const N: usize>(mut items: [T; N], rng: &mut ChaCha8Rng) -> [T; N] {
    for last in (1..N).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_rooms_share_colours_but_no_structure() {
        let styles = styles(5, 6);
        for (i, a) in styles.iter().enumerate() {
            let close =
                |b: &RoomStyle| a.wall.mean().iter().zip(b.wall.mean()).all(|(p, q)| (p - q).abs() < 0.03);
            let alike = styles.iter().enumerate().filter(|(j, b)| *j != i && close(b)).count();
            assert!(alike >= 1, "room {i} alone has its mean wall colour");
        }
        let mut kinds: Vec<FloorKind> = styles.iter().map(|s| s.floor_kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, FloorKind::ALL);
    }
}

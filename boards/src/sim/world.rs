//! The building: rooms in a grid, joined by doors, on a map of half-metre cells.
//!
//! Columns and rows of rooms have widths of their own. Each pair of neighbours shares a wall with
//! one door in it. Pillars stand clear of the walls and objects against them, never before a door,
//! so that there is always a way round and a way through.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::random::{Purpose, generator};
use super::style::{RoomStyle, styles};
use super::texture::floor;
use super::things::ThingKind;

/// Side of a map cell in metres.
pub(super) const CELL: f32 = 0.5;

/// Height of every room in metres.
pub(super) const WALL_HEIGHT: f32 = 2.5;

const DOOR_CELLS: usize = 3;
const ROOM_CELLS: core::ops::RangeInclusive<usize> = 8..=10;

/// A room's number, from 0 in the order of the grid.
pub type RoomId = usize;

/// What a room's floor is made of, which the IMU feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FloorKind {
    /// Hard tiles with joints.
    Tile,
    /// Soft carpet.
    Carpet,
    /// Wooden boards.
    Wood,
    /// Loose gravel.
    Gravel,
}

impl FloorKind {
    /// Every kind, in the order of its class number.
    pub const ALL: [Self; 4] = [Self::Tile, Self::Carpet, Self::Wood, Self::Gravel];

    /// Class number, 0 to 3.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tile => "tile",
            Self::Carpet => "carpet",
            Self::Wood => "wood",
            Self::Gravel => "gravel",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Solid {
    Open,
    Wall,
    Pillar,
    /// Open to the eye, but an object stands here.
    Occupied,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub solid: Solid,
    /// The room it lies in; a wall cell belongs to one beside it.
    pub room: u16,
    /// Bit per face (-x, +x, -y, +y) that bears decor.
    pub decor: u8,
}

impl Cell {
    /// Whether a ray passes.
    pub fn is_clear(self) -> bool {
        matches!(self.solid, Solid::Open | Solid::Occupied)
    }
}

/// A room's place on the map, in cells.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub style: RoomStyle,
    /// First cell of the interior.
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Room {
    /// Middle of the room in metres, where its light hangs.
    pub fn centre(&self) -> (f32, f32) {
        let middle = |start: usize, cells: usize| (start as f32 + cells as f32 * 0.5) * CELL;
        (middle(self.x, self.width), middle(self.y, self.height))
    }
}

/// An object at a point in metres.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thing {
    pub x: f32,
    pub y: f32,
    pub kind: ThingKind,
    pub room: u16,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub width: usize,
    pub height: usize,
    cells: Vec<Cell>,
    pub rooms: Vec<Room>,
    pub things: Vec<Thing>,
}

impl World {
    /// The building of this seed with 1 to [`MAX_ROOMS`](super::MAX_ROOMS) rooms.
    pub fn new(building_seed: u64, rooms: usize) -> Self {
        let mut rng = generator(building_seed, Purpose::Layout);
        let columns = (1..=rooms).find(|c| c * c >= rooms).unwrap_or(1);
        let rows = rooms.div_ceil(columns);
        let mut spans = |count: usize| -> Vec<(usize, usize)> {
            let mut at = 1;
            (0..count)
                .map(|_| {
                    let cells = rng.random_range(ROOM_CELLS);
                    let start = at;
                    at += cells + 1;
                    (start, cells)
                })
                .collect()
        };
        let (across, down) = (spans(columns), spans(rows));
        let end = |spans: &[(usize, usize)]| spans.last().map_or(1, |(start, cells)| start + cells + 1);
        let (width, height) = (end(&across), end(&down));
        let wall = Cell { solid: Solid::Wall, room: 0, decor: 0 };
        let mut this =
            Self { width, height, cells: vec![wall; width * height], rooms: Vec::new(), things: Vec::new() };
        let places = down.iter().flat_map(|row| across.iter().map(move |column| (column, row)));
        for (style, (&(x, width), &(y, height))) in styles(building_seed, rooms).into_iter().zip(places) {
            this.add_room(Room { style, x, y, width, height });
        }
        for room in 0..rooms {
            let right = (room % columns + 1 < columns && room + 1 < rooms).then_some(room + 1);
            let below = Some(room + columns).filter(|&other| other < rooms);
            for other in [right, below].into_iter().flatten() {
                this.join(room, other, &mut rng);
            }
        }
        let mut rng = generator(building_seed, Purpose::Objects);
        for room in 0..rooms {
            this.furnish(room, &mut rng);
        }
        this
    }

    /// The cell at map coordinates; beyond the edge all is wall.
    #[inline]
    pub fn cell(&self, x: i32, y: i32) -> Cell {
        let beyond = Cell { solid: Solid::Wall, room: 0, decor: 0 };
        match (usize::try_from(x), usize::try_from(y)) {
            (Ok(x), Ok(y)) if x < self.width => self.cells.get(y * self.width + x).copied().unwrap_or(beyond),
            _ => beyond,
        }
    }

    /// The cell at a point in metres.
    #[inline]
    pub fn at(&self, x: f32, y: f32) -> Cell {
        self.cell(floor(x / CELL), floor(y / CELL))
    }

    /// Distance in metres from a point to the nearest wall, pillar or occupied cell, at most 1.
    pub fn clearance(&self, x: f64, y: f64) -> f64 {
        let side = f64::from(CELL);
        let (cx, cy) = (libm::floor(x / side) as i32, libm::floor(y / side) as i32);
        let mut nearest = 1.0f64;
        for row in cy - 2..=cy + 2 {
            for column in cx - 2..=cx + 2 {
                if self.cell(column, row).solid == Solid::Open {
                    continue;
                }
                let gap = |at: f64, cell: i32| {
                    let low = f64::from(cell) * side;
                    (low - at).max(at - low - side).max(0.0)
                };
                let (dx, dy) = (gap(x, column), gap(y, row));
                nearest = nearest.min(libm::sqrt(dx * dx + dy * dy));
            }
        }
        nearest
    }

    fn cell_mut(&mut self, x: usize, y: usize) -> Option<&mut Cell> {
        let index = (x < self.width).then_some(y * self.width + x)?;
        self.cells.get_mut(index)
    }

    /// Opens the interior and claims the walls around it.
    fn add_room(&mut self, room: Room) {
        let id = self.rooms.len() as u16;
        for y in room.y - 1..=room.y + room.height {
            for x in room.x - 1..=room.x + room.width {
                let inside =
                    (room.x..room.x + room.width).contains(&x) && (room.y..room.y + room.height).contains(&y);
                if let Some(cell) = self.cell_mut(x, y) {
                    cell.room = id;
                    if inside {
                        cell.solid = Solid::Open;
                    }
                }
            }
        }
        self.rooms.push(room);
    }

    /// Cuts a door between a room and its neighbour to the right or below.
    fn join(&mut self, room: RoomId, other: RoomId, rng: &mut ChaCha8Rng) {
        let (Some(a), Some(b)) = (self.rooms.get(room), self.rooms.get(other)) else { return };
        let beside = a.y == b.y;
        let (start, length) = if beside { (a.y, a.height) } else { (a.x, a.width) };
        let wall = if beside { b.x - 1 } else { b.y - 1 };
        let first = start + rng.random_range(1..length - DOOR_CELLS);
        for along in first..first + DOOR_CELLS {
            let (x, y) = if beside { (wall, along) } else { (along, wall) };
            if let Some(cell) = self.cell_mut(x, y) {
                (cell.solid, cell.room) = (Solid::Open, room as u16);
            }
        }
    }

    fn furnish(&mut self, id: RoomId, rng: &mut ChaCha8Rng) {
        let Some(room) = self.rooms.get(id) else { return };
        let (x, y, width, height) = (room.x, room.y, room.width, room.height);
        let (share, pillars, things, kinds) =
            (room.style.decor_share, room.style.pillars, room.style.things, room.style.kinds);
        for _ in 0..pillars {
            // Two clear cells to every wall, to each other, and later to every object: there is
            // always a way round.
            let at = (x + rng.random_range(2..width - 2), y + rng.random_range(2..height - 2));
            let is_roomy = self.is_far_from(at, |solid| solid != Solid::Open);
            if is_roomy && let Some(cell) = self.cell_mut(at.0, at.1) {
                cell.solid = Solid::Pillar;
            }
        }
        for _ in 0..things {
            let along = rng.random_range(0..2 * (width + height));
            let at = rim(along, (x, y), (width, height));
            // Half of what a room holds is its commonest kind.
            let kind = kinds[[0, 0, 0, 1, 1, 2][rng.random_range(0..6)]];
            self.stand(at, kind, id as u16, rng);
        }
        for row in y - 1..=y + height {
            for column in x - 1..=x + width {
                self.decorate((column, row), share, rng);
            }
        }
    }

    /// Whether none of the cells within two is `solid`, so that two clear cells lie between.
    fn is_far_from(&self, (x, y): (usize, usize), solid: impl Fn(Solid) -> bool) -> bool {
        let (x, y) = (x as i32, y as i32);
        (-2..=2).all(|dy| (-2..=2).all(|dx| !solid(self.cell(x + dx, y + dy).solid)))
    }

    fn stand(&mut self, (x, y): (usize, usize), kind: ThingKind, room: u16, rng: &mut ChaCha8Rng) {
        let is_by_pillar = !self.is_far_from((x, y), |solid| solid == Solid::Pillar);
        if self.is_before_door(x, y) || is_by_pillar || self.cell(x as i32, y as i32).solid != Solid::Open {
            return;
        }
        let mut jitter = || rng.random_range(0.4f32..0.6);
        let place = ((x as f32 + jitter()) * CELL, (y as f32 + jitter()) * CELL);
        if let Some(cell) = self.cell_mut(x, y) {
            cell.solid = Solid::Occupied;
            self.things.push(Thing { x: place.0, y: place.1, kind, room });
        }
    }

    /// Whether a door opens within two cells: a way runs here.
    fn is_before_door(&self, x: usize, y: usize) -> bool {
        let is_door = |dx: i32, dy: i32| {
            let (x, y) = (x as i32 + dx, y as i32 + dy);
            self.cell(x, y).solid == Solid::Open && !self.is_interior(x, y)
        };
        (-2..=2).any(|dy| (-2..=2).any(|dx| is_door(dx, dy)))
    }

    fn is_interior(&self, x: i32, y: i32) -> bool {
        let within = |at: i32, start: usize, cells: usize| at >= start as i32 && at < (start + cells) as i32;
        self.rooms.iter().any(|room| within(x, room.x, room.width) && within(y, room.y, room.height))
    }

    fn decorate(&mut self, (x, y): (usize, usize), share: f64, rng: &mut ChaCha8Rng) {
        if let Some(cell) = self.cell_mut(x, y)
            && cell.solid == Solid::Wall
        {
            for face in 0..4 {
                cell.decor |= u8::from(rng.random_bool(share)) << face;
            }
        }
    }
}

/// The `along`-th interior cell beside a wall, counted round the room.
fn rim(along: usize, (x, y): (usize, usize), (width, height): (usize, usize)) -> (usize, usize) {
    let (right, below) = (x + width - 1, y + height - 1);
    match along {
        a if a < width => (x + a, y),
        a if a < 2 * width => (x + a - width, below),
        a if a < 2 * width + height => (x, y + a - 2 * width),
        a => (right, y + (a - 2 * width - height).min(height - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_can_be_reached_with_room_to_spare() {
        for seed in 0..6 {
            for rooms in [1, 5, 7, 12] {
                let world = World::new(seed, rooms);
                assert_eq!(world.rooms.len(), rooms);
                let reached = flood(&world);
                for (id, room) in world.rooms.iter().enumerate() {
                    let found = (room.y..room.y + room.height)
                        .any(|y| (room.x..room.x + room.width).any(|x| reached[y * world.width + x]));
                    assert!(found, "seed {seed}, {rooms} rooms: room {id} is shut");
                }
            }
        }
    }

    /// Cells reachable from room 0's first open cell by steps between 2 x 2 blocks of open cells,
    /// which a body of one metre could take.
    fn flood(world: &World) -> Vec<bool> {
        let free = |x: usize, y: usize| {
            [(0, 0), (1, 0), (0, 1), (1, 1)]
                .iter()
                .all(|(dx, dy)| world.cell((x + dx) as i32, (y + dy) as i32).solid == Solid::Open)
        };
        let mut reached = vec![false; world.width * world.height];
        let first = &world.rooms[0];
        let start = (first.y..first.y + first.height)
            .flat_map(|y| (first.x..first.x + first.width).map(move |x| (x, y)))
            .find(|&(x, y)| free(x, y));
        let mut open: Vec<(usize, usize)> = start.into_iter().collect();
        while let Some((x, y)) = open.pop() {
            if reached[y * world.width + x] || !free(x, y) {
                continue;
            }
            reached[y * world.width + x] = true;
            open.extend([(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]);
        }
        reached
    }

    #[test]
    fn clearance_is_the_distance_to_the_nearest_solid_cell() {
        let world = World::new(4, 6);
        let side = f64::from(CELL);
        // Brute force over the whole map.
        for (x, y) in [(1.3f64, 2.2f64), (4.1, 3.3), (0.6, 0.6), (2.0, 2.0), (7.7, 1.1)] {
            let mut nearest = 1.0f64;
            for row in 0..world.height {
                for column in 0..world.width {
                    if world.cell(column as i32, row as i32).solid != Solid::Open {
                        let nx = x.clamp(column as f64 * side, (column + 1) as f64 * side);
                        let ny = y.clamp(row as f64 * side, (row + 1) as f64 * side);
                        nearest = nearest.min(f64::hypot(x - nx, y - ny));
                    }
                }
            }
            assert!((world.clearance(x, y) - nearest).abs() < 1e-9, "({x}, {y})");
        }
    }

    #[test]
    fn another_seed_is_another_building() {
        let walls = |seed| {
            let world = World::new(seed, 6);
            (0..world.height as i32)
                .flat_map(|y| (0..world.width as i32).map(move |x| (x, y)))
                .map(|(x, y)| world.cell(x, y).solid)
                .collect::<Vec<Solid>>()
        };
        assert_eq!(walls(3), walls(3));
        assert_ne!(walls(3), walls(4));
    }
}

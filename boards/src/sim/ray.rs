//! From a point and a direction to the first wall (Amanatides and Woo, *A fast voxel traversal
//! algorithm for ray tracing*, 1987).

use super::texture::floor;
use super::world::{CELL, Cell, World};

/// Where the camera is.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub x: f32,
    pub y: f32,
    pub heading: f32,
    /// Nose down, radians.
    pub pitch: f32,
}

/// Where a ray met a wall.
pub(super) struct Hit {
    pub distance: f32,
    /// Position along the wall in metres.
    pub along: f32,
    /// Face of the cell hit: towards -x, +x, -y, +y.
    pub face: u8,
    pub cell: Cell,
    /// The clear cell before it, whose room the wall faces.
    pub before: Cell,
}

/// Marches along a ray to the first wall. The map's border is wall, so it ends.
pub(super) fn cast(world: &World, view: View, ray: (f32, f32)) -> Hit {
    let (px, py) = (view.x / CELL, view.y / CELL);
    let (mut cx, mut cy) = (floor(px), floor(py));
    let (inverse_x, inverse_y) = (1.0 / ray.0.abs().max(1e-9), 1.0 / ray.1.abs().max(1e-9));
    let (step_x, step_y) = (if ray.0 < 0.0 { -1 } else { 1 }, if ray.1 < 0.0 { -1 } else { 1 });
    let first = |at: f32, cell: i32, step: i32, inverse: f32| {
        let to_edge = if step > 0 { (cell + 1) as f32 - at } else { at - cell as f32 };
        to_edge * inverse
    };
    let (mut next_x, mut next_y) = (first(px, cx, step_x, inverse_x), first(py, cy, step_y, inverse_y));
    let mut before = world.cell(cx, cy);
    loop {
        let crossed_x = next_x < next_y;
        let travelled = if crossed_x { next_x } else { next_y };
        if crossed_x {
            cx += step_x;
            next_x += inverse_x;
        } else {
            cy += step_y;
            next_y += inverse_y;
        }
        let cell = world.cell(cx, cy);
        if !cell.is_clear() {
            let distance = (travelled * CELL).max(0.02);
            let face = match (crossed_x, step_x, step_y) {
                (true, 1, _) => 0,
                (true, ..) => 1,
                (false, _, 1) => 2,
                (false, ..) => 3,
            };
            let along = if crossed_x { view.y + ray.1 * distance } else { view.x + ray.0 * distance };
            return Hit { distance, along, face, cell, before };
        }
        before = cell;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ray_ends_where_brute_force_ends() {
        let world = World::new(3, 6);
        let (x, y) = world.rooms[0].centre();
        for degrees in (0..360).step_by(7) {
            let angle = (degrees as f32 + 0.3).to_radians();
            let ray = (angle.cos(), angle.sin());
            let hit = cast(&world, View { x, y, heading: 0.0, pitch: 0.0 }, ray);
            let walked = (0..200_000)
                .map(|i| i as f32 * 1e-4)
                .find(|t| !world.at(x + ray.0 * t, y + ray.1 * t).is_clear());
            let walked = walked.unwrap_or(f32::INFINITY);
            assert!((hit.distance - walked).abs() < 2e-3, "{degrees}°: {} against {walked}", hit.distance);
        }
    }
}

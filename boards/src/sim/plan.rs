//! Ways through the building: A* on a quarter-metre lattice, then pulled straight.
//!
//! (Hart, Nilsson and Raphael, *A formal basis for the heuristic determination of minimum cost
//! paths*, 1968.) Costs are whole numbers and ties fall by node number, so a plan is the same on
//! every machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::world::World;

/// Lattice step in metres.
const STEP: f64 = 0.25;

/// Distance in metres that a plan keeps from everything; far above the body's radius, for a
/// controller cuts corners.
pub(super) const PLANNED_CLEARANCE: f64 = 0.4;

pub(super) type Point = (f64, f64);

/// Which lattice points are far enough from everything, computed once for a building.
#[derive(Debug)]
pub(super) struct Planner<'w> {
    world: &'w World,
    width: usize,
    height: usize,
    free: Vec<bool>,
}

impl<'w> Planner<'w> {
    pub fn new(world: &'w World) -> Self {
        let scale = |cells: usize| cells * 2 + 1;
        let (width, height) = (scale(world.width), scale(world.height));
        let free = (0..width * height)
            .map(|node| {
                let (x, y) = point(node, width);
                world.clearance(x, y) >= PLANNED_CLEARANCE
            })
            .collect();
        Self { world, width, height, free }
    }

    /// Every free lattice point in a room, in a fixed order.
    pub fn points_in(&self, room: usize) -> Vec<Point> {
        let Some(room) = self.world.rooms.get(room) else { return Vec::new() };
        let mut points = Vec::new();
        for y in 2 * room.y..=2 * (room.y + room.height) {
            for x in 2 * room.x..=2 * (room.x + room.width) {
                let node = y * self.width + x;
                if self.is_free(node) {
                    points.push(point(node, self.width));
                }
            }
        }
        points
    }

    /// Corners of a way from `from` to `to`, `to` the last, or `None` where there is none.
    pub fn way(&self, from: Point, to: Point) -> Option<Vec<Point>> {
        let (start, goal) = (self.nearest_free(from)?, self.nearest_free(to)?);
        let came_from = self.search(start, goal)?;
        let mut nodes = vec![goal];
        while let Some(&last) = nodes.last()
            && last != start
        {
            nodes.push(came_from.get(last).copied().filter(|&parent| parent != usize::MAX)?);
        }
        nodes.reverse();
        let points: Vec<Point> = nodes.into_iter().map(|node| point(node, self.width)).collect();
        Some(self.straighten(from, &points))
    }

    fn is_free(&self, node: usize) -> bool {
        self.free.get(node).copied().unwrap_or(false)
    }

    fn nearest_free(&self, (x, y): Point) -> Option<usize> {
        let (cx, cy) = (libm::round(x / STEP) as i64, libm::round(y / STEP) as i64);
        let near = (-3..=3i64).flat_map(|dy| (-3..=3i64).map(move |dx| (dx, dy)));
        near.filter_map(|(dx, dy)| {
            let column = usize::try_from(cx + dx).ok().filter(|&c| c < self.width)?;
            let row = usize::try_from(cy + dy).ok().filter(|&r| r < self.height)?;
            let node = row * self.width + column;
            self.is_free(node).then_some((dx * dx + dy * dy, node))
        })
        .min()
        .map(|(_, node)| node)
    }

    /// Parents of the nodes visited, if the goal is among them.
    fn search(&self, start: usize, goal: usize) -> Option<Vec<usize>> {
        let estimate = |node: usize| {
            let (dx, dy) = (
                (node % self.width).abs_diff(goal % self.width),
                (node / self.width).abs_diff(goal / self.width),
            );
            (10 * dx.max(dy) + 4 * dx.min(dy)) as u32
        };
        let mut cost = vec![u32::MAX; self.free.len()];
        let mut parent = vec![usize::MAX; self.free.len()];
        let mut open = BinaryHeap::from([(Reverse(estimate(start)), start)]);
        *cost.get_mut(start)? = 0;
        while let Some((Reverse(priority), node)) = open.pop() {
            if node == goal {
                return Some(parent);
            }
            let so_far = cost.get(node).copied()?;
            if priority > so_far.saturating_add(estimate(node)) {
                continue;
            }
            for (next, step) in self.neighbours(node) {
                let better = so_far + step;
                if let (Some(known), Some(from)) = (cost.get_mut(next), parent.get_mut(next))
                    && better < *known
                {
                    (*known, *from) = (better, node);
                    open.push((Reverse(better + estimate(next)), next));
                }
            }
        }
        None
    }

    fn neighbours(&self, node: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        let (x, y) = ((node % self.width) as i64, (node / self.width) as i64);
        const AROUND: [(i64, i64, u32); 8] = [
            (1, 0, 10),
            (-1, 0, 10),
            (0, 1, 10),
            (0, -1, 10),
            (1, 1, 14),
            (1, -1, 14),
            (-1, 1, 14),
            (-1, -1, 14),
        ];
        AROUND.into_iter().filter_map(move |(dx, dy, step)| {
            let column = usize::try_from(x + dx).ok().filter(|&c| c < self.width)?;
            let row = usize::try_from(y + dy).ok()?;
            let next = row * self.width + column;
            self.is_free(next).then_some((next, step))
        })
    }

    /// Drops every corner that can be cut without coming closer to anything.
    fn straighten(&self, from: Point, points: &[Point]) -> Vec<Point> {
        let mut corners = Vec::new();
        let mut at = from;
        let mut rest = points;
        while !rest.is_empty() {
            // The first point is always taken: a robot that stands too close must be let out.
            let reach = (1..rest.len()).rev().find(|&i| rest.get(i).is_some_and(|&p| self.sees(at, p)));
            let next = reach.unwrap_or(0);
            let Some(&corner) = rest.get(next) else { break };
            corners.push(corner);
            at = corner;
            rest = rest.get(next + 1..).unwrap_or_default();
        }
        corners
    }

    /// Whether the straight way keeps its distance from everything.
    fn sees(&self, (ax, ay): Point, (bx, by): Point) -> bool {
        let length = libm::hypot(bx - ax, by - ay);
        let steps = libm::ceil(length / 0.08) as usize;
        (0..=steps).all(|i| {
            let t = i as f64 / steps.max(1) as f64;
            self.world.clearance(ax + (bx - ax) * t, ay + (by - ay) * t) >= PLANNED_CLEARANCE - 0.03
        })
    }
}

fn point(node: usize, width: usize) -> Point {
    ((node % width) as f64 * STEP, (node / width) as f64 * STEP)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ways_join_all_rooms_and_keep_their_distance() {
        for seed in 0..5 {
            let world = World::new(seed, 6);
            let planner = Planner::new(&world);
            let places: Vec<Point> = (0..6).map(|room| planner.points_in(room)[0]).collect();
            for &from in &places {
                for &to in &places {
                    let way = planner.way(from, to).unwrap();
                    assert_eq!(*way.last().unwrap(), to);
                    let mut at = from;
                    for corner in way {
                        assert!(planner.sees(at, corner), "{at:?} to {corner:?}");
                        at = corner;
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_room_is_crossed_in_a_straight_line() {
        let world = World::new(2, 1);
        let planner = Planner::new(&world);
        let points = planner.points_in(0);
        let pair = points.iter().flat_map(|&a| points.iter().map(move |&b| (a, b)));
        let clear: Vec<(Point, Point)> = pair.filter(|&(a, b)| planner.sees(a, b)).collect();
        for &(from, to) in clear.iter().step_by(97) {
            assert_eq!(planner.way(from, to).unwrap().as_slice(), &[to]);
        }
    }
}

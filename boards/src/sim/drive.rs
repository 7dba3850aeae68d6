//! How the robot moves: a driver that tours the rooms, and a wheeled body that follows it.
//!
//! The body is a unicycle stepped at 200 Hz. Its controller steers at a point ahead on the planned
//! way (pure pursuit, Coulter 1992) and only ever commands acceleration, so position, speed and
//! acceleration belong together and an IMU computed from them tells the truth about the motion.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::plan::{Planner, Point};
use super::random::{Purpose, generator};
use super::world::World;

/// Steps a second.
pub(super) const STEP_HZ: u32 = 200;

const DT: f64 = 1.0 / STEP_HZ as f64;
const LOOKAHEAD: f64 = 0.35;
const ARRIVED: f64 = 0.12;

/// The body at one step: metres, radians, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Motion {
    pub x: f64,
    pub y: f64,
    /// Heading from +x towards +y; grows without wrapping.
    pub heading: f64,
    pub speed: f64,
    /// Heading's rate of change.
    pub turn: f64,
    /// Forward acceleration.
    pub accel: f64,
    /// The turn's rate of change.
    pub turn_accel: f64,
}

impl Motion {
    /// One step of the body towards a wanted speed and turn.
    fn step(&mut self, wanted_speed: f64, wanted_turn: f64) {
        let accel = (2.5 * (wanted_speed - self.speed)).clamp(-0.9, 0.9);
        let turn_accel = (7.0 * (wanted_turn - self.turn)).clamp(-5.0, 5.0);
        // First-order lags: a motor's torque does not jump.
        self.accel += (accel - self.accel) * (DT / 0.10);
        self.turn_accel += (turn_accel - self.turn_accel) * (DT / 0.06);
        let (speed, turn) = (self.speed + self.accel * DT, self.turn + self.turn_accel * DT);
        let heading = self.heading + 0.5 * (self.turn + turn) * DT;
        let (middle, travel) = (0.5 * (self.heading + heading), 0.5 * (self.speed + speed) * DT);
        self.x += travel * libm::cos(middle);
        self.y += travel * libm::sin(middle);
        (self.heading, self.speed, self.turn) = (heading, speed, turn);
    }
}

/// What the driver is about.
#[derive(Clone, Debug)]
enum Doing {
    /// Along corners, the next one first, at a cruising speed.
    Driving { corners: Vec<Point>, next: usize, cruise: f64, steps_left: u32 },
    /// Turning on the spot to a heading, then to the ones after it.
    Looking { heading: f64, turns_left: u32 },
    /// Standing still.
    Resting { steps_left: u32 },
}

/// An endless drive, one [`Motion`] a step.
#[derive(Debug)]
pub(super) struct Driver<'w> {
    planner: Planner<'w>,
    places: Vec<Vec<Point>>,
    visits: Vec<u32>,
    room: usize,
    stops_left: u32,
    doing: Doing,
    motion: Motion,
    rng: ChaCha8Rng,
    wander: f64,
    steps: u64,
}

impl<'w> Driver<'w> {
    pub fn new(world: &'w World, drive_seed: u64) -> Self {
        let mut rng = generator(drive_seed, Purpose::Drive);
        let planner = Planner::new(world);
        let places: Vec<Vec<Point>> = (0..world.rooms.len()).map(|room| planner.points_in(room)).collect();
        let room = rng.random_range(0..places.len().max(1));
        let centre = world.rooms.get(room).map_or((0.0, 0.0), |r| r.centre());
        let (x, y) = pick(places.get(room), &mut rng).unwrap_or((f64::from(centre.0), f64::from(centre.1)));
        let heading = rng.random_range(-core::f64::consts::PI..core::f64::consts::PI);
        let visits = vec![0; places.len()];
        let wander = rng.random_range(0.0..core::f64::consts::TAU);
        let motion = Motion { x, y, heading, ..Motion::default() };
        // A second of rest: every recording begins with the bias to be seen.
        let doing = Doing::Resting { steps_left: STEP_HZ };
        Self { planner, places, visits, room, stops_left: 1, doing, motion, rng, wander, steps: 0 }
    }

    /// The present motion; then takes one step.
    pub fn next_motion(&mut self) -> Motion {
        let now = self.motion;
        let (speed, turn) = self.command();
        self.motion.step(speed, turn);
        self.steps += 1;
        now
    }

    /// Wanted speed and turn, moving on to the next thing to do when one is done.
    fn command(&mut self) -> (f64, f64) {
        let motion = self.motion;
        match &mut self.doing {
            Doing::Resting { steps_left } => {
                *steps_left = steps_left.saturating_sub(1);
                if *steps_left == 0 {
                    self.doing = self.next_way();
                }
                (0.0, 0.0)
            }
            Doing::Looking { heading, turns_left } => {
                let error = *heading - motion.heading;
                if error.abs() < 0.05 && motion.turn.abs() < 0.1 {
                    *turns_left = turns_left.saturating_sub(1);
                    let done = *turns_left == 0;
                    *heading +=
                        self.rng.random_range(0.7..2.4) * if self.rng.random_bool(0.5) { 1.0 } else { -1.0 };
                    if done {
                        let steps_left = self.rng.random_range(STEP_HZ / 10..STEP_HZ);
                        self.doing = Doing::Resting { steps_left };
                    }
                }
                (0.0, (2.2 * error).clamp(-1.3, 1.3))
            }
            Doing::Driving { corners, next, cruise, steps_left } => {
                *steps_left = steps_left.saturating_sub(1);
                match follow(&motion, corners, next, *cruise) {
                    Some((speed, turn)) if *steps_left > 0 => {
                        // A hand that is never quite steady.
                        let phase = self.steps as f64 * DT;
                        let sway =
                            0.10 * libm::sin(1.7 * phase + self.wander) + 0.06 * libm::sin(4.3 * phase);
                        (speed, turn + sway * speed)
                    }
                    _ => {
                        self.doing = self.after_arrival();
                        (0.0, 0.0)
                    }
                }
            }
        }
    }

    /// At a goal: look round, rest, or drive on.
    fn after_arrival(&mut self) -> Doing {
        match self.rng.random_range(0..10) {
            0..6 => {
                let heading = self.motion.heading + self.rng.random_range(-2.6..2.6);
                Doing::Looking { heading, turns_left: self.rng.random_range(1..=2) }
            }
            6..8 => Doing::Resting { steps_left: self.rng.random_range(STEP_HZ / 3..2 * STEP_HZ) },
            _ => self.next_way(),
        }
    }

    /// A way to another place: in this room while stops are left, else in the room least visited,
    /// the nearer first.
    fn next_way(&mut self) -> Doing {
        if self.stops_left == 0 {
            if let Some(visits) = self.visits.get_mut(self.room) {
                *visits += 1;
            }
            self.room = self.least_visited();
            self.stops_left = self.rng.random_range(1..=3);
        }
        self.stops_left -= 1;
        let from = (self.motion.x, self.motion.y);
        let goal = pick(self.places.get(self.room), &mut self.rng);
        let corners = goal.and_then(|to| self.planner.way(from, to));
        let Some(corners) = corners else { return Doing::Resting { steps_left: STEP_HZ / 2 } };
        let cruise = self.rng.random_range(0.35..0.8);
        let mut length = 0.0;
        let mut at = from;
        for &corner in &corners {
            length += libm::hypot(corner.0 - at.0, corner.1 - at.1) + 1.0;
            at = corner;
        }
        // Thrice the time it should take; then whatever holds it up is left behind by a new plan.
        let steps_left = (3.0 * length / cruise / DT) as u32 + 5 * STEP_HZ;
        Doing::Driving { corners, next: 0, cruise, steps_left }
    }

    fn least_visited(&mut self) -> usize {
        let here = (self.motion.x, self.motion.y);
        let mut best = (u32::MAX, f64::INFINITY, self.room);
        for (room, (&visits, places)) in self.visits.iter().zip(&self.places).enumerate() {
            let Some(&(x, y)) = places.get(places.len() / 2) else { continue };
            if room == self.room && self.visits.len() > 1 {
                continue;
            }
            let distance = libm::hypot(x - here.0, y - here.1) * self.rng.random_range(0.6..1.6);
            if (visits, distance) < (best.0, best.1) {
                best = (visits, distance, room);
            }
        }
        best.2
    }
}

/// Speed and turn towards a point ahead on the way, or `None` on arrival.
fn follow(motion: &Motion, corners: &[Point], next: &mut usize, cruise: f64) -> Option<(f64, f64)> {
    let distance_to = |(x, y): Point| libm::hypot(x - motion.x, y - motion.y);
    while let Some(&corner) = corners.get(*next)
        && *next + 1 < corners.len()
        && distance_to(corner) < LOOKAHEAD
    {
        *next += 1;
    }
    let &target = corners.get(*next)?;
    let is_last = *next + 1 == corners.len();
    let distance = distance_to(target);
    if is_last && distance < ARRIVED {
        return None;
    }
    let bearing = libm::atan2(target.1 - motion.y, target.0 - motion.x);
    let error = wrap(bearing - motion.heading);
    let facing = libm::cos(error).max(0.0);
    // Slow for what lies to the side and before the end; stand and turn for what lies behind.
    let ahead = if error.abs() > 0.7 { 0.0 } else { cruise * facing * facing };
    let braked = if is_last { ahead.min(0.12 + 0.9 * distance) } else { ahead };
    Some((braked, (2.4 * error).clamp(-1.6, 1.6)))
}

/// An angle brought to ±π.
pub(super) fn wrap(angle: f64) -> f64 {
    let turns = libm::round(angle / core::f64::consts::TAU);
    angle - turns * core::f64::consts::TAU
}

fn pick(places: Option<&Vec<Point>>, rng: &mut ChaCha8Rng) -> Option<Point> {
    let places = places.filter(|places| !places.is_empty())?;
    places.get(rng.random_range(0..places.len())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metres within which the body would touch.
    const BODY_RADIUS: f64 = 0.15;

    #[test]
    fn every_pose_is_in_free_space_and_every_room_is_visited() {
        for seed in 0..6 {
            let world = World::new(seed, 6);
            let mut driver = Driver::new(&world, seed + 100);
            let mut seen = [0u32; 6];
            let mut closest = f64::INFINITY;
            for _ in 0..STEP_HZ * 200 {
                let motion = driver.next_motion();
                closest = closest.min(world.clearance(motion.x, motion.y));
                seen[usize::from(world.at(motion.x as f32, motion.y as f32).room)] += 1;
            }
            assert!(closest > BODY_RADIUS, "seed {seed}: came within {closest} m");
            assert!(seen.iter().all(|&steps| steps > STEP_HZ), "seed {seed}: {seen:?}");
        }
    }

    #[test]
    fn position_speed_and_acceleration_belong_together() {
        let world = World::new(1, 6);
        let mut driver = Driver::new(&world, 1);
        let track: Vec<Motion> = (0..STEP_HZ * 60).map(|_| driver.next_motion()).collect();
        let mut moving = 0;
        for three in track.windows(3) {
            let [a, b, c] = [three[0], three[1], three[2]];
            // Central differences against what the body reports.
            let (vx, vy) = ((c.x - a.x) / (2.0 * DT), (c.y - a.y) / (2.0 * DT));
            assert!((f64::hypot(vx, vy) - b.speed.abs()).abs() < 2e-3);
            assert!(((c.heading - a.heading) / (2.0 * DT) - b.turn).abs() < 0.02);
            assert!(((c.speed - a.speed) / (2.0 * DT) - b.accel).abs() < 0.05);
            moving += u32::from(b.speed > 0.3);
            assert!(b.speed < 0.95 && b.turn.abs() < 2.5);
        }
        let share = f64::from(moving) / track.len() as f64;
        assert!((0.3..0.95).contains(&share), "moving {share} of the time");
    }
}

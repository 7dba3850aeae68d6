//! What is really so, for measuring and for nothing else.
//!
//! A learner that reads this cheats. Tests, evaluation and reports ask it which room and floor lay
//! under a reading and where the robot stood.

use std::sync::Arc;

use sedge_readings::Timestamp;

use super::drive::{Driver, Motion, STEP_HZ, wrap};
use super::world::{FloorKind, RoomId, World};

const STEP_NANOS: u64 = 1_000_000_000 / STEP_HZ as u64;

/// Where the robot is and how it moves, in the plane of the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// Metres from the building's corner.
    pub x: f64,
    /// Metres from the building's corner.
    pub y: f64,
    /// Radians from +x towards +y, within ±π.
    pub heading: f64,
    /// Forward speed in m/s.
    pub speed: f64,
    /// Rate of turn in rad/s.
    pub turn: f64,
}

/// Ground truth at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// The room.
    pub room: RoomId,
    /// What its floor is made of.
    pub floor: FloorKind,
    /// The robot's pose.
    pub pose: Pose,
}

/// One 200 Hz step in single precision, to keep two hours within 50 MB.
#[derive(Clone, Copy, Debug)]
struct Step {
    x: f32,
    y: f32,
    heading: f32,
    speed: f32,
    turn: f32,
    accel: f32,
    room: u16,
}

/// Ground truth of a whole drive. Cheap to clone and independent of the [`Rig`](super::Rig) it came
/// from, which may be away in another thread.
#[derive(Clone, Debug)]
pub struct Truths {
    steps: Arc<[Step]>,
    floors: Arc<[FloorKind]>,
}

impl Truths {
    pub(super) fn drive(world: &World, drive_seed: u64, seconds: u32) -> Self {
        let mut driver = Driver::new(world, drive_seed);
        let steps = (0..u64::from(seconds) * u64::from(STEP_HZ)).map(|_| {
            let motion = driver.next_motion();
            let (x, y) = (motion.x as f32, motion.y as f32);
            Step {
                x,
                y,
                heading: wrap(motion.heading) as f32,
                speed: motion.speed as f32,
                turn: motion.turn as f32,
                accel: motion.accel as f32,
                room: world.at(x, y).room,
            }
        });
        let steps = steps.collect();
        Self { steps, floors: world.rooms.iter().map(|room| room.style.floor_kind).collect() }
    }

    /// The truth at a time: that of the last step not after it, or of the drive's end.
    pub fn at(&self, at: Timestamp) -> Truth {
        let index = usize::try_from(at.nanos() / STEP_NANOS).unwrap_or(usize::MAX);
        let step = self.steps.get(index).or(self.steps.last());
        let (pose, room) = step.map_or((Pose::default(), 0), |step| {
            let pose = Pose {
                x: step.x.into(),
                y: step.y.into(),
                heading: step.heading.into(),
                speed: step.speed.into(),
                turn: step.turn.into(),
            };
            (pose, usize::from(step.room))
        });
        let floor = self.floors.get(room).copied().unwrap_or(FloorKind::Tile);
        Truth { room, floor, pose }
    }

    /// Number of rooms in the building.
    pub fn rooms(&self) -> usize {
        self.floors.len()
    }

    /// Floor of each room, by room number.
    pub fn floors(&self) -> &[FloorKind] {
        &self.floors
    }

    pub(super) fn motion(&self, step: usize) -> Option<Motion> {
        self.steps.get(step).map(|step| Motion {
            x: step.x.into(),
            y: step.y.into(),
            heading: step.heading.into(),
            speed: step.speed.into(),
            turn: step.turn.into(),
            accel: step.accel.into(),
            ..Motion::default()
        })
    }

    pub(super) fn floor_at(&self, step: usize) -> FloorKind {
        let room = self.steps.get(step).map_or(0, |step| usize::from(step.room));
        self.floors.get(room).copied().unwrap_or(FloorKind::Tile)
    }
}

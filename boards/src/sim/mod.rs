//! The simulated rig: a seeded robot that drives through a building of textured rooms.
//!
//! It exists so that the whole of Sedge can run, and be measured, with neither hardware nor a
//! download. [`RigConfig`] fixes everything; [`Rig`] is the stream of camera frames and IMU samples
//! that such a robot would hear, in time order on one clock; [`Truths`] tells which room, floor and
//! pose lie behind a moment. *Truth is for measuring only*: nothing that learns may read it.
//!
//! Where each part lives: [`RigConfig`] in `config` and `spec`, the building in `world`, `style`,
//! `pattern` and `texture`, the motion in `plan` and `drive`, pixels in `ray`, `render`,
//! `camera` and `lens`, inertia in `vibration` and `imu`, and the stream itself in `rig`. Transcendental
//! functions come from `libm`, so equal configurations give equal bytes on any machine.

mod camera;
mod config;
mod drive;
mod imu;
mod lens;
mod pattern;
mod plan;
mod random;
mod ray;
mod render;
mod rig;
mod shift;
mod spec;
mod style;
mod texture;
mod things;
mod truth;
mod vibration;
mod world;

pub use config::{CameraSize, MAX_ROOMS, MAX_SECONDS, RigConfig, RigError};
pub use rig::Rig;
pub use shift::{Shift, ShiftError};
pub use spec::SpecError;
pub use truth::{Pose, Truth, Truths};
pub use world::{FloorKind, RoomId};

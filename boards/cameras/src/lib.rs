//! Cameras of Linux boards as sensors that give frames: Video4Linux devices, programs that write frames to a
//! pipe, and the simulated rig's.
//!
//! [`BoardCamera::open`] takes what a board file says of a camera. What comes out is a
//! [`Sensor`](sedge_boards::sensor::Sensor) of [`Frame`](sedge_readings::Frame)s, so that faults and supervisors
//! wrap a camera as they wrap a chip. The newest frame wins everywhere: what could not be read in time is
//! dropped, and a frame carries the time at which it was taken, not the time at which it was read.

mod camera;
mod cutter;
mod decode;
mod error;
mod jpeg;
mod pipe;
mod pixels;
mod simulated;
mod tail;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod v4l2;

pub use camera::BoardCamera;
pub use error::{CameraError, FrameError};

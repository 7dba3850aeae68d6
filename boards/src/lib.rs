//! Boards as data, sensor drivers over `embedded-hal`, and the simulated rig.
//!
//! - [`board`]: what is soldered where, as TOML;
//! - [`imu`]: drivers, generic over the bus;
//! - [`bus`]: the buses: simulated, and the kernel's;
//! - [`sim`]: a seeded robot in a building, whose events come through those same drivers.

pub mod board;
pub mod bus;
pub mod imu;
pub mod sim;

pub use board::{Board, BoardError};

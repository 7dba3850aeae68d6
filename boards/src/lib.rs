//! Boards as data, sensor drivers over `embedded-hal`, and the simulated rig.
//!
//! - [`registers`]: a chip as registers behind I2C or SPI, and what can go wrong with it;
//! - [`imu`], [`environment`]: drivers, without `std` and without an allocator;
//!
//! and with the feature `std`, which is on by default:
//!
//! - [`board`]: what is soldered where, as TOML, and which board this machine is;
//! - [`bus`]: the buses, simulated and the kernel's, chosen from the board when it is read;
//! - [`pins`]: its button, light and interrupt;
//! - [`device`]: a sensor of a board, opened;
//! - [`iio`]: sensors that the kernel drives;
//! - [`sensor`], [`fault`], [`supervisor`]: sensors as readings, what is done to them in tests, and how a
//!   device that fails is given up and taken back;
//! - [`sim`]: a seeded robot in a building, whose events come through those same drivers.
#![cfg_attr(not(any(feature = "std", test)), no_std)]

pub mod environment;
pub mod imu;
pub mod registers;

#[cfg(feature = "std")]
pub mod board;
#[cfg(feature = "std")]
pub mod bus;
#[cfg(feature = "std")]
pub mod device;
#[cfg(feature = "std")]
pub mod fault;
#[cfg(feature = "std")]
pub mod iio;
#[cfg(all(feature = "std", target_os = "linux"))]
pub mod pins;
#[cfg(feature = "std")]
pub mod sensor;
#[cfg(feature = "std")]
pub mod sim;
#[cfg(feature = "std")]
pub mod supervisor;

#[cfg(feature = "std")]
pub use board::{Board, BoardError};

//! Inertial sensors: one driver per chip, generic over the `embedded-hal` bus.
//!
//! A driver knows registers and the bus, nothing of the platform, so the code that reads the chip
//! of the simulated rig is the code that reads the one on the robot. Nothing here allocates.
//!
//! - [`registers`]: addresses, ranges and fields as the data sheet names them;
//! - [`convert`]: raw counts to SI units and back, pure;
//! - [`Mpu6050`]: the driver.

pub mod convert;
mod mpu6050;
pub mod registers;

pub use mpu6050::{Mpu6050, Mpu6050Config, Mpu6050Error};
pub use registers::{AccelRange, GyroRange, LowPass, Register};

//! Buses: where a driver's `embedded-hal` calls end up.
//!
//! [`SimulatedI2c`] answers as the real chip would, register by register; `rpi` opens a kernel
//! I2C bus. A board's `[bus]` table says which.

#[cfg(target_os = "linux")]
pub mod rpi;
mod simulated;

pub use simulated::{SimulatedBusError, SimulatedI2c};

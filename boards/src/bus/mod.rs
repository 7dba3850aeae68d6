//! Buses: where a driver's `embedded-hal` calls end up, chosen when the board file is read.
//!
//! [`I2cBus`] and [`SpiBus`] are the kernel's through rppal or linux-embedded-hal, or simulated, behind
//! the `embedded-hal` traits; [`open`] gives the registers of one sensor of a board.

#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod hardware;
mod simulated;

#[cfg(target_os = "linux")]
pub use error::{BusFault, OpenBusError};
#[cfg(target_os = "linux")]
pub use hardware::{I2cBus, SensorRegisters, SpiBus, Wait, open};
pub use simulated::{SimulatedBusError, SimulatedI2c};

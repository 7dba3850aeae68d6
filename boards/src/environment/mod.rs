//! Thermometers, barometers, hygrometers and a magnetometer: slow sensors, each asked for its present value.
//!
//! Drivers are generic over [`Registers`](crate::registers::Registers) and do not allocate. Conversions are pure
//! functions of counts and calibration.

mod bme280;
mod dps310;
mod lm75;
mod lsm303dlhc;

pub use bme280::{Bme280, Bme280Calibration, Bme280Counts};
pub use dps310::{Dps310, Dps310Calibration, Identity};
pub use lm75::{Lm75, Lm75Chip, lm75_celsius};
pub use lsm303dlhc::Lsm303dlhc;

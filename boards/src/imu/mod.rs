//! Inertial sensors: one driver per family of chips, generic over [`Registers`](crate::registers::Registers).
//!
//! A driver knows registers and nothing of the platform, so the code that reads the chip of the
//! simulated rig is the code that reads the one on the robot. Nothing here allocates.
//!
//! - [`Mpu`]: MPU-6050, MPU-6500, MPU-9250; [`mpu_registers`] and [`convert`] are shared with the simulated chip;
//! - [`Icm20948`], [`Lsm6dsox`], [`Bmi`] (BMI160 and BMI270).

mod bmi;
pub mod convert;
mod icm20948;
mod lsm6dsox;
mod mpu;
pub mod mpu_registers;
mod range;

pub use bmi::{BMI270_FIRMWARE, Bmi, BmiChip, BmiConfig};
pub use icm20948::{Icm20948, Icm20948Config};
pub use lsm6dsox::{Lsm6dsox, Lsm6dsoxConfig};
pub use mpu::{Mpu, MpuConfig};
pub use mpu_registers::{LowPass, MpuChip};
pub use range::{AccelRange, GyroRange, STANDARD_GRAVITY};

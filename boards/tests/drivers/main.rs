//! Drivers against chips modelled register by register, on I2C and on SPI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod air;
mod chip;
mod device;
mod inertial;
mod queue;

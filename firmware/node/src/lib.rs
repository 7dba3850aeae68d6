//! The microcontroller: an inertial chip sampled at a steady rate, and its samples on a serial line. Without
//! `std`, without an allocator.
//!
//! [`Node`] is everything but the machine: it is told the time and the bytes that came, and answers with
//! bytes to send. An image, of which there is one a board in `images`, gives it a clock, a bus and a line:
//!
//! ```text
//! loop { read what came; node.poll(now, came, &mut out); write out; wait a millisecond }
//! ```
//!
//! A poll reads the chip at most once and waits for nothing else. What the line has no room for waits in a
//! queue of [`QUEUE`] samples; the oldest are dropped and counted when that is full.
#![cfg_attr(not(test), no_std)]

mod bus;
mod imu;
#[cfg(feature = "logger")]
pub mod logger;
mod node;
mod outgoing;
mod say;
mod schedule;

pub use bus::SharedBus;
pub use imu::{Imu, Lsm6dsoxImu, MpuImu};
pub use node::Node;
pub use outgoing::QUEUE;

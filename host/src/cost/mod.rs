//! What a run cost: energy as far as the machine reports it, an estimate that says it is one where it
//! does not, and the carbon dioxide that goes with it. Arithmetic on counters ([`Counter`],
//! [`PowerIntegral`]) knows no clock and no file; [`Meter`] reads a tree of files under a root, so that a
//! test can show it any machine.

mod carbon;
mod counter;
mod cpu_time;
mod jetson;
mod meter;
mod nvidia;
mod rapl;
#[cfg(test)]
mod tests;

pub use carbon::{Cost, MAX_G_PER_KWH, WORLD_G_PER_KWH, WORLD_SOURCE};
pub use counter::{Counter, PowerIntegral};
pub use cpu_time::WATTS_PER_CORE;
pub use meter::{Energy, Meter};

//! The engine for GPUs: the same training steps as on the processor, run through burn with burn's own
//! differentiation. Which device a run takes is decided when it begins ([`engine`]); a build without the feature of
//! a device says so in words, and so does a machine without its libraries.

#[cfg(feature = "gpu")]
mod cuda;
mod device;
mod error;
#[cfg(feature = "burn")]
mod operator;
mod precision;
#[cfg(feature = "burn")]
mod program;
mod start;
#[cfg(feature = "burn")]
mod step;

pub use device::Device;
pub use error::GpuError;
pub use precision::Precision;
pub use start::engine;

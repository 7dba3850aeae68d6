//! The device daemon as a library: streams through a bundle's encoder, and adaptation beside it.
//!
//! [`run()`](run::run) is what `sedged run` does: a [`Source`] through a [`Device`] into a folder.
//! [`Device`] alone is for whoever brings events and takes results in memory, as the host does when it
//! rehearses on the simulated rig what the robot runs. Decisions are `sedge-core`'s; here are threads,
//! graphs and files.

mod checkpoint;
mod config;
mod device;
mod error;
mod live;
pub mod output;
#[cfg(target_os = "linux")]
pub mod probe;
pub mod run;
pub mod serial;
mod source;
mod status;
mod summary;

pub use checkpoint::{CHECKPOINT_FILE, CheckpointError, MAX_CHECKPOINT_BYTES};
pub use config::{DEFAULT_STEP_BYTES, DeviceConfig, MAX_DIMENSIONS, MAX_HELD_OUT, MAX_IMU, MAX_PAIRS, Pace};
pub use device::{Device, HeldOut, Percentiles, SELF_TEST_LIMIT};
pub use error::{DeviceError, OutputError, RunError, SourceError};
pub use live::{DeviceAccount, DeviceChange, DeviceCondition, LiveError, board_of};
pub use output::{Collected, MAX_OUTPUT_BYTES, Sink};
pub use run::{LiveOptions, Resume, RunConfig};
pub use source::{Source, SourceAccount, SourceIdentity, SourceOptions, Stream, TopicAccount};
pub use status::{AdaptingStatus, STALE_S, STATUS_FILE, Status, StatusError};
pub use summary::{Account, Adaptation, Report, Summary, Timing};

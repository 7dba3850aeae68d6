//! Puts a daemon, a board file and a bundle on a board, and takes them back.
//!
//! - [`flash`]: over ssh, into the slot that is not in service, tried there, and confirmed or taken back;
//! - [`status`]: what lies on a board and how it is;
//! - [`image`]: the same slots written into a card's image or its mounted folder, before the board ever ran;
//! - [`units`]: the systemd units; [`elf`]: what a program needs of its machine; [`cross`]: building it;
//! - [`names`], [`payload`], [`remote`]: what comes in from outside, checked.
//!
//! What runs on the board is POSIX shell (`src/scripts`), so it needs nothing but coreutils or busybox, and systemd.

pub mod cross;
pub mod elf;
mod error;
pub mod flash;
pub mod image;
pub mod names;
pub mod payload;
pub mod remote;
mod slot;
pub mod status;
mod step;
mod trial;
pub mod units;

pub use error::DeployError;
pub use names::{Host, Prefix};
pub use remote::Connection;
pub use slot::{Slot, SlotRecord};

//! A microcontroller at a serial port: its samples as readings on this machine's clock, its losses counted,
//! its log in ours.
//!
//! [`NodeLink`] owns a thread that keeps the port open, again and again where it is unplugged. What is said on
//! the line is `Session`'s, which knows no port and no clock; how a log becomes words is `NodeLog`'s.

mod defmt;
mod link;
mod log;
mod port;
mod session;

pub use link::{NodeAccount, NodeLink};
pub use log::{LogError, MAX_ELF_BYTES};
pub use port::{Opener, Port, ask};

use std::path::PathBuf;

use sedge_boards::board::NodeSpec;
use sedge_wire::{PROTOCOL, Pacing, SampleFault, Settings};

/// Why a node gives nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Its port cannot be opened.
    #[error(
        "cannot open {}, the serial port of node {node}: {source}; is it plugged in, and is the user in the \
         group dialout?",
        device.display()
    )]
    Open {
        /// The node.
        node: String,
        /// Its port.
        device: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its port failed.
    #[error("the serial port of node {node} failed: {source}; it is opened again")]
    Line {
        /// The node.
        node: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing answers at its port.
    #[error(
        "node {node} says nothing at {} at {baud} baud ({bytes} bytes came, none of them a message); is it \
         flashed with its image, and is the baud rate the image's?",
        device.display()
    )]
    Silent {
        /// The node.
        node: String,
        /// Its port.
        device: PathBuf,
        /// Its bits a second.
        baud: u32,
        /// Bytes that came.
        bytes: u64,
    },
    /// It speaks another version.
    #[error(
        "node {node} speaks version {found} of the protocol, and this is {PROTOCOL}; flash it with this version's image"
    )]
    Protocol {
        /// The node.
        node: String,
        /// The version it speaks.
        found: u16,
    },
    /// Its log cannot be read.
    #[error("the log of node {node} cannot be read: {source}")]
    Log {
        /// The node.
        node: String,
        /// Why.
        source: LogError,
    },
    /// It has no samples.
    #[error("node {node} has no samples: {fault}")]
    Fault {
        /// The node.
        node: String,
        /// What is wrong with its chip.
        fault: SampleFault,
    },
}

/// What a node is to be set to.
fn settings(spec: &NodeSpec) -> Settings {
    Settings {
        rate_hz: spec.rate_hz,
        accel_full_scale_g: spec.accel_full_scale_g,
        gyro_full_scale_dps: spec.gyro_full_scale_dps,
        pacing: if spec.queue { Pacing::Queue } else { Pacing::Timer },
    }
}

//! What a microcontroller and its host say to each other over a serial line. Without `std`, without an
//! allocator.
//!
//! - [`ToNode`] and [`FromNode`]: the messages, of bounded size;
//! - [`encode`] and [`Decoder`]: a message as bytes on a line that loses, repeats and flips them;
//! - [`Sequence`]: how many samples a line has lost;
//! - [`ClockSync`]: which moment of the host a count of the node's microseconds is.
//!
//! # On the line
//! A message is encoded by postcard, followed by its CRC, made free of zeros by consistent overhead byte
//! stuffing (Cheshire and Baker, 1999), and ended by a zero. Whatever happens to a frame, the next zero
//! begins a new one.
//!
//! The check is CRC-32C (Castagnoli): at the longest frame of this protocol it finds any five flipped bits,
//! where a CRC-16 finds three and passes one broken frame in 65,536 (P. Koopman, *32-Bit Cyclic Redundancy
//! Codes for Internet Applications*, DSN 2002, table 1). Two bytes more a frame cost a tenth of a per cent of
//! the line.
//!
//! # Versions
//! A message whose check holds is what the other side sent. One that still cannot be read is of another
//! version: it is counted as unknown and skipped. So messages may be added at the end of either enumeration,
//! and fields at the end of any message, and older programs go on without them. [`PROTOCOL`] changes when
//! what there is changes its meaning.
#![no_std]

#[cfg(test)]
extern crate std;

mod clock;
mod frame;
mod message;
mod sequence;
mod wide;

pub use clock::{ClockSync, Exchange, Observed};
pub use frame::{Decoder, LineCounts, MAX_FRAME, MAX_PAYLOAD, Message, Packet, encode};
pub use message::{
    Batch, FromNode, Hello, LOG_BYTES, MAX_BATCH, Missing, NAME_BYTES, NodeClock, NodeLosses, Pacing,
    SampleFault, Settings, TimedSample, ToNode,
};
pub use sequence::{Gap, Sequence};
pub use wide::WideMicros;

/// The version of this protocol.
pub const PROTOCOL: u16 = 1;

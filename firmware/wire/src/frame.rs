//! A message as a frame of bytes, and frames found again in whatever arrives.

use core::marker::PhantomData;

use crc::{CRC_32_ISCSI, Crc};
use heapless::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{FromNode, ToNode};

/// Longest message, in bytes before its check.
pub const MAX_PAYLOAD: usize = 248;
/// Longest frame in bytes: message, check, one byte of stuffing for each begun run of 254, and the zero
/// that ends it.
pub const MAX_FRAME: usize = MAX_PAYLOAD + CHECK + (MAX_PAYLOAD + CHECK).div_ceil(254) + 1;

const CHECK: usize = size_of::<u32>();
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A frame, the zero at its end included.
pub type Packet = Vec<u8, MAX_FRAME>;

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for ToNode {}
impl sealed::Sealed for FromNode {}

/// A message of one of the two directions.
pub trait Message: sealed::Sealed + Serialize + DeserializeOwned {}

impl Message for ToNode {}
impl Message for FromNode {}

/// The frame of a message.
pub fn encode<M: Message>(message: &M) -> Packet {
    let mut packet = Packet::new();
    // That every message fits is asserted where they are declared; were one not to, nothing would be sent.
    if let Some(stuffed) = stuffed(message, &mut packet) {
        packet.truncate(stuffed + 1);
    } else {
        packet.clear();
    }
    packet
}

/// Fills `packet` with zeros and begins it with the stuffed message. Answers that one's length.
fn stuffed<M: Message>(message: &M, packet: &mut Packet) -> Option<usize> {
    let mut bytes = [0; MAX_PAYLOAD + CHECK];
    let payload = postcard::to_slice(message, bytes.get_mut(..MAX_PAYLOAD)?).ok()?.len();
    let check = CRC.checksum(bytes.get(..payload)?).to_le_bytes();
    bytes.get_mut(payload..payload + CHECK)?.copy_from_slice(&check);
    packet.resize(MAX_FRAME, 0).ok()?;
    let room = packet.get_mut(..MAX_FRAME - 1)?;
    cobs::try_encode(bytes.get(..payload + CHECK)?, room).ok()
}

/// What a line has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LineCounts {
    /// Messages read.
    pub messages: u32,
    /// Frames whose check does not hold, or too short for one. The rest of a frame that was under way when
    /// the line was opened is one of these.
    pub bad: u32,
    /// Frames longer than any message, skipped up to the next zero.
    pub oversize: u32,
    /// Messages of another version: their check holds, and they cannot be read.
    pub unknown: u32,
}

/// Finds messages in the bytes of a line, however these are cut.
#[derive(Debug)]
pub struct Decoder<M> {
    frame: Vec<u8, { MAX_FRAME - 1 }>,
    oversize: bool,
    counts: LineCounts,
    message: PhantomData<M>,
}

impl<M: Message> Default for Decoder<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> Decoder<M> {
    /// A decoder at the beginning of a frame.
    pub const fn new() -> Self {
        let counts = LineCounts { messages: 0, bad: 0, oversize: 0, unknown: 0 };
        Self { frame: Vec::new(), oversize: false, counts, message: PhantomData }
    }

    /// Takes bytes of the line, and gives each message that is whole with them to `each`.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(M)) {
        for &byte in bytes {
            if byte != 0 {
                self.oversize |= self.frame.push(byte).is_err();
            } else if let Some(message) = self.end() {
                each(message);
            }
        }
    }

    /// What the line has carried so far.
    pub const fn counts(&self) -> LineCounts {
        self.counts
    }

    fn end(&mut self) -> Option<M> {
        let mut frame = core::mem::take(&mut self.frame);
        if core::mem::take(&mut self.oversize) {
            self.counts.oversize = self.counts.oversize.wrapping_add(1);
            return None;
        }
        if frame.is_empty() {
            return None;
        }
        let Some(payload) = checked(&mut frame) else {
            self.counts.bad = self.counts.bad.wrapping_add(1);
            return None;
        };
        // What follows the known fields is a later version's.
        let message = postcard::take_from_bytes(payload).ok().map(|(message, _)| message);
        let counter = if message.is_some() { &mut self.counts.messages } else { &mut self.counts.unknown };
        *counter = counter.wrapping_add(1);
        message
    }
}

/// The message in a frame whose check holds.
fn checked(frame: &mut [u8]) -> Option<&[u8]> {
    let length = cobs::decode_in_place(frame).ok()?;
    let (payload, check) = frame.get(..length)?.split_last_chunk::<CHECK>()?;
    (CRC.checksum(payload) == u32::from_le_bytes(*check)).then_some(payload)
}

#[cfg(test)]
mod tests;

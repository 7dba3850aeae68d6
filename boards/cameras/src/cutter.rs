//! A stream of bytes cut into frames.
//!
//! JPEGs are followed marker by marker (ITU-T T.81 annex B): a segment is passed over by its length, so that a
//! preview within one ends nothing, and within a scan only a marker that is neither stuffing nor a restart does.
//! After bytes that make no sense the next start of an image is looked for. No byte is looked at twice.

const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// Where in a JPEG the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before an image, with this many bytes of `FF D8 FF` seen.
    Hunting(u8),
    /// Where a marker must begin.
    Marker,
    /// After the `FF` of a marker.
    Code,
    /// At the first byte of a segment's length.
    LengthHigh { scan: bool },
    /// At the second byte of it.
    LengthLow { scan: bool, high: u8 },
    /// Within a segment.
    Segment { scan: bool, left: u16 },
    /// Within a scan.
    Scan,
    /// After an `FF` within a scan.
    ScanCode,
}

/// Cuts whole frames out of what is pushed.
#[derive(Debug)]
pub(crate) struct Cutter {
    frame: Vec<u8>,
    /// Most bytes of a JPEG, or the bytes of every frame.
    bytes: usize,
    /// `None` for frames of fixed size.
    state: Option<State>,
    discarded: u64,
}

impl Cutter {
    /// JPEGs of up to this many bytes.
    pub(crate) fn jpeg(most: usize) -> Self {
        Self { frame: vec![], bytes: most, state: Some(State::Hunting(0)), discarded: 0 }
    }

    /// Frames of exactly this many bytes, at least one.
    pub(crate) fn fixed(bytes: usize) -> Self {
        Self { frame: vec![], bytes: bytes.max(1), state: None, discarded: 0 }
    }

    /// Bytes that belonged to no frame.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Takes in bytes and gives the frames that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], mut whole: impl FnMut(Vec<u8>)) {
        if self.state.is_none() {
            return self.push_fixed(bytes, whole);
        }
        for &byte in bytes {
            if let Some(frame) = self.step(byte) {
                whole(frame);
            }
        }
    }

    fn push_fixed(&mut self, mut bytes: &[u8], mut whole: impl FnMut(Vec<u8>)) {
        while !bytes.is_empty() {
            let wanted = self.bytes.saturating_sub(self.frame.len()).min(bytes.len());
            let (taken, rest) = bytes.split_at(wanted);
            self.frame.extend_from_slice(taken);
            bytes = rest;
            if self.frame.len() >= self.bytes {
                whole(std::mem::take(&mut self.frame));
            }
        }
    }

    fn step(&mut self, byte: u8) -> Option<Vec<u8>> {
        let state = self.state?;
        if let State::Hunting(seen) = state {
            let seen = match (seen, byte) {
                (1, START) => 2,
                (2, 0xFF) => {
                    // Two of them were taken for garbage.
                    self.discarded = self.discarded.saturating_sub(2);
                    return self.begin(State::Code, &[0xFF, START, 0xFF]);
                }
                (_, 0xFF) => 1,
                _ => 0,
            };
            self.discarded += 1;
            self.state = Some(State::Hunting(seen));
            return None;
        }
        self.frame.push(byte);
        if self.frame.len() > self.bytes {
            return self.lose();
        }
        let next = match state {
            State::Hunting(_) => return None,
            State::Marker if byte == 0xFF => State::Code,
            State::Marker => return self.lose(),
            State::Code => return self.marker(byte, false),
            State::LengthHigh { scan } => State::LengthLow { scan, high: byte },
            State::LengthLow { scan, high } => match u16::from_be_bytes([high, byte]).checked_sub(2) {
                None => return self.lose(),
                Some(left) => after(scan, left),
            },
            State::Segment { scan, left } => after(scan, left.saturating_sub(1)),
            State::Scan if byte == 0xFF => State::ScanCode,
            State::Scan => State::Scan,
            State::ScanCode => return self.marker(byte, true),
        };
        self.state = Some(next);
        None
    }

    /// The byte after an `FF`, at the place of a marker or in a scan.
    fn marker(&mut self, code: u8, in_scan: bool) -> Option<Vec<u8>> {
        let before = if in_scan { State::Scan } else { State::Marker };
        let next = match code {
            0xFF if in_scan => State::ScanCode,
            0xFF => State::Code,
            // Stuffing, which only scans have; restarts.
            0x00 if in_scan => State::Scan,
            0xD0..=0xD7 | 0x01 => before,
            START => {
                self.discarded += (self.frame.len() as u64).saturating_sub(2);
                return self.begin(State::Marker, &[0xFF, START]);
            }
            END if in_scan => {
                self.state = Some(State::Hunting(0));
                return Some(std::mem::take(&mut self.frame));
            }
            0xC0..=0xCF | 0xDA..=0xFE => State::LengthHigh { scan: code == SCAN },
            _ => return self.lose(),
        };
        self.state = Some(next);
        None
    }

    fn begin(&mut self, state: State, bytes: &[u8]) -> Option<Vec<u8>> {
        self.frame.clear();
        self.frame.extend_from_slice(bytes);
        self.state = Some(state);
        None
    }

    fn lose(&mut self) -> Option<Vec<u8>> {
        self.discarded += self.frame.len() as u64;
        self.frame.clear();
        self.state = Some(State::Hunting(0));
        None
    }
}

const fn after(scan: bool, left: u16) -> State {
    match (left, scan) {
        (0, true) => State::Scan,
        (0, false) => State::Marker,
        _ => State::Segment { scan, left },
    }
}

#[cfg(test)]
mod tests;

//! MCAP's framing: a magic number, then records of an opcode, a length and a body
//! (<https://mcap.dev/spec>). Reads one record at a time, never more than the limit.

use std::io::{self, Read};
use std::path::PathBuf;

use ::mcap::MAGIC;
use ::mcap::records::op;

use crate::bytes::Cursor;
use crate::{Limits, RecordingError};

/// Longest topic, schema or encoding name that is believed.
const LONGEST_NAME: usize = 1024;
/// Memory reserved for a record on its length's word alone; beyond, memory follows data.
const RESERVED_UNSEEN: u64 = 1 << 16;

/// What the stream needs of one record.
pub(crate) enum Step {
    /// A record, whole, in the buffer.
    Record(u8),
    /// A chunk of which the file holds only the beginning, in the buffer. Nothing follows.
    CutChunk,
    /// The data ended as it should.
    End,
}

/// Records of an MCAP file, one after the other.
pub(crate) struct RecordReader {
    source: Box<dyn Read + Send>,
    pub(crate) path: PathBuf,
    limit: u64,
    offset: u64,
}

impl RecordReader {
    /// Checks the magic number at the start.
    pub(crate) fn new(
        source: Box<dyn Read + Send>,
        path: PathBuf,
        limits: &Limits,
    ) -> Result<Self, RecordingError> {
        let mut reader = Self { source, path, limit: limits.record_bytes, offset: 0 };
        let mut magic = Vec::new();
        if !reader.fill(MAGIC.len() as u64, &mut magic)? {
            return Err(reader.truncated("the magic number at its start"));
        }
        if magic != MAGIC {
            return Err(reader.malformed(0, "does not begin like an MCAP file; is it one?"));
        }
        Ok(reader)
    }

    /// Reads on to the next record of use, and its body into `body`.
    pub(crate) fn next(&mut self, body: &mut Vec<u8>) -> Result<Step, RecordingError> {
        loop {
            let start = self.offset;
            let mut head = Vec::new();
            if !self.fill(9, &mut head)? {
                return Err(self.truncated("a record's head, or before the end of the data was marked"));
            }
            let mut head = Cursor::new(&head);
            let (Some([opcode]), Some(length)) = (head.array(), head.u64_le()) else {
                return Err(self.malformed(start, "has no record head"));
            };
            match opcode {
                op::DATA_END | op::FOOTER => return Ok(Step::End),
                op::SCHEMA | op::CHANNEL | op::MESSAGE | op::CHUNK => {}
                0 => return Err(self.malformed(start, "opcode 0 is not a record; the file is damaged here")),
                _ => {
                    self.skip(length)?;
                    continue;
                }
            }
            if length > self.limit {
                let what = format!("the record at byte {start}");
                return Err(too_large(&self.path, what, length, self.limit));
            }
            if self.fill(length, body)? {
                return Ok(Step::Record(opcode));
            }
            return match opcode {
                op::CHUNK => Ok(Step::CutChunk),
                _ => Err(self.truncated("a record")),
            };
        }
    }

    /// Reads `count` bytes in place of what `into` held; `false` when the file ends before.
    fn fill(&mut self, count: u64, into: &mut Vec<u8>) -> Result<bool, RecordingError> {
        into.clear();
        into.reserve(count.min(RESERVED_UNSEEN) as usize);
        let read =
            (&mut self.source).take(count).read_to_end(into).map_err(crate::file::io_error(&self.path))?;
        self.offset += read as u64;
        Ok(read as u64 == count)
    }

    fn skip(&mut self, count: u64) -> Result<(), RecordingError> {
        let skipped = io::copy(&mut (&mut self.source).take(count), &mut io::sink());
        let skipped = skipped.map_err(crate::file::io_error(&self.path))?;
        self.offset += skipped;
        if skipped == count { Ok(()) } else { Err(self.truncated("a record")) }
    }

    pub(crate) fn truncated(&self, what: &str) -> RecordingError {
        RecordingError::Truncated { path: self.path.clone(), offset: self.offset, what: what.to_owned() }
    }

    fn malformed(&self, offset: u64, why: &str) -> RecordingError {
        RecordingError::Malformed {
            path: self.path.clone(),
            place: format!("byte {offset}"),
            why: why.to_owned(),
        }
    }
}

pub(crate) fn too_large(path: &std::path::Path, what: String, found: u64, limit: u64) -> RecordingError {
    RecordingError::TooLarge { path: path.to_owned(), what, found, limit, field: "record_bytes" }
}

/// A channel record, as far as it is needed.
pub(crate) struct Channel {
    pub(crate) id: u16,
    pub(crate) schema: u16,
    pub(crate) topic: String,
    pub(crate) encoding: String,
}

impl Channel {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut body = Cursor::new(body);
        Some(Self {
            id: body.u16_le()?,
            schema: body.u16_le()?,
            topic: body.string_le(LONGEST_NAME)?,
            encoding: body.string_le(LONGEST_NAME)?,
        })
    }
}

/// A schema record's number and name.
pub(crate) fn parse_schema(body: &[u8]) -> Option<(u16, String)> {
    let mut body = Cursor::new(body);
    Some((body.u16_le()?, body.string_le(LONGEST_NAME)?))
}

/// A message record's channel, log time and data.
pub(crate) fn parse_message(body: &[u8]) -> Option<(u16, u64, &[u8])> {
    let mut body = Cursor::new(body);
    let channel = body.u16_le()?;
    let _sequence = body.u32_le()?;
    let log_time = body.u64_le()?;
    let _publish_time = body.u64_le()?;
    Some((channel, log_time, body.rest()))
}

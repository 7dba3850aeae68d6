//! The records inside one MCAP chunk. A whole chunk is believed only when its checksum is right; of
//! a chunk that the file's end cuts, what still decompresses is given.
//!
//! Decompression is the mcap crate's. Its reader subtracts a record's length from what is left of
//! an uncompressed chunk without a check, and panics on a length that lies (mcap 0.26, with
//! overflow checks on); so the framing of uncompressed chunks is walked here beforehand, and that
//! reader never sees a record which reaches beyond its chunk.

use ::mcap::records::op;
use ::mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};

use crate::bytes::Cursor;

/// What is wrong with a chunk.
pub(crate) enum ChunkError {
    Damaged,
    /// Its stated size once decompressed is over the limit.
    TooLarge(u64),
}

/// Gives each record in the chunk record `body` to `each`. With `cut`, the body is only the
/// beginning of the record; running out is then no error.
pub(crate) fn for_each_record(
    body: &[u8],
    cut: bool,
    limit: u64,
    mut each: impl FnMut(u8, &[u8]),
) -> Result<(), ChunkError> {
    let Some(header) = Header::parse(body) else {
        return if cut { Ok(()) } else { Err(ChunkError::Damaged) };
    };
    if header.uncompressed_size > limit {
        return Err(ChunkError::TooLarge(header.uncompressed_size));
    }
    if header.uncompressed {
        let whole = walk(header.records, |_, _| {});
        if cut {
            walk(header.records, each);
            return Ok(());
        }
        if !whole || header.records.len() as u64 != header.compressed_size {
            return Err(ChunkError::Damaged);
        }
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let options = LinearReaderOptions::default()
        .with_skip_start_magic(true)
        .with_skip_end_magic(true)
        .with_prevalidate_chunk_crcs(!cut)
        .with_record_length_limit(limit);
    let mut reader = LinearReader::new_with_options(options);
    // A cut record is framed by the length it would have had, so that it may run out.
    let length = if cut { header.full_length() } else { body.len() as u64 };
    let mut framed = Vec::with_capacity(9 + body.len());
    framed.push(op::CHUNK);
    framed.extend(length.to_le_bytes());
    framed.extend(body);
    reader.insert(framed.len()).copy_from_slice(&framed);
    reader.notify_read(framed.len());
    drop(framed);
    loop {
        match reader.next_event() {
            None => return Ok(()),
            Some(Ok(LinearReadEvent::Record { opcode, data })) => each(opcode, data),
            Some(Ok(LinearReadEvent::ReadRequest(_))) => reader.notify_read(0),
            Some(Err(_)) => return if cut { Ok(()) } else { Err(ChunkError::Damaged) },
        }
    }
}

struct Header<'a> {
    uncompressed_size: u64,
    uncompressed: bool,
    compressed_size: u64,
    header_bytes: usize,
    /// The records, or as much of them as there is, without padding after them.
    records: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut body = Cursor::new(body);
        let _times = body.take(16)?;
        let uncompressed_size = body.u64_le()?;
        let _checksum = body.u32_le()?;
        let compression = usize::try_from(body.u32_le()?).ok()?;
        let compression = body.take(compression)?;
        let compressed_size = body.u64_le()?;
        let rest = body.rest();
        let length = usize::try_from(compressed_size).unwrap_or(usize::MAX).min(rest.len());
        Some(Self {
            uncompressed_size,
            uncompressed: compression.is_empty(),
            compressed_size,
            header_bytes: body.taken(),
            records: rest.get(..length).unwrap_or_default(),
        })
    }

    fn full_length(&self) -> u64 {
        self.compressed_size.saturating_add(self.header_bytes as u64)
    }
}

/// Gives each whole record of `records` to `each`, and says whether they fill it exactly.
fn walk(records: &[u8], mut each: impl FnMut(u8, &[u8])) -> bool {
    let mut rest = Cursor::new(records);
    while !rest.rest().is_empty() {
        let record = rest
            .array()
            .zip(rest.u64_le())
            .and_then(|([opcode], length)| Some((opcode, rest.take(usize::try_from(length).ok()?)?)));
        let Some((opcode, data)) = record else { return false };
        each(opcode, data);
    }
    true
}

//! A cursor over bytes that answers `None` where the bytes end: the bottom of every binary parser
//! here, so that no parser indexes.

/// The bytes not yet read.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, taken: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        self.taken += count;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u16_le(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string after its length as 32 bits, little-endian (MCAP's form). Invalid UTF-8 is replaced.
    pub(crate) fn string_le(&mut self, longest: usize) -> Option<String> {
        let length = usize::try_from(self.u32_le()?).ok()?;
        let bytes = self.take(length)?;
        (length <= longest).then(|| String::from_utf8_lossy(bytes).into_owned())
    }
}

//! How much a file may ask for. A recording's header can claim any size; these numbers decide what
//! is believed. The defaults fit recordings of hours on a board with a gigabyte of memory; a caller
//! that knows its data can be stricter, or laxer.

/// Upper bounds on what is read from one recording, each checked before memory is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest image, `.npz` or CSV file, in bytes. MCAP files are streamed and may be any size.
    pub file_bytes: u64,
    /// Widest and highest image, in pixels.
    pub image_side: u32,
    /// Most pixels in one image: three bytes each once decoded, about ten while a progressive JPEG
    /// is being decoded.
    pub image_pixels: u64,
    /// Largest MCAP message or chunk, in bytes, compressed or not. Up to three times this is held,
    /// and what the decompressor needs (zstd: a window of at most 128 MiB, if a chunk asks for it).
    pub record_bytes: u64,
    /// Message bytes held back to put an MCAP stream into time order, besides one chunk.
    pub reorder_bytes: u64,
    /// Most messages in one MCAP stream, counting ignored topics.
    pub messages: u64,
    /// Most rows over all series of one file.
    pub rows: u64,
    /// Most channels of a series.
    pub channels: u64,
    /// Most values (rows times channels, four bytes each) over all series of one file. Up to twice
    /// their memory is held.
    pub values: u64,
    /// Most items in a container: files under an image folder, members of an archive, series in a
    /// file.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 1 << 30,
            image_side: 8192,
            image_pixels: 1 << 25,
            record_bytes: 1 << 26,
            reorder_bytes: 1 << 24,
            messages: 1 << 32,
            rows: 1 << 25,
            channels: 256,
            values: 1 << 26,
            entries: 1 << 21,
        }
    }
}

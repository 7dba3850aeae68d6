//! JPEG and PNG bytes to RGB frames. A stated size is checked before pixels are reserved, and a
//! picture that stops early is an error rather than a half-grey frame: a learner would take the
//! grey for something it saw.

use std::io::Cursor;
use std::path::Path;

use sedge_readings::Frame;
use zune_core::bytestream::ZCursor;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::file::read_whole;
use crate::{Limits, RecordingError};

const JPEG_MAGIC: &[u8] = &[0xFF, 0xD8, 0xFF];
const JPEG_SCAN: [u8; 2] = [0xFF, 0xDA];
const JPEG_END: [u8; 2] = [0xFF, 0xD9];
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A picture format, recognised by its first bytes and never by a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// Baseline or progressive JPEG.
    Jpeg,
    /// PNG; of an animation, the default image.
    Png,
}

impl ImageFormat {
    /// The format that `bytes` begin like, if any.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(JPEG_MAGIC) {
            Some(Self::Jpeg)
        } else if bytes.starts_with(PNG_MAGIC) {
            Some(Self::Png)
        } else {
            None
        }
    }
}

/// Why bytes do not decode to a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The bytes begin neither like a JPEG nor like a PNG.
    #[error("neither a JPEG nor a PNG ({bytes} bytes)")]
    Unrecognised {
        /// Bytes given.
        bytes: usize,
    },
    /// The picture is larger than the limits allow.
    #[error(
        "a picture of {width}x{height} is over the limit of {side} a side and {pixels} pixels; \
         raise `Limits::image_side` and `Limits::image_pixels` if it is to be trusted"
    )]
    TooLarge {
        /// Stated width in pixels.
        width: u64,
        /// Stated height in pixels.
        height: u64,
        /// [`Limits::image_side`].
        side: u32,
        /// [`Limits::image_pixels`].
        pixels: u64,
    },
    /// A JPEG has no end marker: the rest was lost.
    #[error("the JPEG stops before its end marker")]
    Truncated,
    /// The JPEG decoder refused.
    #[error("broken JPEG: {0}")]
    Jpeg(String),
    /// The PNG decoder refused.
    #[error("broken PNG: {0}")]
    Png(String),
}

/// Decodes a JPEG or PNG to 8-bit RGB. Grey is spread over three channels, palettes are looked up,
/// 16-bit samples keep their high byte, and alpha is dropped.
pub fn decode_image(bytes: &[u8], limits: &Limits) -> Result<Frame, ImageError> {
    match ImageFormat::of(bytes) {
        Some(ImageFormat::Jpeg) => decode_jpeg(bytes, limits),
        Some(ImageFormat::Png) => decode_png(bytes, limits),
        None => Err(ImageError::Unrecognised { bytes: bytes.len() }),
    }
}

/// Reads and decodes a JPEG or PNG file as [`decode_image`] does.
pub fn read_image(path: &Path, limits: &Limits) -> Result<Frame, RecordingError> {
    let bytes = read_whole(path, limits.file_bytes)?;
    decode_image(&bytes, limits).map_err(|source| RecordingError::Image { path: path.to_owned(), source })
}

/// Checks a stated size and gives its pixels. Four bytes for each fit the address space.
pub(crate) fn checked_pixels(width: u64, height: u64, limits: &Limits) -> Result<usize, ImageError> {
    let side = u64::from(limits.image_side);
    let pixels = width.saturating_mul(height);
    let addressable = usize::try_from(pixels).ok().filter(|pixels| pixels.checked_mul(4).is_some());
    match addressable {
        Some(count) if width <= side && height <= side && pixels <= limits.image_pixels => Ok(count),
        _ => {
            Err(ImageError::TooLarge { width, height, side: limits.image_side, pixels: limits.image_pixels })
        }
    }
}

fn decode_jpeg(bytes: &[u8], limits: &Limits) -> Result<Frame, ImageError> {
    let refused = |error: zune_jpeg::errors::DecodeErrors| ImageError::Jpeg(format!("{error:?}"));
    if !is_whole_jpeg(bytes) {
        return Err(ImageError::Truncated);
    }
    // The sides are bounded by `checked_pixels` below; strict, so that lost data is an error.
    let options = DecoderOptions::default()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(refused)?;
    let (width, height) =
        decoder.dimensions().ok_or_else(|| ImageError::Jpeg("no frame header".to_owned()))?;
    let pixels = checked_pixels(width as u64, height as u64, limits)?;
    let mut rgb = vec![0; 3 * pixels];
    if decoder.output_buffer_size() != Some(rgb.len()) {
        return Err(ImageError::Jpeg("its colours cannot be turned into RGB".to_owned()));
    }
    decoder.decode_into(&mut rgb).map_err(refused)?;
    frame(width as u64, height as u64, rgb).map_err(ImageError::Jpeg)
}

/// Whether an end marker follows the last scan. Cameras may put anything behind it, and a preview
/// in front has an end of its own; within a scan, neither marker can occur.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    let scan = bytes.array_windows().rposition(|&marker| marker == JPEG_SCAN).unwrap_or(0);
    bytes.get(scan..).unwrap_or_default().array_windows().any(|&marker| marker == JPEG_END)
}

fn decode_png(bytes: &[u8], limits: &Limits) -> Result<Frame, ImageError> {
    let refused = |error: png::DecodingError| ImageError::Png(error.to_string());
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(refused)?;
    let (width, height) = (header.width, header.height);
    let pixels = checked_pixels(width.into(), height.into(), limits)?;
    let mut reader = decoder.read_info().map_err(refused)?;
    let wanted = reader.output_buffer_size().filter(|&size| size <= 4 * pixels);
    let mut samples = vec![0; wanted.ok_or_else(|| ImageError::Png("its rows do not add up".to_owned()))?];
    let info = reader.next_frame(&mut samples).map_err(refused)?;
    // Reads on to the end chunk, so that a file cut there does not pass for whole.
    reader.finish().map_err(refused)?;
    let rgb: Vec<u8> = match info.color_type {
        png::ColorType::Rgb => samples,
        png::ColorType::Rgba => {
            samples.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
        }
        png::ColorType::Grayscale => samples.iter().flat_map(|&grey| [grey; 3]).collect(),
        png::ColorType::GrayscaleAlpha => {
            samples.as_chunks::<2>().0.iter().flat_map(|&[grey, _]| [grey; 3]).collect()
        }
        png::ColorType::Indexed => return Err(ImageError::Png("it has no palette".to_owned())),
    };
    frame(width.into(), height.into(), rgb).map_err(ImageError::Png)
}

fn frame(width: u64, height: u64, rgb: Vec<u8>) -> Result<Frame, String> {
    let side = |length: u64| u32::try_from(length).map_err(|error| error.to_string());
    Frame::new(side(width)?, side(height)?, rgb).map_err(|error| error.to_string())
}

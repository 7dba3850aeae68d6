//! The bytes of one frame to a [`Frame`]. What is reserved is fixed by the size that was agreed on with the
//! camera, never by what a frame says of itself.

use sedge_boards::board::{CameraSpec, PixelFormat};
use sedge_readings::Frame;
use sedge_recordings::{ImageError, Limits, decode_image};

use crate::error::{CameraError, FrameError};
use crate::jpeg;
use crate::pixels::{Colour, Levels, Matrix, from_grey, from_nv12, from_yuyv};

/// Longest side of a frame in pixels, as board files allow.
pub(crate) const MAX_SIDE: u32 = 4096;

/// How the pixels of a frame lie in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Mjpeg,
    Yuyv(Colour),
    Nv12(Colour),
    Grey(Levels),
}

/// Packing and size of a camera's frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) packing: Packing,
    width: u32,
    height: u32,
    /// Bytes from one row to the next; of no meaning for a JPEG.
    stride: usize,
}

impl Layout {
    /// The layout that a board file asks for, rows without gaps, colours as cameras have them that say nothing.
    pub(crate) fn of(spec: &CameraSpec) -> Result<Self, CameraError> {
        let wrong = |key, found: String, allowed: &str| CameraError::Setting {
            camera: spec.name.clone(),
            key,
            found,
            allowed: allowed.to_owned(),
        };
        for (key, side) in [("width", spec.width), ("height", spec.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(wrong(key, side.to_string(), "1 to 4096"));
            }
        }
        if spec.rate_hz == 0 {
            return Err(wrong("rate_hz", "0".to_owned(), "1 to 240"));
        }
        let colour = Colour::new(Matrix::Bt601, Levels::Limited);
        let packing = match spec.format {
            Some(PixelFormat::Mjpeg) => Packing::Mjpeg,
            Some(PixelFormat::Yuyv) => Packing::Yuyv(colour),
            Some(PixelFormat::Nv12) => Packing::Nv12(colour),
            Some(PixelFormat::Grey) => Packing::Grey(Levels::Full),
            _ => return Err(wrong("format", "absent".to_owned(), "mjpeg, yuyv, nv12 or grey")),
        };
        let pairs = "an even number, as pixels share their colours";
        if matches!(packing, Packing::Yuyv(_) | Packing::Nv12(_)) && !spec.width.is_multiple_of(2) {
            return Err(wrong("width", spec.width.to_string(), pairs));
        }
        if matches!(packing, Packing::Nv12(_)) && !spec.height.is_multiple_of(2) {
            return Err(wrong("height", spec.height.to_string(), pairs));
        }
        let across = spec.width as usize;
        let stride = if matches!(packing, Packing::Yuyv(_)) { 2 * across } else { across };
        Ok(Self { packing, width: spec.width, height: spec.height, stride })
    }

    /// The same with rows this far apart and these colours, as a driver says.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    pub(crate) fn with(self, stride: usize, colour: Colour, grey: Levels) -> Self {
        let packing = match self.packing {
            Packing::Mjpeg => Packing::Mjpeg,
            Packing::Yuyv(_) => Packing::Yuyv(colour),
            Packing::Nv12(_) => Packing::Nv12(colour),
            Packing::Grey(_) => Packing::Grey(grey),
        };
        Self { packing, stride: stride.max(self.stride), ..self }
    }

    /// Bytes of a frame; of a JPEG, the most that are taken for one.
    pub(crate) fn bytes(&self) -> usize {
        let (pixels, height) = (self.width as usize * self.height as usize, self.height as usize);
        match self.packing {
            // A JPEG of noise at the best quality takes little more than its pixels; headers and previews come on top.
            Packing::Mjpeg => 4 * pixels + (1 << 17),
            Packing::Yuyv(_) | Packing::Grey(_) => self.stride * height,
            Packing::Nv12(_) => self.stride * height + self.stride * height / 2,
        }
    }

    /// The frame in these bytes.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Frame, FrameError> {
        let (width, height) = (self.width as usize, self.height as usize);
        let rgb = match self.packing {
            Packing::Mjpeg => return self.jpeg(bytes),
            Packing::Yuyv(colour) => from_yuyv(bytes, width, height, self.stride, colour),
            Packing::Nv12(colour) => from_nv12(bytes, width, height, self.stride, colour),
            Packing::Grey(levels) => from_grey(bytes, width, height, self.stride, levels),
        };
        let short = || FrameError::Short { found: bytes.len(), wanted: self.bytes() };
        Frame::new(self.width, self.height, rgb.ok_or_else(short)?).map_err(|_| short())
    }

    fn jpeg(&self, bytes: &[u8]) -> Result<Frame, FrameError> {
        let (wanted_width, wanted_height) = (self.width, self.height);
        let size = |width, height| FrameError::Size { width, height, wanted_width, wanted_height };
        let limits = Limits {
            image_side: self.width.max(self.height),
            image_pixels: u64::from(self.width) * u64::from(self.height),
            ..Limits::default()
        };
        let short = |side: u64| u32::try_from(side).unwrap_or(u32::MAX);
        let frame = decode_image(&jpeg::with_tables(bytes), &limits).map_err(|error| match error {
            ImageError::TooLarge { width, height, .. } => size(short(width), short(height)),
            other => FrameError::Jpeg(other),
        })?;
        if (frame.width(), frame.height()) != (self.width, self.height) {
            return Err(size(frame.width(), frame.height()));
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests;

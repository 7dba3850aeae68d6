//! Camera frames and the stream event that carries them beside IMU samples.

use alloc::sync::Arc;

use crate::{ImuSample, Reading, Timestamp};

/// An RGB image, 8 bits a channel, rows from the top, pixels interleaved. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    width: u32,
    height: u32,
    rgb: Arc<[u8]>,
}

/// A pixel buffer whose length does not fit its stated size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// Stated width in pixels.
    pub width: u32,
    /// Stated height in pixels.
    pub height: u32,
    /// Bytes given; `width * height * 3` were wanted.
    pub bytes: usize,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { width, height, bytes } = self;
        write!(f, "a {width}x{height} RGB frame cannot hold {bytes} bytes")
    }
}

impl core::error::Error for FrameError {}

impl Frame {
    /// A frame of `width` x `height` pixels over `rgb`, which must hold exactly three bytes a pixel.
    pub fn new(width: u32, height: u32, rgb: impl Into<Arc<[u8]>>) -> Result<Self, FrameError> {
        let rgb = rgb.into();
        let wanted = u64::from(width) * u64::from(height);
        if wanted.checked_mul(3) != Some(rgb.len() as u64) || rgb.is_empty() {
            return Err(FrameError { width, height, bytes: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `height * width * 3` bytes: row by row from the top, red, green, blue.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

/// One thing that happened on a stream of camera and IMU. Streams are ordered by time, but a
/// consumer must bear one that is not.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A camera frame, or the reason for none.
    Frame(Reading<Frame>),
    /// An IMU sample, or the reason for none.
    Imu(Reading<ImuSample>),
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Frame(reading) => reading.at,
            Self::Imu(reading) => reading.at,
        }
    }
}

//! Samples of one kind and shape in one block of memory, and what is computed over all of them.
//! Whatever the kind, a sample has at most an image and a window, or is a text; everything here is said once
//! for each of these parts.

use sedge_augment::ImageSource;
use sedge_models::text;
use sha2::{Digest, Sha256};

use super::DataError;

/// Samples of one kind and shape, in one block.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// RGB images of equal size, 8 bits a channel.
    Images {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// `[n, height, width, 3]`.
        pixels: Vec<u8>,
    },
    /// Windows of a multi-channel series, in natural units.
    Windows {
        /// Channels.
        channels: usize,
        /// Rows a window.
        length: usize,
        /// Rows a second; zero when the data has no clock.
        rate_hz: f32,
        /// `[n, channels, length]`.
        values: Vec<f32>,
    },
    /// Texts as bytes: numbers of tokens (see [`sedge_models::text`]), with padding behind each that is shorter.
    Texts {
        /// Tokens a text.
        length: usize,
        /// `[n, length]`.
        tokens: Vec<u16>,
    },
    /// Images, each with the window of a series around its time: a camera frame and what the IMU
    /// felt meanwhile.
    Pairs {
        /// Width of the images in pixels.
        width: usize,
        /// Height of the images in pixels.
        height: usize,
        /// `[n, height, width, 3]`.
        pixels: Vec<u8>,
        /// Channels of the windows.
        channels: usize,
        /// Rows a window.
        length: usize,
        /// Rows a second; zero when the data has no clock.
        rate_hz: f32,
        /// `[n, channels, length]`, in natural units.
        values: Vec<f32>,
    },
}

/// The images of samples.
#[derive(Clone, Copy)]
pub(super) struct Pictures<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: &'a [u8],
}

/// The windows of samples.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) channels: usize,
    pub(super) length: usize,
    pub(super) rate_hz: f32,
    pub(super) values: &'a [f32],
}

/// The texts of samples.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) length: usize,
    pub(super) tokens: &'a [u16],
}

impl<'a> Pictures<'a> {
    /// Bytes of one image.
    pub(super) fn stride(&self) -> usize {
        self.width.saturating_mul(self.height).saturating_mul(3)
    }

    pub(super) fn get(&self, index: usize) -> Option<ImageSource<'a>> {
        ImageSource::new(part(self.pixels, self.stride(), index)?, self.width, self.height).ok()
    }

    /// Mean and variance of one channel, scaled to 0..1; exact, by counting.
    fn moments(&self, channel: usize) -> (f64, f64) {
        let mut counts = [0u64; 256];
        self.pixels.iter().skip(channel).step_by(3).for_each(|&byte| counts[usize::from(byte)] += 1);
        let n = counts.iter().sum::<u64>().max(1) as f64;
        let level = |i: usize| i as f64 / 255.0;
        let mean = counts.iter().enumerate().map(|(i, &c)| c as f64 * level(i)).sum::<f64>() / n;
        let squares = counts.iter().enumerate().map(|(i, &c)| c as f64 * (level(i) - mean).powi(2));
        (mean, squares.sum::<f64>() / n)
    }
}

impl<'a> Rows<'a> {
    /// Values of one window.
    pub(super) fn stride(&self) -> usize {
        self.channels.saturating_mul(self.length)
    }

    pub(super) fn get(&self, index: usize) -> Option<&'a [f32]> {
        part(self.values, self.stride(), index)
    }

    /// Mean and variance of one channel, in two passes.
    fn moments(&self, channel: usize) -> (f64, f64) {
        let of_channel =
            || self.values.chunks_exact(self.length).skip(channel).step_by(self.channels).flatten();
        let n = (self.values.len() / self.channels).max(1) as f64;
        let mean = of_channel().map(|v| f64::from(*v)).sum::<f64>() / n;
        (mean, of_channel().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n)
    }
}

impl<'a> Lines<'a> {
    pub(super) fn get(&self, index: usize) -> Option<&'a [u16]> {
        part(self.tokens, self.length, index)
    }
}

fn part<T>(values: &[T], stride: usize, index: usize) -> Option<&[T]> {
    values.get(index.checked_mul(stride)?..)?.get(..stride)
}

impl Samples {
    /// The images, where samples have them.
    pub(super) fn pictures(&self) -> Option<Pictures<'_>> {
        match self {
            Self::Images { width, height, pixels } | Self::Pairs { width, height, pixels, .. } => {
                Some(Pictures { width: *width, height: *height, pixels })
            }
            Self::Windows { .. } | Self::Texts { .. } => None,
        }
    }

    /// The windows, where samples have them.
    pub(super) fn windows(&self) -> Option<Rows<'_>> {
        match self {
            Self::Windows { channels, length, rate_hz, values }
            | Self::Pairs { channels, length, rate_hz, values, .. } => {
                Some(Rows { channels: *channels, length: *length, rate_hz: *rate_hz, values })
            }
            Self::Images { .. } | Self::Texts { .. } => None,
        }
    }

    /// The texts, where samples are texts.
    pub(super) fn texts(&self) -> Option<Lines<'_>> {
        match self {
            Self::Texts { length, tokens } => Some(Lines { length: *length, tokens }),
            _ => None,
        }
    }

    /// What the samples are, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Images { .. } => "images",
            Self::Windows { .. } => "windows",
            Self::Texts { .. } => "texts",
            Self::Pairs { .. } => "pairs of an image and a window",
        }
    }

    /// Number of whole samples.
    pub(super) fn len(&self) -> usize {
        let pictures = self.pictures().map(|p| p.pixels.len().checked_div(p.stride()).unwrap_or(0));
        let windows = self.windows().map(|w| w.values.len().checked_div(w.stride()).unwrap_or(0));
        let texts = self.texts().map(|t| t.tokens.len().checked_div(t.length).unwrap_or(0));
        pictures.into_iter().chain(windows).chain(texts).min().unwrap_or(0)
    }

    /// Memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let pictures = self.pictures().map_or(0, |p| p.pixels.len());
        let texts = self.texts().map_or(0, |t| size_of_val(t.tokens));
        self.windows().map_or(0, |w| size_of_val(w.values)).saturating_add(pictures).saturating_add(texts)
    }

    /// Whether every part is a whole number of samples, the same for all, and not none, and every token one
    /// that there is.
    pub(super) fn check(&self) -> Result<(), DataError> {
        let count = self.len();
        let pictures = self.pictures().map(|p| ("pixels", p.pixels.len(), count * p.stride()));
        let windows = self.windows().map(|w| ("values", w.values.len(), count * w.stride()));
        let texts = self.texts().map(|t| ("tokens", t.tokens.len(), count * t.length));
        for (what, found, wanted) in pictures.into_iter().chain(windows).chain(texts) {
            if found != wanted || found == 0 {
                return Err(DataError::Lengths { what, found, wanted });
            }
        }
        let mut tokens = self.texts().into_iter().flat_map(|texts| texts.tokens);
        match tokens.find(|token| usize::from(**token) >= text::TOKENS) {
            Some(token) => Err(DataError::Token { token: *token }),
            None => Ok(()),
        }
    }

    /// The samples of `indices`, each of which must be there.
    pub(super) fn subset(&self, indices: &[usize]) -> Self {
        let pictures = || self.pictures().map_or(Vec::new(), |p| pick(p.pixels, p.stride(), indices));
        let windows = || self.windows().map_or(Vec::new(), |w| pick(w.values, w.stride(), indices));
        match *self {
            Self::Images { width, height, .. } => Self::Images { width, height, pixels: pictures() },
            Self::Windows { channels, length, rate_hz, .. } => {
                Self::Windows { channels, length, rate_hz, values: windows() }
            }
            Self::Texts { length, ref tokens } => {
                Self::Texts { length, tokens: pick(tokens, length, indices) }
            }
            Self::Pairs { width, height, channels, length, rate_hz, .. } => Self::Pairs {
                width,
                height,
                pixels: pictures(),
                channels,
                length,
                rate_hz,
                values: windows(),
            },
        }
    }

    /// Puts the samples of `other`, of the same kind and shape, behind these.
    pub(super) fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Images { pixels, .. }, Self::Images { pixels: more, .. }) => pixels.extend(more),
            (Self::Windows { values, .. }, Self::Windows { values: more, .. }) => values.extend(more),
            (Self::Texts { tokens, .. }, Self::Texts { tokens: more, .. }) => tokens.extend(more),
            (
                Self::Pairs { pixels, values, .. },
                Self::Pairs { pixels: more_pixels, values: more_values, .. },
            ) => {
                pixels.extend(more_pixels);
                values.extend(more_values);
            }
            // The caller has compared kinds.
            _ => {}
        }
    }

    /// Mean and variance of each channel of the images.
    pub(super) fn picture_moments(&self) -> Option<Vec<(f64, f64)>> {
        self.pictures().map(|pictures| (0..3).map(|c| pictures.moments(c)).collect())
    }

    /// Mean and variance of each channel of the windows.
    pub(super) fn window_moments(&self) -> Option<Vec<(f64, f64)>> {
        self.windows().map(|windows| (0..windows.channels).map(|c| windows.moments(c)).collect())
    }

    /// Feeds shape and content to a hash.
    pub(super) fn hash(&self, hash: &mut Sha256) {
        let count = self.len();
        if let Some(Pictures { width, height, pixels }) = self.pictures() {
            hash.update(format!("images {count} {height} {width}\n"));
            hash.update(pixels);
        }
        if let Some(Lines { length, tokens }) = self.texts() {
            hash.update(format!("texts {count} {length}\n"));
            for block in tokens.chunks(4096) {
                let bytes: Vec<u8> = block.iter().flat_map(|token| token.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        if let Some(Rows { channels, length, rate_hz, values }) = self.windows() {
            hash.update(format!("windows {count} {channels} {length} {rate_hz}\n"));
            // Little-endian whatever the machine, in blocks that stay in cache.
            for block in values.chunks(4096) {
                let bytes: Vec<u8> = block.iter().flat_map(|v| v.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
    }
}

fn pick<T: Copy>(values: &[T], stride: usize, indices: &[usize]) -> Vec<T> {
    let mut picked = Vec::with_capacity(stride * indices.len());
    // The caller has checked every index against the length.
    indices.iter().for_each(|&i| picked.extend_from_slice(&values[i * stride..][..stride]));
    picked
}

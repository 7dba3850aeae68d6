//! How data is to be loaded: what to take, into what shape, and how much may go wrong.

use std::path::PathBuf;

use sedge_models::Modality;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::loader::MAX_WORKERS;

/// Largest side that images are resized to.
const MAX_IMAGE_SIZE: usize = 4096;
/// Longest window, in rows.
const MAX_WINDOW: usize = sedge_augment::MAX_SIDE;
/// Longest text, in tokens: attention compares each with each.
const MAX_TEXT: usize = 4096;

/// What to load and within which limits. Fields that do not concern a source are ignored by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// Which part of a folder: its files `<split>-*.parquet`, or its sub-folder of that name.
    pub split: String,
    /// Only the samples of these groups: subjects where a series names them, else recordings by number.
    pub groups: Option<Vec<u32>>,
    /// At most this many samples: the first images of a Parquet file or stream, but evenly spread
    /// ones of an image folder, of windows or of texts, whose order is often by class or subject.
    pub limit: Option<usize>,
    /// Resizes every image, by its largest centred square, to this many pixels a side. Without it
    /// images keep their size, and must all have the same.
    pub image_size: Option<usize>,
    /// What to take of a stream that has both; images, when it has any, by default.
    pub modality: Option<Modality>,
    /// Takes of a stream each frame together with the IMU window around its time; frames without a
    /// whole window are left out. Then `modality` says nothing.
    pub pairs: bool,
    /// Which camera of a robot's data set; the first by name, by default.
    pub camera: Option<String>,
    /// Which features of a robot's data set make the channels of windows, one after the other;
    /// `observation.state`, or else all that begin with `observation.`, by default.
    pub features: Option<Vec<String>>,
    /// Frames a second that are taken of a video; all, by default.
    pub fps: Option<f32>,
    /// The program `ffmpeg`, with `ffprobe` beside it; on the search path, by default.
    pub ffmpeg: Option<PathBuf>,
    /// Tokens that a text is given: bytes and, where it is shorter, padding.
    pub length: usize,
    /// Rows in a window.
    pub window: usize,
    /// Rows from one window's start to the next.
    pub stride: usize,
    /// Resamples series to this many rows a second; without it they keep their rate.
    pub rate_hz: Option<f32>,
    /// The rate that series were recorded at, where the file does not say, or says wrong.
    pub source_rate_hz: Option<f32>,
    /// Accelerations are in g and are to be turned into m/s².
    pub accel_in_g: bool,
    /// Most memory that the samples may take, in bytes.
    pub max_bytes: u64,
    /// Most bad records that are passed over before loading is given up.
    pub max_skipped: u64,
    /// Threads that decode images; changes nothing but the time it takes.
    pub workers: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            split: "train".to_owned(),
            groups: None,
            limit: None,
            image_size: None,
            modality: None,
            pairs: false,
            camera: None,
            features: None,
            fps: None,
            ffmpeg: None,
            length: 128,
            window: 128,
            stride: 64,
            rate_hz: None,
            source_rate_hz: None,
            accel_in_g: false,
            max_bytes: 4 << 30,
            max_skipped: 1000,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        }
    }
}

impl LoadOptions {
    /// Whether every option is within its range.
    ///
    /// # Errors
    /// [`DataError::Option`] with the name of the first that is not.
    pub fn check(&self) -> Result<(), DataError> {
        let one_or_more = "one or more";
        require("limit", self.limit.unwrap_or(1), |n| *n > 0, one_or_more)?;
        require(
            "image_size",
            self.image_size.unwrap_or(1),
            |n| (1..=MAX_IMAGE_SIZE).contains(n),
            "1 to 4096",
        )?;
        require("window", self.window, |n| (2..=MAX_WINDOW).contains(n), "2 to 16384 rows")?;
        let length = "2 to 4096 tokens";
        require("length", self.length, |n| (2..=MAX_TEXT).contains(n), length)?;
        require("stride", self.stride, |n| *n > 0, one_or_more)?;
        require("workers", self.workers, |n| (1..=MAX_WORKERS).contains(n), "1 to 64")?;
        for (option, rate) in
            [("rate_hz", self.rate_hz), ("source_rate_hz", self.source_rate_hz), ("fps", self.fps)]
        {
            require(option, rate.unwrap_or(1.0), |r| r.is_finite() && *r > 0.0, "above zero")?;
        }
        let named = !self.split.is_empty() && !self.split.contains(['/', '\\']);
        require("split", self.split.clone(), |_| named, "a name such as train or test")
    }
}

fn require<T: std::fmt::Display>(
    option: &'static str,
    found: T,
    accepts: impl Fn(&T) -> bool,
    wanted: &'static str,
) -> Result<(), DataError> {
    if accepts(&found) { Ok(()) } else { Err(DataError::Option { option, found: found.to_string(), wanted }) }
}

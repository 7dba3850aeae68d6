//! The data of a run: where it is, what is taken of it, and how it is opened.

use std::path::PathBuf;
use std::sync::Arc;

use sedge_models::Modality;
use serde::{Deserialize, Serialize};

use super::config::{ConfigError, value};
use crate::data::stream::{MAX_BAD, Stream, StreamOptions};
use crate::data::{DataError, LoadOptions, Origin, load};

/// Where the data is and what is taken of it; see [`LoadOptions`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A file, a folder, or `sim`.
    pub path: String,
    /// Which split of a data set in several files or folders.
    pub split: String,
    /// Only these groups: subjects, or recordings by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<u32>>,
    /// Samples taken at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Side in pixels that images are resized to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Memory in MiB that the data is streamed in; without, it is loaded whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Share of streamed samples that may be bad in an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bad: Option<f64>,
    /// What to take of a recording that has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modality: Option<Modality>,
    /// Takes each frame of a recording together with the IMU window around its time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pairs: bool,
    /// Camera taken of a robot's data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Features of a robot's data set that make the channels of windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// Frames a second that are taken of a video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f32>,
    /// Where the program `ffmpeg` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffmpeg: Option<PathBuf>,
    /// Tokens that a text is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Rows in a window.
    pub window: usize,
    /// Rows from one window to the next.
    pub stride: usize,
    /// Rows a second that a series is brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_hz: Option<f32>,
    /// Rows a second that a series was recorded at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_rate_hz: Option<f32>,
    /// Accelerations are in g.
    pub accel_in_g: bool,
}

impl DataConfig {
    /// The options that [`load`](crate::data::load) takes beside the path.
    pub fn options(&self) -> LoadOptions {
        let defaults = LoadOptions::default();
        LoadOptions {
            split: self.split.clone(),
            groups: self.groups.clone(),
            limit: self.limit,
            image_size: self.image_size,
            modality: self.modality,
            pairs: self.pairs,
            camera: self.camera.clone(),
            features: self.features.clone(),
            fps: self.fps,
            ffmpeg: self.ffmpeg.clone(),
            length: self.length.unwrap_or(defaults.length),
            window: self.window,
            stride: self.stride,
            rate_hz: self.rate_hz,
            source_rate_hz: self.source_rate_hz,
            accel_in_g: self.accel_in_g,
            ..defaults
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.path.is_empty() {
            return Err(ConfigError::NoData);
        }
        if self.memory_mb.is_some_and(|mb| !(2..=1 << 20).contains(&mb)) {
            return value("memory_mb", self.memory_mb.unwrap_or(0), "2 to 1048576 MiB");
        }
        if let Some(share) = self.max_bad.filter(|share| !(0.0..=1.0).contains(share)) {
            return value("max_bad", share, "0 to 1");
        }
        Ok(self.options().check()?)
    }

    /// The data itself, loaded or, where memory is stated, ready to be streamed in batches of `batch`.
    ///
    /// # Errors
    /// Whatever is wrong with the data.
    pub fn open(&self, batch: usize) -> Result<Origin, DataError> {
        let Some(mb) = self.memory_mb else {
            return Ok(Arc::new(load(&self.path, &self.options())?).into());
        };
        let options = StreamOptions {
            load: self.options(),
            // One chunk is in use while the next is filled.
            chunk_bytes: (u64::from(mb) << 20) / 2,
            max_bad: self.max_bad.unwrap_or(MAX_BAD),
            align: batch.max(1),
        };
        Ok(Arc::new(Stream::open(&self.path, options)?).into())
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

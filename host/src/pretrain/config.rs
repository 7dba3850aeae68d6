//! A pretraining run with nothing left open: what is written into the run directory, what a resumed
//! run reads back, and what a bundle keeps of its origin.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sedge_augment::{AugmentError, ImageAugment, TextAugment, WindowAugment};
use sedge_models::Modality;
use sedge_models::architecture::{Architecture, ArchitectureError};
use sedge_models::compile::MAX_MICRO_BATCHES;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::method::Method;
use crate::cost::{MAX_G_PER_KWH, WORLD_G_PER_KWH};
use crate::data::stream::{MAX_BAD, Stream, StreamOptions};
use crate::data::{Augment, DataError, LoadOptions, MAX_WORKERS, Origin, load};
use crate::gpu::{Device, Precision};

/// Which optimiser moves the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019)
    Adamw,
    /// Gradient descent with momentum
    Sgd,
    /// Gradient descent with momentum whose rate follows each weight's norm, for large batches; biases and
    /// norms move by plain gradient descent (You et al. 2017)
    Lars,
}

/// What the learning rate does after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Falls to zero along half a cosine (Loshchilov & Hutter 2017)
    Cosine,
    /// Stays
    Constant,
}

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

/// How views are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AugmentConfig {
    /// Of images.
    Image(ImageAugment),
    /// Of windows.
    Window(WindowAugment),
    /// Of texts.
    Text(TextAugment),
}

impl From<AugmentConfig> for Augment {
    fn from(config: AugmentConfig) -> Self {
        match config {
            AugmentConfig::Image(augment) => Self::Image(augment),
            AugmentConfig::Window(augment) => Self::Window(augment),
            AugmentConfig::Text(augment) => Self::Text(augment),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn world_grid() -> f64 {
    WORLD_G_PER_KWH
}

fn is_world_grid(value: &f64) -> bool {
    *value == WORLD_G_PER_KWH
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Momentum of gradient descent unless a run says otherwise, as in runs older than the setting.
pub(super) const MOMENTUM: f64 = 0.9;

fn usual_momentum() -> f64 {
    MOMENTUM
}

fn is_usual_momentum(value: &f64) -> bool {
    *value == MOMENTUM
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}

/// A pretraining run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Method of pretraining.
    pub method: Method,
    /// Passes over the data.
    pub epochs: u32,
    /// Samples in a batch.
    pub batch: usize,
    /// Optimiser.
    pub optimizer: OptimizerName,
    /// Learning rate at its highest.
    pub lr: f64,
    /// Weight decay; biases and norms have none.
    pub weight_decay: f64,
    /// Momentum of `sgd` and `lars`.
    #[serde(default = "usual_momentum", skip_serializing_if = "is_usual_momentum")]
    pub momentum: f64,
    /// Norm that all gradients together are scaled down to where theirs is larger (Pascanu et al. 2013).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Batches whose gradients are averaged before the weights move.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Temperature of the contrastive loss.
    pub temperature: f64,
    /// How far apart in time the two views of a pair may be, in milliseconds; zero for two views of
    /// one sample.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub neighbour_ms: u64,
    /// Epochs in which the learning rate rises.
    pub warmup_epochs: f64,
    /// What the learning rate does after that.
    pub schedule: Schedule,
    /// Seed of everything random.
    pub seed: u64,
    /// Where steps run.
    #[serde(default, skip_serializing_if = "Device::is_cpu")]
    pub device: Device,
    /// In which format products and convolutions are computed there.
    #[serde(default, skip_serializing_if = "Precision::is_single")]
    pub precision: Precision,
    /// Threads that make batches.
    pub workers: usize,
    /// Epochs between measurements of kNN accuracy; 0 for never.
    pub eval_every: u32,
    /// Epochs between checkpoints.
    pub checkpoint_every: u32,
    /// Grams of CO2 a kilowatt-hour of the electricity used; only for the report.
    #[serde(default = "world_grid", skip_serializing_if = "is_world_grid")]
    pub grid_g_per_kwh: f64,
    /// Where the data is.
    pub data: DataConfig,
    /// What the encoder's first weights are taken from: a run, a bundle or an ONNX file. Without, they are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// The encoder.
    pub architecture: Architecture,
    /// How views are made.
    pub augment: AugmentConfig,
    /// How views of the windows are made, where a sample is an image with a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_augment: Option<WindowAugment>,
    /// Settings of the method; empty in runs older than it.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub pretext: toml::Table,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{} is larger than {limit} bytes and so no configuration", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The text is not TOML, or a value is of the wrong type.
    #[error("{}:{line}: {reason}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A key that means nothing.
    #[error(
        "{}:{line}: there is no setting `{key}`{}; known here: {known}",
        path.display(),
        match nearest { Some(nearest) => format!(", did you mean `{nearest}`?"), None => String::new() }
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// The key.
        key: String,
        /// The known key most like it, if one is.
        nearest: Option<String>,
        /// The keys known in that table, comma separated.
        known: String,
    },
    /// A setting of the method that it has not, or of another type.
    #[error("`[pretext]` for method {method}: {reason}")]
    Pretext {
        /// The method.
        method: String,
        /// What was said.
        reason: String,
    },
    /// Neither file nor flags say where the data is.
    #[error("no data is given; add `--data PATH`, or `path` under `[data]` in the configuration")]
    NoData,
    /// A value out of range.
    #[error("`{field}` is {found}; it must be {wanted}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        wanted: String,
    },
    /// The encoder cannot be built.
    #[error("`architecture`: {0}")]
    Architecture(#[from] ArchitectureError),
    /// An augmentation setting is out of range.
    #[error("the augmentation: {0}")]
    Augment(#[from] AugmentError),
    /// A data option is out of range.
    #[error("`data`: {0}")]
    Data(#[from] DataError),
    /// The configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML: {reason}")]
    Write {
        /// What the writer said.
        reason: String,
    },
}

fn value<T>(field: &'static str, found: impl ToString, wanted: &str) -> Result<T, ConfigError> {
    Err(ConfigError::Value { field, found: found.to_string(), wanted: wanted.into() })
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

impl PretrainConfig {
    /// Whether every value is in range.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] that names the field.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.data.check()?;
        if self.epochs == 0 {
            return value("epochs", 0, "one or more");
        }
        if !(2..=2048).contains(&self.batch) {
            return value("batch", self.batch, "2 to 2048 samples");
        }
        for (field, found) in [("lr", self.lr), ("temperature", self.temperature)] {
            if !(found.is_finite() && found > 0.0) {
                return value(field, found, "above zero");
            }
        }
        if let Some(norm) = self.clip_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
            return value("clip_norm", norm, "above zero");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return value("momentum", self.momentum, "zero to below one");
        }
        if !(1..=MAX_MICRO_BATCHES).contains(&self.accumulate) {
            return value("accumulate", self.accumulate, "1 to 4096 batches");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return value("weight_decay", self.weight_decay, "zero or more");
        }
        if !(0.0..=f64::from(self.epochs)).contains(&self.warmup_epochs) {
            return value("warmup_epochs", self.warmup_epochs, "zero to the number of epochs");
        }
        if !(1..=MAX_WORKERS).contains(&self.workers) {
            return value("workers", self.workers, "1 to 64");
        }
        if self.checkpoint_every == 0 {
            return value("checkpoint_every", 0, "one or more");
        }
        if !(0.0..=MAX_G_PER_KWH).contains(&self.grid_g_per_kwh) {
            return value("grid_g_per_kwh", self.grid_g_per_kwh, "0 to 3000 grams of CO2 a kWh");
        }
        self.method.complete(&self.pretext)?;
        match &self.augment {
            AugmentConfig::Image(augment) => augment.check()?,
            AugmentConfig::Window(augment) => augment.check()?,
            AugmentConfig::Text(augment) => augment.check()?,
        }
        self.second_augment.as_ref().map_or(Ok(()), WindowAugment::check)?;
        Ok(())
    }

    /// The encoder by the name of its preset, or by its kind where it is none.
    pub fn architecture_name(&self) -> String {
        let presets = Architecture::presets();
        let preset = presets.into_iter().find(|(_, preset)| *preset == self.architecture);
        preset.map_or_else(|| self.architecture.kind().to_owned(), |(name, _)| name.to_owned())
    }

    /// The configuration as TOML; [`PretrainConfig::read`] gives the same back.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Write`] with what the writer says.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|e| ConfigError::Write { reason: e.to_string() })
    }

    /// Reads a resolved configuration, as a run directory keeps it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the path and line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::from_toml(&read_text(path, 1 << 20)?, path)
    }

    /// Reads a resolved configuration from text, as a bundle keeps it; `origin` is for the error.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the origin and line.
    pub fn from_toml(text: &str, origin: &Path) -> Result<Self, ConfigError> {
        let config: Self = parse(origin, text)?;
        config.check()?;
        Ok(config)
    }

    /// SHA-256 in hexadecimal of everything that the result depends on: all but `workers`,
    /// `eval_every`, `checkpoint_every` and `grid_g_per_kwh`, which may change when a run is resumed.
    ///
    /// # Errors
    ///
    /// As [`PretrainConfig::to_toml`].
    pub fn digest(&self) -> Result<String, ConfigError> {
        let fixed = Self {
            workers: 1,
            eval_every: 0,
            checkpoint_every: 1,
            grid_g_per_kwh: WORLD_G_PER_KWH,
            ..self.clone()
        };
        let digest = Sha256::digest(fixed.to_toml()?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Io { path: path.into(), source };
    let mut text = String::new();
    File::open(path).and_then(|f| f.take(limit + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > limit {
        return Err(ConfigError::TooLarge { path: path.into(), limit });
    }
    Ok(text)
}

/// Parses TOML; `path` is for the error.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        unknown_key(path, line, error.message()).unwrap_or_else(|| {
            let reason = error.message().replace('\n', " ");
            ConfigError::Toml { path: path.into(), line, reason }
        })
    })
}

/// serde words an unknown field as "unknown field `x`, expected one of `a`, `b`" (with "`a`" alone,
/// or "`a` or `b`", for short lists): the names in backquotes are all that is needed.
fn unknown_key(path: &Path, line: usize, message: &str) -> Option<ConfigError> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let key = names.next()?.to_string();
    let known: Vec<&str> = names.collect();
    let nearest = known
        .iter()
        .map(|name| (unlikeness(&key, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .map(|(_, name)| name.to_string());
    Some(ConfigError::UnknownKey { path: path.into(), line, key, nearest, known: known.join(", ") })
}

/// One where one name begins with the other (`rate`, `rate_hz`), else the edits between them.
fn unlikeness(a: &str, b: &str) -> usize {
    if a.starts_with(b) || b.starts_with(a) { 1 } else { distance(a, b) }
}

/// Edits that turn `a` into `b` (Levenshtein 1966), one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            left = (left + 1).min(*cell + 1).min(diagonal + usize::from(from != *to));
            diagonal = std::mem::replace(cell, left);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

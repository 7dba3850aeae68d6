//! A pretraining run with nothing left open: what is written into the run directory, what a resumed
//! run reads back, and what a bundle keeps of its origin.

use std::path::{Path, PathBuf};

use sedge_augment::{AugmentError, ImageAugment, TextAugment, WindowAugment};
use sedge_models::architecture::{Architecture, ArchitectureError};
use sedge_models::compile::MAX_MICRO_BATCHES;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config_file::{parse, read_text};
use super::data_config::DataConfig;
use super::method::Method;
use crate::cost::{MAX_G_PER_KWH, WORLD_G_PER_KWH};
use crate::data::{Augment, DataError, MAX_WORKERS};
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

pub(super) fn value<T>(field: &'static str, found: impl ToString, wanted: &str) -> Result<T, ConfigError> {
    Err(ConfigError::Value { field, found: found.to_string(), wanted: wanted.into() })
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

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;

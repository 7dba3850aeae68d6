//! What a person may say about a pretraining run, in a file or by flags: every field may be left
//! out, and one definition serves both, so that a flag and a key never differ in name or meaning.
//! [`Settings::resolve`] turns what was said into a [`PretrainConfig`] with nothing left open.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use sedge_augment::{ImageAugment, TextAugment, WindowAugment};
use sedge_models::Modality;
use sedge_models::architecture::Architecture;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::config::{AugmentConfig, ConfigError, MOMENTUM, OptimizerName, PretrainConfig, Schedule};
use super::data_config::DataConfig;
use super::method::Method;
use crate::cost::WORLD_G_PER_KWH;
use crate::data::{LoadOptions, MAX_WORKERS};
use crate::gpu::{Device, Precision};

/// Largest configuration file read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Settings as given. Later ones go over earlier ones by [`Settings::over`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the data is and what is taken of it.
    #[command(flatten)]
    pub data: DataSettings,
    /// Method of pretraining [default: simclr]
    #[arg(long, value_enum, help_heading = "Training")]
    pub method: Option<Method>,
    /// Encoder: the name of a preset, or in the file a table [default: image-small, imu-small, text-small or what
    /// the method wants]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub architecture: Option<ArchitectureSetting>,
    /// Start from the encoder's weights in a run directory, a .sedge bundle or an .onnx file, and, where it tells,
    /// with its architecture and its normalisation of samples [default: weights drawn by the seed]
    #[arg(long, value_name = "WEIGHTS", help_heading = "Model")]
    pub from: Option<PathBuf>,
    /// Passes over the data [default: 100]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<u32>,
    /// Samples in a batch; most methods show the encoder two views of each [default: 128]
    #[arg(long, value_name = "SAMPLES", help_heading = "Training")]
    pub batch: Option<usize>,
    /// Optimiser [default: adamw]
    #[arg(long, value_enum, help_heading = "Training")]
    pub optimizer: Option<OptimizerName>,
    /// Learning rate at its highest [default: for adamw 0.005 with an encoder of inverted residuals or of
    /// convolutions over time and 0.001 with others, 0.1 for sgd, 0.3 for lars and each 256 samples that a step of
    /// the weights sees]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    pub lr: Option<f64>,
    /// Weight decay [default: 0.01 for adamw, 0.0001 for sgd, 0.000001 for lars]
    #[arg(long, value_name = "RATE", help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// Momentum of sgd and lars [default: 0.9]
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    pub momentum: Option<f64>,
    /// Scale all gradients together down to this norm where theirs is larger (Pascanu et al. 2013)
    /// [default: as they are]
    #[arg(long, value_name = "NORM", help_heading = "Training")]
    pub clip_norm: Option<f64>,
    /// Average the gradients of this many batches before the weights move, for methods whose loss is a mean
    /// over samples: the memory of one batch, the steps of a large one; batch norms see one at a time
    /// [default: 1]
    #[arg(long, value_name = "BATCHES", help_heading = "Training")]
    pub accumulate: Option<usize>,
    /// Temperature of the contrastive loss [default: 0.5 for images, 0.2 for windows]
    #[arg(long, value_name = "T", help_heading = "Training")]
    pub temperature: Option<f64>,
    /// Take the second view of a pair from up to this long before or after, in milliseconds, where the
    /// data is a stream with a clock [default: 0, the sample itself]
    #[arg(long, value_name = "MS", help_heading = "Training")]
    pub neighbour_ms: Option<u64>,
    /// Epochs, or a part of one, in which the learning rate rises [default: a tenth, at most 10]
    #[arg(long, value_name = "EPOCHS", help_heading = "Training")]
    pub warmup_epochs: Option<f64>,
    /// What the learning rate does after that [default: cosine; constant for rbm]
    #[arg(long, value_enum, help_heading = "Training")]
    pub schedule: Option<Schedule>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u64>,
    /// Where steps run: cpu, cuda, cuda:1 and so on, or wgpu, the last three in a build with the feature `gpu` or
    /// `wgpu` [default: cpu]
    #[arg(long, value_name = "DEVICE", help_heading = "Running")]
    pub device: Option<Device>,
    /// Format of products and convolutions on a GPU: f32, bf16 or f16; weights and all else stay f32 [default: f32]
    #[arg(long, value_name = "FORMAT", help_heading = "Running")]
    pub precision: Option<Precision>,
    /// Threads that make batches; changes nothing but speed [default: one less than the processors]
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub workers: Option<usize>,
    /// Epochs between measurements: gauges of collapse, and kNN and a linear probe where there are labels;
    /// 0 for never [default: 5]
    #[arg(long, value_name = "EPOCHS", help_heading = "Running")]
    pub eval_every: Option<u32>,
    /// Epochs between checkpoints [default: 1]
    #[arg(long, value_name = "EPOCHS", help_heading = "Running")]
    pub checkpoint_every: Option<u32>,
    /// Grams of CO2 that a kilowatt-hour gives off where this runs, for the report [default: 473, the world
    /// average of 2024]
    #[arg(long, value_name = "GRAMS", help_heading = "Running")]
    pub grid_g_per_kwh: Option<f64>,
    /// Settings of the method, such as mask_ratio=0.6,depth=2; in the file a table
    #[arg(long, value_name = "KEY=VALUE,...", help_heading = "Training")]
    pub pretext: Option<PretextSettings>,
    /// How views of images are made; only in the file.
    #[arg(skip)]
    pub image_augment: Option<ImageAugment>,
    /// How views of windows are made; only in the file.
    #[arg(skip)]
    pub window_augment: Option<WindowAugment>,
    /// How views of texts are made; only in the file.
    #[arg(skip)]
    pub text_augment: Option<TextAugment>,
}

/// The `[data]` table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// Data: a .parquet, .npz, .csv or .mcap file, a video, texts (.txt, .log, .jsonl or .tsv), a folder of images
    /// or of such files, a LeRobot data set, `sim` or `sim-logs`
    #[arg(id = "data", long = "data", value_name = "PATH", help_heading = "Data")]
    pub path: Option<String>,
    /// Split of a data set in several files or folders [default: train]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub split: Option<String>,
    /// Only these groups, such as 1,2,5: subjects, or recordings by number [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Data")]
    pub groups: Option<Vec<u32>>,
    /// Samples taken at most [default: all]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub limit: Option<usize>,
    /// Side in pixels that images are resized to, and of the encoder's input [default: as they are]
    #[arg(long, value_name = "PIXELS", help_heading = "Data")]
    pub image_size: Option<usize>,
    /// Read the data in chunks, again in every epoch, in about this much memory, whatever its size: everything
    /// but `sim` [default: load it whole]
    #[arg(long, value_name = "MB", help_heading = "Data")]
    pub memory_mb: Option<u32>,
    /// Share of such data that may be bad in an epoch before it is given up [default: 0.01]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    pub max_bad: Option<f64>,
    /// What to take of a recording that has both [default: image where there are any]
    #[arg(long, value_name = "KIND", value_parser = modality_parser(), help_heading = "Data")]
    pub modality: Option<Modality>,
    /// Camera of a LeRobot data set, such as observation.images.top [default: the first by name]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub camera: Option<String>,
    /// Features of a LeRobot data set that make the channels of windows [default: observation.state]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Data")]
    pub features: Option<Vec<String>>,
    /// Frames a second taken of a video [default: all]
    #[arg(long, value_name = "RATE", help_heading = "Data")]
    pub fps: Option<f32>,
    /// The program `ffmpeg` that decodes video, with `ffprobe` beside it [default: on the search path]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub ffmpeg: Option<PathBuf>,
    /// Tokens that a text is given: bytes, and padding behind a shorter one [default: 128]
    #[arg(long, value_name = "TOKENS", help_heading = "Data")]
    pub length: Option<usize>,
    /// Rows in a window of a series [default: 128]
    #[arg(long, value_name = "ROWS", help_heading = "Data")]
    pub window: Option<usize>,
    /// Rows from one window to the next [default: half a window]
    #[arg(long, value_name = "ROWS", help_heading = "Data")]
    pub stride: Option<usize>,
    /// Rows a second that a series is brought to [default: as recorded]
    #[arg(long = "rate", value_name = "HZ", help_heading = "Data")]
    pub rate_hz: Option<f32>,
    /// Rows a second that a series was recorded at, where its file does not say
    #[arg(long = "source-rate", value_name = "HZ", help_heading = "Data")]
    pub source_rate_hz: Option<f32>,
    /// Accelerations are in g, not m/s^2
    #[arg(long, num_args = 0, default_missing_value = "true", help_heading = "Data")]
    pub accel_in_g: Option<bool>,
}

fn modality_parser() -> impl TypedValueParser<Value = Modality> {
    let image = Modality::Image.to_string();
    PossibleValuesParser::new(["image", "imu"])
        .map(move |name| if name == image { Modality::Image } else { Modality::Imu })
}

/// An encoder by the name of a preset or as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ArchitectureSetting {
    /// Name of a preset.
    Preset(String),
    /// The whole description.
    Table(Architecture),
}

impl ArchitectureSetting {
    /// The encoder itself.
    ///
    /// # Errors
    /// When there is no preset of that name.
    pub fn resolve(self) -> Result<Architecture, ConfigError> {
        match self {
            Self::Table(table) => Ok(table),
            Self::Preset(name) => Ok(Architecture::preset(&name)?),
        }
    }
}

impl std::str::FromStr for ArchitectureSetting {
    type Err = std::convert::Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::Preset(name.into()))
    }
}

impl<'de> Deserialize<'de> for ArchitectureSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = ArchitectureSetting;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a preset, or a table")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(ArchitectureSetting::Preset(name.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Architecture::deserialize(MapAccessDeserializer::new(map)).map(ArchitectureSetting::Table)
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

/// Settings of a method, by name: each method has its own.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct PretextSettings(pub toml::Table);

impl PretextSettings {
    /// The keys of both, those of `above` where both have them.
    fn over(above: Option<Self>, below: Option<Self>) -> Option<Self> {
        let Some(Self(mut table)) = below else { return above };
        table.extend(above.unwrap_or_default().0);
        Some(Self(table))
    }
}

impl std::str::FromStr for PretextSettings {
    type Err = String;

    /// `key=value,...`; a value that is no TOML is a word.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut table = toml::Table::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("`{pair}` is not of the form key=value"))?;
            let (key, value) = (key.trim(), value.trim());
            let read = format!("value = {value}").parse::<toml::Table>();
            let read = read.ok().and_then(|mut table| table.remove("value"));
            table.insert(key.into(), read.unwrap_or_else(|| toml::Value::String(value.into())));
        }
        Ok(Self(table))
    }
}

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the path and, for TOML, the line; an unknown key is named together with
    /// the nearest known one.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = super::config_file::read_text(path, MAX_CONFIG_BYTES)?;
        super::config_file::parse(path, &text)
    }

    /// These settings, with `below` where they say nothing.
    pub fn over(self, below: Self) -> Self {
        Self {
            data: self.data.over(below.data),
            method: self.method.or(below.method),
            architecture: self.architecture.or(below.architecture),
            from: self.from.or(below.from),
            epochs: self.epochs.or(below.epochs),
            batch: self.batch.or(below.batch),
            optimizer: self.optimizer.or(below.optimizer),
            lr: self.lr.or(below.lr),
            weight_decay: self.weight_decay.or(below.weight_decay),
            momentum: self.momentum.or(below.momentum),
            clip_norm: self.clip_norm.or(below.clip_norm),
            accumulate: self.accumulate.or(below.accumulate),
            temperature: self.temperature.or(below.temperature),
            neighbour_ms: self.neighbour_ms.or(below.neighbour_ms),
            warmup_epochs: self.warmup_epochs.or(below.warmup_epochs),
            schedule: self.schedule.or(below.schedule),
            seed: self.seed.or(below.seed),
            device: self.device.or(below.device),
            precision: self.precision.or(below.precision),
            workers: self.workers.or(below.workers),
            eval_every: self.eval_every.or(below.eval_every),
            checkpoint_every: self.checkpoint_every.or(below.checkpoint_every),
            grid_g_per_kwh: self.grid_g_per_kwh.or(below.grid_g_per_kwh),
            pretext: PretextSettings::over(self.pretext, below.pretext),
            image_augment: self.image_augment.or(below.image_augment),
            window_augment: self.window_augment.or(below.window_augment),
            text_augment: self.text_augment.or(below.text_augment),
        }
    }

    /// Samples in a batch, as given or by default.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or(128)
    }

    fn method(&self) -> Method {
        self.method.unwrap_or(Method::Simclr)
    }

    /// Where the data is and what the method takes of it, with the reader's defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when no path is given or a value is out of range.
    pub fn source(&self) -> Result<DataConfig, ConfigError> {
        Ok(DataConfig { pairs: self.method().pairs(), ..self.data.clone().resolve()? })
    }

    /// Fills in what was left open, for data of `modality`, and checks every value.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] that names the field, what it held and what it may hold.
    pub fn resolve(self, modality: Modality) -> Result<PretrainConfig, ConfigError> {
        let images = modality == Modality::Image;
        let batch = self.batch();
        let method = self.method();
        let data = self.source()?;
        method.check(modality)?;
        let architecture = match self.architecture {
            Some(setting) => setting.resolve()?,
            None => Architecture::preset(method.preset(modality))?,
        };
        let second = method.pairs();
        let given = [
            ("image_augment", Modality::Image, self.image_augment.is_some()),
            ("window_augment", Modality::Imu, self.window_augment.is_some() && !second),
            ("text_augment", Modality::Text, self.text_augment.is_some()),
        ];
        if let Some((field, ..)) = given.into_iter().find(|(_, of, given)| *given && *of != modality) {
            let wanted = format!("left out, since the data is of modality {modality}");
            return Err(ConfigError::Value { field, found: "given".into(), wanted });
        }
        let pretext = method.complete(&self.pretext.unwrap_or_default().0)?;
        let optimizer = self.optimizer.unwrap_or(OptimizerName::Adamw);
        if let Some(momentum) = self.momentum.filter(|_| optimizer == OptimizerName::Adamw) {
            let wanted = "left out with adamw, whose means are its own; sgd and lars have one".into();
            return Err(ConfigError::Value { field: "momentum", found: momentum.to_string(), wanted });
        }
        let accumulate = self.accumulate.unwrap_or(1);
        let (lr, weight_decay) = match optimizer {
            OptimizerName::Adamw => (adamw_rate(&architecture), 1e-2),
            OptimizerName::Sgd => (0.1, 1e-4),
            // Those of SimCLR (Chen et al. 2020, section 2.2).
            OptimizerName::Lars => (0.3 * batch.saturating_mul(accumulate) as f64 / 256.0, 1e-6),
        };
        let epochs = self.epochs.unwrap_or(100);
        let config = PretrainConfig {
            data,
            method,
            from: self.from,
            architecture,
            epochs,
            batch,
            optimizer,
            lr: self.lr.unwrap_or(lr),
            weight_decay: self.weight_decay.unwrap_or(weight_decay),
            momentum: self.momentum.unwrap_or(MOMENTUM),
            clip_norm: self.clip_norm,
            accumulate,
            temperature: self.temperature.unwrap_or(if images { 0.5 } else { 0.2 }),
            neighbour_ms: self.neighbour_ms.unwrap_or(0),
            warmup_epochs: self.warmup_epochs.unwrap_or((f64::from(epochs) / 10.0).min(10.0)),
            schedule: self.schedule.unwrap_or_else(|| method.schedule()),
            seed: self.seed.unwrap_or(0),
            device: self.device.unwrap_or_default(),
            precision: self.precision.unwrap_or_default(),
            workers: self.workers.unwrap_or_else(default_workers),
            eval_every: self.eval_every.unwrap_or(5),
            checkpoint_every: self.checkpoint_every.unwrap_or(1),
            second_augment: second
                .then(|| self.window_augment.clone().unwrap_or_else(|| method.window_augment())),
            grid_g_per_kwh: self.grid_g_per_kwh.unwrap_or(WORLD_G_PER_KWH),
            augment: match modality {
                Modality::Image => {
                    AugmentConfig::Image(self.image_augment.unwrap_or_else(|| method.image_augment()))
                }
                Modality::Imu => {
                    AugmentConfig::Window(self.window_augment.unwrap_or_else(|| method.window_augment()))
                }
                Modality::Text => {
                    AugmentConfig::Text(self.text_augment.unwrap_or_else(|| method.text_augment()))
                }
            },
            pretext,
        };
        config.check()?;
        Ok(config)
    }
}

impl DataSettings {
    /// These settings, with `below` where they say nothing.
    pub fn over(self, below: Self) -> Self {
        Self {
            path: self.path.or(below.path),
            split: self.split.or(below.split),
            groups: self.groups.or(below.groups),
            limit: self.limit.or(below.limit),
            image_size: self.image_size.or(below.image_size),
            memory_mb: self.memory_mb.or(below.memory_mb),
            max_bad: self.max_bad.or(below.max_bad),
            modality: self.modality.or(below.modality),
            camera: self.camera.or(below.camera),
            features: self.features.or(below.features),
            fps: self.fps.or(below.fps),
            ffmpeg: self.ffmpeg.or(below.ffmpeg),
            length: self.length.or(below.length),
            window: self.window.or(below.window),
            stride: self.stride.or(below.stride),
            rate_hz: self.rate_hz.or(below.rate_hz),
            source_rate_hz: self.source_rate_hz.or(below.source_rate_hz),
            accel_in_g: self.accel_in_g.or(below.accel_in_g),
        }
    }

    /// Fills in the reader's defaults and checks every value.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when no path is given or a value is out of range.
    pub fn resolve(self) -> Result<DataConfig, ConfigError> {
        let defaults = LoadOptions::default();
        let window = self.window.unwrap_or(defaults.window);
        let config = DataConfig {
            path: self.path.filter(|path| !path.is_empty()).ok_or(ConfigError::NoData)?,
            split: self.split.unwrap_or(defaults.split),
            groups: self.groups,
            limit: self.limit,
            image_size: self.image_size,
            memory_mb: self.memory_mb,
            max_bad: self.max_bad,
            modality: self.modality,
            pairs: false,
            camera: self.camera,
            features: self.features,
            fps: self.fps,
            ffmpeg: self.ffmpeg,
            length: self.length,
            window,
            stride: self.stride.unwrap_or((window / 2).max(1)),
            rate_hz: self.rate_hz,
            source_rate_hz: self.source_rate_hz,
            accel_in_g: self.accel_in_g.unwrap_or(defaults.accel_in_g),
        };
        config.check()?;
        Ok(config)
    }
}

/// The rate of AdamW where nothing is said. The weights of convolutions begin as large as their rectifiers want (He
/// et al. 2015), about 2.4 times what PyTorch draws, and a batch norm behind each undoes their size: what a step
/// turns is its length by theirs. Chosen for these two architectures on a part of the training images and subjects
/// that was held out for it; others were not measured and keep the usual rate.
fn adamw_rate(architecture: &Architecture) -> f64 {
    match architecture {
        Architecture::InvertedResidual(_) | Architecture::Conv1d(_) => 5e-3,
        _ => 1e-3,
    }
}

/// One thread is the training's own.
fn default_workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.saturating_sub(1).clamp(1, MAX_WORKERS)
}

//! The encoder in question, from wherever it comes: a run, a bundle, or any ONNX file. The less is
//! known of its making, the fewer references it can be held against.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ndarray::ArrayD;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_engine::Encoder;
use sedge_models::architecture::{Architecture, Form};
use sedge_models::bundle::Bundle;
use sedge_models::onnx::read::{MAX_MODEL_BYTES, parse};
use sedge_models::onnx::{initializers, replace_initializers};
use sedge_models::{InputSpec, Modality, Tensors};

use super::MeasureError;
use crate::data::{Augment, Dataset};
use crate::encoder::{EncoderError, Trained, onnx};
use crate::pretrain::{DataSettings, PretrainConfig, Pretrained};

/// An encoder to be measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The encoder: normalised samples in, embeddings out.
    pub onnx: Vec<u8>,
    /// Shape of one sample: `[3, height, width]`, `[channels, rows]`, or `[length]` of a text.
    pub shape: Vec<usize>,
    /// What it reads, where that is known; a bare ONNX file does not say how samples are normalised.
    pub input: Option<InputSpec>,
    /// How it was pretrained, where that is known.
    pub config: Option<PretrainConfig>,
    /// Epochs that it was pretrained, where that is known; a run may not be over.
    pub epochs: Option<u32>,
}

/// An encoder that has learned nothing.
#[derive(Clone, Debug)]
pub struct Random {
    /// The encoder.
    pub onnx: Vec<u8>,
    /// Whether its weights are those that training would start from. Otherwise every float
    /// initializer of two or more axes was drawn anew by He's normal rule, and the rest kept.
    pub as_initialised: bool,
}

impl Subject {
    /// The encoder of a run directory, batch norm folded.
    ///
    /// # Errors
    /// When the run cannot be read or its weights do not fit its architecture.
    pub fn of_run(path: &Path) -> Result<Self, MeasureError> {
        let Pretrained { config, header, encoder, .. } = Pretrained::read(path)?;
        let onnx = onnx(&encoder, Form::Folded)?;
        let (input, epochs) = (encoder.input, Some(header.position.epoch));
        Ok(Self { onnx, shape: input.shape.clone(), input: Some(input), config: Some(config), epochs })
    }

    /// The encoder of a bundle file.
    ///
    /// # Errors
    /// When the bundle cannot be read. A configuration that cannot, as one of another version may
    /// be, only leaves references out.
    pub fn of_bundle(path: &Path) -> Result<Self, MeasureError> {
        let Bundle { manifest, encoder, .. } = Bundle::read(path)?;
        let config = PretrainConfig::from_toml(&manifest.made_by.config, path);
        let config = config.inspect_err(|why| tracing::info!("how it was made is not known: {why}")).ok();
        // The second encoder of a run that trained two is none of the configuration's architecture.
        let input = manifest.input;
        let own =
            |config: &PretrainConfig| Augment::from(config.augment.clone()).modality() == input.modality;
        let config = config.filter(own);
        let epochs = Some(manifest.made_by.epochs);
        Ok(Self { onnx: encoder, shape: input.shape.clone(), input: Some(input), config, epochs })
    }

    /// An ONNX encoder: one float input `[batch, 3, height, width]`, `[batch, channels, rows]`, or
    /// `[batch, length]`, which holds numbers of tokens.
    ///
    /// # Errors
    /// When the file cannot be read, or is not such an encoder.
    pub fn of_onnx(path: &Path) -> Result<Self, MeasureError> {
        let failed = |source| MeasureError::Read { path: path.into(), source };
        let mut onnx = Vec::new();
        // The parser refuses what goes past its limit.
        let limit = MAX_MODEL_BYTES as u64 + 1;
        File::open(path).and_then(|f| f.take(limit).read_to_end(&mut onnx)).map_err(failed)?;
        parse(&onnx).map_err(|source| MeasureError::Onnx { path: path.into(), source })?;
        let shape = Encoder::new(&onnx, 1).map_err(EncoderError::from)?.sample_shape().to_vec();
        match shape.as_slice() {
            [3, _, _] | [_, _] | [_] => Ok(Self { onnx, shape, input: None, config: None, epochs: None }),
            _ => Err(MeasureError::Input { path: path.into(), shape }),
        }
    }

    /// What kind of data it reads.
    pub fn modality(&self) -> Modality {
        match self.shape.len() {
            1 => Modality::Text,
            3 => Modality::Image,
            _ => Modality::Imu,
        }
    }

    /// How data must be loaded to fit: window length and rate, or image size. For data that the
    /// encoder was pretrained on, also what was said of that data then.
    pub fn data_settings(&self, path: Option<&str>) -> DataSettings {
        let (images, windows) = (self.modality() == Modality::Image, self.modality() == Modality::Imu);
        let last = self.shape.last().copied();
        let square = self.shape.get(1) == self.shape.get(2);
        let rate = self.input.as_ref().map(|input| input.rate_hz).filter(|rate| *rate > 0.0);
        let fitting = DataSettings {
            modality: Some(self.modality()),
            image_size: last.filter(|_| images && square),
            window: last.filter(|_| windows),
            length: last.filter(|_| self.modality() == Modality::Text),
            rate_hz: rate.filter(|_| windows),
            ..DataSettings::default()
        };
        let same = self.config.as_ref().map(|config| &config.data).filter(|d| Some(d.path.as_str()) == path);
        let Some(data) = same else { return fitting };
        fitting.over(DataSettings {
            split: Some(data.split.clone()),
            stride: Some(data.stride),
            source_rate_hz: data.source_rate_hz,
            accel_in_g: Some(data.accel_in_g),
            camera: data.camera.clone(),
            features: data.features.clone(),
            fps: data.fps,
            ffmpeg: data.ffmpeg.clone(),
            ..DataSettings::default()
        })
    }

    /// What it reads. Where that is not known, normalisation is by the figures of `train`.
    pub fn input_for(&self, train: &Dataset) -> InputSpec {
        self.input.clone().unwrap_or_else(|| {
            let own = train.input_spec(None);
            // Values other than the shape are a matter of channels and rate.
            InputSpec { shape: self.shape.clone(), ..own }
        })
    }

    /// The encoder with random weights; `None` when the architecture is not known and the ONNX file
    /// keeps no weights as initializers.
    ///
    /// # Errors
    /// When the architecture does not fit `input`.
    pub fn random(&self, input: &InputSpec, seed: u64) -> Result<Option<Random>, MeasureError> {
        if let Some(architecture) = self.architecture() {
            let onnx = onnx(&Trained::fresh(architecture, input, seed)?, Form::Folded)?;
            return Ok(Some(Random { onnx, as_initialised: true }));
        }
        let model = parse(&self.onnx).map_err(EncoderError::from)?;
        let drawn = he_normal(initializers(&model), seed);
        if drawn.is_empty() {
            return Ok(None);
        }
        let onnx = replace_initializers(&self.onnx, &drawn).map_err(EncoderError::from)?;
        Ok(Some(Random { onnx, as_initialised: false }))
    }

    /// Its architecture, where it is known.
    pub fn architecture(&self) -> Option<&Architecture> {
        self.config.as_ref().map(|config| &config.architecture)
    }
}

/// The weights of two or more axes drawn anew: normal, of variance 2 / fan-in, the fan-in being the
/// extents of all axes but the first (He et al. 2015).
fn he_normal(weights: Tensors, seed: u64) -> Tensors {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights = weights.into_iter().filter(|(_, value)| value.ndim() > 1 && !value.is_empty());
    let draw = |(name, value): (String, ArrayD<f32>)| {
        let fan_in: usize = value.shape().iter().skip(1).product();
        let deviation = (2.0 / fan_in as f64).sqrt();
        (name, value.mapv(|_| (deviation * normal(&mut rng)) as f32))
    };
    weights.map(draw).collect()
}

/// A standard normal deviate (Box & Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    // One minus a number below one is above zero, so its logarithm is finite.
    let radius = (-2.0 * libm::log(1.0 - rng.random::<f64>())).sqrt();
    radius * libm::cos(std::f64::consts::TAU * rng.random::<f64>())
}

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;

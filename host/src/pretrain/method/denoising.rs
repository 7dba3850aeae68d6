//! The denoising autoencoder (Vincent et al. 2008, section 2.3): a share of a sample's values is destroyed by
//! setting it to zero, its mean after normalisation, and the whole sample is rebuilt from its embedding.

use ndarray::ArrayD;
use rand::RngExt;
use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use serde::{Deserialize, Serialize};

use super::{IMAGES_AND_WINDOWS, Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Purpose of the draw of what is destroyed; views have the numbers below.
const NOISE: u64 = 1 << 32;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Share of the values that is destroyed; the paper has 0.1 to 0.4.
    corruption: f64,
    /// Width of the decoder's hidden layer.
    decoder: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { corruption: 0.25, decoder: 128 }
    }
}

/// A denoising autoencoder of one encoder.
#[derive(Debug)]
pub(super) struct Denoising(Settings);

impl Known for Denoising {
    type Settings = Settings;

    const FITS: &'static [Modality] = IMAGES_AND_WINDOWS;
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        if !(0.0..1.0).contains(&settings.corruption) {
            return Err(ConfigError::Value {
                field: "pretext.corruption",
                found: settings.corruption.to_string(),
                wanted: "from 0 to below 1".into(),
            });
        }
        Ok(Self(settings))
    }
}

impl Pretext for Denoising {
    fn objective(&self) -> Objective {
        Objective::MaskedReconstruction { decoder: Some(self.0.decoder) }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl Sampler for Denoising {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let targets = draw.views(1)?;
        let mut views = targets.clone();
        for (mut sample, &index) in views.outer_iter_mut().zip(draw.indices()) {
            let mut rng = draw.rng(index, NOISE);
            sample.mapv_inplace(|v| if rng.random_bool(self.0.corruption) { 0.0 } else { v });
        }
        // The paper's loss is over all values, those that were left whole too.
        let mask = ArrayD::ones(targets.raw_dim());
        Ok(vec![(VIEWS.into(), views), ("targets".into(), targets), ("mask".into(), mask)])
    }
}

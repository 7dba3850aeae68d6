//! The masked autoencoder (He et al. 2022, section 3): the encoder sees a quarter of a sample's patches, and a
//! small decoder, dropped afterwards, rebuilds the rest. What the encoder does not see costs it nothing, so it
//! trains several times as fast as on whole samples.

use ndarray::{Array3, ArrayD};
use rand::seq::SliceRandom;
use sedge_models::Modality;
use sedge_models::architecture::{Architecture, KEEP};
use sedge_models::compile::VIEWS;
use sedge_models::objective::{Objective, Transformer};
use serde::{Deserialize, Serialize};

use super::{IMAGES_AND_WINDOWS, Known, Pretext, Setup, Strength, hidden};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Purpose of the draw of what is kept; views have the numbers below.
const KEPT: u64 = 1 << 32;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Share of the patches that the encoder does not see; 0.75 in the paper.
    mask_ratio: f64,
    /// Values of a decoder's token; 512 in the paper, beside an encoder's 1024.
    width: usize,
    /// Blocks of the decoder; 8 in the paper, which finds one nearly as good for fine-tuning.
    depth: usize,
    /// Heads of its attention.
    heads: usize,
    /// Whether each patch is to be rebuilt less its mean and over its deviation, as the paper prefers.
    normalise: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mask_ratio: 0.75, width: 64, depth: 2, heads: 4, normalise: true }
    }
}

/// The masked autoencoder of one encoder.
#[derive(Debug)]
pub(super) struct MaskedAutoencoder {
    patches: usize,
    kept: usize,
    decoder: Transformer,
    normalise: bool,
}

impl Known for MaskedAutoencoder {
    type Settings = Settings;

    const FITS: &'static [Modality] = IMAGES_AND_WINDOWS;
    const VIEWS: Strength = Strength::Light;

    fn preset(modality: Modality) -> &'static str {
        match modality {
            Modality::Image => "vit-tiny",
            Modality::Imu => "imu-transformer",
            Modality::Text => "text-small",
        }
    }

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        if !matches!(setup.architecture, Architecture::Transformer(net) if !net.causal) {
            let wanted = format!(
                "a transformer that is not causal, such as {}: others cannot leave patches out",
                Self::preset(setup.input.modality)
            );
            let found = setup.config.architecture_name();
            return Err(ConfigError::Value { field: "architecture", found, wanted });
        }
        let (patches, _) = setup.architecture.token_shape(&setup.input.shape)?;
        let Settings { mask_ratio, width, depth, heads, normalise } = settings;
        let kept = patches - hidden(mask_ratio, patches)?;
        Ok(Self { patches, kept, decoder: Transformer { width, depth, heads }, normalise })
    }
}

impl Pretext for MaskedAutoencoder {
    fn objective(&self) -> Objective {
        Objective::MaskedAutoencoder { decoder: self.decoder, normalise: self.normalise }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }

    fn keep(&self) -> Option<usize> {
        Some(self.kept)
    }
}

impl Sampler for MaskedAutoencoder {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let mut keep = Array3::zeros((draw.len(), self.kept, self.patches));
        for (mut rows, &index) in keep.outer_iter_mut().zip(draw.indices()) {
            let mut patches: Vec<usize> = (0..self.patches).collect();
            let (chosen, _) = patches.partial_shuffle(&mut draw.rng(index, KEPT), self.kept);
            for (mut row, &patch) in rows.outer_iter_mut().zip(chosen.iter()) {
                // A patch is one of as many as a row is long.
                row[patch] = 1.0;
            }
        }
        let keep: ArrayD<f32> = keep.into_dyn();
        Ok(vec![(VIEWS.into(), draw.views(1)?), (KEEP.into(), keep)])
    }
}

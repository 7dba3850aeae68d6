//! Contrastive predictive coding (van den Oord et al. 2018): from what a window held so far, tell the tokens to
//! come from others. Windows are given as they are; the batch and the window's other times are the negatives.

use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::{Objective, Transformer};
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Tokens ahead that are predicted. The paper has 12 of 128 a sequence; windows have few tokens.
    steps: usize,
    /// Width of the causal network.
    width: usize,
    /// Its blocks.
    depth: usize,
    /// Its heads of attention.
    heads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 4, width: 64, depth: 2, heads: 4 }
    }
}

/// Predictive coding on one encoder.
#[derive(Debug)]
pub(super) struct PredictiveCoding {
    context: Transformer,
    steps: usize,
}

impl Known for PredictiveCoding {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Imu];
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let Settings { steps, width, depth, heads } = settings;
        let (tokens, _) = setup.architecture.token_shape(&setup.input.shape)?;
        if !(1..tokens).contains(&steps) {
            return Err(ConfigError::Value {
                field: "pretext.steps",
                found: steps.to_string(),
                wanted: format!(
                    "at least 1 and below the {tokens} tokens that the encoder makes of a window"
                ),
            });
        }
        Ok(Self { context: Transformer { width, depth, heads }, steps })
    }
}

impl Pretext for PredictiveCoding {
    fn objective(&self) -> Objective {
        Objective::PredictiveCoding { context: self.context, steps: self.steps }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl Sampler for PredictiveCoding {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        Ok(vec![(VIEWS.into(), draw.views(1)?)])
    }
}

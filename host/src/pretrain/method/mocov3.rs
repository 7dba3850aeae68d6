//! Momentum contrast within the batch (MoCo v3; Chen, Xie & He 2021, algorithm 1). The momentum rises to one
//! along a cosine.

use sedge_models::Modality;
use sedge_models::objective::{HeadNorm, Objective, ProjectionHead};
use serde::{Deserialize, Serialize};

use super::{EVERY, Known, Pretext, Setup, momentum};
use crate::data::{DataError, Draw, Inputs, Sampler, TwoViews};
use crate::pretrain::ConfigError;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Width between the layers of the head; 4096 in the paper.
    pub(super) hidden: usize,
    /// Width out of the head; 256 in the paper.
    pub(super) out: usize,
    /// Width between the layers of the predictor; 4096 in the paper.
    pub(super) predictor: usize,
    /// Divides similarities; 0.2 in the paper.
    pub(super) temperature: f64,
    /// How much of the teacher stays at a step at the start; 0.99 in the paper.
    pub(super) ema: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 256, out: 64, predictor: 256, temperature: 0.2, ema: 0.99 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct Mocov3(Settings);

impl Known for Mocov3 {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(settings))
    }
}

impl Pretext for Mocov3 {
    fn objective(&self) -> Objective {
        let head = ProjectionHead::normalised(self.0.hidden, self.0.out, 3, HeadNorm::All);
        Objective::MocoV3 {
            head,
            predictor: self.0.predictor,
            temperature: self.0.temperature as f32,
            ema: self.0.ema as f32,
        }
    }

    fn scalars(&self, progress: f64) -> Vec<(&'static str, f32)> {
        vec![("ema", momentum(self.0.ema, progress) as f32)]
    }
}

impl Sampler for Mocov3 {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

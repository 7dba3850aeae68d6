//! Bootstrap your own latent (BYOL; Grill et al. 2020, equations 1 to 3). The momentum rises to one along a
//! cosine; it begins lower than in the paper, for runs of thousands of steps rather than hundreds of
//! thousands.

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
    /// How much of the teacher stays at a step at the start; 0.996 in the paper.
    pub(super) ema: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 256, out: 64, predictor: 256, ema: 0.99 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct Byol(Settings);

impl Known for Byol {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(settings))
    }
}

impl Pretext for Byol {
    fn objective(&self) -> Objective {
        let head = ProjectionHead::normalised(self.0.hidden, self.0.out, 2, HeadNorm::Hidden);
        Objective::Byol { head, predictor: self.0.predictor, ema: self.0.ema as f32 }
    }

    fn scalars(&self, progress: f64) -> Vec<(&'static str, f32)> {
        vec![("ema", momentum(self.0.ema, progress) as f32)]
    }
}

impl Sampler for Byol {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

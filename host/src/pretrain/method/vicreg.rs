//! Variance, invariance and covariance (VICReg; Bardes, Ponce & LeCun 2022, equations 1 to 6).

use sedge_models::Modality;
use sedge_models::objective::{HeadNorm, Objective, ProjectionHead};
use serde::{Deserialize, Serialize};

use super::{EVERY, Known, Pretext, Setup};
use crate::data::{DataError, Draw, Inputs, Sampler, TwoViews};
use crate::pretrain::ConfigError;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Width between the layers of the head; 8192 in the paper.
    pub(super) hidden: usize,
    /// Width out of the head; 8192 in the paper.
    pub(super) out: usize,
    /// Weight of the distance between views; 25 in the paper.
    pub(super) invariance: f64,
    /// Weight of the hinge on each feature's deviation; 25 in the paper.
    pub(super) variance: f64,
    /// Weight of the covariances; 1 in the paper.
    pub(super) covariance: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 256, out: 256, invariance: 25.0, variance: 25.0, covariance: 1.0 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct Vicreg(Settings);

impl Known for Vicreg {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(settings))
    }
}

impl Pretext for Vicreg {
    fn objective(&self) -> Objective {
        let head = ProjectionHead::normalised(self.0.hidden, self.0.out, 3, HeadNorm::Hidden);
        Objective::VicReg {
            head,
            invariance: self.0.invariance as f32,
            variance: self.0.variance as f32,
            covariance: self.0.covariance as f32,
        }
    }
}

impl Sampler for Vicreg {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

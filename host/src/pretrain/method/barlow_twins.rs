//! Redundancy reduction (Barlow Twins; Zbontar et al. 2021, equation 1).

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
    /// Weight of the correlations between different features; 0.005 in the paper.
    pub(super) redundancy: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 256, out: 256, redundancy: 0.005 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct BarlowTwins(Settings);

impl Known for BarlowTwins {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(settings))
    }
}

impl Pretext for BarlowTwins {
    fn objective(&self) -> Objective {
        let head = ProjectionHead::normalised(self.0.hidden, self.0.out, 3, HeadNorm::Hidden);
        Objective::BarlowTwins { head, redundancy: self.0.redundancy as f32 }
    }
}

impl Sampler for BarlowTwins {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

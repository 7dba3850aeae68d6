//! Siamese prediction without a momentum encoder (SimSiam; Chen & He 2021, algorithm 1).

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
    /// Width between the layers of the head; 2048 in the paper.
    pub(super) hidden: usize,
    /// Width out of the head; 2048 in the paper.
    pub(super) out: usize,
    /// Width between the layers of the predictor; 512, a quarter of `out`, in the paper.
    pub(super) predictor: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 256, out: 256, predictor: 64 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct Simsiam(Settings);

impl Known for Simsiam {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(settings))
    }
}

impl Pretext for Simsiam {
    fn objective(&self) -> Objective {
        let head = ProjectionHead::normalised(self.0.hidden, self.0.out, 3, HeadNorm::All);
        Objective::SimSiam { head, predictor: self.0.predictor }
    }
}

impl Sampler for Simsiam {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

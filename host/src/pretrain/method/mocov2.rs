//! Momentum contrast with a queue (MoCo v2; He et al. 2020, algorithm 1; Chen et al. 2020b). The momentum is
//! lower than the paper's and the queue shorter, for runs of thousands of steps rather than millions.

use sedge_models::Modality;
use sedge_models::objective::{Objective, ProjectionHead};
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
    /// Width out of the head; 128 in the paper.
    pub(super) out: usize,
    /// Divides similarities; 0.2 in the paper.
    pub(super) temperature: f64,
    /// Keys kept, at least two a sample of a batch; 65536 in the paper.
    pub(super) queue: usize,
    /// How much of the teacher stays at a step; 0.999 in the paper.
    pub(super) ema: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 256, out: 64, temperature: 0.2, queue: 4096, ema: 0.99 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct Mocov2(Settings);

impl Known for Mocov2 {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(settings))
    }
}

impl Pretext for Mocov2 {
    fn objective(&self) -> Objective {
        let head = ProjectionHead::new(self.0.hidden, self.0.out);
        Objective::Moco {
            head,
            temperature: self.0.temperature as f32,
            queue: self.0.queue,
            ema: self.0.ema as f32,
        }
    }
}

impl Sampler for Mocov2 {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

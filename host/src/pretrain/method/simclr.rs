//! A simple framework for contrastive learning (SimCLR; Chen et al. 2020, equation 1): of all views of a
//! batch, find the other view of one's own sample.

use sedge_models::Modality;
use sedge_models::objective::{Objective, ProjectionHead};
use serde::{Deserialize, Serialize};

use super::{EVERY, Known, Pretext, Setup};
use crate::data::{DataError, Draw, Inputs, Sampler, TwoViews};
use crate::encoder::head;
use crate::pretrain::ConfigError;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {}

/// SimCLR on one encoder.
#[derive(Debug)]
pub(super) struct Simclr {
    head: ProjectionHead,
    temperature: f32,
}

impl Known for Simclr {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;

    fn new(_: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self { head: head(setup.architecture), temperature: setup.config.temperature as f32 })
    }
}

impl Pretext for Simclr {
    fn objective(&self) -> Objective {
        Objective::NtXent { head: self.head, temperature: self.temperature }
    }
}

impl Sampler for Simclr {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        TwoViews.draw(draw)
    }
}

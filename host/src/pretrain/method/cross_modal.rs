//! Contrast of two kinds of sample made of one moment (CLIP; Radford et al. 2021, figure 3): an encoder for
//! camera frames and one for the windows of the IMU around their times are trained together, so that each
//! frame's embedding finds its window's among those of the batch, and the other way round. Images are cropped
//! and never mirrored, since a turn to the left feels other than one to the right; windows are shown as they are.

use sedge_models::Modality;
use sedge_models::architecture::Architecture;
use sedge_models::compile::{SECOND, VIEWS};
use sedge_models::objective::{Objective, ProjectionHead};
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::{ArchitectureSetting, ConfigError};

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Width of the space in which both are compared; 512 and more in the paper.
    out: usize,
    /// Temperature of the loss; trained in the paper, from 0.07.
    temperature: f64,
    /// The encoder of the windows: the name of a preset, or in the file a table.
    second: ArchitectureSetting,
}

impl Default for Settings {
    fn default() -> Self {
        Self { out: 64, temperature: 0.07, second: ArchitectureSetting::Preset("imu-small".into()) }
    }
}

/// The method on two encoders.
#[derive(Debug)]
pub(super) struct CrossModal {
    out: usize,
    temperature: f32,
    second: Architecture,
}

impl Known for CrossModal {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Image];
    const PAIRS: bool = true;
    const VIEWS: Strength = Strength::Crops;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        let Settings { out, temperature, second } = settings;
        Ok(Self { out, temperature: temperature as f32, second: second.resolve()? })
    }
}

impl Pretext for CrossModal {
    fn objective(&self) -> Objective {
        Objective::CrossModal { head: ProjectionHead::linear(self.out), temperature: self.temperature }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }

    fn second(&self) -> Option<&Architecture> {
        Some(&self.second)
    }
}

impl Sampler for CrossModal {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        Ok(vec![(VIEWS.into(), draw.views(1)?), (SECOND.into(), draw.seconds()?)])
    }
}

#[cfg(test)]
#[path = "cross_modal_tests.rs"]
mod tests;

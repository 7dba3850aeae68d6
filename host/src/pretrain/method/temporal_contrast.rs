//! Contrast over time: the second view of a frame is taken from another one shortly before or after it in the
//! same sequence, and has to be found among frames of other times (time-contrastive learning; Sermanet et al. 2018,
//! section III; for video Gordon et al. 2020), by the loss of van den Oord et al. 2018 as SimCLR writes it.
//! Sequences are recordings, simulated drives and the folders of a folder of images, whose files are frames in the
//! order of their names. Where one falls back in time, the next has begun.

use ndarray::{ArrayD, Axis};
use rand::RngExt;
use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::{Objective, ProjectionHead};
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup};
use crate::data::{DataError, Dataset, Draw, Inputs, Sampler};
use crate::encoder::head;
use crate::pretrain::ConfigError;

/// Purpose of the draw of the other frame; views have the numbers below.
const OTHER: u64 = 1 << 32;
/// The number of the other frame's view, which is never taken from a neighbour as view 1 may be.
const SECOND: u64 = 2;
/// Frames of a clock are at least this many nanoseconds apart; what is less counts frames.
const CLOCK: u64 = 1000;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// How many frames before or after the other one may be, at the usual distance of frames; 0.2 seconds of
    /// video at 30 frames a second as in Sermanet et al.
    frames: u32,
    /// How far before or after it may be in seconds instead, where the data has a clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { frames: 6, seconds: None }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct TemporalContrast {
    settings: Settings,
    head: ProjectionHead,
    temperature: f32,
}

impl Known for TemporalContrast {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Image];

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let refused = |field, found: String, wanted: &str| {
            Err(ConfigError::Value { field, found, wanted: wanted.into() })
        };
        if settings.frames == 0 {
            return refused("pretext.frames", "0".into(), "one or more");
        }
        if let Some(seconds) = settings.seconds.filter(|seconds| !(seconds.is_finite() && *seconds > 0.0)) {
            return refused("pretext.seconds", seconds.to_string(), "above zero");
        }
        let temperature = setup.config.temperature as f32;
        Ok(Self { settings, head: head(setup.architecture), temperature })
    }
}

impl Pretext for TemporalContrast {
    fn objective(&self) -> Objective {
        Objective::NtXent { head: self.head, temperature: self.temperature }
    }
}

impl TemporalContrast {
    /// How far apart two frames may be as the data orders them.
    fn span(&self, data: &Dataset) -> Result<u64, DataError> {
        let mut steps: Vec<u64> = data
            .order()
            .iter()
            .zip(data.order().iter().skip(1))
            .filter_map(|(a, b)| b.checked_sub(*a))
            .collect();
        let middle = steps.len() / 2;
        let usual = if steps.is_empty() { 1 } else { *steps.select_nth_unstable(middle).1 };
        match self.settings.seconds {
            Some(seconds) if usual >= CLOCK => Ok((seconds * 1e9) as u64),
            Some(_) => Err(DataError::Mismatch {
                found: "frames without a clock".into(),
                wanted: "frames with times, since `seconds` is set".into(),
                mend: "set `frames` instead",
            }),
            // Files are numbered one by one, however many of them are at hand.
            None if usual < CLOCK => Ok(u64::from(self.settings.frames)),
            None => Ok(usual.saturating_mul(u64::from(self.settings.frames))),
        }
    }

    /// The other frame of `index`, or itself where it has no other.
    fn other(&self, draw: &Draw<'_>, index: usize, span: u64) -> usize {
        let near = draw.near(index, span);
        let others = near.end() - near.start();
        if others == 0 {
            return index;
        }
        let drawn = near.start() + draw.rng(index, OTHER).random_range(0..others);
        if drawn < index { drawn } else { drawn + 1 }
    }
}

impl Sampler for TemporalContrast {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let (samples, span) = (draw.len(), self.span(draw.data())?);
        let others: Vec<usize> = draw.indices().iter().map(|&index| self.other(draw, index, span)).collect();
        if others == draw.indices() {
            return Err(DataError::Mismatch {
                found: "frames of which none has another near it in time".into(),
                wanted: "sequences".into(),
                mend: "give videos, recordings or folders of frames, or let frames be farther apart",
            });
        }
        let rows: Vec<usize> =
            std::iter::once(2 * samples).chain(draw.spec().shape.iter().copied()).collect();
        let mut views = ArrayD::zeros(rows);
        let first = draw.indices().iter().map(|&index| (index, 0));
        let second = others.iter().map(|&other| (other, SECOND));
        for (row, (index, which)) in first.chain(second).enumerate() {
            if let Some(out) = views.index_axis_mut(Axis(0), row).as_slice_mut() {
                draw.view(index, which, out)?;
            }
        }
        Ok(vec![(VIEWS.into(), views)])
    }
}

#[cfg(test)]
#[path = "temporal_contrast_tests.rs"]
mod tests;

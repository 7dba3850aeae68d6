//! Masked modelling (SimMIM; Xie et al. 2022): cells of an image, or spans of a window, are painted with the
//! mean (zero, after normalisation), and each is rebuilt from the encoder's token in its place. The paper
//! paints with a trained value, for which an encoder that is to be exported has no place. The cells that are
//! masked together are the paper's patches: as large as the stride of tokens, or a multiple of it.

use ndarray::{ArrayD, Axis, Slice};
use rand::seq::SliceRandom;
use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::{Distance, Objective};
use serde::{Deserialize, Serialize};

use super::{IMAGES_AND_WINDOWS, Known, Pretext, Setup, Strength, hidden};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Purpose of the draw of a mask; views have the numbers below.
const MASK: u64 = 1 << 32;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Share of the patches that is masked; 0.6 in the paper.
    mask_ratio: f64,
    /// Values along each axis that are masked together; left out, one cell of the encoder's tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mask_ratio: 0.6, span: None }
    }
}

/// Masked modelling on one encoder.
#[derive(Debug)]
pub(super) struct Masked {
    /// Patches along each axis, and the extent of each.
    grid: Vec<usize>,
    span: usize,
    /// Patches masked of a sample.
    hidden: usize,
}

impl Known for Masked {
    type Settings = Settings;

    const FITS: &'static [Modality] = IMAGES_AND_WINDOWS;
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let value = |field, found: String, wanted: String| ConfigError::Value { field, found, wanted };
        let spatial = setup.input.shape.get(1..).unwrap_or_default();
        let tokens = setup.architecture.token_grid(&setup.input.shape)?;
        let (extent, cells) = (spatial.first().copied().unwrap_or(1), tokens.first().copied().unwrap_or(1));
        let span = settings.span.unwrap_or_else(|| extent.div_ceil(cells.max(1)));
        if !(1..=extent).contains(&span) {
            return Err(value("pretext.span", span.to_string(), format!("from 1 to {extent}")));
        }
        let grid: Vec<usize> = spatial.iter().map(|extent| extent.div_ceil(span)).collect();
        let patches: usize = grid.iter().product();
        let hidden = hidden(settings.mask_ratio, patches)?;
        Ok(Self { grid, span, hidden })
    }
}

impl Pretext for Masked {
    fn objective(&self) -> Objective {
        Objective::MaskedModelling { decoder: None, distance: Distance::Absolute }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl Sampler for Masked {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let targets = draw.views(1)?;
        let mut mask = ArrayD::zeros(targets.raw_dim());
        for (mut sample, &index) in mask.outer_iter_mut().zip(draw.indices()) {
            let mut patches: Vec<usize> = (0..self.grid.iter().product()).collect();
            let (chosen, _) = patches.partial_shuffle(&mut draw.rng(index, MASK), self.hidden);
            for &patch in chosen.iter() {
                let mut part = sample.view_mut();
                let mut rest = patch;
                for (axis, &count) in self.grid.iter().enumerate().rev() {
                    let start = (rest % count) * self.span;
                    let end = (start + self.span).min(part.len_of(Axis(axis + 1)));
                    part.slice_axis_inplace(Axis(axis + 1), Slice::from(start..end));
                    rest /= count;
                }
                part.fill(1.0);
            }
        }
        let views = &targets * &mask.mapv(|hidden: f32| 1.0 - hidden);
        Ok(vec![(VIEWS.into(), views), ("targets".into(), targets), ("mask".into(), mask)])
    }
}

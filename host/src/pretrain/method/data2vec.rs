//! Prediction of a teacher's latents (data2vec; Baevski et al. 2022), one code path for every kind of sample:
//! the student sees it with blocks of its tokens' cells painted over, the teacher sees it whole, and at the
//! hidden places the student predicts what the teacher made of them. Blocks are painted with the mean (zero,
//! after normalisation), in texts with the token that stands for what was taken out. The momentum begins lower than in the paper and rises to one, for runs of thousands
//! of steps rather than hundreds of thousands.

use ndarray::{ArrayD, ArrayViewMutD, Axis, Slice};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use sedge_models::{Modality, text};
use serde::{Deserialize, Serialize};

use super::{EVERY, Known, Pretext, Setup, Strength, hidden, momentum};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Purpose of the draw of a mask; views have the numbers below.
const MASK: u64 = 1 << 32;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Share of the tokens that is hidden; 0.6 of images in the paper.
    mask_ratio: f64,
    /// Tokens along each axis that are hidden together; 4 of 14 in the paper's images, at least. Left out, 2, or
    /// 1 where the grid is so small that blocks of 2 would leave no choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<usize>,
    /// How many of the teacher's last layers are averaged; 6 for images in the paper, 8 for speech.
    layers: usize,
    /// Difference up to which the error is a square; 2 for images in the paper.
    beta: f64,
    /// How much of the teacher stays at a step at the start; 0.9998 in the paper.
    ema: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mask_ratio: 0.6, block: None, layers: 6, beta: 2.0, ema: 0.99 }
    }
}

/// The method on one encoder.
#[derive(Debug)]
pub(super) struct Data2Vec {
    settings: Settings,
    /// Tokens along each axis, and the values that each covers along it.
    grid: Vec<usize>,
    cells: Vec<usize>,
    /// Tokens along each axis that are hidden together.
    block: usize,
    /// Tokens hidden of a sample.
    hidden: usize,
    /// What is painted over them.
    paint: f32,
}

impl Known for Data2Vec {
    type Settings = Settings;

    const FITS: &'static [Modality] = EVERY;
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        // The axes of a sample but that of channels, which a text has not.
        let (axes, paint) = match setup.input.modality {
            Modality::Image | Modality::Imu => (1, 0.0),
            Modality::Text => (0, f32::from(text::MASK)),
        };
        let spatial = setup.input.shape.get(axes..).unwrap_or_default();
        let grid = setup.architecture.token_grid(&setup.input.shape)?;
        let cells =
            spatial.iter().zip(&grid).map(|(extent, tokens)| extent.div_ceil((*tokens).max(1))).collect();
        let tokens: usize = grid.iter().product();
        let hidden = hidden(settings.mask_ratio, tokens)?;
        let longest = grid.iter().copied().min().unwrap_or(1);
        let block = settings.block.unwrap_or(if longest < 4 { 1 } else { 2 });
        if !(1..=longest).contains(&block) {
            let wanted = format!("from 1 to {longest}, the tokens along an axis");
            return Err(ConfigError::Value { field: "pretext.block", found: block.to_string(), wanted });
        }
        Ok(Self { settings, grid, cells, block, hidden, paint })
    }
}

impl Pretext for Data2Vec {
    fn objective(&self) -> Objective {
        let Settings { layers, beta, ema, .. } = self.settings;
        Objective::Data2Vec { layers, beta: beta as f32, ema: ema as f32 }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }

    fn scalars(&self, progress: f64) -> Vec<(&'static str, f32)> {
        vec![("ema", momentum(self.settings.ema, progress) as f32)]
    }
}

impl Data2Vec {
    /// Which tokens are hidden, in the order of the grid: blocks at random places until there are as many as
    /// wanted, the last one in part.
    fn mask(&self, rng: &mut ChaCha8Rng) -> Vec<bool> {
        let mut mask = vec![false; self.grid.iter().product()];
        let mut left = self.hidden;
        while left > 0 {
            let corner: Vec<usize> =
                self.grid.iter().map(|tokens| rng.random_range(0..=tokens - self.block)).collect();
            for (token, hidden) in mask.iter_mut().enumerate() {
                let within = self
                    .place(token)
                    .iter()
                    .zip(&corner)
                    .all(|(at, from)| (*from..from + self.block).contains(at));
                if within && !*hidden && left > 0 {
                    *hidden = true;
                    left -= 1;
                }
            }
        }
        mask
    }

    /// Where a token lies along each axis.
    fn place(&self, token: usize) -> Vec<usize> {
        let mut rest = token;
        let mut place: Vec<usize> = self
            .grid
            .iter()
            .rev()
            .map(|tokens| {
                let at = rest % tokens;
                rest /= tokens;
                at
            })
            .collect();
        place.reverse();
        place
    }

    /// Paints the cell of a token, in a sample `[channels, ...]` or a text `[length]`.
    fn paint(&self, mut sample: ArrayViewMutD<'_, f32>, token: usize) {
        let before = sample.ndim().saturating_sub(self.grid.len());
        for (axis, (at, cell)) in self.place(token).into_iter().zip(&self.cells).enumerate() {
            let extent = sample.len_of(Axis(axis + before));
            let (start, end) = ((at * cell).min(extent), ((at + 1) * cell).min(extent));
            sample.slice_axis_inplace(Axis(axis + before), Slice::from(start..end));
        }
        sample.fill(self.paint);
    }
}

impl Sampler for Data2Vec {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let whole = draw.views(1)?;
        let mut views = whole.clone();
        let tokens = self.grid.iter().product();
        let mut masks = ArrayD::zeros(vec![draw.len(), tokens, 1]);
        let rows = views.outer_iter_mut().zip(masks.outer_iter_mut()).zip(draw.indices());
        for ((mut sample, mut places), &index) in rows {
            let mask = self.mask(&mut draw.rng(index, MASK));
            for (token, (hidden, place)) in mask.into_iter().zip(places.iter_mut()).enumerate() {
                if hidden {
                    *place = 1.0;
                    self.paint(sample.view_mut(), token);
                }
            }
        }
        Ok(vec![(VIEWS.into(), views), ("whole".into(), whole), ("mask".into(), masks)])
    }
}

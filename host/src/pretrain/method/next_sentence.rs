//! Next-sentence prediction by itself (Devlin et al. 2019, section 3.1, task 2): of two lines, each embedded
//! alone, tell if the second is what followed the first. In the paper both stand in one text beside the masked
//! language model, which `masked-tokens` does on demand; here the two embeddings must carry what lines are about.

use ndarray::{Array2, ArrayD, Axis};
use sedge_models::Modality;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength, sentences};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// The number of the second line's view, which is never taken from a neighbour as view 1 may be.
const SECOND: u64 = 2;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Width between the two embeddings and the answer.
    hidden: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hidden: 64 }
    }
}

/// Next-sentence prediction on one encoder.
#[derive(Debug)]
pub(super) struct NextSentence {
    hidden: usize,
}

impl Known for NextSentence {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Text];
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, _: Setup<'_>) -> Result<Self, ConfigError> {
        Ok(Self { hidden: settings.hidden })
    }
}

impl Pretext for NextSentence {
    fn objective(&self) -> Objective {
        Objective::PairPrediction { hidden: self.hidden }
    }
}

impl Sampler for NextSentence {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let samples = draw.len();
        let mut views = ArrayD::zeros(vec![2 * samples, draw.spec().values()]);
        let mut targets = Array2::zeros((samples, 1));
        for (row, &index) in draw.indices().iter().enumerate() {
            let (pair, follows) = sentences::pair(draw, index)?;
            for (row, (line, which)) in
                [row, row + samples].into_iter().zip(pair.into_iter().zip([0, SECOND]))
            {
                if let Some(out) = views.index_axis_mut(Axis(0), row).as_slice_mut() {
                    draw.view(line, which, out)?;
                }
            }
            targets[[row, 0]] = f32::from(u8::from(follows));
        }
        Ok(vec![(VIEWS.into(), views), ("targets".into(), targets.into_dyn())])
    }
}

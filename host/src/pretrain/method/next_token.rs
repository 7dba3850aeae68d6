//! The language model on bytes (GPT; Radford et al. 2018, equation 1): from the bytes before it, every byte of a
//! text but the first is to be told, and after the last that the text ends. The encoder is causal: what it makes
//! of a byte knows nothing of those after it.

use ndarray::Array2;
use sedge_models::architecture::Architecture;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use sedge_models::{Modality, text};
use serde::{Deserialize, Serialize};

use super::masked_tokens::{not_texts, write};
use super::{Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler, written};
use crate::pretrain::ConfigError;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {}

/// The language model of one encoder.
#[derive(Debug)]
pub(super) struct NextToken {
    length: usize,
}

impl Known for NextToken {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Text];
    const VIEWS: Strength = Strength::Light;

    fn preset(_: Modality) -> &'static str {
        "text-small-causal"
    }

    fn new(_: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        if !matches!(setup.architecture, Architecture::Transformer(net) if net.causal) {
            let wanted =
                "a causal transformer, such as text-small-causal: others see what they are to tell".into();
            let found = setup.config.architecture_name();
            return Err(ConfigError::Value { field: "architecture", found, wanted });
        }
        Ok(Self { length: setup.input.values() })
    }
}

impl Pretext for NextToken {
    fn objective(&self) -> Objective {
        Objective::TokenPrediction { vocabulary: text::TOKENS, next_sentence: false }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl Sampler for NextToken {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let shape = (draw.len(), self.length);
        let (mut views, mut targets, mut mask) =
            (Array2::zeros(shape), Array2::zeros(shape), Array2::zeros(shape));
        for (row, &index) in draw.indices().iter().enumerate() {
            let tokens = draw.data().text(index).map(written).ok_or_else(|| not_texts(draw))?;
            write(tokens.iter().copied(), views.row_mut(row));
            write(tokens.iter().copied().skip(1), targets.row_mut(row));
            // The place of the last byte is to tell the end, unless the text was cut there.
            let told = tokens.len().min(self.length.saturating_sub(1));
            mask.row_mut(row).iter_mut().take(told).for_each(|place| *place = 1.0);
        }
        let given = [(VIEWS, views), ("targets", targets), ("mask", mask)];
        Ok(given.map(|(name, value)| (name.into(), value.into_dyn())).into())
    }
}

//! The masked language model on bytes (BERT; Devlin et al. 2019, section 3.1): of every text some bytes are
//! chosen, most of which are hidden, some replaced by others and some left as they are, and the encoder is
//! trained to tell what stood there. Optionally, as in the paper, a text is two lines, and the encoder is also to
//! tell from its embedding if the second follows the first; Liu et al. 2019 (RoBERTa) found that no help.
//!
//! A byte is easier to guess from its neighbours than a word: `span` hides bytes that stand side by side together,
//! as Joshi et al. 2020 (SpanBERT) have it for words.

use ndarray::{Array2, ArrayViewMut1};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sedge_models::architecture::Architecture;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use sedge_models::{Modality, text};
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength, sentences};
use crate::data::{DataError, Draw, Inputs, Sampler, written};
use crate::pretrain::ConfigError;

/// Purpose of the draw of a mask; views have the numbers below.
const MASK: u64 = 1 << 32;
/// Bytes there are.
const BYTES: u16 = 256;

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Share of the bytes of a text that are to be told; 0.15 in the paper.
    mask_ratio: f64,
    /// Share of these that are hidden; 0.8 in the paper.
    hidden: f64,
    /// Share of these that are replaced by bytes drawn at random; 0.1 in the paper. The rest is left as it is.
    replaced: f64,
    /// Bytes side by side that are chosen together; 1 in the paper.
    span: usize,
    /// Whether a text is two lines, and the encoder tells if the second follows the first.
    next_sentence: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mask_ratio: 0.15, hidden: 0.8, replaced: 0.1, span: 1, next_sentence: false }
    }
}

/// The masked language model of one encoder.
#[derive(Debug)]
pub(super) struct MaskedTokens {
    settings: Settings,
    length: usize,
}

impl Known for MaskedTokens {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Text];
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let value = |field, found: String, wanted: &str| {
            Err(ConfigError::Value { field, found, wanted: wanted.into() })
        };
        let Settings { mask_ratio, hidden, replaced, span, .. } = settings;
        let length = setup.input.values();
        if !matches!(setup.architecture, Architecture::Transformer(net) if !net.causal) {
            let wanted =
                "a transformer that is not causal, such as text-small: hidden bytes are told from both sides";
            return value("architecture", setup.config.architecture_name(), wanted);
        }
        if !(mask_ratio > 0.0 && mask_ratio < 1.0) {
            return value("pretext.mask_ratio", mask_ratio.to_string(), "above 0 and below 1");
        }
        if !(hidden >= 0.0 && replaced >= 0.0 && hidden + replaced <= 1.0) {
            let wanted = "shares of the chosen bytes with `pretext.replaced`, at most 1 together";
            return value("pretext.hidden", hidden.to_string(), wanted);
        }
        if !(1..=length).contains(&span) {
            return value("pretext.span", span.to_string(), "from 1 to the length of a text");
        }
        Ok(Self { settings, length })
    }
}

impl Pretext for MaskedTokens {
    fn objective(&self) -> Objective {
        let next_sentence = self.settings.next_sentence;
        Objective::TokenPrediction { vocabulary: text::TOKENS, next_sentence }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl MaskedTokens {
    /// Places of bytes that are to be told, spans of them at random until there are as many as asked for.
    fn chosen(&self, tokens: &[u16], rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut begins: Vec<usize> =
            tokens.iter().enumerate().filter(|(_, token)| **token < BYTES).map(|(place, _)| place).collect();
        let wanted = ((begins.len() as f64 * self.settings.mask_ratio).round() as usize).max(1);
        begins.shuffle(rng);
        let mut is_chosen = vec![false; tokens.len()];
        let mut chosen = vec![];
        for place in begins.into_iter().flat_map(|begin| begin..begin + self.settings.span) {
            if chosen.len() == wanted {
                break;
            }
            let is_byte = tokens.get(place).is_some_and(|token| *token < BYTES);
            if let Some(slot) = is_chosen.get_mut(place).filter(|slot| is_byte && !**slot) {
                *slot = true;
                chosen.push(place);
            }
        }
        chosen
    }

    /// What the encoder sees in place of `token`.
    fn shown(&self, token: u16, rng: &mut ChaCha8Rng) -> u16 {
        let Settings { hidden, replaced, .. } = self.settings;
        let (kind, other) = (rng.random::<f64>(), rng.random_range(0..BYTES));
        if kind < hidden {
            text::MASK
        } else if kind < hidden + replaced {
            other
        } else {
            token
        }
    }

    /// The text of a sample, without padding, and whether its second line follows its first, where it has two.
    fn text(&self, draw: &Draw<'_>, index: usize) -> Result<(Vec<u16>, bool), DataError> {
        let read = |index| draw.data().text(index).map(written).ok_or_else(|| not_texts(draw));
        if !self.settings.next_sentence {
            return Ok((read(index)?.to_vec(), false));
        }
        let (pair, follows) = sentences::pair(draw, index)?;
        let [first, second] = [read(pair[0])?, read(pair[1])?];
        let room = self.length.saturating_sub(1);
        // What one line leaves the other may take.
        let kept = first.len().min((room / 2).max(room.saturating_sub(second.len())));
        let both = first.iter().take(kept).chain([&text::SEPARATOR]).chain(second);
        Ok((both.take(self.length).copied().collect(), follows))
    }
}

/// What is said where samples are no texts.
pub(super) fn not_texts(draw: &Draw<'_>) -> DataError {
    let (found, wanted) = (draw.data().modality().to_string(), "texts".into());
    DataError::Mismatch { found, wanted, mend: "choose data of that modality" }
}

/// Writes tokens and padding behind them.
pub(super) fn write(tokens: impl Iterator<Item = u16>, mut row: ArrayViewMut1<'_, f32>) {
    let padded = tokens.chain(std::iter::repeat(text::PAD));
    row.iter_mut().zip(padded).for_each(|(to, token)| *to = f32::from(token));
}

impl Sampler for MaskedTokens {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let shape = (draw.len(), self.length);
        let (mut views, mut targets, mut mask) =
            (Array2::zeros(shape), Array2::zeros(shape), Array2::zeros(shape));
        let mut follows = Array2::zeros((draw.len(), 1));
        for (row, &index) in draw.indices().iter().enumerate() {
            let (tokens, is_next) = self.text(draw, index)?;
            let mut rng = draw.rng(index, MASK);
            let mut shown = tokens.clone();
            for place in self.chosen(&tokens, &mut rng) {
                // Every place is one of the text, which is no longer than a row.
                shown[place] = self.shown(tokens[place], &mut rng);
                mask[[row, place]] = 1.0;
            }
            write(shown.into_iter(), views.row_mut(row));
            write(tokens.into_iter(), targets.row_mut(row));
            follows[[row, 0]] = f32::from(u8::from(is_next));
        }
        let given = [(VIEWS, views), ("targets", targets), ("mask", mask)];
        let mut inputs: Inputs = given.map(|(name, value)| (name.into(), value.into_dyn())).into();
        if self.settings.next_sentence {
            inputs.push(("follows".into(), follows.into_dyn()));
        }
        Ok(inputs)
    }
}

//! What a batch is made of: the samples it holds, and views of them. A [`Sampler`] draws the inputs of one
//! training step from a [`Draw`]; whatever it draws comes from generators seeded by run, epoch and sample,
//! so that any worker at any time draws the same.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ndarray::ArrayD;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_augment::{ImageAugment, Size, TextAugment, WindowAugment, WindowSource, normalise};
use sedge_models::compile::VIEWS;
use sedge_models::{InputSpec, Modality, text};

use super::DataError;
use super::dataset::{Dataset, batch_array};

/// Inputs of one training step by name.
pub type Inputs = Vec<(String, ArrayD<f32>)>;

/// Draws the inputs of a training step.
pub trait Sampler: Debug + Send + Sync {
    /// The inputs for the samples of `draw`, every one with the shape that the step states. The same
    /// draw gives the same inputs.
    ///
    /// # Errors
    /// When a sample cannot be made into what is wanted.
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError>;
}

/// Two augmented views of each sample: rows `i` and `i + samples` are of one.
#[derive(Clone, Copy, Debug)]
pub struct TwoViews;

impl Sampler for TwoViews {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        Ok(vec![(VIEWS.into(), draw.views(2)?)])
    }
}

/// How views are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Augment {
    /// Of images.
    Image(ImageAugment),
    /// Of windows.
    Window(WindowAugment),
    /// Of texts.
    Text(TextAugment),
}

impl Augment {
    /// What it is for.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Image(_) => Modality::Image,
            Self::Window(_) => Modality::Imu,
            Self::Text(_) => Modality::Text,
        }
    }

    /// The default augmentation of a modality.
    pub fn default_for(modality: Modality) -> Self {
        match modality {
            Modality::Image => Self::Image(ImageAugment::default()),
            Modality::Imu => Self::Window(WindowAugment::default()),
            Modality::Text => Self::Text(TextAugment::default()),
        }
    }

    /// No augmentation of a modality.
    pub fn none_for(modality: Modality) -> Self {
        match modality {
            Modality::Image => Self::Image(ImageAugment::none()),
            Modality::Imu => Self::Window(WindowAugment::none()),
            Modality::Text => Self::Text(TextAugment::none()),
        }
    }
}

/// What the drawing of batches needs to know.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) spec: InputSpec,
    pub(super) augment: Augment,
    /// Samples of a batch.
    pub(super) samples: usize,
    pub(super) seed: u64,
    /// How far away in order the second view may come from; zero for the sample itself.
    pub(super) neighbours: u64,
    /// What the encoder of the second part of pairs reads, and how its views are made.
    pub(super) second: Option<(InputSpec, WindowAugment)>,
    pub(super) sampler: Arc<dyn Sampler>,
}

/// Purpose of the draw of a view of a pair's second part; those of the first have the numbers below.
const SECOND_VIEW: u64 = 1 << 33;

/// The samples of one batch, about to be made into a step's inputs.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    recipe: &'a Recipe,
    data: &'a Dataset,
    /// Samples of the epoch before those of the data.
    base: u64,
    epoch: u64,
    indices: &'a [usize],
}

impl<'a> Draw<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        data: &'a Dataset,
        base: u64,
        epoch: u64,
        indices: &'a [usize],
    ) -> Self {
        Self { recipe, data, base, epoch, indices }
    }

    /// The data that the samples are of.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// What the encoder reads.
    pub fn spec(&self) -> &'a InputSpec {
        &self.recipe.spec
    }

    /// The samples, by their place in the data.
    pub fn indices(&self) -> &'a [usize] {
        self.indices
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none; never so in a batch.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Epoch, from zero.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A generator for the sample `index` of the data in this epoch; `purpose` tells what it is for, so that
    /// no two draws share a stream. View number `n` of a sample is drawn by purpose `n`.
    pub fn rng(&self, index: usize, purpose: u64) -> ChaCha8Rng {
        stream([self.recipe.seed, self.epoch, self.base + index as u64, purpose])
    }

    /// `count` augmented views of each sample, normalised, `[count * samples, ...sample]`: all first views,
    /// then all second ones, and so on.
    ///
    /// # Errors
    /// When a sample does not fit the augmentation or the encoder's input.
    pub fn views(&self, count: usize) -> Result<ArrayD<f32>, DataError> {
        let (samples, values) = (self.len().max(1), self.spec().values());
        let mut views = vec![0.0; count * self.len() * values];
        for (row, out) in views.chunks_exact_mut(values.max(1)).enumerate() {
            // Rows are `count` times the samples.
            self.view(self.indices[row % samples], (row / samples) as u64, out)?;
        }
        batch_array(count * self.len(), self.spec(), views)
    }

    /// View number `which` of one sample of the data, normalised, into `out`. View number 1 may come from a
    /// neighbour in time, where the run asks for that.
    ///
    /// # Errors
    /// When the sample does not fit the augmentation or the encoder's input.
    pub fn view(&self, index: usize, which: u64, out: &mut [f32]) -> Result<(), DataError> {
        let Recipe { spec, augment, .. } = self.recipe;
        let mut rng = self.rng(index, which);
        let index = if which == 1 { self.neighbour(index, &mut rng) } else { index };
        if let (Augment::Text(augment), Some(tokens)) = (augment, self.data.text(index)) {
            return Ok(augment.view(written(tokens), text::PAD, &mut rng, out)?);
        }
        match (augment, self.data.image(index), self.data.window(index)) {
            (Augment::Image(augment), Some(image), _) => {
                let size = Size { width: spec.shape[2], height: spec.shape[1] };
                augment.view(&image, size, &mut rng, out)?;
            }
            (Augment::Window(augment), _, Some(window)) => {
                return window_view(augment, window, spec, &mut rng, out);
            }
            _ => return Err(self.wrong_augment()),
        }
        Ok(normalise(out, &spec.mean, &spec.std)?)
    }

    /// An augmented view of the second part of each pair, normalised, `[samples, channels, length]`.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] when samples are no pairs, or the loader was not told what is to be read of
    /// their second part; otherwise as [`Self::views`].
    pub fn seconds(&self) -> Result<ArrayD<f32>, DataError> {
        let refused = || DataError::Mismatch {
            found: "samples of one part".to_owned(),
            wanted: "pairs of an image and a window".to_owned(),
            mend: "choose a recording with both",
        };
        let (spec, augment) = self.recipe.second.as_ref().ok_or_else(refused)?;
        let mut views = vec![0.0; self.len() * spec.values()];
        for (&index, out) in self.indices.iter().zip(views.chunks_exact_mut(spec.values().max(1))) {
            let window = self.data.window(index).ok_or_else(refused)?;
            window_view(augment, window, spec, &mut self.rng(index, SECOND_VIEW), out)?;
        }
        batch_array(self.len(), spec, views)
    }

    fn neighbour(&self, index: usize, rng: &mut ChaCha8Rng) -> usize {
        match self.recipe.neighbours {
            0 => index,
            span => rng.random_range(self.near(index, span)),
        }
    }

    /// The samples around `index` that are of the same uninterrupted stream and
    /// at most `span` of [`Dataset::order`] away, itself among them.
    pub fn near(&self, index: usize, span: u64) -> RangeInclusive<usize> {
        let order = self.data().order();
        let (mut first, mut last) = (index, index);
        if index >= order.len() {
            return first..=last;
        }
        // Order falls where one stream ends and the next begins.
        while first > 0 && order[first - 1] < order[first] && order[index] - order[first - 1] <= span {
            first -= 1;
        }
        while last + 1 < order.len()
            && order[last] < order[last + 1]
            && order[last + 1] - order[index] <= span
        {
            last += 1;
        }
        first..=last
    }

    fn wrong_augment(&self) -> DataError {
        DataError::Mismatch {
            found: self.data().samples().kind().to_owned(),
            wanted: format!("augmented as {}", self.recipe.augment.modality()),
            mend: "choose the augmentation of that modality",
        }
    }
}

/// An augmented view of a window, normalised, into `out`.
fn window_view(
    augment: &WindowAugment,
    window: &[f32],
    spec: &InputSpec,
    rng: &mut ChaCha8Rng,
    out: &mut [f32],
) -> Result<(), DataError> {
    let source = WindowSource::new(window, spec.shape[1], &spec.mean, &spec.std)?;
    augment.view(&source, rng, out)?;
    Ok(normalise(out, &spec.mean, &spec.std)?)
}

/// The tokens of a text before its padding.
pub fn written(text: &[u16]) -> &[u16] {
    let end = text.iter().position(|token| *token == text::PAD).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// A generator of its own for every combination of four numbers.
pub(super) fn stream(words: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (part, word) in seed.chunks_exact_mut(8).zip(words) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}

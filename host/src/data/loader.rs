//! Batches for training, made by worker threads.
//!
//! What a batch holds is a function of the seed, the epoch and its number alone: the order of the
//! samples is a seeded shuffle of the epoch, and whatever is drawn for a sample is seeded by that
//! sample. Workers take batches in turn and each hands over through its own bounded channel, so that the
//! consumer, which asks them in the same turn, sees the same batches in the same order whatever their
//! number, and can start at any batch of any epoch.

use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD};
use sedge_augment::WindowAugment;
use sedge_models::InputSpec;

use super::DataError;
use super::dataset::Dataset;
use super::draw::{Augment, Draw, Inputs, Recipe, Sampler, TwoViews};
use super::epoch::{Epoch, Part, Parts};
use super::origin::Origin;

/// Most worker threads: each holds up to two batches.
pub const MAX_WORKERS: usize = 64;

/// One batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What the training step is given, by name.
    pub inputs: Inputs,
    /// The samples it was made of.
    pub indices: Vec<usize>,
}

impl Batch {
    /// The inputs as an engine takes them.
    pub fn given(&self) -> Vec<(&str, ArrayViewD<'_, f32>)> {
        self.inputs.iter().map(|(name, value)| (name.as_str(), value.view())).collect()
    }

    /// The first input: what the encoder sees, `[rows, ...sample]`.
    pub fn into_views(self) -> Option<ArrayD<f32>> {
        self.inputs.into_iter().next().map(|(_, views)| views)
    }
}

/// Makes the batches of any epoch of a data set, or of a stream.
#[derive(Clone, Debug)]
pub struct Loader {
    origin: Origin,
    recipe: Arc<Recipe>,
    workers: usize,
}

impl Loader {
    /// A loader of batches of two views of each of `samples` samples, unless [`Self::with_sampler`] says
    /// otherwise. `workers` threads make them; it changes nothing else.
    ///
    /// # Errors
    /// When the data does not fit `spec`, the augmentation is of another modality or out of range,
    /// or the data holds fewer than `samples` samples.
    pub fn new(
        origin: impl Into<Origin>,
        spec: InputSpec,
        augment: Augment,
        samples: usize,
        seed: u64,
        workers: usize,
    ) -> Result<Self, DataError> {
        let origin = origin.into();
        origin.known().check_fits(&spec)?;
        if samples == 0 || samples as u64 > origin.samples() {
            let wanted = "one or more, and at most the number of samples";
            return Err(DataError::Option { option: "batch", found: samples.to_string(), wanted });
        }
        if !(1..=MAX_WORKERS).contains(&workers) {
            let wanted = "1 to 64";
            return Err(DataError::Option { option: "workers", found: workers.to_string(), wanted });
        }
        let sampler: Arc<dyn Sampler> = Arc::new(TwoViews);
        let recipe = Recipe { spec, augment, samples, seed, neighbours: 0, second: None, sampler };
        // One view shows whatever is wrong with the settings before any thread starts.
        Draw::new(&recipe, origin.known(), 0, 0, &[0]).views(1)?;
        Ok(Self { origin, recipe: Arc::new(recipe), workers })
    }

    /// Has batches drawn by `sampler`.
    ///
    /// # Errors
    /// What `sampler` says of the first samples.
    pub fn with_sampler(mut self, sampler: Arc<dyn Sampler>) -> Result<Self, DataError> {
        // No epoch has begun, so nothing else holds the recipe.
        if let Some(recipe) = Arc::get_mut(&mut self.recipe) {
            recipe.sampler = sampler;
        }
        let known: &Dataset = self.origin.known();
        let first: Vec<usize> = (0..known.len()).cycle().take(self.recipe.samples).collect();
        self.recipe.sampler.draw(&Draw::new(&self.recipe, known, 0, 0, &first))?;
        Ok(self)
    }

    /// Has samplers draw views of the second part of pairs too, as windows that an encoder of `spec` reads.
    ///
    /// # Errors
    /// When the data does not fit `spec`, or the augmentation is out of range.
    pub fn with_second(mut self, spec: InputSpec, augment: WindowAugment) -> Result<Self, DataError> {
        self.origin.known().check_fits(&spec)?;
        augment.check()?;
        // No epoch has begun, so nothing else holds the recipe.
        if let Some(recipe) = Arc::get_mut(&mut self.recipe) {
            recipe.second = Some((spec, augment));
        }
        Ok(self)
    }

    /// Takes the second view from a neighbour: a sample drawn among those of the same uninterrupted
    /// stream at most `span` of [`Dataset::order`] away (nanoseconds where the data has a clock), the
    /// sample itself included. What a robot sees within a second or two shows one place, so this
    /// contrasts places where augmentation alone contrasts pictures (time-contrastive learning;
    /// Sermanet et al. 2018). Groups play no part: they may come from labels.
    pub fn with_neighbours(mut self, span: u64) -> Self {
        // No epoch has begun, so nothing else holds the recipe.
        if let Some(recipe) = Arc::get_mut(&mut self.recipe) {
            recipe.neighbours = span;
        }
        self
    }

    /// Whole batches in one epoch; the samples left over wait for another epoch's shuffle.
    pub fn batches_per_epoch(&self) -> usize {
        usize::try_from(self.origin.samples() / self.recipe.samples as u64).unwrap_or(usize::MAX)
    }

    /// The batches of `epoch` from number `first` on. Threads start now and end when the iterator
    /// is dropped or used up.
    ///
    /// # Errors
    /// [`DataError::Worker`] when a thread cannot start.
    pub fn epoch(&self, epoch: u64, first: usize) -> Result<Epoch, DataError> {
        let parts = match &self.origin {
            Origin::Held(data) => Parts::Held(Some(Part::whole(Arc::clone(data)))),
            Origin::Streamed(stream) => {
                let sample = first as u64 * self.recipe.samples as u64;
                Parts::Streamed(stream.epoch(self.recipe.seed, epoch, sample)?)
            }
        };
        Epoch::begin(Arc::clone(&self.recipe), self.workers, epoch, parts, first..self.batches_per_epoch())
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;

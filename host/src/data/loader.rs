//! Batches for training, made by worker threads.
//!
//! What a batch holds is a function of the seed, the epoch and its number alone: the order of the
//! samples is a seeded shuffle of the epoch, and whatever is drawn for a sample is seeded by that
//! sample. Workers take batches in turn and each hands over through its own bounded channel, so that the
//! consumer, which asks them in the same turn, sees the same batches in the same order whatever their
//! number, and can start at any batch of any epoch.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use ndarray::{ArrayD, ArrayViewD};
use rand::seq::SliceRandom;
use sedge_models::InputSpec;

use super::DataError;
use super::dataset::Dataset;
use super::draw::{Augment, Draw, Inputs, Recipe, Sampler, TwoViews, stream};

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

/// Makes the batches of any epoch of a data set.
#[derive(Clone, Debug)]
pub struct Loader {
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
        data: Arc<Dataset>,
        spec: InputSpec,
        augment: Augment,
        samples: usize,
        seed: u64,
        workers: usize,
    ) -> Result<Self, DataError> {
        data.check_fits(&spec)?;
        if samples == 0 || samples > data.len() {
            let wanted = "one or more, and at most the number of samples";
            return Err(DataError::Option { option: "batch", found: samples.to_string(), wanted });
        }
        if !(1..=MAX_WORKERS).contains(&workers) {
            let wanted = "1 to 64";
            return Err(DataError::Option { option: "workers", found: workers.to_string(), wanted });
        }
        let sampler: Arc<dyn Sampler> = Arc::new(TwoViews);
        let recipe = Recipe { data, spec, augment, samples, seed, neighbours: 0, sampler };
        // One view shows whatever is wrong with the settings before any thread starts.
        Draw::new(&recipe, 0, &[0]).views(1)?;
        Ok(Self { recipe: Arc::new(recipe), workers })
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
        let first: Vec<usize> = (0..self.recipe.samples).collect();
        self.recipe.batch(0, &first)?;
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
        self.recipe.data.len() / self.recipe.samples
    }

    /// The batches of `epoch` from number `first` on. Threads start now and end when the iterator
    /// is dropped or used up.
    ///
    /// # Errors
    /// [`DataError::Worker`] when a thread cannot start.
    pub fn epoch(&self, epoch: u64, first: usize) -> Result<Epoch, DataError> {
        let end = self.batches_per_epoch();
        let order = Arc::new(self.recipe.order(epoch));
        let workers = self.workers.min(end.saturating_sub(first));
        let mut epoch_batches = Epoch { next: first, end, first, lanes: Vec::new(), threads: Vec::new() };
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(1);
            let (recipe, order) = (Arc::clone(&self.recipe), Arc::clone(&order));
            let work = move || recipe.make(epoch, &order, (first + worker..end).step_by(workers), &sender);
            let thread = Builder::new().name(format!("loader-{worker}")).spawn(work);
            let thread = thread.map_err(|e| DataError::Worker { what: format!("could not start: {e}") })?;
            epoch_batches.lanes.push(receiver);
            epoch_batches.threads.push(thread);
        }
        Ok(epoch_batches)
    }
}

impl Recipe {
    /// The shuffle of one epoch.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        order.shuffle(&mut stream([self.seed, epoch, 0, u64::MAX]));
        order
    }

    /// Makes batches until they are made or nobody wants them.
    fn make(
        &self,
        epoch: u64,
        order: &[usize],
        numbers: impl Iterator<Item = usize>,
        to: &SyncSender<Result<Batch, DataError>>,
    ) {
        for number in numbers {
            // Numbers stay below the count of whole batches.
            let indices = &order[number * self.samples..][..self.samples];
            if to.send(self.batch(epoch, indices)).is_err() {
                return;
            }
        }
    }

    fn batch(&self, epoch: u64, indices: &[usize]) -> Result<Batch, DataError> {
        let inputs = self.sampler.draw(&Draw::new(self, epoch, indices))?;
        Ok(Batch { inputs, indices: indices.to_vec() })
    }
}

/// The batches of one epoch, in order. After an error it ends.
#[derive(Debug)]
pub struct Epoch {
    first: usize,
    next: usize,
    end: usize,
    lanes: Vec<Receiver<Result<Batch, DataError>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end || self.lanes.is_empty() {
            return None;
        }
        let lane = (self.next - self.first) % self.lanes.len();
        let batch = self.lanes[lane].recv().unwrap_or_else(|_| {
            Err(DataError::Worker { what: "died while it made a batch; this is a bug".to_owned() })
        });
        self.next = if batch.is_ok() { self.next + 1 } else { self.end };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.saturating_sub(self.next);
        (left.min(1), Some(left))
    }
}

impl Drop for Epoch {
    /// Hangs up first, so that a worker with a finished batch gives up rather than waits.
    fn drop(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // A worker that panicked has already been reported by its silent lane.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;

//! Batches of augmented pairs for contrastive training, made by worker threads.
//!
//! What a batch holds is a function of the seed, the epoch and its number alone: the order of the
//! samples is a seeded shuffle of the epoch, and the generator of every view is seeded by the
//! sample it is of. Workers take batches in turn and each hands over through its own bounded
//! channel, so that the consumer, which asks them in the same turn, sees the same batches in the
//! same order whatever their number, and can start at any batch of any epoch.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use ndarray::ArrayD;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_augment::{ImageAugment, Size, WindowAugment, WindowSource, normalise};
use sedge_models::{InputSpec, Modality};

use super::dataset::{Dataset, batch_array};
use super::{DataError, Samples};

/// Most worker threads: each holds up to two batches.
pub const MAX_WORKERS: usize = 64;

/// How views are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Augment {
    /// Of images.
    Image(ImageAugment),
    /// Of windows.
    Window(WindowAugment),
}

impl Augment {
    /// The default augmentation of a modality.
    pub fn default_for(modality: Modality) -> Self {
        match modality {
            Modality::Image => Self::Image(ImageAugment::default()),
            Modality::Imu => Self::Window(WindowAugment::default()),
        }
    }

    /// No augmentation of a modality.
    pub fn none_for(modality: Modality) -> Self {
        match modality {
            Modality::Image => Self::Image(ImageAugment::none()),
            Modality::Imu => Self::Window(WindowAugment::none()),
        }
    }
}

/// One batch of positive pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[2 * pairs, ...sample]`, normalised; rows `i` and `i + pairs` are two views of one sample.
    pub views: ArrayD<f32>,
    /// The sample of each pair.
    pub indices: Vec<usize>,
}

/// Makes the batches of any epoch of a data set.
#[derive(Clone, Debug)]
pub struct Loader {
    recipe: Arc<Recipe>,
    workers: usize,
}

/// What a worker needs to know.
#[derive(Debug)]
struct Recipe {
    data: Arc<Dataset>,
    spec: InputSpec,
    augment: Augment,
    pairs: usize,
    seed: u64,
    /// How far away in order the second view may come from; zero for the sample itself.
    neighbours: u64,
}

impl Loader {
    /// A loader of batches of `pairs` pairs. `workers` threads make them; it changes nothing else.
    ///
    /// # Errors
    /// When the data does not fit `spec`, the augmentation is of another modality or out of range,
    /// or the data holds fewer than `pairs` samples.
    pub fn new(
        data: Arc<Dataset>,
        spec: InputSpec,
        augment: Augment,
        pairs: usize,
        seed: u64,
        workers: usize,
    ) -> Result<Self, DataError> {
        data.check_fits(&spec)?;
        if pairs == 0 || pairs > data.len() {
            let wanted = "one or more, and at most the number of samples";
            return Err(DataError::Option { option: "pairs", found: pairs.to_string(), wanted });
        }
        if !(1..=MAX_WORKERS).contains(&workers) {
            let wanted = "1 to 64";
            return Err(DataError::Option { option: "workers", found: workers.to_string(), wanted });
        }
        let recipe = Recipe { data, spec, augment, pairs, seed, neighbours: 0 };
        // One view shows whatever is wrong with the settings before any thread starts.
        recipe.view(0, 0, 0, &mut vec![0.0; recipe.spec.values()])?;
        Ok(Self { recipe: Arc::new(recipe), workers })
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
        self.recipe.data.len() / self.recipe.pairs
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
            let indices = &order[number * self.pairs..][..self.pairs];
            if to.send(self.batch(epoch, indices)).is_err() {
                return;
            }
        }
    }

    fn batch(&self, epoch: u64, indices: &[usize]) -> Result<Batch, DataError> {
        let values = self.spec.values();
        let mut views = vec![0.0; 2 * self.pairs * values];
        for (row, out) in views.chunks_exact_mut(values).enumerate() {
            let which = (row / self.pairs) as u64;
            self.view(epoch, indices[row % self.pairs], which, out)?;
        }
        Ok(Batch { views: batch_array(2 * self.pairs, &self.spec, views)?, indices: indices.to_vec() })
    }

    /// View number `which` of one sample in one epoch.
    fn view(&self, epoch: u64, index: usize, which: u64, out: &mut [f32]) -> Result<(), DataError> {
        let mut rng = stream([self.seed, epoch, index as u64, which]);
        let index = if which == 1 { self.neighbour(index, &mut rng) } else { index };
        match (&self.augment, self.data.image(index), self.data.window(index)) {
            (Augment::Image(augment), Some(image), _) => {
                let size = Size { width: self.spec.shape[2], height: self.spec.shape[1] };
                augment.view(&image, size, &mut rng, out)?;
            }
            (Augment::Window(augment), _, Some(window)) => {
                let length = self.spec.shape[1];
                let source = WindowSource::new(window, length, &self.spec.mean, &self.spec.std)?;
                augment.view(&source, &mut rng, out)?;
            }
            _ => return Err(self.wrong_augment()),
        }
        Ok(normalise(out, &self.spec.mean, &self.spec.std)?)
    }

    fn neighbour(&self, index: usize, rng: &mut ChaCha8Rng) -> usize {
        if self.neighbours == 0 {
            return index;
        }
        let order = self.data.order();
        let (mut first, mut last) = (index, index);
        // Order falls where one stream ends and the next begins.
        while first > 0
            && order[first - 1] < order[first]
            && order[index] - order[first - 1] <= self.neighbours
        {
            first -= 1;
        }
        while last + 1 < order.len()
            && order[last] < order[last + 1]
            && order[last + 1] - order[index] <= self.neighbours
        {
            last += 1;
        }
        rng.random_range(first..=last)
    }

    fn wrong_augment(&self) -> DataError {
        let kind = |is_image: bool| if is_image { "images" } else { "windows" };
        DataError::Mismatch {
            found: kind(matches!(self.data.samples(), Samples::Images { .. })).to_owned(),
            wanted: format!("augmented as {}", kind(matches!(self.augment, Augment::Image(_)))),
            mend: "choose the augmentation of that modality",
        }
    }
}

/// A generator of its own for every combination of four numbers.
fn stream(words: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (part, word) in seed.chunks_exact_mut(8).zip(words) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
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

//! The batches of one epoch, in order: part by part, where the data comes in parts, and within a part made
//! by worker threads that take batches in turn.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use rand::seq::SliceRandom;

use super::DataError;
use super::dataset::Dataset;
use super::draw::{Draw, Recipe, stream};
use super::loader::Batch;
use super::stream::{Chunk, Chunks};

/// Purpose, beside seed and epoch, of the order of samples.
const ORDER: u64 = u64::MAX;

/// Samples that are shuffled among each other.
#[derive(Clone, Debug)]
pub(super) struct Part {
    data: Arc<Dataset>,
    /// Samples of the epoch before this part.
    base: u64,
    /// Samples that it stands for; fewer are there when some were bad.
    planned: usize,
    /// Kept for as long as its data is, which a stream counts by it.
    _chunk: Option<Arc<Chunk>>,
}

impl Part {
    /// All of `data`.
    pub(super) fn whole(data: Arc<Dataset>) -> Self {
        Self { base: 0, planned: data.len(), data, _chunk: None }
    }

    /// The order in which its samples are taken; where some are missing, others come twice.
    fn order(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        order.shuffle(&mut stream([seed, epoch, self.base, ORDER]));
        order.into_iter().cycle().take(self.planned).collect()
    }
}

/// Where parts come from.
#[derive(Debug)]
pub(super) enum Parts {
    /// One, held in memory.
    Held(Option<Part>),
    /// One after another.
    Streamed(Chunks),
}

impl Parts {
    fn next(&mut self) -> Option<Result<Part, DataError>> {
        match self {
            Self::Held(part) => part.take().map(Ok),
            Self::Streamed(chunks) => chunks.next().map(|chunk| {
                let chunk = chunk?;
                let planned = usize::try_from(chunk.planned()).unwrap_or(usize::MAX);
                let data = Arc::clone(chunk.data());
                Ok(Part { data, base: chunk.first(), planned, _chunk: Some(Arc::new(chunk)) })
            }),
        }
    }
}

/// The batches of one epoch, in order. After an error it ends.
#[derive(Debug)]
pub struct Epoch {
    recipe: Arc<Recipe>,
    workers: usize,
    epoch: u64,
    next: usize,
    end: usize,
    parts: Parts,
    lanes: Lanes,
}

impl Epoch {
    pub(super) fn begin(
        recipe: Arc<Recipe>,
        workers: usize,
        epoch: u64,
        parts: Parts,
        batches: Range<usize>,
    ) -> Result<Self, DataError> {
        let Range { start: next, end } = batches;
        let mut begun = Self { recipe, workers, epoch, next, end, parts, lanes: Lanes::default() };
        if begun.next < begun.end {
            begun.enter()?;
        }
        Ok(begun)
    }

    /// Goes over to the next part, at the batch that is due.
    fn enter(&mut self) -> Result<(), DataError> {
        // The part before must be gone before the next is asked for: memory holds two at a time.
        self.lanes = Lanes::default();
        let lost = || DataError::Worker { what: "ended before the epoch did; this is a bug".to_owned() };
        let part = self.parts.next().ok_or_else(lost)??;
        let before = usize::try_from(part.base).unwrap_or(usize::MAX) / self.recipe.samples;
        let batches = self.next.saturating_sub(before)..part.planned / self.recipe.samples;
        self.lanes = Lanes::start(&self.recipe, part, self.epoch, batches, self.workers)?;
        Ok(())
    }

    fn batch(&mut self) -> Result<Batch, DataError> {
        if self.lanes.is_empty() {
            self.enter()?;
        }
        self.lanes.take()
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let batch = self.batch();
        self.next = if batch.is_ok() { self.next + 1 } else { self.end };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.saturating_sub(self.next);
        (left.min(1), Some(left))
    }
}

/// Threads at work on one part, each with a channel of its own.
#[derive(Debug, Default)]
struct Lanes {
    receivers: Vec<Receiver<Result<Batch, DataError>>>,
    threads: Vec<JoinHandle<()>>,
    turn: usize,
    left: usize,
}

impl Lanes {
    fn start(
        recipe: &Arc<Recipe>,
        part: Part,
        epoch: u64,
        batches: Range<usize>,
        workers: usize,
    ) -> Result<Self, DataError> {
        let mut lanes = Self::default();
        lanes.left = batches.len();
        let workers = workers.min(batches.len());
        let order: Arc<[usize]> = part.order(recipe.seed, epoch).into();
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(1);
            let (recipe, part, order) = (Arc::clone(recipe), part.clone(), Arc::clone(&order));
            let numbers = (batches.start + worker..batches.end).step_by(workers);
            let work = move || make(&recipe, &part, epoch, &order, numbers, &sender);
            let thread = Builder::new().name(format!("loader-{worker}")).spawn(work);
            let thread = thread.map_err(|e| DataError::Worker { what: format!("could not start: {e}") })?;
            lanes.receivers.push(receiver);
            lanes.threads.push(thread);
        }
        Ok(lanes)
    }

    fn is_empty(&self) -> bool {
        self.left == 0
    }

    fn take(&mut self) -> Result<Batch, DataError> {
        let died = || DataError::Worker { what: "died while it made a batch; this is a bug".to_owned() };
        let lane = self.receivers.get(self.turn).ok_or_else(died)?;
        self.turn = (self.turn + 1) % self.receivers.len();
        self.left = self.left.saturating_sub(1);
        lane.recv().unwrap_or_else(|_| Err(died()))
    }
}

impl Drop for Lanes {
    /// Hangs up first, so that a worker with a finished batch gives up rather than waits.
    fn drop(&mut self) {
        self.receivers.clear();
        for thread in self.threads.drain(..) {
            // A worker that panicked has already been reported by its silent lane.
            let _ = thread.join();
        }
    }
}

/// Makes batches until they are made or nobody wants them.
fn make(
    recipe: &Recipe,
    part: &Part,
    epoch: u64,
    order: &[usize],
    numbers: impl Iterator<Item = usize>,
    to: &SyncSender<Result<Batch, DataError>>,
) {
    for number in numbers {
        // Numbers stay below the count of whole batches of the order.
        let indices = &order[number * recipe.samples..][..recipe.samples];
        let inputs = recipe.sampler.draw(&Draw::new(recipe, &part.data, part.base, epoch, indices));
        let batch = inputs.map(|inputs| Batch { inputs, indices: indices.to_vec() });
        if to.send(batch).is_err() {
            return;
        }
    }
}

//! A thread that reads, decodes and fills chunks ahead of whoever uses them. It goes through every shard
//! once an epoch, however many chunks a shard fills.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::super::{DataError, Dataset, LoadOptions};
use super::StreamOptions;
use super::budget::{Budget, CHUNKS};
use super::gather::Gather;
use super::record::{Record, Source};

/// Largest image file.
const MAX_IMAGE_FILE: u64 = 64 << 20;
/// How often one who waits for a chunk looks whether it waits for itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Samples of a stream in memory. They count against the stream's memory until this is dropped.
#[derive(Debug)]
pub struct Chunk {
    data: Arc<Dataset>,
    first: u64,
    planned: u64,
    _permit: Permit,
}

impl Chunk {
    /// The samples.
    pub fn data(&self) -> &Arc<Dataset> {
        &self.data
    }

    /// Place of the chunk in its epoch: samples before it.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Samples that the chunk was cut for; those missing in [`Chunk::data`] were bad, and are named there.
    pub fn planned(&self) -> u64 {
        self.planned
    }
}

/// A chunk's share of the budget.
#[derive(Debug)]
struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.end_chunk(self.bytes);
    }
}

/// The chunks of one epoch, in order. After an error it ends. At most one chunk may be held while the
/// next is asked for.
#[derive(Debug)]
pub struct Chunks {
    chunks: Option<Receiver<Result<Chunk, DataError>>>,
    thread: Option<JoinHandle<()>>,
    given_up: Arc<AtomicBool>,
    budget: Arc<Budget>,
}

impl Iterator for Chunks {
    type Item = Result<Chunk, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunks = self.chunks.as_ref()?;
        let chunk = loop {
            match chunks.recv_timeout(LOOK_EVERY) {
                Ok(chunk) => break Some(chunk),
                Err(RecvTimeoutError::Disconnected) => break None,
                // The thread holds no chunk of its own: all are held by the caller, who waits here.
                Err(_) if self.budget.is_stuck() => break Some(Err(DataError::ChunksHeld { held: CHUNKS })),
                Err(_) => {}
            }
        };
        if !matches!(chunk, Some(Ok(_))) {
            self.close();
        }
        chunk
    }
}

impl Chunks {
    fn close(&mut self) {
        self.given_up.store(true, Ordering::SeqCst);
        self.chunks = None;
        self.budget.wake();
        if let Some(thread) = self.thread.take() {
            // One that panicked was noticed as an epoch that ended early.
            let _ = thread.join();
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a filling thread knows.
pub(super) struct Filler {
    pub(super) name: String,
    pub(super) source: Arc<dyn Source>,
    pub(super) options: Arc<StreamOptions>,
    /// Shards in the order of the epoch.
    pub(super) order: Vec<usize>,
    pub(super) chunk_samples: u64,
    pub(super) sample_bytes: u64,
    pub(super) samples: u64,
}

impl Filler {
    /// Fills chunks from the one that begins with sample `start` on.
    pub(super) fn start(self, start: u64, budget: &Arc<Budget>) -> Result<Chunks, DataError> {
        // Without room: what is filled is handed over, and until then counts as being filled.
        let (sender, receiver) = sync_channel(0);
        let given_up = Arc::new(AtomicBool::new(false));
        let (own_budget, own_flag) = (Arc::clone(budget), Arc::clone(&given_up));
        let work = move || {
            let load =
                LoadOptions { max_bytes: self.options.chunk_bytes, limit: None, ..self.options.load.clone() };
            let mut filling = Filling {
                filler: &self,
                load: &load,
                budget: &own_budget,
                given_up: &own_flag,
                to: &sender,
                next: start,
                allowed: (self.options.max_bad * self.samples as f64).ceil() as u64,
                open: None,
            };
            if let Err(error) = filling.run() {
                // Nobody listens any more if this fails.
                let _ = sender.send(Err(error));
            }
        };
        let thread = Builder::new().name("stream".to_owned()).spawn(work);
        let thread = thread.map_err(|e| DataError::Worker { what: format!("could not start: {e}") })?;
        let budget = Arc::clone(budget);
        Ok(Chunks { chunks: Some(receiver), thread: Some(thread), given_up, budget })
    }
}

/// An epoch being read.
struct Filling<'a> {
    filler: &'a Filler,
    load: &'a LoadOptions,
    budget: &'a Arc<Budget>,
    given_up: &'a AtomicBool,
    to: &'a SyncSender<Result<Chunk, DataError>>,
    /// Place in the epoch of the chunk being filled, or of the next.
    next: u64,
    /// Bad records that are still allowed.
    allowed: u64,
    open: Option<Open<'a>>,
}

/// A chunk being filled.
struct Open<'a> {
    gather: Gather<'a>,
    planned: u64,
    /// Records still to come.
    left: u64,
    permit: Permit,
}

impl Filling<'_> {
    fn run(&mut self) -> Result<(), DataError> {
        let (filler, start) = (self.filler, self.next);
        let mut before = 0;
        for &shard in &filler.order {
            let count = filler.source.shards().get(shard).copied().unwrap_or(0);
            let skip = start.saturating_sub(before);
            before += count;
            if skip >= count {
                continue;
            }
            let (mut left, mut wanted) = (count - skip, true);
            filler.source.read(shard, skip, &mut |record| {
                left = left.saturating_sub(1);
                wanted = self.take(record)?;
                Ok(wanted && left > 0)
            })?;
            if !wanted || !self.pass(left)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes one record; `false` when nobody wants more.
    fn take(&mut self, record: Record) -> Result<bool, DataError> {
        if !self.begin() {
            return Ok(false);
        }
        if let Some(open) = &mut self.open {
            open.gather.push(record)?;
        }
        self.pass(1)
    }

    /// Goes on by `records` that were taken or are missing; `false` when nobody wants more.
    fn pass(&mut self, mut records: u64) -> Result<bool, DataError> {
        while records > 0 {
            if !self.begin() {
                return Ok(false);
            }
            let Some(open) = &mut self.open else { return Ok(false) };
            let passed = records.min(open.left);
            open.left -= passed;
            records -= passed;
            if open.left == 0 && !self.hand_over()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sees to it that a chunk is being filled, and waits for room where none is; `false` when nobody wants it.
    fn begin(&mut self) -> bool {
        if self.open.is_some() {
            return !self.given_up.load(Ordering::SeqCst);
        }
        let filler = self.filler;
        let planned = filler.chunk_samples.min(filler.samples.saturating_sub(self.next));
        let bytes = planned.saturating_mul(filler.sample_bytes);
        if planned == 0 || !self.budget.begin_chunk(bytes, || self.given_up.load(Ordering::SeqCst)) {
            return false;
        }
        let permit = Permit { budget: Arc::clone(self.budget), bytes };
        let gather = Gather::new(&filler.name, &*filler.source, self.load, self.allowed, self.budget);
        self.open = Some(Open { gather, planned, left: planned, permit });
        true
    }

    /// Hands over what is filled; `false` when nobody takes it.
    fn hand_over(&mut self) -> Result<bool, DataError> {
        let Some(Open { gather, planned, permit, .. }) = self.open.take() else { return Ok(true) };
        let data = gather.finish()?;
        self.allowed = self.allowed.saturating_sub(data.skipped().count());
        let chunk = Chunk { data: Arc::new(data), first: self.next, planned, _permit: permit };
        self.next += planned;
        Ok(self.to.send(Ok(chunk)).is_ok())
    }
}

/// A whole image file, unless it is too large or no regular file.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let about = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !about.is_file() || about.len() > MAX_IMAGE_FILE {
        return Err(format!("no regular file of at most {MAX_IMAGE_FILE} bytes"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_IMAGE_FILE).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

//! A thread that reads, decodes and fills chunks ahead of whoever uses them. Images are decoded by
//! several threads, a few records at a time, and put in their order again.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use sedge_recordings::{Limits, decode_image};

use super::super::images::{ImageSink, Picture, Tag, in_parallel};
use super::super::{DataError, Dataset, LoadOptions};
use super::budget::{Budget, CHUNKS};
use super::{Record, Source, StreamOptions};

/// Largest image file.
const MAX_IMAGE_FILE: u64 = 64 << 20;
/// Records, and bytes of them, that are decoded at a time.
const RECORDS_AT_ONCE: usize = 128;
const BYTES_AT_ONCE: u64 = 16 << 20;
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
            let mut filling = Filling::new(&self, start, &own_budget, &own_flag, &sender);
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
    budget: &'a Arc<Budget>,
    given_up: &'a AtomicBool,
    to: &'a SyncSender<Result<Chunk, DataError>>,
    /// Place of the next record in the epoch.
    next: u64,
    /// Bad records that are still allowed.
    allowed: u64,
    load: LoadOptions,
}

impl<'a> Filling<'a> {
    fn new(
        filler: &'a Filler,
        start: u64,
        budget: &'a Arc<Budget>,
        given_up: &'a AtomicBool,
        to: &'a SyncSender<Result<Chunk, DataError>>,
    ) -> Self {
        let allowed = (filler.options.max_bad * filler.samples as f64).ceil() as u64;
        let load = LoadOptions { max_bytes: filler.options.chunk_bytes, ..filler.options.load.clone() };
        Self { filler, budget, given_up, to, next: start, allowed, load }
    }

    fn run(&mut self) -> Result<(), DataError> {
        while self.next < self.filler.samples {
            let planned = self.filler.chunk_samples.min(self.filler.samples - self.next);
            let bytes = planned.saturating_mul(self.filler.sample_bytes);
            if !self.budget.begin_chunk(bytes, || self.given_up.load(Ordering::SeqCst)) {
                return Ok(());
            }
            let permit = Permit { budget: Arc::clone(self.budget), bytes };
            let data = self.fill(planned)?;
            let chunk = Chunk { data: Arc::new(data), first: self.next, planned, _permit: permit };
            self.next += planned;
            if self.to.send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads and decodes the next `planned` records of the epoch.
    fn fill(&mut self, planned: u64) -> Result<Dataset, DataError> {
        let (mut first, end) = (self.next, self.next + planned);
        let load = LoadOptions { max_skipped: self.allowed, ..self.load.clone() };
        let mut sink = ImageSink::new(&self.filler.name, &load);
        let mut before = 0;
        for &shard in &self.filler.order {
            let count = self.filler.source.shards().get(shard).copied().unwrap_or(0);
            let after = before + count;
            if first < after && first < end {
                let most = after.min(end) - first;
                decode(&*self.filler.source, shard, first - before, most, &load, &mut sink, self.budget)?;
                first += most;
            }
            before = after;
        }
        let data = sink.finish(self.filler.source.classes().to_vec())?;
        self.allowed = self.allowed.saturating_sub(data.skipped().count());
        Ok(data)
    }
}

/// Decodes all of a shard.
pub(super) fn decode_all(
    source: &dyn Source,
    shard: usize,
    load: &LoadOptions,
    sink: &mut ImageSink<'_>,
) -> Result<(), DataError> {
    decode_some(source, shard, u64::MAX, load, sink)
}

/// Decodes the first `most` records of a shard.
pub(super) fn decode_some(
    source: &dyn Source,
    shard: usize,
    most: u64,
    load: &LoadOptions,
    sink: &mut ImageSink<'_>,
) -> Result<(), DataError> {
    decode(source, shard, 0, most, load, sink, &Budget::default())
}

/// Decodes `most` records of a shard behind the first `skip` and gives them to the sink, in order.
fn decode(
    source: &dyn Source,
    shard: usize,
    skip: u64,
    most: u64,
    load: &LoadOptions,
    sink: &mut ImageSink<'_>,
    budget: &Budget,
) -> Result<(), DataError> {
    let mut waiting = Waiting { records: Vec::new(), bytes: 0, load, budget };
    let mut left = most;
    source.read(shard, skip, &mut |record| {
        left = left.saturating_sub(1);
        waiting.push(record, sink)?;
        Ok(left > 0 && !sink.is_full())
    })?;
    waiting.flush(sink)
}

/// Records that are about to be decoded together.
struct Waiting<'a> {
    records: Vec<Record>,
    bytes: u64,
    load: &'a LoadOptions,
    budget: &'a Budget,
}

impl Waiting<'_> {
    fn push(&mut self, record: Record, sink: &mut ImageSink<'_>) -> Result<(), DataError> {
        let bytes = record.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.budget.hold(bytes);
        self.bytes += bytes;
        self.records.push(record);
        if self.records.len() >= RECORDS_AT_ONCE || self.bytes >= BYTES_AT_ONCE {
            self.flush(sink)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, sink: &mut ImageSink<'_>) -> Result<(), DataError> {
        let records = std::mem::take(&mut self.records);
        let pictures = in_parallel(&records, self.load.workers, |record| {
            let bytes = record.bytes.as_ref().map_err(Clone::clone)?;
            let frame = decode_image(bytes, &Limits::default()).map_err(|e| e.to_string())?;
            let picture = Picture::fit(&frame, self.load.image_size).map_err(|e| e.to_string())?;
            Ok::<_, String>((picture, record.label.clone()?))
        })?;
        self.budget.release(std::mem::take(&mut self.bytes));
        for (record, picture) in records.into_iter().zip(pictures) {
            if sink.is_full() {
                break;
            }
            match picture {
                Ok((picture, label)) => {
                    let tag = Tag { label, group: record.number as u32, order: record.number };
                    sink.push(picture, tag)?;
                }
                Err(why) => sink.skip(record.what, why)?,
            }
        }
        Ok(())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
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

//! Records on their way into a data set. Image files are decoded by several threads, a few records at a
//! time, and put in their order again; windows and pictures of videos come as they are.

use sedge_recordings::{Limits, decode_image};

use super::super::images::{ImageSink, Picture, Tag, in_parallel};
use super::super::skipped::SkipList;
use super::super::windows::WindowSink;
use super::super::{DataError, Dataset, LoadOptions};
use super::budget::Budget;
use super::record::{Content, Record, Source};

/// Records, and bytes of them, that are decoded at a time.
const RECORDS_AT_ONCE: usize = 128;
const BYTES_AT_ONCE: u64 = 16 << 20;

/// Gathers the records of one chunk, or of all.
pub(super) struct Gather<'a> {
    name: &'a str,
    load: &'a LoadOptions,
    classes: &'a [String],
    sink: Sink<'a>,
    skipped: SkipList,
    /// Bad records that are allowed.
    allowed: u64,
    waiting: Vec<Record>,
    waiting_bytes: u64,
    budget: &'a Budget,
}

enum Sink<'a> {
    Images(ImageSink<'a>),
    Windows(WindowSink<'a>),
}

impl<'a> Gather<'a> {
    pub(super) fn new(
        name: &'a str,
        source: &'a dyn Source,
        load: &'a LoadOptions,
        allowed: u64,
        budget: &'a Budget,
    ) -> Self {
        let sink = match source.windows() {
            None => Sink::Images(ImageSink::new(name, load)),
            Some(windows) => Sink::Windows(WindowSink::new(name, load).of(windows.channels, windows.rate_hz)),
        };
        let skipped = SkipList::default();
        let (waiting, waiting_bytes) = (Vec::new(), 0);
        Self { name, load, classes: source.classes(), sink, skipped, allowed, waiting, waiting_bytes, budget }
    }

    /// Whether as many images are here as were asked for; windows are thinned out in the end.
    pub(super) fn is_full(&self) -> bool {
        match &self.sink {
            Sink::Images(sink) => sink.is_full(),
            Sink::Windows(_) => false,
        }
    }

    pub(super) fn push(&mut self, record: Record) -> Result<(), DataError> {
        let bytes = record.content.as_ref().map_or(0, Content::bytes);
        self.budget.hold(bytes);
        self.waiting_bytes += bytes;
        self.waiting.push(record);
        if self.waiting.len() >= RECORDS_AT_ONCE || self.waiting_bytes >= BYTES_AT_ONCE {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let records = std::mem::take(&mut self.waiting);
        let encoded = records.iter().any(|record| matches!(record.content, Ok(Content::Encoded(_))));
        // What needs no decoding needs no threads.
        let workers = if encoded { self.load.workers } else { 1 };
        let decode = |record: &Record| match &record.content {
            Ok(Content::Encoded(bytes)) => {
                let frame = decode_image(bytes, &Limits::default()).map_err(|e| e.to_string())?;
                Picture::fit(&frame, self.load.image_size).map(Some).map_err(|e| e.to_string())
            }
            _ => Ok::<_, String>(None),
        };
        let decoded = in_parallel(&records, workers, decode)?;
        for (record, decoded) in records.into_iter().zip(decoded) {
            if self.is_full() {
                break;
            }
            let Record { what, content, label, group, order } = record;
            let whole = content.and_then(|content| {
                let content = decoded?.map_or(content, Content::Picture);
                Ok((content, Tag { label: label?, group, order }))
            });
            match (whole, &mut self.sink) {
                (Ok((Content::Picture(picture), tag)), Sink::Images(sink)) => sink.push(picture, tag)?,
                (Ok((Content::Window(values), tag)), Sink::Windows(sink)) => sink.push(&values, tag)?,
                (Ok(_), _) => self.skip(what, "it is of another kind than the data")?,
                (Err(why), _) => self.skip(what, why)?,
            }
        }
        self.budget.release(std::mem::take(&mut self.waiting_bytes));
        Ok(())
    }

    fn skip(&mut self, what: String, why: impl ToString) -> Result<(), DataError> {
        self.skipped.add(self.name, self.allowed, what, why)
    }

    /// What was gathered.
    pub(super) fn finish(mut self) -> Result<Dataset, DataError> {
        self.flush()?;
        let skipped = std::mem::take(&mut self.skipped);
        let names = self.classes.to_vec();
        let sink = std::mem::replace(&mut self.sink, Sink::Images(ImageSink::new(self.name, self.load)));
        let finished = match sink {
            Sink::Images(sink) => sink.finish(names),
            Sink::Windows(sink) => sink.finish(names),
        };
        match finished {
            Ok(mut data) => {
                data.skipped = skipped;
                Ok(data)
            }
            Err(DataError::Empty { source_name, what, .. }) => {
                Err(DataError::Empty { source_name, what, first: skipped.first() })
            }
            Err(other) => Err(other),
        }
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.budget.release(self.waiting_bytes);
    }
}

/// Gathers the first `most` records of the shards named, one shard after the other.
pub(super) fn gather(
    name: &str,
    source: &dyn Source,
    shards: impl IntoIterator<Item = usize>,
    most: u64,
    load: &LoadOptions,
) -> Result<Dataset, DataError> {
    let budget = Budget::default();
    let mut gather = Gather::new(name, source, load, load.max_skipped, &budget);
    for shard in shards {
        let mut left = most.min(source.shards().get(shard).copied().unwrap_or(0));
        if left == 0 {
            continue;
        }
        source.read(shard, 0, &mut |record| {
            left = left.saturating_sub(1);
            gather.push(record)?;
            Ok(left > 0 && !gather.is_full())
        })?;
        gather.flush()?;
        if gather.is_full() {
            break;
        }
    }
    gather.finish()
}

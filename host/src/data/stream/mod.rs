//! Training data that need not fit into memory. A [`Stream`] gives an epoch as a sequence of chunks,
//! each an in-memory [`Dataset`] of at most a stated size: one is in use while a thread fills the
//! next, so that memory is twice a chunk whatever the size of the data.
//!
//! Shards are put in an order drawn from (seed, epoch), and chunks are cut from their concatenation;
//! within a chunk, whoever makes batches shuffles. A first scan counts samples from headers and
//! listings alone, so that every epoch has a known number of chunks and can be entered at any.

mod budget;
mod chunks;
mod cut;
mod digest;
mod folder;
mod gather;
mod lerobot;
mod mcap;
mod parquet;
mod record;
mod series;
mod tar_shards;
mod video;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::seq::SliceRandom;
use sedge_models::InputSpec;

use budget::Budget;
pub use chunks::{Chunk, Chunks};
use folder::Folder;
use lerobot::LeRobot;
use mcap::{Recordings, mcap_files};
use parquet::Parquet;
use record::Source;
use series::{SeriesFiles, series_files};
use tar_shards::{TarShards, has_shards};
use video::{Videos, video_files};

use super::draw::stream as generator;
use super::parquet_images::parquet_files;
use super::{DataError, Dataset, LoadOptions};

/// Default size of a chunk in bytes.
pub const CHUNK_BYTES: u64 = 256 << 20;
/// Default share of the samples that may be bad in an epoch.
pub const MAX_BAD: f64 = 0.01;
/// Samples that shape and normalisation are taken from.
const SURVEYED: u64 = 1024;
/// Samples that tell how large one is.
const PROBED: u64 = 4;
/// What a sample is taken to need whose size cannot be told beforehand.
const UNKNOWN_BYTES: u64 = 1 << 20;
/// Purpose, beside seed and epoch, of the order of shards.
const SHARDS: u64 = u64::MAX - 1;

/// How data is streamed.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamOptions {
    /// What to take of the data. `limit` is for data in memory and refused here, and so are `groups` where
    /// every image is a group of its own; `max_bytes` and `max_skipped` give way to the fields below.
    pub load: LoadOptions,
    /// Most bytes of a chunk.
    pub chunk_bytes: u64,
    /// Share of the samples, 0 to 1, that may be bad in one epoch before it is given up.
    pub max_bad: f64,
    /// Chunks hold whole multiples of this many samples, the batch, but for an epoch's last.
    pub align: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { load: LoadOptions::default(), chunk_bytes: CHUNK_BYTES, max_bad: MAX_BAD, align: 1 }
    }
}

/// Data in shards, of any size.
pub struct Stream {
    name: String,
    source: Arc<dyn Source>,
    options: Arc<StreamOptions>,
    samples: u64,
    chunk_samples: u64,
    sample_bytes: u64,
    survey: Dataset,
    digest: String,
    budget: Arc<Budget>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, samples, chunk_samples, .. } = self;
        f.debug_struct("Stream")
            .field("name", name)
            .field("samples", samples)
            .field("chunk_samples", chunk_samples)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Looks through `path`: a `.tar` file or a folder of them (WebDataset), `.parquet` files of
    /// images, a LeRobot data set, a `.npz`, `.csv` or `.mcap` file, a video, a folder of either without
    /// images or folders beside them, or a folder of images, all in one or one sub-folder a class. Reads headers, small members, the blocks of
    /// [`Stream::digest`] and the samples of [`Stream::survey`]; tables and recordings it passes through once,
    /// holding nothing of them.
    ///
    /// # Errors
    /// Whatever is wrong with the data as a whole or the options.
    pub fn open(path: impl AsRef<Path>, options: StreamOptions) -> Result<Self, DataError> {
        let path = path.as_ref();
        check(&options)?;
        let load = LoadOptions { max_bytes: options.chunk_bytes, ..options.load.clone() };
        let source = source_of(path, &load)?;
        if options.load.groups.is_some() && !source.knows_groups() {
            let wanted = "left out of a stream of single images, which takes all";
            return Err(DataError::Option { option: "groups", found: "given".to_owned(), wanted });
        }
        let name = path.display().to_string();
        let samples = source.shards().iter().fold(0u64, |sum, shard| sum.saturating_add(*shard));
        let survey = survey(&name, &source, &options)?;
        let sample_bytes = (survey.bytes() / survey.len()).max(1) as u64;
        let align = options.align as u64;
        let chunk_samples = options.chunk_bytes / sample_bytes / align * align;
        if chunk_samples == 0 {
            let (bytes, limit) = (sample_bytes.saturating_mul(align), options.chunk_bytes);
            return Err(DataError::TooLarge { source_name: name, samples: align, bytes, limit });
        }
        let made_by = format!("{:?}{}", options.load.image_size, source.made_by());
        let digest = digest::of(&name, source.files(), samples, &made_by)?;
        let budget = Arc::new(Budget::default());
        let options = Arc::new(options);
        Ok(Self { name, source, options, samples, chunk_samples, sample_bytes, survey, digest, budget })
    }

    /// Samples of an epoch, the bad ones among them.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples of every chunk but an epoch's last.
    pub fn chunk_samples(&self) -> u64 {
        self.chunk_samples
    }

    /// Samples from all over the data, for shape, normalisation and measuring: from up to 64 shards drawn
    /// from a fixed seed, as many from each, at most 1024 and no more than half a chunk.
    pub fn survey(&self) -> &Dataset {
        &self.survey
    }

    /// The input specification of an encoder for this data, normalised by the figures of the survey.
    pub fn input_spec(&self) -> InputSpec {
        self.survey.input_spec(self.options.load.image_size)
    }

    /// SHA-256, in hexadecimal, over the number of samples, what is made of them, the name and length of
    /// every file, and blocks of 64 KiB: up to 17, evenly spread, of up to 4096 files, evenly spread. It
    /// tells files apart that were replaced, cut or written anew, but not a byte changed between blocks.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Most bytes that chunks, being filled or held, and records waiting to be decoded took at any time.
    pub fn peak_bytes(&self) -> u64 {
        self.budget.peak()
    }

    /// The chunks of `epoch` from the one that holds sample `first` of the epoch on. The same seed gives
    /// the same chunks on any number of threads.
    ///
    /// # Errors
    /// [`DataError::Worker`] when no thread can start.
    pub fn epoch(&self, seed: u64, epoch: u64, first: u64) -> Result<Chunks, DataError> {
        let mut order: Vec<usize> = (0..self.source.shards().len()).collect();
        order.shuffle(&mut generator([seed, epoch, 0, SHARDS]));
        let start = first / self.chunk_samples * self.chunk_samples;
        let filler = chunks::Filler {
            name: self.name.clone(),
            source: Arc::clone(&self.source),
            options: Arc::clone(&self.options),
            order,
            chunk_samples: self.chunk_samples,
            sample_bytes: self.sample_bytes,
            samples: self.samples,
        };
        filler.start(start, &self.budget)
    }
}

/// The reader of whatever `path` is.
fn source_of(path: &Path, load: &LoadOptions) -> Result<Arc<dyn Source>, DataError> {
    if lerobot::is_lerobot(path) {
        return Ok(Arc::new(LeRobot::open(path, load)?));
    }
    let split = path.join(&load.split);
    let path = if split.is_dir() { &split } else { path };
    let is = |kind: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(kind)) && path.is_file();
    if is("tar") || has_shards(path)? {
        return Ok(Arc::new(TarShards::open(path)?));
    }
    if is("parquet") || (path.is_dir() && !parquet_files(path)?.is_empty()) {
        return Ok(Arc::new(Parquet::open(path, &load.split)?));
    }
    if is_folder_of_images(path)? {
        return Ok(Arc::new(Folder::open(path)?));
    }
    let series = series_files(path)?;
    if !series.is_empty() {
        return Ok(Arc::new(SeriesFiles::open(path, series, load)?));
    }
    let recordings = mcap_files(path)?;
    if !recordings.is_empty() {
        return Ok(Arc::new(Recordings::open(path, recordings, load)?));
    }
    let videos = video_files(path)?;
    if !videos.is_empty() {
        return Ok(Arc::new(Videos::open(path, &videos, load)?));
    }
    Ok(Arc::new(Folder::open(path)?))
}

/// Whether a path is of a kind that is only known here: read in shards, whether it is held or not.
pub(super) fn is_only_sharded(path: &Path) -> Result<bool, DataError> {
    if !path.is_dir() {
        return Ok(!video_files(path)?.is_empty());
    }
    if lerobot::is_lerobot(path) || has_shards(path)? {
        return Ok(true);
    }
    let many = || {
        let series = !series_files(path)?.is_empty() || !mcap_files(path)?.is_empty();
        Ok::<_, DataError>(series || !video_files(path)?.is_empty())
    };
    Ok(!is_folder_of_images(path)? && many()?)
}

/// Whether a folder holds images or folders: then a table or a video beside them is only beside them.
fn is_folder_of_images(path: &Path) -> Result<bool, DataError> {
    if !path.is_dir() {
        return Ok(false);
    }
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let kind = path.extension().unwrap_or_default().to_ascii_lowercase();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && (path.is_dir() || kind == "jpg" || kind == "jpeg" || kind == "png") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What lies directly in a folder and is accepted, by name, up to a limit.
fn files_of(folder: &Path, most: usize, accepts: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if accepts(&path) {
            files.push(path);
        }
        if files.len() > most {
            let (found, wanted) = (format!("more than {most} in {}", folder.display()), "fewer");
            return Err(DataError::Option { option: "files", found, wanted });
        }
    }
    files.sort();
    Ok(files)
}

/// The whole of a stream as one data set.
pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    let source = source_of(path, options)?;
    let all = 0..source.shards().len();
    gather::gather(&path.display().to_string(), &*source, all, u64::MAX, options)
}

fn check(options: &StreamOptions) -> Result<(), DataError> {
    options.load.check()?;
    let refused = |option, found: String, wanted| Err(DataError::Option { option, found, wanted });
    let in_memory = "left out of a stream, which takes all; without it data is loaded whole";
    if let Some(limit) = options.load.limit {
        return refused("limit", limit.to_string(), in_memory);
    }
    if !(0.0..=1.0).contains(&options.max_bad) {
        return refused("max_bad", options.max_bad.to_string(), "0 to 1");
    }
    if options.align == 0 {
        return refused("align", "0".to_owned(), "one or more");
    }
    Ok(())
}

/// Bytes of the first sample that can be read, where one of the first few can.
fn first_bytes(name: &str, source: &Arc<dyn Source>, order: &[usize], load: &LoadOptions) -> Option<u64> {
    let probed = gather::gather(name, &**source, order.first().copied(), PROBED, load).ok()?;
    Some((probed.bytes() / probed.len()) as u64)
}

/// See [`Stream::survey`].
fn survey(name: &str, source: &Arc<dyn Source>, options: &StreamOptions) -> Result<Dataset, DataError> {
    let filled = |shard: &usize| source.shards().get(*shard).is_some_and(|samples| *samples > 0);
    let mut order: Vec<usize> = (0..source.shards().len()).filter(filled).collect();
    order.shuffle(&mut generator([0, 0, 0, SHARDS]));
    order.truncate(64);
    let each = SURVEYED.div_ceil(order.len().max(1) as u64);
    let load = LoadOptions { max_bytes: options.chunk_bytes, max_skipped: SURVEYED, ..options.load.clone() };
    let bytes = match (options.load.image_size, source.windows()) {
        (_, Some(windows)) => 4 * (windows.channels * load.window) as u64,
        (Some(side), None) => 3 * (side as u64).pow(2),
        (None, None) => first_bytes(name, source, &order, &load).unwrap_or(UNKNOWN_BYTES),
    };
    let most = options.chunk_bytes / 2 / bytes.max(1);
    let each = each.min((most / order.len().max(1) as u64).max(1));
    gather::gather(name, &**source, order, each, &load)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

//! One door for every kind of data: looks at what a source is and sends it to its reader.

use std::fs;
use std::path::{Path, PathBuf};

use sedge_recordings::{ImageFolder, Limits, SeriesOptions, SeriesSet, read_series};

use super::images::{APART, ImageSink, Picture, Tag, in_parallel};
use super::parquet_images::parquet_files;
use super::windows::{Run, WindowSink, spread};
use super::{DataError, Dataset, LoadOptions, drives, parquet_images, stream, streams, text};

/// Pictures decoded, and held, at a time.
const IMAGES_AT_ONCE: usize = 256;

/// Recordings of a file begin two to the power of this many nanoseconds apart: almost five hours.
const RECORDING_BITS: u32 = 44;

/// Loads data into memory.
///
/// | `source` | gives |
/// |---|---|
/// | `FILE.parquet`, or a folder of `<split>-*.parquet` | images (Hugging Face layout); each its own group |
/// | a folder of images, or of one sub-folder a class | images; each its own group |
/// | `FILE.tar`, or a folder of `*.tar` | images of WebDataset shards; each its own group |
/// | a folder with `meta/info.json` (LeRobot v3) | frames of a camera, or windows of features; a group an episode |
/// | `FILE.mp4`, `.mkv`, `.avi`, `.mjpeg`, or a folder of them | frames, by `ffmpeg`; a group a video |
/// | `FILE.npz`, `FILE.csv`, or a folder of them | windows; the group is the subject, or else the recording |
/// | `FILE.mcap`, or a folder of them | frames or IMU windows; a group a file |
/// | `FILE.txt`, `FILE.log` | a text a line; the group is the file |
/// | a folder of `*.txt` and `*.log`, or of one sub-folder a class | the same; a group a file |
/// | `FILE.jsonl`, `FILE.tsv`, or `FILE.csv` with a column `text` | a text a record; its `group`, or each its own |
/// | `sim-logs`, `sim-logs:key=value,...` | lines of robots' logs, labelled by what they say; a group a run |
/// | `sim`, `sim:key=value,...` | frames labelled by room, or IMU windows by floor; a group a visit |
/// | `sim:building=1-20,drive=1-20` | the same of twenty drives, one after the other |
///
/// # Errors
/// Whatever is wrong with the source as a whole, the options or the limits. Single bad records are
/// passed over and listed in [`Dataset::skipped`].
pub fn load(source: impl AsRef<Path>, options: &LoadOptions) -> Result<Dataset, DataError> {
    options.check()?;
    let Some(groups) = &options.groups else { return load_all(source.as_ref(), options) };
    let all = load_all(source.as_ref(), &LoadOptions { groups: None, limit: None, ..options.clone() })?;
    all.of_groups(groups)?.limited(options.limit)
}

fn load_all(path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    let name = path.display().to_string();
    if name == "sim" || name.starts_with("sim:") {
        return drives::load(&name, options);
    }
    if let Some(loaded) = text::simulated(&name, options) {
        return loaded;
    }
    let kind = fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    if stream::is_only_sharded(path)? {
        return stream::load(path, options);
    }
    if kind.is_dir() {
        return load_folder(&name, path, options);
    }
    match path.extension().unwrap_or_default().to_ascii_lowercase().to_str() {
        Some("parquet") => parquet_images::load(&name, &[path.to_owned()], options),
        Some("txt" | "log") => text::load_document(&name, path, options),
        Some("jsonl") => text::load_json_lines(&name, path, options),
        Some("tsv") => text::load_table(&name, path, b'\t', options),
        Some("csv") if text::has_texts(path)? => text::load_table(&name, path, b',', options),
        Some("npz" | "csv") => load_series(&name, path, options),
        Some("tar") => stream::load(path, options),
        Some("mcap") => streams::load_mcap(&name, path, options),
        _ => Err(DataError::UnknownKind { path: path.to_owned() }),
    }
}

fn load_folder(name: &str, path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    let shards = parquet_files(path)?;
    if shards.is_empty() {
        let split = path.join(&options.split);
        let folder = if split.is_dir() { split } else { path.to_owned() };
        if stream::is_only_sharded(&folder)? {
            return stream::load(&folder, options);
        }
        let inner = parquet_files(&folder)?;
        if inner.is_empty() {
            if let Some(folder) = text::Folder::open(&folder)? {
                return folder.load(name, options);
            }
            return load_images(name, &folder, options);
        }
        return parquet_images::load(name, &inner, options);
    }
    let prefix = format!("{}-", options.split);
    let chosen: Vec<PathBuf> = shards.iter().filter(|p| file_name(p).starts_with(&prefix)).cloned().collect();
    if chosen.is_empty() {
        let found = shards.iter().take(20).map(|p| file_name(p)).collect();
        return Err(DataError::NoSplit { path: path.to_owned(), split: options.split.clone(), found });
    }
    parquet_images::load(name, &chosen, options)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn load_images(name: &str, path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    let folder = ImageFolder::open(path, &Limits::default())?;
    let all = folder.entries();
    let chosen = spread(all.len(), options.limit.map_or(all.len(), |limit| limit.min(all.len())));
    let mut sink = ImageSink::new(name, options);
    for part in chosen.chunks(IMAGES_AT_ONCE) {
        let pictures = in_parallel(part, options.workers, |&index| {
            let frame = folder.decode(&all[index]).map_err(|e| e.to_string())?;
            Picture::fit(&frame, options.image_size).map_err(|e| e.to_string())
        })?;
        for (&index, picture) in part.iter().zip(pictures) {
            let label = all[index].label;
            match picture {
                Ok(picture) => {
                    // Files of one folder may be frames of one video; those of the next are not.
                    let order = (u64::from(label.unwrap_or(0)) << APART) + index as u64;
                    sink.push(picture, Tag { label, group: index as u32, order })?;
                }
                Err(why) => sink.skip(format!("image {}", index + 1), why)?,
            }
        }
        sink.expect(chosen.len() as u64)?;
    }
    sink.finish(folder.classes().to_vec())
}

fn load_series(name: &str, path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    let read = SeriesOptions { accel_in_g: options.accel_in_g, rate_hz: options.source_rate_hz };
    let SeriesSet { series, class_names, .. } = read_series(path, &read, &Limits::default())?;
    let grouped = series.iter().all(|series| series.group.is_some());
    let mut sink = WindowSink::new(name, options);
    for (number, series) in series.iter().enumerate() {
        // Nanoseconds, as of streams, where the rate is known.
        let step = series.rate_hz.filter(|rate| *rate > 0.0).map_or(1, |rate| (1e9 / rate) as u64);
        sink.add(&Run {
            name: &series.name,
            channels: series.channels(),
            values: series.values(),
            rate_hz: series.rate_hz.unwrap_or(0.0),
            label: series.label,
            group: series.group.filter(|_| grouped).unwrap_or(number as u32),
            // Recordings of one subject follow each other, far enough apart not to be neighbours.
            order: ((number as u64) << RECORDING_BITS, step),
        })?;
    }
    sink.finish(class_names)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;

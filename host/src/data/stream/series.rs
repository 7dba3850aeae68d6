//! Folders of series (`.npz`, `.csv`) as shards: a few hundred windows of a file each, found again by their
//! place where the file allows it, else the whole file. A file that cannot be read is one bad record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sedge_recordings::{Limits, SeriesFile, SeriesOptions, SeriesOutline};

use super::super::images::MAX_CLASSES;
use super::super::{DataError, LoadOptions};
use super::cut::Cut;
use super::record::{Content, Record, SEQUENCE_BITS, Source, Take, Wanted, Windows, same};

/// Windows of a shard, about.
const SHARD_WINDOWS: u64 = 256;
/// Most files of one folder.
const MAX_FILES: usize = 1 << 20;

pub(super) struct SeriesFiles {
    paths: Vec<PathBuf>,
    files: Vec<Result<Opened, String>>,
    shards: Vec<Shard>,
    counts: Vec<u64>,
    windows: Windows,
    classes: Vec<String>,
    load: LoadOptions,
}

/// One file that can be read.
struct Opened {
    file: SeriesFile,
    series: Vec<Tag>,
}

/// What a series is in the whole data.
struct Tag {
    number: u64,
    label: Option<u32>,
    group: u32,
    cut: Cut,
    /// Windows, none where the series is not wanted.
    windows: u64,
}

/// Windows of one file that follow each other.
struct Shard {
    file: usize,
    series: usize,
    window: u64,
}

/// The series files of a path: itself, or those directly in the folder, by name.
pub(super) fn series_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is = |path: &Path| {
        let kind = path.extension().unwrap_or_default().to_ascii_lowercase();
        path.is_file() && (kind == "npz" || kind == "csv")
    };
    if path.is_dir() {
        super::files_of(path, MAX_FILES, is)
    } else {
        Ok([path].into_iter().filter(|p| is(p)).map(Path::to_owned).collect())
    }
}

/// Series are streamed, so only what is held of them is limited.
fn limits() -> Limits {
    Limits { file_bytes: 1 << 50, rows: 1 << 45, ..Limits::default() }
}

impl SeriesFiles {
    /// Goes through every file once, holding no values.
    pub(super) fn open(name: &Path, paths: Vec<PathBuf>, load: &LoadOptions) -> Result<Self, DataError> {
        let read = SeriesOptions { accel_in_g: load.accel_in_g, rate_hz: load.source_rate_hz };
        let mut found = Vec::new();
        for path in &paths {
            found.push(SeriesFile::open(path, &read, &limits()).map_err(|error| error.to_string()));
        }
        let labels = Numbers::of(&found, SeriesFile::class_names, |outline| outline.label);
        let groups = Numbers::of(&found, SeriesFile::group_names, |outline| outline.group);
        let source_name = name.display().to_string();
        let (mut windows, mut number, mut files) = (None, 0, Vec::new());
        for (file, path) in found.into_iter().zip(&paths) {
            let Ok(file) = file else {
                files.push(file.map(|file| Opened { file, series: Vec::new() }));
                continue;
            };
            let mut series = Vec::new();
            for outline in file.outlines() {
                let own = outline.rate_hz.unwrap_or(0.0);
                let what = format!("{}, `{}`", path.display(), outline.name);
                let cut = Cut::new(&what, (file.channels(), outline.rows), own, load, load.max_bytes)?;
                let here = Windows { channels: file.channels(), rate_hz: cut.rate_hz(own) };
                same(&source_name, &what, *windows.get_or_insert(here), here)?;
                let label = labels.number(file.class_names(), outline.label);
                let group = groups.number(file.group_names(), outline.group).unwrap_or(number as u32);
                series.push(Tag { number, label, group, cut, windows: cut.windows() });
                number += 1;
            }
            files.push(Ok(Opened { file, series }));
        }
        let tags = files.iter().flatten().flat_map(|file| &file.series);
        let wanted = Wanted::of(tags.map(|tag| tag.group), load.groups.as_deref())?;
        for tag in files.iter_mut().flatten().flat_map(|file| &mut file.series) {
            if !wanted.has(tag.group) {
                tag.windows = 0;
            }
        }
        let (shards, counts) = shards_of(&files);
        let first = || files.iter().find_map(|file| file.as_ref().err().cloned());
        let Some(windows) =
            windows.filter(|_| files.iter().flatten().flat_map(|file| &file.series).any(|s| s.windows > 0))
        else {
            let what = format!("whole window of {} rows", load.window);
            return Err(DataError::Empty { source_name, what, first: first() });
        };
        let (classes, load) = (labels.names, load.clone());
        Ok(Self { paths, files, shards, counts, windows, classes, load })
    }
}

/// Cuts files into shards and counts their samples.
fn shards_of(files: &[Result<Opened, String>]) -> (Vec<Shard>, Vec<u64>) {
    let (mut shards, mut counts) = (Vec::new(), Vec::new());
    for (number, opened) in files.iter().enumerate() {
        let begin = |series, window| Shard { file: number, series, window };
        let Ok(opened) = opened else {
            shards.push(begin(0, 0));
            counts.push(1);
            continue;
        };
        let most = if opened.file.is_seekable() { SHARD_WINDOWS } else { u64::MAX };
        let mut room = 0;
        for (series, tag) in opened.series.iter().enumerate() {
            let mut window = 0;
            while window < tag.windows {
                if room == 0 {
                    shards.push(begin(series, window));
                    counts.push(0);
                    room = most;
                }
                let taken = room.min(tag.windows - window);
                (window, room) = (window + taken, room - taken);
                if let Some(count) = counts.last_mut() {
                    *count += taken;
                }
            }
        }
    }
    (shards, counts)
}

/// Labels or groups of all files under one numbering.
struct Numbers {
    /// Names in order of their numbers; empty where the files give numbers.
    names: Vec<String>,
    by_name: BTreeMap<String, u32>,
    /// Whether every series has one.
    whole: bool,
}

impl Numbers {
    fn of(
        files: &[Result<SeriesFile, String>],
        names_of: impl Fn(&SeriesFile) -> &[String],
        number_of: impl Fn(&SeriesOutline) -> Option<u32>,
    ) -> Self {
        let good = || files.iter().flatten();
        let whole = good().all(|file| file.outlines().iter().all(|outline| number_of(outline).is_some()));
        let named = good().any(|file| !names_of(file).is_empty());
        let mut names = BTreeSet::new();
        for file in good().filter(|_| named) {
            let own = file.outlines().iter().filter_map(&number_of);
            names.extend(own.map(|number| name_of(names_of(file), number)));
        }
        let names: Vec<String> = names.into_iter().collect();
        let by_name = names.iter().cloned().zip(0..).collect();
        Self { names, by_name, whole }
    }

    /// The number in the whole data of one that a file gives.
    fn number(&self, names: &[String], number: Option<u32>) -> Option<u32> {
        let number = number.filter(|_| self.whole)?;
        if self.names.is_empty() { Some(number) } else { self.by_name.get(&name_of(names, number)).copied() }
    }
}

fn name_of(names: &[String], number: u32) -> String {
    names.get(number as usize).cloned().unwrap_or_else(|| number.to_string())
}

impl Source for SeriesFiles {
    fn shards(&self) -> &[u64] {
        &self.counts
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn files(&self) -> &[PathBuf] {
        &self.paths
    }

    fn windows(&self) -> Option<Windows> {
        Some(self.windows)
    }

    fn made_by(&self) -> String {
        let LoadOptions { window, stride, rate_hz, source_rate_hz, accel_in_g, groups, .. } = &self.load;
        let taken = format!("{rate_hz:?} of {source_rate_hz:?}, in g {accel_in_g}, groups {groups:?}");
        format!(", windows of {window} each {stride} at {taken}")
    }

    fn knows_groups(&self) -> bool {
        true
    }

    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let (Some(shard), Some(&count)) = (self.shards.get(shard), self.counts.get(shard)) else {
            return Ok(());
        };
        let Some(path) = self.paths.get(shard.file) else { return Ok(()) };
        match self.files.get(shard.file) {
            Some(Ok(opened)) => {
                Reading { path, opened, load: &self.load, left: count }.read(shard, skip, take)
            }
            Some(Err(why)) => {
                let (what, content) = (path.display().to_string(), Err(why.clone()));
                take(Record { what, content, label: Ok(None), group: 0, order: 0 }).map(|_| ())
            }
            None => Ok(()),
        }
    }
}

/// One shard being read.
struct Reading<'a> {
    path: &'a Path,
    opened: &'a Opened,
    load: &'a LoadOptions,
    /// Windows still to come.
    left: u64,
}

impl Reading<'_> {
    fn read(&mut self, shard: &Shard, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        // To the series that holds the first window wanted.
        let (mut series, mut window) = (shard.series, shard.window);
        let mut passed = skip;
        self.left = self.left.saturating_sub(skip);
        let opened = self.opened;
        let tags = &opened.series;
        while let Some(tag) = tags.get(series).filter(|tag| passed >= tag.windows.saturating_sub(window)) {
            passed -= tag.windows.saturating_sub(window);
            (series, window) = (series + 1, 0);
        }
        let Some(tag) = tags.get(series).filter(|_| self.left > 0) else { return Ok(()) };
        let (mut cutter, mut of) = (tag.cut.from(window + passed), series);
        let mut outcome = Ok(true);
        let read = opened.file.read(series, cutter.wants() as u64, &mut |series, row, values| {
            let Some(tag) = tags.get(series) else { return false };
            if of != series {
                (cutter, of) = (tag.cut.from(0), series);
            }
            if tag.windows == 0 || cutter.wants() as u64 > row {
                return true;
            }
            cutter.push(values);
            while let Some((number, window)) = cutter.ready() {
                self.left = self.left.saturating_sub(1);
                outcome = take(self.record(tag, series, number, window));
                if self.left == 0 || !matches!(outcome, Ok(true)) {
                    return false;
                }
            }
            true
        });
        if !outcome? {
            return Ok(());
        }
        // A file that ends before its time leaves bad records behind, as many as it promised.
        let why = match read {
            Err(error) => error.to_string(),
            Ok(()) => "the file has changed since it was looked through".to_owned(),
        };
        self.missing(&why, take)
    }

    fn record(&self, tag: &Tag, series: usize, number: u64, window: Result<Vec<f32>, String>) -> Record {
        let outline = self.opened.file.outlines().get(series);
        let (name, own) = outline.map_or(("", 0.0), |o| (o.name.as_str(), o.rate_hz.unwrap_or(0.0)));
        // Nanoseconds where the rate is known.
        let step = tag.cut.step(if own > 0.0 { (1e9 / own) as u64 } else { 1 }, own);
        let first = tag.cut.first(number);
        let last = first + self.load.window as u64 - 1;
        let label = match tag.label {
            Some(label) if label >= MAX_CLASSES => Err(format!("its class is not below {MAX_CLASSES}")),
            label => Ok(label),
        };
        Record {
            what: format!("{}, recording `{name}`, rows {first} to {last}", self.path.display()),
            content: window.map(Content::Window),
            label,
            group: tag.group,
            order: (tag.number << SEQUENCE_BITS).saturating_add(first.saturating_mul(step)),
        }
    }

    fn missing(&mut self, why: &str, take: Take<'_>) -> Result<(), DataError> {
        while self.left > 0 {
            self.left -= 1;
            let (what, content) = (self.path.display().to_string(), Err(why.to_owned()));
            if !take(Record { what, content, label: Ok(None), group: 0, order: 0 })? {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;

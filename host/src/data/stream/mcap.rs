//! MCAP recordings as shards, one a file, passed through from front to back: frames of the camera, or windows
//! of the IMU. The first pass, in which no picture is decoded, counts frames and finds the stretches of IMU
//! samples without a gap; what is held is one window's samples.

use std::path::{Path, PathBuf};

use sedge_models::Modality;
use sedge_readings::{Event, ImuSample, Reading};
use sedge_recordings::{Limits, McapStream, StreamKind};

use super::super::images::Picture;
use super::super::streams::{GAP, mcap_step};
use super::super::{DataError, LoadOptions};
use super::cut::{Cut, Cutter};
use super::record::{Content, Record, Source, Take, Wanted, Windows, same};

/// Most stretches without a gap in one recording; more is no recording.
const MAX_RUNS: usize = 1 << 24;
/// Most recordings of one folder.
const MAX_FILES: usize = 1 << 20;
/// Channels of a window.
const CHANNELS: usize = ImuSample::CHANNELS;

pub(super) struct Recordings {
    paths: Vec<PathBuf>,
    files: Vec<Result<About, String>>,
    shards: Vec<u64>,
    windows: Option<Windows>,
    load: LoadOptions,
}

/// What the first pass found.
#[derive(Default)]
struct About {
    number: u32,
    frames: u64,
    /// Usual step between IMU samples, in nanoseconds.
    usual: Option<u64>,
    /// Samples of each stretch without a gap.
    runs: Vec<u64>,
    bad: u64,
    /// Whether the file ends in an error.
    is_cut: bool,
}

/// The recordings of a path: itself, or those directly in the folder, by name.
pub(super) fn mcap_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is = |path: &Path| path.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("mcap"));
    if path.is_dir() {
        return super::files_of(path, MAX_FILES, is);
    }
    Ok(if is(path) { vec![path.to_owned()] } else { Vec::new() })
}

impl Recordings {
    /// Passes through every file once; of the groups, which are files by number, only those asked for.
    pub(super) fn open(name: &Path, paths: Vec<PathBuf>, load: &LoadOptions) -> Result<Self, DataError> {
        if load.pairs {
            let wanted = "left out but for one recording in memory";
            return Err(DataError::Option { option: "pairs", found: "true".to_owned(), wanted });
        }
        let wanted = Wanted::of(0..paths.len() as u32, load.groups.as_deref())?;
        let (mut chosen, mut files) = (Vec::new(), Vec::new());
        for (number, path) in paths.into_iter().enumerate() {
            let number = number as u32;
            if wanted.has(number) {
                files.push(About::of(&path, number).map_err(|error| error.to_string()));
                chosen.push(path);
            }
        }
        let frames: u64 = files.iter().flatten().map(|about| about.frames).sum();
        let images = load.modality != Some(Modality::Imu) && (frames > 0 || load.modality.is_some());
        let (mut shards, mut windows, mut samples) = (Vec::new(), None, 0);
        let source_name = name.display().to_string();
        for (file, path) in files.iter().zip(&chosen) {
            let Ok(about) = file else {
                shards.push(1);
                continue;
            };
            let good = if images {
                about.frames
            } else {
                let here = about.windows(path, load, &source_name, &mut windows)?;
                here + about.bad
            };
            samples += good;
            shards.push(good + u64::from(about.is_cut));
        }
        if samples == 0 {
            let what =
                if images { "frame".to_owned() } else { format!("whole window of {} rows", load.window) };
            let first = files.iter().find_map(|file| file.as_ref().err().cloned());
            return Err(DataError::Empty { source_name, what, first });
        }
        let windows = windows.filter(|_| !images);
        Ok(Self { paths: chosen, files, shards, windows, load: load.clone() })
    }
}

/// Whether a sample follows the last one without a gap.
fn follows(last: u64, at: u64, usual: u64) -> bool {
    at > last && ((at - last) as f64) < GAP * usual as f64
}

impl About {
    fn of(path: &Path, number: u32) -> Result<Self, DataError> {
        let usual = mcap_step(path).unwrap_or(None);
        let mut about = Self { number, usual, ..Self::default() };
        let mut stream = McapStream::open(path, &Limits::default())?;
        let mut last: Option<u64> = None;
        loop {
            if let Some((StreamKind::Camera, _)) = stream.peek() {
                about.frames += 1;
                stream.pass_over();
                continue;
            }
            match stream.next() {
                None => return Ok(about),
                Some(Err(_)) => about.is_cut = true,
                Some(Ok(Event::Imu(Reading { at, value: Ok(_) }))) => about.sample(&mut last, at.nanos())?,
                Some(Ok(Event::Imu(_))) => about.bad += 1,
                Some(Ok(Event::Frame(_))) => {}
            }
        }
    }

    fn sample(&mut self, last: &mut Option<u64>, at: u64) -> Result<(), DataError> {
        let goes_on = last.is_some_and(|last| follows(last, at, self.usual.unwrap_or(0)));
        *last = Some(at);
        if let Some(samples) = self.runs.last_mut().filter(|_| goes_on) {
            *samples += 1;
        } else if self.runs.len() < MAX_RUNS {
            self.runs.push(1);
        } else {
            let (found, wanted) = (format!("over {MAX_RUNS}"), "fewer: samples come at no steady rate");
            return Err(DataError::Option { option: "gaps", found, wanted });
        }
        Ok(())
    }

    /// Rows a second of the IMU.
    fn rate(&self, load: &LoadOptions) -> f32 {
        let usual = self.usual.map_or(0.0, |usual| (1e9 / usual as f64) as f32);
        load.source_rate_hz.unwrap_or(usual)
    }

    fn cut(&self, what: &str, run: usize, load: &LoadOptions) -> Result<Cut, DataError> {
        let rows = self.runs.get(run).copied().unwrap_or(0);
        Cut::new(what, (CHANNELS, rows), self.rate(load), load, load.max_bytes)
    }

    /// Counts windows, which must have the rate of those before.
    fn windows(
        &self,
        path: &Path,
        load: &LoadOptions,
        source_name: &str,
        windows: &mut Option<Windows>,
    ) -> Result<u64, DataError> {
        if self.usual.is_none() {
            return Ok(0);
        }
        let (what, mut count) = (path.display().to_string(), 0);
        for run in 0..self.runs.len() {
            let cut = self.cut(&what, run, load)?;
            let here = Windows { channels: CHANNELS, rate_hz: cut.rate_hz(self.rate(load)) };
            same(source_name, &what, *windows.get_or_insert(here), here)?;
            count += cut.windows();
        }
        Ok(count)
    }
}

impl Source for Recordings {
    fn shards(&self) -> &[u64] {
        &self.shards
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn files(&self) -> &[PathBuf] {
        &self.paths
    }

    fn windows(&self) -> Option<Windows> {
        self.windows
    }

    fn made_by(&self) -> String {
        let LoadOptions { window, stride, rate_hz, source_rate_hz, .. } = self.load;
        match self.windows {
            None => ", frames of recordings".to_owned(),
            Some(_) => format!(", windows of {window} each {stride} at {rate_hz:?} of {source_rate_hz:?}"),
        }
    }

    fn knows_groups(&self) -> bool {
        true
    }

    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let (Some(path), Some(file)) = (self.paths.get(shard), self.files.get(shard)) else { return Ok(()) };
        let mut passed = 0;
        // Records are numbered by when they come, so that any may be the first.
        let mut give = |what: String, content, group, order| {
            passed += 1;
            if passed <= skip {
                return Ok(true);
            }
            take(Record {
                what: format!("{}, {what}", path.display()),
                content,
                label: Ok(None),
                group,
                order,
            })
        };
        match file {
            Ok(about) if self.windows.is_some() => self.read_windows(path, about, &mut give),
            Ok(about) => self.read_frames(path, about, skip, &mut give),
            Err(why) => give("the whole".to_owned(), Err(why.clone()), 0, 0).map(|_| ()),
        }
    }
}

/// Told what, the sample, its group and order; answers whether more are wanted.
type Give<'a> = &'a mut dyn FnMut(String, Result<Content, String>, u32, u64) -> Result<bool, DataError>;

impl Recordings {
    fn read_frames(&self, path: &Path, about: &About, skip: u64, give: Give<'_>) -> Result<(), DataError> {
        let mut stream = McapStream::open(path, &Limits::default())?;
        let mut seen = 0;
        loop {
            match stream.peek() {
                Some((StreamKind::Camera, at)) if seen < skip => {
                    seen += 1;
                    stream.pass_over();
                    // It is counted, and nothing of it is looked at.
                    give(String::new(), Err(String::new()), about.number, at.nanos())?;
                    continue;
                }
                Some((StreamKind::Imu, _)) => {
                    stream.pass_over();
                    continue;
                }
                _ => {}
            }
            let (what, content, at) = match stream.next() {
                None => return Ok(()),
                Some(Err(error)) => ("its end".to_owned(), Err(error.to_string()), 0),
                Some(Ok(Event::Frame(Reading { at, value }))) => {
                    let picture = value.map_err(|why| why.to_string()).and_then(|frame| {
                        Picture::fit(&frame, self.load.image_size).map_err(|error| error.to_string())
                    });
                    (format!("the frame at {} ns", at.nanos()), picture.map(Content::Picture), at.nanos())
                }
                Some(Ok(Event::Imu(_))) => continue,
            };
            if !give(what, content, about.number, at)? {
                return Ok(());
            }
        }
    }

    fn read_windows(&self, path: &Path, about: &About, give: Give<'_>) -> Result<(), DataError> {
        let mut stream = McapStream::open(path, &Limits::default())?;
        let usual = about.usual.unwrap_or(0);
        let mut last: Option<u64> = None;
        let mut run: Option<Run> = None;
        loop {
            if let Some((StreamKind::Camera, _)) = stream.peek() {
                stream.pass_over();
                continue;
            }
            let wanted = match stream.next() {
                None => return Ok(()),
                Some(Err(error)) => give("its end".to_owned(), Err(error.to_string()), about.number, 0)?,
                Some(Ok(Event::Frame(_))) => true,
                Some(Ok(Event::Imu(Reading { at, value: Err(why) }))) => {
                    let what = format!("the IMU sample at {} ns", at.nanos());
                    give(what, Err(why.to_string()), about.number, at.nanos())?
                }
                Some(Ok(Event::Imu(Reading { at, value: Ok(sample) }))) => {
                    let at = at.nanos();
                    let goes_on = last.replace(at).is_some_and(|last| follows(last, at, usual));
                    if !goes_on {
                        let number = run.as_ref().map_or(0, |run| run.number + 1);
                        let cut = about.cut("", number, &self.load)?;
                        run = Some(Run { number, cut, cutter: cut.from(0), first: at });
                    }
                    match &mut run {
                        Some(run) => self.push(run, about, &sample.channels(), give)?,
                        None => true,
                    }
                }
            };
            if !wanted {
                return Ok(());
            }
        }
    }

    fn push(&self, run: &mut Run, about: &About, row: &[f32], give: Give<'_>) -> Result<bool, DataError> {
        run.cutter.push(row);
        while let Some((number, window)) = run.cutter.ready() {
            let first = run.cut.first(number);
            let last = first + self.load.window as u64 - 1;
            let what = format!("recording `from {} ns`, rows {first} to {last}", run.first);
            let step = run.cut.step(about.usual.unwrap_or(1), about.rate(&self.load));
            let order = run.first.saturating_add(first.saturating_mul(step));
            if !give(what, window.map(Content::Window), about.number, order)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A stretch without a gap, being cut.
struct Run {
    number: usize,
    cut: Cut,
    cutter: Cutter,
    /// Time of its first sample.
    first: u64,
}

#[cfg(test)]
#[path = "mcap_tests.rs"]
mod tests;

//! Where events come from: the simulated rig, or a recording.

use std::path::{Path, PathBuf};

use sedge_boards::sim::{Rig, RigConfig};
use sedge_readings::{Event, ImuSample, NoData, Reading, Span, Timestamp};
use sedge_recordings::{
    ImageFolder, Limits, McapCounts, McapStream, RecordingError, SeriesOptions, SeriesSet, StreamKind,
    read_series,
};
use serde::{Deserialize, Serialize};

use crate::SourceError;
use crate::live::DeviceAccount;

/// Rate of an image folder when neither the bundle nor the caller states one.
const DEFAULT_FRAME_RATE: f32 = 10.0;
/// Time between two series of one file: long enough to be a gap for any window.
const BETWEEN_SERIES: Span = Span::from_millis(10_000);

/// A source by name.
#[derive(Clone, Debug)]
pub enum Source {
    /// A simulated drive.
    Sim(RigConfig),
    /// A ROS 2 recording.
    Mcap(PathBuf),
    /// A folder of images.
    Folder(PathBuf),
    /// Inertial series in `.npz` or `.csv`.
    Series(PathBuf),
}

/// What a file does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceOptions {
    /// Frames or rows a second; overrides what the file says.
    pub rate_hz: Option<f32>,
    /// Accelerations of a series are in g rather than m/s².
    pub accel_in_g: bool,
}

/// Which source a checkpoint was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceIdentity {
    /// `sim`, `mcap`, `folder`, `series` or `board`.
    pub kind: String,
    /// The simulated drive, the file's name, or the board's.
    pub name: String,
    /// Bytes of the file, or images in the folder.
    pub size: u64,
    /// What the file does not say.
    pub options: SourceOptions,
}

impl std::fmt::Display for SourceIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}` (size {})", self.kind, self.name, self.size)
    }
}

impl Source {
    /// Reads a source's name: `sim`, `sim:key=value,...`, an `.mcap`, `.npz` or `.csv` file, or a folder.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text == "sim" || text.starts_with("sim:") {
            return Ok(Self::Sim(text.parse()?));
        }
        let path = PathBuf::from(text);
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let known: Option<fn(PathBuf) -> Self> = match extension.to_str() {
            Some("mcap") => Some(Self::Mcap),
            Some("npz" | "csv") => Some(Self::Series),
            _ => None,
        };
        match (std::fs::metadata(&path), known) {
            (Ok(metadata), _) if metadata.is_dir() => Ok(Self::Folder(path)),
            (Ok(_), Some(make)) => Ok(make(path)),
            (Err(source), Some(_)) => Err(SourceError::Io { path, source }),
            (Err(source), None) if text.contains(std::path::MAIN_SEPARATOR) => {
                Err(SourceError::Io { path, source })
            }
            _ => Err(SourceError::Unknown { found: text.to_owned() }),
        }
    }

    /// Opens it. `rate_hz` is the encoder's rate, zero when it has none; it serves a folder of images.
    pub fn open(&self, options: &SourceOptions, rate_hz: f32) -> Result<Stream, SourceError> {
        let limits = Limits::default();
        Ok(match self {
            Self::Sim(config) => Stream::Sim(Box::new(Rig::new(config.clone())?)),
            Self::Mcap(path) => Stream::Mcap(Box::new(McapStream::open(path, &limits)?)),
            Self::Folder(path) => {
                let stated = Some(rate_hz).filter(|rate| *rate > 0.0).unwrap_or(DEFAULT_FRAME_RATE);
                let folder = ImageFolder::open(path, &limits)?;
                let rate = checked(options.rate_hz.unwrap_or(stated))?;
                Stream::Folder { folder, rate, next: 0 }
            }
            Self::Series(path) => {
                let read = SeriesOptions { accel_in_g: options.accel_in_g, rate_hz: options.rate_hz };
                let set = read_series(path, &read, &limits)?;
                check_series(path, &set)?;
                Stream::Series { set, series: 0, row: 0, start: Timestamp::default() }
            }
        })
    }

    /// What tells it from others.
    pub fn identity(&self, options: &SourceOptions) -> Result<SourceIdentity, SourceError> {
        let (kind, name, size) = match self {
            Self::Sim(config) => ("sim", format!("{config:?}"), 0),
            Self::Mcap(path) => ("mcap", name(path), size(path)?),
            Self::Series(path) => ("series", name(path), size(path)?),
            Self::Folder(path) => {
                let folder = ImageFolder::open(path, &Limits::default())?;
                ("folder", name(path), folder.entries().len() as u64)
            }
        };
        Ok(SourceIdentity { kind: kind.into(), name, size, options: *options })
    }
}

fn name(path: &Path) -> String {
    let name = path.canonicalize().ok().and_then(|path| path.file_name().map(|n| n.to_owned()));
    name.unwrap_or_else(|| path.as_os_str().to_owned()).to_string_lossy().into_owned()
}

fn size(path: &Path) -> Result<u64, SourceError> {
    let metadata = std::fs::metadata(path);
    Ok(metadata.map_err(|source| SourceError::Io { path: path.to_owned(), source })?.len())
}

fn checked(rate_hz: f32) -> Result<f64, SourceError> {
    if rate_hz.is_finite() && rate_hz > 0.0 {
        return Ok(f64::from(rate_hz));
    }
    Err(RecordingError::Rate { rate_hz }.into())
}

fn check_series(path: &Path, set: &SeriesSet) -> Result<(), SourceError> {
    for series in &set.series {
        if series.channels() != ImuSample::CHANNELS {
            return Err(SourceError::Channels {
                path: path.to_owned(),
                series: series.name.clone(),
                found: series.channels(),
            });
        }
        match series.rate_hz {
            Some(rate) => checked(rate)?,
            None => return Err(SourceError::NoRate { path: path.to_owned(), series: series.name.clone() }),
        };
    }
    Ok(())
}

/// Events of an open source. An error ends it, once, after everything that could be read.
pub enum Stream {
    /// A simulated drive.
    Sim(Box<Rig>),
    /// A ROS 2 recording.
    Mcap(Box<McapStream>),
    /// A folder of images as a camera would have given them.
    Folder {
        /// The folder.
        folder: ImageFolder,
        /// Images a second.
        rate: f64,
        /// The next image.
        next: usize,
    },
    /// Series one after the other, with a gap between them.
    Series {
        /// The series, each with a rate and six channels.
        set: SeriesSet,
        /// The series under way.
        series: usize,
        /// Its next row.
        row: usize,
        /// When it began.
        start: Timestamp,
    },
}

/// What a source says became of its content; empty where every item becomes one event.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceAccount {
    /// MCAP topics with messages.
    pub topics: Vec<TopicAccount>,
    /// MCAP messages whose channel or header is broken.
    pub lost_messages: u64,
    /// MCAP chunks that could not be read; what they held is gone.
    pub damaged_chunks: u64,
    /// A board's cameras and sensors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceAccount>,
}

/// Messages of one MCAP topic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicAccount {
    /// The topic.
    pub topic: String,
    /// Its type.
    pub schema: String,
    /// `camera`, `imu`, or null where it is not read.
    pub feeds: Option<&'static str>,
    /// Messages in the file.
    pub messages: u64,
    /// Messages that became a value.
    pub decoded: u64,
    /// Messages that became a reading without a value, by reason.
    pub failures: std::collections::BTreeMap<String, u64>,
}

impl Stream {
    /// What became of the source's content so far.
    pub fn account(&self) -> SourceAccount {
        let Self::Mcap(stream) = self else { return SourceAccount::default() };
        let McapCounts { topics, lost_messages, damaged_chunks, .. } = stream.counts();
        let topics = topics.iter().map(|topic| TopicAccount {
            topic: topic.topic.clone(),
            schema: topic.schema.clone(),
            feeds: topic.feeds.map(|kind| match kind {
                StreamKind::Imu => "imu",
                StreamKind::Camera => "camera",
            }),
            messages: topic.messages,
            decoded: topic.decoded,
            failures: topic.failures.iter().map(|(reason, n)| (reason.to_string(), *n)).collect(),
        });
        let topics = topics.collect();
        SourceAccount {
            topics,
            lost_messages: *lost_messages,
            damaged_chunks: *damaged_chunks,
            devices: vec![],
        }
    }
}

impl Iterator for Stream {
    type Item = Result<Event, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sim(rig) => rig.next().map(Ok),
            Self::Mcap(stream) => stream.next(),
            Self::Folder { folder, rate, next } => {
                let entry = folder.entries().get(*next)?;
                let at = time_of(Timestamp::default(), *next, *rate);
                *next += 1;
                let value = folder.decode(entry).map_err(|_| NoData::Corrupt);
                Some(Ok(Event::Frame(Reading { at, value })))
            }
            Self::Series { set, series, row, start } => loop {
                let current = set.series.get(*series)?;
                let rate = f64::from(current.rate_hz.unwrap_or(1.0));
                let at = time_of(*start, *row, rate);
                let values = current.row(*row).and_then(|values| values.try_into().ok());
                let Some(values) = values else {
                    (*series, *row, *start) = (*series + 1, 0, at + BETWEEN_SERIES);
                    continue;
                };
                *row += 1;
                let sample = ImuSample::from_channels(values);
                let value = if sample.is_finite() { Ok(sample) } else { Err(NoData::NotFinite) };
                return Some(Ok(Event::Imu(Reading { at, value })));
            },
        }
    }
}

/// The time of a row from its number, not from a sum, which would drift.
fn time_of(start: Timestamp, row: usize, rate: f64) -> Timestamp {
    start + Span::from_nanos((row as f64 * 1e9 / rate).round() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sedge_recordings::Series;

    #[test]
    fn what_is_no_source_is_told_what_is() {
        for text in ["simulator", "clip.mp4", "", "README"] {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(".mcap") && error.contains("sim:key=value"), "{text}: {error}");
        }
        for text in ["missing.mcap", "missing.npz", "no/such/folder"] {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("cannot be read"), "{text}: {error}");
        }
        assert!(matches!(Source::parse("sim:seconds=0"), Err(SourceError::Spec(_))));
    }

    #[test]
    fn series_follow_each_other_with_a_gap_and_lose_no_row() {
        let series = |rows: usize, rate| {
            let mut series = Series::new("s", 6, vec![1.0; 6 * rows]).unwrap();
            series.rate_hz = Some(rate);
            series
        };
        let mut set = SeriesSet {
            series: vec![series(3, 50.0), series(0, 50.0), series(2, 10.0)],
            ..Default::default()
        };
        check_series(Path::new("x.npz"), &set).unwrap();
        let stream = Stream::Series { set: set.clone(), series: 0, row: 0, start: Timestamp::default() };
        let times: Vec<u64> = stream.map(|event| event.unwrap().at().nanos() / 1_000_000).collect();
        assert_eq!(times, [0, 20, 40, 20_060, 20_160]);
        set.series[1].rate_hz = None;
        let error = check_series(Path::new("x.npz"), &set).unwrap_err().to_string();
        assert!(error.contains("--rate"), "{error}");
    }
}

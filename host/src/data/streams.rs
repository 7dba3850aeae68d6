//! Streams of camera and IMU events as data sets: recordings in MCAP, and the simulated rig, whose
//! ground truth becomes labels (the room of a frame, the floor under a window) and groups (one
//! visit to a room, which no window crosses). Frames joined with IMU windows are in
//! [`pairs`](super::pairs).

use std::path::Path;

use sedge_boards::sim::{FloorKind, Rig, RigConfig, Truths};
use sedge_models::Modality;
use sedge_readings::{Event, ImuSample, Reading, Timestamp};
use sedge_recordings::{Limits, McapStream, StreamKind};

use super::images::{ImageSink, Picture, Tag};
use super::windows::{Run, WindowSink};
use super::{DataError, Dataset, LoadOptions, pairs};

/// A step between samples this many times the usual one is a gap, and ends a run.
pub(super) const GAP: f64 = 1.5;
/// Steps between samples whose median is taken for the usual one, where not all are held.
pub(super) const STEPS_LOOKED_AT: usize = 1 << 16;

/// Frames or IMU windows of an MCAP file.
pub(super) fn load_mcap(name: &str, path: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    if options.pairs {
        let usual = mcap_step(path)?;
        let events = McapStream::open(path, &Limits::default())?.map(|e| e.map_err(DataError::from));
        return pairs::load(name, events, usual, options, None);
    }
    let open = || McapStream::open(path, &Limits::default()).map(|s| s.map(|e| e.map_err(DataError::from)));
    match options.modality {
        Some(Modality::Text) => no_texts(),
        Some(Modality::Imu) => imu_windows(name, open()?, options, None),
        Some(Modality::Image) => frames(name, open()?, options, None),
        None => match frames(name, open()?, options, None) {
            Err(DataError::Empty { first: None, .. }) => imu_windows(name, open()?, options, None),
            loaded => loaded,
        },
    }
}

/// Frames or IMU windows of the simulated rig, with its truth for labels.
pub(super) fn load_sim(spec: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
    let refused = |why: String| DataError::Sim { spec: spec.to_owned(), why };
    let config: RigConfig = spec.parse().map_err(|e| refused(format!("{e}")))?;
    let rig = Rig::new(config).map_err(|e| refused(e.to_string()))?;
    let truths = rig.truths();
    if options.pairs {
        let imu = rig.config().clone();
        let imu = Rig::new(imu).map_err(|e| refused(e.to_string()))?.without_camera();
        let usual = usual_step_of(imu.filter_map(|event| imu_time(&event)));
        return pairs::load(spec, rig.map(Ok), usual, options, Some(&truths));
    }
    match options.modality {
        Some(Modality::Text) => no_texts(),
        Some(Modality::Imu) => imu_windows(spec, rig.without_camera().map(Ok), options, Some(&truths)),
        _ => frames(spec, rig.map(Ok), options, Some(&truths)),
    }
}

fn no_texts() -> Result<Dataset, DataError> {
    let wanted = "image or imu: a stream of a camera and an IMU has no texts";
    Err(DataError::Option { option: "modality", found: Modality::Text.to_string(), wanted })
}

/// The usual step between the IMU samples of an MCAP file; no picture is decoded for it.
pub(super) fn mcap_step(path: &Path) -> Result<Option<u64>, DataError> {
    let mut stream = McapStream::open(path, &Limits::default())?;
    let mut times = Vec::new();
    while times.len() <= STEPS_LOOKED_AT {
        match stream.peek() {
            Some((StreamKind::Camera, _)) => stream.pass_over(),
            // Where a recording was cut is told by whoever reads it.
            _ => match stream.next() {
                Some(Ok(event)) => times.extend(imu_time(&event)),
                Some(Err(_)) | None => break,
            },
        }
    }
    Ok(usual_step_of(times.into_iter()))
}

/// When a good IMU sample was taken.
fn imu_time(event: &Event) -> Option<u64> {
    match event {
        Event::Imu(Reading { at, value: Ok(_) }) => Some(at.nanos()),
        _ => None,
    }
}

/// Counts visits to rooms along a drive.
pub(super) struct Visits<'a> {
    truths: &'a Truths,
    room: Option<usize>,
    visit: u32,
}

impl<'a> Visits<'a> {
    pub(super) fn new(truths: &'a Truths) -> Self {
        Self { truths, room: None, visit: 0 }
    }

    /// The visit at a time; times must rise.
    pub(super) fn at(&mut self, at: Timestamp) -> u32 {
        let room = self.truths.at(at).room;
        if self.room.replace(room).is_some_and(|before| before != room) {
            self.visit += 1;
        }
        self.visit
    }
}

fn frames(
    name: &str,
    events: impl Iterator<Item = Result<Event, DataError>>,
    options: &LoadOptions,
    truths: Option<&Truths>,
) -> Result<Dataset, DataError> {
    let mut sink = ImageSink::new(name, options);
    let mut visits = truths.map(Visits::new);
    for event in events {
        let Event::Frame(Reading { at, value }) = event? else { continue };
        let label = truths.map(|truths| truths.at(at).room as u32);
        let group = visits.as_mut().map_or(0, |visits| visits.at(at));
        match value {
            Ok(frame) => {
                let picture = Picture::fit(&frame, options.image_size)?;
                sink.push(picture, Tag { label, group, order: at.nanos() })?;
            }
            Err(why) => sink.skip(format!("the frame at {} ns", at.nanos()), why)?,
        }
        if sink.is_full() {
            break;
        }
    }
    let rooms = truths.map_or(0, Truths::rooms);
    sink.finish((0..rooms).map(|room| format!("room {room}")).collect())
}

/// One IMU sample: when, in which group and over which floor, and what.
struct Sample {
    at: u64,
    group: u32,
    label: Option<u32>,
    values: [f32; ImuSample::CHANNELS],
}

fn imu_windows(
    name: &str,
    events: impl Iterator<Item = Result<Event, DataError>>,
    options: &LoadOptions,
    truths: Option<&Truths>,
) -> Result<Dataset, DataError> {
    let mut sink = WindowSink::new(name, options);
    let mut visits = truths.map(Visits::new);
    let mut samples: Vec<Sample> = Vec::new();
    for event in events {
        let Event::Imu(Reading { at, value }) = event? else { continue };
        match value {
            Ok(sample) => {
                refuse_beyond(name, samples.len() as u64 + 1, options)?;
                let group = visits.as_mut().map_or(0, |visits| visits.at(at));
                let label = truths.map(|truths| truths.at(at).floor.index() as u32);
                samples.push(Sample { at: at.nanos(), group, label, values: sample.channels() });
            }
            Err(why) => sink.skip(format!("the IMU sample at {} ns", at.nanos()), why)?,
        }
    }
    if let Some(usual) = usual_step(&samples) {
        let rate_hz = options.source_rate_hz.unwrap_or((1e9 / usual as f64) as f32);
        let mut values = Vec::new();
        for run in samples.chunk_by(|a, b| continues(a, b, usual)) {
            let [first, ..] = run else { continue };
            values.clear();
            run.iter().for_each(|sample| values.extend(sample.values));
            let run_name = format!("from {} ns", first.at);
            sink.add(&Run {
                name: &run_name,
                channels: ImuSample::CHANNELS,
                values: &values,
                rate_hz,
                label: first.label,
                group: first.group,
                order: (first.at, usual),
            })?;
        }
    }
    let names = truths.map_or(Vec::new(), |_| FloorKind::ALL.iter().map(|f| f.name().to_owned()).collect());
    sink.finish(names)
}

/// The median of the first steps between samples, in nanoseconds, when time passes at all.
fn usual_step(samples: &[Sample]) -> Option<u64> {
    usual_step_of(samples.iter().map(|sample| sample.at))
}

/// The median of the first [`STEPS_LOOKED_AT`] steps between times.
pub(super) fn usual_step_of(times: impl Iterator<Item = u64>) -> Option<u64> {
    let mut last = None;
    let step = |at: u64| last.replace(at).map(|last| at.checked_sub(last));
    median_step(times.map(step).take(STEPS_LOOKED_AT).flatten().flatten().collect())
}

fn median_step(mut steps: Vec<u64>) -> Option<u64> {
    let middle = steps.len().checked_div(2)?;
    let (_, median, _) = (middle < steps.len()).then(|| steps.select_nth_unstable(middle))?;
    (*median > 0).then_some(*median)
}

/// Whether `b` follows `a` without a gap, a step back, or a change of room or floor.
fn continues(a: &Sample, b: &Sample, usual: u64) -> bool {
    b.at > a.at && ((b.at - a.at) as f64) < GAP * usual as f64 && (a.group, a.label) == (b.group, b.label)
}

fn refuse_beyond(name: &str, samples: u64, options: &LoadOptions) -> Result<(), DataError> {
    let (bytes, limit) = (samples * size_of::<Sample>() as u64, options.max_bytes);
    if bytes <= limit {
        return Ok(());
    }
    Err(DataError::TooLarge { source_name: name.to_owned(), samples, bytes, limit })
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;

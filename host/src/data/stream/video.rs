//! Videos as sequences of pictures. A shard is one video and so is a group: frames of one video resemble
//! each other too much to be on both sides of a split. Within a shard, frames come in their order.

use std::path::{Path, PathBuf};

use super::super::ffmpeg::{Ffmpeg, Probe, Span};
use super::super::{DataError, LoadOptions};
use super::record::{Content, Record, SEQUENCE_BITS, Source, Take, Wanted};

/// Extensions of videos.
const KINDS: [&str; 4] = ["mp4", "mkv", "avi", "mjpeg"];
/// Most videos of one folder.
const MAX_VIDEOS: usize = 1 << 20;

pub(super) struct Videos {
    ffmpeg: Ffmpeg,
    files: Vec<PathBuf>,
    /// Number of each file among all, and what is known of it.
    about: Vec<(u32, Probe)>,
    shards: Vec<u64>,
    fps: Option<f64>,
    image_size: Option<usize>,
}

/// The videos of a path: itself, or those directly in the folder, by name.
pub(super) fn video_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_video = |path: &Path| {
        path.is_file()
            && path.extension().is_some_and(|e| KINDS.iter().any(|kind| e.eq_ignore_ascii_case(kind)))
    };
    if !path.is_dir() {
        return Ok(if is_video(path) { vec![path.to_owned()] } else { Vec::new() });
    }
    super::files_of(path, MAX_VIDEOS, is_video)
}

impl Videos {
    /// Asks every file for its length; no frame is decoded.
    pub(super) fn open(path: &Path, files: &[PathBuf], load: &LoadOptions) -> Result<Self, DataError> {
        let ffmpeg = Ffmpeg::new(load);
        let fps = load.fps.map(f64::from);
        let wanted = Wanted::of(0..files.len() as u32, load.groups.as_deref())?;
        let (mut chosen, mut about, mut shards) = (Vec::new(), Vec::new(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let number = number as u32;
            if !wanted.has(number) {
                continue;
            }
            let probe = ffmpeg.probe(file)?;
            shards.push((probe.seconds * fps.unwrap_or(probe.rate)).round() as u64);
            about.push((number, probe));
            chosen.push(file.clone());
        }
        if shards.iter().all(|frames| *frames == 0) {
            let source_name = path.display().to_string();
            return Err(DataError::Empty { source_name, what: "frame of a video".to_owned(), first: None });
        }
        Ok(Self { ffmpeg, files: chosen, about, shards, fps, image_size: load.image_size })
    }
}

impl Source for Videos {
    fn shards(&self) -> &[u64] {
        &self.shards
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn made_by(&self) -> String {
        format!(", video at {:?} frames a second", self.fps)
    }

    fn knows_groups(&self) -> bool {
        true
    }

    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let (Some(path), Some((number, probe))) = (self.files.get(shard), self.about.get(shard)) else {
            return Ok(());
        };
        let fps = self.fps.unwrap_or(probe.rate);
        let size = self.image_size.map_or((probe.width, probe.height), |side| (side, side));
        let count = self.shards.get(shard).copied().unwrap_or(0);
        let sequence = Sequence { path, group: *number, fps, size, from: 0.0, frames: count };
        sequence.read(&self.ffmpeg, skip, &Ok(None), take)
    }
}

/// A stretch of a video.
pub(super) struct Sequence<'a> {
    pub(super) path: &'a Path,
    pub(super) group: u32,
    pub(super) fps: f64,
    pub(super) size: (usize, usize),
    /// Seconds into the video.
    pub(super) from: f64,
    pub(super) frames: u64,
}

impl Sequence<'_> {
    /// Decodes the frames behind the first `skip`. Rounding may cost the last one; each that is missing beside
    /// that is a bad record.
    pub(super) fn read(
        &self,
        ffmpeg: &Ffmpeg,
        skip: u64,
        label: &Result<Option<u32>, String>,
        take: Take<'_>,
    ) -> Result<(), DataError> {
        let frames = self.frames.saturating_sub(skip);
        let from = self.from + skip as f64 / self.fps;
        let mut decoding =
            ffmpeg.frames(self.path, &Span { from, fps: self.fps, frames, size: self.size })?;
        let mut ended: Option<String> = None;
        for number in skip..self.frames {
            let content = match &ended {
                Some(why) => Err(why.clone()),
                None => match decoding.next() {
                    Ok(Some(picture)) => Ok(Content::Picture(picture)),
                    Ok(None) if number + 1 == self.frames && number > 0 => return Ok(()),
                    Ok(None) => Err("the video ends before it".to_owned()),
                    Err(why) => Err(why),
                },
            };
            if let Err(why) = &content {
                ended.get_or_insert_with(|| why.clone());
            }
            let nanos = (number as f64 / self.fps * 1e9).round() as u64;
            let record = Record {
                what: format!("{}, frame {number} from second {:.3} on", self.path.display(), self.from),
                content,
                label: label.clone(),
                group: self.group,
                order: (u64::from(self.group) << SEQUENCE_BITS).saturating_add(nanos),
            };
            if !take(record)? {
                break;
            }
        }
        Ok(())
    }
}

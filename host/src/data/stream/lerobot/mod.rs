//! LeRobot data sets, version 3: many episodes in each Parquet file and video, told apart by
//! `meta/episodes`. A shard is one episode and so is a group. Of a camera this gives frames, whether kept as
//! image files in a column or as video; of numeric features, windows that never leave their episode. The
//! class is the task of an episode's first frame, where there is more than one task.

mod episodes;
mod info;

use std::path::{Path, PathBuf};

use sedge_models::Modality;

use super::super::ffmpeg::Ffmpeg;
use super::super::parquet_columns::Table;
use super::super::{DataError, LoadOptions};
use super::cut::Cut;
use super::record::{Content, Record, SEQUENCE_BITS, Source, Take, Wanted, Windows};
use super::video::Sequence;
use episodes::Episode;
use info::{Camera, Info};

pub(super) struct LeRobot {
    root: PathBuf,
    info: Info,
    taken: Taken,
    episodes: Vec<Episode>,
    shards: Vec<u64>,
    files: Vec<PathBuf>,
    tasks: Vec<String>,
    load: LoadOptions,
    ffmpeg: Ffmpeg,
}

/// What of a row is taken.
enum Taken {
    Camera(String, Camera),
    /// Features, the number of values of each, and the windows they make.
    Channels(Vec<(String, usize)>, Windows),
}

impl Taken {
    fn choose(info: &Info, load: &LoadOptions) -> Result<Self, DataError> {
        let camera = match load.modality {
            Some(Modality::Imu) => None,
            _ if load.features.is_some() && load.modality.is_none() => None,
            _ => info.camera(load.camera.as_deref())?,
        };
        if let Some((name, kind)) = camera {
            return Ok(Self::Camera(name, kind));
        }
        if load.modality == Some(Modality::Image) {
            let wanted = load.camera.as_deref().or(Some("an image or video"));
            info.camera(wanted)?;
        }
        let features = info.channels(load.features.as_deref())?;
        let channels = features.iter().map(|(_, width)| width).sum();
        Ok(Self::Channels(features, Windows { channels, rate_hz: load.rate_hz.unwrap_or(info.fps as f32) }))
    }
}

/// Whether a folder is a LeRobot data set.
pub(super) fn is_lerobot(path: &Path) -> bool {
    path.join("meta").join("info.json").is_file()
}

impl LeRobot {
    /// Reads the metadata; no data.
    pub(super) fn open(root: &Path, load: &LoadOptions) -> Result<Self, DataError> {
        let info = Info::read(root)?;
        let taken = Taken::choose(&info, load)?;
        let video = match &taken {
            Taken::Camera(name, Camera::Video) => Some(name.as_str()),
            _ => None,
        };
        let mut episodes = episodes::read(root, &info.split(&load.split)?, video)?;
        let wanted = Wanted::of(episodes.iter().map(|episode| episode.number), load.groups.as_deref())?;
        episodes.retain(|episode| wanted.has(episode.number));
        let (mut shards, mut files) = (Vec::new(), Vec::new());
        for episode in &episodes {
            shards.push(match &taken {
                Taken::Camera(..) => episode.length,
                Taken::Channels(_, windows) => cut_of(episode, windows.channels, &info, load)?.windows(),
            });
            let (chunk, file) = episode.data;
            files.push(root.join(info.data_file(chunk, file)?));
            if let (Some(camera), Some((chunk, file, _))) = (video, episode.video) {
                files.push(root.join(info.video_file(camera, chunk, file)?));
            }
        }
        files.sort();
        files.dedup();
        if shards.iter().all(|samples| *samples == 0) {
            let what = match taken {
                Taken::Camera(..) => "frame of an episode".to_owned(),
                Taken::Channels(..) => format!("episode with a whole window of {} rows", load.window),
            };
            return Err(DataError::Empty { source_name: root.display().to_string(), what, first: None });
        }
        let tasks = if info.has("task_index") { episodes::tasks(root)? } else { Vec::new() };
        let ffmpeg = Ffmpeg::new(load);
        let (root, load) = (root.to_owned(), load.clone());
        Ok(Self { root, info, taken, episodes, shards, files, tasks, load, ffmpeg })
    }

    /// The task of an episode's first frame.
    fn label(&self, table: &Table, episode: &Episode) -> Result<Result<Option<u32>, String>, DataError> {
        if self.tasks.is_empty() {
            return Ok(Ok(None));
        }
        let (column, mut task) = (table.column("task_index", 1)?, f64::NAN);
        table.numbers(&[column], episode.first_row..episode.first_row + 1, &mut |block| {
            task = block.first().copied().unwrap_or(f64::NAN);
            Ok(true)
        })?;
        let known = task >= 0.0 && task < self.tasks.len() as f64;
        let unknown =
            || format!("its task {task} is not one of the {} in meta/tasks.parquet", self.tasks.len());
        Ok(if known { Ok(Some(task as u32)) } else { Err(unknown()) })
    }

    /// The file of an episode's rows, after a look whether they are that episode's.
    fn table(&self, episode: &Episode) -> Result<Table, DataError> {
        let path = self.root.join(self.info.data_file(episode.data.0, episode.data.1)?);
        let table = Table::open(&path)?;
        let wrong =
            |key: &str, why: String| DataError::LeRobot { path: path.clone(), key: key.to_owned(), why };
        let end = episode.first_row.saturating_add(episode.length);
        if end > table.rows() {
            let (number, rows) = (episode.number, table.rows());
            let why = format!("episode {number} is to end at row {end} of {rows}; copy the file anew");
            return Err(wrong("dataset_from_index", why));
        }
        let column = table.column("episode_index", 1)?;
        let mut found = f64::NAN;
        table.numbers(&[column], episode.first_row..episode.first_row + 1, &mut |block| {
            found = block.first().copied().unwrap_or(f64::NAN);
            Ok(true)
        })?;
        if found != f64::from(episode.number) {
            let (number, row) = (episode.number, episode.first_row);
            let why =
                format!("row {row} is of episode {found}, not {number}; meta/episodes is of other data");
            return Err(wrong("episode_index", why));
        }
        Ok(table)
    }

    fn images(&self, name: &str, episode: &Episode, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let table = self.table(episode)?;
        let label = self.label(&table, episode)?;
        let column = table.images(name)?;
        let mut number = skip;
        let rows = episode.first_row + skip..episode.first_row + episode.length;
        table.bytes(column, rows, &mut |bytes| {
            let nanos = (number as f64 / self.info.fps * 1e9).round() as u64;
            let record = Record {
                what: format!("episode {}, frame {number}, `{name}`", episode.number),
                content: bytes
                    .map(|b| Content::Encoded(b.to_vec()))
                    .ok_or_else(|| "it holds no image".to_owned()),
                label: label.clone(),
                group: episode.number,
                order: order_of(episode, nanos),
            };
            number += 1;
            take(record)
        })
    }

    fn video(&self, name: &str, episode: &Episode, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        // Opening has asked for the place of every episode's video.
        let Some((chunk, file, from)) = episode.video else { return Ok(()) };
        let label = self.label(&self.table(episode)?, episode)?;
        let path = self.root.join(self.info.video_file(name, chunk, file)?);
        let size = match self.load.image_size {
            Some(side) => (side, side),
            None => {
                let probe = self.ffmpeg.probe(&path)?;
                (probe.width, probe.height)
            }
        };
        let sequence = Sequence {
            path: &path,
            group: episode.number,
            fps: self.info.fps,
            size,
            from,
            frames: episode.length,
        };
        sequence.read(&self.ffmpeg, skip, &label, take)
    }

    fn windows(
        &self,
        features: &[(String, usize)],
        channels: usize,
        episode: &Episode,
        skip: u64,
        take: Take<'_>,
    ) -> Result<(), DataError> {
        let table = self.table(episode)?;
        let label = self.label(&table, episode)?;
        let columns = features.iter().map(|(name, width)| table.column(name, *width));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let cut = cut_of(episode, channels, &self.info, &self.load)?;
        let step = 1e9 / f64::from(cut.rate_hz(self.info.fps as f32));
        let mut cutter = cut.from(skip);
        let rows = episode.first_row + cutter.wants() as u64..episode.first_row + episode.length;
        let mut row = Vec::with_capacity(channels);
        table.numbers(&columns, rows, &mut |block| {
            for values in block.chunks_exact(channels) {
                row.clear();
                row.extend(values.iter().map(|value| *value as f32));
                cutter.push(&row);
                while let Some((number, window)) = cutter.ready() {
                    let first = cut.first(number);
                    let last = first + self.load.window as u64 - 1;
                    let record = Record {
                        what: format!("episode {}, rows {first} to {last}", episode.number),
                        content: window.map(Content::Window),
                        label: label.clone(),
                        group: episode.number,
                        order: order_of(episode, (first as f64 * step).round() as u64),
                    };
                    if !take(record)? {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })
    }
}

fn cut_of(episode: &Episode, channels: usize, info: &Info, load: &LoadOptions) -> Result<Cut, DataError> {
    let name = format!("episode {}", episode.number);
    Cut::new(&name, (channels, episode.length), info.fps as f32, load, load.max_bytes)
}

fn order_of(episode: &Episode, nanos: u64) -> u64 {
    (u64::from(episode.number) << SEQUENCE_BITS).saturating_add(nanos)
}

impl Source for LeRobot {
    fn shards(&self) -> &[u64] {
        &self.shards
    }

    fn classes(&self) -> &[String] {
        &self.tasks
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn windows(&self) -> Option<Windows> {
        match &self.taken {
            Taken::Camera(..) => None,
            Taken::Channels(_, windows) => Some(*windows),
        }
    }

    fn made_by(&self) -> String {
        let LoadOptions { window, stride, rate_hz, .. } = self.load;
        let episodes: Vec<u32> = self.episodes.iter().map(|episode| episode.number).collect();
        let of = match &self.taken {
            Taken::Camera(name, _) => name.clone(),
            Taken::Channels(features, _) => {
                format!("{features:?}, windows of {window} each {stride} at {rate_hz:?}")
            }
        };
        format!(", {of} of episodes {episodes:?}")
    }

    fn knows_groups(&self) -> bool {
        true
    }

    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let Some(episode) = self.episodes.get(shard) else { return Ok(()) };
        match &self.taken {
            Taken::Camera(name, Camera::Image) => self.images(name, episode, skip, take),
            Taken::Camera(name, Camera::Video) => self.video(name, episode, skip, take),
            Taken::Channels(features, windows) => {
                self.windows(features, windows.channels, episode, skip, take)
            }
        }
    }
}

#[cfg(test)]
mod tests;

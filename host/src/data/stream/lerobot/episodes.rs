//! `meta/episodes` of a LeRobot data set: which rows of which file, and which stretch of which video, are
//! one episode; and `meta/tasks.parquet`, what the robot was asked to do.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::super::DataError;
use super::super::super::images::MAX_CLASSES;
use super::super::super::parquet_columns::Table;

/// Most episodes.
const MAX_EPISODES: u64 = 1 << 22;
/// Most files of episodes, and folders of them.
const MAX_FILES: usize = 1 << 16;
/// Most bytes of a task's name that are kept.
const MAX_NAME: usize = 200;

/// One episode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Episode {
    pub(super) number: u32,
    /// Frames.
    pub(super) length: u64,
    /// Chunk and file of its rows, and the first of them in that file.
    pub(super) data: (u64, u64),
    pub(super) first_row: u64,
    /// Chunk and file of the camera's video, and the second at which it begins there.
    pub(super) video: Option<(u64, u64, f64)>,
}

/// All episodes within `wanted`, in their order; `camera` is the one whose videos matter.
pub(super) fn read(
    root: &Path,
    wanted: &Range<u64>,
    camera: Option<&str>,
) -> Result<Vec<Episode>, DataError> {
    let folder = root.join("meta").join("episodes");
    let mut episodes = Vec::new();
    // The first row of all in each data file: rows are counted through the whole data set.
    let mut begins: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for path in parquet_below(&folder)? {
        read_file(&path, camera, &mut |episode| {
            let begin = begins.entry(episode.data).or_insert(episode.first_row);
            *begin = (*begin).min(episode.first_row);
            if wanted.contains(&u64::from(episode.number)) {
                episodes.push(episode);
            }
            Ok(())
        })?;
    }
    for episode in &mut episodes {
        let begin = begins.get(&episode.data).copied().unwrap_or(0);
        episode.first_row = episode.first_row.saturating_sub(begin);
    }
    episodes.sort_by_key(|episode| episode.number);
    Ok(episodes)
}

/// The Parquet files of all `chunk-*` below a folder, by name.
fn parquet_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for chunk in super::super::files_of(folder, MAX_FILES, Path::is_dir)? {
        files.extend(super::super::super::parquet_images::parquet_files(&chunk)?);
    }
    if files.is_empty() {
        let why = "holds no chunk-*/file-*.parquet; copy the whole data set".to_owned();
        return Err(DataError::LeRobot { path: folder.to_owned(), key: "episodes".to_owned(), why });
    }
    Ok(files)
}

fn read_file(
    path: &Path,
    camera: Option<&str>,
    give: &mut dyn FnMut(Episode) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let table = Table::open(path)?;
    let mut names: Vec<String> =
        ["episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"]
            .map(str::to_owned)
            .to_vec();
    if let Some(camera) = camera {
        let of = |field: &str| format!("videos/{camera}/{field}");
        names.extend([of("chunk_index"), of("file_index"), of("from_timestamp")]);
    }
    let columns: Vec<_> = names.iter().map(|name| table.column(name, 1)).collect::<Result<_, _>>()?;
    let wrong =
        |key: &str, why: String| DataError::LeRobot { path: path.to_owned(), key: key.to_owned(), why };
    if table.rows() > MAX_EPISODES {
        let why = format!("are {}, over the limit of {MAX_EPISODES}", table.rows());
        return Err(wrong("episodes", why));
    }
    table.numbers(&columns, 0..table.rows(), &mut |block| {
        for row in block.chunks_exact(names.len()) {
            let whole = |place: usize| {
                let value = row.get(place).copied().unwrap_or(f64::NAN);
                // Above two to the power of 53 a float skips whole numbers.
                let good = value >= 0.0 && value.fract() == 0.0 && value < 9.0e15;
                let name = names.get(place).map_or("", String::as_str);
                if good {
                    Ok(value as u64)
                } else {
                    Err(wrong(name, format!("is {value}; wanted a whole number")))
                }
            };
            let number =
                u32::try_from(whole(0)?).map_err(|_| wrong("episode_index", "is over 2^32".to_owned()))?;
            let from = row.get(7).copied().filter(|second| second.is_finite() && *second >= 0.0);
            let video = match (camera, from) {
                (None, _) => None,
                (Some(_), Some(from)) => Some((whole(5)?, whole(6)?, from)),
                (Some(_), None) => return Err(wrong("from_timestamp", "is no second of a video".to_owned())),
            };
            let (data, first_row) = ((whole(2)?, whole(3)?), whole(4)?);
            give(Episode { number, length: whole(1)?, data, first_row, video })?;
        }
        Ok(true)
    })
}

/// Names of the tasks by their number; none where they are not kept or there is but one.
pub(super) fn tasks(root: &Path) -> Result<Vec<String>, DataError> {
    let path = root.join("meta").join("tasks.parquet");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let table = Table::open(&path)?;
    let count = table.rows().min(u64::from(MAX_CLASSES));
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    table.numbers(&[table.column("task_index", 1)?], 0..count, &mut |block| {
        numbers.extend_from_slice(block);
        Ok(true)
    })?;
    // Pandas writes the index of a table as a column of this other name when it has none.
    let column = table.column("task", 1).or_else(|_| table.column("__index_level_0__", 1))?;
    table.bytes(column, 0..count, &mut |text| {
        let text = text.unwrap_or_default();
        texts.push(String::from_utf8_lossy(text.get(..MAX_NAME).unwrap_or(text)).into_owned());
        Ok(true)
    })?;
    let mut names: Vec<String> = (0..count).map(|number| format!("task {number}")).collect();
    for (number, text) in numbers.into_iter().zip(texts) {
        if let Some(name) = names.get_mut(number as usize) {
            *name = text;
        }
    }
    Ok(if names.len() < 2 { Vec::new() } else { names })
}

//! `meta/info.json` of a LeRobot data set: what features there are, and where files lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::super::super::DataError;

/// Largest `info.json`.
const MAX_INFO: u64 = 4 << 20;
/// Most values of one feature in a row.
const MAX_WIDTH: u64 = 1024;

/// What is read of `meta/info.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    codebase_version: String,
    pub(super) fps: f64,
    features: BTreeMap<String, Feature>,
    data_path: String,
    #[serde(default)]
    video_path: Option<String>,
    #[serde(default)]
    splits: BTreeMap<String, String>,
    #[serde(skip)]
    path: PathBuf,
}

/// One feature.
#[derive(Debug, Deserialize)]
pub(super) struct Feature {
    dtype: String,
    #[serde(default)]
    shape: Vec<Value>,
}

/// How a camera's pictures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Camera {
    /// As image files in a column of the data.
    Image,
    /// As videos.
    Video,
}

impl Feature {
    fn camera(&self) -> Option<Camera> {
        match self.dtype.as_str() {
            "image" => Some(Camera::Image),
            "video" => Some(Camera::Video),
            _ => None,
        }
    }

    fn is_numeric(&self) -> bool {
        self.dtype.starts_with("float") || self.dtype.starts_with("int") || self.dtype.starts_with("uint")
    }

    /// Numbers in a row.
    fn width(&self) -> Option<usize> {
        let width = self.shape.iter().try_fold(1u64, |product, side| product.checked_mul(side.as_u64()?))?;
        (1..=MAX_WIDTH).contains(&width).then_some(width as usize)
    }
}

impl Info {
    pub(super) fn read(root: &Path) -> Result<Self, DataError> {
        let path = root.join("meta").join("info.json");
        let failed = |source| DataError::Io { path: path.clone(), source };
        let mut text = String::new();
        File::open(&path).map_err(failed)?.take(MAX_INFO).read_to_string(&mut text).map_err(failed)?;
        let mut info: Self = serde_json::from_str(&text).map_err(|error| DataError::LeRobot {
            path: path.clone(),
            key: "info.json".to_owned(),
            why: format!("{error}; write it anew with LeRobot"),
        })?;
        info.path = path;
        if !info.codebase_version.trim_start_matches('v').starts_with("3.") {
            let why = format!(
                "is {}, and v3.x is read; convert it by LeRobot's `convert_dataset_v21_to_v30`",
                info.codebase_version
            );
            return Err(info.wrong("codebase_version", why));
        }
        if !info.fps.is_finite() || !(1e-3..=1e6).contains(&info.fps) {
            return Err(info.wrong("fps", format!("is {}; wanted frames a second", info.fps)));
        }
        Ok(info)
    }

    fn wrong(&self, key: &str, why: String) -> DataError {
        DataError::LeRobot { path: self.path.clone(), key: key.to_owned(), why }
    }

    fn missing(&self, wanted: &str, fits: impl Fn(&Feature) -> bool) -> DataError {
        let of_kind = self.features.iter().filter(|(_, feature)| fits(feature));
        let found = of_kind.map(|(name, _)| name.clone()).collect();
        DataError::Feature { path: self.path.clone(), wanted: wanted.to_owned(), found }
    }

    /// The camera asked for, or the first; `None` when there is none and none was asked for.
    pub(super) fn camera(&self, wanted: Option<&str>) -> Result<Option<(String, Camera)>, DataError> {
        let mut cameras = self.features.iter().filter_map(|(name, feature)| Some((name, feature.camera()?)));
        let Some(wanted) = wanted else {
            return Ok(cameras.next().map(|(name, camera)| (name.clone(), camera)));
        };
        match cameras.find(|(name, _)| *name == wanted) {
            Some((name, camera)) => Ok(Some((name.clone(), camera))),
            None => Err(self.missing(wanted, |feature| feature.camera().is_some())),
        }
    }

    /// The features whose numbers make the channels, and how many numbers each has.
    pub(super) fn channels(&self, wanted: Option<&[String]>) -> Result<Vec<(String, usize)>, DataError> {
        let state = "observation.state";
        let names: Vec<&str> = match wanted {
            Some(names) => names.iter().map(String::as_str).collect(),
            None if self.features.contains_key(state) => vec![state],
            None => {
                let observed = self
                    .features
                    .iter()
                    .filter(|(name, feature)| name.starts_with("observation.") && feature.is_numeric());
                observed.map(|(name, _)| name.as_str()).collect()
            }
        };
        if names.is_empty() {
            return Err(self.missing("observation.*", Feature::is_numeric));
        }
        let of = |name: &str| {
            let found = self.features.get(name).filter(|feature| feature.is_numeric());
            let feature = found.ok_or_else(|| self.missing(name, Feature::is_numeric))?;
            let wide = || {
                self.wrong(name, format!("has shape {:?}; up to {MAX_WIDTH} numbers are read", feature.shape))
            };
            Ok((name.to_owned(), feature.width().ok_or_else(wide)?))
        };
        names.into_iter().map(of).collect()
    }

    /// Width and height of a camera's pictures, as far as they are stated.
    pub(super) fn has(&self, feature: &str) -> bool {
        self.features.contains_key(feature)
    }

    /// The episodes of a split; all, where no splits are named.
    pub(super) fn split(&self, name: &str) -> Result<Range<u64>, DataError> {
        if self.splits.is_empty() {
            return Ok(0..u64::MAX);
        }
        let found = || self.splits.keys().take(20).cloned().collect();
        let missing =
            || DataError::NoSplit { path: self.path.clone(), split: name.to_owned(), found: found() };
        let text = self.splits.get(name).ok_or_else(missing)?;
        let range =
            text.split_once(':').and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
        range.ok_or_else(|| self.wrong("splits", format!("`{text}` is no range of episodes such as `0:50`")))
    }

    /// Where a file of data lies below the root.
    pub(super) fn data_file(&self, chunk: u64, file: u64) -> Result<PathBuf, DataError> {
        self.place("data_path", &self.data_path, "", chunk, file)
    }

    /// Where a video of a camera lies below the root.
    pub(super) fn video_file(&self, camera: &str, chunk: u64, file: u64) -> Result<PathBuf, DataError> {
        let template = self.video_path.as_deref();
        let template = template
            .ok_or_else(|| self.wrong("video_path", "is missing, and there are videos".to_owned()))?;
        self.place("video_path", template, camera, chunk, file)
    }

    /// Fills in a template such as `data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet`.
    fn place(
        &self,
        key: &str,
        template: &str,
        camera: &str,
        chunk: u64,
        file: u64,
    ) -> Result<PathBuf, DataError> {
        let unknown = |what: &str| self.wrong(key, format!("holds `{{{what}}}`, which is not known"));
        let (mut filled, mut rest) = (String::new(), template);
        while let Some((before, behind)) = rest.split_once('{') {
            let (field, behind) = behind.split_once('}').ok_or_else(|| unknown(behind))?;
            let (name, form) = field.split_once(':').unwrap_or((field, ""));
            let digits = form.trim_end_matches('d').trim_start_matches('0').parse().unwrap_or(0).min(20);
            filled.push_str(before);
            match name {
                "video_key" => filled.push_str(camera),
                "chunk_index" => filled.push_str(&format!("{chunk:0digits$}")),
                "file_index" => filled.push_str(&format!("{file:0digits$}")),
                other => return Err(unknown(other)),
            }
            rest = behind;
        }
        filled.push_str(rest);
        let place = PathBuf::from(filled);
        if place.components().all(|part| matches!(part, Component::Normal(_))) {
            return Ok(place);
        }
        Err(self.wrong(key, format!("leads to {}, which is not within the data set", place.display())))
    }
}

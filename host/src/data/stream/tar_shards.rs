//! WebDataset: tar archives in which the files of one sample lie together and share their name up to
//! its first dot. Of each sample this takes the image (`jpg`, `jpeg`, `png`) and the class: a number in
//! `cls`, or `label`, `cls` or `class` of `json`. Other files are passed over.
//!
//! Only regular files count. Every length is held against the file's own and a limit before anything is
//! reserved; long names are read in both forms that are in use (GNU and pax), up to 4 KiB.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sedge_recordings::Limits;
use serde_json::Value;
use tar::{Archive, EntryType, PaxExtensions};

use super::super::DataError;
use super::super::images::MAX_CLASSES;
use super::record::{Content, Record, Source, Take};

/// Largest member that is read.
const MAX_MEMBER: u64 = 64 << 20;
/// Largest class file.
const MAX_CLASS: u64 = 64 << 10;
/// Largest record of a long name.
const MAX_NAME: u64 = 4 << 10;
/// Most samples of all shards.
const MAX_SAMPLES: u64 = 1 << 32;

pub(super) struct TarShards {
    files: Vec<PathBuf>,
    shards: Vec<u64>,
    classes: Vec<String>,
}

/// What was found of one sample.
#[derive(Default)]
struct Group {
    key: String,
    image: Option<Result<Vec<u8>, String>>,
    label: Option<Result<u32, String>>,
}

/// Whether a path is a folder that holds tar files.
///
/// # Errors
/// [`DataError::Io`] when the folder cannot be read.
pub(super) fn has_shards(path: &Path) -> Result<bool, DataError> {
    Ok(path.is_dir() && !tar_files(path)?.is_empty())
}

fn tar_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl TarShards {
    /// Counts samples and classes; no image is read.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let files = if path.is_dir() { tar_files(path)? } else { vec![path.to_owned()] };
        let (mut shards, mut highest, mut all) = (Vec::new(), None, true);
        for file in &files {
            let mut count = 0;
            walk(file, false, &mut |group| {
                count += 1;
                match &group.label {
                    Some(Ok(label)) => highest = highest.max(Some(*label)),
                    Some(Err(_)) => {}
                    None => all = false,
                }
                Ok(true)
            })?;
            shards.push(count);
        }
        let samples = shards.iter().fold(0u64, |sum, shard| sum.saturating_add(*shard));
        if !(1..=MAX_SAMPLES).contains(&samples) {
            let source_name = path.display().to_string();
            return Err(DataError::Empty { source_name, what: "image".to_owned(), first: None });
        }
        // Without a class for every sample, there are none.
        let classes = highest.filter(|_| all).map_or(0, |label| label + 1);
        Ok(Self { files, shards, classes: (0..classes).map(|class| class.to_string()).collect() })
    }
}

impl Source for TarShards {
    fn shards(&self) -> &[u64] {
        &self.shards
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let Some(path) = self.files.get(shard) else { return Ok(()) };
        let before: u64 = self.shards.iter().take(shard).sum();
        let labelled = !self.classes.is_empty();
        let mut place = 0;
        walk(path, true, &mut |group| {
            place += 1;
            if place <= skip {
                return Ok(true);
            }
            let label = match group.label {
                Some(label) if labelled => label.map(Some),
                _ => Ok(None),
            };
            let number = before + place - 1;
            let image = group.image.unwrap_or_else(|| Err("it holds no image".to_owned()));
            take(Record {
                what: format!("{}, sample `{}`", path.display(), group.key),
                content: image.map(Content::Encoded),
                label,
                group: number as u32,
                order: number,
            })
        })
    }
}

/// Gives the samples of a shard that have an image, in order; with the image's bytes if `read`.
fn walk(
    path: &Path,
    read: bool,
    give: &mut dyn FnMut(Group) -> Result<bool, DataError>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let broken = |place: String, why: String| DataError::Tar { path: path.to_owned(), place, why };
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(broken("the whole".to_owned(), "no regular file".to_owned()));
    }
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut archive = Archive::new(file);
    let entries = archive.entries_with_seek().map_err(io)?.raw(true);
    let (mut group, mut long_name) = (Group::default(), None);
    for (number, entry) in entries.enumerate() {
        let place = || format!("member {}", number + 1);
        let mut entry = entry.map_err(|e| broken(place(), e.to_string()))?;
        let (kind, size) = (entry.header().entry_type(), entry.size());
        let end = entry.raw_file_position().checked_add(size);
        if end.is_none_or(|end| end > length) {
            return Err(broken(place(), format!("states {size} bytes, which the file does not have")));
        }
        match kind {
            EntryType::GNULongName | EntryType::XHeader => {
                let bytes = content(&mut entry, size, MAX_NAME).map_err(|why| broken(place(), why))?;
                let name = if kind == EntryType::XHeader { pax_path(&bytes) } else { Some(bytes) };
                long_name = name.or(long_name.take());
                continue;
            }
            EntryType::Regular | EntryType::Continuous => {}
            _ => {
                long_name = None;
                continue;
            }
        }
        let name = long_name.take();
        let name = name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
        let Some((key, extension)) = key_of(&name) else { continue };
        if key != group.key {
            let whole = std::mem::replace(&mut group, Group { key, ..Group::default() });
            if whole.image.is_some() && !give(whole)? {
                return Ok(());
            }
        }
        match extension.as_str() {
            "jpg" | "jpeg" | "png" if group.image.is_none() => {
                let limit = MAX_MEMBER.min(Limits::default().file_bytes);
                group.image = Some(if read { content(&mut entry, size, limit) } else { Ok(Vec::new()) });
            }
            "cls" => {
                group.label = Some(content(&mut entry, size, MAX_CLASS).and_then(|bytes| class_of(&bytes)))
            }
            "json" if group.label.is_none() => {
                group.label = content(&mut entry, size, MAX_CLASS)
                    .map_or_else(|why| Some(Err(why)), |b| json_class(&b));
            }
            _ => {}
        }
    }
    if group.image.is_some() {
        give(group)?;
    }
    Ok(())
}

/// What a member of `size` bytes holds, up to a limit.
fn content(member: &mut impl Read, size: u64, limit: u64) -> Result<Vec<u8>, String> {
    if size > limit {
        return Err(format!("a member of it has {size} bytes, over the limit of {limit}"));
    }
    let mut bytes = Vec::new();
    member.take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// The sample's key and the lower-case extension of a member's name: all before and after the first dot of
/// its last part. `None` for hidden files and names that are not text.
fn key_of(name: &[u8]) -> Option<(String, String)> {
    let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0');
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name.get(base..)?.find('.').filter(|dot| *dot > 0)? + base;
    let extension = name.get(dot + 1..)?.to_ascii_lowercase();
    Some((name.get(..dot)?.to_owned(), extension))
}

fn pax_path(bytes: &[u8]) -> Option<Vec<u8>> {
    let found = PaxExtensions::new(bytes).flatten().find(|pair| pair.key() == Ok("path"))?;
    Some(found.value_bytes().to_vec())
}

fn class_of(bytes: &[u8]) -> Result<u32, String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let known = text.parse().ok().filter(|label| *label < MAX_CLASSES);
    known.ok_or_else(|| {
        let text: String = text.chars().take(20).collect();
        format!("its class `{text}` is no number below {MAX_CLASSES}")
    })
}

/// The class of a `json` member; `None` when it has none.
fn json_class(bytes: &[u8]) -> Option<Result<u32, String>> {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Some(Err(format!("its `json` is broken: {error}"))),
    };
    let found = ["label", "cls", "class"].iter().find_map(|key| value.get(key))?;
    Some(class_of(found.to_string().as_bytes()))
}

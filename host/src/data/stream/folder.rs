//! A folder of images as shards. A shard takes its files from all over the listing, which is by class,
//! so that every chunk has of every class.

use std::path::{Path, PathBuf};

use sedge_recordings::{ImageFolder, Limits};

use super::super::DataError;
use super::record::{Content, Record, Source, Take};

/// Files of a shard, about.
const SHARD_FILES: usize = 64;

pub(super) struct Folder {
    folder: ImageFolder,
    files: Vec<PathBuf>,
    shards: Vec<u64>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let folder = ImageFolder::open(path, &Limits::default())?;
        let files: Vec<PathBuf> = folder.entries().iter().map(|entry| entry.path.clone()).collect();
        let count = files.len().div_ceil(SHARD_FILES);
        // Shard `s` takes every `count`-th file from `s` on.
        let shards = (0..count).map(|shard| (files.len() - shard).div_ceil(count) as u64).collect();
        Ok(Self { folder, files, shards })
    }
}

impl Source for Folder {
    fn shards(&self) -> &[u64] {
        &self.shards
    }

    fn classes(&self) -> &[String] {
        self.folder.classes()
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn read(&self, shard: usize, skip: u64, take: Take<'_>) -> Result<(), DataError> {
        let entries = self.folder.entries().iter().enumerate();
        let own = entries.skip(shard).step_by(self.shards.len().max(1));
        for (number, entry) in own.skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            let content = super::chunks::read_bounded(&entry.path).map(Content::Encoded);
            let what = entry.path.display().to_string();
            let label = Ok(entry.label);
            if !take(Record { what, content, label, group: number as u32, order: number as u64 })? {
                break;
            }
        }
        Ok(())
    }
}

//! Parquet files of images as shards: one a row group.

use std::path::{Path, PathBuf};

use super::super::DataError;
use super::super::parquet_images::{RowGroups, parquet_files};
use super::record::{Content, Record, Source, Take};

pub(super) struct Parquet {
    files: Vec<PathBuf>,
    /// File and number of each row group.
    groups: Vec<(usize, usize)>,
    shards: Vec<u64>,
    classes: Vec<String>,
}

impl Parquet {
    /// The `split-*.parquet` of a folder, or all of its Parquet files when there are none of that name.
    pub(super) fn open(path: &Path, split: &str) -> Result<Self, DataError> {
        let all = if path.is_dir() { parquet_files(path)? } else { vec![path.to_owned()] };
        let prefix = format!("{split}-");
        let of_split = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        };
        let chosen: Vec<PathBuf> = all.iter().filter(of_split).cloned().collect();
        let files = if chosen.is_empty() { all } else { chosen };
        let (mut groups, mut shards, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for (file, path) in files.iter().enumerate() {
            let about = RowGroups::open(path)?;
            if classes.is_empty() {
                classes = about.class_names();
            }
            for (group, rows) in about.rows().into_iter().enumerate() {
                groups.push((file, group));
                shards.push(rows);
            }
        }
        Ok(Self { files, groups, shards, classes })
    }
}

impl Source for Parquet {
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
        let Some(&(file, group)) = self.groups.get(shard) else { return Ok(()) };
        let Some(path) = self.files.get(file) else { return Ok(()) };
        let before: u64 = self.shards.iter().take(shard).sum();
        RowGroups::open(path)?.read(group, self.classes.len(), &mut |row, bytes, label| {
            if row < skip {
                return Ok(true);
            }
            let what = format!("{}, row group {group}, row {row}", path.display());
            let number = before + row;
            let content = bytes.map(Content::Encoded);
            take(Record { what, content, label, group: number as u32, order: number })
        })
    }
}

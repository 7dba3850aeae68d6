//! The run directory. Everything about a run lies in one place under fixed names, so that scripts
//! and later commands find it:
//!
//! | file | what |
//! |---|---|
//! | `config.toml` | the resolved configuration ([`PretrainConfig`]) |
//! | `metrics.jsonl` | one JSON object a line; [`watch`](crate::watch) says which |
//! | `checkpoint.sedge-run` | the state to go on from, and the trained weights ([`Checkpoint`]) |
//! | `summary.json` | written when the run is finished ([`Summary`](super::Summary)) |
//! | `report.html` | the run as one page, written when it is finished |
//! | `nan/` | a step that was not finite, kept to be run again ([`Capture`](crate::watch::Capture)) |
//!
//! All but the log are replaced whole. The log only grows; a run that goes on first cuts it back to
//! the length that its checkpoint goes with.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::config::PretrainConfig;
use super::error::PretrainError;
use crate::files::write_atomic;

/// A run directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Makes the directory, where it is not there yet, and writes the configuration into it.
    ///
    /// # Errors
    ///
    /// [`PretrainError::Exists`] when it holds a run, and what the system says.
    pub fn create(path: &Path, config: &PretrainConfig) -> Result<Self, PretrainError> {
        let run = Self { path: path.into() };
        if run.config_path().exists() || run.checkpoint_path().exists() {
            return Err(PretrainError::Exists { path: path.into() });
        }
        let failed = |source| PretrainError::Directory { path: path.into(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        write_atomic(&run.config_path(), config.to_toml()?.as_bytes())?;
        Ok(run)
    }

    /// A directory that holds a run.
    ///
    /// # Errors
    ///
    /// [`PretrainError::NotARun`] when it does not.
    pub fn open(path: &Path) -> Result<Self, PretrainError> {
        let run = Self { path: path.into() };
        if run.config_path().is_file() { Ok(run) } else { Err(PretrainError::NotARun { path: path.into() }) }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// `metrics.jsonl`.
    pub fn log_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `checkpoint.sedge-run`.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint.sedge-run")
    }

    /// `summary.json`.
    pub fn summary_path(&self) -> PathBuf {
        self.path.join("summary.json")
    }

    /// `report.html`.
    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// `nan`, where a step that was not finite is kept.
    pub fn capture_path(&self) -> PathBuf {
        self.path.join("nan")
    }

    /// The configuration that the run was started with.
    ///
    /// # Errors
    ///
    /// As [`PretrainConfig::read`].
    pub fn config(&self) -> Result<PretrainConfig, PretrainError> {
        Ok(PretrainConfig::read(&self.config_path())?)
    }

    /// The last checkpoint, or `None` when none was written yet.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::read`].
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, PretrainError> {
        let path = self.checkpoint_path();
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Checkpoint::read(&path)?))
    }
}

/// The log of metrics.
#[derive(Debug)]
pub(super) struct MetricsLog {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl MetricsLog {
    /// Opens the log and keeps its first `keep` bytes.
    pub(super) fn open(path: PathBuf, keep: u64) -> Result<Self, PretrainError> {
        let failed = |source| PretrainError::Log { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found < keep {
            return Err(PretrainError::LogShort { path, found, wanted: keep });
        }
        if found > keep {
            file.set_len(keep).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(keep)).map_err(failed)?;
        Ok(Self { file, path, bytes: keep })
    }

    /// Adds one line.
    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<(), PretrainError> {
        let failed = |source| PretrainError::Log { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(line).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(failed)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Brings the log to the disk and gives its length; a checkpoint that names the length must come
    /// after.
    pub(super) fn sync(&mut self) -> Result<u64, PretrainError> {
        let failed = |source| PretrainError::Log { path: self.path.clone(), source };
        self.file.sync_data().map_err(failed)?;
        Ok(self.bytes)
    }
}

//! A node's log: defmt's bytes as words in our own log. The words are not in the bytes but in the program that
//! was flashed, and only the very one that runs has the right ones.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::defmt::Table;

/// Largest program read, in bytes: with all that a debugger wants, images are a few megabytes.
pub const MAX_ELF_BYTES: u64 = 64 << 20;
/// Longest message of a log, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The program cannot be read.
    #[error("cannot read {}: {source}; name the program as the compiler wrote it, not the .uf2", path.display())]
    Io {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The program is too large to be one for a microcontroller.
    #[error("{} is over {MAX_ELF_BYTES} bytes; is it a microcontroller's program?", path.display())]
    TooLarge {
        /// The program.
        path: PathBuf,
    },
    /// The program holds no words.
    #[error("{} holds no log: {reason}; name the program as the compiler wrote it, not stripped", path.display())]
    NoTable {
        /// The program.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// How a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) level: Level,
    /// The node's own time, as it prints it.
    pub(crate) at: String,
    pub(crate) text: String,
}

/// The words of a node's log, and the bytes of a message that is not whole yet.
pub(crate) struct NodeLog {
    table: Table,
    waiting: Vec<u8>,
    is_cut: bool,
    /// Messages that could not be read.
    pub(crate) broken: u64,
}

impl NodeLog {
    /// The words in the program at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let io = |source| LogError::Io { path: path.to_owned(), source };
        let mut bytes = vec![];
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(MAX_ELF_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_ELF_BYTES {
            return Err(LogError::TooLarge { path: path.to_owned() });
        }
        let none = |reason: String| LogError::NoTable { path: path.to_owned(), reason };
        let table = Table::of_elf(&bytes).map_err(|error| none(error.to_string()))?;
        Ok(Self { table, waiting: vec![], is_cut: false, broken: 0 })
    }

    /// Takes bytes of the log, cut anywhere, and gives each message that is whole with them. A zero ends one.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Line)) {
        for &byte in bytes {
            if self.waiting.len() < MAX_MESSAGE {
                self.waiting.push(byte);
            } else {
                self.is_cut = true;
            }
            if byte != 0 {
                continue;
            }
            let message = std::mem::take(&mut self.waiting);
            let is_cut = std::mem::take(&mut self.is_cut);
            if message.len() == 1 {
                continue;
            }
            let whole = message.strip_suffix(&[0]).filter(|_| !is_cut);
            match whole.map(|message| self.table.line(message)) {
                Some(Ok(line)) => each(line),
                Some(Err(error)) => {
                    tracing::debug!("a message of a node's log: {error}");
                    self.broken += 1;
                }
                None => self.broken += 1,
            }
        }
    }

    /// A part of a message was lost with the line: what is left of it says nothing.
    pub(crate) fn restart(&mut self) {
        self.waiting.clear();
        self.is_cut = false;
    }
}

impl Line {
    /// Says it in our own log.
    pub(crate) fn say(&self, node: &str) {
        let Self { level, at, text } = self;
        match level {
            Level::Trace => tracing::trace!(node, at, "{text}"),
            Level::Debug => tracing::debug!(node, at, "{text}"),
            Level::Info => tracing::info!(node, at, "{text}"),
            Level::Warn => tracing::warn!(node, at, "{text}"),
            Level::Error => tracing::error!(node, at, "{text}"),
        }
    }
}

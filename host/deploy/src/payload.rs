//! What is put on a board: the daemon, the board file and the bundle, each digested before it is sent.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use sedge_boards::{Board, BoardError};
use sha2::{Digest, Sha256};

use crate::DeployError;
use crate::slot::hexadecimal;

/// Largest bundle that is sent, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 4 << 30;

/// A board and the file that describes it.
#[derive(Clone, Debug)]
pub struct BoardFile {
    /// The board.
    pub board: Board,
    /// Its file, as it was written.
    pub text: String,
}

impl BoardFile {
    /// The built-in board of this name, or the one that a file describes.
    ///
    /// # Errors
    /// [`DeployError::Board`].
    pub fn named_or_file(name: &str) -> Result<Self, DeployError> {
        let board = Board::named_or_file(name)?;
        if let Some(text) = Board::text_of(name) {
            return Ok(Self { board, text: text.to_owned() });
        }
        let path = PathBuf::from(name);
        // The file was just read and found small; what is sent is what passes the same checks again.
        let text = std::fs::read_to_string(&path).map_err(|source| BoardError::Io { path, source })?;
        let board = Board::from_toml(&text, name)?;
        Ok(Self { board, text })
    }
}

/// A bundle and the digest by which the daemon names it.
#[derive(Clone, Debug)]
pub struct BundleFile {
    /// The file.
    pub path: PathBuf,
    /// The bundle's own digest: of its manifest, not of its file.
    pub digest: String,
}

/// Where the daemon comes from.
#[derive(Clone, Debug)]
pub enum Daemon {
    /// A program that was built before.
    Prebuilt(PathBuf),
    /// Built here, in the sources around this folder, for the processor that the board says it has.
    Build(PathBuf),
}

/// A file that is opened and digested.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) file: File,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

impl Content {
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, DeployError> {
        let io = |source| DeployError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() > limit {
            return Err(DeployError::TooLarge { path: path.to_owned(), limit });
        }
        let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            let read = file.read(&mut buffer).map_err(io)?;
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
            digest.update(part);
            bytes += part.len() as u64;
        }
        file.rewind().map_err(io)?;
        Ok(Self { file, sha256: hexadecimal(&digest.finalize()), bytes })
    }

    pub(crate) fn of_text(text: &str) -> Result<Self, DeployError> {
        let io = |source| DeployError::Io { path: std::env::temp_dir(), source };
        let mut file = tempfile::tempfile().map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.rewind()).map_err(io)?;
        Ok(Self { file, sha256: crate::slot::sha256(text.as_bytes()), bytes: text.len() as u64 })
    }
}

//! Opening files that are not trusted: only regular files (a pipe named like an image would block
//! for ever), and only up to a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::RecordingError;

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RecordingError + '_ {
    move |source| RecordingError::Io { path: path.to_owned(), source }
}

/// Opens a regular file and gives its length in bytes.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), RecordingError> {
    let about = fs::metadata(path).map_err(io_error(path))?;
    if !about.is_file() {
        return Err(RecordingError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(io_error(path))?;
    Ok((file, about.len()))
}

/// Opens a regular file of at most `limit` bytes. What is read is cut there too, should the file
/// grow meanwhile.
pub(crate) fn open_limited(path: &Path, limit: u64) -> Result<io::Take<File>, RecordingError> {
    let (file, length) = open_regular(path)?;
    if length > limit {
        return Err(RecordingError::TooLarge {
            path: path.to_owned(),
            what: "the file's length in bytes".to_owned(),
            found: length,
            limit,
            field: "file_bytes",
        });
    }
    Ok(file.take(limit))
}

/// The whole of a regular file of at most `limit` bytes.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>, RecordingError> {
    let mut bytes = Vec::new();
    open_limited(path, limit)?.read_to_end(&mut bytes).map_err(io_error(path))?;
    Ok(bytes)
}

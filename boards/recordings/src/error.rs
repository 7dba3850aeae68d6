//! What can be wrong with a recording as a whole. A single bad message or row is not here: those
//! are counted and carried in the stream.

use std::io;
use std::path::PathBuf;

use crate::ImageError;

/// Why a recording cannot be read, or cannot be read further. Names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file was wanted, and this is a folder, socket or device.
    #[error("{} is not a regular file; give the path of a file", path.display())]
    NotAFile {
        /// The path given.
        path: PathBuf,
    },
    /// A folder was wanted.
    #[error("{} is not a folder; give the folder that holds the images", path.display())]
    NotAFolder {
        /// The path given.
        path: PathBuf,
    },
    /// No reader knows this kind of file.
    #[error("{} is of no known kind; wanted one of {wanted}", path.display())]
    UnknownKind {
        /// The path given.
        path: PathBuf,
        /// The extensions that are known.
        wanted: &'static str,
    },
    /// The file was read to its end and holds nothing of use.
    #[error("{} holds no {what}", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Something is larger than [`Limits`](crate::Limits) allows.
    #[error(
        "{}: {what} is {found}, over the limit of {limit}; raise `Limits::{field}` if the file is to be trusted",
        path.display()
    )]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
        /// What is too large.
        what: String,
        /// Its stated or counted size.
        found: u64,
        /// The limit.
        limit: u64,
        /// The field of [`Limits`](crate::Limits) that sets it.
        field: &'static str,
    },
    /// The file ends too early. Everything before has been given.
    #[error("{} ends at byte {offset}, in the middle of {what}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Length of the file, in bytes.
        offset: u64,
        /// What was being read.
        what: String,
    },
    /// The file breaks the rules of its format.
    #[error("{}, {place}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it: a byte offset, an archive member, a field.
        place: String,
        /// What is wrong and what was wanted.
        why: String,
    },
    /// A cell of a table cannot be read.
    #[error("{}, line {line}, column `{column}`: {why}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Line in the file, counted from 1.
        line: u64,
        /// Name of the column, from the header.
        column: String,
        /// What is wrong and what was wanted.
        why: String,
    },
    /// An image file cannot be decoded.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImageError,
    },
    /// A topic asked for by name is not in the file, or is not of the type that is wanted there.
    #[error("{} has no topic `{topic}` of type {wanted}; it has: {}", path.display(), listed(found))]
    MissingTopic {
        /// The file.
        path: PathBuf,
        /// The topic asked for.
        topic: String,
        /// The types that would do.
        wanted: &'static str,
        /// Topics with messages, each with its type.
        found: Vec<String>,
    },
    /// No topic of the file carries camera frames or IMU samples.
    #[error("{} has neither an IMU nor a camera topic; it has: {}", path.display(), listed(found))]
    NoStreams {
        /// The file.
        path: PathBuf,
        /// Topics with messages, each with its type.
        found: Vec<String>,
    },
    /// A rate that is not a positive, finite number of Hz.
    #[error("a rate of {rate_hz} Hz is not positive and finite")]
    Rate {
        /// The rate given.
        rate_hz: f32,
    },
    /// A series does not have the channels that are wanted of it.
    #[error("series `{name}` has {found} channels and {wanted} are wanted")]
    Channels {
        /// Name of the series.
        name: String,
        /// Channels it has.
        found: usize,
        /// Channels wanted.
        wanted: &'static str,
    },
}

fn listed(found: &[String]) -> String {
    if found.is_empty() { "no messages at all".to_owned() } else { found.join(", ") }
}

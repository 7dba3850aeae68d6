//! What can be wrong with data as a whole. One bad record is not here: it is skipped, counted and
//! named in the data set's [`SkipList`](super::SkipList), until there are too many of them.

use std::io;
use std::path::PathBuf;

use sedge_augment::AugmentError;
use sedge_models::InputSpecError;
use sedge_recordings::RecordingError;

/// Why data cannot be loaded or handed out. Says what, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No reader knows this kind of data.
    #[error(
        "{} is no data that is known here; give a .parquet, .npz, .csv, .mcap or .tar file, a video (.mp4, \
         .mkv, .avi or .mjpeg), texts (.txt, .log, .jsonl or .tsv), a folder of images or of such files, a LeRobot \
         data set, `sim` or `sim-logs`",
        path.display()
    )]
    UnknownKind {
        /// The path given.
        path: PathBuf,
    },
    /// A folder of Parquet files has none of the split asked for.
    #[error("{} has no `{split}-*.parquet`; it has: {}", path.display(), found.join(", "))]
    NoSplit {
        /// The folder.
        path: PathBuf,
        /// The split asked for.
        split: String,
        /// Parquet files that are there.
        found: Vec<String>,
    },
    /// Everything was read and no sample is left.
    #[error("{source_name} gives no {what}{}", first_skip(first))]
    Empty {
        /// The data, as asked for.
        source_name: String,
        /// What was looked for.
        what: String,
        /// The first record passed over, if any was.
        first: Option<String>,
    },
    /// The samples take more memory than is allowed.
    #[error(
        "{source_name}: {samples} samples take {bytes} bytes, over the limit of {limit}; \
         raise `max_bytes`, or take fewer with `limit` or smaller ones with `image_size`"
    )]
    TooLarge {
        /// The data, as asked for.
        source_name: String,
        /// Samples there would be.
        samples: u64,
        /// Memory they would take.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// More records were bad than is allowed.
    #[error(
        "{source_name}: more than {limit} bad records; the last: {what}: {why}; raise `max_skipped`, or of a stream `max_bad`, to go on"
    )]
    TooManySkipped {
        /// The data, as asked for.
        source_name: String,
        /// The limit.
        limit: u64,
        /// Which record.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A Parquet file that cannot be read further.
    #[error("{}, {place}: {why}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong, and what was wanted.
        why: String,
    },
    /// A Parquet file without the columns of an image data set.
    #[error("{} has no column {wanted}; it has: {}", path.display(), found.join(", "))]
    Columns {
        /// The file.
        path: PathBuf,
        /// The columns that would do.
        wanted: &'static str,
        /// The columns that are there.
        found: Vec<String>,
    },
    /// A feature, or column, that is not there.
    #[error("{} has no feature `{wanted}`; it has: {}", path.display(), found.join(", "))]
    Feature {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// The features that are there.
        found: Vec<String>,
    },
    /// A program that video is decoded by cannot be run.
    #[error(
        "cannot run `{}`: {why}; install FFmpeg (`apt install ffmpeg`, `brew install ffmpeg`, or \
         https://ffmpeg.org/download.html), or state the path of the program by `ffmpeg`",
        program.display()
    )]
    Program {
        /// The program.
        program: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A video that cannot be decoded.
    #[error("{}: {why}", path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// What is wrong, in the words of `ffmpeg` where it is that.
        why: String,
    },
    /// A LeRobot data set that breaks the rules of its format.
    #[error("{}, `{key}`: {why}", path.display())]
    LeRobot {
        /// The file.
        path: PathBuf,
        /// The key or column.
        key: String,
        /// What is wrong, and how to mend it.
        why: String,
    },
    /// A tar shard that cannot be read further.
    #[error("{}, {place}: {why}; write the shard anew, or take it out of the folder", path.display())]
    Tar {
        /// The shard.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// More chunks of a stream are held than it may keep in memory.
    #[error("{held} chunks of a stream are held and a third was asked for; drop the first before")]
    ChunksHeld {
        /// Chunks held.
        held: usize,
    },
    /// A recording could not be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Recordings that do not fit into one data set.
    #[error("{source_name}: {what} is {found}, but {wanted} before it; {mend}")]
    Mixed {
        /// The data, as asked for.
        source_name: String,
        /// What differs.
        what: String,
        /// What it is here.
        found: String,
        /// What it was in the recordings before.
        wanted: String,
        /// How to mend it.
        mend: &'static str,
    },
    /// An option that cannot be used.
    #[error("`{option}` is {found}; it must be {wanted}")]
    Option {
        /// The option.
        option: &'static str,
        /// What was given.
        found: String,
        /// What is accepted.
        wanted: &'static str,
    },
    /// The simulated rig could not be set up.
    #[error("`{spec}`: {why}")]
    Sim {
        /// The specification given.
        spec: String,
        /// What is wrong with it.
        why: String,
    },
    /// Parts of a data set that differ in length, or a shape that does not multiply out.
    #[error("a data set's {what} has {found} entries; wanted {wanted}")]
    Lengths {
        /// Which part.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length wanted.
        wanted: usize,
    },
    /// A token that there is none of.
    #[error("a text holds the token {token}; bytes are 0 to 255, and the last token is 258")]
    Token {
        /// Its number.
        token: u16,
    },
    /// A file of texts that cannot be read further.
    #[error("{}, {place}: {why}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong, and how to mend it.
        why: String,
    },
    /// A sample that is not there.
    #[error("sample {index} was asked for, but the data set has {len}")]
    Index {
        /// The index.
        index: usize,
        /// Samples there are.
        len: usize,
    },
    /// Samples do not fit the encoder's input.
    #[error("the data holds {found}, but the input is {wanted}; {mend}")]
    Mismatch {
        /// What the samples are.
        found: String,
        /// What the input specification says.
        wanted: String,
        /// How to mend it.
        mend: &'static str,
    },
    /// An input specification that contradicts itself.
    #[error(transparent)]
    Spec(#[from] InputSpecError),
    /// Augmentation settings or buffers that do not fit.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// A worker thread could not start or died.
    #[error("a worker thread {what}")]
    Worker {
        /// What happened to it.
        what: String,
    },
}

fn first_skip(first: &Option<String>) -> String {
    first.as_ref().map_or_else(String::new, |first| format!("; the first record passed over: {first}"))
}

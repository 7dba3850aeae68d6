//! Recorded streams and data sets as typed events and series.
//!
//! The device daemon replays recordings through the same learner that hears live sensors, and the
//! host pretrains from them; both read through this crate. Four kinds of file are known:
//!
//! | kind | read by | gives |
//! |---|---|---|
//! | ROS 2 MCAP | [`McapStream`] | time-ordered [`Event`](sedge_readings::Event)s |
//! | folder of JPEG and PNG images | [`ImageFolder`] | frames, labels, events at a rate |
//! | NumPy `.npz` | [`read_npz`] | [`Series`] |
//! | CSV with a header | [`read_csv`] | [`Series`] |
//! | either, of any size | [`SeriesFile`] | rows, one at a time |
//!
//! Files are not trusted. Every size they state is checked against [`Limits`] before memory is
//! reserved, a value that cannot be decoded becomes a [`Reading`](sedge_readings::Reading) that
//! says why and is counted, and what cannot be read at all is a [`RecordingError`] that names the
//! file and the place.

mod bytes;
mod csv_columns;
mod csv_series;
mod error;
mod file;
mod folder;
mod image;
mod limits;
mod mcap;
mod mcap_chunk;
mod mcap_counts;
mod mcap_records;
mod npy;
mod npz;
mod ros2;
mod series;
mod series_file;

pub use csv_series::read_csv;
pub use error::RecordingError;
pub use folder::{FolderEvents, ImageEntry, ImageFolder};
pub use image::{ImageError, ImageFormat, decode_image, read_image};
pub use limits::Limits;
pub use mcap::{McapOptions, McapStream};
pub use mcap_counts::{Failure, McapCounts, StreamKind, TopicCounts};
pub use npz::read_npz;
pub use series::{STANDARD_GRAVITY, Series, SeriesOptions, SeriesSet, read_series};
pub use series_file::{SeriesFile, SeriesOutline};

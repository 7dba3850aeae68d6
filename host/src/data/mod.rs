//! Data on its way to training and evaluation: every kind of source becomes one [`Dataset`]
//! ([`load()`]), which is split by group ([`split`]) and handed out as plain batches
//! ([`Dataset::batch_f32`]) or as what a training step is
//! given ([`Loader`], [`Sampler`]).

mod dataset;
mod draw;
mod drives;
mod epoch;
mod error;
mod ffmpeg;
mod images;
mod join;
mod load;
mod loader;
mod options;
mod origin;
mod pairs;
mod parquet_columns;
mod parquet_guard;
mod parquet_images;
mod samples;
mod skipped;
pub mod split;
pub mod stream;
mod streams;
#[cfg(test)]
mod testing;
mod text;
mod windows;

pub use dataset::{ChannelStats, Dataset, Labels};
pub use draw::{Augment, Draw, Inputs, Sampler, TwoViews, written};
pub use epoch::Epoch;
pub use error::DataError;
pub use load::load;
pub use loader::{Batch, Loader, MAX_WORKERS};
pub use options::LoadOptions;
pub use origin::Origin;
pub use samples::Samples;
pub use skipped::{MAX_NAMED, SkipList, Skipped};

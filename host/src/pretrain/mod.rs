//! Pretraining: what was asked for ([`Settings`]) becomes a [`PretrainConfig`], and [`pretrain`] runs
//! a training step over a [`Loader`](crate::data::Loader)'s batches until it is done or told to stop,
//! keeping everything in a [`RunDirectory`]. [`Pretraining`] puts the CPU engine and the encoder in.

mod assemble;
mod checkpoint;
mod config;
mod config_file;
mod data_config;
mod directory;
mod error;
mod method;
mod pretrained;
mod progress;
mod run;
mod schedule;
mod settings;
mod start;
mod stop;
mod stranger;

pub use assemble::Pretraining;
pub use checkpoint::{
    Checkpoint, CheckpointError, Digests, Header, Position, Running, sha256, sha256_of_file,
};
pub use config::{AugmentConfig, ConfigError, OptimizerName, PretrainConfig, Schedule};
pub use data_config::DataConfig;
pub use directory::RunDirectory;
pub use error::PretrainError;
pub use method::{Method, Pretext, Setup};
pub use pretrained::Pretrained;
pub use progress::{Progress, span};
pub use run::{Job, Measure, Outcome, Summary, pretrain};
pub use schedule::LearningRate;
pub use settings::{ArchitectureSetting, DataSettings, PretextSettings, Settings};
pub use start::{Fitted, Start, StartError};
pub use stop::Stop;

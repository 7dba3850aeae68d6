//! What a run has made so far, read back from its directory for those who use the encoder rather than
//! train it.

use std::path::Path;

use super::checkpoint::{Checkpoint, Header};
use super::config::PretrainConfig;
use super::directory::RunDirectory;
use super::error::PretrainError;
use crate::encoder::Trained;

/// The encoder of a run at its last checkpoint.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// The configuration that the run was started with.
    pub config: PretrainConfig,
    /// Where the run stands, and digests of what it depends on.
    pub header: Header,
    /// The encoder, its weights with those of the projection head.
    pub encoder: Trained,
}

impl Pretrained {
    /// Reads the run in the directory `path`.
    ///
    /// # Errors
    ///
    /// [`PretrainError::NotARun`] or [`PretrainError::NoCheckpoint`] when there is nothing to read,
    /// and what is wrong with its files.
    pub fn read(path: &Path) -> Result<Self, PretrainError> {
        let run = RunDirectory::open(path)?;
        let config = run.config()?;
        let Checkpoint { header, state } =
            run.checkpoint()?.ok_or_else(|| PretrainError::NoCheckpoint { path: path.into() })?;
        // The optimiser's memory of a weight is called `<weight>/<kind>`, and nothing else has a slash.
        let weights = state.into_iter().filter(|(name, _)| !name.contains('/')).collect();
        let encoder =
            Trained { architecture: config.architecture.clone(), input: header.input.clone(), weights };
        Ok(Self { config, header, encoder })
    }
}

//! What a run has made so far, read back from its directory for those who use the encoder rather than
//! train it.

use std::path::Path;

use sedge_models::Tensors;
use sedge_models::compile::SECOND;

use super::checkpoint::{Checkpoint, Header};
use super::config::PretrainConfig;
use super::directory::RunDirectory;
use super::error::PretrainError;
use super::method::Setup;
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
    /// The encoder of the second part of pairs, where one was trained beside the first.
    pub second: Option<Trained>,
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
        let mut weights: Tensors = state.into_iter().filter(|(name, _)| !name.contains('/')).collect();
        let (architecture, input) = (config.architecture.clone(), header.input.clone());
        let mut second = None;
        if let Some(input) = header.second.clone() {
            let setup = Setup { architecture: &architecture, input: &header.input, config: &config };
            if let Some(architecture) = config.method.pretext(setup)?.second().cloned() {
                second = Some(Trained { architecture, input, weights: of_second(&mut weights) });
            }
        }
        Ok(Self { config, encoder: Trained { architecture, input, weights }, header, second })
    }
}

/// Takes the second encoder's weights and its head's out of `weights`, under the names that they would have in a
/// run of their own.
fn of_second(weights: &mut Tensors) -> Tensors {
    let own = |name: &str| {
        let encoder = name.strip_prefix(SECOND).and_then(|rest| rest.strip_prefix('.'));
        let head =
            || Some(format!("head.{}", name.strip_prefix("head.")?.strip_prefix(SECOND)?.strip_prefix('.')?));
        encoder.map(str::to_owned).or_else(head)
    };
    let names: Vec<(String, String)> =
        weights.keys().filter_map(|name| Some((name.clone(), own(name)?))).collect();
    names.into_iter().filter_map(|(name, own)| Some((own, weights.remove(&name)?))).collect()
}

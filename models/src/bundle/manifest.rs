//! The manifest: everything a board or a person must know of a bundle before using it. It also
//! states the digest of every other part, so that its own digest stands for the whole bundle.

use serde::{Deserialize, Serialize};

use super::error::BundleError;
use crate::input::InputSpec;
use crate::plan::Plan;
use crate::selection::Selection;
use crate::step::StepSpec;

/// The format written and read by this version.
pub const FORMAT: u32 = 1;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the bundle format: [`FORMAT`].
    pub format: u32,
    /// What the bundle is called, one line of at most 200 bytes.
    pub name: String,
    /// What made it.
    pub made_by: MadeBy,
    /// What the encoder reads.
    pub input: InputSpec,
    /// Values in one embedding.
    pub embedding_dim: usize,
    /// What the training step takes and gives.
    pub training: StepSpec,
    /// How the board adapts unless told otherwise.
    pub adaptation: AdaptationDefaults,
    /// Which weights of the encoder the step trains; bundles made before it was kept say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Memory and work of a step; bundles made before it was kept say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The other parts, in their order. Filled in when the bundle is packed.
    pub parts: Vec<PartDigest>,
}

/// Where a bundle comes from, enough to make it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeBy {
    /// Version of Sedge.
    pub version: String,
    /// The command.
    pub command: String,
    /// The resolved configuration as TOML; empty when there was none.
    pub config: String,
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the training data in hexadecimal, as the host computes it.
    pub data_digest: String,
    /// Method of pretraining (`simclr`).
    pub method: String,
    /// Epochs trained.
    pub epochs: u32,
}

/// How a board adapts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptationDefaults {
    /// Learning rate, above zero.
    pub lr: f32,
    /// Temperature of the contrastive loss, above zero.
    pub temperature: f32,
    /// Weight decay, zero or more.
    pub weight_decay: f32,
    /// Rows of a step, which the graph fixes: equals `training.batch`.
    pub batch: usize,
    /// Which parts of the encoder adapt, for people (`projection head and the last block`).
    pub trains: String,
}

/// Size and digest of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartDigest {
    /// Its name in the archive.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// The one field that every version of the format has.
#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

impl Manifest {
    /// Reads the version before the rest, since a later format may have fields unknown here.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let fault = |e: serde_json::Error| BundleError::Manifest { reason: e.to_string() };
        let Versioned { format } = serde_json::from_slice(bytes).map_err(fault)?;
        if format > u64::from(FORMAT) {
            return Err(BundleError::Version { found: format, reads: FORMAT });
        }
        if format < u64::from(FORMAT) {
            return Err(BundleError::Field {
                field: "format".into(),
                found: format.to_string(),
                wanted: FORMAT.to_string(),
            });
        }
        serde_json::from_slice(bytes).map_err(fault)
    }

    /// The bytes of `manifest.json`: indented JSON with a newline at its end, fields in the order of
    /// the types above.
    pub(super) fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|e| BundleError::Manifest { reason: e.to_string() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

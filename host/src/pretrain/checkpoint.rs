//! A run put aside: the whole state of the training step, where it stands, and digests of all that
//! the rest of the run depends on. A run that goes on from one ends with the same bits as a run
//! that was never cut.
//!
//! The file is one line of JSON and then the state in the tensor layout of
//! [`sedge_models::weights`], whose size and SHA-256 the line states.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sedge_models::tensors::first_non_finite;
use sedge_models::weights::{self, TensorLimits, WeightsError};
use sedge_models::{InputSpec, Tensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cost::Energy;
use crate::evaluate::Gauges;
use crate::files::{FileError, write_atomic};
use crate::watch::Standing;

/// The format written and read by this version.
pub const FORMAT: u32 = 1;
/// Largest checkpoint read.
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of a file that are read at a time.
const PART: usize = 1 << 16;
/// Longest first line.
const MAX_LINE: usize = 1 << 20;

/// A run put aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where it stands and what it goes with.
    pub header: Header,
    /// Every state tensor of the training step.
    pub state: Tensors,
}

/// The first line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format.
    pub format: u32,
    /// Where to go on.
    pub position: Position,
    /// Digests of what the result depends on.
    pub digests: Digests,
    /// What the encoder reads, normalisation included.
    pub input: InputSpec,
    /// What the second encoder reads, where two were trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<InputSpec>,
    /// Sums over the epoch so far, and what was measured last.
    pub running: Running,
    /// Bytes of the log of metrics that go with this state; what is behind them is cut off.
    pub log_bytes: u64,
    /// Bytes behind the first line. Filled in when it is written.
    pub tensor_bytes: u64,
    /// SHA-256 of them in hexadecimal. Filled in when it is written.
    pub tensor_sha256: String,
}

/// The next step to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epoch, from zero.
    pub epoch: u32,
    /// Batch within it, from zero.
    pub batch: usize,
    /// Steps taken in all.
    pub step: u64,
}

/// SHA-256 digests in hexadecimal of what the result of a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    /// Of the configuration.
    pub config: String,
    /// Of the data.
    pub data: String,
    /// Of the training-step graph.
    pub step: String,
    /// Of the files that the run begins from or learns from beside its data, by the settings that name them: `from`,
    /// of a run its checkpoint, and `pretext.teacher`. Not there in runs of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// What is carried from step to step beside the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Sum of the losses of this epoch's steps.
    pub loss_sum: f64,
    /// Mean loss of the last whole epoch.
    pub loss: Option<f64>,
    /// kNN accuracy measured last, 0 to 1.
    pub knn: Option<f64>,
    /// Linear probe accuracy measured last, 0 to 1.
    #[serde(default)]
    pub linear: Option<f64>,
    /// Gauges of features measured last.
    #[serde(default)]
    pub gauges: Option<Gauges>,
    /// What has been warned of.
    #[serde(default)]
    pub standing: Standing,
    /// Energy so far, over all sittings.
    #[serde(default)]
    pub energy: Energy,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file could not be read.
    #[error("cannot read the checkpoint {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file could not be written; the one before is still there.
    #[error("the checkpoint was not saved, the one before it is untouched: {0}")]
    Write(#[from] FileError),
    /// The file is not a checkpoint, or a damaged one.
    #[error("{} is damaged: {reason}. Start the run again with another `--out`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later format.
    #[error("{} is of format {found}; this version reads {FORMAT}. Update Sedge", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format stated.
        found: u64,
    },
    /// The state cannot be stored.
    #[error("the state cannot be stored: {0}")]
    Tensors(#[from] WeightsError),
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 in hexadecimal of a file, whatever its size.
///
/// # Errors
///
/// What the system says.
pub fn sha256_of_file(path: &Path) -> std::io::Result<String> {
    let (mut hash, mut file) = (Sha256::new(), File::open(path)?);
    let mut part = vec![0; PART];
    loop {
        let read = match file.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(part.get(..read).unwrap_or_default());
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Checkpoint {
    /// Writes the checkpoint in one step over the one before.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Write`]; the one before is then still whole.
    pub fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let tensors = weights::encode(&self.state)?;
        let header = Header {
            tensor_bytes: tensors.len() as u64,
            tensor_sha256: sha256(&tensors),
            ..self.header.clone()
        };
        let mut bytes = serde_json::to_vec(&header).map_err(|e| damaged(path, e.to_string()))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&tensors);
        Ok(write_atomic(path, &bytes)?)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] when the file cannot be read, is of a later format, or is not byte for
    /// byte what was written.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Read { path: path.into(), source };
        let mut bytes = Vec::new();
        File::open(path).and_then(|f| f.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(damaged(path, format!("it is larger than {MAX_BYTES} bytes")));
        }
        let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n');
        let split = end.and_then(|end| bytes.split_at_checked(end + 1));
        let (line, tensors) = split.ok_or_else(|| damaged(path, "its first line does not end".into()))?;
        let header = Self::parse_header(path, line)?;
        if header.tensor_bytes != tensors.len() as u64 || header.tensor_sha256 != sha256(tensors) {
            return Err(damaged(path, "its tensors do not have the size and digest stated".into()));
        }
        let limits = TensorLimits { bytes: tensors.len(), ..TensorLimits::default() };
        let state = weights::decode(tensors, limits).map_err(|e| damaged(path, e.to_string()))?;
        if let Some(name) = first_non_finite(&state) {
            return Err(damaged(path, format!("`{name}` holds NaN or infinity")));
        }
        Ok(Self { header, state })
    }

    fn parse_header(path: &Path, line: &[u8]) -> Result<Header, CheckpointError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u64,
        }
        let fault = |e: serde_json::Error| damaged(path, e.to_string());
        let Versioned { format: found } = serde_json::from_slice(line).map_err(fault)?;
        if found != u64::from(FORMAT) {
            return Err(CheckpointError::Version { path: path.into(), found });
        }
        serde_json::from_slice(line).map_err(fault)
    }
}

fn damaged(path: &Path, reason: String) -> CheckpointError {
    CheckpointError::Damaged { path: path.into(), reason }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;

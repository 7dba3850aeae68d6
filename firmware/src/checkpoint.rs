//! Checkpoints: one file that a later session goes on from.
//!
//! | part | what |
//! |---|---|
//! | 8 bytes | `SEDGECK1` |
//! | 4 x 8 bytes | lengths of the four parts, little-endian |
//! | header | JSON: format, bundle digest, configuration, source, counts, lengths of the output files |
//! | learner | JSON: the learner, pairs' embeddings included |
//! | tensors | training copy and served weights with optimiser state, in the layout of `sedge_models::weights` |
//! | samples | pixels or values of the pairs |
//! | 32 bytes | SHA-256 of all before |
//!
//! The file is replaced whole. Nothing in it is believed before the digest of all of it is right, and
//! no more is read than [`MAX_CHECKPOINT_BYTES`].

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sedge_models::weights::{self, TensorLimits, WeightsError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::DeviceState;
use crate::output::replace_file;
use crate::{DeviceConfig, OutputError, SourceIdentity};

/// The checkpoint's name in the output folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.sedge-state";
/// Largest checkpoint that is read.
pub const MAX_CHECKPOINT_BYTES: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"SEDGECK1";
const PARTS: usize = 4;
const DIGEST: usize = 32;
const PREFIX: usize = MAGIC.len() + 8 * PARTS;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It could not be read.
    #[error("checkpoint `{}` cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is larger than is read.
    #[error("checkpoint `{}` holds {found} bytes, at most {MAX_CHECKPOINT_BYTES} are read; begin anew with --fresh", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// Its digest is wrong, or its parts contradict each other.
    #[error("the checkpoint is damaged: {what}. Begin anew with --fresh, or put back a copy of the file")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// It was made with another bundle.
    #[error(
        "the checkpoint was made with bundle {found}, this one is {wanted}; give that bundle, another --out, or --fresh"
    )]
    OtherBundle {
        /// Digest in the checkpoint.
        found: String,
        /// Digest of the bundle given.
        wanted: String,
    },
    /// It was made with another configuration.
    #[error("the checkpoint was made with another {field}; give the same options, another --out, or --fresh")]
    OtherConfig {
        /// What differs.
        field: String,
    },
    /// It was made from another source.
    #[error(
        "the checkpoint was made from {found}, this source is {wanted}; give that source, another --out, or --fresh"
    )]
    OtherSource {
        /// Source in the checkpoint.
        found: String,
        /// Source given.
        wanted: String,
    },
    /// There is none, but one was asked for.
    #[error("`{}` holds no checkpoint to resume from; leave --resume out to begin", path.display())]
    Missing {
        /// The output folder.
        path: PathBuf,
    },
}

impl From<serde_json::Error> for CheckpointError {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged { what: error.to_string() }
    }
}

impl From<WeightsError> for CheckpointError {
    fn from(error: WeightsError) -> Self {
        Self::Damaged { what: error.to_string() }
    }
}

/// What a session leaves for the next, beside the device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) version: String,
    pub(crate) bundle: String,
    pub(crate) config: DeviceConfig,
    pub(crate) source: SourceIdentity,
    pub(crate) sessions: u64,
    /// Events taken from the source.
    pub(crate) consumed: u64,
    /// Frames and samples that came faster than they could be taken.
    pub(crate) overrun: [u64; 2],
    /// Time of the stream's first event.
    pub(crate) first_ns: Option<u64>,
    pub(crate) embeddings_bytes: u64,
    pub(crate) events_bytes: u64,
    /// Of a board.
    #[serde(default)]
    pub(crate) sensors_bytes: u64,
    /// Presses of the label button.
    #[serde(default)]
    pub(crate) labels: u64,
    pub(crate) device: crate::device::Figures,
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) header: Header,
    pub(crate) learner: Vec<u8>,
    pub(crate) tensors: sedge_models::Tensors,
    pub(crate) samples: Vec<u8>,
}

impl Checkpoint {
    /// The device in it.
    pub(crate) fn into_device(self) -> DeviceState {
        let Self { header, learner, tensors, samples } = self;
        DeviceState { figures: header.device, learner, tensors, samples }
    }

    /// Reads the checkpoint of an output folder, if there is one.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = folder.join(CHECKPOINT_FILE);
        let failed = |source| CheckpointError::Io { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let found = file.metadata().map_err(failed)?.len();
        if found > MAX_CHECKPOINT_BYTES {
            return Err(CheckpointError::TooLarge { path, found });
        }
        let mut bytes = Vec::new();
        file.take(MAX_CHECKPOINT_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Self::decode(&bytes).map(Some)
    }

    /// Replaces the checkpoint of an output folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), OutputError> {
        let path = folder.join(CHECKPOINT_FILE);
        replace_file(&path, |file| self.write_to(file, &path))
    }

    /// Writes part after part, so that no second copy of all of it is ever in memory; `path` stands in errors.
    fn write_to(&self, out: &mut impl Write, path: &Path) -> Result<(), OutputError> {
        let header = serde_json::to_vec(&self.header)?;
        // Only a name too long to be stored can fail here, and those came out of a bundle that stores them.
        let tensors = weights::encode(&self.tensors)
            .map_err(|error| OutputError::Json(serde::ser::Error::custom(error)))?;
        let parts = [header.as_slice(), &self.learner, &tensors, &self.samples];
        let mut prefix = MAGIC.to_vec();
        parts.iter().for_each(|part| prefix.extend((part.len() as u64).to_le_bytes()));
        let mut digest = Sha256::new();
        let mut put = |bytes: &[u8]| {
            digest.update(bytes);
            out.write_all(bytes)
        };
        let written = put(&prefix).and_then(|()| parts.into_iter().try_for_each(&mut put));
        let written = written.and_then(|()| out.write_all(&digest.finalize()));
        written.map_err(|source| OutputError::Io { step: "writing", path: path.to_owned(), source })
    }

    fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let damaged = |what: &str| CheckpointError::Damaged { what: what.into() };
        let body = bytes.len().checked_sub(DIGEST).filter(|length| *length >= PREFIX);
        let (body, digest) = body.map(|at| bytes.split_at(at)).ok_or_else(|| damaged("it is cut short"))?;
        if Sha256::digest(body).as_slice() != digest {
            return Err(damaged("its digest is wrong"));
        }
        let (prefix, mut rest) = body.split_at(PREFIX);
        let lengths =
            prefix.strip_prefix(MAGIC).ok_or_else(|| damaged("it is of another kind or version"))?;
        let mut parts = [&[][..]; PARTS];
        for (part, length) in parts.iter_mut().zip(lengths.as_chunks::<8>().0) {
            let length = usize::try_from(u64::from_le_bytes(*length)).ok();
            let split = length.and_then(|length| rest.split_at_checked(length));
            (*part, rest) = split.ok_or_else(|| damaged("a part is longer than the file"))?;
        }
        if !rest.is_empty() {
            return Err(damaged("more follows after its parts"));
        }
        let [header, learner, tensors, samples] = parts;
        let limits = TensorLimits { bytes: tensors.len(), header_bytes: 8 << 20, tensors: 40_000 };
        Ok(Self {
            header: serde_json::from_slice(header)?,
            learner: learner.to_vec(),
            tensors: weights::decode(tensors, limits)?,
            samples: samples.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        let digest = Sha256::digest(&body);
        body.extend_from_slice(&digest);
        body
    }

    fn with_parts(lengths: [u64; PARTS], data: &[u8]) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        lengths.iter().for_each(|length| body.extend(length.to_le_bytes()));
        body.extend_from_slice(data);
        sealed(body)
    }

    fn reason(bytes: &[u8]) -> String {
        match Checkpoint::decode(bytes) {
            Err(CheckpointError::Damaged { what }) => what,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_damage_is_told_apart() {
        assert_eq!(reason(b"short"), "it is cut short");
        assert_eq!(reason(&[0; 100]), "its digest is wrong");
        assert_eq!(reason(&sealed(vec![b'x'; PREFIX])), "it is of another kind or version");
        assert_eq!(reason(&with_parts([u64::MAX, 0, 0, 0], b"{}")), "a part is longer than the file");
        assert_eq!(reason(&with_parts([2, u64::MAX, 2, 0], b"{}")), "a part is longer than the file");
        assert_eq!(reason(&with_parts([1, 0, 0, 0], b"{}")), "more follows after its parts");
        assert!(reason(&with_parts([2, 0, 0, 0], b"{}")).contains("missing field"));
    }

    proptest! {
        #[test]
        fn no_sealed_bytes_panic(
            (a, b, c, d) in (0u64..40, 0u64..40, 0u64..40, any::<u64>()),
            data in proptest::collection::vec(any::<u8>(), 0..120usize),
            text in "[\\[\\]{}:,\"a-z0-9]{0,40}",
        ) {
            let _ = Checkpoint::decode(&data);
            let _ = Checkpoint::decode(&sealed(data.clone()));
            let _ = Checkpoint::decode(&with_parts([a, b, c, d], &data));
            let _ = Checkpoint::decode(&with_parts([text.len() as u64, 0, 0, 0], text.as_bytes()));
        }
    }
}

//! A step that was not finite, kept whole: the batch, the state before it, every scalar, the graph, and
//! where the run stood. It is all that the step is a function of, so it can be run again anywhere,
//! without the data and whatever becomes of the rest of the run.
//!
//! | file | what |
//! |---|---|
//! | `step.json` | where the run stood, what the step takes, digests ([`Moment`]) |
//! | `step.onnx` | the training step |
//! | `tensors.safetensors` | `input:<name>`, `scalar:<name>` and `state:<name>` |
//! | `config.toml` | the configuration of the run |

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, ArrayViewD, IxDyn};
use sedge_engine::Engine;
use sedge_models::weights::{self, TensorLimits};
use sedge_models::{StepSpec, Tensors};
use serde::{Deserialize, Serialize};

use super::WatchError;
use crate::files::write_atomic;
use crate::pretrain::{Position, PretrainConfig, sha256};

/// Largest step kept: batch, state and graph together.
pub const MAX_CAPTURE_BYTES: u64 = 1 << 30;
/// Largest `step.json`.
const MAX_MOMENT_BYTES: u64 = 16 << 20;
/// The format written and read by this version.
const FORMAT: u32 = 1;
const MOMENT: &str = "step.json";
const GRAPH: &str = "step.onnx";
const TENSORS: &str = "tensors.safetensors";

/// `step.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Version of the format.
    pub format: u32,
    /// The version of Sedge that kept it.
    pub version: String,
    /// Where the run stood, before the step.
    pub position: Position,
    /// Seed of the run.
    pub seed: u64,
    /// What the engine said.
    pub reason: String,
    /// What the step takes and gives.
    pub spec: StepSpec,
    /// SHA-256 of the graph in hexadecimal.
    pub graph_sha256: String,
    /// SHA-256 of the tensors in hexadecimal.
    pub tensors_sha256: String,
}

/// What a step was given beside its state.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Inputs by name.
    pub inputs: &'a [(&'a str, ArrayViewD<'a, f32>)],
    /// Scalars by name.
    pub scalars: &'a [(&'a str, f32)],
}

/// A step with everything that it is a function of.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// Where it is from.
    pub moment: Moment,
    /// The training step as ONNX.
    pub graph: Vec<u8>,
    /// The batch.
    pub inputs: Tensors,
    /// Scalar inputs; those left out have the step's defaults.
    pub scalars: Vec<(String, f32)>,
    /// The state before the step.
    pub state: Tensors,
}

impl Capture {
    /// Takes hold of the step that `engine` has just refused for `reason`.
    ///
    /// # Errors
    /// [`WatchError::TooLargeToKeep`], and when the engine does not give its state.
    pub fn of(
        engine: &dyn Engine,
        graph: &[u8],
        Given { inputs, scalars }: Given<'_>,
        (position, seed, reason): (Position, u64, String),
    ) -> Result<Self, WatchError> {
        let spec = engine.spec().clone();
        let values = |shape: &[usize]| shape.iter().fold(1u64, |n, side| n.saturating_mul(*side as u64));
        let state = spec.state.iter().map(|state| values(&state.shape)).fold(0u64, u64::saturating_add);
        let batch = inputs.iter().map(|(_, array)| array.len() as u64).fold(0, u64::saturating_add);
        let found = state.saturating_add(batch).saturating_mul(4).saturating_add(graph.len() as u64);
        if found > MAX_CAPTURE_BYTES {
            return Err(WatchError::TooLargeToKeep { found, limit: MAX_CAPTURE_BYTES });
        }
        let moment = Moment {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            position,
            seed,
            reason,
            spec,
            graph_sha256: sha256(graph),
            tensors_sha256: String::new(),
        };
        Ok(Self {
            moment,
            graph: graph.to_vec(),
            inputs: inputs.iter().map(|(name, array)| ((*name).into(), array.to_owned())).collect(),
            scalars: scalars.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
            state: engine.state().map_err(WatchError::Engine)?,
        })
    }

    /// Writes the step as the folder `path`, in one piece, over one that was there.
    ///
    /// # Errors
    /// When the folder cannot be written; nothing then has its name.
    pub fn write(&self, path: &Path, config: &PretrainConfig) -> Result<(), WatchError> {
        let failed = |source| WatchError::Folder { path: path.into(), source };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".sedge.tmp");
        let beside = PathBuf::from(beside);
        for old in [&beside, path] {
            if old.exists() {
                std::fs::remove_dir_all(old).map_err(failed)?;
            }
        }
        std::fs::create_dir_all(&beside).map_err(failed)?;
        let tensors = weights::encode(&self.named())?;
        let moment = Moment { tensors_sha256: sha256(&tensors), ..self.moment.clone() };
        let damaged = |reason: String| WatchError::Damaged { path: path.join(MOMENT), reason };
        let mut text = serde_json::to_vec_pretty(&moment).map_err(|e| damaged(e.to_string()))?;
        text.push(b'\n');
        let config = config.to_toml().map_err(|e| WatchError::Run(Box::new(e.into())))?;
        for (name, bytes) in [
            (TENSORS, &tensors[..]),
            (GRAPH, &self.graph),
            ("config.toml", config.as_bytes()),
            (MOMENT, &text),
        ] {
            write_atomic(&beside.join(name), bytes)?;
        }
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// Reads the step that the folder `path` holds.
    ///
    /// # Errors
    /// [`WatchError`] when it holds none, or one that is not byte for byte what was written.
    pub fn read(path: &Path) -> Result<Self, WatchError> {
        let moment = Moment::read(path)?;
        let graph = read(&path.join(GRAPH), MAX_CAPTURE_BYTES)?;
        let file = path.join(TENSORS);
        let bytes = read(&file, MAX_CAPTURE_BYTES)?;
        for (file, bytes, stated) in
            [(path.join(GRAPH), &graph, &moment.graph_sha256), (file.clone(), &bytes, &moment.tensors_sha256)]
        {
            if sha256(bytes) != *stated {
                let reason = "it has another digest than `step.json` states".into();
                return Err(WatchError::Damaged { path: file, reason });
            }
        }
        let limits = TensorLimits { bytes: bytes.len(), ..TensorLimits::default() };
        let tensors = weights::decode(&bytes, limits)?;
        let mut capture =
            Self { moment, graph, inputs: Tensors::new(), scalars: vec![], state: Tensors::new() };
        for (name, value) in tensors {
            match name.split_once(':') {
                Some(("input", name)) => drop(capture.inputs.insert(name.into(), value)),
                Some(("state", name)) => drop(capture.state.insert(name.into(), value)),
                Some(("scalar", name)) if value.len() == 1 => {
                    capture.scalars.extend(value.first().map(|value| (name.into(), *value)));
                }
                _ => {
                    let reason = format!("`{name}` is neither input, scalar nor state");
                    return Err(WatchError::Damaged { path: file, reason });
                }
            }
        }
        Ok(capture)
    }

    /// All tensors under names that tell what they are. Scalars too, since JSON may round them.
    fn named(&self) -> Tensors {
        let inputs = self.inputs.iter().map(|(name, value)| (format!("input:{name}"), value.clone()));
        let state = self.state.iter().map(|(name, value)| (format!("state:{name}"), value.clone()));
        let scalar = |value: f32| ArrayD::from_elem(IxDyn(&[]), value);
        let scalars = self.scalars.iter().map(|(name, value)| (format!("scalar:{name}"), scalar(*value)));
        inputs.chain(state).chain(scalars).collect()
    }
}

impl Moment {
    /// Reads where the step in the folder `path` is from.
    ///
    /// # Errors
    /// As [`Capture::read`].
    pub fn read(path: &Path) -> Result<Self, WatchError> {
        let file = path.join(MOMENT);
        if !file.is_file() {
            return Err(WatchError::NotACapture { path: path.into() });
        }
        let bytes = read(&file, MAX_MOMENT_BYTES)?;
        let damaged = |reason| WatchError::Damaged { path: file.clone(), reason };
        let moment: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if moment.format != FORMAT {
            return Err(damaged(format!("it is of format {}, this version reads {FORMAT}", moment.format)));
        }
        Ok(moment)
    }
}

/// A whole file, if it is no larger than `limit`.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, WatchError> {
    let failed = |source| WatchError::Read { path: path.into(), source };
    let mut bytes = vec![];
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    let found = bytes.len() as u64;
    if found > limit {
        return Err(WatchError::TooLarge { path: path.into(), found, limit });
    }
    Ok(bytes)
}

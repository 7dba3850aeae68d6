//! Trained weights back into the very file that was differentiated, in its own names, types and axes.

use prost::Message;
use sedge_models::Tensors;
use sedge_models::import::import;
use sedge_models::lora;
use sedge_models::onnx::{initializers, read};

use super::{DifferentiateError, StepRecord};
use crate::pretrain::sha256;

/// An encoder's file with other weights.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenBack {
    /// The file.
    pub onnx: Vec<u8>,
    /// Weights that the state held, low-rank deltas merged, and running statistics.
    pub changed: Vec<String>,
}

/// `onnx`, from which `record` was made, with the trained weights and running statistics of `state`; low-rank
/// deltas are added to the weights that they were laid on.
///
/// # Errors
/// When `onnx` is another file, or the state does not fit it or holds none of its weights.
pub fn write_back(
    onnx: &[u8],
    record: &StepRecord,
    state: &Tensors,
) -> Result<WrittenBack, DifferentiateError> {
    let (found, stated) = (sha256(onnx), record.encoder.file.sha256.clone());
    if found != stated {
        return Err(DifferentiateError::OtherEncoder { found, stated });
    }
    let imported = import(onnx, &record.import.options(record.step.batch))?;
    let merged = lora::merge(&imported.model.encode_to_vec(), state)?;
    let mut merged = read::parse(&merged).map(|model| initializers(&model)).map_err(lora::LoraError::from)?;
    let is_held = |name: &String| state.contains_key(name) || state.contains_key(&lora::a_name(name));
    merged.retain(|name, _| is_held(name) && imported.weights.iter().any(|w| w.name == *name));
    let statistics = state.iter().filter(|(name, _)| imported.statistics.contains_key(*name));
    merged.extend(statistics.map(|(name, value)| (name.clone(), value.clone())));
    if merged.is_empty() {
        return Err(DifferentiateError::NothingTrained);
    }
    let onnx = imported.write_back(onnx, &merged)?;
    Ok(WrittenBack { onnx, changed: merged.into_keys().collect() })
}

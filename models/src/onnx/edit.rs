//! Changing a parsed ONNX model: turning chosen weights into inputs, and putting other weights in.

use std::collections::BTreeSet;

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use super::{proto, read};
use crate::onnx::OnnxError;
use crate::tensors::Tensors;

/// The float initializers of `model` by name.
pub fn initializers(model: &pb::ModelProto) -> Tensors {
    let graph = model.graph.iter();
    graph.flat_map(|g| &g.initializer).filter_map(|t| Some((t.name.clone(), float_values(t)?))).collect()
}

/// The values of a float tensor, `None` for any other type or when data and shape disagree.
fn float_values(tensor: &pb::TensorProto) -> Option<ArrayD<f32>> {
    if tensor.data_type != DataType::Float as i32 {
        return None;
    }
    let shape = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>()?;
    let values: Vec<f32> = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        tensor.raw_data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    ArrayD::from_shape_vec(IxDyn(&shape), values).ok()
}

/// Turns the initializers called `names` into graph inputs of the same names and gives their values.
/// Names that are no float initializer are returned as the error.
pub(crate) fn lift(model: &mut pb::ModelProto, names: &BTreeSet<String>) -> Result<Tensors, Vec<String>> {
    let values = initializers(model);
    let missing: Vec<String> = names.iter().filter(|n| !values.contains_key(*n)).cloned().collect();
    let (Some(graph), true) = (model.graph.as_mut(), missing.is_empty()) else { return Err(missing) };
    graph.initializer.retain(|t| !names.contains(&t.name));
    // Older exporters list initializers among the inputs as well.
    graph.input.retain(|i| !names.contains(&i.name));
    let lifted: Tensors = values.into_iter().filter(|(name, _)| names.contains(name)).collect();
    graph.input.extend(lifted.iter().map(|(name, value)| proto::value_info(name, value.shape())));
    Ok(lifted)
}

/// `encoder` with the initializers named in `weights` replaced. Names that the encoder does not have
/// are skipped: a training state also holds the projection head and the optimiser's memory.
///
/// # Errors
/// When `encoder` is no valid ONNX, or a weight has another shape than the one it replaces.
pub fn replace_initializers(encoder: &[u8], weights: &Tensors) -> Result<Vec<u8>, OnnxError> {
    let mut model = read::parse(encoder)?;
    for tensor in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
        let Some(weight) = weights.get(&tensor.name) else { continue };
        let wanted: Vec<usize> = tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
        if tensor.data_type != DataType::Float as i32 || weight.shape() != wanted.as_slice() {
            return Err(OnnxError::Replacement {
                name: tensor.name.clone(),
                found: weight.shape().to_vec(),
                wanted,
            });
        }
        *tensor = proto::tensor(&tensor.name, weight);
    }
    Ok(model.encode_to_vec())
}

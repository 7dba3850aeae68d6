//! A stranger's encoder of an architecture of ours: exporters fold norms away and number what is left, so weights
//! are matched by their order from input to output and by their shapes. That says little where many shapes are
//! alike, so both encoders are then asked about one sample and must answer the same.

use ndarray::{ArrayD, IxDyn};
use prost::Message;
use sedge_engine::Encoder;
use sedge_models::Tensors;
use sedge_models::architecture::{Architecture, Form};
use sedge_models::import::{ImportOptions, NormForm, import};
use sedge_models::onnx::build::Batch;
use sedge_models::onnx::initializers;

use crate::export::compare;

/// Largest difference of the two answers, relative to the largest value.
const SAME: f32 = 1e-3;

/// The weights in the file `onnx` under the names that they have in `architecture` with its norms folded away,
/// as `folded` has them.
///
/// # Errors
/// Why it is another encoder, in words that go on from "and".
pub(super) fn matched(
    onnx: &[u8],
    architecture: &Architecture,
    sample: &[usize],
    folded: &Tensors,
) -> Result<Tensors, String> {
    let options =
        ImportOptions { input_shape: Some(sample.to_vec()), ..ImportOptions::new(1, NormForm::Folded) };
    let build = |weights: &Tensors| {
        let graph = architecture.graph(Form::Folded, Batch::Fixed(1), sample, weights);
        graph.map(|graph| graph.encode_to_vec()).map_err(|e| e.to_string())
    };
    let ours =
        import(&build(folded)?, &options).map_err(|e| format!("ours cannot be compared with it: {e}"))?;
    let theirs = import(onnx, &options).map_err(|e| format!("it cannot be read as an encoder: {e}"))?;
    let (count, wanted) = (theirs.weights.len(), ours.weights.len());
    if count != wanted {
        return Err(format!("it has {count} where this encoder has {wanted}"));
    }
    let mut values = initializers(&theirs.model);
    let mut weights = Tensors::new();
    for (own, other) in ours.weights.iter().zip(&theirs.weights) {
        let name = ours.sources.get(&own.name).map_or(&own.name, |source| &source.original);
        if own.shape != other.shape {
            let (found, wanted) = (&other.shape, &own.shape);
            return Err(format!(
                "`{}`, in the place of `{name}`, is {found:?} and not {wanted:?}",
                other.name
            ));
        }
        weights.extend(values.remove(&other.name).map(|value| (name.clone(), value)));
    }
    let said = |onnx: &[u8]| {
        let shape: Vec<usize> = std::iter::once(1).chain(sample.iter().copied()).collect();
        let values = (0..shape.iter().product()).map(|at: usize| (at as f32 * 0.7).sin()).collect();
        let asked = ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|e| e.to_string())?;
        Encoder::new(onnx, 1).and_then(|mut encoder| encoder.embed(asked.view())).map_err(|e| e.to_string())
    };
    let (ours, theirs) = (said(&build(&weights)?)?, said(&theirs.model.encode_to_vec())?);
    let apart = if ours.dim() == theirs.dim() { compare(&ours, &theirs).relative } else { f32::NAN };
    if apart > SAME || apart.is_nan() {
        return Err("though all shapes are those of this encoder, it computes something else".into());
    }
    Ok(weights)
}

//! A bundle around a stranger's encoder: what a board needs to know of its input, the encoder for one sample
//! at a time under the names that the step trains, and samples by which the board checks itself.

use prost::Message;
use sedge_engine::Encoder;
use sedge_models::bundle::{AdaptationDefaults, Bundle, FORMAT, MadeBy, Manifest, Reference};
use sedge_models::import::import;
use sedge_models::objective::Objective;
use sedge_models::{InputSpec, Modality};

use super::{Compiled, DifferentiateError, Differentiation, Norm};
use crate::data::Dataset;
use crate::export::{PARITY, Parity, compare, natural, normalised, reference_indices};

/// Mean of red, green and blue over ImageNet, by which most public image encoders were trained.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation that goes with [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// How samples are normalised before they enter the encoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Normalisation {
    /// By these means and deviations, one a channel.
    Given {
        /// Subtracted.
        mean: Vec<f32>,
        /// Divided by.
        std: Vec<f32>,
    },
    /// By the figures of the data, for an encoder of which nothing is known.
    OfData,
}

/// A bundle, and how near the imported encoder comes to the file.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The bundle.
    pub bundle: Bundle,
    /// Its encoder against the file; `None` where the file cannot be run as it is, as when it leaves axes
    /// open.
    pub parity: Option<Parity>,
}

/// The input of an encoder that reads samples of shape `sample`; the modality follows from the shape.
///
/// # Errors
/// When no data of ours has that shape, or the normalisation does not fit it.
pub fn input_spec(
    sample: &[usize],
    normalisation: &Normalisation,
    data: &Dataset,
) -> Result<InputSpec, DifferentiateError> {
    let of_data = data.input_spec(None);
    let (mean, std) = match normalisation {
        Normalisation::Given { mean, std } => (mean.clone(), std.clone()),
        Normalisation::OfData => (of_data.mean, of_data.std),
    };
    let channels = sample.first().copied().unwrap_or(0);
    for (flag, found) in [("mean", mean.len()), ("std", std.len())] {
        if found != channels {
            return Err(DifferentiateError::Channels { flag, found, channels });
        }
    }
    let input = match (sample, mean.as_slice(), std.as_slice()) {
        ([3, height, width], &[r, g, b], &[dr, dg, db]) => {
            InputSpec::image(*height, *width, [r, g, b], [dr, dg, db])
        }
        ([_, samples], ..) => InputSpec::imu(*samples, of_data.rate_hz, mean, std),
        _ => return Err(DifferentiateError::Modality { shape: sample.to_vec() }),
    };
    input.check()?;
    Ok(input)
}

/// Packs a compiled step and its encoder for a board, with reference samples of `data`.
///
/// # Errors
/// When a board could not feed or serve it, when the imported encoder differs from the file by more than
/// [`PARITY`], or when the bundle would not be valid.
pub fn pack(
    from: &Differentiation,
    compiled: &Compiled,
    input: InputSpec,
    data: &Dataset,
    name: String,
    made_by: MadeBy,
) -> Result<Packed, DifferentiateError> {
    let request = from.request();
    let Objective::NtXent { temperature, .. } = from.objective() else {
        return Err(DifferentiateError::BundleLoss { loss: request.loss.loss });
    };
    if request.norm == Norm::Statistics {
        return Err(DifferentiateError::BundleNorm);
    }
    let encoder = import(from.onnx(), &request.import(1))?.model.encode_to_vec();
    let indices = reference_indices(data, &input);
    let inputs = natural(&data.subset(&indices)?, &input)?;
    let samples = normalised(inputs.clone(), &input);
    let embeddings = Encoder::new(&encoder, 1)?.embed(samples.view())?;
    let alone = Encoder::new(from.onnx(), 1).and_then(|mut file| file.embed(samples.view())).ok();
    let parity = alone.filter(|e| e.dim() == embeddings.dim()).map(|e| compare(&embeddings, &e));
    if let Some(parity) = parity.filter(|p| p.relative > PARITY || p.relative.is_nan()) {
        return Err(DifferentiateError::Parity(parity));
    }
    let manifest = Manifest {
        format: FORMAT,
        name,
        made_by,
        input,
        embedding_dim: from.imported().width,
        training: compiled.step.spec.clone(),
        adaptation: AdaptationDefaults {
            lr: request.lr,
            temperature: *temperature,
            weight_decay: request.weight_decay,
            batch: compiled.step.spec.batch,
            trains: compiled.trains(),
        },
        selection: Some(compiled.selection.clone()),
        plan: Some(compiled.plan.clone()),
        parts: vec![],
    };
    let reference = Reference { inputs, embeddings };
    let bundle = Bundle { manifest, encoder, step: compiled.step.clone(), reference };
    Ok(Packed { bundle, parity })
}

/// What kind of data an encoder of samples of this shape reads, where we have any.
///
/// # Errors
/// [`DifferentiateError::Modality`].
pub fn modality(sample: &[usize]) -> Result<Modality, DifferentiateError> {
    match sample {
        [3, _, _] => Ok(Modality::Image),
        [_, _] => Ok(Modality::Imu),
        _ => Err(DifferentiateError::Modality { shape: sample.to_vec() }),
    }
}

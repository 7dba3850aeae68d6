//! A few inputs with their embeddings. A board embeds the inputs once at start: when its results
//! differ, the engine, the processor or the file is at fault, and it says so before it adapts.

use ndarray::{Array2, ArrayD, IxDyn};

use super::error::BundleError;
use crate::input::Modality;
use crate::text;
use crate::weights::{
    ElementType, Entry, TensorLimits, WeightsError, decode_entries, encode_entries, float_entry, floats,
};

/// Name of the part.
pub(super) const PART: &str = "reference.bin";
const INPUTS: &str = "inputs";
const EMBEDDINGS: &str = "embeddings";
/// How far an image value may be from a multiple of 1/255: two roundings of the division.
const TOLERANCE: f32 = 1e-6;

/// Reference inputs and what the encoder makes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// `[n, ...sample]` in natural units, before normalisation. Image values are multiples of 1/255, those of
    /// texts numbers of tokens.
    pub inputs: ArrayD<f32>,
    /// `[n, embedding_dim]`.
    pub embeddings: Array2<f32>,
}

impl Reference {
    /// Images as bytes, windows and texts as floats.
    pub(super) fn encode(&self, modality: Modality) -> Result<Vec<u8>, BundleError> {
        let inputs = match modality {
            Modality::Image => Entry {
                name: INPUTS.into(),
                element: ElementType::U8,
                shape: self.inputs.shape().to_vec(),
                data: self.inputs.iter().map(|v| level(*v)).collect::<Result<Vec<u8>, _>>()?.into(),
            },
            Modality::Imu => float_entry(INPUTS, &self.inputs),
            Modality::Text => float_entry(INPUTS, &tokens(self.inputs.clone())?),
        };
        let embeddings = float_entry(EMBEDDINGS, &self.embeddings.clone().into_dyn());
        encode_entries(&[embeddings, inputs]).map_err(weights)
    }

    pub(super) fn decode(
        bytes: &[u8],
        modality: Modality,
        limits: TensorLimits,
    ) -> Result<Self, BundleError> {
        let (mut inputs, mut embeddings) = (None, None);
        for entry in decode_entries(bytes, limits).map_err(weights)? {
            match entry.name.as_str() {
                INPUTS => inputs = Some(decode_inputs(&entry, modality)?),
                EMBEDDINGS => embeddings = Some(decode_embeddings(&entry)?),
                _ => return Err(BundleError::UnknownTensor { part: PART, name: entry.name }),
            }
        }
        let missing = |name: &str| BundleError::MissingTensor { part: PART, name: name.into() };
        Ok(Self {
            inputs: inputs.ok_or_else(|| missing(INPUTS))?,
            embeddings: embeddings.ok_or_else(|| missing(EMBEDDINGS))?,
        })
    }
}

fn weights(source: WeightsError) -> BundleError {
    BundleError::Weights { part: PART, source }
}

fn decode_inputs(entry: &Entry<'_>, modality: Modality) -> Result<ArrayD<f32>, BundleError> {
    match (modality, entry.element) {
        (Modality::Imu, _) => floats(entry).map_err(weights),
        (Modality::Text, _) => tokens(floats(entry).map_err(weights)?),
        (Modality::Image, ElementType::U8) => {
            let values = entry.data.iter().map(|level| f32::from(*level) / 255.0).collect();
            let shape = entry.shape.clone();
            ArrayD::from_shape_vec(IxDyn(&shape), values)
                .map_err(|_| weights(WeightsError::Shape { name: INPUTS.into(), shape }))
        }
        (Modality::Image, ElementType::F32) => {
            Err(weights(WeightsError::DataType { name: INPUTS.into(), found: "F32".into(), wanted: "U8" }))
        }
    }
}

fn decode_embeddings(entry: &Entry<'_>) -> Result<Array2<f32>, BundleError> {
    let shape = entry.shape.clone();
    let array = floats(entry).map_err(weights)?;
    array.into_dimensionality().map_err(|_| weights(WeightsError::Shape { name: EMBEDDINGS.into(), shape }))
}

/// `values`, each the number of a token: an encoder looks rows of a table up by them.
fn tokens(values: ArrayD<f32>) -> Result<ArrayD<f32>, BundleError> {
    let is_token = |value: f32| value.fract() == 0.0 && (0.0..text::TOKENS as f32).contains(&value);
    match values.iter().find(|value| !is_token(**value)) {
        Some(value) => Err(BundleError::ReferenceToken { value: value.to_string() }),
        None => Ok(values),
    }
}

/// The eight-bit level of an image value.
fn level(value: f32) -> Result<u8, BundleError> {
    let level = (value * 255.0).round();
    if !(0.0..=255.0).contains(&level) || (level / 255.0 - value).abs() > TOLERANCE {
        return Err(BundleError::ReferenceValue { value: value.to_string() });
    }
    Ok(level as u8)
}

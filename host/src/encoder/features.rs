//! Whole data sets embedded, for probes and neighbours.

use ndarray::{Array2, Axis, s};
use sedge_engine::{Encoder, Options};
use sedge_models::{InputSpec, Modality};

use super::EncoderError;
use crate::data::Dataset;

/// Samples embedded at once.
const BATCH: usize = 64;
/// Side that raw images are shrunk to before they stand as features.
const RAW_SIDE: usize = 16;

/// Embeds every sample of `data` by the ONNX `encoder`, normalised as `input` says; gives `[n, dim]`.
///
/// # Errors
/// When the encoder cannot be loaded, or data and `input` do not fit.
pub fn embed(encoder: &[u8], data: &Dataset, input: &InputSpec) -> Result<Array2<f32>, EncoderError> {
    let mut encoder = Encoder::with_options(encoder, BATCH, Options::parallel())?;
    let mut features = Array2::zeros((data.len(), encoder.dim()));
    for_batches(data, input, |rows, batch| {
        features.slice_mut(s![rows, ..]).assign(&encoder.embed(batch.view())?);
        Ok(())
    })?;
    Ok(features)
}

/// The samples themselves as features: normalised windows, or images shrunk to 16x16, since nearest
/// neighbours and probes only suffer from more pixels.
///
/// # Errors
/// When data and `input` do not fit.
pub fn raw_features(data: &Dataset, input: &InputSpec) -> Result<Array2<f32>, EncoderError> {
    let mut input = input.clone();
    if input.modality == Modality::Image {
        for side in input.shape.iter_mut().skip(1) {
            *side = (*side).min(RAW_SIDE);
        }
    }
    let mut features = Array2::zeros((data.len(), input.values()));
    for_batches(data, &input, |rows, batch| {
        for (mut row, sample) in
            features.slice_mut(s![rows, ..]).outer_iter_mut().zip(batch.axis_iter(Axis(0)))
        {
            row.iter_mut().zip(sample.iter()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    })?;
    Ok(features)
}

fn for_batches(
    data: &Dataset,
    input: &InputSpec,
    mut take: impl FnMut(std::ops::Range<usize>, ndarray::ArrayD<f32>) -> Result<(), EncoderError>,
) -> Result<(), EncoderError> {
    for start in (0..data.len()).step_by(BATCH) {
        let rows = start..(start + BATCH).min(data.len());
        let indices: Vec<usize> = rows.clone().collect();
        take(rows, data.batch_f32(&indices, input)?)?;
    }
    Ok(())
}

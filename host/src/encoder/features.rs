//! Whole data sets embedded, for probes and neighbours.

use ndarray::{Array2, Axis, s};
use sedge_engine::{Encoder, Options};
use sedge_models::{InputSpec, Modality};

use super::EncoderError;
use crate::data::{Dataset, written};

/// Samples embedded at once.
const BATCH: usize = 64;
/// Side that raw images are shrunk to before they stand as features.
const RAW_SIDE: usize = 16;
/// Values of a byte.
const BYTES: usize = 256;
/// Bins that pairs of bytes are counted in, a power of two.
const PAIR_BINS: usize = 1 << 10;

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

/// What is known of samples without any encoder, as features by name: the samples themselves, or of texts, whose
/// tokens are names rather than amounts, how often each byte and each pair of neighbouring bytes occurs.
///
/// # Errors
/// When data and `input` do not fit.
pub fn features_without_encoder(
    data: &Dataset,
    input: &InputSpec,
) -> Result<Vec<(&'static str, Array2<f32>)>, EncoderError> {
    data.check_fits(input)?;
    if input.modality != Modality::Text {
        return Ok(vec![("raw input", raw_features(data, input)?)]);
    }
    let bytes = |text: &[u16]| text.iter().map(|token| usize::from(*token)).filter(|b| *b < BYTES).collect();
    let bytes = counted(data, BYTES, bytes);
    let pairs = counted(data, PAIR_BINS, |text| text.windows(2).map(pair_bin).collect());
    Ok(vec![("byte histogram", bytes), ("byte pairs, hashed", pairs)])
}

/// The bin that a pair of bytes is counted in: multiplicative hashing (Knuth 1998, section 6.4), so that the high
/// bits of the product depend on both.
fn pair_bin(pair: &[u16]) -> usize {
    let both = pair.iter().fold(0u16, |both, token| (both << 8) | (token & 0xff));
    (u32::from(both).wrapping_mul(2_654_435_761) >> (u32::BITS - PAIR_BINS.ilog2())) as usize
}

/// How often each bin is met in each text, as shares of all.
fn counted(data: &Dataset, bins: usize, met: impl Fn(&[u16]) -> Vec<usize>) -> Array2<f32> {
    let mut features = Array2::zeros((data.len(), bins));
    for (index, mut row) in features.outer_iter_mut().enumerate() {
        let met = met(data.text(index).map(written).unwrap_or_default());
        for bin in &met {
            // Bytes and bins lie within the row.
            row[*bin] += 1.0 / met.len() as f32;
        }
    }
    features
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Samples;

    #[test]
    fn texts_are_counted_by_byte_and_by_pair_without_their_padding() {
        let mut tokens = [256u16; 16];
        tokens[..4].copy_from_slice(&[97, 98, 97, 98]);
        tokens[8..10].copy_from_slice(&[98, 97]);
        let data =
            Dataset::new(Samples::Texts { length: 8, tokens: tokens.into() }, None, vec![0; 2], vec![0, 1]);
        let data = data.unwrap();
        let sets = features_without_encoder(&data, &data.input_spec(None)).unwrap();
        let names: Vec<&str> = sets.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["byte histogram", "byte pairs, hashed"]);
        let (bytes, pairs) = (&sets[0].1, &sets[1].1);
        assert_eq!((bytes.shape(), pairs.shape()), (&[2, 256][..], &[2, 1024][..]));
        for row in 0..2 {
            assert_eq!((bytes[[row, 97]], bytes[[row, 98]], bytes.row(row).sum()), (0.5, 0.5, 1.0));
        }
        // Two of three pairs are "ab", one is "ba", which is all that the second text has.
        let mut first: Vec<f32> = pairs.row(0).iter().copied().filter(|share| *share > 0.0).collect();
        first.sort_by(f32::total_cmp);
        assert_eq!(first, [1.0 / 3.0, 1.0 / 3.0 + 1.0 / 3.0]);
        let only = pairs.row(1).iter().position(|share| *share == 1.0).unwrap();
        assert_eq!(pairs[[0, only]], 1.0 / 3.0);
    }

    /// All pairs of printable bytes are spread evenly: no bin has more than its share by much.
    #[test]
    fn pairs_are_spread_over_bins() {
        let printable: Vec<u16> = (32..127).collect();
        let tokens = printable.iter().flat_map(|a| printable.iter().flat_map(move |b| [*a, *b])).collect();
        let count = printable.len() * printable.len();
        let data =
            Dataset::new(Samples::Texts { length: 2, tokens }, None, vec![0; count], vec![0; count]).unwrap();
        let sets = features_without_encoder(&data, &data.input_spec(None)).unwrap();
        let per_bin = sets[1].1.sum_axis(Axis(0));
        // 9025 pairs in 1024 bins: 8.8 each.
        assert!(per_bin.iter().all(|pairs| (1.0..20.0).contains(pairs)), "{per_bin}");
    }
}

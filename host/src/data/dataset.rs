//! The one form in which the host holds data: samples of one shape in one block of memory, with a
//! label, a group and an order each. Whatever a sample was read from, training and evaluation see
//! only this.
//!
//! The group is what a split must not cut through: a subject, a recording, a drive. Neighbouring
//! windows and frames resemble each other so much that a split by sample would let a model pass a
//! test by memory.

use ndarray::{ArrayD, IxDyn};
use sedge_augment::{ImageSource, Size, normalise, resize_center};
use sedge_models::{InputSpec, Modality};
use sha2::{Digest, Sha256};

use super::DataError;
use super::skipped::SkipList;

/// How far the rate of windows may lie from the input's, as a fraction.
const RATE_TOLERANCE: f32 = 0.02;

/// Samples of one kind and shape, in one block.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// RGB images of equal size, 8 bits a channel.
    Images {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// `[n, height, width, 3]`.
        pixels: Vec<u8>,
    },
    /// Windows of a multi-channel series, in natural units.
    Windows {
        /// Channels.
        channels: usize,
        /// Rows a window.
        length: usize,
        /// Rows a second; zero when the data has no clock.
        rate_hz: f32,
        /// `[n, channels, length]`.
        values: Vec<f32>,
    },
}

/// A class for every sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Class of each sample, an index into the names.
    pub ids: Vec<u32>,
    /// Name of each class.
    pub names: Vec<String>,
}

/// Mean and standard deviation of every channel, in natural units (images 0..1).
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStats {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Population standard deviation of each channel; 1 where a channel never changes, so that it
    /// can divide.
    pub std: Vec<f32>,
}

/// Samples with their labels, groups and order.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub(super) samples: Samples,
    pub(super) labels: Option<Labels>,
    pub(super) groups: Vec<u32>,
    pub(super) order: Vec<u64>,
    pub(super) skipped: SkipList,
}

impl Samples {
    /// Values of one sample.
    fn stride(&self) -> usize {
        match self {
            Self::Images { width, height, .. } => width.saturating_mul(*height).saturating_mul(3),
            Self::Windows { channels, length, .. } => channels.saturating_mul(*length),
        }
    }

    /// Number of whole samples.
    fn len(&self) -> usize {
        let values = match self {
            Self::Images { pixels, .. } => pixels.len(),
            Self::Windows { values, .. } => values.len(),
        };
        values.checked_div(self.stride()).unwrap_or(0)
    }

    fn check(&self) -> Result<(), DataError> {
        let (what, found) = match self {
            Self::Images { pixels, .. } => ("pixels", pixels.len()),
            Self::Windows { values, .. } => ("values", values.len()),
        };
        let wanted = self.len() * self.stride();
        if found == wanted && found > 0 { Ok(()) } else { Err(DataError::Lengths { what, found, wanted }) }
    }

    fn subset(&self, indices: &[usize]) -> Self {
        fn pick<T: Copy>(values: &[T], stride: usize, indices: &[usize]) -> Vec<T> {
            let mut picked = Vec::with_capacity(stride * indices.len());
            // The caller has checked every index against the length.
            indices.iter().for_each(|&i| picked.extend_from_slice(&values[i * stride..][..stride]));
            picked
        }
        let stride = self.stride();
        match self {
            Self::Images { width, height, pixels } => {
                Self::Images { width: *width, height: *height, pixels: pick(pixels, stride, indices) }
            }
            Self::Windows { channels, length, rate_hz, values } => Self::Windows {
                channels: *channels,
                length: *length,
                rate_hz: *rate_hz,
                values: pick(values, stride, indices),
            },
        }
    }
}

impl Dataset {
    /// A data set over `samples`. `groups` and `order` have one entry a sample; a larger order is
    /// later within its group, and means nothing between groups.
    ///
    /// # Errors
    /// [`DataError::Lengths`] when the parts disagree, there is no sample, or a label has no name.
    pub fn new(
        samples: Samples,
        labels: Option<Labels>,
        groups: Vec<u32>,
        order: Vec<u64>,
    ) -> Result<Self, DataError> {
        samples.check()?;
        let wanted = samples.len();
        let ids = labels.as_ref().map_or(wanted, |labels| labels.ids.len());
        for (what, found) in [("labels", ids), ("groups", groups.len()), ("order", order.len())] {
            if found != wanted {
                return Err(DataError::Lengths { what, found, wanted });
            }
        }
        if let Some(labels) = &labels {
            let highest = labels.ids.iter().max().map_or(0, |id| *id as usize);
            if highest >= labels.names.len() {
                let (found, wanted) = (labels.names.len(), highest + 1);
                return Err(DataError::Lengths { what: "class names", found, wanted });
            }
        }
        Ok(Self { samples, labels, groups, order, skipped: SkipList::default() })
    }

    /// What the samples are.
    pub fn modality(&self) -> Modality {
        match self.samples {
            Samples::Images { .. } => Modality::Image,
            Samples::Windows { .. } => Modality::Imu,
        }
    }

    /// Number of samples, at least one.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no sample; never so.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The samples.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The class of each sample, when the data is labelled.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The recording or subject of each sample.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// The place of each sample within its group; larger is later.
    pub fn order(&self) -> &[u64] {
        &self.order
    }

    /// Records that were passed over while loading.
    pub fn skipped(&self) -> &SkipList {
        &self.skipped
    }

    /// Memory of the samples, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.samples {
            Samples::Images { pixels, .. } => pixels.len(),
            Samples::Windows { values, .. } => size_of_val(values.as_slice()),
        }
    }

    /// One image, when these are images and there are that many.
    pub fn image(&self, index: usize) -> Option<ImageSource<'_>> {
        let Samples::Images { width, height, pixels } = &self.samples else { return None };
        let stride = self.samples.stride();
        let rgb = pixels.get(index.checked_mul(stride)?..)?.get(..stride)?;
        ImageSource::new(rgb, *width, *height).ok()
    }

    /// One window, `[channels, length]`, when these are windows and there are that many.
    pub fn window(&self, index: usize) -> Option<&[f32]> {
        let Samples::Windows { values, .. } = &self.samples else { return None };
        let stride = self.samples.stride();
        values.get(index.checked_mul(stride)?..)?.get(..stride)
    }

    /// The samples of `indices`, in that order, with everything that belongs to them.
    ///
    /// # Errors
    /// [`DataError::Index`] for the first index that is not there; [`DataError::Lengths`] when
    /// `indices` is empty.
    pub fn subset(&self, indices: &[usize]) -> Result<Self, DataError> {
        self.check_indices(indices)?;
        let labels = self.labels.as_ref().map(|labels| Labels {
            ids: indices.iter().map(|&i| labels.ids[i]).collect(),
            names: labels.names.clone(),
        });
        let groups = indices.iter().map(|&i| self.groups[i]).collect();
        let order = indices.iter().map(|&i| self.order[i]).collect();
        Self::new(self.samples.subset(indices), labels, groups, order)
    }

    fn check_indices(&self, indices: &[usize]) -> Result<(), DataError> {
        match indices.iter().find(|&&index| index >= self.len()) {
            Some(&index) => Err(DataError::Index { index, len: self.len() }),
            None => Ok(()),
        }
    }

    /// Mean and deviation of each channel over all samples.
    pub fn channel_stats(&self) -> ChannelStats {
        let moments: Vec<(f64, f64)> = match &self.samples {
            Samples::Images { pixels, .. } => (0..3).map(|c| byte_moments(pixels, c)).collect(),
            Samples::Windows { channels, length, values, .. } => {
                (0..*channels).map(|c| window_moments(values, c, *channels, *length)).collect()
            }
        };
        let std = |variance: f64| if variance > 1e-12 { variance.sqrt() as f32 } else { 1.0 };
        ChannelStats {
            mean: moments.iter().map(|(mean, _)| *mean as f32).collect(),
            std: moments.iter().map(|(_, variance)| std(*variance)).collect(),
        }
    }

    /// The input specification of an encoder for this data, normalised by its own figures. Images
    /// enter at `image_size` pixels a side, or at their own size.
    pub fn input_spec(&self, image_size: Option<usize>) -> InputSpec {
        let ChannelStats { mean, std } = self.channel_stats();
        match &self.samples {
            Samples::Images { width, height, .. } => {
                let (height, width) = image_size.map_or((*height, *width), |side| (side, side));
                let three = |v: Vec<f32>| [v[0], v[1], v[2]];
                InputSpec::image(height, width, three(mean), three(std))
            }
            Samples::Windows { length, rate_hz, .. } => InputSpec::imu(*length, *rate_hz, mean, std),
        }
    }

    /// Whether samples can be turned into this input: images of any size can, windows only of the
    /// same channels, length and rate.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] or [`DataError::Spec`].
    pub fn check_fits(&self, spec: &InputSpec) -> Result<(), DataError> {
        spec.check()?;
        let mismatch = |found: String, wanted: String, mend| Err(DataError::Mismatch { found, wanted, mend });
        let modality = self.modality();
        if modality != spec.modality {
            let wanted = format!("of modality {}", spec.modality);
            return mismatch(
                format!("samples of modality {modality}"),
                wanted,
                "choose data of that modality",
            );
        }
        if let Samples::Windows { channels, length, rate_hz, .. } = &self.samples {
            if spec.shape != [*channels, *length] {
                let (found, wanted) =
                    (format!("windows of {:?}", [channels, length]), format!("{:?}", spec.shape));
                return mismatch(
                    found,
                    wanted,
                    "load windows of that length, from a series of those channels",
                );
            }
            let known = *rate_hz > 0.0 && spec.rate_hz > 0.0;
            if known && (rate_hz / spec.rate_hz - 1.0).abs() > RATE_TOLERANCE {
                let (found, wanted) = (format!("windows at {rate_hz} Hz"), format!("at {} Hz", spec.rate_hz));
                return mismatch(found, wanted, "load the series with that `rate_hz`");
            }
        }
        Ok(())
    }

    /// The samples of `indices` as an encoder's input, `[n, ...spec.shape]`: images resized (the
    /// largest centred part of the input's aspect), everything normalised, nothing augmented.
    ///
    /// # Errors
    /// When the data does not fit `spec` or an index is not there.
    pub fn batch_f32(&self, indices: &[usize], spec: &InputSpec) -> Result<ArrayD<f32>, DataError> {
        self.check_fits(spec)?;
        self.check_indices(indices)?;
        let mut batch = vec![0.0; indices.len() * spec.values()];
        for (&index, out) in indices.iter().zip(batch.chunks_exact_mut(spec.values())) {
            if let Some(image) = self.image(index) {
                let size = Size { width: spec.shape[2], height: spec.shape[1] };
                resize_center(&image, size, out)?;
            } else if let Some(window) = self.window(index) {
                out.copy_from_slice(window);
            }
            normalise(out, &spec.mean, &spec.std)?;
        }
        batch_array(indices.len(), spec, batch)
    }

    /// SHA-256, in hexadecimal, over the shape, the samples and the labels: two data sets with the
    /// same digest train the same model.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        match &self.samples {
            Samples::Images { width, height, pixels } => {
                hash.update(format!("images {} {height} {width}\n", self.len()));
                hash.update(pixels);
            }
            Samples::Windows { channels, length, rate_hz, values } => {
                hash.update(format!("windows {} {channels} {length} {rate_hz}\n", self.len()));
                // Little-endian whatever the machine, in blocks that stay in cache.
                for block in values.chunks(4096) {
                    let bytes: Vec<u8> = block.iter().flat_map(|v| v.to_le_bytes()).collect();
                    hash.update(&bytes);
                }
            }
        }
        if let Some(labels) = &self.labels {
            hash.update(format!("labels {}\n", labels.names.join("\n")));
            labels.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `values` as `[rows, ...spec.shape]`.
pub(super) fn batch_array(rows: usize, spec: &InputSpec, values: Vec<f32>) -> Result<ArrayD<f32>, DataError> {
    let shape: Vec<usize> = std::iter::once(rows).chain(spec.shape.iter().copied()).collect();
    let (found, wanted) = (values.len(), shape.iter().product());
    ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(|_| DataError::Lengths {
        what: "batch",
        found,
        wanted,
    })
}

/// Mean and variance of one channel of interleaved bytes, scaled to 0..1; exact, by counting.
fn byte_moments(pixels: &[u8], channel: usize) -> (f64, f64) {
    let mut counts = [0u64; 256];
    pixels.iter().skip(channel).step_by(3).for_each(|&byte| counts[usize::from(byte)] += 1);
    let n = counts.iter().sum::<u64>().max(1) as f64;
    let level = |i: usize| i as f64 / 255.0;
    let mean = counts.iter().enumerate().map(|(i, &c)| c as f64 * level(i)).sum::<f64>() / n;
    let squares = counts.iter().enumerate().map(|(i, &c)| c as f64 * (level(i) - mean).powi(2));
    (mean, squares.sum::<f64>() / n)
}

/// Mean and variance of one channel over all windows, in two passes.
fn window_moments(values: &[f32], channel: usize, channels: usize, length: usize) -> (f64, f64) {
    let of_channel = || values.chunks_exact(length).skip(channel).step_by(channels).flatten();
    let n = (values.len() / channels).max(1) as f64;
    let mean = of_channel().map(|v| f64::from(*v)).sum::<f64>() / n;
    (mean, of_channel().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n)
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;

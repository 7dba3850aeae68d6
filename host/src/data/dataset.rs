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
use super::samples::{Lines, Pictures, Rows, Samples};
use super::skipped::SkipList;

/// How far the rate of windows may lie from the input's, as a fraction.
const RATE_TOLERANCE: f32 = 0.02;

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

    /// What the samples are; of pairs, what their first part is.
    pub fn modality(&self) -> Modality {
        match (self.samples.pictures(), self.samples.texts()) {
            (Some(_), _) => Modality::Image,
            (None, Some(_)) => Modality::Text,
            (None, None) => Modality::Imu,
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
        self.samples.bytes()
    }

    /// One image, when the samples have images and there are that many.
    pub fn image(&self, index: usize) -> Option<ImageSource<'_>> {
        self.samples.pictures()?.get(index)
    }

    /// One window, `[channels, length]`, when the samples have windows and there are that many.
    pub fn window(&self, index: usize) -> Option<&[f32]> {
        self.samples.windows()?.get(index)
    }

    /// One text, `[length]` tokens with its padding, when the samples are texts and there are that many.
    pub fn text(&self, index: usize) -> Option<&[u16]> {
        self.samples.texts()?.get(index)
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

    /// Mean and deviation of each channel over all samples; of pairs, of the images. Texts have none.
    pub fn channel_stats(&self) -> ChannelStats {
        let moments = self.samples.picture_moments().or_else(|| self.samples.window_moments());
        ChannelStats::of(&moments.unwrap_or_default())
    }

    /// The input specification of an encoder for this data, normalised by its own figures; of
    /// pairs, of the images. Images enter at `image_size` pixels a side, or at their own size.
    pub fn input_spec(&self, image_size: Option<usize>) -> InputSpec {
        if let Some(texts) = self.samples.texts() {
            return InputSpec::text(texts.length);
        }
        let stats = self.channel_stats();
        match (self.samples.pictures(), self.samples.windows()) {
            (Some(pictures), _) => picture_spec(&pictures, image_size, stats),
            (None, Some(windows)) => window_spec(&windows, stats),
            // Samples have at least one part.
            (None, None) => InputSpec::imu(0, 0.0, vec![], vec![]),
        }
    }

    /// The input specification of the second encoder, where each sample is a pair: of its windows.
    pub fn second_spec(&self) -> Option<InputSpec> {
        self.samples.pictures()?;
        let windows = self.samples.windows()?;
        let moments = self.samples.window_moments().unwrap_or_default();
        Some(window_spec(&windows, ChannelStats::of(&moments)))
    }

    /// Whether samples can be turned into this input: images of any size can, windows only of the
    /// same channels, length and rate, and texts only of the same length. Of pairs, the part of the input's modality counts.
    ///
    /// # Errors
    /// [`DataError::Mismatch`] or [`DataError::Spec`].
    pub fn check_fits(&self, spec: &InputSpec) -> Result<(), DataError> {
        spec.check()?;
        let mismatch = |found: String, wanted: String, mend| Err(DataError::Mismatch { found, wanted, mend });
        let windows = match (spec.modality, self.samples.texts()) {
            (Modality::Image, _) if self.samples.pictures().is_some() => return Ok(()),
            (Modality::Text, Some(Lines { length, .. })) if spec.shape == [length] => return Ok(()),
            (Modality::Text, Some(Lines { length, .. })) => {
                let (found, wanted) = (format!("texts of {length} tokens"), format!("{:?}", spec.shape));
                return mismatch(found, wanted, "load them with that `length`");
            }
            (Modality::Imu, _) => self.samples.windows(),
            (Modality::Image | Modality::Text, _) => None,
        };
        let Some(Rows { channels, length, rate_hz, .. }) = windows else {
            let (found, wanted) = (self.samples.kind().to_owned(), format!("of modality {}", spec.modality));
            return mismatch(found, wanted, "choose data of that modality");
        };
        if spec.shape != [channels, length] {
            let (found, wanted) =
                (format!("windows of {:?}", [channels, length]), format!("{:?}", spec.shape));
            return mismatch(found, wanted, "load windows of that length, from a series of those channels");
        }
        let known = rate_hz > 0.0 && spec.rate_hz > 0.0;
        if known && (rate_hz / spec.rate_hz - 1.0).abs() > RATE_TOLERANCE {
            let (found, wanted) = (format!("windows at {rate_hz} Hz"), format!("at {} Hz", spec.rate_hz));
            return mismatch(found, wanted, "load the series with that `rate_hz`");
        }
        Ok(())
    }

    /// The samples of `indices` as an encoder's input, `[n, ...spec.shape]`: images resized (the
    /// largest centred part of the input's aspect), everything normalised, nothing augmented. Of
    /// pairs, the part of the input's modality.
    ///
    /// # Errors
    /// When the data does not fit `spec` or an index is not there.
    pub fn batch_f32(&self, indices: &[usize], spec: &InputSpec) -> Result<ArrayD<f32>, DataError> {
        self.check_fits(spec)?;
        self.check_indices(indices)?;
        let mut batch = vec![0.0; indices.len() * spec.values()];
        for (&index, out) in indices.iter().zip(batch.chunks_exact_mut(spec.values())) {
            if let (Modality::Image, Some(image)) = (spec.modality, self.image(index)) {
                let size = Size { width: spec.shape[2], height: spec.shape[1] };
                resize_center(&image, size, out)?;
            } else if let Some(window) = self.window(index) {
                out.copy_from_slice(window);
            } else if let Some(text) = self.text(index) {
                out.iter_mut().zip(text).for_each(|(out, token)| *out = f32::from(*token));
            }
            normalise(out, &spec.mean, &spec.std)?;
        }
        batch_array(indices.len(), spec, batch)
    }

    /// SHA-256, in hexadecimal, over the shape, the samples and the labels: two data sets with the
    /// same digest train the same model.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.samples.hash(&mut hash);
        if let Some(labels) = &self.labels {
            hash.update(format!("labels {}\n", labels.names.join("\n")));
            labels.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl ChannelStats {
    /// From the mean and variance of each channel.
    fn of(moments: &[(f64, f64)]) -> Self {
        let std = |variance: f64| if variance > 1e-12 { variance.sqrt() as f32 } else { 1.0 };
        Self {
            mean: moments.iter().map(|(mean, _)| *mean as f32).collect(),
            std: moments.iter().map(|(_, variance)| std(*variance)).collect(),
        }
    }
}

fn picture_spec(pictures: &Pictures<'_>, image_size: Option<usize>, stats: ChannelStats) -> InputSpec {
    let (height, width) = image_size.map_or((pictures.height, pictures.width), |side| (side, side));
    // An image has three channels.
    let three = |v: Vec<f32>| [v[0], v[1], v[2]];
    InputSpec::image(height, width, three(stats.mean), three(stats.std))
}

fn window_spec(windows: &Rows<'_>, stats: ChannelStats) -> InputSpec {
    InputSpec::imu(windows.length, windows.rate_hz, stats.mean, stats.std)
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

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;

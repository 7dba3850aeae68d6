//! Samples as a device keeps them, and the way from one to an encoder's input.
//!
//! An image is kept as bytes at the encoder's size, a window as floats in natural units. What is
//! embedded is made from what is kept, so a pair measured later is measured as it was seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sedge_augment::{
    AugmentError, ImageAugment, ImageSource, Size, WindowAugment, WindowSource, normalise, resize_center,
};
use sedge_core::Set;
use sedge_models::{InputSpec, Modality};
use sedge_readings::{Frame, ImuSample};

use crate::config::DeviceConfig;

/// One frame or window, cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sample {
    /// `[height, width, 3]` bytes.
    Image(Arc<[u8]>),
    /// `[channels, samples]` in natural units.
    Window(Arc<[f32]>),
}

/// Two views of one place.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// Rising; no two pairs of a device share it.
    pub(crate) id: u64,
    pub(crate) anchor: Sample,
    pub(crate) neighbour: Sample,
}

/// Turns frames and windows into samples, and samples into normalised input.
#[derive(Clone, Debug)]
pub(crate) struct Preparation {
    input: InputSpec,
    image_views: ImageAugment,
    window_views: WindowAugment,
}

impl Preparation {
    pub(crate) fn new(input: &InputSpec, config: &DeviceConfig) -> Result<Self, AugmentError> {
        config.image_views.check()?;
        config.window_views.check()?;
        let (image_views, window_views) = (config.image_views.clone(), config.window_views.clone());
        Ok(Self { input: input.clone(), image_views, window_views })
    }

    pub(crate) fn input(&self) -> &InputSpec {
        &self.input
    }

    fn size(&self) -> Size {
        let side = |i| self.input.shape.get(i).copied().unwrap_or(0);
        Size { width: side(2), height: side(1) }
    }

    /// A frame at the encoder's size.
    pub(crate) fn image(&self, frame: &Frame) -> Result<Sample, AugmentError> {
        let source = ImageSource::new(frame.rgb(), frame.width() as usize, frame.height() as usize)?;
        let size = self.size();
        if (source.width(), source.height()) == (size.width, size.height) {
            return Ok(Sample::Image(frame.rgb().into()));
        }
        let mut values = vec![0.0; self.input.values()];
        resize_center(&source, size, &mut values)?;
        let plane = size.width * size.height;
        // `values` holds three planes of this many values.
        let byte = |i: usize, c: usize| (values[c * plane + i] * 255.0).round().clamp(0.0, 255.0) as u8;
        Ok(Sample::Image((0..plane).flat_map(|i| [byte(i, 0), byte(i, 1), byte(i, 2)]).collect()))
    }

    /// A window of the channels that the encoder reads, oldest sample first.
    pub(crate) fn window<'a>(&self, samples: impl Iterator<Item = &'a ImuSample>) -> Sample {
        let rows: Vec<[f32; ImuSample::CHANNELS]> = samples.map(ImuSample::channels).collect();
        let channels = 0..self.input.channels().min(ImuSample::CHANNELS);
        Sample::Window(channels.flat_map(|c| rows.iter().map(move |row| row[c])).collect())
    }

    /// A sample as input, `[...sample]` normalised.
    pub(crate) fn plain(&self, sample: &Sample, out: &mut [f32]) -> Result<(), AugmentError> {
        match sample {
            Sample::Image(bytes) => {
                let size = self.size();
                resize_center(&ImageSource::new(bytes, size.width, size.height)?, size, out)?;
            }
            Sample::Window(values) if values.len() == out.len() => out.copy_from_slice(values),
            Sample::Window(values) => {
                return Err(AugmentError::Output { wanted: values.len(), found: out.len() });
            }
        }
        normalise(out, &self.input.mean, &self.input.std)
    }

    /// A random view of a sample, normalised.
    fn view(&self, sample: &Sample, rng: &mut ChaCha8Rng, out: &mut [f32]) -> Result<(), AugmentError> {
        let InputSpec { mean, std, .. } = &self.input;
        match sample {
            Sample::Image(bytes) => {
                let size = self.size();
                let source = ImageSource::new(bytes, size.width, size.height)?;
                self.image_views.view(&source, size, rng, out)?;
            }
            Sample::Window(values) => {
                let length = self.input.shape.get(1).copied().unwrap_or(0);
                self.window_views.view(&WindowSource::new(values, length, mean, std)?, rng, out)?;
            }
        }
        normalise(out, mean, std)
    }

    /// Samples as a batch `[n, ...sample]`, normalised.
    pub(crate) fn batch<'a>(
        &self,
        samples: impl ExactSizeIterator<Item = &'a Sample>,
    ) -> Result<ArrayD<f32>, AugmentError> {
        let mut batch = self.empty(samples.len());
        for (sample, out) in samples.zip(self.rows(&mut batch)) {
            self.plain(sample, out)?;
        }
        Ok(batch)
    }

    /// Views for a training step: row `i` of the anchor of pair `i`, row `i + n` of its neighbour. Each
    /// view has its own stream of the seed, so none depends on another.
    pub(crate) fn views(&self, pairs: &[Pair], seed: u64) -> Result<ArrayD<f32>, AugmentError> {
        let mut batch = self.empty(2 * pairs.len());
        let samples = pairs.iter().map(|pair| &pair.anchor).chain(pairs.iter().map(|pair| &pair.neighbour));
        for (row, (sample, out)) in samples.zip(self.rows(&mut batch)).enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(row as u64);
            self.view(sample, &mut rng, out)?;
        }
        Ok(batch)
    }

    fn empty(&self, samples: usize) -> ArrayD<f32> {
        let mut shape = vec![samples];
        shape.extend(&self.input.shape);
        ArrayD::zeros(IxDyn(&shape))
    }

    fn rows<'a>(&self, batch: &'a mut ArrayD<f32>) -> impl Iterator<Item = &'a mut [f32]> {
        let length = self.input.values().max(1);
        // A new array lies in standard order.
        batch.as_slice_mut().into_iter().flat_map(move |values| values.chunks_exact_mut(length))
    }
}

/// The samples of every pair that the learner keeps, and of those it may yet ask for. Bounded by the
/// learner's capacities.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    training: BTreeMap<u16, Pair>,
    held_out: BTreeMap<u16, Pair>,
    open: BTreeMap<u64, Sample>,
    next_pair: u64,
}

impl Samples {
    /// Keeps a sample until [`Samples::forget`] says otherwise.
    pub(crate) fn hold(&mut self, index: u64, sample: Sample) {
        self.open.insert(index, sample);
    }

    pub(crate) fn held(&self, index: u64) -> Option<&Sample> {
        self.open.get(&index)
    }

    /// Forgets the samples that `wanted` does not want.
    pub(crate) fn forget(&mut self, wanted: impl Fn(u64) -> bool) {
        self.open.retain(|index, _| wanted(*index));
    }

    /// Puts two held samples into a slot; `false` when one is not held.
    pub(crate) fn keep(&mut self, set: Set, slot: u16, anchor: u64, neighbour: u64) -> bool {
        let (Some(anchor), Some(neighbour)) = (self.open.get(&anchor), self.open.get(&neighbour)) else {
            return false;
        };
        let pair = Pair { id: self.next_pair, anchor: anchor.clone(), neighbour: neighbour.clone() };
        self.next_pair += 1;
        self.set_mut(set).insert(slot, pair);
        true
    }

    /// The training pairs in these slots.
    pub(crate) fn training(&self, slots: &[u16]) -> Vec<Pair> {
        slots.iter().filter_map(|slot| self.training.get(slot).cloned()).collect()
    }

    /// All held-out pairs.
    pub(crate) fn held_out(&self) -> Vec<Pair> {
        self.held_out.values().cloned().collect()
    }

    /// Every pair with its place, and every open sample with its number.
    pub(crate) fn all(
        &self,
    ) -> (impl Iterator<Item = (Set, u16, &Pair)>, impl Iterator<Item = (u64, &Sample)>) {
        let training = self.training.iter().map(|(slot, pair)| (Set::Training, *slot, pair));
        let held_out = self.held_out.iter().map(|(slot, pair)| (Set::HeldOut, *slot, pair));
        (training.chain(held_out), self.open.iter().map(|(index, sample)| (*index, sample)))
    }

    /// Puts a saved pair back.
    pub(crate) fn restore(&mut self, set: Set, slot: u16, pair: Pair) {
        self.next_pair = self.next_pair.max(pair.id + 1);
        self.set_mut(set).insert(slot, pair);
    }

    /// The number that the next pair gets.
    pub(crate) fn next_pair(&self) -> u64 {
        self.next_pair
    }

    pub(crate) fn set_next_pair(&mut self, next: u64) {
        self.next_pair = self.next_pair.max(next);
    }

    fn set_mut(&mut self, set: Set) -> &mut BTreeMap<u16, Pair> {
        match set {
            Set::Training => &mut self.training,
            Set::HeldOut => &mut self.held_out,
        }
    }
}

/// Whether samples of this input are images.
pub(crate) fn is_image(input: &InputSpec) -> bool {
    input.modality == Modality::Image
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn images(height: usize, width: usize) -> Preparation {
        let input = InputSpec::image(height, width, [0.5, 0.0, 0.25], [0.5, 1.0, 2.0]);
        Preparation::new(&input, &DeviceConfig::default()).unwrap()
    }

    #[test]
    fn an_image_of_the_right_size_passes_unchanged_and_is_normalised_by_channel() {
        let preparation = images(1, 2);
        let frame = Frame::new(2, 1, vec![255, 0, 51, 0, 255, 102]).unwrap();
        let sample = preparation.image(&frame).unwrap();
        assert_eq!(sample, Sample::Image(frame.rgb().into()));
        let mut out = [0.0; 6];
        preparation.plain(&sample, &mut out).unwrap();
        let wanted = [1.0, -1.0, 0.0, 1.0, -0.025, 0.075];
        assert!(out.iter().zip(wanted).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn another_size_is_resized() {
        let frame = Frame::new(8, 4, vec![200; 96]).unwrap();
        assert_eq!(images(2, 2).image(&frame).unwrap(), Sample::Image(vec![200; 12].into()));
    }

    #[test]
    fn a_window_is_laid_out_channel_by_channel() {
        let input = InputSpec::imu(2, 100.0, vec![0.0; 3], vec![1.0; 3]);
        let preparation = Preparation::new(&input, &DeviceConfig::default()).unwrap();
        let rows =
            [[1.0, 2.0, 3.0, 9.0, 9.0, 9.0], [4.0, 5.0, 6.0, 9.0, 9.0, 9.0]].map(ImuSample::from_channels);
        let sample = preparation.window(rows.iter());
        assert_eq!(sample, Sample::Window(vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0].into()));
    }

    #[test]
    fn views_depend_on_seed_and_row_alone() {
        let preparation = images(8, 8);
        let noise = |n: u8| Sample::Image((0..192u32).map(|i| (i * u32::from(n) % 251) as u8).collect());
        let pair = |id, n| Pair { id, anchor: noise(n), neighbour: noise(n + 1) };
        let views = |pairs: &[Pair], seed| preparation.views(pairs, seed).unwrap();
        let all = views(&[pair(0, 3), pair(1, 5)], 7);
        assert_eq!(all.shape(), [4, 3, 8, 8]);
        assert_eq!(all, views(&[pair(0, 3), pair(1, 5)], 7));
        assert_ne!(all, views(&[pair(0, 3), pair(1, 5)], 8));
        // The first anchor's view does not change with its company.
        let other = views(&[pair(0, 3), pair(1, 9)], 7);
        assert_eq!(all.index_axis(ndarray::Axis(0), 0), other.index_axis(ndarray::Axis(0), 0));
        assert_ne!(all.index_axis(ndarray::Axis(0), 1), other.index_axis(ndarray::Axis(0), 1));
    }

    #[test]
    fn only_wanted_samples_stay() {
        let mut samples = Samples::default();
        for index in 0..4 {
            samples.hold(index, Sample::Image(vec![index as u8; 3].into()));
        }
        assert!(samples.keep(Set::HeldOut, 0, 1, 3));
        assert!(!samples.keep(Set::Training, 0, 1, 9));
        samples.forget(|index| index == 2);
        assert!(samples.held(1).is_none() && samples.held(2).is_some());
        assert_eq!(samples.held_out()[0].neighbour, Sample::Image(vec![3; 3].into()));
    }
}

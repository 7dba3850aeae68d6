//! Seeded augmentations, the same on the host that pretrains and on the board that adapts.
//!
//! A view is a random distortion of one sample that keeps what the sample shows: two views of a
//! frame are a positive pair for a contrastive objective. Everything here is a pure function of
//! its settings, its source and a [`ChaCha8Rng`](rand_chacha::ChaCha8Rng): no clock, no thread,
//! no global state, and mathematical functions from one library rather than the platform's, so
//! that equal seeds give equal views on any machine.
//!
//! Views come in natural units (images 0..1, windows m/s² and rad/s), because colour and rotation
//! mean nothing after normalisation; [`normalise`] is the last step before an encoder.

mod blur;
mod colour;
mod error;
mod image;
mod random;
mod resample;
mod text;
mod window;

pub use error::AugmentError;
pub use image::{ImageAugment, ImageSource, Size, resize_center};
pub use random::normal_pair;
pub use text::TextAugment;
pub use window::{WindowAugment, WindowSource};

/// Longest side of an image, and longest window, that is accepted: tables are sized by it.
pub const MAX_SIDE: usize = 16_384;

/// Normalises one channels-first sample in place: `(value - mean[c]) / std[c]`.
///
/// `values` is `[c, ...]` with `c = mean.len()`.
///
/// # Errors
/// When the lists differ in length, do not divide `values`, or a deviation is not above zero.
pub fn normalise(values: &mut [f32], mean: &[f32], std: &[f32]) -> Result<(), AugmentError> {
    let channels = mean.len();
    if channels == 0 || std.len() != channels || !values.len().is_multiple_of(channels) {
        return Err(AugmentError::Channels { values: values.len(), mean: channels, std: std.len() });
    }
    if let Some(channel) = std.iter().position(|s| s.is_nan() || *s <= 0.0) {
        return Err(AugmentError::Deviation { channel });
    }
    let plane = (values.len() / channels).max(1);
    for ((plane, mean), std) in values.chunks_exact_mut(plane).zip(mean).zip(std) {
        for value in plane {
            *value = (*value - mean) / std;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_each_channel_by_its_own_figures() {
        let mut values = [1.0, 3.0, 10.0, 20.0];
        normalise(&mut values, &[2.0, 15.0], &[0.5, 5.0]).unwrap();
        assert_eq!(values, [-2.0, 2.0, -1.0, 1.0]);
    }

    #[test]
    fn refuses_figures_that_do_not_fit() {
        let mut values = [0.0; 4];
        for (mean, std) in [(vec![0.0; 3], vec![1.0; 3]), (vec![0.0; 2], vec![1.0; 1]), (vec![], vec![])] {
            let refused = normalise(&mut values, &mean, &std);
            assert!(matches!(refused, Err(AugmentError::Channels { .. })), "{mean:?} {std:?}");
        }
        let refused = normalise(&mut values, &[0.0, 0.0], &[1.0, 0.0]);
        assert_eq!(refused, Err(AugmentError::Deviation { channel: 1 }));
    }
}

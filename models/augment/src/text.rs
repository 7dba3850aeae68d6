//! Views of texts: a random stretch, of which some tokens are left out. Both keep the order of what remains,
//! which is most of what a text says.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{AugmentError, probability, range};
use crate::random::{chance, uniform};

/// Settings of a random view of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextAugment {
    /// Shortest and longest stretch kept, as a fraction of the text.
    pub crop_fraction: [f32; 2],
    /// Probability of each token of it to be left out; those after it close up.
    pub delete_probability: f32,
}

impl Default for TextAugment {
    fn default() -> Self {
        Self { crop_fraction: [0.6, 1.0], delete_probability: 0.1 }
    }
}

impl TextAugment {
    /// Nothing: a view is its source.
    pub fn none() -> Self {
        Self { crop_fraction: [1.0, 1.0], delete_probability: 0.0 }
    }

    /// Whether every setting is within its range.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the name of the first that is not.
    pub fn check(&self) -> Result<(), AugmentError> {
        range("crop_fraction", self.crop_fraction, 0.01, 1.0, "a rising range of fractions, 0.01 to 1")?;
        probability("delete_probability", self.delete_probability)
    }

    /// One random view of the tokens `text`, which is without padding, into `out`, whose rest is filled with
    /// `pad`. At least one token stays.
    ///
    /// # Errors
    /// When a setting is out of range, or `out` has no room for the whole text.
    pub fn view(
        &self,
        text: &[u16],
        pad: u16,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        self.check()?;
        if out.len() < text.len() {
            return Err(AugmentError::Output { wanted: text.len(), found: out.len() });
        }
        let fraction = uniform(rng, self.crop_fraction[0], self.crop_fraction[1]);
        let kept = ((text.len() as f32 * fraction).round() as usize).clamp(1, text.len().max(1));
        let from = rng.random_range(0..=text.len().saturating_sub(kept));
        let stretch = text.iter().skip(from).take(kept);
        out.fill(f32::from(pad));
        let mut room = out.iter_mut();
        // Drawn even of what stays for certain, so that switching this off leaves other draws as they were.
        let stays: Vec<bool> = stretch.clone().map(|_| !chance(rng, self.delete_probability)).collect();
        let none = !stays.contains(&true);
        for (at, (token, stays)) in stretch.zip(stays).enumerate() {
            if stays || (none && at == 0) {
                // There is room for the whole text.
                room.next().into_iter().for_each(|out| *out = f32::from(*token));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;

    const PAD: u16 = 99;

    fn view(augment: &TextAugment, text: &[u16], seed: u64) -> Vec<f32> {
        let mut out = vec![-1.0; 40];
        augment.view(text, PAD, &mut ChaCha8Rng::seed_from_u64(seed), &mut out).unwrap();
        out
    }

    #[test]
    fn without_augmentation_a_view_is_its_source_and_padding() {
        let text: Vec<u16> = (0..30).collect();
        let out = view(&TextAugment::none(), &text, 3);
        assert!(out.iter().take(30).enumerate().all(|(i, v)| *v == i as f32));
        assert!(out.iter().skip(30).all(|v| *v == f32::from(PAD)));
        assert!(view(&TextAugment::none(), &[], 3).iter().all(|v| *v == f32::from(PAD)));
    }

    #[test]
    fn a_view_keeps_the_order_of_a_stretch_as_long_as_asked() {
        let text: Vec<u16> = (0..30).collect();
        let crop = TextAugment { crop_fraction: [0.5, 0.5], delete_probability: 0.0 };
        let half = TextAugment { crop_fraction: [1.0, 1.0], delete_probability: 0.5 };
        let (mut first, mut kept) = (std::collections::BTreeSet::new(), 0);
        for seed in 0..200 {
            let of = |augment| -> Vec<f32> {
                view(augment, &text, seed).into_iter().take_while(|v| *v != f32::from(PAD)).collect()
            };
            let cropped = of(&crop);
            assert!(cropped.len() == 15 && cropped.windows(2).all(|pair| pair[1] == pair[0] + 1.0));
            first.insert(cropped[0] as u16);
            let thinned = of(&half);
            assert!(thinned.windows(2).all(|pair| pair[1] > pair[0]));
            kept += thinned.len();
        }
        assert_eq!(first.len(), 16, "every place to begin is found");
        // 6000 fair draws: five deviations are 194.
        assert!((2806..=3194).contains(&kept), "{kept}");
        let all = TextAugment { crop_fraction: [1.0, 1.0], delete_probability: 1.0 };
        assert_eq!(view(&all, &text, 1)[..2], [0.0, f32::from(PAD)]);
    }

    #[test]
    fn settings_out_of_range_and_short_outputs_are_refused() {
        let wrong = TextAugment { crop_fraction: [0.9, 0.5], ..TextAugment::none() };
        assert!(matches!(wrong.check(), Err(AugmentError::Setting { field: "crop_fraction", .. })));
        let wrong = TextAugment { delete_probability: f32::NAN, ..TextAugment::none() };
        assert!(matches!(wrong.check(), Err(AugmentError::Setting { field: "delete_probability", .. })));
        let (mut rng, mut short) = (ChaCha8Rng::seed_from_u64(0), [0.0; 2]);
        let refused = TextAugment::none().view(&[1, 2, 3], PAD, &mut rng, &mut short);
        assert_eq!(refused, Err(AugmentError::Output { wanted: 3, found: 2 }));
    }
}

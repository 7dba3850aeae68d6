//! What an encoder eats: the contract between whoever fills its input and whoever trained it.
//! Stored in every bundle, so that the board normalises as the host did.

use serde::{Deserialize, Serialize};

/// The kind of signal an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Modality {
    /// RGB images, shape `[3, height, width]`.
    Image,
    /// Windows of inertial samples, shape `[channels, samples]`.
    Imu,
    /// Texts as bytes, shape `[length]` in tokens (see [`text`](crate::text)).
    Text,
}

impl std::fmt::Display for Modality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Imu => "imu",
            Self::Text => "text",
        })
    }
}

/// Shape, units and normalisation of one input sample.
///
/// A value reaches the encoder as `(value - mean[c]) / std[c]` for its channel `c`. Image values
/// are red, green, blue scaled to 0..1; inertial values are m/s² and rad/s. A text has one channel,
/// whose values are numbers of tokens and are not normalised: its mean is 0 and its deviation 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// What is read.
    pub modality: Modality,
    /// Shape of one sample, channels first, without the batch: `[3, h, w]`, `[c, t]`, or `[length]` of a text.
    pub shape: Vec<usize>,
    /// Unit of each channel before normalisation, for people.
    pub units: Vec<String>,
    /// Mean of each channel, subtracted.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, divided by; every one above zero.
    pub std: Vec<f32>,
    /// Samples a second: frames for a camera, rows for a window. Zero when the data has no clock.
    pub rate_hz: f32,
}

/// Largest number of values in one sample: four 1024x1024 RGB images.
pub const MAX_SAMPLE_VALUES: usize = 4 * 3 * 1024 * 1024;

impl InputSpec {
    /// An RGB image input of `height` x `width` with the given normalisation.
    pub fn image(height: usize, width: usize, mean: [f32; 3], std: [f32; 3]) -> Self {
        Self {
            modality: Modality::Image,
            shape: vec![3, height, width],
            units: vec!["0..1".into(); 3],
            mean: mean.into(),
            std: std.into(),
            rate_hz: 0.0,
        }
    }

    /// A window of `samples` rows of `mean.len()` inertial channels at `rate_hz`.
    pub fn imu(samples: usize, rate_hz: f32, mean: Vec<f32>, std: Vec<f32>) -> Self {
        let units = (0..mean.len()).map(|c| if c < 3 { "m/s^2" } else { "rad/s" }.to_string()).collect();
        Self { modality: Modality::Imu, shape: vec![mean.len(), samples], units, mean, std, rate_hz }
    }

    /// A text of `length` tokens.
    pub fn text(length: usize) -> Self {
        Self {
            modality: Modality::Text,
            shape: vec![length],
            units: vec!["token".into()],
            mean: vec![0.0],
            std: vec![1.0],
            rate_hz: 0.0,
        }
    }

    /// Channels of one sample; of a text one.
    pub fn channels(&self) -> usize {
        match self.modality {
            Modality::Image | Modality::Imu => self.shape.first().copied().unwrap_or(0),
            Modality::Text => 1,
        }
    }

    /// Number of values in one sample; zero when the shape is empty or overflows.
    pub fn values(&self) -> usize {
        if self.shape.is_empty() {
            return 0;
        }
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0)
    }

    /// Whether shape, units and normalisation agree with each other, or what does not.
    pub fn check(&self) -> Result<(), InputSpecError> {
        let rank = match self.modality {
            Modality::Image => 3,
            Modality::Imu => 2,
            Modality::Text => 1,
        };
        let channels = self.channels();
        if self.shape.len() != rank || self.shape.contains(&0) {
            return Err(InputSpecError::Shape { modality: self.modality, shape: self.shape.clone() });
        }
        if self.modality == Modality::Image && channels != 3 {
            return Err(InputSpecError::Shape { modality: self.modality, shape: self.shape.clone() });
        }
        let values = self.values();
        if values == 0 || values > MAX_SAMPLE_VALUES {
            return Err(InputSpecError::TooLarge { shape: self.shape.clone() });
        }
        for (field, found) in
            [("units", self.units.len()), ("mean", self.mean.len()), ("std", self.std.len())]
        {
            if found != channels {
                return Err(InputSpecError::Length { field, found, channels });
            }
        }
        if let Some(channel) = self.mean.iter().position(|v| !v.is_finite()) {
            return Err(InputSpecError::Value { field: "mean", channel });
        }
        if let Some(channel) = self.std.iter().position(|v| !v.is_finite() || *v <= 0.0) {
            return Err(InputSpecError::Value { field: "std", channel });
        }
        if self.modality == Modality::Text && (self.mean != [0.0] || self.std != [1.0]) {
            return Err(InputSpecError::Tokens { mean: self.mean.clone(), std: self.std.clone() });
        }
        if !self.rate_hz.is_finite() || self.rate_hz < 0.0 {
            return Err(InputSpecError::Rate { rate_hz: self.rate_hz });
        }
        Ok(())
    }
}

/// What is wrong with an input specification.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputSpecError {
    /// The shape does not fit the modality.
    #[error(
        "shape {shape:?} is not one of modality {modality}; images are [3, height, width], windows [channels, samples], \
         texts [length]"
    )]
    Shape {
        /// The modality stated.
        modality: Modality,
        /// The shape stated.
        shape: Vec<usize>,
    },
    /// One sample holds more than [`MAX_SAMPLE_VALUES`].
    #[error("one sample of shape {shape:?} holds more than {MAX_SAMPLE_VALUES} values")]
    TooLarge {
        /// The shape stated.
        shape: Vec<usize>,
    },
    /// A list has not one entry a channel.
    #[error("`{field}` has {found} entries, but the input has {channels} channels")]
    Length {
        /// Which list.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The channels.
        channels: usize,
    },
    /// A normalisation value that cannot be used.
    #[error("`{field}[{channel}]` must be finite, and a standard deviation above zero")]
    Value {
        /// Which list.
        field: &'static str,
        /// Which entry.
        channel: usize,
    },
    /// The tokens of a text would be normalised.
    #[error(
        "tokens are numbers that stand for bytes: `mean` must be [0] and `std` [1], not {mean:?} and {std:?}"
    )]
    Tokens {
        /// The mean stated.
        mean: Vec<f32>,
        /// The deviation stated.
        std: Vec<f32>,
    },
    /// The rate is negative or not a number.
    #[error("`rate_hz` is {rate_hz}; it must be zero or more")]
    Rate {
        /// The rate stated.
        rate_hz: f32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_one_channel_of_tokens_as_they_are() {
        let text = InputSpec::text(128);
        assert_eq!((text.check(), text.channels(), text.values()), (Ok(()), 1, 128));
        let scaled = InputSpec { mean: vec![1.0], ..text.clone() };
        assert!(matches!(scaled.check(), Err(InputSpecError::Tokens { .. })));
        let windows = InputSpec { shape: vec![6, 128], ..text.clone() };
        assert!(matches!(windows.check(), Err(InputSpecError::Shape { .. })));
        let huge = InputSpec::text(MAX_SAMPLE_VALUES + 1);
        assert!(matches!(huge.check(), Err(InputSpecError::TooLarge { .. })));
    }
}

//! Views of inertial windows: jitter, scaling, rotation, time crops and sensor drop-out (Um et
//! al., 2017, "Data augmentation of wearable sensor data"), in natural units, because a rotation
//! of the sensor turns accelerations and rates together and leaves gravity its length.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::MAX_SIDE;
use crate::error::{AugmentError, probability, range, within};
use crate::random::{chance, normal, normal_pair, uniform};

/// Channels of one sensor: x, y, z.
const AXES: usize = 3;

/// A window of a series, `[channels, length]` in natural units, with what is usual of each channel.
#[derive(Clone, Copy, Debug)]
pub struct WindowSource<'a> {
    values: &'a [f32],
    channels: usize,
    length: usize,
    mean: &'a [f32],
    std: &'a [f32],
}

impl<'a> WindowSource<'a> {
    /// A window over `values`, channel after channel. `mean` and `std` are each channel's over the
    /// whole data: the value of a sensor that dropped out, and the unit of jitter.
    ///
    /// # Errors
    /// [`AugmentError::Window`] when a length disagrees, is zero, or is above [`MAX_SIDE`].
    pub fn new(
        values: &'a [f32],
        length: usize,
        mean: &'a [f32],
        std: &'a [f32],
    ) -> Result<Self, AugmentError> {
        let channels = mean.len();
        let sides = 1..=MAX_SIDE;
        let fits = sides.contains(&channels) && sides.contains(&length);
        if !fits || std.len() != channels || values.len() != channels * length {
            let (values, mean, std) = (values.len(), mean.len(), std.len());
            return Err(AugmentError::Window { channels, length, values, mean, std });
        }
        Ok(Self { values, channels, length, mean, std })
    }
}

/// Settings of a random view of a window. A channel count that is a multiple of three is read as
/// triplets of axes, one a sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowAugment {
    /// Deviation of the noise added to every value, as a fraction of its channel's deviation.
    pub jitter: f32,
    /// Deviation of the factor, around one, that multiplies a channel or sensor.
    pub scaling: f32,
    /// One factor a sensor rather than a channel, which keeps directions.
    pub scale_by_sensor: bool,
    /// Largest angle of a rotation about a random axis, the same for every sensor.
    pub rotation_degrees: f32,
    /// Shortest and longest stretch of time kept, as a fraction; it is resampled to full length.
    pub crop_fraction: [f32; 2],
    /// Probability that one sensor reads its mean throughout; never the only one.
    pub drop_probability: f32,
    /// Probability of running backwards.
    pub time_flip_probability: f32,
}

impl Default for WindowAugment {
    fn default() -> Self {
        Self {
            jitter: 0.05,
            scaling: 0.1,
            scale_by_sensor: true,
            rotation_degrees: 30.0,
            crop_fraction: [0.7, 1.0],
            drop_probability: 0.0,
            time_flip_probability: 0.0,
        }
    }
}

impl WindowAugment {
    /// Nothing: a view is its source.
    pub fn none() -> Self {
        Self {
            jitter: 0.0,
            scaling: 0.0,
            rotation_degrees: 0.0,
            crop_fraction: [1.0, 1.0],
            ..Self::default()
        }
    }

    /// Gentle views for a board, whose sensor sits in one place: little rotation, long crops.
    pub fn mild() -> Self {
        Self { scaling: 0.05, rotation_degrees: 10.0, crop_fraction: [0.85, 1.0], ..Self::default() }
    }

    /// Whether every setting is within its range.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the name of the first that is not.
    pub fn check(&self) -> Result<(), AugmentError> {
        within("jitter", self.jitter, 0.0, 10.0, "a fraction of a channel's deviation, 0 to 10")?;
        within("scaling", self.scaling, 0.0, 1.0, "a deviation around one, 0 to 1")?;
        within("rotation_degrees", self.rotation_degrees, 0.0, 180.0, "an angle, 0 to 180")?;
        range("crop_fraction", self.crop_fraction, 0.01, 1.0, "a rising range of fractions, 0.01 to 1")?;
        probability("drop_probability", self.drop_probability)?;
        probability("time_flip_probability", self.time_flip_probability)
    }

    /// One random view of `source` into `out`, `[channels, length]`, in natural units.
    ///
    /// # Errors
    /// When a setting is out of range, `out` is of another length than the window, or a rotation
    /// is asked of channels that are not triplets.
    pub fn view(
        &self,
        source: &WindowSource<'_>,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<(), AugmentError> {
        self.check()?;
        if out.len() != source.values.len() {
            return Err(AugmentError::Output { wanted: source.values.len(), found: out.len() });
        }
        let triplets = source.channels.is_multiple_of(AXES);
        if self.rotation_degrees > 0.0 && !triplets {
            return Err(AugmentError::Triplets { channels: source.channels });
        }
        self.crop(source, rng, out);
        if self.rotation_degrees > 0.0 {
            rotate(&rotation(rng, self.rotation_degrees), source.length, out);
        }
        if self.scaling > 0.0 {
            let group = if self.scale_by_sensor && triplets { AXES } else { 1 };
            for channels in out.chunks_mut(group * source.length) {
                let factor = 1.0 + self.scaling * normal(rng);
                channels.iter_mut().for_each(|v| *v *= factor);
            }
        }
        if self.jitter > 0.0 {
            for (channel, std) in out.chunks_exact_mut(source.length).zip(source.std) {
                add_noise(rng, self.jitter * std, channel);
            }
        }
        if chance(rng, self.drop_probability) && triplets && source.channels > AXES {
            let sensor = rng.random_range(0..source.channels / AXES);
            let dropped = out.chunks_exact_mut(source.length).zip(source.mean).skip(sensor * AXES).take(AXES);
            for (channel, mean) in dropped {
                channel.fill(*mean);
            }
        }
        Ok(())
    }

    /// Copies a random stretch of time, resampled linearly to full length.
    fn crop(&self, source: &WindowSource<'_>, rng: &mut ChaCha8Rng, out: &mut [f32]) {
        let fraction = uniform(rng, self.crop_fraction[0], self.crop_fraction[1]);
        let start = uniform(rng, 0.0, 1.0);
        let backwards = chance(rng, self.time_flip_probability);
        let last = (source.length - 1) as f32;
        let from = (1.0 - fraction) * last * start;
        let channels = source.values.chunks_exact(source.length);
        for (channel, out) in channels.zip(out.chunks_exact_mut(source.length)) {
            for (t, value) in out.iter_mut().enumerate() {
                let at = (from + fraction * t as f32).clamp(0.0, last);
                let before = at as usize;
                let after = (before + 1).min(source.length - 1);
                let part = at - before as f32;
                *value = channel[before] + part * (channel[after] - channel[before]);
            }
            if backwards {
                out.reverse();
            }
        }
    }
}

/// A rotation by up to `degrees` either way about an axis drawn evenly from the sphere
/// (Rodrigues' formula).
fn rotation(rng: &mut ChaCha8Rng, degrees: f32) -> [[f32; AXES]; AXES] {
    let ([x, y], [z, _]) = (normal_pair(rng), normal_pair(rng));
    let length = libm::sqrtf(x * x + y * y + z * z);
    let [x, y, z] = if length > 1e-6 { [x, y, z].map(|v| v / length) } else { [0.0, 0.0, 1.0] };
    let angle = uniform(rng, -degrees, degrees).to_radians();
    let (s, c) = libm::sincosf(angle);
    let d = 1.0 - c;
    [
        [c + x * x * d, x * y * d - z * s, x * z * d + y * s],
        [y * x * d + z * s, c + y * y * d, y * z * d - x * s],
        [z * x * d - y * s, z * y * d + x * s, c + z * z * d],
    ]
}

/// Turns every triplet of channels by `matrix`.
fn rotate(matrix: &[[f32; AXES]; AXES], length: usize, out: &mut [f32]) {
    for sensor in out.chunks_exact_mut(AXES * length) {
        let (xs, rest) = sensor.split_at_mut(length);
        let (ys, zs) = rest.split_at_mut(length);
        for ((x, y), z) in xs.iter_mut().zip(ys).zip(zs) {
            [*x, *y, *z] = matrix.map(|row| row[0] * *x + row[1] * *y + row[2] * *z);
        }
    }
}

fn add_noise(rng: &mut ChaCha8Rng, deviation: f32, values: &mut [f32]) {
    for pair in values.chunks_mut(2) {
        for (value, noise) in pair.iter_mut().zip(normal_pair(rng)) {
            *value += deviation * noise;
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;

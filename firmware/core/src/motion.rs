//! How a device moved between two moments, from the inertial samples around them.

use sedge_readings::{ImuSample, Span, Timestamp};

/// Inertial summary of the interval from the previous frame to this one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Motion {
    /// Samples inside the interval.
    pub samples: u32,
    /// Mean specific force in m/s²; zero without samples.
    pub accel_mean: [f32; 3],
    /// Mean angular rate in rad/s; zero without samples.
    pub gyro_mean: [f32; 3],
    /// Root mean square of the angular rate's magnitude in rad/s; zero without samples.
    pub gyro_rms: f32,
    /// Rotation over the interval in rad, the integral of the angular rate about the sensor's axes;
    /// `None` where the samples do not cover the interval without a gap, or there is no previous frame.
    pub rotation: Option<[f32; 3]>,
    /// Length of the interval; zero at the first frame.
    pub span: Span,
}

impl Motion {
    /// Rotation about the vertical in rad, the vertical being the mean specific force; `None` where the
    /// rotation is not known or no force is felt.
    pub fn yaw(&self) -> Option<f32> {
        let rotation = self.rotation?;
        let up = norm(self.accel_mean);
        (up > 0.0).then(|| dot(rotation, self.accel_mean) / up)
    }
}

pub(crate) fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn norm(v: [f32; 3]) -> f32 {
    libm::sqrtf(dot(v, v))
}

/// Adds up samples into the means of a [`Motion`].
#[derive(Default)]
pub(crate) struct Mean {
    count: u32,
    channels: [f64; ImuSample::CHANNELS],
    gyro_squared: f64,
}

impl Mean {
    pub(crate) fn add(&mut self, sample: &ImuSample) {
        self.count = self.count.saturating_add(1);
        for (sum, value) in self.channels.iter_mut().zip(sample.channels()) {
            *sum += f64::from(value);
        }
        self.gyro_squared += sample.gyro.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    }

    pub(crate) fn motion(&self, rotation: Option<[f32; 3]>, span: Span) -> Motion {
        let n = f64::from(self.count.max(1));
        let mean = ImuSample::from_channels(self.channels.map(|sum| (sum / n) as f32));
        Motion {
            samples: self.count,
            accel_mean: mean.accel,
            gyro_mean: mean.gyro,
            gyro_rms: libm::sqrt(self.gyro_squared / n) as f32,
            rotation,
            span,
        }
    }
}

/// The integral of the angular rate from `from` to `to` by the trapezoid rule, with the rate linear
/// between samples and held constant for at most `max_gap` before the first and after the last.
/// `None` where two samples, or an end and its nearest sample, lie further apart than `max_gap`.
pub(crate) fn integrate<'a>(
    samples: impl Iterator<Item = &'a (Timestamp, ImuSample)>,
    from: Timestamp,
    to: Timestamp,
    max_gap: Span,
) -> Option<[f32; 3]> {
    let mut sum = [0.0f64; 3];
    let mut previous: Option<(Timestamp, [f32; 3])> = None;
    for &(at, sample) in samples {
        match previous {
            None if at > from => {
                (at.since(from) <= max_gap).then_some(())?;
                add(&mut sum, sample.gyro, sample.gyro, at.min(to).since(from));
            }
            None => {}
            Some((before, rate)) => {
                let (low, high) = (before.max(from), at.min(to));
                if high > low {
                    (at.since(before) <= max_gap).then_some(())?;
                    let whole = at.since(before).nanos() as f64;
                    let rate_at = |t: Timestamp| {
                        let f = (t.since(before).nanos() as f64 / whole) as f32;
                        core::array::from_fn(|i| rate[i] + (sample.gyro[i] - rate[i]) * f)
                    };
                    add(&mut sum, rate_at(low), rate_at(high), high.since(low));
                }
            }
        }
        previous = Some((at, sample.gyro));
        if at >= to {
            break;
        }
    }
    let (last, rate) = previous?;
    if last < to {
        (to.since(last) <= max_gap).then_some(())?;
        add(&mut sum, rate, rate, to.since(last.max(from)));
    }
    Some(sum.map(|v| v as f32))
}

fn add(sum: &mut [f64; 3], start: [f32; 3], end: [f32; 3], span: Span) {
    for (total, (a, b)) in sum.iter_mut().zip(start.into_iter().zip(end)) {
        *total += 0.5 * (f64::from(a) + f64::from(b)) * span.as_secs_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn turning(times: impl Iterator<Item = u64>, rate: impl Fn(f32) -> f32) -> [(Timestamp, ImuSample); 64] {
        let mut out = [(at(u64::MAX / 2_000_000), ImuSample::default()); 64];
        for (slot, t) in out.iter_mut().zip(times) {
            *slot = (at(t), ImuSample { gyro: [0.0, 0.0, rate(t as f32 * 1e-3)], ..Default::default() });
        }
        out
    }

    #[test]
    fn a_ramp_integrates_to_its_closed_form_between_samples() {
        // w(t) = 3t, so the angle from 0.015 s to 0.125 s is 1.5 (0.125² - 0.015²); the trapezoid rule
        // is exact on it, with both ends between samples.
        let samples = turning((0..30).map(|i| i * 10), |t| 3.0 * t);
        let angle = integrate(samples[..30].iter(), at(15), at(125), Span::from_millis(20)).unwrap();
        let closed = 1.5 * (0.125f32 * 0.125 - 0.015 * 0.015);
        assert!((angle[2] - closed).abs() < 1e-6, "{angle:?} {closed}");
    }

    #[test]
    fn a_gap_or_an_uncovered_end_is_not_guessed() {
        let steady = |times: &[u64], from, to| {
            let samples = turning(times.iter().copied(), |_| 1.0);
            integrate(samples[..times.len()].iter(), at(from), at(to), Span::from_millis(20))
        };
        assert_eq!(steady(&[0, 10, 20, 60, 70], 5, 65), None);
        assert_eq!(steady(&[0, 10, 20], 5, 60), None);
        assert_eq!(steady(&[40, 50], 5, 50), None);
        assert_eq!(steady(&[], 5, 50), None);
        let held = steady(&[10, 20], 5, 30).unwrap();
        assert!((held[2] - 0.025).abs() < 1e-7, "{held:?}");
        let gap_outside = steady(&[0, 40, 50, 60, 100], 42, 58).unwrap();
        assert!((gap_outside[2] - 0.016).abs() < 1e-7);
    }

    #[test]
    fn yaw_is_the_part_about_gravity() {
        let motion =
            Motion { accel_mean: [0.0, 0.0, 9.81], rotation: Some([0.3, 0.2, -0.5]), ..Default::default() };
        assert!((motion.yaw().unwrap() + 0.5).abs() < 1e-6);
        assert_eq!(Motion::default().yaw(), None);
    }
}

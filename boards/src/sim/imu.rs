//! What the chip undergoes: from the body's motion and the floor's shaking to specific force and
//! angular rate, with the sensor's own bias and noise.
//!
//! Axes are the robot's: x forward, y left, z up. At rest the accelerometer reads gravity's
//! reaction, +9.81 m/s² along z; turning left presses it along +y. Noise follows the MPU-6050's
//! product specification: 400 µg/√Hz and 0.005 °/s/√Hz at 44 Hz bandwidth.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sedge_readings::ImuSample;

use super::drive::Motion;
use super::random::{Purpose, generator, noise};
use super::vibration::Shake;
use crate::imu::STANDARD_GRAVITY;

const ACCEL_NOISE: f32 = 0.026;
const GYRO_NOISE: f32 = 0.000_58;
const ACCEL_BIAS: f32 = 0.12;
const GYRO_BIAS: f32 = 0.012;

/// Amplitudes of the drift at full strength, m/s² and rad/s.
const ACCEL_DRIFT: f32 = 0.9;
const GYRO_DRIFT: f32 = 0.09;

#[derive(Debug)]
pub(super) struct Inertia {
    bias: [f32; 6],
    /// Period in seconds of each channel's drift.
    periods: [f64; 6],
    drift: f32,
    rng: ChaCha8Rng,
}

impl Inertia {
    /// A sensor with the bias of this robot; `drift` is the shift's strength.
    pub fn new(robot_seed: u64, rng: ChaCha8Rng, drift: f32) -> Self {
        let mut own = generator(robot_seed, Purpose::Bias);
        let limit = [ACCEL_BIAS, ACCEL_BIAS, ACCEL_BIAS, GYRO_BIAS, GYRO_BIAS, GYRO_BIAS];
        let bias = limit.map(|limit| own.random_range(-limit..limit));
        let periods = [0; 6].map(|_| own.random_range(70.0..160.0));
        Self { bias, periods, drift, rng }
    }

    /// What the chip undergoes `seconds` into the drive.
    pub fn feel(&mut self, seconds: f64, motion: &Motion, shake: &Shake) -> ImuSample {
        let ideal = ideal(motion, shake).channels();
        let mut channels = [0.0; 6];
        for (i, channel) in channels.iter_mut().enumerate() {
            let (white, drift) = if i < 3 { (ACCEL_NOISE, ACCEL_DRIFT) } else { (GYRO_NOISE, GYRO_DRIFT) };
            // Begins at nothing, so that a drive starts as the unshifted one does.
            let phase = core::f64::consts::TAU * seconds / self.periods[i];
            let drifted = self.drift * drift * libm::sin(phase) as f32;
            *channel = ideal[i] + self.bias[i] + drifted + white * noise(&mut self.rng);
        }
        ImuSample::from_channels(channels)
    }
}

/// Specific force and rate of a perfect sensor: the body's tangential and centripetal acceleration,
/// gravity turned by pitch (nose down positive) and roll (left side up positive), and the shaking.
fn ideal(motion: &Motion, shake: &Shake) -> ImuSample {
    let (sin_p, cos_p) = (libm::sinf(shake.pitch), libm::cosf(shake.pitch));
    let (sin_r, cos_r) = (libm::sinf(shake.roll), libm::cosf(shake.roll));
    let g = STANDARD_GRAVITY;
    let tangential = motion.accel as f32;
    let centripetal = (motion.speed * motion.turn) as f32;
    let [sx, sy, sz] = shake.accel;
    ImuSample {
        accel: [tangential - g * sin_p + sx, centripetal + g * sin_r * cos_p + sy, g * cos_p * cos_r + sz],
        gyro: [shake.roll_rate, shake.pitch_rate, motion.turn as f32 + shake.yaw_rate],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilted_robot_at_rest_feels_gravity_whole_and_turned() {
        let shake = Shake { pitch: 0.2, roll: -0.1, ..Shake::default() };
        let [x, y, z] = ideal(&Motion::default(), &shake).accel;
        let norm = (x * x + y * y + z * z).sqrt();
        assert!((norm - 9.80665).abs() < 1e-4, "{norm}");
        // Nose down: the reaction points backwards. Left side down: it points right.
        assert!(x < -1.0 && y < -0.5);
    }

    #[test]
    fn a_left_turn_pushes_to_the_left_and_speeding_up_forwards() {
        let motion = Motion { speed: 0.8, turn: 0.5, accel: 0.3, ..Motion::default() };
        let sample = ideal(&motion, &Shake::default());
        assert!((sample.accel[0] - 0.3).abs() < 1e-6);
        assert!((sample.accel[1] - 0.4).abs() < 1e-6);
        assert!((sample.gyro[2] - 0.5).abs() < 1e-6);
    }

    #[test]
    fn bias_belongs_to_the_robot_and_drift_to_the_shift() {
        let feel = |robot, drift, seconds| {
            let mut sensor = Inertia::new(robot, generator(9, Purpose::Inertial), drift);
            let n = 2000;
            let mut mean = [0.0f32; 6];
            for _ in 0..n {
                let channels = sensor.feel(seconds, &Motion::default(), &Shake::default()).channels();
                mean.iter_mut().zip(channels).for_each(|(m, c)| *m += c / n as f32);
            }
            mean
        };
        let (a, b) = (feel(1, 0.0, 0.0), feel(2, 0.0, 0.0));
        assert!(a.iter().zip(b).any(|(p, q)| (p - q).abs() > 0.01));
        assert!(a.iter().zip(feel(1, 0.0, 30.0)).all(|(p, q)| (p - q).abs() < 3e-3));
        let drifted = feel(1, 1.0, 30.0);
        assert!((a[0] - drifted[0]).abs() > 0.3 && (a[5] - drifted[5]).abs() > 0.03);
    }
}

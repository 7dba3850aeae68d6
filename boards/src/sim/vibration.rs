//! How floors shake a robot: resonances that a floor's surface excites as the wheels go over it.
//!
//! Each floor drives a few second-order resonators (an AR(2) process each: Box and Jenkins, 1970)
//! with noise, and some floors add a knock at every joint. Overall strengths overlap between
//! floors, for they follow the speed: what tells a floor is the shape of its spectrum.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::drive::{Motion, STEP_HZ};
use super::random::noise;
use super::world::FloorKind;

const FLOORS: usize = FloorKind::ALL.len();
const RESONATORS: usize = 2;

/// Speed in m/s at which the strengths below hold.
const REFERENCE_SPEED: f32 = 0.5;

/// Shaking at one moment: acceleration in m/s², pitch and roll in radians, their rates in rad/s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shake {
    pub accel: [f32; 3],
    pub pitch: f32,
    pub roll: f32,
    pub pitch_rate: f32,
    pub roll_rate: f32,
    pub yaw_rate: f32,
}

/// What a floor does at [`REFERENCE_SPEED`].
struct Surface {
    /// Centre (Hz), bandwidth (Hz) and RMS (m/s²) of each resonance.
    resonances: [(f32, f32, f32); RESONATORS],
    /// Metres between joints and the knock's strength in the first resonator; none where zero.
    joint: (f32, f32),
    /// RMS of pitch and roll, radians.
    rocking: f32,
}

const fn surface(floor: FloorKind) -> Surface {
    match floor {
        FloorKind::Tile => {
            Surface { resonances: [(33.0, 5.0, 0.30), (12.0, 8.0, 0.25)], joint: (0.30, 0.8), rocking: 0.004 }
        }
        FloorKind::Carpet => {
            Surface { resonances: [(6.0, 4.0, 0.40), (18.0, 14.0, 0.22)], joint: (0.0, 0.0), rocking: 0.007 }
        }
        FloorKind::Wood => Surface {
            resonances: [(17.0, 4.0, 0.42), (36.0, 10.0, 0.15)],
            joint: (0.14, 0.35),
            rocking: 0.005,
        },
        FloorKind::Gravel => {
            Surface { resonances: [(25.0, 16.0, 0.42), (9.0, 5.0, 0.32)], joint: (0.0, 0.0), rocking: 0.010 }
        }
    }
}

/// An AR(2) process of unit variance around one frequency.
#[derive(Clone, Copy, Debug, Default)]
struct Resonator {
    previous: f32,
    before: f32,
    feedback: [f32; 2],
    gain: f32,
}

impl Resonator {
    fn new(centre_hz: f32, bandwidth_hz: f32) -> Self {
        let rate = STEP_HZ as f32;
        let radius = libm::expf(-core::f32::consts::PI * bandwidth_hz / rate);
        let cos = libm::cosf(core::f32::consts::TAU * centre_hz / rate);
        let (a1, a2) = (2.0 * radius * cos, -radius * radius);
        // Variance of an AR(2) process driven by unit noise, inverted.
        let variance = (1.0 - a2) / ((1.0 + a2) * ((1.0 - a2) * (1.0 - a2) - a1 * a1));
        Self { previous: 0.0, before: 0.0, feedback: [a1, a2], gain: 1.0 / libm::sqrtf(variance) }
    }

    fn step(&mut self, drive: f32) -> f32 {
        let [a1, a2] = self.feedback;
        let next = a1 * self.previous + a2 * self.before + self.gain * drive;
        (self.before, self.previous) = (self.previous, next);
        next
    }
}

/// The state of everything that rings, stepped at 200 Hz.
#[derive(Debug)]
pub(super) struct Vibration {
    /// By floor, axis and resonance. All ring on when the floor changes; only the present floor
    /// drives, so one spectrum fades into the next.
    ringing: [[[Resonator; RESONATORS]; 3]; FLOORS],
    rocking: [Resonator; 2],
    motor: Resonator,
    angles: [f32; 2],
    travelled: f64,
    /// This drive's wheels: a strength common to all floors.
    strength: f32,
    rng: ChaCha8Rng,
}

impl Vibration {
    pub fn new(mut rng: ChaCha8Rng) -> Self {
        let ringing = FloorKind::ALL.map(|floor| {
            let resonators =
                surface(floor).resonances.map(|(centre, width, _)| Resonator::new(centre, width));
            [resonators; 3]
        });
        let rock = Resonator::new(2.5, 1.5);
        let strength = rng.random_range(0.75..1.25);
        Self {
            ringing,
            rocking: [rock; 2],
            motor: Resonator::new(41.0, 2.0),
            angles: [0.0; 2],
            travelled: 0.0,
            strength,
            rng,
        }
    }

    /// One step over `floor`.
    pub fn step(&mut self, motion: &Motion, floor: FloorKind) -> Shake {
        let pace = (motion.speed.abs() + 0.12 * motion.turn.abs()) as f32;
        let surface = surface(floor);
        let push = self.strength * pace / REFERENCE_SPEED;
        let knock = self.knock(pace, surface.joint);
        let mut accel = [0.0f32; 3];
        for (index, per_axis) in self.ringing.iter_mut().enumerate() {
            let is_here = index == floor.index();
            for (axis, (resonators, total)) in per_axis.iter_mut().zip(&mut accel).enumerate() {
                // The ground pushes up; sideways only what the frame passes on.
                let coupling = [0.45, 0.35, 1.0][axis];
                for (k, (resonator, (_, _, rms))) in resonators.iter_mut().zip(surface.resonances).enumerate()
                {
                    let struck = if k == 0 { knock } else { 0.0 };
                    let drive = if is_here {
                        push * rms * coupling * noise(&mut self.rng) + push * coupling * struck
                    } else {
                        0.0
                    };
                    *total += resonator.step(drive);
                }
            }
        }
        let hum = self.motor.step(noise(&mut self.rng)) * 0.08 * (pace / REFERENCE_SPEED).min(1.5);
        accel[0] += hum;
        let angles = [0, 1]
            .map(|i: usize| self.rocking[i].step(surface.rocking * push.min(2.0) * noise(&mut self.rng)));
        let rate = |now: f32, before: f32| (now - before) * STEP_HZ as f32;
        let shake = Shake {
            accel,
            pitch: angles[0],
            roll: angles[1],
            pitch_rate: rate(angles[0], self.angles[0]),
            roll_rate: rate(angles[1], self.angles[1]),
            yaw_rate: 0.004 * push * noise(&mut self.rng),
        };
        self.angles = angles;
        shake
    }

    /// The blow of a joint crossed in this step, in units of the resonator's drive.
    fn knock(&mut self, pace: f32, (spacing, strength): (f32, f32)) -> f32 {
        let before = self.travelled;
        self.travelled += f64::from(pace) / f64::from(STEP_HZ);
        let spacing = f64::from(spacing);
        if spacing > 0.0 && (self.travelled / spacing) as u32 != (before / spacing) as u32 {
            strength * (6.0 + noise(&mut self.rng))
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, generator};
    use super::*;

    #[test]
    fn a_resonator_has_unit_variance_and_peaks_at_its_centre() {
        for (centre, width) in [(6.0f32, 4.0f32), (17.0, 4.0), (33.0, 5.0), (25.0, 16.0)] {
            let mut resonator = Resonator::new(centre, width);
            let mut rng = generator(3, Purpose::Floor);
            let signal: Vec<f32> = (0..60_000).map(|_| resonator.step(noise(&mut rng))).collect();
            let variance = signal.iter().map(|x| x * x).sum::<f32>() / signal.len() as f32;
            assert!((variance - 1.0).abs() < 0.12, "{centre} Hz: {variance}");
            let peak = (2..60).max_by(|&a, &b| power(&signal, a as f32).total_cmp(&power(&signal, b as f32)));
            let peak = peak.unwrap_or(0) as f32;
            assert!((peak - centre).abs() <= 0.3 * width + 1.0, "{centre} Hz peaks at {peak}");
        }
    }

    /// Mean power at a frequency over half-second pieces (a naive periodogram).
    fn power(signal: &[f32], hz: f32) -> f32 {
        let pieces = signal.chunks_exact(100);
        pieces
            .map(|piece| {
                let (mut re, mut im) = (0.0f32, 0.0f32);
                for (i, x) in piece.iter().enumerate() {
                    let phase = core::f32::consts::TAU * hz * i as f32 / STEP_HZ as f32;
                    re += x * phase.cos();
                    im += x * phase.sin();
                }
                re * re + im * im
            })
            .sum()
    }

    #[test]
    fn a_robot_at_rest_is_still_and_a_faster_one_shakes_more() {
        let rms = |speed: f64, floor| {
            let mut vibration = Vibration::new(generator(5, Purpose::Floor));
            let motion = Motion { speed, ..Motion::default() };
            let sum: f32 = (0..4000).map(|_| vibration.step(&motion, floor).accel[2].powi(2)).sum();
            (sum / 4000.0).sqrt()
        };
        for floor in FloorKind::ALL {
            assert_eq!(rms(0.0, floor), 0.0);
            assert!(rms(0.7, floor) > 1.5 * rms(0.35, floor), "{floor:?}");
        }
    }
}

//! Prediction of how the sensor is mounted: the axes of accelerometer and gyroscope are turned alike, by one
//! of the rotations that take axes onto axes, and the encoder is trained to tell which, by cross entropy. It is
//! the prediction of image rotations (Gidaris et al. 2018) carried over to the frame of a sensor, whose turns
//! are among the transformations that Saeed et al. 2019 tell apart. Reflections are left out: no mounting
//! makes them.

use ndarray::{Array2, ArrayViewMut1, Axis};
use rand::RngExt;
use sedge_models::compile::VIEWS;
use sedge_models::objective::Objective;
use sedge_models::{InputSpec, Modality};
use serde::{Deserialize, Serialize};

use super::{Known, Pretext, Setup, Strength};
use crate::data::{DataError, Draw, Inputs, Sampler};
use crate::pretrain::ConfigError;

/// Purpose of the draw of a rotation; views have the numbers below.
const TURN: u64 = 1 << 32;
/// Rotations that take axes onto axes.
const TURNS: usize = 24;
/// Orders of three axes, the even ones first.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2], [2, 1, 0]];

/// Keys of `[pretext]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Rotations told apart, the first of them none.
    rotations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rotations: TURNS }
    }
}

/// A rotation that takes axes onto axes: where each axis comes from, and whether it is reversed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Turn {
    from: [usize; 3],
    sign: [f32; 3],
}

impl Turn {
    /// All, the first being none.
    fn all() -> impl Iterator<Item = Self> {
        let sign = |bits: usize, axis: usize| if bits >> axis & 1 == 1 { -1.0 } else { 1.0 };
        ORDERS.into_iter().enumerate().flat_map(move |(order, from)| {
            // Proper, of determinant one: as many reversals modulo two as the order is odd.
            let proper = move |bits: &usize| bits.count_ones() % 2 == u32::from(order >= 3);
            let turn = move |bits| Self { from, sign: [0, 1, 2].map(|axis| sign(bits, axis)) };
            (0..8).filter(proper).map(turn)
        })
    }

    fn apply(&self, sensor: [f32; 3]) -> [f32; 3] {
        let [a, b, c] = self.from;
        let [x, y, z] = self.sign;
        [x * sensor[a], y * sensor[b], z * sensor[c]]
    }
}

/// Frame-rotation prediction on one encoder.
#[derive(Debug)]
pub(super) struct FrameRotation {
    turns: Vec<Turn>,
}

impl Known for FrameRotation {
    type Settings = Settings;

    const FITS: &'static [Modality] = &[Modality::Imu];
    const VIEWS: Strength = Strength::Light;

    fn new(settings: Settings, setup: Setup<'_>) -> Result<Self, ConfigError> {
        let value = |field, found: String, wanted: String| ConfigError::Value { field, found, wanted };
        let channels = setup.input.shape.first().copied().unwrap_or(0);
        if channels == 0 || !channels.is_multiple_of(3) {
            let found = format!("frame-rotation on windows of {channels} channels");
            return Err(value("method", found, "on sensors of three axes each".into()));
        }
        let rotations = settings.rotations;
        if !(2..=TURNS).contains(&rotations) {
            let wanted = format!("from 2 to {TURNS}");
            return Err(value("pretext.rotations", rotations.to_string(), wanted));
        }
        Ok(Self { turns: Turn::all().take(rotations).collect() })
    }
}

impl Pretext for FrameRotation {
    fn objective(&self) -> Objective {
        Objective::CrossEntropy { classes: self.turns.len() }
    }

    fn rows(&self, samples: usize) -> usize {
        samples
    }
}

impl Sampler for FrameRotation {
    fn draw(&self, draw: &Draw<'_>) -> Result<Inputs, DataError> {
        let mut views = draw.views(1)?;
        let mut targets = Array2::zeros((draw.len(), self.turns.len()));
        for (row, (mut window, &index)) in views.outer_iter_mut().zip(draw.indices()).enumerate() {
            let chosen = draw.rng(index, TURN).random_range(0..self.turns.len());
            for moment in window.lanes_mut(Axis(0)) {
                turn(moment, &self.turns[chosen], draw.spec());
            }
            targets[[row, chosen]] = 1.0;
        }
        Ok(vec![(VIEWS.into(), views), ("targets".into(), targets.into_dyn())])
    }
}

/// Turns the channels of one moment, normalised as `spec` says: axes have scales and offsets of their own, so
/// that they are exchanged in natural units.
fn turn(mut moment: ArrayViewMut1<'_, f32>, turn: &Turn, spec: &InputSpec) {
    for sensor in 0..moment.len() / 3 {
        // The specification has a mean and a deviation for every channel.
        let channels = [0, 1, 2].map(|axis| 3 * sensor + axis);
        let natural = channels.map(|c| moment[c] * spec.std[c] + spec.mean[c]);
        for (c, value) in channels.into_iter().zip(turn.apply(natural)) {
            moment[c] = (value - spec.mean[c]) / spec.std[c];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;

    fn determinant(turn: &Turn) -> f32 {
        let [a, b, c] = [0, 1, 2].map(|axis| {
            let mut unit = [0.0; 3];
            unit[axis] = 1.0;
            turn.apply(unit)
        });
        let cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
        a.iter().zip(cross).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn turns_are_all_the_proper_ones_each_once() {
        let all: Vec<Turn> = Turn::all().collect();
        assert_eq!(all.len(), TURNS);
        assert_eq!(all[0].apply([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
        for (i, turn) in all.iter().enumerate() {
            assert_eq!(determinant(turn), 1.0, "{turn:?}");
            assert!(!all[..i].contains(turn), "{turn:?}");
        }
    }

    #[test]
    fn both_sensors_turn_alike_in_natural_units() {
        let spec =
            InputSpec::imu(1, 50.0, (1..7).map(|c| c as f32).collect(), vec![2.0, 4.0, 8.0, 1.0, 0.5, 2.0]);
        // A quarter turn about z: x takes what y felt, y what x felt, reversed.
        let quarter = Turn { from: [1, 0, 2], sign: [1.0, -1.0, 1.0] };
        assert!(Turn::all().any(|turn| turn == quarter));
        let natural = [3.0, 10.0, -5.0, 0.5, 2.0, 8.0];
        let turned = [10.0, -3.0, -5.0, 2.0, -0.5, 8.0];
        let normal = |values: [f32; 6]| -> Array1<f32> {
            values.iter().zip(&spec.mean).zip(&spec.std).map(|((v, mean), std)| (v - mean) / std).collect()
        };
        let mut moment = normal(natural);
        turn(moment.view_mut(), &quarter, &spec);
        assert_eq!(moment, normal(turned));
    }
}

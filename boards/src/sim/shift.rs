//! What can change between the rooms a model was trained in and the ones it meets.
//!
//! Each shift has a strength from 0, absent, to 1, severe. Strengths combine. New rooms are not a
//! shift but another `building_seed`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Strengths of the shifts, each from 0 to 1. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shift {
    /// Evening: little light, warm, and with it the noise of a camera at its highest gain.
    pub dusk: f32,
    /// Fog that takes contrast away with distance.
    pub fog: f32,
    /// Smudges on the lens, fixed to the robot (its seed), that blur and haze parts of the image.
    pub dirty_lens: f32,
    /// A slow drift of the accelerometer's and gyroscope's bias.
    pub imu_bias_drift: f32,
    /// The probability that a frame is lost, and read as a drop-out.
    pub camera_dropouts: f32,
}

/// A shift that could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShiftError {
    /// No shift has this name.
    #[error("no shift is named {name:?}; known are {}", Shift::NAMES.join(", "))]
    Unknown {
        /// The name found.
        name: String,
    },
    /// Not a number from 0 to 1.
    #[error("shift {name} has strength {found:?}; a number from 0 to 1 is wanted")]
    Strength {
        /// The shift.
        name: String,
        /// The strength found.
        found: String,
    },
}

impl Shift {
    /// Every name that [`FromStr`] knows.
    pub const NAMES: [&'static str; 8] =
        ["none", "dusk", "fog", "dirty-lens", "bias-drift", "drop-outs", "shifted", "all"];

    /// Strength of a shift named without one.
    pub const DEFAULT_STRENGTH: f32 = 1.0;

    /// Probability of a lost frame when `drop-outs` is named without one.
    pub const DEFAULT_DROPOUTS: f32 = 0.2;

    /// The shift that the quickstart adapts to: a foggy evening behind a dirty lens, with a
    /// drifting IMU. Moderate, so that something is left to see.
    pub fn shifted() -> Self {
        Self { dusk: 0.6, fog: 0.6, dirty_lens: 0.6, imu_bias_drift: 0.5, camera_dropouts: 0.02 }
    }

    /// Every shift at the strength it has when named alone.
    pub fn all() -> Self {
        Self {
            dusk: Self::DEFAULT_STRENGTH,
            fog: Self::DEFAULT_STRENGTH,
            dirty_lens: Self::DEFAULT_STRENGTH,
            imu_bias_drift: Self::DEFAULT_STRENGTH,
            camera_dropouts: Self::DEFAULT_DROPOUTS,
        }
    }

    /// Whether every strength is a number from 0 to 1.
    ///
    /// # Errors
    /// [`ShiftError::Strength`] names the first that is not.
    pub fn check(&self) -> Result<(), ShiftError> {
        let named = [
            ("dusk", self.dusk),
            ("fog", self.fog),
            ("dirty_lens", self.dirty_lens),
            ("imu_bias_drift", self.imu_bias_drift),
            ("camera_dropouts", self.camera_dropouts),
        ];
        match named.into_iter().find(|(_, strength)| !(0.0..=1.0).contains(strength)) {
            Some((name, strength)) => {
                Err(ShiftError::Strength { name: name.to_owned(), found: strength.to_string() })
            }
            None => Ok(()),
        }
    }

    fn scaled(self, by: f32) -> Self {
        Self {
            dusk: self.dusk * by,
            fog: self.fog * by,
            dirty_lens: self.dirty_lens * by,
            imu_bias_drift: self.imu_bias_drift * by,
            camera_dropouts: self.camera_dropouts * by,
        }
    }

    fn set(&mut self, name: &str, strength: Option<f32>) -> Result<(), ShiftError> {
        let usual = strength.unwrap_or(Self::DEFAULT_STRENGTH);
        match name {
            "none" => *self = Self::default(),
            "dusk" => self.dusk = usual,
            "fog" => self.fog = usual,
            "dirty-lens" => self.dirty_lens = usual,
            "bias-drift" => self.imu_bias_drift = usual,
            "drop-outs" => self.camera_dropouts = strength.unwrap_or(Self::DEFAULT_DROPOUTS),
            "shifted" => *self = Self::shifted().scaled(usual),
            "all" => *self = Self::all().scaled(usual),
            _ => return Err(ShiftError::Unknown { name: name.to_owned() }),
        }
        Ok(())
    }
}

/// Names joined by `+`, each with an optional strength after a colon: `dusk+fog:0.5`. The presets
/// `none`, `shifted` and `all` replace what stands before them.
impl FromStr for Shift {
    type Err = ShiftError;

    fn from_str(text: &str) -> Result<Self, ShiftError> {
        let mut shift = Self::default();
        for part in text.split('+') {
            let (name, strength) = match part.split_once(':') {
                Some((name, number)) => (name, Some(strength_of(name, number)?)),
                None => (part, None),
            };
            shift.set(name.trim(), strength)?;
        }
        Ok(shift)
    }
}

fn strength_of(name: &str, number: &str) -> Result<f32, ShiftError> {
    match number.trim().parse::<f32>() {
        Ok(strength) if (0.0..=1.0).contains(&strength) => Ok(strength),
        _ => Err(ShiftError::Strength { name: name.trim().to_owned(), found: number.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_combine_and_take_strengths() {
        let shift: Shift = "dusk+fog:0.5+drop-outs".parse().unwrap();
        assert_eq!(shift, Shift { dusk: 1.0, fog: 0.5, camera_dropouts: 0.2, ..Shift::default() });
        assert_eq!("none".parse(), Ok(Shift::default()));
        assert_eq!("all".parse(), Ok(Shift::all()));
        assert_eq!("shifted".parse(), Ok(Shift::shifted()));
        assert_eq!("all:0.5".parse::<Shift>().unwrap().dusk, 0.5);
        for name in Shift::NAMES {
            assert!(name.parse::<Shift>().is_ok(), "{name}");
        }
    }

    #[test]
    fn a_bad_name_or_strength_is_told() {
        let text = "dusk+smog".parse::<Shift>().unwrap_err().to_string();
        assert!(text.contains("smog") && text.contains("dirty-lens"), "{text}");
        for bad in ["dusk:2", "dusk:-1", "dusk:nan", "dusk:x", "dusk:"] {
            assert!(matches!(bad.parse::<Shift>(), Err(ShiftError::Strength { .. })), "{bad}");
        }
        let nan = Shift { fog: f32::NAN, ..Shift::default() };
        assert!(nan.check().is_err());
        assert!(Shift::shifted().check().is_ok() && Shift::all().check().is_ok());
    }
}

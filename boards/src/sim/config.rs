//! What fixes a simulated drive, and what can be wrong with it.

use serde::{Deserialize, Serialize};

use super::shift::{Shift, ShiftError};
use crate::board::BoardError;
use crate::bus::SimulatedBusError;
use crate::registers::SensorError;

/// Most rooms in a building.
pub const MAX_ROOMS: usize = 64;

/// Longest drive in seconds: two hours, whose truth takes about 40 MB.
pub const MAX_SECONDS: u32 = 7200;

/// Everything that decides a drive: equal configurations give equal streams, byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RigConfig {
    /// Rooms, doors, textures and objects. Another seed is another building.
    pub building_seed: u64,
    /// The way through it, the light of the day, and every sensor's noise.
    pub drive_seed: u64,
    /// The robot itself: its IMU's bias and the dirt on its lens.
    pub robot_seed: u64,
    /// Number of rooms, 1 to [`MAX_ROOMS`].
    pub rooms: usize,
    /// Frame size.
    pub camera: CameraSize,
    /// Length of the drive, 1 to [`MAX_SECONDS`].
    pub seconds: u32,
    /// What differs from a clear day.
    pub shift: Shift,
}

impl Default for RigConfig {
    fn default() -> Self {
        Self {
            building_seed: 1,
            drive_seed: 1,
            robot_seed: 1,
            rooms: 6,
            camera: CameraSize::Px64,
            seconds: 120,
            shift: Shift::default(),
        }
    }
}

impl RigConfig {
    /// Whether every value is within its limits.
    ///
    /// # Errors
    /// [`RigError::Rooms`], [`RigError::Seconds`] or [`RigError::Shift`].
    pub fn check(&self) -> Result<(), RigError> {
        if !(1..=MAX_ROOMS).contains(&self.rooms) {
            return Err(RigError::Rooms { found: self.rooms });
        }
        if !(1..=MAX_SECONDS).contains(&self.seconds) {
            return Err(RigError::Seconds { found: self.seconds });
        }
        self.shift.check()?;
        Ok(())
    }
}

/// Sides of the simulated camera's square frames; written as the number of pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum CameraSize {
    /// 64 x 64
    #[default]
    Px64,
    /// 96 x 96
    Px96,
}

impl CameraSize {
    /// Pixels along one side.
    pub const fn pixels(self) -> u32 {
        match self {
            Self::Px64 => 64,
            Self::Px96 => 96,
        }
    }
}

impl From<CameraSize> for u32 {
    fn from(size: CameraSize) -> Self {
        size.pixels()
    }
}

impl TryFrom<u32> for CameraSize {
    type Error = RigError;

    fn try_from(pixels: u32) -> Result<Self, RigError> {
        match pixels {
            64 => Ok(Self::Px64),
            96 => Ok(Self::Px96),
            _ => Err(RigError::CameraSize { found: pixels }),
        }
    }
}

/// A rig that could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RigError {
    /// Too few or too many rooms.
    #[error("rooms = {found}, but a simulated building has 1 to {MAX_ROOMS}")]
    Rooms {
        /// The number asked for.
        found: usize,
    },
    /// Too short or too long.
    #[error("seconds = {found}, but a simulated drive lasts 1 to {MAX_SECONDS}")]
    Seconds {
        /// The length asked for.
        found: u32,
    },
    /// A frame size that the camera has not.
    #[error("camera size {found}, but the simulated camera has 64 or 96 pixels a side")]
    CameraSize {
        /// The size asked for.
        found: u32,
    },
    /// A shift's strength is wrong.
    #[error(transparent)]
    Shift(#[from] ShiftError),
    /// The board's file is wrong.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The board lacks a sensor that the rig simulates.
    #[error(
        "board {board} has no {sensor}, which the simulated rig needs; add it to [[sensors]] or [[cameras]], or use the board sim"
    )]
    NoSensor {
        /// The board.
        board: String,
        /// `imu` or `camera`.
        sensor: &'static str,
    },
    /// A rate that does not fit the simulation's step.
    #[error(
        "board {board}: {sensor}.rate_hz = {rate_hz}, but the simulation steps at 200 Hz and needs a divisor of it"
    )]
    Rate {
        /// The board.
        board: String,
        /// `imu` or `camera`.
        sensor: &'static str,
        /// The rate found.
        rate_hz: u32,
    },
    /// The IMU did not answer its driver.
    #[error("the simulated IMU: {0}")]
    Imu(SensorError<SimulatedBusError>),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_from_toml_with_defaults_and_refuses_unknown_keys() {
        let text = "building_seed = 3\ncamera = 96\n[shift]\nfog = 0.5\n";
        let config: RigConfig = toml::from_str(text).unwrap();
        assert_eq!((config.building_seed, config.camera, config.rooms), (3, CameraSize::Px96, 6));
        assert_eq!(config.shift.fog, 0.5);
        let again: RigConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        for bad in ["room = 3", "camera = 65", "[shift]\nsmog = 1.0"] {
            assert!(toml::from_str::<RigConfig>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_kept() {
        let with = |change: fn(&mut RigConfig)| {
            let mut config = RigConfig::default();
            change(&mut config);
            config.check()
        };
        assert!(with(|_| ()).is_ok());
        assert!(matches!(with(|c| c.rooms = 0), Err(RigError::Rooms { found: 0 })));
        assert!(matches!(with(|c| c.rooms = 65), Err(RigError::Rooms { .. })));
        assert!(matches!(with(|c| c.seconds = 0), Err(RigError::Seconds { .. })));
        assert!(matches!(with(|c| c.seconds = 7201), Err(RigError::Seconds { .. })));
        assert!(matches!(with(|c| c.shift.dusk = 1.5), Err(RigError::Shift(_))));
    }
}

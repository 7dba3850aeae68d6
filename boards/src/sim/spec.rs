//! A drive in one word, for command lines: `sim:building=3,drive=7,seconds=60,shift=dusk+fog`.

use std::str::FromStr;

use super::config::{CameraSize, RigConfig, RigError};
use super::shift::{Shift, ShiftError};

/// The keys of a specification.
const KEYS: &str = "building, drive, robot, rooms, size, seconds, shift";

/// A specification that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// It does not begin with `sim`.
    #[error("{found:?} is not a simulated drive; write sim, or sim:key=value,... with keys {KEYS}")]
    NotSim {
        /// What it begins with.
        found: String,
    },
    /// A key without a value.
    #[error("{found:?} in a simulated drive is no key=value; known keys are {KEYS}")]
    NotPair {
        /// The part found.
        found: String,
    },
    /// No such key.
    #[error("a simulated drive has no key {key:?}; known keys are {KEYS}")]
    UnknownKey {
        /// The key found.
        key: String,
    },
    /// The same key again.
    #[error("key {key} is given twice in a simulated drive")]
    Repeated {
        /// The key.
        key: String,
    },
    /// Not a whole number, or too large a one.
    #[error("{key}={found:?} in a simulated drive; a whole number is wanted")]
    Number {
        /// The key.
        key: String,
        /// The value found.
        found: String,
    },
    /// A shift that does not exist, or a strength out of range.
    #[error("shift in a simulated drive: {0}")]
    Shift(#[from] ShiftError),
    /// A value out of its limits.
    #[error("in a simulated drive: {0}")]
    Limits(#[from] RigError),
}

/// Reads `sim` or `sim:key=value,...`; what is not given keeps its default. Keys: `building`,
/// `drive`, `robot` (seeds), `rooms`, `size` (64 or 96), `seconds`, `shift` (see [`Shift`]).
impl FromStr for RigConfig {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut config = Self::default();
        let (head, pairs) = text.split_once(':').unwrap_or((text, ""));
        if head.trim() != "sim" {
            return Err(SpecError::NotSim { found: head.to_owned() });
        }
        let mut seen: Vec<&str> = Vec::new();
        for pair in pairs.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| SpecError::NotPair { found: pair.to_owned() })?;
            let (key, value) = (key.trim(), value.trim());
            set(&mut config, key, value)?;
            if seen.contains(&key) {
                return Err(SpecError::Repeated { key: key.to_owned() });
            }
            seen.push(key);
        }
        config.check()?;
        Ok(config)
    }
}

fn set(config: &mut RigConfig, key: &str, value: &str) -> Result<(), SpecError> {
    match key {
        "building" => config.building_seed = number(key, value)?,
        "drive" => config.drive_seed = number(key, value)?,
        "robot" => config.robot_seed = number(key, value)?,
        "rooms" => config.rooms = number(key, value)?,
        "size" => config.camera = CameraSize::try_from(number::<u32>(key, value)?)?,
        "seconds" => config.seconds = number(key, value)?,
        "shift" => config.shift = value.parse::<Shift>()?,
        _ => return Err(SpecError::UnknownKey { key: key.to_owned() }),
    }
    Ok(())
}

fn number<N: FromStr>(key: &str, value: &str) -> Result<N, SpecError> {
    value.parse().map_err(|_| SpecError::Number { key: key.to_owned(), found: value.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn error_of(text: &str) -> String {
        text.parse::<RigConfig>().unwrap_err().to_string()
    }

    #[test]
    fn every_key_is_read() {
        assert_eq!("sim".parse::<RigConfig>().unwrap(), RigConfig::default());
        assert_eq!("sim:".parse::<RigConfig>().unwrap(), RigConfig::default());
        let text = "sim:building=3, drive=7,robot=2,rooms=9,size=96,seconds=60,shift=dusk+fog:0.5";
        let wanted = RigConfig {
            building_seed: 3,
            drive_seed: 7,
            robot_seed: 2,
            rooms: 9,
            camera: CameraSize::Px96,
            seconds: 60,
            shift: Shift { dusk: 1.0, fog: 0.5, ..Shift::default() },
        };
        assert_eq!(text.parse::<RigConfig>().unwrap(), wanted);
    }

    #[test]
    fn what_is_wrong_is_named_beside_what_is_known() {
        for (text, bad, known) in [
            ("sin:rooms=2", "sin", "sim:key=value"),
            ("sim:room=2", "room", "rooms"),
            ("sim:rooms", "rooms", "building, drive"),
            ("sim:rooms=two", "two", "whole number"),
            ("sim:rooms=65", "65", "1 to 64"),
            ("sim:seconds=0", "0", "1 to 7200"),
            ("sim:size=65", "65", "64 or 96"),
            ("sim:shift=smog", "smog", "dirty-lens"),
            ("sim:rooms=2,rooms=3", "rooms", "twice"),
        ] {
            let error = error_of(text);
            assert!(error.contains(bad) && error.contains(known), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<RigConfig>();
        }

        #[test]
        fn no_near_miss_panics(text in "sim(:([a-z]{0,9}=?[-+.:0-9a-z]{0,22},?){0,5})?") {
            let _ = text.parse::<RigConfig>();
        }

        #[test]
        fn written_numbers_are_read_back(building: u64, drive: u64, rooms in 1usize..=64, seconds in 1u32..=7200) {
            let text = format!("sim:building={building},drive={drive},rooms={rooms},seconds={seconds}");
            let config: RigConfig = text.parse().unwrap();
            prop_assert_eq!((config.building_seed, config.drive_seed), (building, drive));
            prop_assert_eq!((config.rooms, config.seconds), (rooms, seconds));
        }
    }
}

//! Boards as data: what a machine is known by, what is soldered where, and what the learner may spend
//! there.
//!
//! A board is one TOML file. Those in [`Board::names`] are built in; [`Board::load`] reads any other.
//! Unknown keys are refused, and every value is checked once, when the file is read.

mod check;
mod chip;
mod describe;
mod detect;
mod heat;
mod spec;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use check::{MAX_DEVICES, MAX_TEXT, MAX_WORDS};
pub use chip::SensorChip;
pub(crate) use detect::read_text;
pub use detect::{Detected, Evidence, detect};
pub use heat::{Ease, Heat, HeatError, Throttling, heat};
pub use spec::{
    BudgetSpec, BusKind, BusSpec, CameraKind, CameraSpec, Detect, Driver, Line, MemorySpec, NodeSpec,
    PinSpec, PinsSpec, PixelFormat, SensorSpec, ThermalSpec,
};

use crate::imu::{AccelRange, GyroRange, LowPass, MpuChip, MpuConfig};

/// Largest board file read, in bytes.
pub const MAX_BOARD_BYTES: u64 = 64 * 1024;

macro_rules! built_in {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../boards/", $name, ".toml")))),*]
    };
}

const BUILT_IN: [(&str, &str); 9] = built_in![
    "rpi3",
    "rpi4",
    "rpi5",
    "rpi-zero-2w",
    "jetson-orin-nano",
    "jetson-xavier-nx",
    "generic-linux",
    "sim",
    "virtual-pi"
];

/// A board: what it is known by, its devices, and its default budget.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// What commands call it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// How it is to be wired and set up, in words.
    #[serde(default)]
    pub about: String,
    /// How a machine is known to be one.
    #[serde(default)]
    pub detect: Detect,
    /// Buses that sensors are on.
    #[serde(default)]
    pub buses: Vec<BusSpec>,
    /// Sensors.
    #[serde(default)]
    pub sensors: Vec<SensorSpec>,
    /// Cameras.
    #[serde(default)]
    pub cameras: Vec<CameraSpec>,
    /// Microcontrollers with an inertial sensor each.
    #[serde(default)]
    pub nodes: Vec<NodeSpec>,
    /// Pins, if any are used.
    pub pins: Option<PinsSpec>,
    /// Where heat is told, if it is.
    pub thermal: Option<ThermalSpec>,
    /// Memory, where the board has a known amount.
    pub memory: Option<MemorySpec>,
    /// What adaptation may use unless the user says otherwise.
    pub budget: BudgetSpec,
}

/// A board that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// No built-in board has this name.
    #[error("no board is named {name:?}; built in are {known}, or give the path of a .toml file")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The file could not be read.
    #[error("cannot read board file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a board.
    #[error("board file {} is over {MAX_BOARD_BYTES} bytes; is it a board?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML, a key missing, a key unknown, or a value of the wrong type or kind.
    #[error("board {file}: {message}")]
    Syntax {
        /// The file, or the built-in board's name.
        file: String,
        /// What and where: line, key, and what was expected there.
        message: String,
    },
    /// A value outside what the hardware or the drivers allow.
    #[error("board {file}: {key} = {found}, but allowed is {allowed}")]
    Value {
        /// The file, or the built-in board's name.
        file: String,
        /// The key, dotted from the top; tables of a list go by their name.
        key: String,
        /// The value found.
        found: String,
        /// What would be accepted.
        allowed: String,
    },
}

impl Board {
    /// Names of the boards built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter().map(|(name, _)| name)
    }

    /// The file of a built-in board, to copy and change.
    pub fn text_of(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// The built-in board of this name.
    ///
    /// # Errors
    /// [`BoardError::Unknown`], which lists the names.
    pub fn named(name: &str) -> Result<Self, BoardError> {
        match Self::text_of(name) {
            Some(text) => Self::from_toml(text, name),
            None => {
                let known = Self::names().collect::<Vec<_>>().join(", ");
                Err(BoardError::Unknown { name: name.to_owned(), known })
            }
        }
    }

    /// The built-in board of this name, or the one described by the file at this path: what ends in
    /// `.toml` or has a `/` in it is a path.
    ///
    /// # Errors
    /// [`BoardError`].
    pub fn named_or_file(text: &str) -> Result<Self, BoardError> {
        if text.ends_with(".toml") || text.contains('/') {
            Self::load(Path::new(text))
        } else {
            Self::named(text)
        }
    }

    /// The board described by a file.
    ///
    /// # Errors
    /// [`BoardError`], naming the file.
    pub fn load(path: &Path) -> Result<Self, BoardError> {
        let io = |source| BoardError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(MAX_BOARD_BYTES + 1).read_to_string(&mut text).map_err(io)?;
        if text.len() as u64 > MAX_BOARD_BYTES {
            return Err(BoardError::TooLarge { path: path.to_owned() });
        }
        Self::from_toml(&text, &path.display().to_string())
    }

    /// The board in `text`; `file` names it in errors.
    ///
    /// # Errors
    /// [`BoardError::Syntax`] or [`BoardError::Value`].
    pub fn from_toml(text: &str, file: &str) -> Result<Self, BoardError> {
        let board: Self = toml::from_str(text).map_err(|error| BoardError::Syntax {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        check::check(&board, file)?;
        Ok(board)
    }

    /// The first inertial sensor, which windows are made of.
    pub fn imu(&self) -> Option<&SensorSpec> {
        self.sensors.iter().find(|sensor| sensor.chip.is_inertial())
    }

    /// The bus of this name.
    pub fn bus(&self, name: &str) -> Option<&BusSpec> {
        self.buses.iter().find(|bus| bus.name == name)
    }
}

impl SensorSpec {
    /// The configuration of an MPU, or `None` for every other chip.
    pub fn mpu_config(&self) -> Option<MpuConfig> {
        let chip = match self.chip {
            SensorChip::Mpu6050 => MpuChip::Mpu6050,
            SensorChip::Mpu6500 => MpuChip::Mpu6500,
            SensorChip::Mpu9250 => MpuChip::Mpu9250,
            _ => return None,
        };
        let (accel, gyro) = self.ranges()?;
        Some(MpuConfig {
            chip,
            rate_hz: self.rate_hz,
            accel,
            gyro,
            filter: LowPass::below_nyquist(self.rate_hz),
        })
    }

    /// The full scales of an inertial sensor.
    pub fn ranges(&self) -> Option<(AccelRange, GyroRange)> {
        let accel = AccelRange::from_full_scale_g(self.accel_full_scale_g?)?;
        Some((accel, GyroRange::from_full_scale_dps(self.gyro_full_scale_dps?)?))
    }
}

impl PinsSpec {
    /// The pins there are, with their keys.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &PinSpec)> {
        let Self { label_button, status_led, data_ready, .. } = self;
        let all = [("label_button", label_button), ("status_led", status_led), ("data_ready", data_ready)];
        all.into_iter().filter_map(|(name, pin)| pin.as_ref().map(|pin| (name, pin)))
    }
}

impl BusSpec {
    /// The numbers in the device node: `/dev/i2c-N` gives N and 0, `/dev/spidevN.M` N and M.
    pub fn node(&self) -> Option<(u8, u8)> {
        let text = self.device.as_ref()?.to_str()?;
        match self.kind {
            BusKind::I2c => Some((text.strip_prefix("/dev/i2c-")?.parse().ok()?, 0)),
            BusKind::Spi => {
                let (bus, select) = text.strip_prefix("/dev/spidev")?.split_once('.')?;
                Some((bus.parse().ok()?, select.parse().ok()?))
            }
        }
    }
}

#[cfg(test)]
mod tests;

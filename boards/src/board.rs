//! Boards as data: what is soldered where, and what the learner may spend there.
//!
//! A board is one TOML file. Three are built in ([`Board::NAMES`]); [`Board::load`] reads any
//! other. Unknown keys are refused, and every number is checked here, once, so that the layers
//! above never meet a board that its drivers cannot serve.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::imu::registers::divider_for;
use crate::imu::{AccelRange, GyroRange, LowPass, Mpu6050Config};

/// Largest board file read, in bytes.
pub const MAX_BOARD_BYTES: u64 = 64 * 1024;

const BUILT_IN: [(&str, &str); 3] = [
    ("sim", include_str!("../boards/sim.toml")),
    ("generic-linux", include_str!("../boards/generic-linux.toml")),
    ("rpi4", include_str!("../boards/rpi4.toml")),
];

/// A board: its bus, its sensors, and its default budget.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// What people call it.
    pub name: String,
    /// The bus that the sensors are on, if it has one.
    pub bus: Option<BusKind>,
    /// The inertial sensor, if it has one.
    pub imu: Option<ImuSpec>,
    /// The camera, if it has one that Sedge reads.
    pub camera: Option<CameraSpec>,
    /// What adaptation may use unless the user says otherwise.
    pub budget: BudgetSpec,
}

/// How the I2C bus is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum BusKind {
    /// [`SimulatedI2c`](crate::bus::SimulatedI2c).
    Simulated {},
    /// The kernel's `/dev/i2c-N`, through rppal.
    Rppal {
        /// N.
        number: u8,
    },
}

/// Which inertial sensor, where, and how it measures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImuSpec {
    /// The chip, which names the driver.
    pub chip: ImuChip,
    /// I2C address.
    pub address: u8,
    /// Samples a second.
    pub rate_hz: u32,
    /// Full scale of the accelerometer in g: 2, 4, 8 or 16.
    pub accel_full_scale_g: u32,
    /// Full scale of the gyroscope in degrees per second: 250, 500, 1000 or 2000.
    pub gyro_full_scale_dps: u32,
}

/// Inertial sensors with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ImuChip {
    /// InvenSense MPU-6050.
    Mpu6050,
}

/// The camera's kind and its frames.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSpec {
    /// Where frames come from.
    pub kind: CameraKind,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second.
    pub rate_hz: u32,
}

/// Where frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CameraKind {
    /// The simulated rig.
    Simulated,
}

/// What adaptation may use.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// Share of one core's time for adaptation steps, 0 to 1.
    pub duty: f64,
    /// Memory of the whole daemon in MiB.
    pub memory_mb: u32,
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
    #[error("cannot read board file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a board.
    #[error("board file {path} is over {MAX_BOARD_BYTES} bytes; is it a board?")]
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
        /// The key, dotted from the top.
        key: &'static str,
        /// The value found.
        found: String,
        /// What would be accepted.
        allowed: &'static str,
    },
}

impl Board {
    /// Names of the boards built in.
    pub const NAMES: [&'static str; 3] = [BUILT_IN[0].0, BUILT_IN[1].0, BUILT_IN[2].0];

    /// The built-in board of this name.
    ///
    /// # Errors
    /// [`BoardError::Unknown`], which lists the names.
    pub fn named(name: &str) -> Result<Self, BoardError> {
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((known, text)) => Self::from_toml(text, known),
            None => Err(BoardError::Unknown { name: name.to_owned(), known: Self::NAMES.join(", ") }),
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
        board.check(file)?;
        Ok(board)
    }

    /// The IMU driver's configuration, or `None` for a board without an IMU.
    pub fn imu_config(&self) -> Option<Mpu6050Config> {
        let imu = self.imu.as_ref()?;
        Some(Mpu6050Config {
            address: imu.address,
            rate_hz: imu.rate_hz,
            accel: AccelRange::from_full_scale_g(imu.accel_full_scale_g)?,
            gyro: GyroRange::from_full_scale_dps(imu.gyro_full_scale_dps)?,
            filter: LowPass::below_nyquist(imu.rate_hz),
        })
    }

    fn check(&self, file: &str) -> Result<(), BoardError> {
        let expect = |fits: bool, key, found: &dyn std::fmt::Display, allowed| {
            if fits {
                return Ok(());
            }
            Err(BoardError::Value { file: file.to_owned(), key, found: found.to_string(), allowed })
        };
        expect(!self.name.is_empty(), "name", &"\"\"", "a name")?;
        if let Some(imu) = &self.imu {
            expect(self.bus.is_some(), "bus", &"nothing", "a [bus] table, as the board has an [imu]")?;
            let address = format_args!("{:#04x}", imu.address).to_string();
            expect(matches!(imu.address, 0x68 | 0x69), "imu.address", &address, "0x68 or 0x69")?;
            let rate_fits = divider_for(imu.rate_hz).is_some();
            expect(rate_fits, "imu.rate_hz", &imu.rate_hz, "a divisor of 1000, 4 or more")?;
            let g = imu.accel_full_scale_g;
            let g_fits = AccelRange::from_full_scale_g(g).is_some();
            expect(g_fits, "imu.accel_full_scale_g", &g, "2, 4, 8 or 16")?;
            let dps = imu.gyro_full_scale_dps;
            let dps_fits = GyroRange::from_full_scale_dps(dps).is_some();
            expect(dps_fits, "imu.gyro_full_scale_dps", &dps, "250, 500, 1000 or 2000")?;
        }
        if let Some(camera) = &self.camera {
            let sides = 8..=4096;
            expect(sides.contains(&camera.width), "camera.width", &camera.width, "8 to 4096")?;
            expect(sides.contains(&camera.height), "camera.height", &camera.height, "8 to 4096")?;
            expect((1..=240).contains(&camera.rate_hz), "camera.rate_hz", &camera.rate_hz, "1 to 240")?;
        }
        let BudgetSpec { duty, memory_mb } = self.budget;
        expect((0.0..=1.0).contains(&duty), "budget.duty", &duty, "0 to 1")?;
        expect((16..=1 << 20).contains(&memory_mb), "budget.memory_mb", &memory_mb, "16 to 1048576")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    const SIM: &str = BUILT_IN[0].1;

    fn error_of(text: &str) -> String {
        Board::from_toml(text, "mine.toml").unwrap_err().to_string()
    }

    #[test]
    fn built_in_boards_are_valid_and_carry_their_own_names() {
        for name in Board::NAMES {
            assert_eq!(Board::named(name).unwrap().name, name);
        }
        let config = Board::named("rpi4").unwrap().imu_config().unwrap();
        assert_eq!(config, Mpu6050Config::default());
        assert_eq!(Board::named("rpi4").unwrap().bus, Some(BusKind::Rppal { number: 1 }));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let text = Board::named("rpi9").unwrap_err().to_string();
        assert!(text.contains("rpi9") && text.contains("sim, generic-linux, rpi4"), "{text}");
    }

    #[test]
    fn unknown_keys_are_refused_by_name_at_every_level() {
        for (from, to) in [
            ("name =", "colour = 1\nname ="),
            ("kind = \"simulated\"\n\n[imu]", "kind = \"simulated\"\ncolour = 1\n[imu]"),
            ("rate_hz = 100", "rate_hz = 100\ncolour = 1"),
            ("duty =", "colour = 1\nduty ="),
        ] {
            let text = error_of(&SIM.replacen(from, to, 1));
            assert!(text.contains("mine.toml") && text.contains("colour"), "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (from, to, key, allowed) in [
            ("0x68", "0x40", "imu.address", "0x68 or 0x69"),
            ("rate_hz = 100", "rate_hz = 99", "imu.rate_hz", "a divisor of 1000"),
            ("_g = 4", "_g = 5", "imu.accel_full_scale_g", "2, 4, 8 or 16"),
            ("_dps = 500", "_dps = 501", "imu.gyro_full_scale_dps", "250, 500"),
            ("width = 64", "width = 0", "camera.width", "8 to 4096"),
            ("duty = 0.25", "duty = nan", "budget.duty", "0 to 1"),
            ("memory_mb = 256", "memory_mb = 1", "budget.memory_mb", "16 to"),
        ] {
            let text = error_of(&SIM.replacen(from, to, 1));
            assert!(text.contains(key) && text.contains(allowed), "{text}");
        }
        let text = error_of(&SIM.replacen("mpu6050", "bmi270", 1));
        assert!(text.contains("bmi270") && text.contains("mpu6050"), "{text}");
    }

    #[test]
    fn a_missing_or_huge_file_is_named() {
        let text = Board::load(Path::new("no/such/board.toml")).unwrap_err().to_string();
        assert!(text.contains("no/such/board.toml"), "{text}");
        assert!(matches!(Board::load(Path::new("/dev/zero")), Err(BoardError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Board::from_toml(&text, "any");
        }

        #[test]
        fn no_number_panics(address: i64, rate: i64, g: i64, duty: f64) {
            let text = SIM
                .replace("0x68", &address.to_string())
                .replace("rate_hz = 100", &format!("rate_hz = {rate}"))
                .replace("_g = 4", &format!("_g = {g}"))
                .replace("0.25", &format!("{duty:?}"));
            let _ = Board::from_toml(&text, "any");
        }
    }
}

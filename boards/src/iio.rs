//! Sensors that the kernel drives: Linux's Industrial I/O, read through sysfs.
//!
//! A device is a folder under `/sys/bus/iio/devices` with a `name` and files such as `in_accel_x_raw`,
//! `in_accel_scale`. The value is `(raw + offset) * scale`, in the units of the kernel's ABI
//! (`Documentation/ABI/testing/sysfs-bus-iio`): m/s², rad/s, gauss, thousandths of a degree, kilopascals,
//! thousandths of a per cent. The folder is found below a root, `/` on a real machine.

use std::fs;
use std::path::{Path, PathBuf};

use sedge_readings::{
    Celsius, Environment, ImuSample, MagneticField, Measurement, Pascals, RelativeHumidity,
};

const DEVICES: &str = "sys/bus/iio/devices";
/// Most devices looked at.
const MAX_DEVICES: usize = 256;
/// Longest number read from a file, in bytes.
const MAX_NUMBER: usize = 64;
const AXES: [&str; 3] = ["x", "y", "z"];

/// A device or a channel that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IioError {
    /// No device has that name.
    #[error("no device under {} is named {name:?}; there are: {known}. Load the kernel's driver or correct iio_name", folder.display())]
    Missing {
        /// Where was looked.
        folder: PathBuf,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The device has no channel that Sedge knows.
    #[error("{} has no channel of acceleration with angular rate, magnetic field, temperature, pressure or humidity", device.display())]
    NoChannel {
        /// The device's folder.
        device: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds no number.
    #[error("{} holds {found:?}, which is no number", path.display())]
    NoNumber {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

/// What a device gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Imu,
    Magnetometer,
    Environment,
}

/// A device of the kernel's Industrial I/O.
#[derive(Clone, Debug)]
pub struct Iio {
    folder: PathBuf,
    kind: Kind,
}

impl Iio {
    /// The device of this name below `root`.
    ///
    /// # Errors
    /// [`IioError::Missing`], which lists the names there are; [`IioError::NoChannel`].
    pub fn open(root: &Path, name: &str) -> Result<Self, IioError> {
        let folder = root.join(DEVICES);
        let mut known = vec![];
        let mut devices: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .take(MAX_DEVICES)
            .map(|e| e.path())
            .collect();
        // The order of a folder is no order; the first of two equal names is the lowest number.
        devices.sort();
        for device in devices {
            let Ok(own) = fs::read_to_string(device.join("name")) else { continue };
            if own.trim() == name {
                return Self::at(device);
            }
            known.push(own.trim().to_owned());
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(IioError::Missing { folder, name: name.to_owned(), known })
    }

    fn at(folder: PathBuf) -> Result<Self, IioError> {
        let has = |channel: &str| {
            ["raw", "input"].iter().any(|end| folder.join(format!("in_{channel}_{end}")).exists())
        };
        let kind = if has("accel_x") && has("anglvel_x") {
            Kind::Imu
        } else if has("magn_x") {
            Kind::Magnetometer
        } else if has("temp") || has("pressure") || has("humidityrelative") {
            Kind::Environment
        } else {
            return Err(IioError::NoChannel { device: folder });
        };
        Ok(Self { folder, kind })
    }

    /// The present value.
    ///
    /// # Errors
    /// [`IioError::Io`] where a file is gone, [`IioError::NoNumber`] where it holds none.
    pub fn measure(&self) -> Result<Measurement, IioError> {
        Ok(match self.kind {
            Kind::Imu => {
                Measurement::Imu(ImuSample { accel: self.axes("accel")?, gyro: self.axes("anglvel")? })
            }
            Kind::Magnetometer => {
                Measurement::Magnetic(MagneticField(self.axes("magn")?.map(|gauss| gauss * 1e-4)))
            }
            Kind::Environment => Measurement::Environment(Environment {
                temperature: self.channel("temp", "temp")?.map(|milli| Celsius((milli * 1e-3) as f32)),
                pressure: self.channel("pressure", "pressure")?.map(|kilo| Pascals((kilo * 1e3) as f32)),
                humidity: self
                    .channel("humidityrelative", "humidityrelative")?
                    .map(|milli| RelativeHumidity((milli * 1e-3) as f32)),
            }),
        })
    }

    fn axes(&self, quantity: &str) -> Result<[f32; 3], IioError> {
        let mut values = [0.0; 3];
        for (value, axis) in values.iter_mut().zip(AXES) {
            let channel = format!("{quantity}_{axis}");
            let found = self.channel(&channel, quantity)?;
            *value = found.ok_or_else(|| IioError::NoChannel { device: self.folder.clone() })? as f32;
        }
        Ok(values)
    }

    /// A channel in the ABI's unit, or `None` where the device does not have it: processed, or raw with the
    /// offset and scale of the channel or of its quantity.
    fn channel(&self, channel: &str, quantity: &str) -> Result<Option<f64>, IioError> {
        if let Some(value) = self.number(&format!("in_{channel}_input"))? {
            return Ok(Some(value));
        }
        let Some(raw) = self.number(&format!("in_{channel}_raw"))? else { return Ok(None) };
        let shared = |what: &str| match self.number(&format!("in_{channel}_{what}"))? {
            None => self.number(&format!("in_{quantity}_{what}")),
            own => Ok(own),
        };
        let (offset, scale) = (shared("offset")?.unwrap_or(0.0), shared("scale")?.unwrap_or(1.0));
        Ok(Some((raw + offset) * scale))
    }

    fn number(&self, file: &str) -> Result<Option<f64>, IioError> {
        let path = self.folder.join(file);
        let text = match crate::board::read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.folder.exists() => {
                return Ok(None);
            }
            Err(source) => return Err(IioError::Io { path, source }),
        };
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let found = || text.trim().chars().take(MAX_NUMBER).collect();
        number.map(Some).ok_or_else(|| IioError::NoNumber { path, found: found() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// A machine with one device of these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(DEVICES).join("iio:device0");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        root
    }

    #[test]
    fn an_imu_comes_in_its_scales() {
        let root = machine(&[
            ("name", "bmi160\n"),
            ("in_accel_x_raw", "8192\n"),
            ("in_accel_y_raw", "-100\n"),
            ("in_accel_z_raw", "0\n"),
            ("in_accel_scale", "0.001197\n"),
            ("in_anglvel_x_raw", "100\n"),
            ("in_anglvel_y_raw", "0\n"),
            ("in_anglvel_z_raw", "-100\n"),
            ("in_anglvel_z_scale", "0.002\n"),
            ("in_anglvel_scale", "0.001\n"),
            ("in_anglvel_x_offset", "50\n"),
        ]);
        let device = Iio::open(root.path(), "bmi160").unwrap();
        let Measurement::Imu(sample) = device.measure().unwrap() else { panic!("no IMU") };
        assert!((sample.accel[0] - 9.805_824).abs() < 1e-5 && (sample.accel[1] + 0.1197).abs() < 1e-6);
        // A channel's own scale and offset come before those of its quantity.
        assert_eq!(sample.gyro, [0.15, 0.0, -0.2]);
    }

    #[test]
    fn air_comes_in_celsius_pascals_and_per_cent() {
        let root = machine(&[
            ("name", "bme280"),
            ("in_temp_input", "25080"),
            ("in_pressure_input", "100.653270"),
            ("in_humidityrelative_input", "54321"),
        ]);
        let measured = Iio::open(root.path(), "bme280").unwrap().measure().unwrap();
        let Measurement::Environment(air) = measured else { panic!("no air") };
        assert_eq!(air.temperature, Some(Celsius(25.08)));
        assert_eq!(air.pressure, Some(Pascals(100_653.27)));
        assert_eq!(air.humidity, Some(RelativeHumidity(54.321)));
    }

    #[test]
    fn a_magnetometer_comes_in_tesla() {
        let files = ["x", "y", "z"].map(|axis| (format!("in_magn_{axis}_raw"), "110"));
        let mut files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        files.extend([("name", "lsm303dlhc_magn"), ("in_magn_scale", "0.000909")]);
        let root = machine(&files);
        let measured = Iio::open(root.path(), "lsm303dlhc_magn").unwrap().measure().unwrap();
        let Measurement::Magnetic(field) = measured else { panic!("no field") };
        assert!(field.0.iter().all(|tesla| (tesla - 1e-5).abs() < 1e-8), "{field:?}");
    }

    #[test]
    fn what_is_missing_or_no_number_is_named() {
        let root = machine(&[("name", "other"), ("in_temp_input", "warm")]);
        let text = Iio::open(root.path(), "bmi160").unwrap_err().to_string();
        assert!(text.contains("bmi160") && text.contains("other"), "{text}");
        let text = Iio::open(root.path(), "other").unwrap().measure().unwrap_err().to_string();
        assert!(text.contains("in_temp_input") && text.contains("warm"), "{text}");
        let empty = tempfile::tempdir().unwrap();
        assert!(
            matches!(Iio::open(empty.path(), "x"), Err(IioError::Missing { known, .. }) if known == "none")
        );
        let bare = machine(&[("name", "led")]);
        assert!(matches!(Iio::open(bare.path(), "led"), Err(IioError::NoChannel { .. })));
    }

    #[test]
    fn a_device_that_is_pulled_is_an_error_and_not_a_missing_channel() {
        let root = machine(&[("name", "t"), ("in_temp_input", "1000")]);
        let device = Iio::open(root.path(), "t").unwrap();
        fs::remove_dir_all(root.path().join(DEVICES)).unwrap();
        assert!(matches!(device.measure(), Err(IioError::Io { .. })));
    }
}

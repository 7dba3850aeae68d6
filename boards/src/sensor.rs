//! A sensor as whatever is asked for readings: the seam between drivers, the kernel's devices, cameras and
//! what wraps them.

use std::path::{Path, PathBuf};

use embedded_hal::delay::DelayNs;
use sedge_readings::{Measurement, NoData, Reading, Timestamp};

use crate::board::{Board, SensorChip, SensorSpec};
use crate::device::Device;
use crate::iio::{Iio, IioError};
use crate::registers::{Registers, SensorError};

/// What is asked for readings, one at a time.
pub trait Sensor {
    /// What it says: a [`Measurement`], or a frame.
    type Value;

    /// The reading of now: a value, or the reason for none.
    fn read(&mut self, now: Timestamp) -> Reading<Self::Value>;
}

impl<R: Registers> Sensor for Device<R> {
    type Value = Measurement;

    fn read(&mut self, now: Timestamp) -> Reading<Measurement> {
        checked(now, self.measure().map_err(|error| error.no_data()))
    }
}

impl Sensor for Iio {
    type Value = Measurement;

    fn read(&mut self, now: Timestamp) -> Reading<Measurement> {
        let why = |error: IioError| match error {
            IioError::NoNumber { .. } => NoData::Corrupt,
            _ => NoData::Bus,
        };
        checked(now, self.measure().map_err(why))
    }
}

fn checked(at: Timestamp, value: Result<Measurement, NoData>) -> Reading<Measurement> {
    let finite = |value: Measurement| if value.is_finite() { Ok(value) } else { Err(NoData::NotFinite) };
    Reading { at, value: value.and_then(finite) }
}

/// A sensor of a board that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenSensorError {
    /// Its bus cannot be opened.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Bus(#[from] crate::bus::OpenBusError),
    /// Its chip does not answer as it should.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Chip(#[from] SensorError<crate::bus::BusFault>),
    /// The kernel has no such device.
    #[error(transparent)]
    Iio(#[from] IioError),
    /// The file that its chip must be sent cannot be read.
    #[error("cannot read {}, which the chip must be sent before it measures: {source}", path.display())]
    Firmware {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A sensor of a board, opened: a chip on a bus, or a device of the kernel's.
#[cfg(target_os = "linux")]
#[derive(Debug)]
#[non_exhaustive]
pub enum BoardSensor {
    /// A chip on a bus.
    Chip(Device<crate::bus::SensorRegisters>),
    /// A device of the kernel's.
    Iio(Iio),
}

#[cfg(target_os = "linux")]
impl BoardSensor {
    /// Opens a sensor of `board`. The kernel's devices and the files that chips are sent are looked for below
    /// `root`; buses are the machine's own.
    ///
    /// # Errors
    /// [`OpenSensorError`].
    pub fn open(
        root: &Path,
        board: &Board,
        spec: &SensorSpec,
        delay: &mut impl DelayNs,
    ) -> Result<Self, OpenSensorError> {
        if spec.chip == SensorChip::Iio {
            return Ok(Self::Iio(Iio::open(root, spec.iio_name.as_deref().unwrap_or_default())?));
        }
        let registers = crate::bus::open(board, spec)?;
        let firmware = match &spec.firmware {
            Some(path) => firmware(root, path)?,
            None => vec![],
        };
        Ok(Self::Chip(Device::open(registers, spec, &firmware, delay)?))
    }

    /// The present value.
    ///
    /// # Errors
    /// [`OpenSensorError`], in the words of its driver.
    pub fn measure(&mut self) -> Result<Measurement, OpenSensorError> {
        match self {
            Self::Chip(device) => Ok(device.measure()?),
            Self::Iio(device) => Ok(device.measure()?),
        }
    }

    /// Lets the chip queue its samples, and answers whether it can.
    ///
    /// # Errors
    /// [`OpenSensorError::Chip`].
    pub fn start_queue(&mut self) -> Result<bool, OpenSensorError> {
        match self {
            Self::Chip(device) => Ok(device.start_queue()?),
            Self::Iio(_) => Ok(false),
        }
    }

    /// Has the chip drive its interrupt pin with every new sample, and answers whether it can.
    ///
    /// # Errors
    /// [`OpenSensorError::Chip`].
    pub fn start_interrupt(&mut self) -> Result<bool, OpenSensorError> {
        match self {
            Self::Chip(device) => Ok(device.start_interrupt()?),
            Self::Iio(_) => Ok(false),
        }
    }

    /// Takes samples out of the chip's queue, the oldest first, and answers how many; see [`Device::drain`].
    ///
    /// # Errors
    /// The reason that readings carry in place of values.
    pub fn drain(&mut self, into: &mut [sedge_readings::ImuSample]) -> Result<usize, NoData> {
        match self {
            Self::Chip(device) => device.drain(into).map_err(|error| error.no_data()),
            Self::Iio(_) => Ok(0),
        }
    }

    /// The simulated bus that it is on, to move the world behind it; `None` for every other.
    pub fn simulated(&mut self) -> Option<&mut crate::bus::SimulatedI2c> {
        match self {
            Self::Chip(Device::Mpu(chip)) => chip.registers_mut().simulated(),
            _ => None,
        }
    }
}

#[cfg(target_os = "linux")]
impl Sensor for BoardSensor {
    type Value = Measurement;

    fn read(&mut self, now: Timestamp) -> Reading<Measurement> {
        match self {
            Self::Chip(device) => device.read(now),
            Self::Iio(device) => device.read(now),
        }
    }
}

/// A file for a chip, no longer than one byte more than any chip takes.
#[cfg(target_os = "linux")]
fn firmware(root: &Path, path: &Path) -> Result<Vec<u8>, OpenSensorError> {
    use std::io::Read;
    let below = root.join(path.strip_prefix("/").unwrap_or(path));
    let mut bytes = vec![];
    let read = std::fs::File::open(&below)
        .and_then(|file| file.take(crate::imu::BMI270_FIRMWARE as u64 + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| OpenSensorError::Firmware { path: below, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::bus::Wait;

    #[test]
    fn the_simulated_imu_gives_readings_with_their_time() {
        let board = Board::named("sim").unwrap();
        let mut sensor = BoardSensor::open(Path::new("/"), &board, &board.sensors[0], &mut Wait).unwrap();
        let reading = sensor.read(Timestamp::from_nanos(7));
        assert_eq!(reading.at.nanos(), 7);
        assert!(matches!(reading.value, Ok(Measurement::Imu(_))));
    }

    #[test]
    fn a_chips_file_that_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = firmware(root.path(), Path::new("/lib/firmware/none.fw")).unwrap_err().to_string();
        assert!(error.contains("lib/firmware/none.fw"), "{error}");
        std::fs::write(root.path().join("big"), vec![0; 100_000]).unwrap();
        assert_eq!(firmware(root.path(), Path::new("/big")).unwrap().len(), 8193);
    }
}

//! A sensor of a board, opened: one type over all drivers, chosen by the chip's name.

use embedded_hal::delay::DelayNs;
use sedge_readings::{ImuSample, Measurement, NoData};

use crate::board::{SensorChip, SensorSpec};
use crate::environment::{Bme280, Dps310, Identity, Lm75, Lm75Chip, Lsm303dlhc};
use crate::imu::{
    AccelRange, Bmi, BmiChip, BmiConfig, GyroRange, Icm20948, Icm20948Config, Lsm6dsox, Lsm6dsoxConfig, Mpu,
};
use crate::registers::{Registers, SensorError};

/// A sensor that measures, behind registers of any kind.
#[derive(Debug)]
pub enum Device<R> {
    /// MPU-6050, MPU-6500, MPU-9250.
    Mpu(Mpu<R>),
    /// ICM-20948.
    Icm20948(Icm20948<R>),
    /// LSM6DSOX.
    Lsm6dsox(Lsm6dsox<R>),
    /// BMI160, BMI270.
    Bmi(Bmi<R>),
    /// Magnetometer of the LSM303DLHC.
    Lsm303dlhc(Lsm303dlhc<R>),
    /// BME280.
    Bme280(Bme280<R>),
    /// DPS310.
    Dps310(Dps310<R>),
    /// LM75, TMP105.
    Lm75(Lm75<R>),
}

impl<R: Registers> Device<R> {
    /// Opens the sensor that `spec`, of a board that was checked, describes. `firmware` is what the file it
    /// names holds, empty where it names none.
    ///
    /// # Errors
    /// [`SensorError`] of its driver; [`SensorError::Setting`] for a sensor that no driver here reads.
    pub fn open(
        registers: R,
        spec: &SensorSpec,
        firmware: &[u8],
        delay: &mut impl DelayNs,
    ) -> Result<Self, SensorError<R::Error>> {
        let rate_hz = spec.rate_hz;
        let chip = spec.chip.name();
        let unscaled = || {
            let (setting, allowed) = ("full scale", "2, 4, 8 or 16 g with 250, 500, 1000 or 2000 °/s");
            SensorError::Setting {
                chip,
                setting,
                found: spec.accel_full_scale_g.unwrap_or_default(),
                allowed,
            }
        };
        let scales = || spec.ranges().ok_or_else(unscaled);
        let bmi = |(accel, gyro): (AccelRange, GyroRange)| BmiConfig { rate_hz, accel, gyro };
        Ok(match spec.chip {
            SensorChip::Mpu6050 | SensorChip::Mpu6500 | SensorChip::Mpu9250 => {
                let config = spec.mpu_config().ok_or_else(unscaled)?;
                Self::Mpu(Mpu::new(registers, config)?)
            }
            SensorChip::Icm20948 => {
                let (accel, gyro) = scales()?;
                Self::Icm20948(Icm20948::new(registers, Icm20948Config { rate_hz, accel, gyro }, delay)?)
            }
            SensorChip::Lsm6dsox => {
                let (accel, gyro) = scales()?;
                Self::Lsm6dsox(Lsm6dsox::new(registers, Lsm6dsoxConfig { rate_hz, accel, gyro })?)
            }
            SensorChip::Bmi160 => {
                Self::Bmi(Bmi::new(registers, BmiChip::Bmi160, bmi(scales()?), firmware, delay)?)
            }
            SensorChip::Bmi270 => {
                Self::Bmi(Bmi::new(registers, BmiChip::Bmi270, bmi(scales()?), firmware, delay)?)
            }
            SensorChip::Lsm303dlhc => Self::Lsm303dlhc(Lsm303dlhc::new(registers, rate_hz)?),
            SensorChip::Bme280 => Self::Bme280(Bme280::new(registers, delay)?),
            SensorChip::Dps310 => {
                let identity = if spec.trust_chip_id { Identity::Trusted } else { Identity::Checked };
                Self::Dps310(Dps310::new(registers, identity, rate_hz, delay)?)
            }
            SensorChip::Tmp105 => Self::Lm75(Lm75::new(registers, Lm75Chip::Tmp105)?),
            SensorChip::Lm75 => Self::Lm75(Lm75::new(registers, Lm75Chip::Lm75)?),
            SensorChip::Iio => {
                let (setting, allowed) = ("register address", "none: it is read through sysfs");
                return Err(SensorError::Setting { chip, setting, found: 0, allowed });
            }
        })
    }

    /// The present value.
    ///
    /// # Errors
    /// [`SensorError`] of its driver; the next call may succeed.
    pub fn measure(&mut self) -> Result<Measurement, SensorError<R::Error>> {
        Ok(match self {
            Self::Mpu(chip) => Measurement::Imu(chip.sample()?),
            Self::Icm20948(chip) => Measurement::Imu(chip.sample()?),
            Self::Lsm6dsox(chip) => Measurement::Imu(chip.sample()?),
            Self::Bmi(chip) => Measurement::Imu(chip.sample()?),
            Self::Lsm303dlhc(chip) => Measurement::Magnetic(chip.field()?),
            Self::Bme280(chip) => Measurement::Environment(chip.environment()?),
            Self::Dps310(chip) => Measurement::Environment(chip.environment()?),
            Self::Lm75(chip) => Measurement::Environment(chip.environment()?),
        })
    }

    /// Lets the chip queue its samples, and answers whether it can.
    ///
    /// # Errors
    /// [`SensorError`] of its driver.
    pub fn start_queue(&mut self) -> Result<bool, SensorError<R::Error>> {
        match self {
            Self::Mpu(chip) => chip.start_queue()?,
            Self::Icm20948(chip) => chip.start_queue()?,
            Self::Lsm6dsox(chip) => chip.start_queue()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Has the chip drive its interrupt pin with every new sample, and answers whether it can.
    ///
    /// # Errors
    /// [`SensorError`] of its driver.
    pub fn start_interrupt(&mut self) -> Result<bool, SensorError<R::Error>> {
        match self {
            Self::Bmi(chip) => chip.start_interrupt().map(|()| true),
            _ => Ok(false),
        }
    }

    /// Takes samples out of the chip's queue, the oldest first, and answers how many; none where
    /// [`Device::start_queue`] said that there is no queue.
    ///
    /// # Errors
    /// [`SensorError`] of its driver; [`SensorError::Overrun`] where samples were lost.
    pub fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SensorError<R::Error>> {
        match self {
            Self::Mpu(chip) => chip.drain(into),
            Self::Icm20948(chip) => chip.drain(into),
            Self::Lsm6dsox(chip) => chip.drain(into),
            _ => Ok(0),
        }
    }
}

impl<E: core::fmt::Debug> SensorError<E> {
    /// The reason that a reading carries in place of its value.
    pub const fn no_data(&self) -> NoData {
        match self {
            Self::Saturated { .. } => NoData::Saturated,
            Self::Overrun { .. } | Self::NotReady { .. } => NoData::DropOut,
            Self::NotTaken { .. } | Self::WrongChip { .. } => NoData::Corrupt,
            Self::Bus { .. } | Self::Setting { .. } | Self::Firmware { .. } => NoData::Bus,
        }
    }
}

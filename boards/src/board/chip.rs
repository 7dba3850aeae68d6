//! The chips that a board file may name, and what each can be set to.

use serde::{Deserialize, Serialize};

use crate::imu::mpu_registers::divider_for;

/// Sensors with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SensorChip {
    /// InvenSense MPU-6050: accelerometer and gyroscope.
    Mpu6050,
    /// InvenSense MPU-6500: accelerometer and gyroscope.
    Mpu6500,
    /// InvenSense MPU-9250: its accelerometer and gyroscope.
    Mpu9250,
    /// InvenSense ICM-20948: its accelerometer and gyroscope.
    Icm20948,
    /// ST LSM6DSOX: accelerometer and gyroscope.
    Lsm6dsox,
    /// Bosch BMI160: accelerometer and gyroscope.
    Bmi160,
    /// Bosch BMI270: accelerometer and gyroscope.
    Bmi270,
    /// ST LSM303DLHC: its magnetometer.
    Lsm303dlhc,
    /// Bosch BME280: temperature, pressure, humidity.
    Bme280,
    /// Infineon DPS310: temperature, pressure.
    Dps310,
    /// TI TMP105: temperature.
    Tmp105,
    /// LM75 and its many equals: temperature.
    Lm75,
    /// Whatever the kernel's Industrial I/O drives.
    Iio,
}

impl SensorChip {
    /// Every chip, in the order of their documentation.
    pub const ALL: [Self; 13] = [
        Self::Mpu6050,
        Self::Mpu6500,
        Self::Mpu9250,
        Self::Icm20948,
        Self::Lsm6dsox,
        Self::Bmi160,
        Self::Bmi270,
        Self::Lsm303dlhc,
        Self::Bme280,
        Self::Dps310,
        Self::Tmp105,
        Self::Lm75,
        Self::Iio,
    ];

    /// The name in a board file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mpu6050 => "mpu6050",
            Self::Mpu6500 => "mpu6500",
            Self::Mpu9250 => "mpu9250",
            Self::Icm20948 => "icm20948",
            Self::Lsm6dsox => "lsm6dsox",
            Self::Bmi160 => "bmi160",
            Self::Bmi270 => "bmi270",
            Self::Lsm303dlhc => "lsm303dlhc",
            Self::Bme280 => "bme280",
            Self::Dps310 => "dps310",
            Self::Tmp105 => "tmp105",
            Self::Lm75 => "lm75",
            Self::Iio => "iio",
        }
    }

    /// What it measures, in words.
    pub const fn measures(self) -> &'static str {
        match self {
            Self::Lsm303dlhc => "magnetic field",
            Self::Bme280 => "temperature, pressure, humidity",
            Self::Dps310 => "temperature, pressure",
            Self::Tmp105 | Self::Lm75 => "temperature",
            Self::Iio => "what the kernel's driver measures",
            _ => "acceleration, angular rate",
        }
    }

    /// Whether it gives [`ImuSample`](sedge_readings::ImuSample)s at full scales of one's choice.
    pub const fn is_inertial(self) -> bool {
        use SensorChip::{Bmi160, Bmi270, Icm20948, Lsm6dsox, Mpu6050, Mpu6500, Mpu9250};
        matches!(self, Mpu6050 | Mpu6500 | Mpu9250 | Icm20948 | Lsm6dsox | Bmi160 | Bmi270)
    }

    /// Whether it queues its samples and the driver reads them in bursts.
    pub const fn has_queue(self) -> bool {
        use SensorChip::{Icm20948, Lsm6dsox, Mpu6050, Mpu6500, Mpu9250};
        matches!(self, Mpu6050 | Mpu6500 | Mpu9250 | Icm20948 | Lsm6dsox)
    }

    /// Whether it can be wired to SPI and the driver knows how.
    pub const fn has_spi(self) -> bool {
        use SensorChip::{Bme280, Bmi160, Bmi270, Icm20948, Lsm6dsox, Mpu6500, Mpu9250};
        matches!(self, Mpu6500 | Mpu9250 | Icm20948 | Lsm6dsox | Bmi160 | Bmi270 | Bme280)
    }

    /// The I2C addresses that its pins can choose, first to last.
    pub const fn addresses(self) -> core::ops::RangeInclusive<u8> {
        match self {
            Self::Mpu6050 | Self::Mpu6500 | Self::Mpu9250 | Self::Icm20948 => 0x68..=0x69,
            Self::Bmi160 | Self::Bmi270 => 0x68..=0x69,
            Self::Lsm6dsox => 0x6A..=0x6B,
            Self::Lsm303dlhc => 0x1E..=0x1E,
            Self::Bme280 | Self::Dps310 => 0x76..=0x77,
            Self::Tmp105 | Self::Lm75 => 0x48..=0x4F,
            Self::Iio => 0x08..=0x77,
        }
    }

    /// Whether it can give this many readings a second.
    pub const fn has_rate(self, hz: u32) -> bool {
        match self {
            Self::Mpu6050 | Self::Mpu6500 | Self::Mpu9250 => divider_for(hz).is_some(),
            Self::Icm20948 => hz >= 5 && hz <= 1125 && 1125u32.is_multiple_of(hz),
            Self::Lsm6dsox => matches!(hz, 26 | 52 | 104 | 208 | 416 | 833),
            Self::Bmi160 | Self::Bmi270 => matches!(hz, 25 | 50 | 100 | 200 | 400 | 800 | 1600),
            Self::Lsm303dlhc => matches!(hz, 3 | 15 | 30 | 75 | 220),
            Self::Bme280 => hz >= 1 && hz <= 50,
            Self::Dps310 => hz <= 64 && hz.is_power_of_two(),
            Self::Tmp105 | Self::Lm75 => hz >= 1 && hz <= 3,
            Self::Iio => hz >= 1 && hz <= 1000,
        }
    }

    /// The rates of [`SensorChip::has_rate`] in words.
    pub const fn rates(self) -> &'static str {
        match self {
            Self::Mpu6050 | Self::Mpu6500 | Self::Mpu9250 => "a divisor of 1000, 4 or more",
            Self::Icm20948 => "a divisor of 1125, 5 or more",
            Self::Lsm6dsox => "26, 52, 104, 208, 416 or 833",
            Self::Bmi160 | Self::Bmi270 => "25, 50, 100, 200, 400, 800 or 1600",
            Self::Lsm303dlhc => "3, 15, 30, 75 or 220",
            Self::Bme280 => "1 to 50",
            Self::Dps310 => "1, 2, 4, 8, 16, 32 or 64",
            Self::Tmp105 | Self::Lm75 => "1 to 3",
            Self::Iio => "1 to 1000",
        }
    }
}

impl core::fmt::Display for SensorChip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_is_the_one_that_a_file_says() {
        #[derive(Deserialize)]
        struct File {
            chip: SensorChip,
        }
        for chip in SensorChip::ALL {
            let file: File = toml::from_str(&format!("chip = \"{chip}\"")).unwrap();
            assert_eq!(file.chip, chip);
        }
    }

    #[test]
    fn the_rates_in_words_are_the_rates_accepted() {
        for chip in SensorChip::ALL {
            let accepted: Vec<u32> = (0..=2000).filter(|&hz| chip.has_rate(hz)).collect();
            let words = chip.rates();
            let listed: Vec<u32> =
                words.split(|c: char| !c.is_ascii_digit()).filter_map(|w| w.parse().ok()).collect();
            if let Some((first, last)) = words.split_once(" to ") {
                let range: Vec<u32> = (first.parse().unwrap()..=last.parse().unwrap()).collect();
                assert_eq!(accepted, range, "{chip}");
            } else if words.starts_with("a divisor of") {
                let divisors: Vec<u32> =
                    (listed[1]..=listed[0]).filter(|d| listed[0].is_multiple_of(*d)).collect();
                assert_eq!(accepted, divisors, "{chip}");
            } else {
                assert_eq!(accepted, listed, "{chip}");
            }
        }
    }
}

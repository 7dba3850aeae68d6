//! Driver for the Bosch BMI160 and BMI270.
//!
//! Sources: Bosch Sensortec, *BMI160* and *BMI270* data sheets. The two keep their settings in the same registers; they differ in the order of the
//! measurements, in the ranges' numbers, and in how they wake: the BMI160 by commands, the BMI270 by a
//! configuration of 8 KiB that the host must upload first. That file is its maker's and is not shipped here.

use embedded_hal::delay::DelayNs;
use sedge_readings::ImuSample;

use super::convert::{little_endian, scaled};
use super::range::{AccelRange, GyroRange, RAD_PER_DEG, STANDARD_GRAVITY};
use crate::registers::{BLOCK, Chip, Registers, SensorError, registers};

/// Bytes of the configuration that a BMI270 must be sent.
pub const BMI270_FIRMWARE: usize = 8192;

const COMMAND_ACCEL_NORMAL: u8 = 0x11;
const COMMAND_GYRO_NORMAL: u8 = 0x15;
const COMMAND_RESET: u8 = 0xB6;
const BMI160_BOTH_NORMAL: u8 = 0b01_0100;
const BMI270_INITIALISED: u8 = 0x01;
const BMI270_ACCEL_GYRO_HEAT: u8 = 0x0E;

registers! {
    /// The registers in use.
    Register {
        /// CHIP_ID.
        ChipId = 0x00,
        /// PMU_STATUS of the BMI160: what is awake.
        PowerStatus = 0x03,
        /// First of the twelve measurement bytes, little-endian pairs.
        Data = 0x0C,
        /// INTERNAL_STATUS of the BMI270: whether it took its configuration.
        InternalStatus = 0x21,
        /// ACC_CONF: bandwidth and rate of the accelerometer.
        AccelConfig = 0x40,
        /// ACC_RANGE.
        AccelRange = 0x41,
        /// GYR_CONF: bandwidth and rate of the gyroscope.
        GyroConfig = 0x42,
        /// GYR_RANGE.
        GyroRange = 0x43,
        /// INT_EN_1 of the BMI160: which interrupts there are.
        InterruptEnable1 = 0x51,
        /// INT_OUT_CTRL of the BMI160, INT1_IO_CTRL of the BMI270: how the pin INT1 is driven.
        InterruptOutput = 0x53,
        /// INT_MAP_1 of the BMI160: which interrupts reach the pins.
        InterruptMap1 = 0x56,
        /// INT_MAP_DATA of the BMI270: the same of those about data.
        InterruptMapData = 0x58,
        /// INIT_CTRL of the BMI270: begin and end of the upload.
        InitControl = 0x59,
        /// INIT_ADDR_0 of the BMI270: bits 3:0 of the upload's place, in words of two bytes.
        InitAddress0 = 0x5B,
        /// INIT_ADDR_1 of the BMI270: bits 11:4 of it.
        InitAddress1 = 0x5C,
        /// INIT_DATA of the BMI270: the upload.
        InitData = 0x5E,
        /// PWR_CONF of the BMI270: power saving.
        PowerConfig = 0x7C,
        /// PWR_CTRL of the BMI270: what is awake.
        PowerControl = 0x7D,
        /// CMD.
        Command = 0x7E,
        /// SPI_COMM_TEST of the BMI160: reading it over SPI makes the chip speak SPI.
        SpiTest = 0x7F,
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BmiChip {
    /// BMI160.
    Bmi160,
    /// BMI270.
    Bmi270,
}

/// How the chip is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BmiConfig {
    /// Samples a second: 25, 50, 100, 200, 400, 800 or 1600.
    pub rate_hz: u32,
    /// Full scale of the accelerometer.
    pub accel: AccelRange,
    /// Full scale of the gyroscope.
    pub gyro: GyroRange,
}

impl Default for BmiConfig {
    fn default() -> Self {
        Self { rate_hz: 100, accel: AccelRange::default(), gyro: GyroRange::default() }
    }
}

/// A BMI160 or BMI270 that measures.
#[derive(Debug)]
pub struct Bmi<R> {
    chip: Chip<R>,
    kind: BmiChip,
    config: BmiConfig,
}

/// The fields acc_odr and gyr_odr: 25 Hz is 6, doubling.
const fn rate_field(rate_hz: u32) -> Option<u8> {
    match rate_hz {
        25 => Some(6),
        50 => Some(7),
        100 => Some(8),
        200 => Some(9),
        400 => Some(10),
        800 => Some(11),
        1600 => Some(12),
        _ => None,
    }
}

impl<R: Registers> Bmi<R> {
    /// Checks that the chip is there and is what it should be, wakes it and sets it up, which takes about
    /// 100 ms. A BMI270 is sent `firmware` first; a BMI160 has no use for it.
    ///
    /// # Errors
    /// [`SensorError::Setting`] before the bus is touched; [`SensorError::Firmware`] for a BMI270 without
    /// its [`BMI270_FIRMWARE`] bytes; [`SensorError::NotReady`] for a chip that does not wake; otherwise
    /// the first thing that failed.
    pub fn new(
        registers: R,
        kind: BmiChip,
        config: BmiConfig,
        firmware: &[u8],
        delay: &mut impl DelayNs,
    ) -> Result<Self, SensorError<R::Error>> {
        let (name, id): (_, &'static [u8]) = match kind {
            BmiChip::Bmi160 => ("BMI160", &[0xD1]),
            BmiChip::Bmi270 => ("BMI270", &[0x24]),
        };
        let chip = Chip::new(registers, name);
        let rate = rate_field(config.rate_hz).ok_or(SensorError::Setting {
            chip: name,
            setting: "rate_hz",
            found: config.rate_hz,
            allowed: "25, 50, 100, 200, 400, 800 or 1600",
        })?;
        let mut this = Self { chip, kind, config };
        // Either chip speaks I2C until it has seen its chip select fall once; what is read then is nothing.
        this.chip.read_byte(Register::SpiTest)?;
        this.chip.identify(Register::ChipId, id)?;
        match kind {
            BmiChip::Bmi160 => this.wake_bmi160(delay)?,
            BmiChip::Bmi270 => this.wake_bmi270(firmware, delay)?,
        }
        // Bandwidth "normal" is 2 in both; bit 7 of the BMI270 asks for the filter that performs best.
        let best = if kind == BmiChip::Bmi270 { 0x80 } else { 0 };
        this.chip.set(Register::AccelConfig, best | 2 << 4 | rate)?;
        this.chip.set(Register::AccelRange, this.accel_field())?;
        this.chip.set(Register::GyroConfig, best | 2 << 4 | rate)?;
        // 0 is ±2000 °/s, 3 is ±250.
        this.chip.set(Register::GyroRange, 3 - config.gyro.index())?;
        Ok(this)
    }

    /// Drives the pin INT1 high with every new sample, until it is read.
    ///
    /// # Errors
    /// [`SensorError`] of the first register that failed.
    pub fn start_interrupt(&mut self) -> Result<(), SensorError<R::Error>> {
        // Push-pull, active high, output on: bits 1 and 3 in both chips.
        self.chip.set(Register::InterruptOutput, 0b1010)?;
        match self.kind {
            BmiChip::Bmi160 => {
                self.chip.set(Register::InterruptMap1, 1 << 7)?;
                self.chip.set(Register::InterruptEnable1, 1 << 4)
            }
            BmiChip::Bmi270 => self.chip.set(Register::InterruptMapData, 1 << 2),
        }
    }

    /// The present sample in m/s² and rad/s, in one burst.
    ///
    /// # Errors
    /// [`SensorError::Bus`]; the chip keeps its settings and the next call may succeed.
    pub fn sample(&mut self) -> Result<ImuSample, SensorError<R::Error>> {
        let [a0, a1, a2, a3, a4, a5, b0, b1, b2, b3, b4, b5] = self.chip.read(Register::Data)?;
        let (first, second) =
            (little_endian([a0, a1, a2, a3, a4, a5]), little_endian([b0, b1, b2, b3, b4, b5]));
        let (accel, gyro) = match self.kind {
            BmiChip::Bmi160 => (second, first),
            BmiChip::Bmi270 => (first, second),
        };
        let radians = self.config.gyro.full_scale_dps() as f32 / 32_768.0 * RAD_PER_DEG;
        Ok(ImuSample {
            accel: scaled(accel, STANDARD_GRAVITY / self.config.accel.counts_per_g()),
            gyro: scaled(gyro, radians),
        })
    }

    fn accel_field(&self) -> u8 {
        let range = self.config.accel;
        match self.kind {
            BmiChip::Bmi270 => range.index(),
            BmiChip::Bmi160 => match range {
                AccelRange::G2 => 0x03,
                AccelRange::G4 => 0x05,
                AccelRange::G8 => 0x08,
                AccelRange::G16 => 0x0C,
            },
        }
    }

    fn wake_bmi160(&mut self, delay: &mut impl DelayNs) -> Result<(), SensorError<R::Error>> {
        self.chip.write(Register::Command, COMMAND_RESET)?;
        delay.delay_ms(10);
        self.chip.read_byte(Register::SpiTest)?;
        // Start-up takes at most 3.8 ms for the accelerometer, 80 ms for the gyroscope.
        self.chip.write(Register::Command, COMMAND_ACCEL_NORMAL)?;
        delay.delay_ms(5);
        self.chip.write(Register::Command, COMMAND_GYRO_NORMAL)?;
        delay.delay_ms(85);
        let awake = self.chip.read_byte(Register::PowerStatus)? & 0b11_1100;
        if awake == BMI160_BOTH_NORMAL { Ok(()) } else { Err(self.chip.not_ready("its sensors do not wake")) }
    }

    fn wake_bmi270(
        &mut self,
        firmware: &[u8],
        delay: &mut impl DelayNs,
    ) -> Result<(), SensorError<R::Error>> {
        if firmware.len() != BMI270_FIRMWARE {
            let (chip, place) = (self.chip.name(), self.chip.place());
            return Err(SensorError::Firmware {
                chip,
                place,
                found: firmware.len(),
                wanted: BMI270_FIRMWARE,
            });
        }
        self.chip.write(Register::Command, COMMAND_RESET)?;
        delay.delay_ms(2);
        self.chip.read_byte(Register::SpiTest)?;
        self.chip.write(Register::PowerConfig, 0)?;
        delay.delay_us(450);
        self.chip.write(Register::InitControl, 0)?;
        for (at, block) in firmware.as_chunks::<BLOCK>().0.iter().enumerate() {
            let word = at * BLOCK / 2;
            self.chip.write(Register::InitAddress0, (word & 0x0F) as u8)?;
            // At most 255: the file has 4096 words.
            self.chip.write(Register::InitAddress1, (word >> 4) as u8)?;
            self.chip.write_block(Register::InitData, *block)?;
        }
        self.chip.write(Register::InitControl, 1)?;
        delay.delay_ms(20);
        if self.chip.read_byte(Register::InternalStatus)? & 0x0F != BMI270_INITIALISED {
            return Err(self.chip.not_ready("it did not take its configuration"));
        }
        self.chip.set(Register::PowerControl, BMI270_ACCEL_GYRO_HEAT)
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

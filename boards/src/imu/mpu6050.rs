//! Driver for the InvenSense MPU-6050 over any `embedded-hal` I2C bus.
//!
//! Every register that matters is written and read back before the first sample, so no device
//! reset (and no 100 ms wait for one) is needed, and a chip or a wire that does not take a setting
//! is found at the start instead of as numbers off by a power of two.

use embedded_hal::i2c::I2c;
use sedge_readings::ImuSample;

use super::convert::RawSample;
use super::registers::{
    AccelRange, BURST_LEN, CHIP_ID, DEFAULT_ADDRESS, GyroRange, LowPass, PWR_CLOCK_GYRO_X, Register,
    divider_for,
};

/// How the chip is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mpu6050Config {
    /// I2C address: 0x68, or 0x69 with pin AD0 high.
    pub address: u8,
    /// Samples a second; must divide 1000 and be at least 4.
    pub rate_hz: u32,
    /// Full scale of the accelerometer.
    pub accel: AccelRange,
    /// Full scale of the gyroscope.
    pub gyro: GyroRange,
    /// Digital low-pass filter of both.
    pub filter: LowPass,
}

impl Default for Mpu6050Config {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS,
            rate_hz: 100,
            accel: AccelRange::default(),
            gyro: GyroRange::default(),
            filter: LowPass::default(),
        }
    }
}

/// What can go wrong between the driver and the chip, over a bus whose own error is `E`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mpu6050Error<E: core::fmt::Debug> {
    /// The bus failed.
    #[error("the I2C bus failed at register {register:?}: {source:?}; check wiring, pull-ups and address")]
    Bus {
        /// The register addressed.
        register: Register,
        /// What the bus said.
        source: E,
    },
    /// Another chip answered.
    #[error(
        "the chip at address {address:#04x} says it is {found:#04x}, an MPU-6050 says 0x68; check the board's imu.chip and imu.address"
    )]
    WrongChip {
        /// Address asked.
        address: u8,
        /// What WHO_AM_I held.
        found: u8,
    },
    /// A setting read back other than written.
    #[error(
        "register {register:?} was set to {wrote:#04x} but reads {read:#04x}; the chip or the bus is faulty"
    )]
    NotTaken {
        /// The register.
        register: Register,
        /// The value written.
        wrote: u8,
        /// The value it holds.
        read: u8,
    },
    /// The chip cannot sample at this rate.
    #[error("an MPU-6050 cannot sample at {rate_hz} Hz; the rate must divide 1000 and be at least 4")]
    Rate {
        /// The rate asked for.
        rate_hz: u32,
    },
}

/// An MPU-6050 that is awake and set up.
#[derive(Debug)]
pub struct Mpu6050<B> {
    bus: B,
    config: Mpu6050Config,
}

impl<B: I2c> Mpu6050<B> {
    /// Checks that the chip is there and is an MPU-6050, wakes it and sets it up.
    ///
    /// # Errors
    /// [`Mpu6050Error::Rate`] before the bus is touched; otherwise the first thing that failed.
    pub fn new(bus: B, config: Mpu6050Config) -> Result<Self, Mpu6050Error<B::Error>> {
        let divider = divider_for(config.rate_hz).ok_or(Mpu6050Error::Rate { rate_hz: config.rate_hz })?;
        let mut this = Self { bus, config };
        let found = this.read_register(Register::WhoAmI)?;
        if found != CHIP_ID {
            return Err(Mpu6050Error::WrongChip { address: config.address, found });
        }
        // Awake first: the other registers are not reliable to write in sleep.
        this.set(Register::PwrMgmt1, PWR_CLOCK_GYRO_X)?;
        this.set(Register::SampleRateDivider, divider)?;
        this.set(Register::Config, config.filter.bits())?;
        this.set(Register::GyroConfig, config.gyro.bits())?;
        this.set(Register::AccelConfig, config.accel.bits())?;
        Ok(this)
    }

    /// The present sample in m/s² and rad/s.
    ///
    /// # Errors
    /// [`Mpu6050Error::Bus`]; the chip keeps its settings and the next call may succeed.
    pub fn sample(&mut self) -> Result<ImuSample, Mpu6050Error<B::Error>> {
        Ok(self.raw()?.to_si(self.config.accel, self.config.gyro))
    }

    /// The present sample in counts, with the die's temperature. One burst, so that its six
    /// channels belong to one instant: the chip holds them still while a burst is read.
    ///
    /// # Errors
    /// As [`Mpu6050::sample`].
    pub fn raw(&mut self) -> Result<RawSample, Mpu6050Error<B::Error>> {
        let mut bytes = [0; BURST_LEN];
        self.read_from(Register::AccelXoutH, &mut bytes)?;
        Ok(RawSample::from_bytes(bytes))
    }

    /// How the chip was set up.
    pub fn config(&self) -> &Mpu6050Config {
        &self.config
    }

    /// The bus, for a simulation to move the world behind it.
    pub fn bus_mut(&mut self) -> &mut B {
        &mut self.bus
    }

    /// Gives the bus back; the chip stays awake.
    pub fn release(self) -> B {
        self.bus
    }

    fn set(&mut self, register: Register, value: u8) -> Result<(), Mpu6050Error<B::Error>> {
        self.bus
            .write(self.config.address, &[register.address(), value])
            .map_err(|source| Mpu6050Error::Bus { register, source })?;
        let read = self.read_register(register)?;
        if read == value { Ok(()) } else { Err(Mpu6050Error::NotTaken { register, wrote: value, read }) }
    }

    fn read_register(&mut self, register: Register) -> Result<u8, Mpu6050Error<B::Error>> {
        let mut byte = [0];
        self.read_from(register, &mut byte)?;
        let [value] = byte;
        Ok(value)
    }

    fn read_from(&mut self, register: Register, into: &mut [u8]) -> Result<(), Mpu6050Error<B::Error>> {
        self.bus
            .write_read(self.config.address, &[register.address()], into)
            .map_err(|source| Mpu6050Error::Bus { register, source })
    }
}

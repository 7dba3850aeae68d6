//! Driver for the InvenSense MPU-6050, MPU-6500 and MPU-9250.
//!
//! Every register that matters is written and read back before the first sample, so no device
//! reset (and no 100 ms wait for one) is needed, and a chip or a wire that does not take a setting
//! is found at the start instead of as numbers off by a power of two.

use sedge_readings::ImuSample;

use super::convert::{RawSample, big_endian, scaled};
use super::mpu_registers::{
    BURST_LEN, FIFO_ACCEL_AND_GYRO, LowPass, MpuChip, PWR_CLOCK_GYRO_X, Register, STATUS_FIFO_OVERFLOW,
    USER_FIFO_ENABLE, USER_FIFO_RESET, divider_for, range_bits,
};
use super::range::{AccelRange, GyroRange, RAD_PER_DEG, STANDARD_GRAVITY};
use crate::registers::{Chip, Registers, SensorError};

/// Bytes of one sample in the queue: acceleration, then angular rate.
const FIFO_SAMPLE: usize = 12;
/// Samples read from the queue in one burst.
const FIFO_BURST: usize = 8;

/// How the chip is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpuConfig {
    /// Which of the family it is.
    pub chip: MpuChip,
    /// Samples a second; must divide 1000 and be at least 4.
    pub rate_hz: u32,
    /// Full scale of the accelerometer.
    pub accel: AccelRange,
    /// Full scale of the gyroscope.
    pub gyro: GyroRange,
    /// Digital low-pass filter of both.
    pub filter: LowPass,
}

impl Default for MpuConfig {
    fn default() -> Self {
        Self {
            chip: MpuChip::default(),
            rate_hz: 100,
            accel: AccelRange::default(),
            gyro: GyroRange::default(),
            filter: LowPass::default(),
        }
    }
}

/// An MPU that is awake and set up.
#[derive(Debug)]
pub struct Mpu<R> {
    chip: Chip<R>,
    config: MpuConfig,
}

impl<R: Registers> Mpu<R> {
    /// Checks that the chip is there and is what it should be, wakes it and sets it up.
    ///
    /// # Errors
    /// [`SensorError::Setting`] before the bus is touched; otherwise the first thing that failed.
    pub fn new(registers: R, config: MpuConfig) -> Result<Self, SensorError<R::Error>> {
        let mut chip = Chip::new(registers, config.chip.name());
        let divider = divider_for(config.rate_hz).ok_or(SensorError::Setting {
            chip: chip.name(),
            setting: "rate_hz",
            found: config.rate_hz,
            allowed: "a divisor of 1000, 4 or more",
        })?;
        chip.identify(Register::WhoAmI, config.chip.ids())?;
        // Awake first: the other registers are not reliable to write in sleep.
        chip.set(Register::PwrMgmt1, PWR_CLOCK_GYRO_X)?;
        chip.set(Register::SampleRateDivider, divider)?;
        chip.set(Register::Config, config.filter.bits())?;
        chip.set(Register::GyroConfig, range_bits(config.gyro.index()))?;
        chip.set(Register::AccelConfig, range_bits(config.accel.index()))?;
        if config.chip != MpuChip::Mpu6050 {
            chip.set(Register::AccelConfig2, config.filter.bits())?;
        }
        Ok(Self { chip, config })
    }

    /// The present sample in m/s² and rad/s.
    ///
    /// # Errors
    /// [`SensorError::Bus`]; the chip keeps its settings and the next call may succeed.
    pub fn sample(&mut self) -> Result<ImuSample, SensorError<R::Error>> {
        Ok(self.raw()?.to_si(self.config.accel, self.config.gyro))
    }

    /// The present sample in counts, with the die's temperature. One burst, so that its six
    /// channels belong to one instant: the chip holds them still while a burst is read.
    ///
    /// # Errors
    /// As [`Mpu::sample`].
    pub fn raw(&mut self) -> Result<RawSample, SensorError<R::Error>> {
        Ok(RawSample::from_bytes(self.chip.read::<BURST_LEN>(Register::AccelXoutH)?))
    }

    /// Lets the chip queue its samples from now on, for [`Mpu::drain`].
    ///
    /// # Errors
    /// [`SensorError`] of the first register that failed.
    pub fn start_queue(&mut self) -> Result<(), SensorError<R::Error>> {
        self.chip.write(Register::UserControl, USER_FIFO_RESET)?;
        self.chip.set(Register::FifoEnable, FIFO_ACCEL_AND_GYRO)?;
        self.chip.write(Register::UserControl, USER_FIFO_ENABLE)
    }

    /// Takes whole samples out of the chip's queue, the oldest first, at most as many as `into` holds.
    /// Answers how many.
    ///
    /// # Errors
    /// [`SensorError::Overrun`] when the queue had run over, after emptying it: where one sample
    /// begins is then unknown. [`SensorError::Bus`] otherwise.
    pub fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SensorError<R::Error>> {
        if self.chip.read_byte(Register::InterruptStatus)? & STATUS_FIFO_OVERFLOW != 0 {
            self.start_queue()?;
            return Err(self.chip.overrun());
        }
        let waiting = usize::from(u16::from_be_bytes(self.chip.read(Register::FifoCountH)?)) / FIFO_SAMPLE;
        let wanted = waiting.min(into.len());
        let (metres, radians) = self.units();
        for samples in into[..wanted].chunks_mut(FIFO_BURST) {
            let mut bytes = [0; FIFO_SAMPLE * FIFO_BURST];
            let used = &mut bytes[..samples.len() * FIFO_SAMPLE];
            self.chip.read_into(Register::FifoReadWrite, used)?;
            for (sample, bytes) in samples.iter_mut().zip(used.as_chunks::<FIFO_SAMPLE>().0) {
                let [a0, a1, a2, a3, a4, a5, g0, g1, g2, g3, g4, g5] = *bytes;
                *sample = ImuSample {
                    accel: scaled(big_endian([a0, a1, a2, a3, a4, a5]), metres),
                    gyro: scaled(big_endian([g0, g1, g2, g3, g4, g5]), radians),
                };
            }
        }
        Ok(wanted)
    }

    /// How the chip was set up.
    pub fn config(&self) -> &MpuConfig {
        &self.config
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }

    fn units(&self) -> (f32, f32) {
        let MpuConfig { accel, gyro, .. } = self.config;
        (STANDARD_GRAVITY / accel.counts_per_g(), RAD_PER_DEG / gyro.counts_per_dps())
    }
}

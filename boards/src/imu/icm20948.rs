//! Driver for accelerometer and gyroscope of the InvenSense ICM-20948.
//!
//! Source: InvenSense, *ICM-20948 Datasheet*. Registers lie in four banks; all that is read
//! while measuring is in bank 0, so the driver leaves it only while it sets the chip up.

use embedded_hal::delay::DelayNs;
use sedge_readings::ImuSample;

use super::convert::{big_endian, scaled};
use super::range::{AccelRange, GyroRange, RAD_PER_DEG, STANDARD_GRAVITY};
use crate::registers::{Chip, Registers, SensorError, registers};

/// Rate of the gyroscope with its filter on, which the dividers divide.
const OUTPUT_HZ: u32 = 1125;
const ID: u8 = 0xEA;
const SLEEP_OFF_BEST_CLOCK: u8 = 0x01;
const RESET: u8 = 0x80;
const FIFO_SAMPLE: usize = 12;
const FIFO_BURST: usize = 8;
const FIFO_ACCEL_AND_GYRO: u8 = 0b1_1110;
const USER_FIFO_ENABLE: u8 = 1 << 6;
const COUNT_BITS: u16 = 0x1FFF;

registers! {
    /// Registers of bank 0, and the one that chooses the bank.
    Bank0 {
        /// WHO_AM_I.
        WhoAmI = 0x00,
        /// USER_CTRL: whether the queue runs.
        UserControl = 0x03,
        /// PWR_MGMT_1: reset, sleep and clock.
        PwrMgmt1 = 0x06,
        /// PWR_MGMT_2: which sensors are off.
        PwrMgmt2 = 0x07,
        /// INT_STATUS_2: whether the queue ran over.
        InterruptStatus2 = 0x1B,
        /// ACCEL_XOUT_H: six bytes of acceleration, six of angular rate, big-endian pairs.
        AccelXoutH = 0x2D,
        /// FIFO_EN_2: what goes to the queue.
        FifoEnable2 = 0x67,
        /// FIFO_RST: empties the queue.
        FifoReset = 0x68,
        /// FIFO_COUNTH: bytes in the queue in 13 bits, big-endian.
        FifoCountH = 0x70,
        /// FIFO_R_W: the queue.
        FifoReadWrite = 0x72,
        /// REG_BANK_SEL, the same in every bank.
        BankSelect = 0x7F,
    }
}

registers! {
    /// Registers of bank 2.
    Bank2 {
        /// GYRO_SMPLRT_DIV.
        GyroDivider = 0x00,
        /// GYRO_CONFIG_1: filter in bits 5:3, full scale in 2:1, filter on in bit 0.
        GyroConfig1 = 0x01,
        /// ACCEL_SMPLRT_DIV_1: bits 11:8 of the divider.
        AccelDivider1 = 0x10,
        /// ACCEL_SMPLRT_DIV_2: bits 7:0 of the divider.
        AccelDivider2 = 0x11,
        /// ACCEL_CONFIG: as GYRO_CONFIG_1.
        AccelConfig = 0x14,
    }
}

/// How the chip is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icm20948Config {
    /// Samples a second; must divide 1125 and be at least 5.
    pub rate_hz: u32,
    /// Full scale of the accelerometer.
    pub accel: AccelRange,
    /// Full scale of the gyroscope.
    pub gyro: GyroRange,
}

impl Default for Icm20948Config {
    fn default() -> Self {
        Self { rate_hz: 125, accel: AccelRange::default(), gyro: GyroRange::default() }
    }
}

/// An ICM-20948 that is awake and set up.
#[derive(Debug)]
pub struct Icm20948<R> {
    chip: Chip<R>,
    config: Icm20948Config,
}

impl<R: Registers> Icm20948<R> {
    /// Checks that the chip is there and is an ICM-20948, resets it, wakes it and sets it up. Takes 150 ms.
    ///
    /// # Errors
    /// [`SensorError::Setting`] before the bus is touched; otherwise the first thing that failed.
    pub fn new(
        registers: R,
        config: Icm20948Config,
        delay: &mut impl DelayNs,
    ) -> Result<Self, SensorError<R::Error>> {
        let mut chip = Chip::new(registers, "ICM-20948");
        let Icm20948Config { rate_hz, accel, gyro } = config;
        if !(5..=OUTPUT_HZ).contains(&rate_hz) || !OUTPUT_HZ.is_multiple_of(rate_hz) {
            let (setting, allowed) = ("rate_hz", "a divisor of 1125, 5 or more");
            return Err(SensorError::Setting { chip: chip.name(), setting, found: rate_hz, allowed });
        }
        // At most 224, as the rate is at least 5.
        let divider = (OUTPUT_HZ / rate_hz - 1) as u8;
        chip.write(Bank0::BankSelect, 0)?;
        chip.identify(Bank0::WhoAmI, &[ID])?;
        chip.write(Bank0::PwrMgmt1, RESET)?;
        delay.delay_ms(100);
        chip.set(Bank0::PwrMgmt1, SLEEP_OFF_BEST_CLOCK)?;
        delay.delay_ms(50);
        chip.set(Bank0::PwrMgmt2, 0)?;
        chip.write(Bank0::BankSelect, 2 << 4)?;
        let filter = filter_below_nyquist(rate_hz) << 3 | 1;
        chip.set(Bank2::GyroDivider, divider)?;
        chip.set(Bank2::GyroConfig1, filter | gyro.index() << 1)?;
        chip.set(Bank2::AccelDivider1, 0)?;
        chip.set(Bank2::AccelDivider2, divider)?;
        chip.set(Bank2::AccelConfig, filter | accel.index() << 1)?;
        chip.write(Bank0::BankSelect, 0)?;
        Ok(Self { chip, config })
    }

    /// The present sample in m/s² and rad/s, in one burst.
    ///
    /// # Errors
    /// [`SensorError::Bus`]; the chip keeps its settings and the next call may succeed.
    pub fn sample(&mut self) -> Result<ImuSample, SensorError<R::Error>> {
        let bytes = self.chip.read::<FIFO_SAMPLE>(Bank0::AccelXoutH)?;
        Ok(self.to_si(bytes))
    }

    /// Lets the chip queue its samples from now on, for [`Icm20948::drain`].
    ///
    /// # Errors
    /// [`SensorError`] of the first register that failed.
    pub fn start_queue(&mut self) -> Result<(), SensorError<R::Error>> {
        self.chip.set(Bank0::FifoEnable2, FIFO_ACCEL_AND_GYRO)?;
        self.chip.set(Bank0::UserControl, USER_FIFO_ENABLE)?;
        self.chip.write(Bank0::FifoReset, 0x1F)?;
        self.chip.write(Bank0::FifoReset, 0)
    }

    /// Takes whole samples out of the chip's queue, the oldest first, at most as many as `into` holds.
    /// Answers how many.
    ///
    /// # Errors
    /// [`SensorError::Overrun`] when the queue had run over, after emptying it.
    pub fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SensorError<R::Error>> {
        if self.chip.read_byte(Bank0::InterruptStatus2)? & 0x1F != 0 {
            self.start_queue()?;
            return Err(self.chip.overrun());
        }
        let count = u16::from_be_bytes(self.chip.read(Bank0::FifoCountH)?) & COUNT_BITS;
        let wanted = (usize::from(count) / FIFO_SAMPLE).min(into.len());
        for samples in into[..wanted].chunks_mut(FIFO_BURST) {
            let mut bytes = [0; FIFO_SAMPLE * FIFO_BURST];
            let used = &mut bytes[..samples.len() * FIFO_SAMPLE];
            self.chip.read_into(Bank0::FifoReadWrite, used)?;
            for (sample, bytes) in samples.iter_mut().zip(used.as_chunks::<FIFO_SAMPLE>().0) {
                *sample = self.to_si(*bytes);
            }
        }
        Ok(wanted)
    }

    fn to_si(&self, bytes: [u8; FIFO_SAMPLE]) -> ImuSample {
        let [a0, a1, a2, a3, a4, a5, g0, g1, g2, g3, g4, g5] = bytes;
        let Icm20948Config { accel, gyro, .. } = self.config;
        ImuSample {
            accel: scaled(big_endian([a0, a1, a2, a3, a4, a5]), STANDARD_GRAVITY / accel.counts_per_g()),
            gyro: scaled(big_endian([g0, g1, g2, g3, g4, g5]), RAD_PER_DEG / gyro.counts_per_dps()),
        }
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

/// DLPFCFG whose 3 dB bandwidth is below half of `rate_hz`, by the gyroscope's table: 152, 120, 51, 24,
/// 12 and 6 Hz are 1 to 6.
const fn filter_below_nyquist(rate_hz: u32) -> u8 {
    match rate_hz {
        305.. => 1,
        241..=304 => 2,
        103..=240 => 3,
        49..=102 => 4,
        25..=48 => 5,
        _ => 6,
    }
}

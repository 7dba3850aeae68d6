//! Driver for the ST LSM6DSOX.
//!
//! Source: ST, *LSM6DSOX* data sheet. The queue holds words of seven bytes, each tagged with what
//! it is; at equal rates, acceleration and angular rate of one instant follow one another.

use sedge_readings::ImuSample;

use super::convert::{little_endian, scaled};
use super::range::{AccelRange, GyroRange, RAD_PER_DEG, STANDARD_GRAVITY};
use crate::registers::{Chip, Registers, SensorError, registers};

const ID: u8 = 0x6C;
const BLOCK_DATA_UPDATE: u8 = 1 << 6;
const ADDRESS_INCREMENT: u8 = 1 << 2;
const MODE_CONTINUOUS: u8 = 0b110;
const MODE_BYPASS: u8 = 0;
const STATUS_OVERRUN: u8 = 1 << 6;
const TAG_GYRO: u8 = 0x01;
const TAG_ACCEL: u8 = 0x02;
const WORD: usize = 7;
/// Words read in one burst, two a sample.
const BURST: usize = 16;

registers! {
    /// The registers in use.
    Register {
        /// FIFO_CTRL3: at which rates samples are queued.
        FifoControl3 = 0x09,
        /// FIFO_CTRL4: how the queue runs.
        FifoControl4 = 0x0A,
        /// WHO_AM_I.
        WhoAmI = 0x0F,
        /// CTRL1_XL: the accelerometer's rate in bits 7:4, full scale in 3:2.
        Control1Accel = 0x10,
        /// CTRL2_G: the gyroscope's rate in bits 7:4, full scale in 3:2.
        Control2Gyro = 0x11,
        /// CTRL3_C: block data update, address increment.
        Control3 = 0x12,
        /// OUTX_L_G: six bytes of angular rate, six of acceleration, little-endian pairs.
        OutXLowGyro = 0x22,
        /// FIFO_STATUS1: words in the queue, ten bits, little-endian; then flags.
        FifoStatus1 = 0x3A,
        /// FIFO_DATA_OUT_TAG: the queue; the address goes round from its last byte to this one.
        FifoDataOutTag = 0x78,
    }
}

/// How the chip is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lsm6dsoxConfig {
    /// Samples a second: 26, 52, 104, 208, 416 or 833.
    pub rate_hz: u32,
    /// Full scale of the accelerometer.
    pub accel: AccelRange,
    /// Full scale of the gyroscope.
    pub gyro: GyroRange,
}

impl Default for Lsm6dsoxConfig {
    fn default() -> Self {
        Self { rate_hz: 104, accel: AccelRange::default(), gyro: GyroRange::default() }
    }
}

/// An LSM6DSOX that measures.
#[derive(Debug)]
pub struct Lsm6dsox<R> {
    chip: Chip<R>,
    config: Lsm6dsoxConfig,
}

/// The field ODR_XL, ODR_G, BDR_XL and BDR_GY for a rate.
const fn rate_field(rate_hz: u32) -> Option<u8> {
    match rate_hz {
        26 => Some(2),
        52 => Some(3),
        104 => Some(4),
        208 => Some(5),
        416 => Some(6),
        833 => Some(7),
        _ => None,
    }
}

/// The field FS_XL, which is not in the order of the ranges.
const fn accel_field(range: AccelRange) -> u8 {
    match range {
        AccelRange::G2 => 0,
        AccelRange::G16 => 1,
        AccelRange::G4 => 2,
        AccelRange::G8 => 3,
    }
}

impl<R: Registers> Lsm6dsox<R> {
    /// Checks that the chip is there and is an LSM6DSOX, and sets it up.
    ///
    /// # Errors
    /// [`SensorError::Setting`] before the bus is touched; otherwise the first thing that failed.
    pub fn new(registers: R, config: Lsm6dsoxConfig) -> Result<Self, SensorError<R::Error>> {
        let mut chip = Chip::new(registers, "LSM6DSOX");
        let rate = rate_field(config.rate_hz).ok_or(SensorError::Setting {
            chip: chip.name(),
            setting: "rate_hz",
            found: config.rate_hz,
            allowed: "26, 52, 104, 208, 416 or 833",
        })?;
        chip.identify(Register::WhoAmI, &[ID])?;
        chip.set(Register::Control3, BLOCK_DATA_UPDATE | ADDRESS_INCREMENT)?;
        chip.set(Register::Control1Accel, rate << 4 | accel_field(config.accel) << 2)?;
        chip.set(Register::Control2Gyro, rate << 4 | config.gyro.index() << 2)?;
        Ok(Self { chip, config })
    }

    /// The present sample in m/s² and rad/s, in one burst.
    ///
    /// # Errors
    /// [`SensorError::Bus`]; the chip keeps its settings and the next call may succeed.
    pub fn sample(&mut self) -> Result<ImuSample, SensorError<R::Error>> {
        let [g0, g1, g2, g3, g4, g5, a0, a1, a2, a3, a4, a5] = self.chip.read(Register::OutXLowGyro)?;
        let (accel, gyro) = self.units();
        Ok(ImuSample {
            accel: scaled(little_endian([a0, a1, a2, a3, a4, a5]), accel),
            gyro: scaled(little_endian([g0, g1, g2, g3, g4, g5]), gyro),
        })
    }

    /// Lets the chip queue its samples from now on, for [`Lsm6dsox::drain`].
    ///
    /// # Errors
    /// [`SensorError`] of the first register that failed.
    pub fn start_queue(&mut self) -> Result<(), SensorError<R::Error>> {
        // `new` has refused every rate without a field.
        let rate = rate_field(self.config.rate_hz).unwrap_or_default();
        self.chip.set(Register::FifoControl4, MODE_BYPASS)?;
        self.chip.set(Register::FifoControl3, rate << 4 | rate)?;
        self.chip.set(Register::FifoControl4, MODE_CONTINUOUS)
    }

    /// Takes whole samples out of the chip's queue, the oldest first, at most as many as `into` holds.
    /// Answers how many. A half without its other half is passed over.
    ///
    /// # Errors
    /// [`SensorError::Overrun`] when the queue had run over, after emptying it.
    pub fn drain(&mut self, into: &mut [ImuSample]) -> Result<usize, SensorError<R::Error>> {
        let [low, flags] = self.chip.read(Register::FifoStatus1)?;
        if flags & STATUS_OVERRUN != 0 {
            self.start_queue()?;
            return Err(self.chip.overrun());
        }
        let mut waiting = usize::from(u16::from_le_bytes([low, flags & 0b11]));
        let (accel_unit, gyro_unit) = self.units();
        let (mut accel, mut gyro) = (None, None);
        let mut given = 0;
        while waiting > 0 && given < into.len() {
            // Never more words than make the samples that there is room for.
            let words = waiting.min(BURST).min(2 * (into.len() - given));
            let mut bytes = [0; WORD * BURST];
            let used = &mut bytes[..words * WORD];
            self.chip.read_into(Register::FifoDataOutTag, used)?;
            for &[tag, ref counts @ ..] in used.as_chunks::<WORD>().0 {
                match tag >> 3 {
                    TAG_ACCEL => accel = Some(scaled(little_endian(*counts), accel_unit)),
                    TAG_GYRO => gyro = Some(scaled(little_endian(*counts), gyro_unit)),
                    _ => {}
                }
                if let (Some(accel_now), Some(gyro_now), Some(slot)) = (accel, gyro, into.get_mut(given)) {
                    *slot = ImuSample { accel: accel_now, gyro: gyro_now };
                    (accel, gyro) = (None, None);
                    given += 1;
                }
            }
            waiting -= words;
        }
        Ok(given)
    }

    /// One count in m/s² and in rad/s. The data sheet's sensitivities: 0.061 mg at ±2 g and 8.75 mdps at
    /// ±250 °/s, doubling with the range.
    fn units(&self) -> (f32, f32) {
        let Lsm6dsoxConfig { accel, gyro, .. } = self.config;
        let milli_g = 0.061 * (accel.full_scale_g() / 2) as f32;
        let milli_dps = 8.75 * (gyro.full_scale_dps() / 250) as f32;
        (milli_g * 1e-3 * STANDARD_GRAVITY, milli_dps * 1e-3 * RAD_PER_DEG)
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

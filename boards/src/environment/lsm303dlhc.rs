//! Driver for the magnetometer of the ST LSM303DLHC; its accelerometer is a chip of its own and is not read.
//!
//! Source: ST, *LSM303DLHC* data sheet. Axes come in the order x, z, y, and z has
//! a gain of its own.

use sedge_readings::MagneticField;

use crate::imu::convert::big_endian;
use crate::registers::{Chip, Registers, SensorError, registers};

/// ±1.3 gauss, 1100 counts a gauss in x and y, 980 in z: the Earth's field is below 0.7.
const GAIN: u8 = 0b001 << 5;
const COUNTS_PER_GAUSS: [f32; 3] = [1100.0, 1100.0, 980.0];
const CONTINUOUS: u8 = 0;
const TESLA_PER_GAUSS: f32 = 1e-4;
/// What a channel says that is driven beyond its scale.
const OVERFLOW: i16 = -4096;

registers! {
    /// The registers in use.
    Register {
        /// CRA_REG_M: rate in bits 4:2.
        ControlA = 0x00,
        /// CRB_REG_M: gain in bits 7:5.
        ControlB = 0x01,
        /// MR_REG_M: mode.
        Mode = 0x02,
        /// OUT_X_H_M: six bytes, big-endian pairs, x, z, y.
        OutXHigh = 0x03,
        /// IRA_REG_M: the letter H.
        IdentityA = 0x0A,
        /// IRB_REG_M: the figure 4.
        IdentityB = 0x0B,
        /// IRC_REG_M: the figure 3.
        IdentityC = 0x0C,
    }
}

/// A magnetometer that measures.
#[derive(Debug)]
pub struct Lsm303dlhc<R> {
    chip: Chip<R>,
}

impl<R: Registers> Lsm303dlhc<R> {
    /// Checks that the chip is there and is what it should be, and lets it measure at `rate_hz`: 3, 15, 30, 75
    /// or 220.
    ///
    /// # Errors
    /// [`SensorError::Setting`] before the bus is touched; otherwise the first thing that failed.
    pub fn new(registers: R, rate_hz: u32) -> Result<Self, SensorError<R::Error>> {
        let mut chip = Chip::new(registers, "LSM303DLHC magnetometer");
        let (setting, allowed) = ("rate_hz", "3, 15, 30, 75 or 220");
        let refused = SensorError::Setting { chip: chip.name(), setting, found: rate_hz, allowed };
        let rate: u8 = match rate_hz {
            3 => 2,
            15 => 4,
            30 => 5,
            75 => 6,
            220 => 7,
            _ => return Err(refused),
        };
        chip.identify(Register::IdentityA, b"H")?;
        chip.identify(Register::IdentityB, b"4")?;
        chip.identify(Register::IdentityC, b"3")?;
        chip.set(Register::ControlA, rate << 2)?;
        chip.set(Register::ControlB, GAIN)?;
        chip.set(Register::Mode, CONTINUOUS)?;
        Ok(Self { chip })
    }

    /// The present field, in one burst.
    ///
    /// # Errors
    /// [`SensorError::Saturated`] beyond ±1.3 gauss, [`SensorError::Bus`].
    pub fn field(&mut self) -> Result<MagneticField, SensorError<R::Error>> {
        let [x, z, y] = big_endian(self.chip.read(Register::OutXHigh)?);
        let counts = [x, y, z];
        if counts.contains(&OVERFLOW) {
            return Err(SensorError::Saturated { chip: self.chip.name(), place: self.chip.place() });
        }
        let mut tesla = [0.0; 3];
        for ((tesla, count), gain) in tesla.iter_mut().zip(counts).zip(COUNTS_PER_GAUSS) {
            *tesla = f32::from(count) / gain * TESLA_PER_GAUSS;
        }
        Ok(MagneticField(tesla))
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

//! Driver for the Infineon DPS310.
//!
//! Source: Infineon, *DPS310 Digital XENSIV barometric pressure sensor*, data sheet; compensation as in
//! its section 4.9. Written so that the reserved and read-only bits of MEAS_CFG are kept, on which emulators
//! that store what is written insist.

use embedded_hal::delay::DelayNs;
use sedge_readings::{Celsius, Environment, Pascals};

use crate::registers::{Chip, Registers, SensorError, registers};

const ID: u8 = 0x10;
const COEFFICIENTS_AND_SENSOR_READY: u8 = 0b1100_0000;
const BOTH_MEASURED: u8 = 0b0011_0000;
const MODE: u8 = 0b111;
const CONTINUOUS_BOTH: u8 = 0b111;
const EXTERNAL: u8 = 0x80;
/// The scale factor k of one measurement a value.
const SCALE_SINGLE: f32 = 524_288.0;
const READY_WAITS: u32 = 10;

registers! {
    /// The registers in use.
    Register {
        /// PSR_B2: pressure, then temperature, three bytes each, big-endian.
        PressureB2 = 0x00,
        /// PRS_CFG: rate in bits 6:4, oversampling in 3:0.
        PressureConfig = 0x06,
        /// TMP_CFG: as PRS_CFG, and which thermometer in bit 7.
        TemperatureConfig = 0x07,
        /// MEAS_CFG: mode in bits 2:0, what is ready in 7:4.
        MeasureConfig = 0x08,
        /// CFG_REG: result shifts, the queue.
        Config = 0x09,
        /// Product and revision id.
        ProductId = 0x0D,
        /// COEF: 18 bytes of calibration.
        Coefficients = 0x10,
        /// COEF_SRCE: which thermometer calibration was made with, in bit 7.
        CoefficientSource = 0x28,
    }
}

/// Whether the chip's identity is read before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// It must say that it is a DPS310.
    #[default]
    Checked,
    /// It is taken for one; for emulators that do not model the register.
    Trusted,
}

/// A chip's calibration, in the data sheet's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "numbers whose only meaning is their place in the formulas")]
pub struct Dps310Calibration {
    pub c0: i32,
    pub c1: i32,
    pub c00: i32,
    pub c10: i32,
    pub c01: i32,
    pub c11: i32,
    pub c20: i32,
    pub c21: i32,
    pub c30: i32,
}

/// The lowest `bits` of a word as a number with sign.
const fn signed(word: u32, bits: u32) -> i32 {
    (word << (32 - bits)).cast_signed() >> (32 - bits)
}

impl Dps310Calibration {
    /// From the 18 bytes at 0x10.
    pub fn from_bytes(c: [u8; 18]) -> Self {
        let w = c.map(u32::from);
        let sixteen = |at: usize| signed(w[at] << 8 | w[at + 1], 16);
        Self {
            c0: signed(w[0] << 4 | w[1] >> 4, 12),
            c1: signed((w[1] & 0x0F) << 8 | w[2], 12),
            c00: signed(w[3] << 12 | w[4] << 4 | w[5] >> 4, 20),
            c10: signed((w[5] & 0x0F) << 16 | w[6] << 8 | w[7], 20),
            c01: sixteen(8),
            c11: sixteen(10),
            c20: sixteen(12),
            c21: sixteen(14),
            c30: sixteen(16),
        }
    }

    /// Counts of 24 bits, measured once each, in units: temperature c0/2 + c1 t, pressure
    /// c00 + p (c10 + p (c20 + p c30)) + t c01 + t p (c11 + p c21), with p and t in parts of the scale factor.
    pub fn compensate(&self, pressure: i32, temperature: i32) -> Environment {
        let [c0, c1, c00, c10, c01, c11, c20, c21, c30] =
            [self.c0, self.c1, self.c00, self.c10, self.c01, self.c11, self.c20, self.c21, self.c30]
                .map(|c| c as f32);
        let (p, t) = (pressure as f32 / SCALE_SINGLE, temperature as f32 / SCALE_SINGLE);
        let pascals = c00 + p * (c10 + p * (c20 + p * c30)) + t * c01 + t * p * (c11 + p * c21);
        Environment {
            temperature: Some(Celsius(c0 * 0.5 + c1 * t)),
            pressure: Some(Pascals(pascals)),
            humidity: None,
        }
    }
}

/// A DPS310 that measures.
#[derive(Debug)]
pub struct Dps310<R> {
    chip: Chip<R>,
    calibration: Dps310Calibration,
}

impl<R: Registers> Dps310<R> {
    /// Checks that the chip is there, waits until its calibration is (40 ms after power), and lets it measure
    /// at `rate_hz`: 1, 2, 4, 8, 16, 32 or 64.
    ///
    /// # Errors
    /// [`SensorError::Setting`] before the bus is touched; otherwise the first thing that failed.
    pub fn new(
        registers: R,
        identity: Identity,
        rate_hz: u32,
        delay: &mut impl DelayNs,
    ) -> Result<Self, SensorError<R::Error>> {
        let mut chip = Chip::new(registers, "DPS310");
        if rate_hz > 64 || !rate_hz.is_power_of_two() {
            let (setting, allowed) = ("rate_hz", "1, 2, 4, 8, 16, 32 or 64");
            return Err(SensorError::Setting { chip: chip.name(), setting, found: rate_hz, allowed });
        }
        // At most 6.
        let rate = (rate_hz.trailing_zeros() as u8) << 4;
        if identity == Identity::Checked {
            chip.identify(Register::ProductId, &[ID])?;
        }
        wait_for(&mut chip, COEFFICIENTS_AND_SENSOR_READY, 10, delay, "its calibration does not come")?;
        let calibration = Dps310Calibration::from_bytes(chip.read(Register::Coefficients)?);
        mend_temperature(&mut chip)?;
        let source = chip.read_byte(Register::CoefficientSource)? & EXTERNAL;
        chip.set_bits(Register::MeasureConfig, MODE, 0)?;
        chip.set(Register::PressureConfig, rate)?;
        chip.set(Register::TemperatureConfig, source | rate)?;
        chip.set(Register::Config, 0)?;
        chip.set_bits(Register::MeasureConfig, MODE, CONTINUOUS_BOTH)?;
        wait_for(&mut chip, BOTH_MEASURED, 1000 / rate_hz / READY_WAITS + 5, delay, "it measures nothing")?;
        Ok(Self { chip, calibration })
    }

    /// The present temperature and pressure, in one burst.
    ///
    /// # Errors
    /// [`SensorError::Bus`].
    pub fn environment(&mut self) -> Result<Environment, SensorError<R::Error>> {
        let [p2, p1, p0, t2, t1, t0] = self.chip.read(Register::PressureB2)?;
        let counts = |high, middle, low| signed(u32::from_be_bytes([0, high, middle, low]), 24);
        Ok(self.calibration.compensate(counts(p2, p1, p0), counts(t2, t1, t0)))
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

fn wait_for<R: Registers>(
    chip: &mut Chip<R>,
    bits: u8,
    pause_ms: u32,
    delay: &mut impl DelayNs,
    what: &'static str,
) -> Result<(), SensorError<R::Error>> {
    for _ in 0..READY_WAITS {
        if chip.read_byte(Register::MeasureConfig)? & bits == bits {
            return Ok(());
        }
        delay.delay_ms(pause_ms);
    }
    Err(chip.not_ready(what))
}

/// Some chips leave the factory with a fuse that makes them read about 60 °C in a room of 20. The maker's
/// cure writes registers that its data sheet does not name, and Linux does the same
/// (`drivers/iio/pressure/dps310.c`); bit 1 of 0x32 says that none is needed.
fn mend_temperature<R: Registers>(chip: &mut Chip<R>) -> Result<(), SensorError<R::Error>> {
    registers! {
        /// Registers of the cure.
        Cure {
            /// First key.
            KeyA = 0x0E,
            /// Second key.
            KeyB = 0x0F,
            /// Whether it is needed.
            Fuse = 0x32,
            /// What it changes.
            Setting = 0x62,
        }
    }
    if chip.read_byte(Cure::Fuse)? & 0b10 != 0 {
        return Ok(());
    }
    let steps =
        [(Cure::KeyA, 0xA5), (Cure::KeyB, 0x96), (Cure::Setting, 0x02), (Cure::KeyA, 0), (Cure::KeyB, 0)];
    steps.into_iter().try_for_each(|(register, value)| chip.write(register, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The calibration and the counts that QEMU's model of the chip holds (`hw/sensor/dps310.c`).
    const COEFFICIENTS: [u8; 18] = [
        0x0E, 0x1E, 0xDD, 0x13, 0xCA, 0x5F, 0x21, 0x52, 0xF9, 0xC6, 0x04, 0xD1, 0xDB, 0x47, 0x00, 0x5B, 0xFB,
        0x3A,
    ];

    #[test]
    fn coefficients_are_cut_out_with_their_signs() {
        let c = Dps310Calibration::from_bytes(COEFFICIENTS);
        let found = (c.c0, c.c1, c.c00, c.c10, c.c01, c.c11, c.c20, c.c21, c.c30);
        assert_eq!(found, (225, -291, 81061, -57006, -1594, 1233, -9401, 91, -1222));
    }

    /// Linux's driver computes in integers (`dps310_calculate_pressure`), term by term over a common
    /// denominator; written so again here, it is independent of the nested form in floats.
    #[test]
    fn the_kernels_integers_give_the_same() {
        let c = Dps310Calibration::from_bytes(COEFFICIENTS);
        for (pressure, temperature) in [(-118_802, 158_118), (-600_000, 100_000), (200_000, -50_000), (0, 0)]
        {
            let (p, t, k) = (i128::from(pressure), i128::from(temperature), 524_288i128);
            let whole = [c.c00, c.c10, c.c20, c.c30, c.c01, c.c11, c.c21].map(i128::from);
            let [c00, c10, c20, c30, c01, c11, c21] = whole;
            let terms = [
                c00 * k.pow(3),
                p * c10 * k.pow(2),
                p.pow(2) * c20 * k,
                p.pow(3) * c30,
                t * c01 * k.pow(2),
                t * p * c11 * k,
                t * p.pow(2) * c21,
            ];
            let pascals = terms.iter().sum::<i128>() / k.pow(3);
            let milli_celsius = (k * i128::from(c.c0) / 2 + t * i128::from(c.c1)) * 1000 / k;
            let found = c.compensate(pressure, temperature);
            assert!(
                (f64::from(found.pressure.unwrap().0) - pascals as f64).abs() < 1.1,
                "{found:?} {pascals}"
            );
            let celsius = milli_celsius as f64 / 1000.0;
            assert!((f64::from(found.temperature.unwrap().0) - celsius).abs() < 0.002, "{found:?} {celsius}");
        }
    }
}

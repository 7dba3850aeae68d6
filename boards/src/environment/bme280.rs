//! Driver for the Bosch BME280.
//!
//! Source: Bosch Sensortec, *BME280 Combined humidity and pressure sensor*, data sheet;
//! compensation in integers as in its section 4.2.3.

use embedded_hal::delay::DelayNs;
use sedge_readings::{Celsius, Environment, Pascals, RelativeHumidity};

use crate::registers::{Chip, Registers, SensorError, registers};

const ID: u8 = 0x60;
const RESET: u8 = 0xB6;
const COPYING: u8 = 1;
/// Temperature and pressure measured once each, all the time.
const ALL_ONCE_NORMAL: u8 = 0b0010_0111;
/// What a channel holds that has not been measured.
const SKIPPED_20: u32 = 0x8_0000;
const SKIPPED_16: u32 = 0x8000;

registers! {
    /// The registers in use.
    Register {
        /// calib00: the first 26 bytes of calibration.
        Calibration0 = 0x88,
        /// id.
        Id = 0xD0,
        /// reset.
        Reset = 0xE0,
        /// calib26: the last seven bytes of calibration.
        Calibration26 = 0xE1,
        /// ctrl_hum: oversampling of humidity.
        ControlHumidity = 0xF2,
        /// status: whether calibration is being copied.
        Status = 0xF3,
        /// ctrl_meas: oversampling of temperature and pressure, and the mode.
        ControlMeasure = 0xF4,
        /// config: standby and filter.
        Config = 0xF5,
        /// press_msb: pressure, temperature, humidity in eight bytes, big-endian.
        Data = 0xF7,
    }
}

/// A chip's calibration, in the data sheet's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "numbers whose only meaning is their place in the formulas")]
pub struct Bme280Calibration {
    pub t1: u16,
    pub t2: i16,
    pub t3: i16,
    pub p1: u16,
    pub p2: i16,
    pub p3: i16,
    pub p4: i16,
    pub p5: i16,
    pub p6: i16,
    pub p7: i16,
    pub p8: i16,
    pub p9: i16,
    pub h1: u8,
    pub h2: i16,
    pub h3: u8,
    pub h4: i16,
    pub h5: i16,
    pub h6: i8,
}

/// One reading in counts: pressure and temperature in 20 bits, humidity in 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bme280Counts {
    /// Pressure.
    pub pressure: u32,
    /// Temperature.
    pub temperature: u32,
    /// Humidity.
    pub humidity: u32,
}

impl Bme280Calibration {
    /// From the 26 bytes at 0x88 and the seven at 0xE1.
    pub fn from_bytes(first: [u8; 26], last: [u8; 7]) -> Self {
        let unsigned = |at: usize| u16::from_le_bytes([first[at], first[at + 1]]);
        let signed = |at: usize| i16::from_le_bytes([first[at], first[at + 1]]);
        let [h2l, h2h, h3, h4h, h45, h5h, h6] = last;
        // Twelve bits, signed: the high eight in a byte of their own, the low four shared.
        let twelve = |high: u8, low: u8| i16::from(high.cast_signed()) * 16 + i16::from(low & 0x0F);
        Self {
            t1: unsigned(0),
            t2: signed(2),
            t3: signed(4),
            p1: unsigned(6),
            p2: signed(8),
            p3: signed(10),
            p4: signed(12),
            p5: signed(14),
            p6: signed(16),
            p7: signed(18),
            p8: signed(20),
            p9: signed(22),
            h1: first[25],
            h2: i16::from_le_bytes([h2l, h2h]),
            h3,
            h4: twelve(h4h, h45),
            h5: twelve(h5h, h45 >> 4),
            h6: h6.cast_signed(),
        }
    }

    /// Temperature in 1/5120 °C, which the other two are compensated with.
    pub fn fine_temperature(&self, counts: u32) -> i32 {
        // Wrapping, here and below: a chip whose calibration is broken gives nonsense, not a panic.
        let (counts, t1) = (counts.cast_signed(), i32::from(self.t1));
        let first = ((counts >> 3) - (t1 << 1)).wrapping_mul(i32::from(self.t2)) >> 11;
        let offset = (counts >> 4) - t1;
        let second = (offset.wrapping_mul(offset) >> 12).wrapping_mul(i32::from(self.t3)) >> 14;
        first.wrapping_add(second)
    }

    /// Pressure in 1/256 Pa, or `None` for a calibration that would divide by zero.
    pub fn pressure(&self, counts: u32, fine: i32) -> Option<u32> {
        let fine = i64::from(fine) - 128_000;
        let [p2, p3, p4, p5, p6, p7, p8, p9] =
            [self.p2, self.p3, self.p4, self.p5, self.p6, self.p7, self.p8, self.p9].map(i64::from);
        let offset = fine.wrapping_mul(fine).wrapping_mul(p6);
        let offset = offset.wrapping_add(fine.wrapping_mul(p5) << 17).wrapping_add(p4 << 35);
        let scale = (fine.wrapping_mul(fine).wrapping_mul(p3) >> 8).wrapping_add(fine.wrapping_mul(p2) << 12);
        let scale = (1i64 << 47).wrapping_add(scale).wrapping_mul(i64::from(self.p1)) >> 33;
        let raw = 1_048_576 - i64::from(counts);
        let raw = (raw << 31).wrapping_sub(offset).wrapping_mul(3125).checked_div(scale)?;
        let square = p9.wrapping_mul(raw >> 13).wrapping_mul(raw >> 13) >> 25;
        let linear = p8.wrapping_mul(raw) >> 19;
        let pressure = (raw.wrapping_add(square).wrapping_add(linear) >> 8).wrapping_add(p7 << 4);
        u32::try_from(pressure).ok()
    }

    /// Relative humidity in 1/1024 per cent, 0 to 102,400.
    pub fn humidity(&self, counts: u32, fine: i32) -> u32 {
        let fine = fine.wrapping_sub(76_800);
        let [h1, h3] = [self.h1, self.h3].map(i32::from);
        let [h2, h4, h5] = [self.h2, self.h4, self.h5].map(i32::from);
        let offset = (counts.cast_signed() << 14).wrapping_sub(h4 << 20).wrapping_sub(h5.wrapping_mul(fine));
        let offset = offset.wrapping_add(16_384) >> 15;
        let slope = (fine.wrapping_mul(h3) >> 11).wrapping_add(32_768);
        let slope =
            ((fine.wrapping_mul(i32::from(self.h6)) >> 10).wrapping_mul(slope) >> 10).wrapping_add(2_097_152);
        let slope = slope.wrapping_mul(h2).wrapping_add(8192) >> 14;
        let product = offset.wrapping_mul(slope);
        let bent = ((product >> 15).wrapping_mul(product >> 15) >> 7).wrapping_mul(h1) >> 4;
        (product.wrapping_sub(bent).clamp(0, 419_430_400) >> 12).cast_unsigned()
    }

    /// All three in their units; a channel that was not measured, or a pressure that cannot be, is absent.
    pub fn compensate(&self, counts: Bme280Counts) -> Environment {
        let Bme280Counts { pressure, temperature, humidity } = counts;
        if temperature == SKIPPED_20 {
            return Environment::default();
        }
        let fine = self.fine_temperature(temperature);
        let pressure = (pressure != SKIPPED_20).then(|| self.pressure(pressure, fine)).flatten();
        let humidity = (humidity != SKIPPED_16).then(|| self.humidity(humidity, fine));
        Environment {
            // The data sheet rounds to a hundredth; the fine value has more to say.
            temperature: Some(Celsius(fine as f32 / 5120.0)),
            pressure: pressure.map(|pascals| Pascals(pascals as f32 / 256.0)),
            humidity: humidity.map(|percent| RelativeHumidity(percent as f32 / 1024.0)),
        }
    }
}

/// A BME280 that measures.
#[derive(Debug)]
pub struct Bme280<R> {
    chip: Chip<R>,
    calibration: Bme280Calibration,
}

impl<R: Registers> Bme280<R> {
    /// Checks that the chip is there and is a BME280, resets it, reads its calibration and lets it measure.
    /// Takes about 15 ms, in which the first values come.
    ///
    /// # Errors
    /// [`SensorError`]: the first thing that failed.
    pub fn new(registers: R, delay: &mut impl DelayNs) -> Result<Self, SensorError<R::Error>> {
        let mut chip = Chip::new(registers, "BME280");
        chip.identify(Register::Id, &[ID])?;
        chip.write(Register::Reset, RESET)?;
        delay.delay_ms(3);
        if chip.read_byte(Register::Status)? & COPYING != 0 {
            return Err(chip.not_ready("it is still copying its calibration"));
        }
        let calibration = Bme280Calibration::from_bytes(
            chip.read(Register::Calibration0)?,
            chip.read(Register::Calibration26)?,
        );
        // ctrl_hum takes effect with the next write of ctrl_meas; standby of half a millisecond, no filter.
        chip.set(Register::ControlHumidity, 1)?;
        chip.set(Register::Config, 0)?;
        chip.set(Register::ControlMeasure, ALL_ONCE_NORMAL)?;
        delay.delay_ms(12);
        Ok(Self { chip, calibration })
    }

    /// The present values, in one burst.
    ///
    /// # Errors
    /// [`SensorError::Bus`], or [`SensorError::NotReady`] for a chip that has measured nothing.
    pub fn environment(&mut self) -> Result<Environment, SensorError<R::Error>> {
        let [p2, p1, p0, t2, t1, t0, h1, h0] = self.chip.read(Register::Data)?;
        let twenty = |high, middle, low| u32::from_be_bytes([0, high, middle, low]) >> 4;
        let environment = self.calibration.compensate(Bme280Counts {
            pressure: twenty(p2, p1, p0),
            temperature: twenty(t2, t1, t0),
            humidity: u32::from(u16::from_be_bytes([h1, h0])),
        });
        if environment.temperature.is_none() {
            return Err(self.chip.not_ready("it has measured nothing"));
        }
        Ok(environment)
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The worked example of Bosch's BMP280 data sheet (BST-BMP280-DS001), whose temperature
    /// and pressure are compensated the same way.
    const EXAMPLE: Bme280Calibration = Bme280Calibration {
        t1: 27504,
        t2: 26435,
        t3: -1000,
        p1: 36477,
        p2: -10685,
        p3: 3024,
        p4: 2855,
        p5: 140,
        p6: -7,
        p7: 15500,
        p8: -14600,
        p9: 6000,
        h1: 75,
        h2: 370,
        h3: 0,
        h4: 313,
        h5: 50,
        h6: 30,
    };

    #[test]
    fn the_makers_worked_example_comes_out() {
        let fine = EXAMPLE.fine_temperature(519_888);
        assert_eq!(fine, 128_422);
        // 25.08 °C, as the data sheet rounds it.
        assert_eq!((fine * 5 + 128) >> 8, 2508);
        // 100653.27 Pa in floating point, 25767236 / 256 = 100653.27 in integers.
        let pressure = f64::from(EXAMPLE.pressure(415_148, fine).unwrap()) / 256.0;
        assert!((pressure - 100_653.27).abs() < 0.02, "{pressure}");
    }

    /// The data sheet's formulas in double precision (its appendix), written apart from those in integers.
    fn in_floats(c: &Bme280Calibration, counts: Bme280Counts) -> (f64, f64, f64) {
        let (t, t1) = (f64::from(counts.temperature), f64::from(c.t1));
        let difference = t / 131_072.0 - t1 / 8192.0;
        let fine = ((t / 16384.0 - t1 / 1024.0) * f64::from(c.t2)
            + difference * difference * f64::from(c.t3))
        .floor();
        let mut a = fine / 2.0 - 64000.0;
        let mut b = a * a * f64::from(c.p6) / 32768.0;
        b += a * f64::from(c.p5) * 2.0;
        b = b / 4.0 + f64::from(c.p4) * 65536.0;
        a = (f64::from(c.p3) * a * a / 524_288.0 + f64::from(c.p2) * a) / 524_288.0;
        a = (1.0 + a / 32768.0) * f64::from(c.p1);
        let mut p = (1_048_576.0 - f64::from(counts.pressure) - b / 4096.0) * 6250.0 / a;
        let (square, linear) = (f64::from(c.p9) * p * p / 2_147_483_648.0, p * f64::from(c.p8) / 32768.0);
        p += (square + linear + f64::from(c.p7)) / 16.0;
        let mut h = fine - 76800.0;
        h = (f64::from(counts.humidity) - (f64::from(c.h4) * 64.0 + f64::from(c.h5) / 16384.0 * h))
            * (f64::from(c.h2) / 65536.0
                * (1.0 + f64::from(c.h6) / 67_108_864.0 * h * (1.0 + f64::from(c.h3) / 67_108_864.0 * h)));
        h *= 1.0 - f64::from(c.h1) * h / 524_288.0;
        (fine / 5120.0, p, h.clamp(0.0, 100.0))
    }

    proptest! {
        #[test]
        fn integers_and_floats_agree(temperature in 400_000u32..600_000, pressure in 300_000u32..500_000, humidity in 20_000u32..40_000) {
            let counts = Bme280Counts { pressure, temperature, humidity };
            let (celsius, pascals, percent) = in_floats(&EXAMPLE, counts);
            let found = EXAMPLE.compensate(counts);
            prop_assert!((f64::from(found.temperature.unwrap().0) - celsius).abs() < 0.005);
            prop_assert!((f64::from(found.pressure.unwrap().0) - pascals).abs() < 1.0, "{:?} {}", found, pascals);
            prop_assert!((f64::from(found.humidity.unwrap().0) - percent).abs() < 0.1, "{:?} {}", found, percent);
        }

        #[test]
        fn no_calibration_panics(first: [u8; 26], last: [u8; 7], pressure in 0u32..1 << 20, temperature in 0u32..1 << 20, humidity in 0u32..1 << 16) {
            let calibration = Bme280Calibration::from_bytes(first, last);
            let _ = calibration.compensate(Bme280Counts { pressure, temperature, humidity });
        }
    }

    #[test]
    fn calibration_lies_in_the_data_sheets_places() {
        let mut first = [0; 26];
        first[..6].copy_from_slice(&[0x70, 0x6B, 0x43, 0x67, 0x18, 0xFC]);
        first[22..24].copy_from_slice(&[0x70, 0x17]);
        first[25] = 75;
        let c = Bme280Calibration::from_bytes(first, [0x72, 0x01, 0, 0x13, 0x29, 0x03, 0x1E]);
        assert_eq!((c.t1, c.t2, c.t3, c.p9, c.h1), (27504, 26435, -1000, 6000, 75));
        // 0x139 and 0x032: each byte's nibble of 0x29 goes to its own number.
        assert_eq!((c.h2, c.h4, c.h5, c.h6), (370, 0x139, 0x032, 30));
        let negative = Bme280Calibration::from_bytes(first, [0, 0, 0, 0xFF, 0xFF, 0xFF, 0x80]);
        assert_eq!((negative.h4, negative.h5, negative.h6), (-1, -1, -128));
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let counts = Bme280Counts { pressure: 0x8_0000, temperature: 519_888, humidity: 0x8000 };
        let found = EXAMPLE.compensate(counts);
        assert!(found.temperature.is_some() && found.pressure.is_none() && found.humidity.is_none());
        assert_eq!(
            EXAMPLE.compensate(Bme280Counts { temperature: 0x8_0000, ..counts }),
            Environment::default()
        );
    }
}

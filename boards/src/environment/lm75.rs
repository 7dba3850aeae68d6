//! Driver for the LM75 and the TI TMP105, thermometers of one register map.
//!
//! Source: TI, *TMP105* data sheet. Neither chip has an identity: what can be
//! checked is that its configuration takes what is written.

use sedge_readings::{Celsius, Environment};

use crate::registers::{Chip, Registers, SensorError, registers};

/// Resolution of twelve bits; the LM75 has nine and no choice.
const TWELVE_BITS: u8 = 0b0110_0000;
/// Shutdown, thermostat mode, polarity and fault queue; above lies what the LM75 does not have, and the bit
/// that starts one measurement and reads otherwise than written.
const COMMON_BITS: u8 = 0b0001_1111;

registers! {
    /// The registers in use.
    Register {
        /// Temperature, big-endian, counted in 1/256 °C.
        Temperature = 0x00,
        /// Configuration.
        Config = 0x01,
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lm75Chip {
    /// TMP105, twelve bits.
    Tmp105,
    /// LM75 and its equals, nine bits.
    Lm75,
}

/// The two bytes of the temperature register: the sign and whole degrees, then parts of a degree. Unused low
/// bits are zero.
pub fn lm75_celsius(bytes: [u8; 2]) -> Celsius {
    Celsius(f32::from(i16::from_be_bytes(bytes)) / 256.0)
}

/// A thermometer that measures.
#[derive(Debug)]
pub struct Lm75<R> {
    chip: Chip<R>,
}

impl<R: Registers> Lm75<R> {
    /// Sets the chip measuring all the time, at its finest.
    ///
    /// # Errors
    /// [`SensorError::Bus`] where nothing answers, [`SensorError::NotTaken`] where something else does.
    pub fn new(registers: R, kind: Lm75Chip) -> Result<Self, SensorError<R::Error>> {
        let (name, mask, value) = match kind {
            Lm75Chip::Tmp105 => ("TMP105", COMMON_BITS | TWELVE_BITS, TWELVE_BITS),
            Lm75Chip::Lm75 => ("LM75", COMMON_BITS, 0),
        };
        let mut chip = Chip::new(registers, name);
        chip.set_bits(Register::Config, mask, value)?;
        Ok(Self { chip })
    }

    /// The present temperature.
    ///
    /// # Errors
    /// [`SensorError::Bus`].
    pub fn environment(&mut self) -> Result<Environment, SensorError<R::Error>> {
        let bytes = self.chip.read(Register::Temperature)?;
        Ok(Environment { temperature: Some(lm75_celsius(bytes)), ..Environment::default() })
    }

    /// The registers, for a simulation to move the world behind them.
    pub fn registers_mut(&mut self) -> &mut R {
        &mut self.chip.registers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The TMP105 data sheet's table of temperatures: twelve bits, left-justified.
    #[test]
    fn the_data_sheets_table_comes_out() {
        let table = [
            (0x7FF0, 127.9375),
            (0x6400, 100.0),
            (0x5000, 80.0),
            (0x4B00, 75.0),
            (0x3200, 50.0),
            (0x1900, 25.0),
            (0x0040, 0.25),
            (0x0000, 0.0),
            (0xFFC0, -0.25),
            (0xE700, -25.0),
            (0xC900, -55.0),
        ];
        for (word, celsius) in table {
            assert_eq!(lm75_celsius(u16::to_be_bytes(word)), Celsius(celsius));
        }
    }
}
